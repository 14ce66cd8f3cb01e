//! What a controller keeps for its readers: sensor records, events, inventories.
//!
//! Bytes to values, nothing else: who reads them, and how, is [`super::client`]'s.

pub mod fru;
pub mod linear;
pub mod sdr;
pub mod sel;
pub mod sensor_type;
mod text;
pub mod units;
