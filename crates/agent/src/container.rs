//! Whether this machine is a container on its host's kernel: a lab machine without QEMU.
//!
//! The one place that knows the sign. Such a machine has its own disk, cards, processes and boot id,
//! and what belongs to the kernel belongs to the host: no module is loaded, the clock is not set, and
//! the container images are mounted by the machine's process on the host, which is asked on a socket:
//! a line of JSON, and a line back.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use undercloud_model::Digest;

use crate::{log::one_line, sys::Host};

/// What the machine's process on the host gives to process 1 in the variable `container`, which
/// systemd passes on in [`SYSTEMD`].
const WORD: &str = "undercloud";
/// In the installed system (systemd.io/CONTAINER_INTERFACE).
const SYSTEMD: &str = "run/systemd/container";
/// In the ramdisk: the environment of process 1, which is the agent itself.
const ENVIRONMENT: &str = "proc/1/environ";

/// Where the machine's process on the host listens.
const SOCKET: &str = "run/undercloud-machine/machine.sock";
/// How long it may take for its answer: it may have to make the storage ready first.
const DEADLINE: Duration = Duration::from_secs(120);
/// The longest answer.
const ANSWER_MAX: u64 = 64 << 10;

/// A request to the machine's process.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a> {
    MountImages { sha256: &'a str, at: &'a str },
}

/// Its answer.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(bool),
    Error(String),
}

/// Why the machine's process did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It cannot be talked to.
    #[error("the machine's process on the host does not answer at /{SOCKET}")]
    Silent(#[source] io::Error),
    /// It answered something else.
    #[error("the machine's process on the host is of another version")]
    Answer,
    /// It said no.
    #[error("the machine's process on the host: {0}")]
    Refused(String),
}

/// Has the blob of the undercloud mounted, read-only, at an absolute path of this machine; where it
/// is already, that is good too.
///
/// # Errors
/// The host's reason, or that it does not answer.
pub fn mount_images(host: &Host, blob: &Digest, at: &str) -> Result<(), HostError> {
    let request = Request::MountImages { sha256: &blob.hex(), at };
    let request = serde_json::to_string(&request).map_err(|e| HostError::Silent(e.into()))?;
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(host.path(SOCKET))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = Vec::new();
        BufReader::new(stream.take(ANSWER_MAX)).read_until(b'\n', &mut line)?;
        Ok(line)
    };
    let line = ask().map_err(HostError::Silent)?;
    match serde_json::from_slice(&line) {
        Ok(Answer::Ok(true)) => Ok(()),
        Ok(Answer::Error(reason)) => Err(HostError::Refused(one_line(&reason))),
        Ok(Answer::Ok(false)) | Err(_) => Err(HostError::Answer),
    }
}

/// Whether this machine is a container of ours.
pub fn is_container(host: &Host) -> bool {
    if let Some(word) = host.attribute(SYSTEMD) {
        return word == WORD;
    }
    let environment = host.bytes(ENVIRONMENT).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable.strip_prefix(b"container=") == Some(WORD.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener, thread};

    use super::*;

    const BLOB: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

    /// Asks for a mount where a process gives `answer`; what it was asked, and what came of it.
    fn asked(answer: &'static str) -> (String, Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let process = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            line
        });
        let host = Host::below(dir.path());
        let result = mount_images(&host, &BLOB.parse().unwrap(), "/var/lib/images");
        (process.join().unwrap(), result.map_err(|e| crate::log::chain(&e)))
    }

    #[test]
    fn the_host_is_asked_for_a_mount_in_one_line() {
        let (line, result) = asked("{\"ok\":true}\n");
        let hex = BLOB.trim_start_matches("sha256:");
        let wanted =
            format!("{{\"mount_images\":{{\"sha256\":\"{hex}\",\"at\":\"/var/lib/images\"}}}}\n");
        assert_eq!((line, result), (wanted, Ok(())));
    }

    #[test]
    fn what_the_host_refuses_is_one_sentence() {
        let refusal = asked("{\"error\":\"there is no such blob\\nat all\"}\n").1;
        let sentence = "the machine's process on the host: there is no such blob at all";
        assert_eq!(refusal.unwrap_err(), sentence);
        for strange in ["", "\n", "{\"ok\":false}\n", "{}\n", "{\"ok\":tr", "\0"] {
            let sentence = "the machine's process on the host is of another version";
            assert_eq!(asked(strange).1.unwrap_err(), sentence, "{strange:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let silent = mount_images(&Host::below(dir.path()), &BLOB.parse().unwrap(), "/x");
        assert!(matches!(silent, Err(HostError::Silent(_))));
    }

    #[test]
    fn only_our_word_makes_a_container_of_ours() {
        for (file, text, is_ours) in [
            (SYSTEMD, "undercloud\n", true),
            (SYSTEMD, "podman\n", false),
            (ENVIRONMENT, "HOME=/\0container=undercloud\0TERM=linux\0", true),
            (ENVIRONMENT, "container=undercloud-not\0", false),
            (ENVIRONMENT, "xcontainer=undercloud\0", false),
            (ENVIRONMENT, "", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(is_container(&Host::below(dir.path())), is_ours, "{file}: {text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_container(&Host::below(dir.path())));
    }
}
