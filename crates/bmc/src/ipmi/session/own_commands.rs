//! The commands that concern sessions and channels: answered here, without the machine.

use std::time::Duration;

use super::{Out, Reply, Request, Reset, Sessions, Ticket, serial};
use crate::ipmi::{
    completion::Completion,
    guid::Guid,
    msg::{
        NETFN_APP, activate_payload, close_session, cold_reset, deactivate_payload,
        get_channel_access, get_channel_auth_cap, get_channel_cipher_suites, get_channel_info,
        get_channel_payload_support, get_channel_payload_version, get_payload_activation_status,
        get_payload_instance_info, get_session_info, get_system_guid, set_session_privilege,
        warm_reset,
    },
    privilege::Privilege,
    suite::CipherSuite,
    wire::Command,
};

/// The LAN channel; there is no other.
pub const LAN_CHANNEL: u8 = 1;
/// "The channel this came by."
const THIS_CHANNEL: u8 = 0x0e;

pub(super) fn is_lan(channel: u8) -> bool {
    matches!(channel, LAN_CHANNEL | THIS_CHANNEL)
}

/// Reads a request, or says why not.
pub(super) fn read<C: Command>(data: &[u8]) -> Result<C, Reply> {
    C::decode(data).map_err(|error| Reply::code(Completion::of_error(&error)))
}

impl Sessions {
    /// Answers a command that needs no session. Sessions of IPMI 1.5 begin with commands that
    /// are not in the list: the answer is "invalid command", which ends every attempt.
    pub(super) fn on_sessionless(&self, netfn: u8, command: u8, data: &[u8]) -> Option<Reply> {
        if netfn != NETFN_APP {
            return None;
        }
        let reply = match command {
            get_channel_auth_cap::Request::CODE => self.auth_cap(data),
            get_channel_cipher_suites::Request::CODE => cipher_suites(data),
            get_system_guid::Request::CODE => self.system_guid(data),
            _ => return None,
        };
        Some(reply.unwrap_or_else(|refusal| refusal))
    }

    pub(super) fn on_own_command(
        &mut self,
        ticket: Ticket,
        request: &Request,
        now: Duration,
    ) -> Vec<Out> {
        let data = &request.data;
        if let Some(reply) = self.on_sessionless(request.netfn, request.command, data) {
            return self.on_reply(ticket, &reply);
        }
        let reply = match request.command {
            set_session_privilege::Request::CODE => self.set_privilege(ticket, data),
            get_channel_info::Request::CODE => self.channel_info(data),
            get_session_info::Request::CODE => self.session_info(ticket, data),
            get_channel_access::Request::CODE => channel_access(data),
            get_channel_payload_support::Request::CODE => serial::payload_support(data),
            get_channel_payload_version::Request::CODE => serial::payload_version(data),
            get_payload_activation_status::Request::CODE => self.payload_status(data),
            get_payload_instance_info::Request::CODE => self.payload_instance(data),
            activate_payload::Request::CODE => return self.activate_payload(ticket, data),
            deactivate_payload::Request::CODE => return self.deactivate_payload(ticket, data),
            close_session::Request::CODE => return self.close(ticket, data),
            cold_reset::Request::CODE => {
                return self.reset(
                    ticket,
                    read::<cold_reset::Request>(data).map(|_| Reset::Cold),
                    now,
                );
            }
            warm_reset::Request::CODE => {
                return self.reset(
                    ticket,
                    read::<warm_reset::Request>(data).map(|_| Reset::Warm),
                    now,
                );
            }
            _ => Err(Reply::code(Completion::INVALID_COMMAND)),
        };
        self.on_reply(ticket, &reply.unwrap_or_else(|refusal| refusal))
    }

    fn auth_cap(&self, data: &[u8]) -> Result<Reply, Reply> {
        let request: get_channel_auth_cap::Request = read(data)?;
        if !is_lan(request.channel) || Privilege::from_bits(request.privilege).is_none() {
            return Err(Reply::code(Completion::INVALID_FIELD));
        }
        // No authentication type of 1.5 is offered, and no null or anonymous user.
        let (types, versions) = if request.extended { (0x80, 0x02) } else { (0, 0) };
        Ok(Reply::ok(&get_channel_auth_cap::Response {
            channel: LAN_CHANNEL,
            types,
            status: 0x04,
            versions,
            oem: [0; 4],
        }))
    }

    fn system_guid(&self, data: &[u8]) -> Result<Reply, Reply> {
        read::<get_system_guid::Request>(data)?;
        Ok(Reply::ok(&get_system_guid::Response { guid: Guid::from_wire(self.guid) }))
    }

    fn set_privilege(&mut self, ticket: Ticket, data: &[u8]) -> Result<Reply, Reply> {
        let request: set_session_privilege::Request = read(data)?;
        let Some(session) = self.sessions.get_mut(&ticket.session) else {
            return Err(Reply::code(Completion::UNSPECIFIED));
        };
        if request.privilege != 0 {
            let Some(wanted) = Privilege::from_bits(request.privilege) else {
                return Err(Reply::code(Completion::INVALID_FIELD));
            };
            if wanted > session.limit {
                return Err(Reply::code(Completion::LEVEL_EXCEEDS_LIMIT));
            }
            session.privilege = wanted;
        }
        let privilege = session.privilege.bits();
        Ok(Reply::ok(&set_session_privilege::Response { privilege }))
    }

