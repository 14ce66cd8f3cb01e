//! Our console against our controller, over loopback.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{net::SocketAddr, time::Duration};

use fixture::{MemoryMachine, PASSWORD, USER, credentials, echo, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use undercloud_bmc::{
    ipmi::{
        client::{Client, ErrorKind, Options, SolEvent, SolLine, Steal},
        suite::CipherSuite,
    },
    machine::MachineError,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn client(address: SocketAddr, suite: CipherSuite) -> Client {
    let options = Options { suites: vec![suite], timeout_ms: 200, ..Options::default() };
    Client::connect(address, credentials(USER, PASSWORD), options).await.expect("connect")
}

/// Sends `text` and reads until as much has come back.
async fn there_and_back(line: &mut SolLine, text: &[u8]) -> Vec<u8> {
    let (mut offered, mut back) = (0, Vec::new());
    let all = async {
        while back.len() < text.len() {
            offered += line.offer(&text[offered..]);
            match line.next().await.expect("a line") {
                SolEvent::Characters(characters) => back.extend(characters),
                SolEvent::Room => {}
                SolEvent::Ended => panic!("it ended"),
            }
        }
    };
    timeout(PATIENCE, all).await.expect("in time");
    back
}

async fn ends(line: &mut SolLine) {
    let event = timeout(PATIENCE, line.next()).await.expect("in time").expect("an event");
    assert_eq!(event, SolEvent::Ended);
}

#[tokio::test]
async fn a_long_text_there_and_back() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    let text: Vec<u8> = (0..40_000u32).map(|at| at.to_le_bytes()[at as usize % 2]).collect();
    for suite in CipherSuite::PREFERRED {
        let client = client(server.address(), suite).await;
        let mut line = client.open_sol(Steal::No).await.expect("a line");
        let echo = tokio::spawn(echo(machine.line().await));
        assert!(there_and_back(&mut line, &text).await == text, "{suite}");
        line.send_break();
        let settle = async {
            while !line.is_settled() {
                assert_eq!(line.next().await.expect("a line"), SolEvent::Room);
            }
        };
        timeout(PATIENCE, settle).await.expect("a break is acknowledged");
        assert_eq!(std::mem::take(&mut machine.state().breaks), 1, "{suite}");
        line.close().await;
        timeout(PATIENCE, echo).await.expect("the port is free again").expect("echo");
    }
}

#[tokio::test]
async fn a_machine_that_does_not_read_holds_the_console() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    let client = client(server.address(), CipherSuite::Suite17).await;
    let mut line = client.open_sol(Steal::No).await.expect("a line");
    let mut there = machine.line().await;
    // 64 bytes in the machine, 4096 in the controller, 4096 in the console.
    let text: Vec<u8> = (0..20_000u32).map(|at| at.to_be_bytes()[3]).collect();
    let mut offered = 0;
    loop {
        offered += line.offer(&text[offered..]);
        match timeout(Duration::from_millis(500), line.next()).await {
            Ok(event) => assert_eq!(event.expect("a line"), SolEvent::Room),
            Err(_) => break,
        }
    }
    assert_eq!(offered, 64 + 4096 + 4096);
    // Then it reads, and gets every byte.
    let wanted = text.len();
    let reader = tokio::spawn(async move {
        let mut read = vec![0; wanted];
        there.read_exact(&mut read).await.expect("read");
        there.write_all(b"!").await.expect("write");
        (there, read)
    });
    let all = async {
        loop {
            offered += line.offer(&text[offered..]);
            if let SolEvent::Characters(characters) = line.next().await.expect("a line") {
                return characters;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, all).await.expect("in time"), b"!");
    let (_there, read) = reader.await.expect("reader");
    assert!(read == text);
}

#[tokio::test]
async fn taken_and_stolen() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    let first = client(server.address(), CipherSuite::Suite17).await;
    let mut first = first.open_sol(Steal::No).await.expect("a line");
    let refused = client(server.address(), CipherSuite::Suite17).await;
    let error = refused.open_sol(Steal::No).await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let thief = client(server.address(), CipherSuite::Suite3).await;
    let mut second = thief.open_sol(Steal::Yes).await.expect("a line");
    ends(&mut first).await;
    let echo = tokio::spawn(echo(machine.line().await));
    assert_eq!(there_and_back(&mut second, b"mine").await, b"mine");
    // Dropped without a word but Close Session: the port is free again.
    drop(second);
    timeout(PATIENCE, echo).await.expect("the port is free again").expect("echo");
}

#[tokio::test]
async fn the_machine_takes_its_port_back() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    machine.fail_next(MachineError::Busy);
    let busy = client(server.address(), CipherSuite::Suite17).await;
    let error = busy.open_sol(Steal::Yes).await.expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::Busy);
    let client = client(server.address(), CipherSuite::Suite17).await;
    let mut line = client.open_sol(Steal::No).await.expect("a line");
    let mut there = machine.line().await;
    there.write_all(b"bye").await.expect("say");
    let event = timeout(PATIENCE, line.next()).await.expect("in time").expect("an event");
    assert_eq!(event, SolEvent::Characters(b"bye".to_vec()));
    drop(there);
    ends(&mut line).await;
}
