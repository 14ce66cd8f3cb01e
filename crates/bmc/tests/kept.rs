//! What a controller keeps over a restart of its process, and what it writes down by itself, with
//! the real server on a socket.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{path::Path, sync::Arc, time::Duration};

use fixture::{PASSWORD, USER, credentials, rack::RackMachine, socket};
use tokio::{process::Command, time::timeout};
use undercloud_bmc::{
    ipmi::{
        client::{Client, Options},
        server::{Server, ServerHandle},
    },
    machine::PowerState,
    memory::{Memory, MemoryFile},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(machine: &Arc<RackMachine>, memory: &Memory) -> ServerHandle {
    Server::start_kept(socket(), memory.clone(), machine.clone()).expect("server")
}

/// Waits until `memory` is so.
async fn until(memory: &Memory, is_so: impl Fn(&Memory) -> bool) {
    let mut changes = memory.changes();
    let waited = timeout(PATIENCE, async {
        while !is_so(memory) {
            assert!(changes.next().await, "nobody changes it any more");
        }
    });
    waited.await.expect("it changes in time");
}

fn events(memory: &Memory) -> Vec<Vec<u8>> {
    memory.nvram.read(|it| it.events.iter().map(|record| record[10..].to_vec()).collect())
}

#[tokio::test]
async fn power_is_an_event_when_it_happens_and_not_when_somebody_looks() {
    let (machine, memory) = (RackMachine::new(1), Memory::new(credentials(USER, PASSWORD)));
    let _server = start(&machine, &memory);
    until(&memory, |it| it.nvram.read(|it| it.was_on) == Some(false)).await;
    assert_eq!(events(&memory), Vec::<Vec<u8>>::new(), "the first look is no change");
    machine.set_power(PowerState::On);
    until(&memory, |it| events(it).len() == 1).await;
    machine.set_power(PowerState::Off);
    until(&memory, |it| events(it).len() == 2).await;
    let power = |offset| vec![0x22, 1, 0x6f, offset, 0xff, 0xff];
    assert_eq!(events(&memory), [power(0), power(5)]);
}

#[tokio::test]
async fn a_wrong_password_is_an_event() {
    let (machine, memory) = (RackMachine::new(1), Memory::new(credentials(USER, PASSWORD)));
    let server = start(&machine, &memory);
    for (user, password) in [(USER, "not-this-password"), ("nobody", PASSWORD)] {
        let wrong = credentials(user, password);
        let refused = Client::connect(server.address(), wrong, Options::default()).await;
        refused.expect_err("refused");
    }
    until(&memory, |it| events(it).len() == 2).await;
    let failed = vec![0x2a, 10, 0x6f, 0xf2, 0x00, 0x01];
    assert_eq!(events(&memory), [failed.clone(), failed], "and nothing tells the two apart");
    let right = credentials(USER, PASSWORD);
    Client::connect(server.address(), right, Options::default()).await.expect("login");
    assert_eq!(events(&memory).len(), 2);
}

async fn ipmitool(server: &ServerHandle, command: &str) -> String {
    let mut client = Command::new("ipmitool");
    client.args(["-I", "lanplus", "-H", "127.0.0.1", "-U", USER, "-P", PASSWORD, "-p"]);
    client.arg(server.address().port().to_string()).args(command.split(' '));
    let output = client.kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("it ends");
    let output = output.expect("these tests need ipmitool (Debian package ipmitool)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "`{command}`: {said}");
    said
}

async fn run<T>(
    machine: &Arc<RackMachine>,
    path: &Path,
    during: impl AsyncFnOnce(&ServerHandle, &Memory) -> T,
) -> T {
    let file = MemoryFile::open(path.to_owned(), credentials(USER, PASSWORD)).expect("memory");
    let server = start(machine, file.memory());
    let result = during(&server, file.memory()).await;
    server.shutdown().await;
    file.close().await;
    result
}

#[tokio::test]
async fn a_bmc_survives_a_restart_of_its_process() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m1.json");
    let machine = RackMachine::new(1);
    run(&machine, &path, async |server, _| {
        ipmitool(server, "chassis policy previous").await;
        ipmitool(server, "user set name 9 tester").await;
        ipmitool(server, "user set password 9 Secret123Secret123 20").await;
        ipmitool(server, "mc setsysinfo primary_os_name debian").await;
        ipmitool(server, "event 1").await;
        ipmitool(server, "power on").await;
    })
    .await;
    // The host loses its power: the machine is off when the BMC is back.
    machine.set_power(PowerState::Off);
    run(&machine, &path, async |server, memory| {
        // On and an event, before; off, and on again.
        until(memory, |it| events(it).len() == 4).await;
        assert!(machine.is_on(), "the policy switches on what was on");
        assert!(ipmitool(server, "chassis status").await.contains("Policy : previous"));
        assert!(ipmitool(server, "user list 1").await.contains("tester"));
        assert!(ipmitool(server, "mc getsysinfo primary_os_name").await.contains("debian"));
        assert!(ipmitool(server, "sel list").await.contains("Temperature"));
        let cause = ipmitool(server, "chassis restart_cause").await;
        assert!(cause.contains("restore-previous power policy"), "{cause}");
        ipmitool(server, "power off").await;
    })
    .await;
    run(&machine, &path, async |server, _| {
        ipmitool(server, "power status").await;
        assert!(!machine.is_on(), "what was off stays off");
    })
    .await;
}
