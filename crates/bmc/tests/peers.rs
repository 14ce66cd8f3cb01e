//! Our clients against the controllers that others wrote (VirtualBMC, sushy-tools), and the Python
//! clients that others wrote (pyghmi, python-ipmi) against ours; all from PyPI.
//!
//! What the peers do wrong is in these tests, too: when one of them learns, its row fails.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fixture::{
    MemoryMachine, PASSWORD, USER, credentials, serve,
    venv::{REFEREES, Site, environment, run, text},
};
use tempfile::TempDir;
use undercloud_bmc::{
    credentials::Credentials,
    ipmi::{
        client::{Client, ClientError, ErrorKind, Options},
        suite::CipherSuite,
    },
    machine::{BootDevice, BootFlags, Media, MediaSlot, PowerAction, PowerState},
    redfish::{
        client::{self as redfish, BootEnabled, BootMode, Budget, Config},
        link::Trust,
    },
};

const PACKAGES: [&str; 4] =
    ["virtualbmc==3.3.0", "pyghmi==1.6.19", "sushy-tools==2.2.0", "python-ipmi==0.6.1"];
/// What VirtualBMC is given; its own default.
const PEER_PASSWORD: &str = "password";

fn bin() -> PathBuf {
    environment("bmc-peers", Site::WithDebians, &PACKAGES)
}

/// A program of ours that runs a peer; it ends with its standard input.
struct Peer {
    port: u16,
    child: Child,
}

