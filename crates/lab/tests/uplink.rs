//! The host's link to the external network, with real namespaces: the host gets in, nobody gets
//! out, nothing stays. Needs root; says so and passes where it is missing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics; it says what it skips"
)]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use camino::Utf8Path;
use undercloud_lab::{
    HostAccess, LabConfig, LabError, LabNames, MachineDefinition, MachineKind, Network,
    NicDefinition, namespace,
};
use undercloud_model::{BootMode, MacAddr};

/// How long is waited for what must not come.
const SILENCE: Duration = Duration::from_millis(700);
/// How long is waited for what must.
const DEADLINE: Duration = Duration::from_secs(20);

fn networks(external: &str) -> LabConfig {
    format!(
        "[[network]]\nname = 'boot'\ncidr = '192.168.24.0/24'\n\
         [[network]]\nname = 'external'\ncidr = '{external}'\n\
         [[machine]]\nname = 'm'\nprofile = 'x'\nfirmware = 'bios'\nmemory_mib = 128\ncpus = 1\n\
         disk_gib = 1\nnetworks = ['boot', 'external']\n"
    )
    .parse()
    .unwrap()
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A lab's network in a state directory of its own, with a machine on its external network: a
/// namespace, as real machines take longer.
struct Place {
    _directory: tempfile::TempDir,
    network: Network,
    names: LabNames,
    link: String,
    machine: String,
}

impl Place {
    fn new(external: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
        let state = Utf8Path::from_path(directory.path()).unwrap();
        let names = LabNames::for_state(state).unwrap();
        let network = Network::new(&names, &networks(external).networks);
        let machine = format!("ucm-{}-test", &names.namespace()[3..]);
        Some(Self { link: names.host_link(), names, network, machine, _directory: directory })
    }

    fn add_machine(&self, bridge: &str, address: &str, gateway: &str) {
        let (inside, machine) = (self.network.namespace(), self.machine.as_str());
        run("ip", &["netns", "add", machine]).unwrap();
        let args = ["-n", inside, "link", "add", "port", "type", "veth", "peer", "name", "nic"];
        run("ip", &[&args[..], &["netns", machine]].concat()).unwrap();
        run("ip", &["-n", inside, "link", "set", "port", "master", bridge, "up"]).unwrap();
        run("ip", &["-n", machine, "address", "add", address, "dev", "nic"]).unwrap();
        run("ip", &["-n", machine, "link", "set", "nic", "up"]).unwrap();
        run("ip", &["-n", machine, "route", "add", "default", "via", gateway]).unwrap();
    }

    fn connects_from_machine(&self, to: SocketAddr, within: Duration) -> bool {
        namespace::enter_and(&self.machine, || TcpStream::connect_timeout(&to, within).is_ok())
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in [self.machine.as_str(), self.network.namespace()] {
            if namespace::path(name).exists() {
                let _ = run("ip", &["netns", "delete", name]);
            }
        }
        let _ = run("ip", &["link", "delete", &self.link]);
    }
}

fn listen_on_host() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn the_host_gets_in_and_nobody_gets_out() {
    let Some(place) = Place::new("10.213.7.0/24") else { return };
    let rules = run("nft", &["list", "ruleset"]).unwrap();
    let forward = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let forwarding = forward();
    place.network.check().await.unwrap();
    let access = place.network.ensure(&[]).await.unwrap();
    let HostAccess::Through { host, .. } = access.clone() else { panic!("{access:?}") };
    assert_eq!(place.network.ensure(&[]).await.unwrap(), access, "again changes nothing");
    place.add_machine("br-external", "10.213.7.100/24", "10.213.7.1");

    // In: ping and TCP, from an ordinary process of the host.
    run("ping", &["-c1", "-W5", "10.213.7.100"]).unwrap();
    let address = SocketAddrV4::new([10, 213, 7, 100].into(), 80);
    let server = namespace::open_tcp_listener(&place.machine, address).unwrap();
    server.set_nonblocking(false).unwrap();
    let mut client = TcpStream::connect_timeout(&address.into(), DEADLINE).unwrap();
    let (mut answer, peer) = server.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(10, 213, 7, 1), "it answers to an address it knows");
    answer.write_all(b"pong").unwrap();
    drop(answer);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "pong");

    // Out: neither the host, by any of its addresses, nor the daemon's listeners inside.
    let (_listener, port) = listen_on_host();
    for ip in host_addresses(host) {
        assert!(!place.connects_from_machine((ip, port).into(), SILENCE), "the lab reaches {ip}");
    }
    let inside = place.network.namespace();
    for (ip, port) in [([192, 168, 24, 1], 8443), ([10, 213, 7, 1], 8088)] {
        let daemon = SocketAddrV4::new(ip.into(), port);
        let _listener = namespace::open_tcp_listener(inside, daemon).unwrap();
        assert!(!place.connects_from_machine(daemon.into(), SILENCE), "a machine reaches {daemon}");
        namespace::connect_tcp(inside, daemon, DEADLINE).unwrap();
    }
    // It sees the address of its own network alone.
    let ping =
        |to| namespace::enter_and(&place.machine, || run("ping", &["-c1", "-W2", to])).unwrap();
    ping("10.213.7.1").unwrap();
    ping("192.168.24.1").unwrap_err();
    let dhcp = SocketAddrV4::new([192, 168, 24, 1].into(), 67);
    let socket = namespace::open_udp(inside, dhcp, None, true).unwrap();
    let send = || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", dhcp).unwrap();
    namespace::enter_and(&place.machine, send).unwrap();
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(socket.recv(&mut [0]).is_err());

    // The host is as it was but for one link and its route.
    assert_eq!(run("nft", &["list", "ruleset"]).unwrap(), rules);
    assert_eq!(forward(), forwarding);
    let v6 = run("ip", &["-6", "address", "show", "dev", &place.link]).unwrap();
    assert_eq!(v6, "");
    place.network.remove().await.unwrap();
    assert!(!run("ip", &["route"]).unwrap().contains("10.213.7"));
    assert!(run("ip", &["link", "show", &place.link]).is_err());
    place.network.remove().await.unwrap();
}

