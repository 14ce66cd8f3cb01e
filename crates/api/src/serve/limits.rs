//! What bounds a listener.

use std::time::Duration;

/// What bounds a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; the next one waits.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_source_max: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests.
    pub head: Duration,
    /// For a peer that acknowledges nothing (TCP user timeout).
    pub unacknowledged: Duration,
    /// For the connections to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            connections_per_source_max: 32,
            handshake: Duration::from_secs(20),
            head: Duration::from_secs(60),
            unacknowledged: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}
