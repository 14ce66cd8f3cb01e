//! Our client against our server.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use fixture::{MemoryMachine, PASSWORD, USER, credentials, serve, socket};
use tokio::sync::watch;
use undercloud_bmc::{
    governor::Governor,
    guid::Guid,
    ipmi::{
        client::{Client, ClientError, ErrorKind, OWN_FRU, Options, keeper::Keeper},
        server::{Server, ServerError},
        suite::CipherSuite,
    },
    machine::{BootDevice, BootFlags, PowerAction, PowerState},
    privilege::Privilege,
};

fn quick() -> Options {
    Options { timeout_ms: 500, attempts_max: 4, ..Options::default() }
}

async fn connect(address: SocketAddr, options: Options) -> Result<Client, ClientError> {
    Client::connect(address, credentials(USER, PASSWORD), options).await
}

/// Stands between client and server and loses what `loses` says.
struct Wire {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    worker: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

impl Wire {
    fn new(server: SocketAddr, loses: impl Fn(Way, &[u8]) -> bool + Send + 'static) -> Self {
        let (outer, inner) = (socket(), socket());
        inner.connect(server).expect("connect");
        let tick = Some(Duration::from_millis(2));
        outer.set_read_timeout(tick).expect("timeout");
        inner.set_read_timeout(tick).expect("timeout");
        let address = outer.local_addr().expect("address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let worker = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let mut client = None;
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, source)) = UdpSocket::recv_from(&outer, &mut buffer) {
                    client = Some(source);
                    if !loses(Way::Request, &buffer[..length]) {
                        let _ = inner.send(&buffer[..length]);
                    }
                }
                if let (Ok(length), Some(client)) = (inner.recv(&mut buffer), client)
                    && !loses(Way::Answer, &buffer[..length])
                {
                    let _ = outer.send_to(&buffer[..length], client);
                }
            }
        });
        Self { address, stop, worker: Some(worker) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes.get(5) == Some(&0xc0)
}

