//! Serial over LAN (section 15): what both ends of the wire have in common.
//!
//! [`endpoint`] is one end as a value: characters, packets and *now* in, packets out. The
//! controller's end lives in a session of [`super::session`], which seals what it sends; the
//! console's end is [`super::client::SolStream`].

pub mod endpoint;

/// Payload type of Serial over LAN.
pub const PAYLOAD_SOL: u8 = 1;
/// The one instance that a controller offers.
pub const INSTANCE: u8 = 1;
