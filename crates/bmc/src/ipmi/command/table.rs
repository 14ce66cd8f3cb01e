//! Every command there is: what it takes, what it does, who executes it (appendix G).
//!
//! A command that is not in the table is answered "invalid command" (0xc1). USER reads, OPERATOR
//! uses power and boot device, ADMINISTRATOR configures; boot options need OPERATOR even to be
//! read, as the specification has it.

use super::super::{
    msg::{
        activate_payload, add_sel_entry, chassis_control, chassis_identify, clear_sel,
        close_session, cold_reset, dcmi_asset_tag, dcmi_capabilities, dcmi_get_mc_id,
        deactivate_payload, delete_sel_entry, get_acpi_power_state, get_boot_options,
        get_channel_access, get_channel_auth_cap, get_channel_cipher_suites, get_channel_info,
        get_channel_payload_support, get_channel_payload_version, get_chassis_capabilities,
        get_chassis_status, get_device_guid, get_device_id, get_fru_area_info, get_global_enables,
        get_lan_parameter, get_payload_access, get_payload_activation_status,
        get_payload_instance_info, get_pef_capabilities, get_pef_parameter, get_poh_counter,
        get_restart_cause, get_sdr, get_sdr_repository_info, get_sel_allocation_info,
        get_sel_entry, get_sel_info, get_sel_time, get_self_test, get_sensor_event_enable,
        get_sensor_event_status, get_sensor_factors, get_sensor_hysteresis, get_sensor_reading,
        get_sensor_thresholds, get_sensor_type, get_session_info, get_sol_parameter,
        get_system_guid, get_system_info, get_user_access, get_user_name, get_watchdog,
        platform_event, read_fru, reserve_sdr_repository, reserve_sel, reset_watchdog,
        set_boot_options, set_global_enables, set_lan_parameter, set_pef_parameter,
        set_restore_policy, set_sel_time, set_session_privilege, set_sol_parameter,
        set_system_info, set_user_access, set_user_name, set_user_password, set_watchdog,
        warm_reset,
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
        entry::<get_sel_info::Request>(User, Read, Machine),
        entry::<get_sel_allocation_info::Request>(User, Read, Machine),
        entry::<reserve_sel::Request>(User, Change, Machine),
        entry::<get_sel_entry::Request>(User, Read, Machine),
        entry::<add_sel_entry::Request>(Operator, Change, Machine),
        entry::<delete_sel_entry::Request>(Operator, Change, Machine),
        entry::<clear_sel::Request>(Operator, Change, Machine),
        entry::<get_sel_time::Request>(User, Read, Machine),
        entry::<set_sel_time::Request>(Operator, Change, Machine),
        entry::<get_sdr_repository_info::Request>(User, Read, Machine),
        entry::<reserve_sdr_repository::Request>(User, Change, Machine),
        entry::<get_sdr::Request>(User, Read, Machine),
        entry::<get_fru_area_info::Request>(User, Read, Machine),
        entry::<read_fru::Request>(User, Read, Machine),
        entry::<platform_event::Request>(Operator, Change, Machine),
        entry::<get_pef_capabilities::Request>(User, Read, Machine),
        entry::<set_pef_parameter::Request>(Administrator, Change, Machine),
        entry::<get_pef_parameter::Request>(Operator, Read, Machine),
        entry::<get_sensor_factors::Request>(User, Read, Machine),
        entry::<get_sensor_hysteresis::Request>(User, Read, Machine),
        entry::<get_sensor_thresholds::Request>(User, Read, Machine),
        entry::<get_sensor_event_enable::Request>(User, Read, Machine),
        entry::<get_sensor_event_status::Request>(User, Read, Machine),
        entry::<get_sensor_reading::Request>(User, Read, Machine),
        entry::<get_sensor_type::Request>(User, Read, Machine),
        entry::<set_lan_parameter::Request>(Administrator, Change, Machine),
        entry::<get_lan_parameter::Request>(Operator, Read, Machine),
        entry::<set_sol_parameter::Request>(Administrator, Change, Machine),
        entry::<get_sol_parameter::Request>(User, Read, Machine),
        entry::<get_watchdog::Request>(User, Read, Machine),
        entry::<set_watchdog::Request>(Operator, Change, Machine),
        entry::<reset_watchdog::Request>(Operator, Change, Machine),
        entry::<set_global_enables::Request>(Administrator, Change, Machine),
        entry::<get_global_enables::Request>(User, Read, Machine),
        entry::<set_user_access::Request>(Administrator, Change, Machine),
        entry::<get_user_access::Request>(Operator, Read, Machine),
        entry::<set_user_name::Request>(Administrator, Change, Machine),
        entry::<get_user_name::Request>(Operator, Read, Machine),
        entry::<set_user_password::Request>(Administrator, Change, Machine),
        entry::<get_payload_access::Request>(Operator, Read, Machine),
        entry::<set_system_info::Request>(Administrator, Change, Machine),
        entry::<get_system_info::Request>(User, Read, Machine),
        entry::<get_session_info::Request>(User, Read, Session),
        entry::<set_restore_policy::Request>(Operator, Change, Machine),
        entry::<dcmi_capabilities::Request>(User, Read, Machine),
        entry::<dcmi_asset_tag::Request>(User, Read, Machine),
        entry::<dcmi_get_mc_id::Request>(User, Read, Machine),
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
