//! A daemon for tests: HTTPS on loopback with a certificate of its own CA, answering by a function.
//! And a machine for tests: trees and disks in a directory.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "helpers of a test program"
)]

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use undercloud_agent::sys::Host;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    /// Cut the connection after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self { status, headers: String::new(), body: value.to_string().into_bytes(), cut: None }
    }

    pub fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, headers: String::new(), body, cut: None }
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

type Handler = dyn FnMut(&Request) -> Answer + Send;

/// The daemon. Dropped, it stops.
pub struct Daemon {
    pub url: String,
    pub ca_pem: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(handler: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        Self::valid_in_years((1975, 4096), handler)
    }

    /// One whose certificate is valid from the first of these years to the second.
    pub fn valid_in_years(
        years: (i32, i32),
        handler: impl FnMut(&Request) -> Answer + Send + 'static,
    ) -> Self {
        let (config, ca_pem) = certificate(years);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Mutex<Box<Handler>>> = Arc::new(Mutex::new(Box::new(handler)));
        let thread = {
            let (seen, stop) = (seen.clone(), stop.clone());
            thread::spawn(move || {
                let mut talks = Vec::new();
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (config, seen, handler) = (config.clone(), seen.clone(), handler.clone());
                    // A broken talk is the client's business: it is what some tests are about.
                    talks.push(thread::spawn(move || drop(talk(stream, config, &seen, &handler))));
                }
                talks.into_iter().for_each(|t| t.join().unwrap());
            })
        };
        let url = format!("https://127.0.0.1:{port}");
        Self { url, ca_pem, seen, stop, port, thread: Some(thread) }
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|r| r.path.clone()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn certificate((first, last): (i32, i32)) -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    leaf.not_before = date_time_ymd(first, 1, 1);
    leaf.not_after = date_time_ymd(last, 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (Arc::new(config), ca_pem)
}

fn talk(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<Request>>,
    handler: &Mutex<Box<Handler>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let request = read_request(&mut stream)?;
    seen.lock().unwrap().push(request.clone());
    let answer = (handler.lock().unwrap())(&request);
    let head = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n",
        answer.status,
        answer.body.len(),
        answer.headers
    );
    stream.write_all(head.as_bytes())?;
    let end = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
    stream.write_all(&answer.body[..end])?;
    stream.flush()?;
    if answer.cut.is_none() {
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}

fn read_request(stream: &mut impl Read) -> io::Result<Request> {
    let (mut head, mut byte) = (Vec::new(), [0u8; 1]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut request = Request { method, path, head, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |l| l.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body)?;
    Ok(request)
}

/// A machine with one disk, `vda` with serial `disk-0`.
pub struct Machine {
    pub dir: tempfile::TempDir,
    pub host: Host,
}

impl Machine {
    pub fn with_disk(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Self { host: Host::below(dir.path()), dir };
        machine.file("proc/cpuinfo", b"processor : 0\nmodel name : test\n");
        machine.file("proc/meminfo", b"MemTotal: 1024 kB\n");
        machine.disk("vda", "disk-0", content);
        machine
    }

    pub fn disk(&self, name: &str, serial: &str, content: &[u8]) {
        self.file(&format!("dev/{name}"), content);
        self.file(
            &format!("sys/class/block/{name}/size"),
            (content.len() / 512).to_string().as_bytes(),
        );
        self.file(&format!("sys/class/block/{name}/serial"), serial.as_bytes());
    }

    pub fn file(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn vda(&self) -> Vec<u8> {
        fs::read(self.path("dev/vda")).unwrap()
    }
}
