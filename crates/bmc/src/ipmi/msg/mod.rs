//! The messages, one per file, each read and written: the server needs the one half of every
//! pair, the client the other.

pub mod activate_payload;
pub mod add_sel_entry;
pub mod asf;
pub mod boot_option;
pub mod chassis_control;
pub mod chassis_identify;
pub mod clear_sel;
pub mod close_session;
pub mod cold_reset;
pub mod dcmi_asset_tag;
pub mod dcmi_capabilities;
pub mod dcmi_get_mc_id;
pub mod deactivate_payload;
pub mod delete_sel_entry;
pub mod get_acpi_power_state;
pub mod get_boot_options;
pub mod get_channel_access;
pub mod get_channel_auth_cap;
pub mod get_channel_cipher_suites;
pub mod get_channel_info;
pub mod get_channel_payload_support;
pub mod get_channel_payload_version;
pub mod get_chassis_capabilities;
pub mod get_chassis_status;
pub mod get_device_guid;
pub mod get_device_id;
pub mod get_fru_area_info;
pub mod get_global_enables;
pub mod get_lan_parameter;
pub mod get_payload_access;
pub mod get_payload_activation_status;
pub mod get_payload_instance_info;
pub mod get_pef_capabilities;
pub mod get_pef_parameter;
pub mod get_poh_counter;
pub mod get_restart_cause;
pub mod get_sdr;
pub mod get_sdr_repository_info;
pub mod get_sel_allocation_info;
pub mod get_sel_entry;
pub mod get_sel_info;
pub mod get_sel_time;
pub mod get_self_test;
pub mod get_sensor_event_enable;
pub mod get_sensor_event_status;
pub mod get_sensor_factors;
pub mod get_sensor_hysteresis;
pub mod get_sensor_reading;
pub mod get_sensor_thresholds;
pub mod get_sensor_type;
pub mod get_session_info;
pub mod get_sol_parameter;
pub mod get_system_guid;
pub mod get_system_info;
pub mod get_user_access;
pub mod get_user_name;
pub mod get_watchdog;
pub mod lan;
mod layout;
pub mod open_session;
pub mod platform_event;
pub mod rakp1;
pub mod rakp2;
pub mod rakp3;
pub mod rakp4;
pub mod read_fru;
pub mod reserve_sdr_repository;
pub mod reserve_sel;
pub mod reset_watchdog;
pub mod rmcp;
pub mod session_header;
pub mod session_header_v15;
pub mod set_boot_options;
pub mod set_global_enables;
pub mod set_lan_parameter;
pub mod set_payload_access;
pub mod set_pef_parameter;
pub mod set_restore_policy;
pub mod set_sel_time;
pub mod set_session_privilege;
pub mod set_sol_parameter;
pub mod set_system_info;
pub mod set_user_access;
pub mod set_user_name;
pub mod set_user_password;
pub mod set_watchdog;
pub mod sol_packet;
pub mod status;
pub mod warm_reset;

use super::wire::{Decode, Encode, WireError};

/// Network function of the chassis commands.
pub const NETFN_CHASSIS: u8 = 0x00;
/// Network function of the application commands.
pub const NETFN_APP: u8 = 0x06;
/// Network function of the sensor and event commands.
pub const NETFN_SENSOR: u8 = 0x04;
/// Network function of the storage commands: event log, sensor records, inventory.
pub const NETFN_STORAGE: u8 = 0x0a;
/// Network function of the transport commands: LAN, Serial over LAN.
pub const NETFN_TRANSPORT: u8 = 0x0c;
/// Network function of bodies outside of IPMI; the first byte names them, 0xdc is DCMI.
pub const NETFN_GROUP: u8 = 0x2c;

/// What was read must be read again from what it writes: the property of every codec here.
fn survives<T: Decode + Encode + PartialEq>(bytes: &[u8]) -> Result<bool, WireError> {
    let value = T::decode(bytes)?;
    Ok(T::decode(&value.to_bytes()).is_ok_and(|again| again == value))
}

