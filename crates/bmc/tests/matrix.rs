//! The referees' matrices: every command of `ipmitool`, of Ironic and of FreeIPMI, by the client
//! itself, with suites 17 and 3.
//!
//! A row says what the client has to print, or with which words it has to be refused; a boot
//! device has to read back as set, a power verb to leave the machine in the state that is named.
//! The document `docs/reference/bmc-compatibility.md` is what the run found:
//! `UPDATE_DOCS=1` writes it, otherwise it has to be the same.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{fmt::Write as _, io::Write, path::Path, process::Stdio, sync::Arc, time::Duration};

use fixture::{
    MemoryMachine, PASSWORD, USER, credentials,
    terminal::{Terminal, low_socket, talk},
};
use tempfile::{NamedTempFile, TempDir};
use undercloud_bmc::{
    ipmi::server::{Server, ServerHandle},
    machine::{BootDevice, BootFlags, PowerState},
};

const SUITES: [&str; 2] = ["17", "3"];

/// What has to come of a command.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// It works and prints this.
    Says(&'static str),
    /// It works and prints nothing: there is nothing of the kind.
    Nothing,
    /// It works, and this other command of `ipmitool` prints its effect afterwards.
    Shows(&'static str, &'static str),
    /// It works under a terminal: what says that the line is there, the machine's words and ours
    /// in both directions, and with these keys a break and the end.
    Console(&'static str, &'static str, &'static str),
    /// It fails with these words, for this reason.
    Refused(&'static str, &'static str),
    /// It works; the machine was on (or off), and is afterwards.
    Power(bool, bool),
    /// It fails in this state with "not supported in present state" (0xd5); the state stays.
    WrongState(bool),
    /// It works and the flags read back: device, EFI, persistent.
    Boot(BootDevice, bool, bool),
}

struct Row {
    /// Options before the command.
    options: &'static [&'static str],
    command: &'static str,
    want: Want,
}

const fn row(command: &'static str, want: Want) -> Row {
    Row { options: &[], command, want }
}

struct Referee {
    machine: Arc<MemoryMachine>,
    server: ServerHandle,
    password: NamedTempFile,
    directory: TempDir,
}

struct Said {
    ok: bool,
    all: String,
}

impl Referee {
    fn new() -> Self {
        let machine = MemoryMachine::new(Duration::ZERO);
        let mut password = NamedTempFile::new().expect("password file");
        password.write_all(PASSWORD.as_bytes()).expect("password file");
        let directory = TempDir::new().expect("directory");
        let credentials = credentials(USER, PASSWORD);
        let server = Server::start(low_socket(), credentials, machine.clone()).expect("start");
        Self { server, machine, password, directory }
    }

    async fn run(&self, program: &str, before: &[&str], row: &Row) -> Said {
        let file = self.directory.path().join("file");
        let words = row.command.split(' ').filter(|word| !word.is_empty()).map(|word| match word {
            "FILE" => file.to_str().expect("path"),
            word => word,
        });
        let mut client = tokio::process::Command::new(program);
        client.args(before).args(row.options).args(words);
        client.env("HOME", self.directory.path()).current_dir(self.directory.path());
        client.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(Duration::from_secs(60), client.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => panic!(
                "these tests need {program} (Debian packages ipmitool and freeipmi-tools): {error}"
            ),
            Err(_) => return Said { ok: false, all: "did not end within a minute".to_owned() },
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all = text(&output.stdout) + &text(&output.stderr);
        Said { ok: output.status.success(), all }
    }

    async fn ipmitool(&self, suite: &str, row: &Row) -> Said {
        let port = self.server.address().port().to_string();
        let file = self.password.path().to_str().expect("path");
        let before = ["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", USER, "-C", suite];
        let before = [&before[..], &["-R", "3", "-N", "1", "-f", file]].concat();
        self.run("ipmitool", &before, row).await
    }

    async fn freeipmi(&self, suite: &str, row: &Row) -> Said {
        let host = format!("127.0.0.1:{}", self.server.address().port());
        let (program, rest) = row.command.split_once(' ').unwrap_or((row.command, ""));
        let before = ["-D", "LAN_2_0", "-h", &host, "-u", USER, "-p", PASSWORD, "-I", suite];
        let before = [&before[..], &["-l", "ADMIN"]].concat();
        let options: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
        let before = [before, options].concat();
        self.run(program, &before, &Row { options: &[], command: "", want: row.want }).await
    }

    /// A talk over the machine's serial line; the client has to end by its own keys.
    async fn console(
        &self,
        client: Client,
        suite: &str,
        row: &Row,
        [ready, of_break, end]: [&str; 3],
    ) -> Result<&'static str, String> {
        let (port, file) = (self.server.address().port(), self.password.path().display());
        let command = match client {
            Client::Ipmitool | Client::Ironic => format!(
                "ipmitool -I lanplus -H 127.0.0.1 -p {port} -U {USER} -C {suite} -f {file} {}",
                row.command
            ),
            Client::FreeIpmi => format!(
                "{} -h 127.0.0.1:{port} -u {USER} -p {PASSWORD} -I {suite} -l ADMIN",
                row.command
            ),
        };
        let mut terminal = Terminal::start(&command);
        terminal.shows(ready).await;
        talk(&self.machine, &mut terminal, of_break).await;
        terminal.press(end).await;
        terminal.ends().await;
        Ok("works")
    }