impl Peer {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(bin().join("python"))
            .args(["-W", "ignore", &format!("{REFEREES}/{script}")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        let out = BufReader::new(child.stdout.take().expect("standard output"));
        let port = out.lines().find_map(|line| line.ok()?.strip_prefix("PORT ")?.parse().ok());
        let port = port.unwrap_or_else(|| {
            panic!("{script} did not start; it may need libvirt (Debian package python3-libvirt)")
        });
        Self { port, child }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quick() -> Options {
    Options { timeout_ms: 500, attempts_max: 2, ..Options::default() }
}

async fn connect(peer: &Peer, credentials: Credentials) -> Result<Client, ClientError> {
    Client::connect(peer.address(), credentials, quick()).await
}

#[tokio::test]
async fn virtualbmc() {
    let peer = Peer::start("virtualbmc_peer.py", &["admin", PEER_PASSWORD]);
    let mut client = connect(&peer, credentials("admin", PEER_PASSWORD)).await.expect("connect");
    assert_eq!(client.suite(), Some(CipherSuite::Suite3), "it answers 3 whatever it is asked");
    client.device_id().await.expect("device id");
    assert_eq!(client.power_state().await.expect("state"), PowerState::On);
    for (action, state) in [
        (PowerAction::Off, PowerState::Off),
        (PowerAction::Off, PowerState::Off),
        (PowerAction::On, PowerState::On),
        (PowerAction::Reset, PowerState::On),
        (PowerAction::On, PowerState::On),
        (PowerAction::Soft, PowerState::Off),
        (PowerAction::On, PowerState::On),
    ] {
        client.power(action).await.expect("power");
        assert_eq!(client.power_state().await.expect("state"), state, "{action:?}");
    }
    let error = client.power(PowerAction::Cycle).await.expect_err("it has none");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    client.power(PowerAction::Off).await.expect("off");
    for device in [BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom] {
        client.set_boot_device(device, false, false).await.expect("set");
        let flags = BootFlags { device, efi: false, persistent: false, valid: true };
        assert_eq!(client.boot_flags().await.expect("flags"), flags);
    }
    client.close().await;
}

#[tokio::test]
async fn virtualbmc_drops_what_it_does_not_know() {
    let peer = Peer::start("virtualbmc_peer.py", &["admin", PEER_PASSWORD]);
    let mut client = connect(&peer, credentials("admin", PEER_PASSWORD)).await.expect("connect");
    client.set_boot_device(BootDevice::Pxe, false, false).await.expect("it says yes");
    let flags = client.boot_flags().await.expect("flags");
    assert_eq!(flags.device, BootDevice::Disk, "it shows what the machine was started with");
    client.power(PowerAction::Off).await.expect("off");
    client.set_boot_device(BootDevice::Pxe, true, true).await.expect("it says yes");
    let flags = client.boot_flags().await.expect("flags");
    assert!(!flags.efi && !flags.persistent, "neither UEFI nor persistence is kept: {flags:?}");
    client.set_boot_device(BootDevice::Bios, false, false).await.expect("it says yes");
    let flags = client.boot_flags().await.expect("flags");
    assert_eq!(flags.device, BootDevice::Pxe, "nothing was set");
    for (what, result) in [
        ("system GUID", client.system_guid().await.map(drop)),
        ("clock", client.clock().await.map(drop)),
    ] {
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error}");
    }
    client.close().await;
}

#[tokio::test]
async fn virtualbmc_refuses() {
    let peer = Peer::start("virtualbmc_peer.py", &["admin", PEER_PASSWORD]);
    let started = Instant::now();
    let error = connect(&peer, credentials("admin", "not-the-password")).await.expect_err("wrong");
    assert!(matches!(error, ClientError::AuthenticationFailed { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(500), "a refusal is no time-out");
    // It does not answer those whom it does not know.
    let error = connect(&peer, credentials("nobody", PEER_PASSWORD)).await.expect_err("unknown");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    connect(&peer, credentials("admin", PEER_PASSWORD)).await.expect("the right one still works");
}

fn config(peer: &Peer, credentials: Credentials, path: &str) -> Config {
    Config {
        address: format!("http://{}{path}", peer.address()),
        credentials,
        trust: Trust::Anybody,
        deadline: Duration::from_secs(10),
        // Which is how often a state is looked at, too.
        budget: Budget { burst: 20, interval: Duration::from_millis(50) },
    }
}

/// Until the system is in this state: the fake driver takes its time.
async fn reaches(client: &redfish::Client, state: PowerState) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.power_state().await.expect("state") != state {
        assert!(Instant::now() < deadline, "never {state:?}");
    }
}

async fn power(client: &redfish::Client) {
    for (action, state) in [
        (PowerAction::On, PowerState::On),
        (PowerAction::Reset, PowerState::On),
        (PowerAction::Off, PowerState::Off),
        (PowerAction::On, PowerState::On),
        (PowerAction::Soft, PowerState::Off),
    ] {
        client.power(action).await.unwrap_or_else(|error| panic!("{action:?}: {error}"));
        reaches(client, state).await;
    }
}

#[tokio::test]
async fn sushy_emulator_with_its_fake_driver() {
    let folder = TempDir::new().expect("folder");
    let peer = Peer::start("sushy_emulator_peer.py", &["fake", path(&folder)]);
    let client = redfish::Client::connect(config(&peer, credentials("a", "b"), "")).await;
    let client = client.expect("connect");
    let offers = client.capabilities().await.expect("capabilities");
    assert!(!offers.sessions && !offers.event_stream, "it has neither: {offers:?}");
    assert!(offers.reset_types.contains(&"ForceOff".to_owned()), "{offers:?}");
    power(&client).await;
    for (device, target) in
        [(BootDevice::Pxe, "Pxe"), (BootDevice::Disk, "Hdd"), (BootDevice::Cdrom, "Cd")]
    {
        for mode in [BootMode::Uefi, BootMode::Legacy] {
            client.set_boot(device, BootEnabled::Continuous, Some(mode)).await.expect("boot");
            let boot = client.boot().await.expect("boot");
            assert_eq!((boot.target.as_str(), boot.mode), (target, Some(mode)));
        }
    }
    // It takes "once" for "always", which boots from there too: our client lets it pass.
    client.set_boot(BootDevice::Pxe, BootEnabled::Once, None).await.expect("once, or always");
    assert_eq!(client.boot().await.expect("boot").target, "Pxe");
    let found = client.inventory().await.expect("what there is: its list of storage is broken");
    assert_eq!(found.drives, []);
    assert!(found.nics.iter().any(|nic| nic.mac == [0, 0x5c, 0x52, 0x31, 0x3a, 0x9c]), "{found:?}");
    let sensors = client.sensors().await.expect("sensors");
    assert!(sensors.iter().any(|it| it.units.as_deref() == Some("Cel")), "{sensors:?}");
    let media = Media { image: "http://127.0.0.1:1/no.iso".into(), write_protected: true };
    let error = client.insert_media(MediaSlot::Cd, &media).await.expect_err("nobody serves it");
    assert_eq!(client.media(MediaSlot::Cd).await.expect("media"), None, "{error}");
}

#[tokio::test]
async fn sushy_emulator_with_libvirt() {
    let folder = TempDir::new().expect("folder");
    // admin:password, by bcrypt: the emulator takes no other digest.
    let users = "admin:$2b$04$wBx1N7Xpj2dD0CiRpn3Whu/sMwzInI.9gk0PY3ErqnFMCwAwvfB3S\n";
    std::fs::write(folder.path().join("htpasswd"), users).expect("users");
    let peer = Peer::start("sushy_emulator_peer.py", &["libvirt", path(&folder)]);
    for (user, password) in [("admin", "not-the-password"), ("nobody", PEER_PASSWORD)] {
        let error = redfish::Client::connect(config(&peer, credentials(user, password), "")).await;
        assert_eq!(error.expect_err("refused").kind(), redfish::ErrorKind::Denied);
    }
    let config = config(&peer, credentials("admin", PEER_PASSWORD), "");
    let client = redfish::Client::connect(config).await.expect("connect");
    assert_eq!(client.power_state().await.expect("state"), PowerState::On);
    client.power(PowerAction::Off).await.expect("off");
    power(&client).await;
    for (device, target) in [(BootDevice::Pxe, "Pxe"), (BootDevice::Disk, "Hdd")] {
        client.set_boot(device, BootEnabled::Continuous, None).await.expect("boot");
        assert_eq!(client.boot().await.expect("boot").target, target);
    }
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().expect("UTF-8 path")
}

/// Runs a client of others against a controller of ours; all of its checks have to be good.
fn referee(script: &str, checks_min: usize) {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let port = server.address().port().to_string();
    let script = format!("{REFEREES}/{script}");
    let arguments = ["-W", "ignore", &script, &port, USER, PASSWORD];
    let output = run(bin().join("python"), &arguments, Path::new("/"));
    let said = text(&output);
    let checks = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(output.status.success() && checks >= checks_min, "{checks} good: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyghmi() {
    referee("pyghmi_checks.py", 34);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_ipmi() {
    referee("python_ipmi_checks.py", 35);
}
