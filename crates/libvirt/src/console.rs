//! A domain's serial console on this host: the pseudo-terminal or the socket that QEMU made for it.

use std::io;

use rustix::{
    fs::{Mode, OFlags},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use tokio::{
    net::{UnixStream, unix::pipe},
    sync::OwnedSemaphorePermit,
};
use undercloud_bmc::machine::{SerialLine, serial::Duplex};

use crate::xml::ConsolePath;

/// Opens it for as long as the line lives; `turn` is held with it.
pub(crate) async fn open(path: &ConsolePath, turn: OwnedSemaphorePermit) -> io::Result<SerialLine> {
    let stream: Box<dyn Duplex> = match path {
        ConsolePath::Pty(path) => Box::new(terminal(path)?),
        ConsolePath::Socket(path) => Box::new(UnixStream::connect(path).await?),
    };
    Ok(SerialLine { stream, send_break: None, held: Some(Box::new(turn)) })
}

/// Our end of QEMU's pseudo-terminal, raw: what is typed is the machine's to echo. When the machine
/// is switched off, reading fails, which ends the line as well.
fn terminal(path: &str) -> io::Result<impl Duplex + use<>> {
    let number = path.strip_prefix("/dev/pts/").unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no pseudo-terminal"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(path, flags, Mode::empty())?;
    let mut settings = tcgetattr(&terminal)?;
    settings.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    // tokio's pipes read and write any descriptor that does not block.
    let ours = pipe::Receiver::from_owned_fd_unchecked(terminal.try_clone()?)?;
    Ok(tokio::io::join(ours, pipe::Sender::from_owned_fd_unchecked(terminal)?))
}