#[tokio::test]
async fn every_method_in_both_suites() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    for suite in CipherSuite::PREFERRED {
        machine.set_power(PowerState::Off);
        let options = Options { suites: vec![suite], ..quick() };
        let mut client = connect(server.address(), options).await.expect("connect");
        assert_eq!(client.suite(), Some(suite));
        assert_eq!(client.device_id().await.expect("device id").firmware_minor, 0x23);
        let guid = Guid([0x50, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(client.system_guid().await.expect("guid"), guid);
        assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
        let error = client.power(PowerAction::Cycle).await.expect_err("it is off");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        client.power(PowerAction::On).await.expect("on");
        assert_eq!(client.power_state().await.expect("state"), PowerState::On);
        for action in [PowerAction::Reset, PowerAction::Cycle, PowerAction::Diag] {
            client.power(action).await.expect("running");
        }
        client.set_boot_device(BootDevice::Pxe, true, false).await.expect("set");
        let flags =
            BootFlags { device: BootDevice::Pxe, efi: true, persistent: false, valid: true };
        assert_eq!(client.boot_flags().await.expect("flags"), flags);
        client.power(PowerAction::Reset).await.expect("reset");
        assert!(!client.boot_flags().await.expect("flags").valid, "used up");
        assert_eq!(machine.state().boots.last(), Some(&flags));
        client.power(PowerAction::Soft).await.expect("soft");
        assert_eq!(client.chassis_status().await.expect("status").power & 1, 0);
        client.close().await;
    }
}

#[tokio::test]
async fn the_best_suite_wins() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let client = connect(server.address(), quick()).await.expect("connect");
    assert_eq!(client.suite(), Some(CipherSuite::Suite17));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let address = server.address();
    let started = Instant::now();
    for (user, password) in [(USER, "not-the-password"), ("nobody", PASSWORD)] {
        let error = Client::connect(address, credentials(user, password), quick()).await;
        let error = error.expect_err("refused");
        assert!(matches!(error, ClientError::AuthenticationFailed { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    let options = Options { suites: Vec::new(), ..quick() };
    let error = connect(address, options).await.expect_err("no suite");
    assert!(matches!(error, ClientError::NoCommonSuite { .. }), "{error:?}");
    let options = Options { privilege: Privilege::User, ..quick() };
    let mut reader = connect(address, options).await.expect("a USER may read");
    reader.power_state().await.expect("a USER may read");
    let error = reader.power(PowerAction::On).await.expect_err("a USER may not switch");
    assert!(matches!(error, ClientError::PrivilegeTooLow { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "a refusal must not be a time-out");
}

#[tokio::test]
async fn nobody_there() {
    let silent = socket();
    let options = Options { timeout_ms: 20, attempts_max: 3, ..Options::default() };
    let address = silent.local_addr().expect("address");
    let error = connect(address, options.clone()).await.expect_err("silent");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    drop(silent);
    let error = connect(address, options).await.expect_err("closed");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_request_and_an_answer_lost_each_time() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    let counter = AtomicU32::new(0);
    let wire = Wire::new(server.address(), move |_, _| {
        // About one of five, in no step with the questions.
        counter.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_761) >> 28 < 3
    });
    let options = Options { timeout_ms: 50, attempts_max: 8, ..Options::default() };
    let mut client = connect(wire.address, options).await.expect("connect");
    // Each order is one datagram, and this wire loses one of five: the caller may have to ask again.
    let mut orders = 0;
    while let Err(error) = client.power(PowerAction::On).await {
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        orders += 1;
        assert!(orders < 10, "it never gets through");
    }
    let mut known = 0;
    for _ in 0..5 {
        match client.power(PowerAction::Cycle).await {
            Ok(()) => known += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unknown, "{error}"),
        }
    }
    assert_eq!(client.power_state().await.expect("state"), PowerState::On);
    let cycles = machine.state().actions.iter().filter(|it| **it == PowerAction::Cycle).count();
    assert!((known..=5).contains(&cycles), "{cycles} power cycles, {known} of them known");
}

#[tokio::test]
async fn a_cycle_whose_answer_is_lost_is_not_repeated() {
    let machine = MemoryMachine::new(Duration::ZERO);
    machine.set_power(PowerState::On);
    let server = serve(machine.clone());
    let deaf = Arc::new(AtomicBool::new(false));
    let loses = deaf.clone();
    let wire = Wire::new(server.address(), move |way, _| {
        way == Way::Answer && loses.load(Ordering::Relaxed)
    });
    let options = Options { timeout_ms: 40, attempts_max: 3, ..Options::default() };
    let mut client = connect(wire.address, options).await.expect("connect");
    deaf.store(true, Ordering::Relaxed);
    let error = client.power(PowerAction::Cycle).await.expect_err("no answer");
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(machine.state().actions, [PowerAction::Cycle]);
    deaf.store(false, Ordering::Relaxed);
    assert_eq!(client.power_state().await.expect("logs in again"), PowerState::On);
    assert_eq!(machine.state().actions, [PowerAction::Cycle]);
}

#[tokio::test]
async fn a_lost_session_is_opened_again() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let first = serve(machine.clone());
    let address = first.address();
    let options = Options { timeout_ms: 50, attempts_max: 3, ..Options::default() };
    let mut client = connect(address, options).await.expect("connect");
    first.shutdown().await;
    let again = UdpSocket::bind(address).expect("the port is free again");
    let second = Server::start(again, credentials(USER, PASSWORD), machine.clone());
    let _second = second.expect("start");
    assert_eq!(client.power_state().await.expect("logs in again"), PowerState::Off);
    client.power(PowerAction::On).await.expect("on");
    assert_eq!(machine.state().actions, [PowerAction::On]);
}

#[tokio::test]
async fn garbage_answers_are_passed_over() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let seen = Arc::new(Mutex::new(0u32));
    let count = seen.clone();
    // Every first answer to a sealed request is lost; the client must ask again with the same
    // bytes, which the server answers from memory.
    let wire = Wire::new(server.address(), move |way, bytes| {
        let mut seen = count.lock().expect("lock");
        *seen += u32::from(way == Way::Answer && is_sealed(bytes));
        way == Way::Answer && is_sealed(bytes) && *seen % 2 == 1
    });
    let options = Options { timeout_ms: 50, attempts_max: 4, ..Options::default() };
    let mut client = connect(wire.address, options).await.expect("connect");
    for _ in 0..3 {
        client.device_id().await.expect("device id");
    }
    assert!(*seen.lock().expect("lock") >= 8);
}

#[tokio::test]
async fn a_short_password_is_refused() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let error = Server::start(socket(), credentials(USER, "fifteen-letters"), machine);
    assert!(matches!(error, Err(ServerError::ShortPassword { got: 15 })));
}

#[test]
fn no_runtime_is_an_error_and_not_a_panic() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let error = Server::start(socket(), credentials(USER, PASSWORD), machine);
    assert!(matches!(error, Err(ServerError::NoRuntime(_))));
}

#[tokio::test]
async fn a_dropped_handle_ends_the_server() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let address = server.address();
    drop(server);
    let deadline = Instant::now() + Duration::from_secs(5);
    while UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "the port stays taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn shutdown_waits_for_the_power_action() {
    let machine = MemoryMachine::new(Duration::from_millis(1200));
    let server = serve(machine.clone());
    let mut client = connect(server.address(), quick()).await.expect("connect");
    client.power(PowerAction::On).await.expect("accepted");
    assert_eq!(machine.state().actions, []);
    server.shutdown().await;
    assert_eq!(machine.state().actions, [PowerAction::On]);
}

#[tokio::test]
async fn many_servers_in_one_process() {
    let mut servers = Vec::new();
    for _ in 0..50 {
        let machine = MemoryMachine::new(Duration::ZERO);
        servers.push((serve(machine.clone()), machine));
    }
    for (server, machine) in &servers {
        let mut client = connect(server.address(), quick()).await.expect("connect");
        client.power(PowerAction::On).await.expect("on");
        assert_eq!(machine.state().actions, [PowerAction::On]);
        client.close().await;
    }
}

