//! `virsh`, libvirt's own client, as a child process: one for each thing that is done or read, and
//! one that listens.

pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod stats;
mod volume;

pub(crate) use volume::POOL;

use std::{fs::File, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};
use uuid::Uuid;

use crate::{ConnectUri, LibvirtError};

/// Longest that one command may take: a first `define` asks the emulator what it can do.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longest output that is read.
const OUTPUT_BYTES_MAX: u64 = 32 << 20;
/// Longest complaint that is passed on.
const SAID_BYTES_MAX: u64 = 16 << 10;
/// Where programs are looked for, whatever the caller's environment says.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What a connection may need of the caller's environment: a session's sockets, ssh's agent.
const ENVIRONMENT: [&str; 7] = [
    "HOME",
    "USER",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "SSH_AUTH_SOCK",
    "KRB5CCNAME",
];
/// Says on the standard error which events are registered for.
const EVENT_LOG: [(&str, &str); 2] =
    [("LIBVIRT_LOG_FILTERS", "1:libvirt.domain"), ("LIBVIRT_LOG_OUTPUTS", "1:stderr")];

/// What a command reads.
enum Input<'a> {
    None,
    Text(&'a str),
    File(File),
}

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct Virsh {
    uri: ConnectUri,
}

/// A domain's two definitions and the sizes of its disks.
#[derive(Debug)]
pub(crate) struct Definitions {
    /// For the next start.
    pub(crate) inactive: String,
    /// Of what runs; as the other when nothing does.
    pub(crate) live: String,
    /// As `domblkinfo` prints them.
    pub(crate) sizes: String,
}

impl Virsh {
    pub(crate) fn new(uri: ConnectUri) -> Self {
        Self { uri }
    }

    pub(crate) fn uri(&self) -> &ConnectUri {
        &self.uri
    }

    /// Does one thing to one domain.
    pub(crate) async fn domain(
        &self,
        command: &'static str,
        domain: Uuid,
        options: &[&str],
    ) -> Result<String, LibvirtError> {
        let domain = domain.to_string();
        let args: Vec<&str> =
            [command, domain.as_str()].into_iter().chain(options.iter().copied()).collect();
        self.run(command, &args, "").await
    }

    /// Makes `definition` what its domain starts with next.
    pub(crate) async fn define(&self, definition: &str) -> Result<(), LibvirtError> {
        self.run("define", &["define", "/dev/stdin"], definition).await.map(drop)
    }

    /// Every persistent domain, and which of them run.
    pub(crate) async fn list(&self) -> Result<list::Domains, LibvirtError> {
        let mark = mark();
        let script = format!("list --all --persistent --uuid --name; echo {mark}; list --uuid");
        let text = self.run("list", &[&script], "").await?;
        list::read(&text, &mark).ok_or(LibvirtError::Garbled { command: "list" })
    }

    /// Reads all of a domain with one process. The last command decides how it ends: a disk without
    /// a file has no size, and that is all.
    pub(crate) async fn definitions(&self, domain: Uuid) -> Result<Definitions, LibvirtError> {
        let mark = mark();
        let script = format!(
            "domblkinfo --all {domain}; echo {mark}; dumpxml {domain}; echo {mark}; \
             dumpxml --inactive {domain}"
        );
        let text = self.run("dumpxml", &[&script], "").await?;
        let mut parts = text.split(mark.as_str()).map(|part| part.trim().to_owned());
        let garbled = || LibvirtError::Garbled { command: "dumpxml" };
        Ok(Definitions {
            sizes: parts.next().ok_or_else(garbled)?,
            live: parts.next().ok_or_else(garbled)?,
            inactive: parts.next().ok_or_else(garbled)?,
        })
    }

