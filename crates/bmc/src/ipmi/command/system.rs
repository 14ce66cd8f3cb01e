//! What the controller does, and what the machine's own software told it.

use std::time::Duration;

use super::{
    Answer, Controller,
    lan::{REVISION, REVISION_ONLY},
    read, reply,
};
use crate::ipmi::{
    completion::Completion,
    msg::{
        get_global_enables, get_system_info, set_global_enables, set_restore_policy,
        set_system_info,
    },
    session::{Reply, Request},
    wire::Command,
};

/// Logging of system events (section 22.1).
const LOG_EVENTS: u8 = 0x08;
/// Every policy: off, as before, on.
const POLICIES: u8 = 0x07;
const POLICY_ONLY_ASKS: u8 = 3;
/// Bytes of a text in one block.
const BLOCK: usize = 16;
const TEXT_BLOCKS_MAX: u8 = 16;
const COMPLETE: u8 = 0;
const IN_PROGRESS: u8 = 1;
/// Whoever says "set in progress" and never "complete" is forgotten after this time.
const IN_PROGRESS_MAX: Duration = Duration::from_secs(60);
/// The machine's firmware; the controller knows it from the machine.
const SYSTEM_FIRMWARE: u8 = 1;

impl Controller {
    pub(super) fn answer_system(&self, request: &Request, now: Duration) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_global_enables::Request::CODE => {
                read::<get_global_enables::Request>(data)?;
                let log = self.nvram.read(|it| it.log_events);
                let flags = if log { LOG_EVENTS } else { 0 };
                reply(get_global_enables::Response { flags })
            }
            set_global_enables::Request::CODE => {
                let request: set_global_enables::Request = read(data)?;
                if request.flags & !LOG_EVENTS != 0 {
                    return Err(Completion::INVALID_FIELD);
                }
                self.nvram.change(|it| it.log_events = request.flags & LOG_EVENTS != 0);
                reply(set_global_enables::Response)
            }
            get_system_info::Request::CODE => {
                let request: get_system_info::Request = read(data)?;
                let [flags, parameter] = request.parameter;
                let value = self.system_info(parameter, request.set, now)?;
                let data = if flags & REVISION_ONLY == 0 { value } else { Vec::new() };
                reply(get_system_info::Response { revision: REVISION, data })
            }
            set_system_info::Request::CODE => reply(self.set_system_info(&read(data)?, now)?),
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    /// A parameter of table 22-16: its block, then sixteen bytes; block 0 starts with the
    /// encoding (0 is ASCII) and the length.
    fn system_info(&self, parameter: u8, set: u8, now: Duration) -> Answer<Vec<u8>> {
        let text = match parameter {
            0 => return Ok(vec![u8::from(self.is_setting_info(now))]),
            SYSTEM_FIRMWARE => {
                let mut text = self.machine.inventory().firmware_version.into_bytes();
                text.truncate(255);
                [&[0, u8::try_from(text.len()).unwrap_or(0)], text.as_slice()].concat()
            }
            2..=4 => {
                self.nvram.read(|it| it.system_info.get(&parameter).cloned()).unwrap_or_default()
            }
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        };
        let start = usize::from(set) * BLOCK;
        if set > 0 && start >= text.len() {
            return Err(Completion::PARAMETER_OUT_OF_RANGE);
        }
        let mut block: Vec<u8> = text.into_iter().skip(start).take(BLOCK).collect();
        block.resize(BLOCK, 0);
        block.insert(0, set);
        Ok(block)
    }

    fn set_system_info(
        &self,
        request: &set_system_info::Request,
        now: Duration,
    ) -> Answer<set_system_info::Response> {
        match (request.parameter, request.data.as_slice()) {
            // One writer at a time, if the writers ask.
            (0, [IN_PROGRESS]) if self.is_setting_info(now) => {
                return Err(Completion::SET_IN_PROGRESS);
            }
            (0, [IN_PROGRESS]) => {
                self.volatile().system_info_until = Some(now + IN_PROGRESS_MAX);
            }
            (0, [COMPLETE]) => self.volatile().system_info_until = None,
            // Nothing is held back that could be committed.
            (SYSTEM_FIRMWARE, _) => return Err(Completion::READ_ONLY),
            (2..=4, [set, data @ ..]) if *set < TEXT_BLOCKS_MAX && data.len() <= BLOCK => {
                let start = usize::from(*set) * BLOCK;
                self.nvram.change(|nvram| {
                    let text = nvram.system_info.entry(request.parameter).or_default();
                    // The first block begins the text anew.
                    text.truncate(start);
                    text.resize(start, 0);
                    text.extend_from_slice(data);
                });
            }
            (0 | 2..=4, _) => return Err(Completion::INVALID_FIELD),
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        }
        Ok(set_system_info::Response)
    }

    fn is_setting_info(&self, now: Duration) -> bool {
        self.volatile().system_info_until.is_some_and(|until| until > now)
    }

    /// Kept, shown by Get Chassis Status, and acted upon when the controller starts again.
    pub(super) fn restore_policy(
        &self,
        request: &set_restore_policy::Request,
    ) -> Answer<set_restore_policy::Response> {
        match request.policy & 0x07 {
            POLICY_ONLY_ASKS => {}
            policy @ 0..=2 => self.nvram.change(|it| it.restore_policy = Some(policy)),
            _ => return Err(Completion::INVALID_FIELD),
        }
        Ok(set_restore_policy::Response { supported: POLICIES })
    }
}
