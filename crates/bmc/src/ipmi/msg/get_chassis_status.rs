//! Get Chassis Status (section 28.2): the power state, asked for more often than anything else.

use crate::ipmi::{
    machine::PowerState,
    wire::{Command, Decode, Encode, Reader, WireError, empty_message},
};

empty_message!(
    /// The question.
    Request,
    "Get Chassis Status request"
);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Bit 0 power is on, 1 overload, 2 interlock, 3 fault, 4 control fault, bits 6 and 5 what
    /// happens when power returns (3: unknown).
    pub power: u8,
    /// Why the power went last; bit 4: switched on by a command of IPMI.
    pub last_event: u8,
    /// Bit 6: bits 5 and 4 tell of the identify light (0 off, 1 for a time, 2 for good).
    pub misc: u8,
    /// Buttons of the front panel; may be left out.
    pub front_panel: Option<u8>,
}

impl Response {
    /// Whether the machine runs.
    #[must_use]
    pub fn power_state(&self) -> PowerState {
        if self.power & 0x01 == 0 { PowerState::Off } else { PowerState::On }
    }
}

impl Command for Request {
    const NAME: &'static str = "Get Chassis Status";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x01;
    type Response = Response;
}

impl Decode for Response {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Get Chassis Status response", bytes);
        let [power, last_event, misc] = reader.array()?;
        Ok(Self { power, last_event, misc, front_panel: reader.u8().ok() })
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.power, self.last_event, self.misc]);
        out.extend(self.front_panel);
    }
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![(
        "specification, on, policy unknown",
        &[0x61, 0x10, 0x40],
        Response { power: 0x61, last_event: 0x10, misc: 0x40, front_panel: None },
    )]
}
