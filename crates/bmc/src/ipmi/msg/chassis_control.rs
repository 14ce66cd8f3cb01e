//! Chassis Control (section 28.3): every power verb. The answer may come before the deed is done.

use crate::ipmi::{
    machine::PowerAction,
    wire::{Command, Decode, Encode, Reader, WireError, empty_message},
};

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub action: PowerAction,
}

empty_message!(
    /// It is done, or will be.
    Response,
    "Chassis Control response"
);

const ACTIONS: [(u8, PowerAction); 6] = [
    (0, PowerAction::Off),
    (1, PowerAction::On),
    (2, PowerAction::Cycle),
    (3, PowerAction::Reset),
    (4, PowerAction::Diag),
    (5, PowerAction::Soft),
];

impl Command for Request {
    const NAME: &'static str = "Chassis Control";
    const NETFN: u8 = super::NETFN_CHASSIS;
    const CODE: u8 = 0x02;
    type Response = Response;
}

impl Decode for Request {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Chassis Control request", bytes);
        let control = reader.u8()?;
        let (_, action) = ACTIONS
            .into_iter()
            .find(|(bits, _)| *bits == control & 0x0f)
            .ok_or_else(|| reader.reserved("control", control))?;
        reader.finish()?;
        Ok(Self { action })
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(ACTIONS.iter().find(|(_, action)| *action == self.action).map(|(bits, _)| bits));
    }
}

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![
        ("ipmitool 1.8.19, power on", &[0x01], Request { action: PowerAction::On }),
        ("ipmitool 1.8.19, power soft", &[0x05], Request { action: PowerAction::Soft }),
    ]
}
