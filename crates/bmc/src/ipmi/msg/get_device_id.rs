//! Get Device ID (section 20.1): what `ipmitool mc info` prints.
//!
//! VirtualBMC packs vendor and product as four bytes each, which makes FreeIPMI stop.

use crate::ipmi::wire::{Command, Decode, Encode, Reader, WireError, empty_message};

const RESPONSE: &str = "Get Device ID response";

empty_message!(
    /// The question.
    Request,
    "Get Device ID request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The vendor's number of the device.
    pub device_id: u8,
    /// Bits 3 to 0: revision; bit 7: there are device SDRs.
    pub device_revision: u8,
    /// Bits 6 to 0: major firmware revision; bit 7: updating or starting.
    pub firmware_major: u8,
    /// Minor firmware revision, BCD.
    pub firmware_minor: u8,
    /// Version of IPMI, BCD with the digits swapped: 0x02 is 2.0.
    pub ipmi_version: u8,
    /// What the device does beside this, a bit each: 7 chassis, 5 and 6 event, 4 bridge, 3 FRU,
    /// 2 SEL, 1 SDR repository, 0 sensors.
    pub functions: u8,
    /// Enterprise number of the vendor (20 bits); zero when unspecified.
    pub manufacturer: u32,
    /// The vendor's number of the product.
    pub product: u16,
    /// Auxiliary firmware revision; some controllers leave it out.
    pub auxiliary: Option<[u8; 4]>,
}

impl Command for Request {
    const NAME: &'static str = "Get Device ID";
    const NETFN: u8 = super::NETFN_APP;
    const CODE: u8 = 0x01;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(RESPONSE, bytes);
        let [device_id, device_revision, firmware_major, firmware_minor] = reader.array()?;
        let [ipmi_version, functions, a, b, c] = reader.array()?;
        Ok(Self {
            device_id,
            device_revision,
            firmware_major,
            firmware_minor,
            ipmi_version,
            functions,
            manufacturer: u32::from_le_bytes([a, b, c, 0]),
            product: reader.u16()?,
            auxiliary: reader.array().ok(),
        })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        let [a, b, c, _] = self.manufacturer.to_le_bytes();
        out.extend([self.device_id, self.device_revision]);
        out.extend([self.firmware_major, self.firmware_minor]);
        out.extend([self.ipmi_version, self.functions, a, b, c]);
        out.extend(self.product.to_le_bytes());
        out.extend(self.auxiliary.iter().flatten());
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification",
        &[0x20, 0x01, 0x01, 0x05, 0x02, 0x80, 0x7e, 0x1b, 0x00, 0x34, 0x12, 0, 0, 0, 0],
        Response {
            device_id: 0x20,
            device_revision: 1,
            firmware_major: 1,
            firmware_minor: 5,
            ipmi_version: 0x02,
            functions: 0x80,
            manufacturer: 7038,
            product: 0x1234,
            auxiliary: Some([0; 4]),
        },
    )]
}
