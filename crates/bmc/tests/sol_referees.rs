//! The referees of Serial over LAN: the real `ipmitool` and FreeIPMI's `ipmiconsole` against the
//! server half, each under a terminal of its own.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{io::Write, process::Stdio, sync::Arc, time::Duration};

use fixture::{
    MemoryMachine, PASSWORD, USER, credentials,
    terminal::{PATIENCE, Terminal, low_socket, talk},
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    process::Command,
    time::timeout,
};
use undercloud_bmc::ipmi::server::{Server, ServerHandle};

struct Referee {
    machine: Arc<MemoryMachine>,
    server: ServerHandle,
    password: NamedTempFile,
}

impl Referee {
    fn new() -> Self {
        let machine = MemoryMachine::new(Duration::ZERO);
        let mut password = NamedTempFile::new().expect("password file");
        password.write_all(PASSWORD.as_bytes()).expect("password file");
        let credentials = credentials(USER, PASSWORD);
        let server = Server::start(low_socket(), credentials, machine.clone()).expect("start");
        Self { machine, server, password }
    }

    fn ipmitool(&self, suite: &str, command: &str) -> String {
        let port = self.server.address().port();
        let file = self.password.path().display();
        format!(
            "ipmitool -I lanplus -H 127.0.0.1 -p {port} -U {USER} -f {file} -C {suite} {command}"
        )
    }

    fn ipmiconsole(&self, suite: &str) -> String {
        let port = self.server.address().port();
        format!("ipmiconsole -h 127.0.0.1:{port} -u {USER} -p {PASSWORD} -I {suite} -l ADMIN")
    }

    async fn run(&self, command: &str) -> (bool, String) {
        let mut child = Command::new("sh");
        child.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, child.output()).await.expect("in time").expect("run");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// Nothing more comes, and the other end is gone.
async fn line_ends(mut line: DuplexStream) {
    let mut rest = Vec::new();
    timeout(PATIENCE, line.read_to_end(&mut rest)).await.expect("it stays open").expect("read");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn ipmitool_talks_both_ways() {
    let referee = Referee::new();
    for suite in ["17", "3"] {
        let mut terminal = Terminal::start(&referee.ipmitool(suite, "sol activate"));
        terminal.shows("SOL Session operational").await;
        talk(&referee.machine, &mut terminal, "\r~B").await;
        let status = referee.ipmitool(suite, "raw 6 0x4a 1");
        assert_eq!(referee.run(&status).await, (true, " 01 01 00\n".to_owned()));
        // A second console is refused, as long as the first is there.
        let (ok, said) = referee.run(&referee.ipmitool(suite, "sol activate")).await;
        assert!(!ok && said.contains("SOL payload already active on another session"), "{said}");
        terminal.press("\r~.").await;
        assert!(terminal.ends().await);
        assert_eq!(referee.run(&status).await, (true, " 01 00 00\n".to_owned()));
    }
}

#[tokio::test]
async fn ipmitool_takes_the_console_from_another() {
    let referee = Referee::new();
    let mut first = Terminal::start(&referee.ipmitool("17", "sol activate"));
    first.shows("SOL Session operational").await;
    let first_line = referee.machine.line().await;
    let (ok, said) = referee.run(&referee.ipmitool("3", "sol deactivate")).await;
    assert!(ok, "{said}");
    // `ipmitool` 1.8.19 reads over what it is told, but its characters do not get here any more.
    first.press("lost\r").await;
    line_ends(first_line).await;
    let (ok, said) = referee.run(&referee.ipmitool("3", "sol deactivate")).await;
    assert!(!ok && said.contains("already de-activated"), "{said}");
    let mut second = Terminal::start(&referee.ipmitool("3", "sol activate"));
    second.shows("SOL Session operational").await;
    talk(&referee.machine, &mut second, "\r~B").await;
    second.press("\r~.").await;
    assert!(second.ends().await);
}

#[tokio::test]
async fn ipmitool_shows_a_whole_screenful() {
    let referee = Referee::new();
    let mut terminal = Terminal::start(&referee.ipmitool("17", "sol activate"));
    terminal.shows("SOL Session operational").await;
    let mut line = referee.machine.line().await;
    let writer = tokio::spawn(async move {
        for number in 0..2000 {
            line.write_all(format!("line {number} of the boot\r\n").as_bytes()).await.expect("say");
        }
        line
    });
    for number in 0..2000 {
        terminal.shows(&format!("line {number} of the boot\r\n")).await;
    }
    let _line = writer.await.expect("writer");
    terminal.press("\r~.").await;
    assert!(terminal.ends().await);
}

#[tokio::test]
async fn ipmiconsole_talks_both_ways() {
    let referee = Referee::new();
    for suite in ["17", "3"] {
        let mut terminal = Terminal::start(&referee.ipmiconsole(suite));
        terminal.shows("[SOL established]").await;
        talk(&referee.machine, &mut terminal, "&B").await;
        terminal.press("&.").await;
        terminal.shows("[closing the connection]").await;
        terminal.ends().await;
    }
}

#[tokio::test]
async fn ipmiconsole_takes_the_console_from_another() {
    let referee = Referee::new();
    let mut first = Terminal::start(&referee.ipmitool("17", "sol activate"));
    first.shows("SOL Session operational").await;
    let first_line = referee.machine.line().await;
    let mut second = Terminal::start(&referee.ipmiconsole("3"));
    line_ends(first_line).await;
    second.shows("[SOL established]").await;
    talk(&referee.machine, &mut second, "&B").await;
    second.press("&.").await;
    second.ends().await;
}