macro_rules! codecs {
    ($($module:ident :: $message:ident),+ $(,)?) => {
        /// Reads `bytes` as every message there is, for fuzzing: the names of those that took
        /// them and did not survive being written and read again. Always empty.
        #[must_use]
        pub fn unfaithful(bytes: &[u8]) -> Vec<&'static str> {
            let mut names = Vec::new();
            $(
                if survives::<$module::$message>(bytes) == Ok(false) {
                    names.push(concat!(stringify!($module), "::", stringify!($message)));
                }
            )+
            names
        }
    };
}

codecs!(
    get_sel_info::Request,
    get_sel_info::Response,
    get_sel_allocation_info::Request,
    get_sel_allocation_info::Response,
    reserve_sel::Request,
    reserve_sel::Response,
    get_sel_entry::Request,
    get_sel_entry::Response,
    add_sel_entry::Request,
    add_sel_entry::Response,
    delete_sel_entry::Request,
    delete_sel_entry::Response,
    clear_sel::Request,
    clear_sel::Response,
    get_sel_time::Request,
    get_sel_time::Response,
    set_sel_time::Request,
    set_sel_time::Response,
    get_sdr_repository_info::Request,
    get_sdr_repository_info::Response,
    reserve_sdr_repository::Request,
    reserve_sdr_repository::Response,
    get_sdr::Request,
    get_sdr::Response,
    get_fru_area_info::Request,
    get_fru_area_info::Response,
    read_fru::Request,
    read_fru::Response,
    platform_event::Request,
    platform_event::Response,
    get_pef_capabilities::Request,
    get_pef_capabilities::Response,
    set_pef_parameter::Request,
    set_pef_parameter::Response,
    get_pef_parameter::Request,
    get_pef_parameter::Response,
    get_sensor_factors::Request,
    get_sensor_factors::Response,
    get_sensor_hysteresis::Request,
    get_sensor_hysteresis::Response,
    get_sensor_thresholds::Request,
    get_sensor_thresholds::Response,
    get_sensor_event_enable::Request,
    get_sensor_event_enable::Response,
    get_sensor_event_status::Request,
    get_sensor_event_status::Response,
    get_sensor_reading::Request,
    get_sensor_reading::Response,
    get_sensor_type::Request,
    get_sensor_type::Response,
    set_lan_parameter::Request,
    set_lan_parameter::Response,
    get_lan_parameter::Request,
    get_lan_parameter::Response,
    set_sol_parameter::Request,
    set_sol_parameter::Response,
    get_sol_parameter::Request,
    get_sol_parameter::Response,
    get_watchdog::Request,
    set_watchdog::Request,
    set_watchdog::Response,
    reset_watchdog::Request,
    reset_watchdog::Response,
    get_watchdog::Response,
    set_global_enables::Request,
    set_global_enables::Response,
    get_global_enables::Request,
    get_global_enables::Response,
    set_user_access::Request,
    set_user_access::Response,
    get_user_access::Request,
    get_user_access::Response,
    set_user_name::Request,
    set_user_name::Response,
    get_user_name::Request,
    get_user_name::Response,
    set_user_password::Request,
    set_user_password::Response,
    set_payload_access::Request,
    set_payload_access::Response,
    get_payload_access::Request,
    get_payload_access::Response,
    set_system_info::Request,
    set_system_info::Response,
    get_system_info::Request,
    get_system_info::Response,
    get_session_info::Request,
    get_session_info::Response,
    set_restore_policy::Request,
    set_restore_policy::Response,
    dcmi_capabilities::Request,
    dcmi_capabilities::Response,
    dcmi_asset_tag::Request,
    dcmi_asset_tag::Response,
    dcmi_get_mc_id::Request,
    dcmi_get_mc_id::Response,
    activate_payload::Request,
    activate_payload::Response,
    asf::Ping,
    asf::Pong,
    chassis_control::Request,
    chassis_control::Response,
    chassis_identify::Request,
    chassis_identify::Response,
    close_session::Request,
    close_session::Response,
    cold_reset::Request,
    cold_reset::Response,
    deactivate_payload::Request,
    deactivate_payload::Response,
    get_acpi_power_state::Request,
    get_acpi_power_state::Response,
    get_boot_options::Request,
    get_boot_options::Response,
    get_channel_access::Request,
    get_channel_access::Response,
    get_channel_auth_cap::Request,
    get_channel_auth_cap::Response,
    get_channel_cipher_suites::Request,
    get_channel_cipher_suites::Response,
    get_channel_info::Request,
    get_channel_info::Response,
    get_channel_payload_support::Request,
    get_channel_payload_support::Response,
    get_channel_payload_version::Request,
    get_channel_payload_version::Response,
    get_chassis_capabilities::Request,
    get_chassis_capabilities::Response,
    get_chassis_status::Request,
    get_chassis_status::Response,
    get_device_guid::Request,
    get_device_guid::Response,
    get_device_id::Request,
    get_device_id::Response,
    get_payload_activation_status::Request,
    get_payload_activation_status::Response,
    get_payload_instance_info::Request,
    get_payload_instance_info::Response,
    get_poh_counter::Request,
    get_poh_counter::Response,
    get_restart_cause::Request,
    get_restart_cause::Response,
    get_self_test::Request,
    get_self_test::Response,
    get_system_guid::Request,
    get_system_guid::Response,
    lan::LanRequest,
    lan::LanResponse,
    open_session::Request,
    open_session::Response,
    rakp1::Rakp1,
    rakp2::Rakp2,
    rakp3::Rakp3,
    rakp4::Rakp4,
    rmcp::RmcpHeader,
    session_header::SessionHeader,
    session_header_v15::SessionHeaderV15,
    set_boot_options::Request,
    set_boot_options::Response,
    set_session_privilege::Request,
    set_session_privilege::Response,
    sol_packet::SolPacket,
    warm_reset::Request,
    warm_reset::Response,
);

