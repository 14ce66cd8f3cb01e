//! What every listener of ours shares, whatever it speaks.
//!
//! ```text
//! Door ── a place free? ── accept ── within its source's share? ── connection (Slot) … Connections
//!           no: waits        │           no: closed at once                            └ drain
//!                            └ error: Patience pauses, says so, and goes on
//! ```
//! A listener that ends is the worst that can happen to a boot server or an API: the process lives,
//! its status is green, and nobody is served. So nothing here ends by itself: an error that passes
//! (a peer that went away) costs nothing, any other (no descriptors, no memory) a pause.
//!
//! Knows no protocol, no TLS and nothing of ours.

mod connections;
mod datagrams;
mod door;
mod ended;
mod patience;
mod slots;

pub use connections::Connections;
pub use datagrams::{Datagrams, receive};
pub use door::{Door, Guest, Listen};
pub use ended::Ended;
pub use patience::{PAUSE, Patience, is_passing};
pub use slots::{Free, Share, Slot, Slots, culprit};
