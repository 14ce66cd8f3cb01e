//! Set Power Restore Policy (section 28.8): what the machine does when power returns.

use super::layout::{command, message};

message!(exact Request, "Set Power Restore Policy request" {
    /// 0 off, 1 as before, 2 on, 3 only asks.
    policy: u8,
});

message!(open Response, "Set Power Restore Policy response" {
    /// By bits, as above.
    supported: u8,
});

command!("Set Power Restore Policy", super::NETFN_CHASSIS, 0x06);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![("hand-made, always-on", &[0x02], Request { policy: 0x2 })]
}

#[cfg(test)]
pub(super) fn response_vectors() -> super::Vectors<Response> {
    vec![("hand-made", &[0x07], Response { supported: 0x7 })]
}
