//! The boot options: parameters 0, 3, 4, 5 and 7, and the sixty seconds within which boot flags
//! have to be used (table 28-14).

use std::time::Duration;

use super::{Answer, Controller};
use crate::ipmi::{
    completion::Completion,
    machine::{BootFlags, PowerAction},
    msg::{
        boot_option::{BootOption, KEEP_WITHOUT_COMMAND, MAILBOX_BLOCK, parameter},
        get_boot_options, set_boot_options,
    },
};

/// Boot flags lose their validity after this time without a power command.
const VALID_MAX: Duration = Duration::from_secs(60);
/// Whoever says "set in progress" and never "complete" is forgotten after this time.
const IN_PROGRESS_MAX: Duration = Duration::from_secs(60);
const COMPLETE: u8 = 0;
const IN_PROGRESS: u8 = 1;
const MAILBOX_BLOCKS: usize = 5;

/// What the controller itself remembers; the flags are the machine's.
#[derive(Debug, Default)]
pub(super) struct BootOptions {
    in_progress_until: Option<Duration>,
    valid_bit_clearing: u8,
    acknowledge: u8,
    mailbox: [[u8; MAILBOX_BLOCK]; MAILBOX_BLOCKS],
    /// Until when which flags hold, unless a power command comes.
    expires: Option<(Duration, BootFlags)>,
}

impl BootOptions {
    pub(super) fn expires_at(&self) -> Option<Duration> {
        self.expires.map(|(at, _)| at)
    }

    /// A power command that boots uses the flags; any other starts the sixty seconds again.
    pub(super) fn on_chassis_control(&mut self, action: PowerAction, now: Duration) {
        self.expires = match self.expires {
            Some((_, flags)) if !action.boots() => Some((now + VALID_MAX, flags)),
            _ => None,
        };
    }

    fn is_in_progress(&self, now: Duration) -> bool {
        self.in_progress_until.is_some_and(|until| until > now)
    }

    fn set_in_progress(&mut self, value: u8, now: Duration) -> Answer<()> {
        match value {
            IN_PROGRESS if self.is_in_progress(now) => return Err(Completion::SET_IN_PROGRESS),
            IN_PROGRESS => self.in_progress_until = Some(now + IN_PROGRESS_MAX),
            COMPLETE => self.in_progress_until = None,
            // "Commit": every value is in force as soon as it is set.
            _ => {}
        }
        Ok(())
    }

    fn set_mailbox(&mut self, block: u8, data: &[u8]) -> Answer<()> {
        let block =
            self.mailbox.get_mut(usize::from(block)).ok_or(Completion::PARAMETER_OUT_OF_RANGE)?;
        for (to, from) in block.iter_mut().zip(data) {
            *to = *from;
        }
        Ok(())
    }

    /// Flags for every boot hold until they are changed: nobody who asks for "persistent" means
    /// sixty seconds.
    fn flags_set(&mut self, flags: BootFlags, now: Duration) {
        let keep = self.valid_bit_clearing & KEEP_WITHOUT_COMMAND != 0;
        let limited = flags.valid && !flags.persistent && !keep;
        self.expires = limited.then_some((now + VALID_MAX, flags));
    }
}

impl Controller {
    pub(super) async fn set_boot_option(
        &self,
        request: set_boot_options::Request,
        now: Duration,
    ) -> Answer<set_boot_options::Response> {
        let known = [
            parameter::SET_IN_PROGRESS,
            parameter::VALID_BIT_CLEARING,
            parameter::INFO_ACKNOWLEDGE,
            parameter::BOOT_FLAGS,
            parameter::INITIATOR_MAILBOX,
        ];
        if !known.contains(&request.parameter) {
            return Err(Completion::PARAMETER_NOT_SUPPORTED);
        }
        if request.invalid {
            // No parameter can be locked.
            return Err(Completion::INVALID_FIELD);
        }
        match request.option {
            // "Mark it valid": it is.
            None => {}
            Some(BootOption::SetInProgress(value)) => {
                self.volatile().boot.set_in_progress(value, now)?;
            }
            // The other bits keep the flags over a start that is not by Chassis Control: those
            // starts use them up here.
            Some(BootOption::ValidBitClearing(bits)) if bits & !KEEP_WITHOUT_COMMAND != 0 => {
                return Err(Completion::INVALID_FIELD);
            }
            Some(BootOption::ValidBitClearing(bits)) => {
                let boot = &mut self.volatile().boot;
                boot.valid_bit_clearing = bits;
                if bits & KEEP_WITHOUT_COMMAND != 0 {
                    boot.expires = None;
                }
            }
            Some(BootOption::InfoAcknowledge { mask, data }) => {
                let boot = &mut self.volatile().boot;
                boot.acknowledge = boot.acknowledge & !mask | data & mask;
            }
            Some(BootOption::BootFlags(flags)) => {
                self.ask(self.machine.set_boot_flags(flags)).await?;
                self.volatile().boot.flags_set(flags, now);
            }
            Some(BootOption::Mailbox { block, data }) => {
                self.volatile().boot.set_mailbox(block, &data)?;
            }
            Some(BootOption::Other { .. }) => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        }
        Ok(set_boot_options::Response)
    }

    pub(super) async fn boot_option(
        &self,
        request: get_boot_options::Request,
        now: Duration,
    ) -> Answer<get_boot_options::Response> {
        let option = match request.parameter {
            parameter::BOOT_FLAGS => {
                BootOption::BootFlags(self.ask(self.machine.boot_flags()).await?)
            }
            parameter::SET_IN_PROGRESS => {
                let in_progress = self.volatile().boot.is_in_progress(now);
                BootOption::SetInProgress(if in_progress { IN_PROGRESS } else { COMPLETE })
            }
            parameter::VALID_BIT_CLEARING => {
                BootOption::ValidBitClearing(self.volatile().boot.valid_bit_clearing)
            }
            parameter::INFO_ACKNOWLEDGE => {
                BootOption::InfoAcknowledge { mask: 0, data: self.volatile().boot.acknowledge }
            }
            parameter::INITIATOR_MAILBOX => {
                let volatile = self.volatile();
                let block = volatile.boot.mailbox.get(usize::from(request.set));
                let data = block.ok_or(Completion::PARAMETER_OUT_OF_RANGE)?.to_vec();
                BootOption::Mailbox { block: request.set, data }
            }
            _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
        };
        Ok(get_boot_options::Response { invalid: false, option })
    }

    /// Boot flags for one boot go with the controller's power (table 28-14, "semi-volatile");
    /// those for every boot are the firmware's by then.
    pub(super) async fn forget_boot_flags(&self) {
        let flags = self.ask(self.machine.boot_flags()).await;
        if flags.is_ok_and(|flags| flags.valid && !flags.persistent) {
            let result = self.ask(self.machine.set_boot_flags(BootFlags::NONE)).await;
            let error = result.err().map(tracing::field::display);
            tracing::info!(machine = self.identity.name, error, "cold reset forgot boot flags");
        }
    }

    pub(super) async fn expire_boot_flags(&self, now: Duration) {
        let due = {
            let boot = &mut self.volatile().boot;
            boot.expires.take_if(|(at, _)| *at <= now)
        };
        let Some((_, flags)) = due else { return };
        // Whoever has set other flags since, or used these up, is not to be disturbed.
        if self.ask(self.machine.boot_flags()).await == Ok(flags) {
            let expired = BootFlags { valid: false, ..flags };
            let result = self.ask(self.machine.set_boot_flags(expired)).await;
            let error = result.err().map(tracing::field::display);
            tracing::info!(machine = self.identity.name, error, "boot flags expired unused");
        }
    }
}
