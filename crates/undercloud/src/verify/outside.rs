//! The server from outside: from this host's shell, as a user would.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::DirBuilderExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::wait::{Seen, until};

/// The address is announced a moment after it was given.
const ANSWER: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(5);
/// The page is one line.
const PAGE_BYTES_MAX: u64 = 64 << 10;
const HINT: &str = "`ip route` on this host shows where the address leads; \
                    openstack --os-cloud overcloud floating ip list";

/// A key for this one run. It stays as long as the server does.
#[derive(Debug)]
pub(super) struct Key {
    directory: Utf8PathBuf,
}

impl Key {
    /// Makes one in `directory`, which must not hold anything else.
    pub(super) fn make(directory: Utf8PathBuf) -> Result<Self> {
        let key = Self { directory };
        let _earlier = fs::remove_dir_all(&key.directory);
        let made = fs::DirBuilder::new().mode(0o700).create(&key.directory);
        made.with_context(|| format!("cannot create {}", key.directory))?;
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", super::NAME, "-f"]);
        command.arg(key.path());
        let output = command.output().context("cannot run ssh-keygen")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "ssh-keygen made no key: {}", said.trim());
        Ok(key)
    }

    /// Its public half, as servers want it.
    pub(super) fn public(&self) -> Result<String> {
        let path = self.path().with_extension("pub");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(text.trim().to_owned())
    }

    /// Removes it.
    pub(super) fn remove(self) -> Result<()> {
        let gone = fs::remove_dir_all(&self.directory);
        gone.with_context(|| format!("cannot remove {}", self.directory))
    }

    /// Its private half.
    pub(super) fn path(&self) -> Utf8PathBuf {
        self.directory.join("key")
    }
}

/// Waits until the address answers ping.
pub(super) fn ping(address: Ipv4Addr) -> Result<()> {
    until(&format!("an answer of {address} to ping"), ANSWER, HINT, || {
        let mut command = Command::new("ping");
        command.args(["-n", "-c", "1", "-W", "1", &address.to_string()]);
        command.stdin(Stdio::null());
        let output = command.output().context("cannot run ping")?;
        Ok(match output.status.success() {
            true => Seen::Yes(()),
            false => Seen::NotYet(last_line(&output.stdout, &output.stderr)),
        })
    })
}

/// Waits until the server's page says who it is.
pub(super) fn page(address: Ipv4Addr, uuid: &str) -> Result<()> {
    until(&format!("the page of {address}"), ANSWER, HINT, || {
        Ok(match get(SocketAddr::from((address, 80))) {
            Ok(page) if page.contains(uuid) => Seen::Yes(()),
            Ok(page) => Seen::NotYet(format!("it says `{}`", page.trim())),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
}

/// HTTP/1.0: the answer ends with the connection.
fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(text.split_once("\r\n\r\n").map_or(text.clone(), |(_, body)| body.to_owned()))
}

/// Waits until the server lets us in by ssh, and gives what it calls itself.
pub(super) fn ssh(address: Ipv4Addr, key: &Key) -> Result<String> {
    until(&format!("a login at {address} by ssh"), ANSWER, HINT, || {
        let output = ssh_command(address, &key.path()).output().context("cannot run ssh")?;
        Ok(match output.status.success() {
            true => Seen::Yes(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Seen::NotYet(last_line(&output.stdout, &output.stderr)),
        })
    })
}

fn ssh_command(address: Ipv4Addr, key: &Utf8Path) -> Command {
    let mut command = Command::new("timeout");
    // Nobody's configuration, no known hosts, no questions.
    command.args(["60", "ssh", "-F", "/dev/null", "-i", key.as_str()]);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=20",
    ] {
        command.args(["-o", option]);
    }
    command.arg(format!("root@{address}")).arg("hostname");
    command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    command
}

fn last_line(stdout: &[u8], stderr: &[u8]) -> String {
    let all = [stdout, b"\n", stderr].concat();
    let text = String::from_utf8_lossy(&all);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it says nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_key_is_made_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(directory.path()).unwrap().join("verify");
        let key = Key::make(place.clone()).unwrap();
        assert!(key.public().unwrap().starts_with("ssh-ed25519 "));
        key.remove().unwrap();
        assert!(!place.exists());
    }

    #[test]
    fn a_page_is_read_without_its_headers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = [0; 18];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nd8e0\n").unwrap();
        });
        assert_eq!(get(address).unwrap(), "d8e0\n");
        server.join().unwrap();
    }

    #[test]
    fn the_last_line_is_the_reason() {
        assert_eq!(last_line(b"PING x\n\n", b"ssh: refused\r\n\n"), "ssh: refused");
        assert_eq!(last_line(b"", b""), "it says nothing");
    }
}
