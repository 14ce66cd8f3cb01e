//! Event filters: there are none, and that is what is said (section 30).

use super::{
    Answer, Controller,
    lan::{REVISION, REVISION_ONLY},
    read, reply,
};
use crate::ipmi::{
    completion::Completion,
    msg::{get_pef_capabilities, get_pef_parameter, set_pef_parameter},
    session::{Reply, Request},
    wire::Command,
};

const VERSION: u8 = 0x51;
const TEXT_BLOCK: usize = 16;

impl Controller {
    pub(super) fn answer_pef(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_pef_capabilities::Request::CODE => {
                read::<get_pef_capabilities::Request>(data)?;
                reply(get_pef_capabilities::Response { version: VERSION, actions: 0, filters: 0 })
            }
            get_pef_parameter::Request::CODE => {
                let request: get_pef_parameter::Request = read(data)?;
                let value = self.pef_parameter(request.parameter & 0x7f, request.set)?;
                let asked = request.parameter & REVISION_ONLY == 0;
                let data = if asked { value } else { Vec::new() };
                reply(get_pef_parameter::Response { revision: REVISION, data })
            }
            set_pef_parameter::Request::CODE => {
                let request: set_pef_parameter::Request = read(data)?;
                self.pef_parameter(request.parameter & 0x7f, 0)?;
                Err(Completion::READ_ONLY)
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    /// A parameter of table 30-7.
    fn pef_parameter(&self, parameter: u8, set: u8) -> Answer<Vec<u8>> {
        Ok(match parameter {
            // Set complete; filtering off; no actions, none of them later.
            0..=4 => vec![0],
            // No filters, policies or texts.
            5 | 8 | 11 => vec![0],
            // Of texts there is always the volatile one (table 30-7): it is empty, for no event.
            12 if set == 0 => vec![0, 0, 0],
            13 if set == 0 => [0, 1].into_iter().chain([0; TEXT_BLOCK]).collect(),
            6 | 7 | 9 | 12 | 13 => return Err(Completion::PARAMETER_OUT_OF_RANGE),
            // The system's GUID, as the controller itself uses it.
            10 => [[0].as_slice(), &self.identity.system_guid.to_wire()].concat(),
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        })
    }
}
