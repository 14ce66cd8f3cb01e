//! DCMI 1.5: what there is of it. There is no wattmeter, so power is not among it.

use super::{Answer, Controller, nvram::EVENTS_MAX, read, reply, sel::part};
use crate::ipmi::{
    completion::Completion,
    msg::{dcmi_asset_tag, dcmi_capabilities, dcmi_get_mc_id},
    session::{LAN_CHANNEL, Reply, Request},
    wire::Command,
};

/// The body that defined it.
const GROUP: u8 = 0xdc;
/// Longest part of a text in one answer.
const PART_MAX: u8 = 16;

fn known(group: u8) -> Answer<()> {
    (group == GROUP).then_some(()).ok_or(Completion::INVALID_COMMAND)
}

impl Controller {
    pub(super) fn answer_group(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            dcmi_capabilities::Request::CODE => {
                let request: dcmi_capabilities::Request = read(data)?;
                known(request.group)?;
                let data = capabilities(request.parameter)?;
                reply(dcmi_capabilities::Response { group: GROUP, version: [1, 5, 2], data })
            }
            dcmi_asset_tag::Request::CODE => {
                let request: dcmi_asset_tag::Request = read(data)?;
                known(request.group)?;
                let mut tag = self.machine.inventory().asset_tag.into_bytes();
                tag.truncate(63);
                let length = u8::try_from(tag.len()).unwrap_or(0);
                let data = text(&tag, request.offset, request.count)?;
                reply(dcmi_asset_tag::Response { group: GROUP, length, data })
            }
            dcmi_get_mc_id::Request::CODE => {
                let request: dcmi_get_mc_id::Request = read(data)?;
                known(request.group)?;
                let mut name = self.identity.name.clone().into_bytes();
                name.truncate(63);
                name.push(0);
                let length = u8::try_from(name.len()).unwrap_or(0);
                let data = text(&name, request.offset, request.count)?;
                reply(dcmi_get_mc_id::Response { group: GROUP, length, data })
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }
}

fn text(bytes: &[u8], offset: u8, count: u8) -> Answer<Vec<u8>> {
    if count > PART_MAX {
        return Err(Completion::PARAMETER_OUT_OF_RANGE);
    }
    part(bytes, offset, count)
}

/// A parameter of table 6-3.
fn capabilities(parameter: u8) -> Answer<Vec<u8>> {
    let [low, high] = u16::try_from(EVENTS_MAX).unwrap_or(0x0fff).to_le_bytes();
    Ok(match parameter {
        // No power management, nothing but the primary LAN.
        1 => vec![0, 0, 0],
        // The log's size; it does not roll over. Nothing of temperatures.
        2 => vec![low, high & 0x0f, 0, 0, 0],
        // No device for power.
        3 => vec![0, 0],
        4 => vec![LAN_CHANNEL, 0xff, 0xff],
        // No averages of power.
        5 => vec![0],
        _ => return Err(Completion::PARAMETER_OUT_OF_RANGE),
    })
}
