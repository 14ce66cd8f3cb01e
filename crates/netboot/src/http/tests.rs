//! The HTTP boot server over loopback, asked as iPXE asks.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use undercloud_model::MacAddr;

use super::*;
use crate::boots::{BlobSource, BootEvent, BootToken, Lease, Segment};

const MAC: &str = "52-54-00-12-34-10";
const TOKEN: &str = "0123456789abcdefgh";
const SECRET: &[u8] = b"boot secret";

struct One {
    address: &'static str,
    target: Option<BootTarget>,
    events: Mutex<Vec<BootEvent>>,
}

#[async_trait]
impl Boots for One {
    async fn lease(&self, mac: MacAddr) -> Option<Lease> {
        (mac.hyphenated() == MAC).then(|| Lease {
            address: self.address.parse().unwrap(),
            gateway: None,
            dns: vec![],
            lease_seconds: 60,
            hostname: None,
        })
    }

    async fn boot(&self, _: MacAddr) -> Option<BootTarget> {
        self.target.clone()
    }

    async fn event(&self, event: BootEvent) {
        self.events.lock().unwrap().push(event);
    }
}

struct Running {
    port: u16,
    servers: JoinSet<()>,
    carrier: JoinSet<()>,
    boots: Arc<One>,
}

impl Running {
    async fn start(address: &'static str, target: Option<BootTarget>) -> Self {
        let boots = Arc::new(One { address, target, events: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (events, queue) = Events::new();
        let (mut servers, mut carrier) = (JoinSet::new(), JoinSet::new());
        carrier.spawn(crate::events::carry(queue, boots.clone()));
        let http = HttpBoot {
            server: Ipv4Addr::LOCALHOST,
            port,
            boots: boots.clone(),
            events,
            snponly: b"MZ".to_vec().into(),
        };
        let (router, told) = (http.clone().router(), http.events);
        let serve =
            server::serve("test", listener, router, told, boot_rate(), CancellationToken::new());
        servers.spawn(serve);
        Self { port, servers, carrier, boots }
    }

    /// Head and body; when the server broke off, the body is short, and the head may be missing.
    async fn ask(&self, method: &str, path: &str) -> (String, Vec<u8>) {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(Duration::from_secs(20), ask).await.unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (head, body) = self.ask("GET", path).await;
        (head[9..12].parse().unwrap(), String::from_utf8_lossy(&body).into_owned())
    }

    /// Ends the server and gives what it told.
    async fn told(mut self) -> Vec<Kind> {
        self.servers.shutdown().await;
        while self.carrier.join_next().await.is_some() {}
        let events = self.boots.events.lock().unwrap();
        events.iter().map(|event| event.kind.clone()).collect()
    }
}

fn blob(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> BlobSource {
    let path = Utf8PathBuf::from_path_buf(directory.path().join(name)).unwrap();
    std::fs::write(&path, bytes).unwrap();
    BlobSource { path, size: bytes.len() as u64 }
}

fn target(directory: &tempfile::TempDir) -> BootTarget {
    BootTarget {
        kernel: blob(directory, "kernel", &vec![7; 300_001]),
        initrd: vec![
            Segment::Bytes(SECRET.into()),
            Segment::File(blob(directory, "ramdisk", &[9; 5])),
        ],
        cmdline: vec!["console=ttyS0".to_owned()],
        token: BootToken::new(TOKEN).unwrap(),
    }
}

#[tokio::test]
async fn a_boot_from_script_to_initrd() {
    let directory = tempfile::tempdir().unwrap();
    let http = Running::start("127.0.0.1/8", Some(target(&directory))).await;
    let (status, script) = http.get(&format!("/boot/{MAC}.ipxe")).await;
    let base = format!("http://127.0.0.1:{}/boot/{MAC}", http.port);
    assert_eq!(status, 200);
    assert!(
        script.contains(&format!("\nkernel {base}/{TOKEN}/kernel initrd=initrd console=ttyS0 "))
    );
    assert!(script.contains(&format!("\ninitrd --name initrd {base}/{TOKEN}/initrd ")));
    assert!(!script.contains("boot secret"));

    let (head, body) = http.ask("GET", &format!("/boot/{MAC}/{TOKEN}/kernel")).await;
    assert!(head.to_ascii_lowercase().contains("content-length: 300001\r\n"), "{head}");
    assert_eq!(body, vec![7; 300_001]);
    let (head, body) = http.ask("HEAD", &format!("/boot/{MAC}/{TOKEN}/initrd")).await;
    assert!(head.to_ascii_lowercase().contains("content-length: 20\r\n"), "{head}");
    assert!(body.is_empty());
    let (_, body) = http.ask("GET", &format!("/boot/{MAC}/{TOKEN}/initrd")).await;
    assert_eq!(body, [SECRET, &[0], &[9; 5], &[0; 3]].concat());
    let (head, body) = http.ask("GET", "/efi/snponly.efi").await;
    assert!(head.to_ascii_lowercase().contains("content-type: application/efi\r\n"), "{head}");
    assert_eq!(body, b"MZ");
    assert_eq!(
        http.told().await,
        [
            Kind::ScriptServed,
            Kind::KernelServed { bytes: 300_001 },
            Kind::InitrdServed { bytes: 20 },
            Kind::EfiServed { file: "snponly.efi".to_owned(), bytes: 2 },
        ]
    );
}

#[tokio::test]
async fn without_anything_to_boot_it_starts_from_its_disk() {
    let http = Running::start("127.0.0.1/8", None).await;
    let (status, script) = http.get(&format!("/boot/{MAC}.ipxe")).await;
    assert_eq!((status, script.as_str()), (200, script::START_FROM_DISK));
    assert_eq!(http.get(&format!("/boot/{MAC}/{TOKEN}/initrd")).await.0, 404);
    let refused = Kind::HttpRefused { from: Ipv4Addr::LOCALHOST, why: "nothing to boot" };
    assert_eq!(http.told().await, [Kind::NothingToBoot, refused]);
}

#[tokio::test]
async fn strangers_and_old_tokens_get_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let http = Running::start("127.0.0.1/8", Some(target(&directory))).await;
    let paths = [
        "/".to_owned(),
        "/boot/x.ipxe".to_owned(),
        format!("/boot/{MAC}"),
        "/boot/52-54-00-12-34-11.ipxe".to_owned(),
        format!("/boot/{MAC}/0123456789abcdefgi/initrd"),
        format!("/boot/{MAC}/{}/kernel", &TOKEN[1..]),
        format!("/boot/52-54-00-12-34-11/{TOKEN}/kernel"),
        format!("/boot/{MAC}/{TOKEN}/../../../etc/passwd"),
        format!("/boot/%ff/{TOKEN}/kernel"),
    ];
    for path in &paths {
        let (status, text) = http.get(path).await;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
        assert!(!text.contains("boot secret") && !text.contains(TOKEN), "{path}");
    }
    assert!(http.told().await.iter().all(|kind| matches!(kind, Kind::HttpRefused { .. })));

    let elsewhere = Running::start("192.0.2.7/24", Some(target(&directory))).await;
    for path in [format!("/boot/{MAC}.ipxe"), format!("/boot/{MAC}/{TOKEN}/initrd")] {
        assert_eq!(elsewhere.get(&path).await.0, 404, "{path}");
    }
    let why = "another machine's address";
    let refused = Kind::HttpRefused { from: Ipv4Addr::LOCALHOST, why };
    assert_eq!(elsewhere.told().await, [refused.clone(), refused]);
}

#[tokio::test]
async fn arguments_that_a_script_cannot_carry_stop_the_boot() {
    let directory = tempfile::tempdir().unwrap();
    let mut target = target(&directory);
    target.cmdline.push("a\nexit".to_owned());
    let http = Running::start("127.0.0.1/8", Some(target)).await;
    assert_eq!(http.get(&format!("/boot/{MAC}.ipxe")).await.0, 404);
    assert!(matches!(http.told().await[..], [Kind::HttpRefused { .. }]));
}

#[tokio::test]
async fn a_file_that_is_too_short_is_cut_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut target = target(&directory);
    target.kernel.size += 1;
    let http = Running::start("127.0.0.1/8", Some(target)).await;
    let (_, body) = http.ask("GET", &format!("/boot/{MAC}/{TOKEN}/kernel")).await;
    assert!(body.len() < 300_002);
    let cut = Kind::TransferCut { what: "the kernel", bytes: 0, of: 300_002 };
    assert_eq!(http.told().await, [cut]);
}

#[tokio::test]
async fn a_client_that_leaves_early_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut target = target(&directory);
    target.kernel = blob(&directory, "large", &vec![1; 64 << 20]);
    let http = Running::start("127.0.0.1/8", Some(target)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", http.port)).await.unwrap();
    let text = format!("GET /boot/{MAC}/{TOKEN}/kernel HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    match http.told().await[..] {
        [Kind::TransferCut { bytes, of, .. }] => assert!(bytes > 0 && bytes < of, "{bytes}"),
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_source_that_asks_all_the_time_is_held_back() {
    let http = Running::start("127.0.0.1/8", None).await;
    let mut answers = Vec::new();
    for _ in 0..80 {
        answers.push(http.get(&format!("/boot/{MAC}.ipxe")).await.0);
    }
    assert_eq!(answers[..40], [200; 40]);
    assert!(answers.contains(&429));
}

/// A listener that has no descriptor for every second connection.
struct Failing {
    listener: TcpListener,
    asked: std::sync::atomic::AtomicU32,
}

impl undercloud_serve::Listen for Failing {
    type Stream = TcpStream;

    async fn accept(&self) -> std::io::Result<(TcpStream, Option<std::net::SocketAddr>)> {
        if self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) {
            return Err(std::io::Error::from_raw_os_error(24)); // EMFILE
        }
        undercloud_serve::Listen::accept(&self.listener).await
    }
}

#[tokio::test]
async fn a_listener_without_descriptors_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (events, _queue) = Events::new();
    let listener = Failing { listener, asked: std::sync::atomic::AtomicU32::default() };
    let router = Router::new().route("/", get(async || "here"));
    let mut servers = JoinSet::new();
    let stop = CancellationToken::new();
    servers.spawn(server::serve("test", listener, router, events, boot_rate(), stop));
    let boots = Arc::new(One { address: "127.0.0.1/8", target: None, events: Mutex::default() });
    let running = Running { port, servers, carrier: JoinSet::new(), boots };
    for _ in 0..3 {
        assert_eq!(running.get("/").await, (200, "here".to_owned()));
    }
}

#[tokio::test]
async fn one_source_does_not_hold_all_connections() {
    let running = Running::start("127.0.0.1/8", None).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(("127.0.0.1", running.port)).await.unwrap());
    }
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut other = other.connect(([127, 0, 0, 1], running.port).into()).await.unwrap();
    other.write_all(b"GET /efi/snponly.efi HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), other.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer));
}
