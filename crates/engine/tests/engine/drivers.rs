//! The engine's drivers against a virtual BMC on the loopback, all through the same suite; and what
//! "Redfish, else IPMI" falls back on, and what not.

use std::{
    net::{TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::timeout;
use undercloud_bmc::{
    accounts::Accounts,
    credentials::Credentials,
    governor::{Budget, Governor},
    guid::Guid,
    ipmi::{client::Options, server as ipmi},
    machine::{self, BootFlags, Identity, Machine, MachineError, Media, MediaSlot, PowerAction},
    redfish::{
        client::{Client, Config},
        link::{Fingerprint, Trust},
        server as redfish,
    },
};
use undercloud_engine::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder, driver::Drivers};
use undercloud_model::{
    BootDevice, BootMode, PowerState, Secret,
    node::{Driver, RedfishAddress, VerifyCa},
};

const PASSWORD: &str = "0123456789abcdef";

/// A machine that remembers.
#[derive(Debug)]
struct State {
    power: machine::PowerState,
    flags: BootFlags,
    cd: Option<Media>,
    /// The power cannot be changed: what Redfish is told, and must not be tried by IPMI.
    busy: bool,
    orders: u32,
}

struct Memory(Mutex<State>);

#[async_trait]
impl Machine for Memory {
    async fn power_state(&self) -> Result<machine::PowerState, MachineError> {
        Ok(self.0.lock().unwrap().power)
    }

    async fn power(&self, action: PowerAction) -> Result<(), MachineError> {
        let mut state = self.0.lock().unwrap();
        state.orders += 1;
        if state.busy {
            return Err(MachineError::Busy);
        }
        state.power = match action {
            PowerAction::Off | PowerAction::Soft => machine::PowerState::Off,
            _ => machine::PowerState::On,
        };
        Ok(())
    }

    async fn boot_flags(&self) -> Result<BootFlags, MachineError> {
        Ok(self.0.lock().unwrap().flags)
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> Result<(), MachineError> {
        self.0.lock().unwrap().flags = flags;
        Ok(())
    }

    fn media_slots(&self) -> &'static [MediaSlot] {
        &MediaSlot::ALL
    }

    async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, MachineError> {
        Ok(self.0.lock().unwrap().cd.clone().filter(|_| slot == MediaSlot::Cd))
    }

    async fn set_media(&self, _: MediaSlot, media: Option<Media>) -> Result<(), MachineError> {
        self.0.lock().unwrap().cd = media;
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity {
            device_guid: Guid([1; 16]),
            system_guid: Guid([2; 16]),
            firmware: (1, 0),
            name: "memory".to_owned(),
        }
    }
}

/// One machine behind both protocols.
struct Bench {
    memory: Arc<Memory>,
    ipmi: ipmi::ServerHandle,
    redfish: redfish::ServerHandle,
    pin: Fingerprint,
}

impl Bench {
    fn new() -> Self {
        let memory = Arc::new(Memory(Mutex::new(State {
            power: machine::PowerState::Off,
            flags: BootFlags::NONE,
            cd: None,
            busy: false,
            orders: 0,
        })));
        let accounts = Accounts::single(Credentials::new("admin", PASSWORD).unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ipmi = ipmi::Server::start(socket, accounts.clone(), memory.clone()).unwrap();
        let site = redfish::Site::new(Guid([3; 16]), None);
        let machine = memory.clone();
        site.add(redfish::Entry { id: "memory".into(), machine, accounts }).unwrap();
        let own = redfish::tls::Certificate::self_signed(&[], &[[127, 0, 0, 1].into()]).unwrap();
        let pin = Fingerprint::of(own.chain.first().unwrap());
        let transport = redfish::Transport::Tls(own.into_config().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let redfish = redfish::Server::start(listener, transport, site).unwrap();
        Self { memory, ipmi, redfish, pin }
    }

    fn target(&self, driver: Driver) -> BmcTarget {
        let redfish = RedfishAddress {
            port: self.redfish.address().port(),
            system: Some("/redfish/v1/Systems/memory".into()),
            verify_ca: VerifyCa::Fingerprint(self.pin.to_string()),
        };
        BmcTarget {
            driver,
            address: self.ipmi.address().ip(),
            port: self.ipmi.address().port(),
            redfish: Some(redfish),
            user: "admin".into(),
            password: Secret::new(PASSWORD),
        }
    }

    fn flags(&self) -> BootFlags {
        self.memory.0.lock().unwrap().flags
    }

    fn with_redfish(&self, change: impl FnOnce(&mut RedfishAddress)) -> BmcTarget {
        let mut target = self.target(Driver::RedfishIpmi);
        change(target.redfish.as_mut().unwrap());
        target
    }
}

fn drivers() -> Drivers {
    governed(Budget::default())
}

fn governed(budget: Budget) -> Drivers {
    let options = Options { timeout_ms: 100, attempts_max: 2, ..Options::default() };
    Drivers::new(Arc::new(Governor::new(budget)), options, "")
}

async fn login(target: &BmcTarget) -> Box<dyn Bmc> {
    drivers().connect(target).await.unwrap()
}

async fn refused(target: &BmcTarget) -> BmcFault {
    drivers().connect(target).await.err().unwrap()
}

const ALL: [Driver; 3] = [Driver::Ipmi, Driver::Redfish, Driver::RedfishIpmi];

/// A port that nobody listens on.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn every_driver_does_power_and_boot_device() {
    for driver in ALL {
        let bench = Bench::new();
        let mut bmc = login(&bench.target(driver)).await;
        assert_eq!(bmc.power().await, Ok(PowerState::Off), "{driver:?}");
        bmc.order_power(PowerOrder::On).await.unwrap();
        assert_eq!(bmc.power().await, Ok(PowerState::On), "{driver:?}");
        for (device, wire) in [
            (BootDevice::Pxe, machine::BootDevice::Pxe),
            (BootDevice::Cdrom, machine::BootDevice::Cdrom),
        ] {
            bmc.set_boot_device(device, BootMode::Uefi, false).await.unwrap();
            let expected = BootFlags { device: wire, efi: true, persistent: false, valid: true };
            assert_eq!(bench.flags(), expected, "{driver:?}");
        }
        bmc.set_boot_device(BootDevice::Disk, BootMode::Bios, true).await.unwrap();
        let flags = bench.flags();
        assert!(flags.persistent && !flags.efi, "{driver:?} {flags:?}");
        assert_eq!(flags.device, machine::BootDevice::Disk, "{driver:?}");
        bmc.order_power(PowerOrder::SoftOff).await.unwrap();
        assert_eq!(bmc.power().await, Ok(PowerState::Off), "{driver:?}");
        bmc.close().await;
    }
}

#[tokio::test]
async fn a_cd_goes_in_and_out_by_redfish_alone() {
    let bench = Bench::new();
    for driver in [Driver::Redfish, Driver::RedfishIpmi] {
        let mut bmc = login(&bench.target(driver)).await;
        for url in ["http://127.0.0.1/a.iso", "http://127.0.0.1/a.iso", "http://127.0.0.1/b.iso"] {
            bmc.insert_media(url).await.unwrap();
            let cd = bench.memory.0.lock().unwrap().cd.clone().unwrap();
            assert_eq!((cd.image.as_str(), cd.write_protected), (url, true));
        }
        for _ in 0..2 {
            bmc.eject_media().await.unwrap();
            assert_eq!(bench.memory.0.lock().unwrap().cd, None);
        }
        bmc.close().await;
    }
    let mut bmc = login(&bench.target(Driver::Ipmi)).await;
    let fault = bmc.insert_media("http://127.0.0.1/a.iso").await.unwrap_err();
    assert!(matches!(fault, BmcFault::NotOffered(_)), "{fault}");
}

#[tokio::test]
async fn a_wrong_password_and_nobody_there_are_told_apart() {
    for driver in ALL {
        let bench = Bench::new();
        let target = bench.target(driver);
        let wrong = BmcTarget { password: Secret::new("fedcba9876543210"), ..target.clone() };
        let fault = refused(&wrong).await;
        assert!(matches!(fault, BmcFault::Login(_)), "{driver:?} {fault}");
        assert!(!fault.is_passing(), "a wrong password is tried once: BMCs lock users out");
        bench.ipmi.shutdown().await;
        bench.redfish.shutdown().await;
        let fault = refused(&target).await;
        assert!(matches!(fault, BmcFault::Silent(_)), "{driver:?} {fault}");
    }
}

#[tokio::test]
async fn ipmi_is_used_where_there_is_no_redfish() {
    let bench = Bench::new();
    let dead = dead_port();
    // Nobody there; no such system.
    for target in [
        bench.with_redfish(|redfish| redfish.port = dead),
        bench.with_redfish(|redfish| redfish.system = Some("/redfish/v1/Systems/other".into())),
        BmcTarget { redfish: None, ..bench.target(Driver::RedfishIpmi) },
    ] {
        let mut bmc = login(&target).await;
        bmc.order_power(PowerOrder::On).await.unwrap();
        assert_eq!(bmc.power().await, Ok(PowerState::On));
        bmc.order_power(PowerOrder::Off).await.unwrap();
        bmc.close().await;
        let alone = BmcTarget { driver: Driver::Redfish, ..target };
        assert!(drivers().connect(&alone).await.is_err());
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_never_a_reason_for_ipmi() {
    let bench = Bench::new();
    for verify_ca in [VerifyCa::Trusted, VerifyCa::Fingerprint("00".repeat(32))] {
        let target = bench.with_redfish(|redfish| redfish.verify_ca = verify_ca.clone());
        let fault = refused(&target).await;
        assert!(matches!(fault, BmcFault::Untrusted(_)), "{verify_ca:?} {fault}");
        assert!(!fault.is_passing());
        let failure = fault.failure(&target).sentence(&"compute-0".parse().unwrap());
        assert!(failure.contains("redfish_verify_ca"), "{failure}");
    }
    let any = bench.with_redfish(|redfish| redfish.verify_ca = VerifyCa::Any);
    login(&any).await.close().await;
    assert_eq!(bench.memory.0.lock().unwrap().orders, 0);
}

#[tokio::test]
async fn what_redfish_was_told_is_not_told_to_ipmi_as_well() {
    let bench = Bench::new();
    let mut bmc = login(&bench.target(Driver::RedfishIpmi)).await;
    bench.memory.0.lock().unwrap().busy = true;
    let fault = bmc.order_power(PowerOrder::On).await.unwrap_err();
    assert!(matches!(fault, BmcFault::Busy(_)), "{fault}");
    assert_eq!(bench.memory.0.lock().unwrap().orders, 1, "asked for once, by one protocol");
    bmc.close().await;
}

/// Logs in by each of these, reads the power, and ends.
async fn look_by(drivers: &Drivers, bench: &Bench, asks: &[Driver]) {
    for driver in asks {
        let mut bmc = drivers.connect(&bench.target(*driver)).await.unwrap();
        bmc.power().await.unwrap();
        bmc.close().await;
        // So that the next one opens a session of its own.
        drivers.close().await;
    }
}

#[tokio::test]
async fn both_protocols_spend_one_budget() {
    // A handshake and a question; root, session, system, a question, and the session's end.
    let (ipmi, redfish) = (2, 5);
    let bench = Bench::new();
    for (cost, asks) in [
        (ipmi, &[Driver::Ipmi][..]),
        (redfish, &[Driver::Redfish]),
        (ipmi + redfish, &[Driver::Ipmi, Driver::Redfish]),
        (redfish + ipmi, &[Driver::RedfishIpmi, Driver::Ipmi]),
        // A new client has no new budget.
        (2 * redfish, &[Driver::Redfish, Driver::RedfishIpmi]),
    ] {
        let scarce = |burst| governed(Budget { burst, interval: Duration::from_secs(24 * 3600) });
        let enough = scarce(cost);
        let enough = timeout(Duration::from_secs(60), look_by(&enough, &bench, asks)).await;
        enough.unwrap_or_else(|_| panic!("{asks:?} asks more than {cost} questions"));
        let plenty = governed(Budget::UNLIMITED);
        let too_few = scarce(cost - 1);
        tokio::select! {
            biased;
            () = look_by(&too_few, &bench, asks) => panic!("{asks:?} asks {cost} questions"),
            // The same controller answers others all the same.
            () = async {
                look_by(&plenty, &bench, asks).await;
                look_by(&plenty, &bench, asks).await;
            } => {}
        }
    }
}

/// Somebody who looks at the sessions of the bench, and is in one of them.
async fn observer(bench: &Bench) -> Client {
    let config = Config {
        address: format!("https://{}/redfish/v1/Systems/memory", bench.redfish.address()),
        credentials: Credentials::new("admin", PASSWORD).unwrap(),
        trust: Trust::Pinned(bench.pin),
        deadline: Duration::from_secs(10),
        budget: Budget::UNLIMITED,
    };
    Client::connect(config).await.unwrap()
}

async fn sessions(observer: &Client) -> Vec<String> {
    let body = observer.get_raw("/redfish/v1/SessionService/Sessions").await.unwrap();
    let members = body["Members"].as_array().unwrap().iter();
    members.map(|member| member["@odata.id"].to_string()).collect()
}

#[tokio::test]
async fn one_redfish_session_serves_all_actions_and_ends_with_the_engine() {
    let (bench, drivers) = (Bench::new(), governed(Budget::UNLIMITED));
    let observer = observer(&bench).await;
    let alone = sessions(&observer).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        for driver in [Driver::Redfish, Driver::RedfishIpmi] {
            let mut bmc = drivers.connect(&bench.target(driver)).await.unwrap();
            bmc.order_power(PowerOrder::On).await.unwrap();
            bmc.close().await;
            seen.push(sessions(&observer).await);
        }
    }
    assert_eq!(seen[0].len(), alone.len() + 1);
    assert!(seen.iter().all(|now| *now == seen[0]), "{seen:?}");
    drivers.close().await;
    assert_eq!(sessions(&observer).await, alone);
}

#[tokio::test]
async fn a_redfish_session_that_has_ended_is_opened_again_before_an_order() {
    let (bench, drivers) = (Bench::new(), governed(Budget::UNLIMITED));
    let target = bench.target(Driver::Redfish);
    drivers.connect(&target).await.unwrap().close().await;
    // The manager's reset ends all sessions.
    let path = "/redfish/v1/Managers/memory/Actions/Manager.Reset";
    observer(&bench).await.post_raw(path, &serde_json::json!({})).await.unwrap();
    let mut bmc = drivers.connect(&target).await.unwrap();
    bmc.order_power(PowerOrder::On).await.unwrap();
    assert_eq!(bench.memory.0.lock().unwrap().orders, 1);
}

#[tokio::test]
async fn a_kept_session_is_no_reason_to_believe_a_wrong_password() {
    let (bench, drivers) = (Bench::new(), governed(Budget::UNLIMITED));
    let target = bench.target(Driver::Redfish);
    drivers.connect(&target).await.unwrap().close().await;
    let wrong = BmcTarget { password: Secret::new("fedcba9876543210"), ..target.clone() };
    let fault = drivers.connect(&wrong).await.err().unwrap();
    assert!(matches!(fault, BmcFault::Login(_)), "{fault}");
    drivers.connect(&target).await.unwrap().close().await;
}