    fn is_on(&self) -> bool {
        self.machine.state().power == PowerState::On
    }

    /// Prepares what the row supposes, runs it, and says what is wrong, or what to write down.
    async fn check(&self, client: Client, suite: &str, row: &Row) -> Result<&'static str, String> {
        if let Want::Power(before, _) | Want::WrongState(before) = row.want {
            self.machine.set_power(if before { PowerState::On } else { PowerState::Off });
        }
        if let Want::Console(ready, of_break, end) = row.want {
            return self.console(client, suite, row, [ready, of_break, end]).await;
        }
        let said = match client {
            Client::Ipmitool | Client::Ironic => self.ipmitool(suite, row).await,
            Client::FreeIpmi => self.freeipmi(suite, row).await,
        };
        let wrong = |why: &str| Err(format!("{why}: {}", said.all.trim()));
        match row.want {
            Want::Refused(words, code) => match !said.ok && said.all.contains(words) {
                true => Ok(code),
                false => wrong("not refused with the right words"),
            },
            Want::WrongState(before) => {
                let words = "Command not supported in present state";
                match !said.ok && said.all.contains(words) && self.is_on() == before {
                    true => Ok("refused, 0xd5"),
                    false => wrong("not refused with the right words"),
                }
            }
            _ if !said.ok => wrong("fails"),
            Want::Says(words) if !said.all.contains(words) => wrong("says something else"),
            Want::Nothing if !said.all.is_empty() => wrong("prints something"),
            Want::Shows(command, words) => {
                let other = Row { options: &[], command, want: Want::Nothing };
                let shown = self.ipmitool(suite, &other).await;
                match shown.ok && shown.all.contains(words) {
                    true => Ok("works"),
                    false => Err(format!("`{command}` does not show it: {}", shown.all)),
                }
            }
            Want::Power(_, after) if self.is_on() != after => wrong("leaves another state"),
            Want::Boot(device, efi, persistent) => {
                let flags = BootFlags { device, efi, persistent, valid: true };
                let read = self.ipmitool(suite, &row_5()).await.all;
                let life = if persistent { "all future boots" } else { "only next boot" };
                let mode = if efi { "BIOS EFI boot" } else { "(legacy) boot" };
                let parts = ["Boot Flag Valid", life, mode];
                match self.machine.state().flags == flags
                    && parts.iter().all(|part| read.contains(part))
                {
                    true => Ok("works"),
                    false => Err(format!("does not read back: {read}")),
                }
            }
            Want::Says(_) | Want::Nothing | Want::Power(..) | Want::Console(..) => Ok("works"),
        }
    }
}

fn row_5() -> Row {
    row("chassis bootparam get 5", Want::Nothing)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Ipmitool,
    Ironic,
    FreeIpmi,
}

#[path = "fixture/matrix_rows.rs"]
mod rows;

/// Runs every row and gives the part of the document; stops with all rows that are wrong.
async fn matrix(client: Client, title: &str, rows: &[Row]) -> String {
    let mut found: Vec<Vec<String>> = vec![Vec::new(); rows.len()];
    let mut wrong = Vec::new();
    for suite in SUITES {
        let referee = Referee::new();
        for (row, results) in rows.iter().zip(&mut found) {
            match referee.check(client, suite, row).await {
                Ok(result) => results.push(result.to_owned()),
                Err(why) => wrong.push(format!("suite {suite}, {}: {why}", row.command)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let mut text =
        format!("## {title}: {}\n\n| command | suite 17 | suite 3 |\n|---|---|---|\n", rows.len());
    for (row, results) in rows.iter().zip(found) {
        let options: String = row.options.iter().map(|option| format!("{option} ")).collect();
        let _ = writeln!(text, "| `{options}{}` | {} |", row.command, results.join(" | "));
    }
    text
}

/// The part of the document has to be what the run found.
fn document(text: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/bmc-compatibility.md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let title = text.lines().next().unwrap_or_default();
        let name = title.split(':').next().unwrap_or_default();
        let mut parts: Vec<&str> = kept.split("\n## ").collect();
        parts.retain(|part| !format!("## {part}").starts_with(name));
        let kept = parts.join("\n## ");
        let whole = format!("{}\n\n{}", kept.trim_end(), text);
        std::fs::write(&path, whole).expect("write the document");
    } else {
        assert!(
            kept.contains(text.trim_end()),
            "docs/reference/bmc-compatibility.md has not this part; UPDATE_DOCS=1 writes it:\n{text}"
        );
    }
}

#[tokio::test]
async fn ipmitool() {
    document(&matrix(Client::Ipmitool, "ipmitool", rows::IPMITOOL).await);
}

#[tokio::test]
async fn ironic() {
    document(&matrix(Client::Ironic, "Ironic's calls of ipmitool", rows::IRONIC).await);
}

#[tokio::test]
async fn freeipmi() {
    document(&matrix(Client::FreeIpmi, "FreeIPMI", rows::FREEIPMI).await);
}
