//! Our client and our probe against OpenIPMI's `ipmi_sim`, a controller that nobody here wrote.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use fixture::{PASSWORD, USER, credentials, socket};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use undercloud_bmc::{
    ipmi::{
        client::{Client, ErrorKind, Options},
        suite::CipherSuite,
    },
    machine::PowerState,
    probe::{Finding, Plan, probe},
};

const EMULATOR: &str = "\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
";

struct Simulator {
    address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl Simulator {
    /// Started, and answering.
    async fn start() -> Self {
        let folder = TempDir::new().expect("folder");
        let path = |name: &str| folder.path().join(name);
        // It cannot choose a port for itself: the one that is free now.
        let address = socket().local_addr().expect("address");
        let types = "none md2 md5 straight";
        let levels: String = ["callback", "user", "operator", "admin"]
            .map(|level| format!("  allowed_auths_{level} {types}\n"))
            .concat();
        let lan = format!(
            "name \"sim\"\nset_working_mc 0x20\nstartlan 1\n  addr {} {}\n  priv_limit admin\n\
             {levels}  guid a123456789abcdefa123456789abcdef\nendlan\n\
             user 1 true \"\" \"\" user 10 {types}\n\
             user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 {types}\n",
            address.ip(),
            address.port(),
        );
        fs::write(path("lan.conf"), lan).expect("write");
        fs::write(path("sim.emu"), EMULATOR).expect("write");
        fs::create_dir(path("state")).expect("folder");
        let child = Command::new("ipmi_sim")
            .arg("-c")
            .arg(path("lan.conf"))
            .arg("-f")
            .arg(path("sim.emu"))
            .arg("-s")
            .arg(path("state"))
            .arg("-n")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("these tests need ipmi_sim (Debian package openipmi)");
        let simulator = Self { address, _child: child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = simulator.connect(quick()).await {
            assert!(Instant::now() < deadline, "ipmi_sim does not answer: {error}");
        }
        simulator
    }

    async fn connect(
        &self,
        options: Options,
    ) -> Result<Client, undercloud_bmc::ipmi::client::ClientError> {
        Client::connect(self.address, credentials(USER, PASSWORD), options).await
    }
}

fn quick() -> Options {
    Options { timeout_ms: 200, attempts_max: 3, ..Options::default() }
}

#[tokio::test]
async fn the_client_falls_back_to_suite_3_and_works() {
    let simulator = Simulator::start().await;
    let mut client = simulator.connect(quick()).await.expect("connect");
    assert_eq!(client.suite(), Some(CipherSuite::Suite3), "it does not know 17");
    let device = client.device_id().await.expect("device id");
    assert_eq!((device.firmware_major, device.firmware_minor, device.product), (9, 8, 0xf02));
    assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
    client.close().await;
    let options = Options { suites: vec![CipherSuite::Suite17], ..quick() };
    let error = simulator.connect(options).await.expect_err("17 only");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let wrong = credentials(USER, "not-the-password");
    let error = Client::connect(simulator.address, wrong, quick()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn the_probe_finds_what_is_wrong_with_it() {
    let simulator = Simulator::start().await;
    let credentials = Some(credentials(USER, PASSWORD));
    let now = 1_767_225_600;
    let plan = Plan { options: quick(), credentials, try_defaults: false, https: None, now };
    let report = probe(simulator.address, plan).await.expect("a report");
    let faults = [Finding::SuiteZero, Finding::OldVersion, Finding::OldWithoutAuthentication];
    for finding in faults.into_iter().chain([Finding::AnonymousLogin]) {
        assert!(report.findings.contains(&finding), "{finding}: {report:?}");
    }
    assert!(report.inside.is_some_and(|inside| inside.suite == CipherSuite::Suite3));
}
