//! A machine's serial port, for Serial over LAN.

use std::{any::Any, fmt};

use tokio::io::{AsyncRead, AsyncWrite};

/// Both ways of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The machine's serial port. It ends when the machine takes it back; reading then gives nothing.
///
/// Writing waits when the machine does not take what it is sent: that is the flow control.
pub struct SerialLine {
    /// What the machine says and hears.
    pub stream: Box<dyn Duplex>,
    /// Sends a break, where the line can.
    pub send_break: Option<Box<dyn FnMut() + Send>>,
    /// The right to the port, if it has one user at a time. It ends with the line.
    pub held: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for SerialLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialLine").finish_non_exhaustive()
    }
}
