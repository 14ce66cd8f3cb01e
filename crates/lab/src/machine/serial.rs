//! A machine's serial port in one user's hands.

use std::fs::File;

use tokio::net::UnixStream;

/// What the machine says on its serial port and hears there.
#[derive(Debug)]
pub struct SerialPort {
    /// Both ways.
    pub stream: UnixStream,
    /// Dropped, the next user may have it.
    pub lock: File,
}