    fn channel_info(&self, data: &[u8]) -> Result<Reply, Reply> {
        let request: get_channel_info::Request = read(data)?;
        if !is_lan(request.channel) {
            return Err(Reply::code(Completion::INVALID_FIELD));
        }
        let active = u8::try_from(self.sessions.len().min(0x3f)).unwrap_or(0x3f);
        Ok(Reply::ok(&get_channel_info::Response {
            channel: LAN_CHANNEL,
            medium: 4,
            protocol: 1,
            sessions: 0x80 | active,
            vendor: [0xf2, 0x1b, 0x00],
            auxiliary: [0; 2],
        }))
    }

    /// Handles are places in the order of the sessions' numbers (section 22.20).
    fn session_info(&self, ticket: Ticket, data: &[u8]) -> Result<Reply, Reply> {
        let request: get_session_info::Request = read(data)?;
        let mut ids: Vec<u32> = self.sessions.keys().copied().collect();
        ids.sort_unstable();
        let wanted = match (request.index, request.which.as_slice()) {
            (0, []) => Some(ticket.session),
            (0xfe, [handle]) => ids.get(usize::from(*handle).wrapping_sub(1)).copied(),
            (0xff, [a, b, c, d]) => {
                Some(u32::from_le_bytes([*a, *b, *c, *d])).filter(|id| ids.contains(id))
            }
            (index @ 1..=0xfd, []) => ids.get(usize::from(index) - 1).copied(),
            _ => return Err(Reply::code(Completion::LENGTH_INVALID)),
        };
        let found = wanted.and_then(|id| Some((id, self.sessions.get(&id)?)));
        if found.is_none() && request.index >= 0xfe {
            return Err(Reply::code(Completion::NOT_PRESENT));
        }
        let small = |count: usize| u8::try_from(count.min(0x3f)).unwrap_or(0x3f);
        let place = |id| ids.iter().position(|it| *it == id).map_or(0, |at| small(at + 1));
        let session = found.map(|(_, session)| {
            let mut fields = vec![session.slot, session.privilege.bits(), 0x10 | LAN_CHANNEL];
            fields.extend(match session.source.ip() {
                std::net::IpAddr::V4(ip) => ip.octets(),
                std::net::IpAddr::V6(_) => [0; 4],
            });
            // The console's hardware address is not seen here.
            fields.extend([0; 6]);
            fields.extend(session.source.port().to_le_bytes());
            fields
        });
        Ok(Reply::ok(&get_session_info::Response {
            handle: found.map_or(0, |(id, _)| place(id)),
            possible: small(super::limits::SESSIONS_MAX),
            active: small(ids.len()),
            session: session.unwrap_or_default(),
        }))
    }

    fn close(&mut self, ticket: Ticket, data: &[u8]) -> Vec<Out> {
        let request: close_session::Request = match read(data) {
            Ok(request) => request,
            Err(refusal) => return self.on_reply(ticket, &refusal),
        };
        let id = request.session_id;
        let privilege = self.sessions.get(&ticket.session).map(|session| session.privilege);
        let code = if id == ticket.session {
            Completion::OK
        } else if privilege < Some(Privilege::Administrator) {
            Completion::PRIVILEGE_TOO_LOW
        } else if self.sessions.contains_key(&id) {
            Completion::OK
        } else {
            Completion::NO_SUCH_SESSION
        };
        let outs = self.on_reply(ticket, &Reply::code(code));
        if code == Completion::OK {
            self.sessions.remove(&id);
        }
        outs
    }

    /// Cold or warm: the answer goes out first, then [`Out::Reset`]; a cold one ends all sessions
    /// a moment later.
    fn reset(&mut self, ticket: Ticket, reset: Result<Reset, Reply>, now: Duration) -> Vec<Out> {
        let reset = match reset {
            Ok(reset) => reset,
            Err(refusal) => return self.on_reply(ticket, &refusal),
        };
        let mut outs = self.on_reply(ticket, &Reply::code(Completion::OK));
        if reset == Reset::Cold {
            self.half_open.clear();
            for session in self.sessions.values_mut() {
                session.end_soon(now);
            }
        }
        outs.push(Out::Reset(reset));
        outs
    }
}

fn channel_access(data: &[u8]) -> Result<Reply, Reply> {
    let request: get_channel_access::Request = read(data)?;
    if !is_lan(request.channel) || !matches!(request.which, 1 | 2) {
        return Err(Reply::code(Completion::INVALID_FIELD));
    }
    // Always available, everything authenticated, no alerts.
    let privilege = Privilege::Administrator.bits();
    Ok(Reply::ok(&get_channel_access::Response { access: 0x22, privilege }))
}

fn cipher_suites(data: &[u8]) -> Result<Reply, Reply> {
    let request: get_channel_cipher_suites::Request = read(data)?;
    if !is_lan(request.channel) {
        return Err(Reply::code(Completion::INVALID_FIELD));
    }
    let suites = CipherSuite::PREFERRED.map(CipherSuite::record);
    let all: Vec<u8> = if request.by_suite {
        suites.concat()
    } else {
        let mut algorithms: Vec<u8> =
            suites.iter().flat_map(|record| &record[2..]).copied().collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    };
    let page = usize::from(request.page) * get_channel_cipher_suites::PAGE;
    let records = all.into_iter().skip(page).take(get_channel_cipher_suites::PAGE).collect();
    Ok(Reply::ok(&get_channel_cipher_suites::Response { channel: LAN_CHANNEL, records }))
}