/// The host's end of the link, and every other address that it has.
fn host_addresses(link: Ipv4Addr) -> Vec<Ipv4Addr> {
    let text = run("ip", &["-4", "-o", "address", "show"]).unwrap();
    let words = text.lines().filter_map(|line| line.split_whitespace().nth(3));
    let all: Vec<Ipv4Addr> = words.filter_map(|w| w.split('/').next()?.parse().ok()).collect();
    assert!(all.contains(&link), "{all:?}");
    all
}

#[tokio::test]
async fn machines_of_the_boot_network_reach_the_daemon() {
    let Some(place) = Place::new("10.213.8.0/24") else { return };
    let nic = |network: &str, last| NicDefinition {
        network: network.parse().unwrap(),
        mac: MacAddr::from_bytes([0x52, 0x54, 0, 0xee, 1, last]),
    };
    let machine = MachineDefinition {
        kind: MachineKind::Qemu,
        name: "m".parse().unwrap(),
        profile: "x".into(),
        firmware: BootMode::Bios,
        memory_mib: 128,
        cpus: 1,
        disk_gib: 1,
        disk_serial: "UC1".into(),
        more_disks: Vec::new(),
        uid: 0x7000_0001,
        system_guid: uuid::Uuid::nil(),
        nics: vec![nic("boot", 1), nic("external", 2)],
        driver: Default::default(),
        boot_interface: Default::default(),
    };
    place.network.ensure(&[&machine]).await.unwrap();
    place.add_machine("br-boot", "192.168.24.100/24", "192.168.24.1");
    let daemon = SocketAddrV4::new([192, 168, 24, 1].into(), 8443);
    let _listener = namespace::open_tcp_listener(place.network.namespace(), daemon).unwrap();
    assert!(place.connects_from_machine(daemon.into(), DEADLINE));
    // It has no way to the host either, and the host none to it.
    let (_host, port) = listen_on_host();
    assert!(!place.connects_from_machine((place.names.link_addresses(0).0, port).into(), SILENCE));
    assert!(run("ping", &["-c1", "-W1", "192.168.24.100"]).is_err());
}

#[tokio::test]
async fn the_second_lab_with_the_same_addresses_goes_without() {
    let Some(first) = Place::new("10.213.9.0/24") else { return };
    let second = Place::new("10.213.9.0/25").unwrap();
    let access = first.network.ensure(&[]).await.unwrap();
    assert!(matches!(access, HostAccess::Through { .. }), "{access:?}");
    assert_eq!(first.network.elsewhere().await.unwrap(), None);
    second.network.check().await.unwrap();
    let access = second.network.ensure(&[]).await.unwrap();
    assert_eq!(second.network.elsewhere().await.unwrap().as_ref(), Some(&access));
    let said = access.to_string();
    let owner = format!("through {}, the link of the lab in {}", first.link, first.names.state());
    assert!(said.contains(&owner), "{said}");
    let HostAccess::Taken { device, route } = access else { panic!("{access:?}") };
    assert_eq!((device.as_str(), route.to_string().as_str()), (&*first.link, "10.213.9.0/24"));
    assert!(run("ip", &["link", "show", &second.link]).is_err());
    // When the first is gone it has its turn.
    first.network.remove().await.unwrap();
    let access = second.network.ensure(&[]).await.unwrap();
    assert!(matches!(access, HostAccess::Through { .. }), "{access:?}");
    second.network.remove().await.unwrap();
}

#[tokio::test]
async fn the_hosts_own_addresses_are_not_taken_from_it() {
    let Some(place) = Place::new("10.213.10.0/24") else { return };
    let bridge = ["link", "add", &place.machine[..15], "type", "bridge"];
    run("ip", &bridge).unwrap();
    let name = bridge[2];
    run("ip", &["address", "add", "10.213.10.7/28", "dev", name]).unwrap();
    run("ip", &["link", "set", name, "up"]).unwrap();
    let checked = place.network.check().await;
    run("ip", &["link", "delete", name]).unwrap();
    let error = checked.unwrap_err();
    assert!(matches!(error, LabError::AddressesTaken { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&format!("through {name}")) && said.contains("`external`"), "{said}");
}