#[tokio::test]
async fn sensors_events_and_inventory_of_ours() {
    let machine = MemoryMachine::new(Duration::ZERO);
    let server = serve(machine.clone());
    let mut client = connect(server.address(), quick()).await.expect("connect");
    client.power(PowerAction::On).await.expect("on");
    let sensors = client.sensors().await.expect("sensors");
    let find = |name: &str| sensors.iter().find(|it| it.name == name).expect("sensor");
    let memory = find("Memory Usage");
    assert_eq!((memory.value, memory.units.as_str(), memory.kind), (Some(50.0), "%", "Memory"));
    assert_eq!(find("Disk Write").units, "MB/s");
    let power = find("Power State");
    assert_eq!(
        (power.value, power.states.as_slice()),
        (None, ["S0/G0: working".to_owned()].as_slice())
    );
    assert_eq!(sensors.len(), 8);

    client.set_clock(1_767_225_600).await.expect("set clock");
    let clock = client.clock().await.expect("clock");
    assert!((1_767_225_600..1_767_225_660).contains(&clock), "{clock}");
    client.power(PowerAction::Off).await.expect("off");
    let events = client.events().await.expect("events");
    let last = events.last().expect("an event");
    assert_eq!(last.what.text(), "S5/G2: soft off");
    assert!(last.has_calendar_time());
    assert_eq!(usize::from(client.event_log_info().await.expect("info").entries), events.len());
    client.clear_events().await.expect("clear");
    assert_eq!(client.events().await.expect("events"), []);

    let fru = client.fru(OWN_FRU).await.expect("inventory");
    assert_eq!(fru.faults, Vec::<String>::new());
    let product = fru.product.expect("product");
    assert_eq!((product.name.as_str(), product.serial.as_str()), ("Model 1", "S-0001"));
    assert_eq!(fru.board.expect("board").made, None);
    let error = client.fru(9).await.expect_err("there is one");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    client.close().await;
}

#[tokio::test]
async fn no_override_leaves_nothing_valid() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let mut client = connect(server.address(), quick()).await.expect("connect");
    client.set_boot_device(BootDevice::Pxe, true, true).await.expect("set");
    client.set_boot_device(BootDevice::None, true, true).await.expect("clear");
    assert_eq!(client.boot_flags().await.expect("flags"), BootFlags::NONE);
}

/// Counts the sessions that are proposed, and the sealed requests, that pass a wire.
fn counting(server: SocketAddr) -> (Wire, watch::Receiver<(u32, u32)>) {
    let (sender, receiver) = watch::channel((0, 0));
    let wire = Wire::new(server, move |way, bytes| {
        if way == Way::Request {
            sender.send_modify(|(opened, sealed)| {
                // The payload type of Open Session is 0x10.
                *opened += u32::from(bytes.get(4..6) == Some(&[0x06, 0x10]));
                *sealed += u32::from(is_sealed(bytes));
            });
        }
        false
    });
    (wire, receiver)
}

#[tokio::test]
async fn one_session_serves_whoever_comes_next() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let (wire, counts) = counting(server.address());
    let keeper = Keeper::new(quick(), Arc::new(Governor::default()));
    for _ in 0..5 {
        let mut lease =
            keeper.lease(wire.address, credentials(USER, PASSWORD)).await.expect("lease");
        lease.power_state().await.expect("state");
    }
    assert_eq!(counts.borrow().0, 1, "one session");
    let error = keeper.lease(wire.address, credentials(USER, "not-the-password")).await;
    assert_eq!(error.expect_err("another password").kind(), ErrorKind::Denied);
    let ask = || async {
        let mut lease = keeper.lease(wire.address, credentials(USER, PASSWORD)).await?;
        lease.power_state().await
    };
    let both = async { tokio::join!(ask(), ask()) };
    let both = tokio::time::timeout(Duration::from_secs(20), both).await;
    let (first, second) = both.expect("the second waits for the first, and no longer");
    assert_eq!((first.ok(), second.ok()), (Some(PowerState::Off), Some(PowerState::Off)));
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_closed() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let (wire, mut counts) = counting(server.address());
    let keeper = Keeper::new(quick(), Arc::new(Governor::default()));
    let keeper = keeper.with_idle_max(Duration::from_millis(50));
    let lease = keeper.lease(wire.address, credentials(USER, PASSWORD)).await.expect("lease");
    let before = *counts.borrow();
    drop(lease);
    let closed = counts.wait_for(|now| now.1 > before.1);
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("in time").expect("closed");
    let mut lease = keeper.lease(wire.address, credentials(USER, PASSWORD)).await.expect("lease");
    lease.power_state().await.expect("state");
    assert_eq!(counts.borrow().0, before.0 + 1, "a session of its own");
}
