//! All servers together in a network namespace, asked by a machine in another one, byte by byte as
//! firmware does. Needs root and iproute2; without root it says so and checks nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV6, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use undercloud_model::MacAddr;
use undercloud_netboot::{
    BlobSource, BootEvent, BootEventKind as Kind, BootFiles, BootTarget, BootToken, Boots, Client,
    HostClock, HostTime, Lease, Netboot, NetbootConfig, NetbootSockets, Parts, Place, Segment,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 24, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 24, 16);
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x10];
const HTTP_PORT: u16 = 8088;
const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Two namespaces joined by a cable; they go when this is dropped.
struct Net {
    ours: String,
    machines: String,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// The kernel drops what is sent before it has noticed that both ends of a cable are up.
fn wait_until_up(namespace: &str, link: &str) {
    let start = Instant::now();
    let state = ["-n", namespace, "-o", "link", "show", "dev", link];
    loop {
        let output = Command::new("ip").args(state).output().unwrap();
        let state = String::from_utf8_lossy(&output.stdout).into_owned();
        if state.contains("LOWER_UP") && state.contains("state UP") {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{link} does not come up: {state}");
    }
}

impl Net {
    /// `None` without root.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: nothing is checked");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |part| format!("netboot-{part}-{}-{number}", std::process::id());
        let net = Self { ours: name("us"), machines: name("them") };
        let (us, them) = (&net.ours, &net.machines);
        let mac = MacAddr::from_bytes(MAC);
        ip(&format!("netns add {us}"));
        ip(&format!("netns add {them}"));
        ip(&format!("-n {us} link add br0 type bridge"));
        ip(&format!("-n {us} address add {SERVER}/24 dev br0"));
        ip(&format!("-n {us} link add v0 type veth peer name v1 address {mac} netns {them}"));
        ip(&format!("-n {us} link set v0 master br0 up"));
        ip(&format!("-n {us} link set br0 up"));
        ip(&format!("-n {them} link set v1 up"));
        for (namespace, link) in [(us, "br0"), (us, "v0"), (them, "v1")] {
            wait_until_up(namespace, link);
        }
        Some(net)
    }

    fn start(&self, boots: &Arc<Lab>) -> Servers {
        let place = Place {
            namespace: Some(open(&self.ours).into()),
            interface: "br0",
            server: SERVER,
            http_port: HTTP_PORT,
        };
        let sockets = NetbootSockets::open(place).unwrap().sockets;
        let files = BootFiles {
            undionly_kpxe: (0..100_000u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect(),
            snponly_efi: b"MZ".to_vec().into(),
        };
        let time = HostTime { since_epoch: Duration::from_secs(1_700_000_000), stratum: Some(2) };
        let config =
            NetbootConfig { server: SERVER, sockets, files, clock: HostClock::new(move || time) };
        Servers::run(Netboot::parts(config, boots.clone()).unwrap())
    }

    /// Runs on the machine's side of the cable.
    fn on_machine<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = open(&self.machines);
        let job = move || {
            use std::os::fd::AsFd as _;
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            job()
        };
        thread::spawn(job).join().unwrap()
    }
}

/// The running servers.
struct Servers {
    running: tokio::task::JoinSet<()>,
    stop: tokio_util::sync::CancellationToken,
}

impl Servers {
    fn run(Parts { essential, helpful, stop, .. }: Parts) -> Self {
        let mut running = tokio::task::JoinSet::new();
        for (_, part) in essential {
            running.spawn(part);
        }
        for (_, part) in helpful {
            running.spawn(part());
        }
        Self { running, stop }
    }