#[cfg(test)]
type Vectors<T> = Vec<(&'static str, &'static [u8], T)>;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn walk<T: Decode + Encode + PartialEq + Debug>(vectors: Vectors<T>) -> Vec<&'static [u8]> {
        for (name, bytes, value) in &vectors {
            assert_eq!(T::decode(bytes).as_ref(), Ok(value), "read {name}");
            assert_eq!(value.to_bytes(), *bytes, "write {name}");
            for end in 0..bytes.len() {
                let _ = T::decode(&bytes[..end]);
            }
        }
        vectors.into_iter().map(|(_, bytes, _)| bytes).collect()
    }

    fn all() -> Vec<&'static [u8]> {
        [
            walk(get_sel_info::response_vectors()),
            walk(get_sel_allocation_info::response_vectors()),
            walk(reserve_sel::response_vectors()),
            walk(get_sel_entry::request_vectors()),
            walk(add_sel_entry::response_vectors()),
            walk(delete_sel_entry::request_vectors()),
            walk(clear_sel::request_vectors()),
            walk(clear_sel::response_vectors()),
            walk(get_sel_time::response_vectors()),
            walk(set_sel_time::request_vectors()),
            walk(get_sdr_repository_info::response_vectors()),
            walk(reserve_sdr_repository::response_vectors()),
            walk(get_sdr::request_vectors()),
            walk(get_fru_area_info::request_vectors()),
            walk(get_fru_area_info::response_vectors()),
            walk(read_fru::request_vectors()),
            walk(platform_event::request_vectors()),
            walk(get_pef_capabilities::response_vectors()),
            walk(set_pef_parameter::request_vectors()),
            walk(get_pef_parameter::request_vectors()),
            walk(get_pef_parameter::response_vectors()),
            walk(get_sensor_factors::request_vectors()),
            walk(get_sensor_hysteresis::request_vectors()),
            walk(get_sensor_hysteresis::response_vectors()),
            walk(get_sensor_thresholds::request_vectors()),
            walk(get_sensor_thresholds::response_vectors()),
            walk(get_sensor_event_enable::request_vectors()),
            walk(get_sensor_event_enable::response_vectors()),
            walk(get_sensor_event_status::request_vectors()),
            walk(get_sensor_reading::request_vectors()),
            walk(get_sensor_reading::response_vectors()),
            walk(get_sensor_type::request_vectors()),
            walk(get_sensor_type::response_vectors()),
            walk(set_lan_parameter::request_vectors()),
            walk(get_lan_parameter::request_vectors()),
            walk(get_lan_parameter::response_vectors()),
            walk(set_sol_parameter::request_vectors()),
            walk(get_sol_parameter::request_vectors()),
            walk(get_sol_parameter::response_vectors()),
            walk(get_watchdog::response_vectors()),
            walk(set_watchdog::request_vectors()),
            walk(set_global_enables::request_vectors()),
            walk(get_global_enables::response_vectors()),
            walk(set_user_access::request_vectors()),
            walk(get_user_access::request_vectors()),
            walk(get_user_access::response_vectors()),
            walk(set_user_name::request_vectors()),
            walk(get_user_name::request_vectors()),
            walk(set_user_password::request_vectors()),
            walk(set_payload_access::request_vectors()),
            walk(get_payload_access::request_vectors()),
            walk(get_payload_access::response_vectors()),
            walk(set_system_info::request_vectors()),
            walk(get_system_info::request_vectors()),
            walk(get_session_info::request_vectors()),
            walk(get_session_info::response_vectors()),
            walk(set_restore_policy::request_vectors()),
            walk(set_restore_policy::response_vectors()),
            walk(dcmi_capabilities::request_vectors()),
            walk(dcmi_capabilities::response_vectors()),
            walk(dcmi_asset_tag::request_vectors()),
            walk(dcmi_get_mc_id::request_vectors()),
            walk(activate_payload::request_vectors()),
            walk(activate_payload::response_vectors()),
            walk(asf::ping_vectors()),
            walk(asf::pong_vectors()),
            walk(chassis_control::request_vectors()),
            walk(chassis_identify::request_vectors()),
            walk(close_session::request_vectors()),
            walk(deactivate_payload::request_vectors()),
            walk(get_acpi_power_state::response_vectors()),
            walk(get_boot_options::request_vectors()),
            walk(get_boot_options::response_vectors()),
            walk(get_channel_access::request_vectors()),
            walk(get_channel_access::response_vectors()),
            walk(get_channel_auth_cap::request_vectors()),
            walk(get_channel_auth_cap::response_vectors()),
            walk(get_channel_cipher_suites::request_vectors()),
            walk(get_channel_cipher_suites::response_vectors()),
            walk(get_channel_info::request_vectors()),
            walk(get_channel_info::response_vectors()),
            walk(get_channel_payload_support::request_vectors()),
            walk(get_channel_payload_support::response_vectors()),
            walk(get_channel_payload_version::request_vectors()),
            walk(get_channel_payload_version::response_vectors()),
            walk(get_chassis_capabilities::response_vectors()),
            walk(get_chassis_status::response_vectors()),
            walk(get_device_guid::response_vectors()),
            walk(get_device_id::response_vectors()),
            walk(get_payload_activation_status::request_vectors()),
            walk(get_payload_activation_status::response_vectors()),
            walk(get_payload_instance_info::request_vectors()),
            walk(get_payload_instance_info::response_vectors()),
            walk(get_poh_counter::response_vectors()),
            walk(get_restart_cause::response_vectors()),
            walk(get_self_test::response_vectors()),
            walk(get_system_guid::response_vectors()),
            walk(lan::request_vectors()),
            walk(lan::response_vectors()),
            walk(open_session::request_vectors()),
            walk(open_session::response_vectors()),
            walk(rakp1::vectors()),
            walk(rakp2::vectors()),
            walk(rakp3::vectors()),
            walk(rakp4::vectors()),
            walk(rmcp::vectors()),
            walk(session_header::vectors()),
            walk(session_header_v15::vectors()),
            walk(set_boot_options::request_vectors()),
            walk(set_session_privilege::request_vectors()),
            walk(set_session_privilege::response_vectors()),
            walk(sol_packet::vectors()),
        ]
        .concat()
    }

    #[test]
    fn vectors_read_and_write() {
        assert!(all().len() > 40);
    }

    #[test]
    fn commands_have_numbers_of_their_own() {
        use crate::ipmi::wire::Command;
        fn id<C: Command>() -> (u8, u8) {
            (C::NETFN, C::CODE)
        }
        let mut ids = vec![
            id::<get_sel_info::Request>(),
            id::<get_sel_allocation_info::Request>(),
            id::<reserve_sel::Request>(),
            id::<get_sel_entry::Request>(),
            id::<add_sel_entry::Request>(),
            id::<delete_sel_entry::Request>(),
            id::<clear_sel::Request>(),
            id::<get_sel_time::Request>(),
            id::<set_sel_time::Request>(),
            id::<get_sdr_repository_info::Request>(),
            id::<reserve_sdr_repository::Request>(),
            id::<get_sdr::Request>(),
            id::<get_fru_area_info::Request>(),
            id::<read_fru::Request>(),
            id::<platform_event::Request>(),
            id::<get_pef_capabilities::Request>(),
            id::<set_pef_parameter::Request>(),
            id::<get_pef_parameter::Request>(),
            id::<get_sensor_factors::Request>(),
            id::<get_sensor_hysteresis::Request>(),
            id::<get_sensor_thresholds::Request>(),
            id::<get_sensor_event_enable::Request>(),
            id::<get_sensor_event_status::Request>(),
            id::<get_sensor_reading::Request>(),
            id::<get_sensor_type::Request>(),
            id::<set_lan_parameter::Request>(),
            id::<get_lan_parameter::Request>(),
            id::<set_sol_parameter::Request>(),
            id::<get_sol_parameter::Request>(),
            id::<get_watchdog::Request>(),
            id::<set_watchdog::Request>(),
            id::<reset_watchdog::Request>(),
            id::<set_global_enables::Request>(),
            id::<get_global_enables::Request>(),
            id::<set_user_access::Request>(),
            id::<get_user_access::Request>(),
            id::<set_user_name::Request>(),
            id::<get_user_name::Request>(),
            id::<set_user_password::Request>(),
            id::<set_payload_access::Request>(),
            id::<get_payload_access::Request>(),
            id::<set_system_info::Request>(),
            id::<get_system_info::Request>(),
            id::<get_session_info::Request>(),
            id::<set_restore_policy::Request>(),
            id::<dcmi_capabilities::Request>(),
            id::<dcmi_asset_tag::Request>(),
            id::<dcmi_get_mc_id::Request>(),
            id::<activate_payload::Request>(),
            id::<chassis_control::Request>(),
            id::<chassis_identify::Request>(),
            id::<close_session::Request>(),
            id::<cold_reset::Request>(),
            id::<deactivate_payload::Request>(),
            id::<get_acpi_power_state::Request>(),
            id::<get_boot_options::Request>(),
            id::<get_channel_access::Request>(),
            id::<get_channel_auth_cap::Request>(),
            id::<get_channel_cipher_suites::Request>(),
            id::<get_channel_info::Request>(),
            id::<get_channel_payload_support::Request>(),
            id::<get_channel_payload_version::Request>(),
            id::<get_chassis_capabilities::Request>(),
            id::<get_chassis_status::Request>(),
            id::<get_device_guid::Request>(),
            id::<get_device_id::Request>(),
            id::<get_payload_activation_status::Request>(),
            id::<get_payload_instance_info::Request>(),
            id::<get_poh_counter::Request>(),
            id::<get_restart_cause::Request>(),
            id::<get_self_test::Request>(),
            id::<get_system_guid::Request>(),
            id::<set_boot_options::Request>(),
            id::<set_session_privilege::Request>(),
            id::<warm_reset::Request>(),
        ];
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(unfaithful(&bytes), Vec::<&str>::new());
        }

        /// Vectors with a few bytes changed, cut or added come closer to being valid.
        #[test]
        fn changed_vectors(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in 0usize..4,
            added in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let all = all();
            let mut bytes = which.get(&all).to_vec();
            for (at, value) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.extend(added);
            prop_assert_eq!(unfaithful(&bytes), Vec::<&str>::new());
        }
    }
}
