//! The messages, one per file, each read and written: the server needs the one half of every
//! pair, the client the other.

pub mod activate_payload;
pub mod asf;
pub mod boot_option;
pub mod chassis_control;
pub mod chassis_identify;
pub mod close_session;
pub mod cold_reset;
pub mod deactivate_payload;
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
pub mod get_payload_activation_status;
pub mod get_payload_instance_info;
pub mod get_poh_counter;
pub mod get_restart_cause;
pub mod get_sel_time;
pub mod get_self_test;
pub mod get_system_guid;
pub mod lan;
pub mod open_session;
pub mod rakp1;
pub mod rakp2;
pub mod rakp3;
pub mod rakp4;
pub mod rmcp;
pub mod session_header;
pub mod session_header_v15;
pub mod set_boot_options;
pub mod set_session_privilege;
pub mod sol_packet;
pub mod status;
pub mod warm_reset;

use super::wire::{Decode, Encode, WireError};

/// Network function of the chassis commands.
pub const NETFN_CHASSIS: u8 = 0x00;
/// Network function of the application commands.
pub const NETFN_APP: u8 = 0x06;
/// Network function of the storage commands: events, sensor records, inventory.
pub const NETFN_STORAGE: u8 = 0x0a;

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
    get_sel_time::Request,
    get_sel_time::Response,
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
            walk(get_sel_time::response_vectors()),
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
            id::<get_sel_time::Request>(),
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
