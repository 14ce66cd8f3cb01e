//! How the LAN channel and Serial over LAN are configured: it is read here, and set by whoever
//! starts the controller.

use std::net::{IpAddr, SocketAddr};

use super::{Answer, Controller, is_lan, read, reply};
use crate::ipmi::{
    completion::Completion,
    msg::{get_lan_parameter, get_sol_parameter, set_lan_parameter, set_sol_parameter},
    session::{Reply, Request},
    suite::CipherSuite,
    wire::Command,
};

/// Revision of the parameters (1.1).
pub(super) const REVISION: u8 = 0x11;
pub(super) const REVISION_ONLY: u8 = 0x80;
const COMMUNITY_BYTES: usize = 18;
/// A level of table 23-4: ADMINISTRATOR, for two suites.
const SUITE_LEVELS: u8 = 0x44;

impl Controller {
    pub(super) fn answer_transport(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_lan_parameter::Request::CODE => {
                let request: get_lan_parameter::Request = read(data)?;
                if !is_lan(request.channel & 0x0f) {
                    return Err(Completion::INVALID_FIELD);
                }
                let value = lan_parameter(request.parameter, request.set, self.address)?;
                let asked = request.channel & REVISION_ONLY == 0;
                let data = if asked { value } else { Vec::new() };
                reply(get_lan_parameter::Response { revision: REVISION, data })
            }
            set_lan_parameter::Request::CODE => {
                let request: set_lan_parameter::Request = read(data)?;
                if !is_lan(request.channel & 0x0f) {
                    return Err(Completion::INVALID_FIELD);
                }
                lan_parameter(request.parameter, 0, self.address)?;
                Err(Completion::READ_ONLY)
            }
            get_sol_parameter::Request::CODE => {
                let request: get_sol_parameter::Request = read(data)?;
                if !is_lan(request.channel & 0x0f) {
                    return Err(Completion::INVALID_FIELD);
                }
                let value = sol_parameter(request.parameter, self.address)?;
                let asked = request.channel & REVISION_ONLY == 0;
                let data = if asked { value } else { Vec::new() };
                reply(get_sol_parameter::Response { revision: REVISION, data })
            }
            set_sol_parameter::Request::CODE => {
                let request: set_sol_parameter::Request = read(data)?;
                if !is_lan(request.channel & 0x0f) {
                    return Err(Completion::INVALID_FIELD);
                }
                sol_parameter(request.parameter, self.address)?;
                Err(Completion::READ_ONLY)
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }
}

/// A parameter of table 23-4.
fn lan_parameter(parameter: u8, set: u8, address: Option<SocketAddr>) -> Answer<Vec<u8>> {
    let ip = address.map(|address| address.ip());
    let port = address.map(|address| address.port());
    let unknown = Completion::PARAMETER_NOT_SUPPORTED;
    Ok(match parameter {
        // Set complete.
        0 => vec![0],
        // No way in of IPMI 1.5, so none is enabled at any of five levels.
        1 => vec![0],
        2 => vec![0; 5],
        3 => match ip {
            Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Some(IpAddr::V6(_)) | None => return Err(unknown),
        },
        // The host's own software gives the address.
        4 => vec![3],
        8 => port.ok_or(unknown)?.to_le_bytes().to_vec(),
        // Nobody is sent an alert, so nobody is told a community.
        16 => vec![0; COMMUNITY_BYTES],
        // No destinations for alerts but the volatile one, which leads nowhere.
        17 => vec![0],
        18 if set == 0 => vec![0; 4],
        19 if set == 0 => vec![0; 13],
        18 | 19 => return Err(Completion::PARAMETER_OUT_OF_RANGE),
        // No VLAN of its own.
        20 => vec![0, 0],
        21 => vec![0],
        22 => vec![u8::try_from(CipherSuite::PREFERRED.len()).unwrap_or(0)],
        23 if set != 0 => return Err(Completion::PARAMETER_OUT_OF_RANGE),
        23 => {
            let mut suites = vec![0; 17];
            let numbers = CipherSuite::PREFERRED.map(|suite| suite.record()[1]);
            for (to, from) in suites.iter_mut().skip(1).zip(numbers) {
                *to = from;
            }
            suites
        }
        24 => {
            let mut levels = vec![0; 9];
            levels[1] = SUITE_LEVELS;
            levels
        }
        _ => return Err(unknown),
    })
}

/// A parameter of table 26-5.
fn sol_parameter(parameter: u8, address: Option<SocketAddr>) -> Answer<Vec<u8>> {
    Ok(match parameter {
        0 => vec![0],
        1 => vec![1],
        // Encrypted and authenticated always; OPERATOR may use it.
        2 => vec![0xc3],
        // What has come is sent after five milliseconds, or as soon as this much has.
        3 => vec![1, 0xff],
        // Again for as long as the session lasts, the first time after 400 milliseconds.
        4 => vec![7, 40],
        // The speed is the machine's own affair: the line has none.
        5 | 6 => vec![0x0a],
        7 => vec![crate::ipmi::session::LAN_CHANNEL],
        8 => {
            let address = address.ok_or(Completion::PARAMETER_NOT_SUPPORTED)?;
            address.port().to_le_bytes().to_vec()
        }
        _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
    })
}
