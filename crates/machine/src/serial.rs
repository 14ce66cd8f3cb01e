//! The serial port: a pseudo-terminal whose far end is the machine's console. What it prints goes
//! to a log of bounded size and to whoever is attached; one at a time, as with QEMU.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fd::OwnedFd,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::MachineError;

/// A log that grew beyond this becomes `console.log.1`, and a new one begins.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// A reader that takes nothing for so long is hung up on; the machine is never held up for longer.
const PATIENCE: Duration = Duration::from_millis(200);

/// The machine's end of the port.
#[derive(Debug)]
pub(crate) struct Serial {
    /// The terminal that the machine's process 1 has as its console.
    pub(crate) terminal: Utf8PathBuf,
    /// Held open, so that the other end never hangs up between two boots.
    slave: OwnedFd,
    master: Arc<File>,
    attached: Attached,
    log: Arc<Mutex<Log>>,
}

type Attached = Arc<Mutex<Option<UnixStream>>>;

impl Serial {
    /// Opens the port with its socket and its log in the working directory.
    pub(crate) fn open() -> Result<Self, MachineError> {
        let failed = || MachineError::io::<io::Error>("open the serial port");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let pair = || -> io::Result<(OwnedFd, String)> {
            let master = openpt(flags)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let name = ptsname(&master, Vec::new())?;
            Ok((master, name.into_string().map_err(io::Error::other)?))
        };
        let (master, name) = pair().map_err(failed())?;
        let slave = rustix::fs::open(
            name.as_str(),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(MachineError::io("open the serial port"))?;
        // A size, so that nobody asks the terminal for one and waits for its answer.
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).map_err(MachineError::io("size the serial port"))?;
        let log = Log::open(Utf8Path::new("console.log"))?;
        let serial = Self {
            terminal: name.into(),
            slave,
            master: Arc::new(master.into()),
            attached: Arc::default(),
            log: Arc::new(Mutex::new(log)),
        };
        serial.start(
            UnixListener::bind("serial.sock")
                .map_err(MachineError::io("listen on serial.sock in the machine's directory"))?,
        )?;
        Ok(serial)
    }

    /// The console for a process: input, output or errors.
    pub(crate) fn stdio(&self) -> Result<std::process::Stdio, MachineError> {
        let fd = self.slave.try_clone().map_err(MachineError::io("share the serial port"))?;
        Ok(fd.into())
    }

    /// Says something as firmware would.
    pub(crate) fn say(&self, text: &str) {
        put(format!("{text}\r\n").as_bytes(), &self.log, &self.attached);
    }

    fn start(&self, listener: UnixListener) -> Result<(), MachineError> {
        let (master, log, attached) =
            (self.master.clone(), self.log.clone(), self.attached.clone());
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map(drop)
                .map_err(MachineError::io("start a thread of the serial port"))
        };
        spawn("serial-out", Box::new(move || print(&master, &log, &attached)))?;
        let (master, attached) = (self.master.clone(), self.attached.clone());
        spawn("serial-in", Box::new(move || accept(&listener, &master, &attached)))
    }
}

/// From the machine to the log and to whoever is attached.
fn print(master: &File, log: &Mutex<Log>, attached: &Attached) {
    let mut buffer = [0u8; 4096];
    loop {
        match (&*master).read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => put(&buffer[..count], log, attached),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn put(bytes: &[u8], log: &Mutex<Log>, attached: &Attached) {
    log.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
    let mut attached = attached.lock().unwrap_or_else(PoisonError::into_inner);
    if attached.as_mut().is_some_and(|stream| stream.write_all(bytes).is_err()) {
        *attached = None;
    }
}

/// From whoever is attached to the machine.
fn accept(listener: &UnixListener, master: &File, attached: &Attached) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let writer = stream.try_clone().and_then(|writer| {
            writer.set_write_timeout(Some(PATIENCE))?;
            Ok(writer)
        });
        let Ok(writer) = writer else { continue };
        *attached.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        let mut buffer = [0u8; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if (&*master).write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        *attached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A file that grows up to a bound.
#[derive(Debug)]
struct Log {
    path: Utf8PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    fn open(path: &Utf8Path) -> Result<Self, MachineError> {
        let file = Self::append(path).map_err(MachineError::io(format!("open {path}")))?;
        let bytes = file.metadata().map_or(0, |meta| meta.len());
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    fn append(path: &Utf8Path) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    /// A console without a log is better than none: what cannot be written is left out.
    fn write(&mut self, bytes: &[u8]) {
        if self.bytes > LOG_BYTES_MAX {
            let older = format!("{}.1", self.path);
            if std::fs::rename(&self.path, older).is_ok()
                && let Ok(file) = Self::append(&self.path)
            {
                self.file = file;
                self.bytes = 0;
            }
        }
        if self.file.write_all(bytes).is_ok() {
            self.bytes += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_its_older_half_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("console.log")).unwrap();
        let mut log = Log::open(&path).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..30 {
            log.write(&line);
        }
        let size = |path: &str| std::fs::metadata(path).unwrap().len();
        assert!(size(path.as_str()) <= LOG_BYTES_MAX + (1 << 20));
        assert!(size(&format!("{path}.1")) <= LOG_BYTES_MAX + (1 << 20));
    }
}