    /// Starts the listener. It ends with us, however we end.
    pub(crate) fn listen(&self) -> Result<Child, LibvirtError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "virsh"]);
        self.connect(&mut command);
        command
            .args(["event", "--all", "--loop", "--timestamp"])
            .envs(EVENT_LOG)
            .stdin(Stdio::null())
            .spawn()
            .map_err(LibvirtError::NoVirsh)
    }

    fn connect(&self, command: &mut Command) {
        command
            .arg("--quiet")
            .arg(format!("--connect={}", self.uri))
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    async fn run(
        &self,
        name: &'static str,
        args: &[&str],
        input: &str,
    ) -> Result<String, LibvirtError> {
        let input = if input.is_empty() { Input::None } else { Input::Text(input) };
        self.run_with(name, args, input, DEADLINE).await
    }

    async fn run_with(
        &self,
        name: &'static str,
        args: &[&str],
        input: Input<'_>,
        deadline: Duration,
    ) -> Result<String, LibvirtError> {
        let mut command = Command::new("virsh");
        self.connect(&mut command);
        let (stdin, input) = match input {
            Input::None => (Stdio::null(), ""),
            Input::Text(text) => (Stdio::piped(), text),
            Input::File(file) => (Stdio::from(file), ""),
        };
        command.args(args).stdin(stdin);
        let mut child = command.spawn().map_err(LibvirtError::NoVirsh)?;
        let done = async {
            let (stdin, stdout, stderr) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that does not read to the end says why in its own words.
                    let _written = stdin.write_all(input.as_bytes()).await;
                }
            };
            let ((), out, said) =
                tokio::join!(write, read(stdout, OUTPUT_BYTES_MAX), read(stderr, SAID_BYTES_MAX));
            (child.wait().await, out, said)
        };
        let slow = || LibvirtError::Slow {
            uri: self.uri.clone(),
            command: name,
            seconds: deadline.as_secs(),
        };
        let (status, out, said) = tokio::time::timeout(deadline, done).await.map_err(|_| slow())?;
        if status.map_err(LibvirtError::NoVirsh)?.success() {
            return Ok(out);
        }
        Err(self.refusal(name, &said))
    }

    /// What a failed `virsh` said, as an error of ours.
    pub(crate) fn refusal(&self, command: &'static str, said: &str) -> LibvirtError {
        let lines = said.lines().filter_map(|line| line.strip_prefix("error: "));
        let text = lines.clone().filter(|line| !line.starts_with("failed to connect")).fold(
            String::new(),
            |all, line| {
                if all.is_empty() { line.to_owned() } else { format!("{all}: {line}") }
            },
        );
        let lost = ["failed to connect", "Disconnected from"];
        if lines.clone().any(|line| lost.iter().any(|how| line.starts_with(how))) {
            return LibvirtError::Unreachable { uri: self.uri.clone(), said: text };
        }
        LibvirtError::Refused { command, said: text }
    }
}

/// Reads to the end, and keeps what fits.
async fn read(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut kept = Vec::new();
    let _read = (&mut from).take(bytes_max).read_to_end(&mut kept).await;
    let _rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// What no domain's definition has in it.
fn mark() -> String {
    let mut bytes = [0; 16];
    // Without random bytes a definition that holds this mark is garbled, no more.
    let _filled = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virsh() -> Virsh {
        Virsh::new("qemu:///system".parse().expect("uri"))
    }

    #[test]
    fn complaints_are_told_apart() {
        let away = "error: failed to connect to the hypervisor\nerror: Failed to connect socket to \
                    '/var/run/libvirt/libvirt-sock': No such file or directory\n";
        let error = virsh().refusal("list", away);
        assert!(matches!(error, LibvirtError::Unreachable { .. }), "{error}");
        assert_eq!(error.hint().as_deref(), Some("systemctl start libvirtd"));
        let error = virsh().refusal(
            "start",
            "error: Failed to start domain 'web'\nerror: internal error: no machine\n",
        );
        assert_eq!(
            error.to_string(),
            "libvirt refused `start`: Failed to start domain 'web': internal error: no machine"
        );
    }
}
