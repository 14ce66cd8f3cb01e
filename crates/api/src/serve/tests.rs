//! A real listener on loopback: handshakes, deadlines, the end.

use std::time::{Duration, Instant};

use axum::routing::get;
use camino::Utf8Path;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{Authority, Server, ServerName};

const NOW: i64 = 1_795_000_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

struct Running {
    address: std::net::SocketAddr,
    authority: Arc<Authority>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<io::Result<()>>,
    dir: tempfile::TempDir,
}

fn names(ip: &str) -> Vec<ServerName> {
    vec![ServerName::from(ip), ServerName::from("undercloud.internal")]
}

fn start(limits: Limits) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap();
    let authority = Arc::new(Authority::open(path, NOW).unwrap());
    let server = path.join("server.json");
    let server = Server::open(authority.clone(), server, names("127.0.0.1"), NOW).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route(
        "/",
        get(async |peer: Peer| peer.address.map_or_else(|| "unix".to_owned(), |a| a.to_string())),
    );
    let stop = CancellationToken::new();
    let listener = Listener::Tls(listener, Arc::new(server));
    let task = tokio::spawn(run(listener, router, limits, Clock::new(|| NOW), stop.clone()));
    Running { address, authority, stop, task, dir }
}

fn connector(authority_pem: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn fetch(running: &Running, name: &str, authority_pem: &str) -> io::Result<String> {
    let tcp = TcpStream::connect(running.address).await?;
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = connector(authority_pem).connect(name, tcp).await?;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    tls.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served() {
    let running = start(Limits::default());
    let pem = running.authority.pem().to_owned();
    for name in ["127.0.0.1", "undercloud.internal"] {
        let answer = fetch(&running, name, &pem).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("127.0.0.1"), "{answer}");
    }
    assert!(fetch(&running, "elsewhere.internal", &pem).await.is_err(), "a name it has not");
    let other = tempfile::tempdir().unwrap();
    let other = Authority::open(Utf8Path::from_path(other.path()).unwrap(), NOW).unwrap();
    assert!(fetch(&running, "127.0.0.1", other.pem()).await.is_err(), "another authority");
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_and_surplus_connections_are_closed() {
    let limits = Limits {
        connections_per_source_max: 1,
        handshake: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = start(limits);
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    // The first holds the only place: the second is closed without a handshake.
    let mut surplus = TcpStream::connect(running.address).await.unwrap();
    let mut byte = [0u8; 1];
    let closed = async |stream: &mut TcpStream, byte: &mut [u8; 1]| {
        tokio::time::timeout(Duration::from_secs(10), stream.read(byte)).await.unwrap()
    };
    let started = Instant::now();
    assert!(matches!(closed(&mut surplus, &mut byte).await, Ok(0) | Err(_)));
    assert!(matches!(closed(&mut silent, &mut byte).await, Ok(0) | Err(_)));
    assert!(started.elapsed() < Duration::from_secs(5));
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_cuts_off_who_does_not_leave() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let running = start(limits);
    let _silent = TcpStream::connect(running.address).await.unwrap();
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn authority_and_certificate_are_kept_and_renewed_when_due() {
    let running = start(Limits::default());
    let dir = Utf8Path::from_path(running.dir.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let (authority, server) = (read("ca.pem"), read("server.json"));
    let again = Arc::new(Authority::open(dir, NOW + DAY_MS).unwrap());
    assert_eq!(again.pem(), authority);
    let open = |ip: &str, now| {
        Server::open(again.clone(), dir.join("server.json"), names(ip), now).unwrap()
    };
    let same = open("127.0.0.1", NOW + DAY_MS);
    assert_eq!(read("server.json"), server, "kept");
    same.config(NOW + 400 * DAY_MS);
    assert_eq!(read("server.json"), server, "not due yet");
    same.config(NOW + 700 * DAY_MS);
    let renewed = read("server.json");
    assert_ne!(renewed, server, "renewed while it runs");
    open("127.0.0.2", NOW + 700 * DAY_MS);
    assert_ne!(read("server.json"), renewed, "another address");
    for name in ["ca.key", "server.json"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    std::fs::write(dir.join("ca.key"), "{}").unwrap();
    assert!(Authority::open(dir, NOW).is_err(), "a damaged authority is not replaced");
    running.stop.cancel();
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_and_is_taken_over_from_the_dead() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap().join("api.sock");
    let listener = bind_unix(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(bind_unix(&path), Err(BindError::InUse(_))));
    drop(listener);
    bind_unix(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "x").unwrap();
    assert!(matches!(bind_unix(&path), Err(BindError::NotASocket(_))));
}
