//! Set System Boot Options (section 28.12).

use super::boot_option::{BootOption, parameter, refuse_more_than_flags};
use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

/// The command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Mark the parameter invalid and locked, rather than valid.
    pub invalid: bool,
    /// Number of the parameter (7 bits).
    pub parameter: u8,
    /// Its value; left out to change nothing but the mark.
    pub option: Option<BootOption>,
}

impl Request {
    /// Sets one parameter.
    #[must_use]
    pub fn set(option: BootOption) -> Self {
        Self { invalid: false, parameter: option.parameter(), option: Some(option) }
    }
}

empty_message!(
    /// It is set.
    Response,
    "Set System Boot Options response"
);

impl Command for Request {
    const NAME: &'static str = "Set System Boot Options";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x08;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Set System Boot Options request", bytes);
        let selector = reader.u8()?;
        let parameter = selector & 0x7f;
        let value = reader.rest();
        if parameter == parameter::BOOT_FLAGS {
            refuse_more_than_flags(value)?;
        }
        let option =
            if value.is_empty() { None } else { Some(BootOption::decode(parameter, value)?) };
        Ok(Self { invalid: selector & 0x80 != 0, parameter, option })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.parameter & 0x7f | if self.invalid { 0x80 } else { 0 });
        if let Some(option) = &self.option {
            option.encode(out);
        }
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    use crate::machine::{BootDevice, BootFlags};
    vec![
        (
            "Ironic, stop the 60 s timer",
            &[0x03, 0x08],
            Request::set(BootOption::ValidBitClearing(0x08)),
        ),
        (
            "Ironic, UEFI network boot for good",
            &[0x05, 0xe0, 0x04, 0x00, 0x00, 0x00],
            Request::set(BootOption::BootFlags(BootFlags {
                device: BootDevice::Pxe,
                efi: true,
                persistent: true,
                valid: true,
            })),
        ),
        (
            "ipmitool 1.8.19, acknowledge of the BIOS",
            &[0x04, 0x01, 0x01],
            Request::set(BootOption::InfoAcknowledge { mask: 1, data: 1 }),
        ),
    ]
}