    /// Ends them; events that still wait are handed over before.
    async fn shutdown(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.running.join_all()).await.unwrap();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.ours, &self.machines] {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

fn open(namespace: &str) -> File {
    File::open(format!("/run/netns/{namespace}")).unwrap()
}

/// Knows one machine.
struct Lab {
    target: Option<BootTarget>,
    events: Mutex<Vec<BootEvent>>,
}

impl Lab {
    fn new(target: Option<BootTarget>) -> Arc<Self> {
        Arc::new(Self { target, events: Mutex::default() })
    }

    fn told(&self) -> Vec<BootEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Waits for an event like this one.
    fn wait_for(&self, like: impl Fn(&BootEvent) -> bool) {
        let start = Instant::now();
        while !self.told().iter().any(&like) {
            assert!(start.elapsed() < DEADLINE, "only {:?} came", self.told());
            thread::yield_now();
        }
    }
}

#[async_trait]
impl Boots for Lab {
    async fn lease(&self, mac: MacAddr) -> Option<Lease> {
        (mac == MacAddr::from_bytes(MAC)).then(|| Lease {
            address: format!("{ADDRESS}/24").parse().unwrap(),
            gateway: None,
            dns: vec![],
            lease_seconds: 3600,
            hostname: Some("controller-0".to_owned()),
        })
    }

    async fn boot(&self, _: MacAddr) -> Option<BootTarget> {
        self.target.clone()
    }

    async fn event(&self, event: BootEvent) {
        self.events.lock().unwrap().push(event);
    }
}

fn dhcp_socket(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind_device(Some(b"v1")).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

fn message(op: u8, mac: [u8; 6], xid: u8, address: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![op, 1, 6, 0, xid, xid, xid, xid];
    bytes.resize(16, 0);
    bytes.extend(address.octets());
    bytes.resize(28, 0);
    bytes.extend(mac);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend(options);
    bytes.push(255);
    bytes
}

fn request(mac: [u8; 6], xid: u8, options: &[u8]) -> Vec<u8> {
    message(1, mac, xid, Ipv4Addr::UNSPECIFIED, options)
}

/// The answer with this number.
fn answer(socket: &UdpSocket, xid: u8) -> Vec<u8> {
    let mut buffer = [0; 1500];
    loop {
        let len = socket.recv(&mut buffer).unwrap();
        if len >= 240 && buffer[0] == 2 && buffer[4..8] == [xid; 4] {
            return buffer[..len].to_vec();
        }
    }
}

fn option(message: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let mut rest = &message[240..];
    while let [code, len, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*len));
        if *code == wanted {
            return Some(value.to_vec());
        }
        if *code == 255 {
            return None;
        }
        rest = tail;
    }
    None
}

/// DISCOVER and REQUEST; what is offered and what is given must be the same.
fn lease(socket: &UdpSocket, xid: u8, options: &[u8]) -> (Ipv4Addr, Option<String>) {
    let everyone = (Ipv4Addr::BROADCAST, 67);
    let discover = [&[53, 1, 1], options].concat();
    socket.send_to(&request(MAC, xid, &discover), everyone).unwrap();
    let offer = answer(socket, xid);
    assert_eq!(option(&offer, 53), Some(vec![2]));
    assert_eq!(option(&offer, 54), Some(SERVER.octets().to_vec()));

    let [a, b, c, d] = ADDRESS.octets();
    let chosen = [53, 1, 3, 50, 4, a, b, c, d, 54, 4, 192, 168, 24, 1];
    socket.send_to(&request(MAC, xid + 1, &[&chosen, options].concat()), everyone).unwrap();
    let given = answer(socket, xid + 1);
    assert_eq!(option(&given, 53), Some(vec![5]));
    assert_eq!((&offer[16..24], option(&offer, 67)), (&given[16..24], option(&given, 67)));
    let address = Ipv4Addr::new(given[16], given[17], given[18], given[19]);
    let text = |file| String::from_utf8(file).unwrap().trim_end_matches('\0').to_owned();
    (address, option(&given, 67).map(text))
}

const BIOS: &[u8] = b"\x3c\x09PXEClient\x5d\x02\0\0";
const UEFI: &[u8] = b"\x3c\x09PXEClient\x5d\x02\0\x07";
const IPXE: &[u8] = b"\x3c\x09PXEClient\x5d\x02\0\0\x4d\x04iPXE\xaf\x03\x13\x01\x01";

/// Fetches a file; the answer to every `lose`th block is kept back, so that it comes again.
fn tftp(file: &str, options: &[u8], lose: usize) -> Vec<u8> {
    let socket = UdpSocket::bind((ADDRESS, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let ask = [b"\0\x01", file.as_bytes(), b"\0octet\0", options].concat();
    socket.send_to(&ask, (SERVER, 69)).unwrap();
    let (mut bytes, mut next, mut count, mut block) = (Vec::new(), 1u16, 0, 512);
    let mut buffer = [0; 2000];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_ne!(from.port(), 69, "a transfer has a port of its own");
        count += 1;
        if count % lose == 0 {
            continue;
        }
        let packet = &buffer[..len];
        match packet[1] {
            6 => {
                assert!(String::from_utf8_lossy(packet).contains("blksize\x001400\0"));
                block = 1400;
                socket.send_to(&[0, 4, 0, 0], from).unwrap();
            }
            3 => {
                let number = u16::from_be_bytes([packet[2], packet[3]]);
                if number == next {
                    bytes.extend(&packet[4..]);
                    next += 1;
                }
                socket.send_to(&[0, 4, packet[2], packet[3]], from).unwrap();
                if len - 4 < block {
                    return bytes;
                }
            }
            _ => return packet[4..].to_vec(),
        }
    }
}

fn http(path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect((SERVER, HTTP_PORT)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    answer.split_off(end)
}

fn target(directory: &tempfile::TempDir) -> BootTarget {
    let path = camino::Utf8PathBuf::from_path_buf(directory.path().join("kernel")).unwrap();
    std::fs::write(&path, [7; 100_000]).unwrap();
    BootTarget {
        kernel: BlobSource { path, size: 100_000 },
        initrd: vec![Segment::Bytes(b"identity".as_slice().into())],
        cmdline: vec!["console=ttyS0".to_owned()],
        token: BootToken::new(TOKEN).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bios_machine_boots() {
    let Some(net) = Net::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::new(Some(target(&directory)));
    let servers = net.start(&lab);

    let (rom, ipxe) = net.on_machine(|| {
        let socket = dhcp_socket(68);
        (lease(&socket, 1, BIOS), lease(&socket, 3, IPXE))
    });
    let url = format!("http://{SERVER}:{HTTP_PORT}/boot/52-54-00-12-34-10.ipxe");
    assert_eq!(rom, (ADDRESS, Some("undionly.kpxe".to_owned())));
    assert_eq!(ipxe, (ADDRESS, Some(url)));

    ip(&format!("-n {} address add {ADDRESS}/24 dev v1", net.machines));
    let file = net.on_machine(|| tftp("undionly.kpxe", b"blksize\x001400\0tsize\x000\0", 31));
    assert_eq!(file.len(), 100_000);
    lab.wait_for(|event| matches!(event.kind, Kind::TftpDone { .. }));
    let missing = net.on_machine(|| tftp("../../etc/passwd", b"", usize::MAX));
    assert_eq!(missing, b"no such file\0");
    lab.wait_for(|event| matches!(event.kind, Kind::TftpFailed { .. }));

    let script = net.on_machine(|| http("/boot/52-54-00-12-34-10.ipxe"));
    let script = String::from_utf8(script).unwrap();
    let kernel = script.lines().find_map(|line| line.strip_prefix("kernel ")).unwrap();
    let kernel = kernel.split(' ').next().unwrap().to_owned();
    let path = kernel.strip_prefix(&format!("http://{SERVER}:{HTTP_PORT}")).unwrap().to_owned();
    let initrd = path.replace("kernel", "initrd");
    assert_eq!(net.on_machine(move || http(&path)), [7; 100_000]);
    lab.wait_for(|event| matches!(event.kind, Kind::KernelServed { .. }));
    assert_eq!(net.on_machine(move || http(&initrd)), b"identity");
    lab.wait_for(|event| matches!(event.kind, Kind::InitrdServed { .. }));

    servers.shutdown().await;
    let mac = Some(MacAddr::from_bytes(MAC));
    let told = lab.told();
    assert!(told.iter().all(|event| event.mac == mac), "{told:?}");
    let boot = |file: &str| Some(file.to_owned());
    let (pxe, script) = (boot("undionly.kpxe"), ipxe.1);
    let file = "undionly.kpxe".to_owned();
    let expected = [
        Kind::DhcpDiscover { client: Client::BiosPxe },
        Kind::DhcpOffer { address: ADDRESS, boot: pxe.clone() },
        Kind::DhcpAck { address: ADDRESS, boot: pxe },
        Kind::DhcpDiscover { client: Client::Ipxe },
        Kind::DhcpOffer { address: ADDRESS, boot: script.clone() },
        Kind::DhcpAck { address: ADDRESS, boot: script },
        Kind::TftpStart { file: file.clone(), bytes: 100_000 },
        Kind::TftpDone { file, bytes: 100_000 },
        Kind::TftpFailed { file: "../../etc/passwd".to_owned(), why: "no such file".to_owned() },
        Kind::ScriptServed,
        Kind::KernelServed { bytes: 100_000 },
        Kind::InitrdServed { bytes: 8 },
    ];
    assert_eq!(told.into_iter().map(|event| event.kind).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_told_the_time() {
    let Some(net) = Net::new() else { return };
    let servers = net.start(&Lab::new(None));
    ip(&format!("-n {} address add {ADDRESS}/24 dev v1", net.machines));
    let answer = net.on_machine(|| {
        let socket = UdpSocket::bind((ADDRESS, 0)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.connect((SERVER, 123)).unwrap();
        let mut question = [0; 48];
        question[0] = 0x23;
        question[40..].copy_from_slice(b"in 1900s");
        socket.send(&question).unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).unwrap();
        answer[..length].to_vec()
    });
    // Version 4 of a server at stratum 3, in the words of the question, at 2023-11-14T22:13:20Z.
    assert_eq!((answer[..2].to_vec(), answer.len()), (vec![0x24, 3], 48));
    assert_eq!(&answer[24..32], b"in 1900s");
    assert_eq!(answer[40..], [0xe8, 0xfe, 0x6f, 0x80, 0, 0, 0, 0]);
    servers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_nothing_to_boot_gets_an_address_only() {
    let Some(net) = Net::new() else { return };
    let lab = Lab::new(None);
    let servers = net.start(&lab);
    let given = net.on_machine(|| {
        let socket = dhcp_socket(68);
        [BIOS, UEFI, IPXE].map(|options| lease(&socket, options[1], options))
    });
    assert_eq!(given, [(ADDRESS, None), (ADDRESS, None), (ADDRESS, None)]);
    servers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_not_answered_and_wrong_addresses_refused() {
    let Some(net) = Net::new() else { return };
    let lab = Lab::new(None);
    let servers = net.start(&lab);
    let stranger = [0x52, 0x54, 0, 0, 0, 9];
    net.on_machine(move || {
        let socket = dhcp_socket(68);
        let everyone = (Ipv4Addr::BROADCAST, 67);
        for _ in 0..3 {
            socket.send_to(&request(stranger, 1, &[53, 1, 1]), everyone).unwrap();
        }
        socket.send_to(b"no DHCP at all", everyone).unwrap();
        socket.send_to(&request(MAC, 2, &[53, 1, 3, 50, 4, 10, 0, 0, 9]), everyone).unwrap();
        let mut buffer = [0; 1500];
        let nak = loop {
            let len = socket.recv(&mut buffer).unwrap();
            assert_ne!(buffer[28..34], stranger, "a stranger was answered");
            if buffer[4..8] == [2; 4] {
                break buffer[..len].to_vec();
            }
        };
        assert_eq!(option(&nak, 53), Some(vec![6]));
        socket.send_to(&request(MAC, 3, &[53, 1, 4, 50, 4, 192, 168, 24, 16]), everyone).unwrap();
        socket.send_to(&request(MAC, 4, &[53, 1, 7]), everyone).unwrap();
    });
    lab.wait_for(|event| event.kind == Kind::DhcpRelease);
    lab.wait_for(|event| event.kind == Kind::UnknownMac);
    lab.wait_for(|event| matches!(event.kind, Kind::DhcpDecline { .. }));
    servers.shutdown().await;
    let told = lab.told();
    let machine = Some(MacAddr::from_bytes(MAC));
    let of = |mac| told.iter().filter(move |e| e.mac == mac).map(|e| &e.kind).collect::<Vec<_>>();
    assert_eq!(of(Some(MacAddr::from_bytes(stranger))), [&Kind::UnknownMac], "once, not thrice");
    let unreadable = told.iter().filter(|e| matches!(e.kind, Kind::DhcpUnreadable { .. })).count();
    assert_eq!((told.len(), unreadable), (5, 1), "{told:?}");
    for kind in [
        Kind::DhcpNak { requested: Ipv4Addr::new(10, 0, 0, 9) },
        Kind::DhcpDecline { address: ADDRESS },
        Kind::DhcpRelease,
    ] {
        assert!(of(machine).contains(&&kind), "{kind:?} of {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_bent_are_answered_or_said() {
    let Some(net) = Net::new() else { return };
    let lab = Lab::new(None);
    let servers = net.start(&lab);
    net.on_machine(|| {
        let socket = dhcp_socket(68);
        let everyone = (Ipv4Addr::BROADCAST, 67);
        // The last option says more than there is; the type twice; no end mark.
        let bent: [&[u8]; 3] = [&[53, 1, 1, 12, 20, b'a'], &[53, 1, 1, 53, 1, 1], &[53, 1, 1, 60]];
        for (xid, options) in (1..).zip(bent) {
            let mut bytes = request(MAC, xid, options);
            bytes.pop();
            socket.send_to(&bytes, everyone).unwrap();
            assert_eq!(option(&answer(&socket, xid), 53), Some(vec![2]), "{options:?}");
        }
        // Without a type; of a relay; and a name that is known with a byte behind it.
        socket.send_to(&request(MAC, 9, &[60, 2, b'P', b'X']), everyone).unwrap();
        let mut relayed = request(MAC, 9, &[53, 1, 1]);
        relayed[24..28].copy_from_slice(&[172, 27, 0, 77]);
        for _ in 0..50 {
            socket.send_to(&relayed, everyone).unwrap();
        }
    });
    lab.wait_for(|event| event.kind == Kind::DhcpRelayed { relay: [172, 27, 0, 77].into() });
    lab.wait_for(|event| matches!(event.kind, Kind::DhcpUnreadable { .. }));
    ip(&format!("-n {} address add {ADDRESS}/24 dev v1", net.machines));
    for name in ["undionly.kpxe", "undionly.kpxea\u{11}", "undionly.kpxe\u{ff}"] {
        let file = net.on_machine(move || tftp(name, b"", usize::MAX));
        assert_eq!(file.len(), 100_000, "{name:?}");
    }
    servers.shutdown().await;
    let told = lab.told();
    let relayed = told.iter().filter(|e| matches!(e.kind, Kind::DhcpRelayed { .. }));
    let times: Vec<u32> = relayed.map(|event| event.times).collect();
    assert_eq!(times, [1, 49], "told at once, and then how often");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_dhcp_server_is_found() {
    let Some(net) = Net::new() else { return };
    let lab = Lab::new(None);
    let foreign = net.on_machine(|| dhcp_socket(67));
    let servers = net.start(&lab);
    // It answers the probe of our watcher, whose address nobody knows.
    let mut buffer = [0; 1500];
    let len = foreign.recv(&mut buffer).unwrap();
    assert!(len >= 240 && buffer[28] & 3 == 2, "locally administered, one interface");
    let mac: [u8; 6] = buffer[28..34].try_into().unwrap();
    let options = [53, 1, 2, 54, 4, 192, 168, 24, 99];
    let offer = message(2, mac, 1, Ipv4Addr::new(192, 168, 24, 200), &options);
    for _ in 0..3 {
        foreign.send_to(&offer, (Ipv4Addr::BROADCAST, 68)).unwrap();
    }
    let address = Ipv4Addr::new(192, 168, 24, 99);
    lab.wait_for(|event| event.kind == Kind::ForeignDhcpServer { address });

    // A machine that chose yet another one.
    let chose = [53, 1, 3, 50, 4, 192, 168, 24, 16, 54, 4, 192, 168, 24, 98];
    net.on_machine(move || {
        let socket = dhcp_socket(68);
        socket.send_to(&request(MAC, 9, &chose), (Ipv4Addr::BROADCAST, 67)).unwrap();
    });
    let other = Ipv4Addr::new(192, 168, 24, 98);
    lab.wait_for(|event| event.kind == Kind::ForeignDhcpServer { address: other });
    servers.shutdown().await;
    assert_eq!(lab.told().len(), 2, "each once, and no event of our own probe");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_for_a_router_hears_that_there_is_none() {
    let Some(net) = Net::new() else { return };
    let lab = Lab::new(None);
    let servers = net.start(&lab);
    let advertisement = net.on_machine(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.bind_device(Some(b"v1")).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let index = rustix::net::netdevice::name_to_index(&socket, "v1").unwrap();
        let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let routers = SocketAddrV6::new(routers, 0, 0, index).into();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "no advertisement came");
            // Neither side may send before its own address is known to be its own alone.
            let _ = socket.send_to(&[133, 0, 0, 0, 0, 0, 0, 0], &routers);
            let mut buffer = [0; 256];
            while let Ok(len) = (&socket).read(&mut buffer) {
                if buffer[0] == 134 {
                    return buffer[..len].to_vec();
                }
            }
        }
    });
    assert_eq!(advertisement.len(), 16, "no prefix");
    assert_eq!(advertisement[5] & 0xc0, 0, "neither managed nor other");
    assert_eq!(advertisement[6..8], [0, 0], "not a router");
    servers.shutdown().await;
}
