//! Every command there is: what it takes, what it does, who executes it (appendix G).
//!
//! A command that is not in the table is answered "invalid command" (0xc1). USER reads, OPERATOR
//! uses power and boot device, ADMINISTRATOR configures; boot options need OPERATOR even to be
//! read, as the specification has it.

use super::super::{
    msg::{
        activate_payload, chassis_control, chassis_identify, close_session, cold_reset,
        deactivate_payload, get_acpi_power_state, get_boot_options, get_channel_access,
        get_channel_auth_cap, get_channel_cipher_suites, get_channel_info,
        get_channel_payload_support, get_channel_payload_version, get_chassis_capabilities,
        get_chassis_status, get_device_guid, get_device_id, get_payload_activation_status,
        get_payload_instance_info, get_poh_counter, get_restart_cause, get_self_test,
        get_system_guid, set_boot_options, set_session_privilege, warm_reset,
    },
    privilege::Privilege,
    wire::Command,
};

/// What executing a command again would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it only reads.
    Read,
    /// It changes something, so a retransmission is answered from memory.
    Change,
}

/// Who executes a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// [`super::super::session::Sessions`].
    Session,
    /// [`super::Controller`].
    Machine,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Network function.
    pub netfn: u8,
    /// Number.
    pub code: u8,
    /// For logs.
    pub name: &'static str,
    /// Lowest level that may use it.
    pub privilege: Privilege,
    /// What it does.
    pub effect: Effect,
    /// Who does it.
    pub executor: Executor,
}

const fn entry<C: Command>(privilege: Privilege, effect: Effect, executor: Executor) -> Entry {
    Entry { netfn: C::NETFN, code: C::CODE, name: C::NAME, privilege, effect, executor }
}

/// The table.
pub const COMMANDS: &[Entry] = {
    use Effect::{Change, Read};
    use Executor::{Machine, Session};
    use Privilege::{Administrator, Callback, Operator, User};
    &[
        entry::<get_chassis_status::Request>(User, Read, Machine),
        entry::<get_channel_auth_cap::Request>(Callback, Read, Session),
        entry::<get_channel_cipher_suites::Request>(Callback, Read, Session),
        entry::<get_system_guid::Request>(Callback, Read, Session),
        entry::<set_session_privilege::Request>(Callback, Change, Session),
        entry::<close_session::Request>(Callback, Change, Session),
        entry::<get_channel_info::Request>(User, Read, Session),
        entry::<get_channel_access::Request>(User, Read, Session),
        entry::<get_channel_payload_support::Request>(User, Read, Session),
        entry::<get_channel_payload_version::Request>(User, Read, Session),
        entry::<get_payload_activation_status::Request>(User, Read, Session),
        entry::<get_payload_instance_info::Request>(User, Read, Session),
        entry::<activate_payload::Request>(Operator, Change, Session),
        entry::<deactivate_payload::Request>(Operator, Change, Session),
        entry::<cold_reset::Request>(Administrator, Change, Session),
        entry::<warm_reset::Request>(Administrator, Change, Session),
        entry::<get_device_id::Request>(User, Read, Machine),
        entry::<get_device_guid::Request>(User, Read, Machine),
        entry::<get_self_test::Request>(User, Read, Machine),
        entry::<get_acpi_power_state::Request>(User, Read, Machine),
        entry::<get_chassis_capabilities::Request>(User, Read, Machine),
        entry::<chassis_control::Request>(Operator, Change, Machine),
        entry::<chassis_identify::Request>(Operator, Change, Machine),
        entry::<get_restart_cause::Request>(User, Read, Machine),
        entry::<get_poh_counter::Request>(User, Read, Machine),
        entry::<set_boot_options::Request>(Operator, Change, Machine),
        entry::<get_boot_options::Request>(Operator, Read, Machine),
    ]
};

/// The line of a command.
#[must_use]
pub fn find(netfn: u8, code: u8) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.netfn == netfn && entry.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_once() {
        for entry in COMMANDS {
            assert_eq!(find(entry.netfn, entry.code), Some(entry), "{}", entry.name);
        }
    }
}
