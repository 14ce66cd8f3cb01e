//! Get System Boot Options (section 28.13).

use super::boot_option::BootOption;
use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError};

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Number of the parameter (7 bits).
    pub parameter: u8,
    /// Which of several sets; a block number for the mailbox.
    pub set: u8,
    /// Zero, for all parameters there are.
    pub block: u8,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Whether the parameter is marked invalid.
    pub invalid: bool,
    /// The value.
    pub option: BootOption,
}

impl Command for Request {
    const NAME: &'static str = "Get System Boot Options";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x09;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get System Boot Options request", bytes);
        let [parameter, set, block] = reader.array()?;
        reader.finish()?;
        Ok(Self { parameter: parameter & 0x7f, set, block })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.parameter & 0x7f, self.set, self.block]);
    }
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get System Boot Options response", bytes);
        let version = reader.u8()?;
        if version & 0x0f != 1 {
            return Err(reader.reserved("parameter version", version));
        }
        let selector = reader.u8()?;
        let option = BootOption::decode(selector & 0x7f, reader.rest())?;
        Ok(Self { invalid: selector & 0x80 != 0, option })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([1, self.option.parameter() | if self.invalid { 0x80 } else { 0 }]);
        self.option.encode(out);
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("ipmitool 1.8.19", &[0x05, 0, 0], Request { parameter: 5, set: 0, block: 0 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    use crate::machine::{BootDevice, BootFlags};
    vec![(
        "specification, disk for the next boot",
        &[0x01, 0x05, 0x80, 0x08, 0, 0, 0],
        Response {
            invalid: false,
            option: BootOption::BootFlags(BootFlags {
                device: BootDevice::Disk,
                efi: false,
                persistent: false,
                valid: true,
            }),
        },
    )]
}
