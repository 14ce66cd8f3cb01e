//! Who the controller is, and how it and the machine are.

use super::{Answer, Controller};
use crate::ipmi::{
    crypto,
    machine::PowerState,
    msg::{get_acpi_power_state, get_device_guid, get_device_id, get_self_test},
};

/// ACPI: working.
const S0: u8 = 0;
/// ACPI: soft off.
const S5: u8 = 5;

/// Binary coded decimal, for 0 to 99.
fn bcd(number: u8) -> u8 {
    let number = number.min(99);
    ((number / 10) << 4) | (number % 10)
}

pub(super) fn self_test(_: get_self_test::Request) -> get_self_test::Response {
    let (result, detail) = if crypto::self_test() { (0x55, 0) } else { (0x58, 1) };
    get_self_test::Response { result, detail }
}

impl Controller {
    pub(super) fn device_id(&self, _: get_device_id::Request) -> get_device_id::Response {
        let (major, minor) = self.identity.firmware;
        get_device_id::Response {
            device_id: 0x20,
            device_revision: 1,
            firmware_major: major & 0x7f,
            firmware_minor: bcd(minor),
            ipmi_version: 0x02,
            // Chassis, FRU, SEL, SDR repository and sensors.
            functions: 0x8f,
            manufacturer: 0,
            product: 0,
            auxiliary: Some([0; 4]),
        }
    }

    pub(super) fn device_guid(&self, _: get_device_guid::Request) -> get_device_guid::Response {
        get_device_guid::Response { guid: self.identity.device_guid }
    }

    pub(super) async fn acpi_power_state(
        &self,
        _: get_acpi_power_state::Request,
    ) -> Answer<get_acpi_power_state::Response> {
        let system = match self.observed_power().await? {
            PowerState::On => S0,
            PowerState::Off => S5,
        };
        Ok(get_acpi_power_state::Response { system, device: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_minor_is_decimal() {
        assert_eq!([0, 9, 10, 42, 99, 200].map(bcd), [0x00, 0x09, 0x10, 0x42, 0x99, 0x99]);
    }
}
