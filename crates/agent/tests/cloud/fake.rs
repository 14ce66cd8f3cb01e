//! A machine that is a directory; its programs; an API over plain HTTP.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use undercloud_agent::{
    cloud::{Call, Cloud, Ended, Programs},
    log::Log,
    sys::Host,
};
use undercloud_model::agent::{
    StepFailure, StepFailureKind,
    cloud::{CloudStep, Converged},
};

pub const KEY: &str = "Kk3yOfThisMachine0123456789abcde";
pub const DIGEST: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// Whether the daemon is reached.
type Daemon = dyn FnMut() -> bool + Send;
type Handler = dyn FnMut(&Call) -> io::Result<Ended> + Send;

/// Programs that are a function, and what was asked of them.
#[derive(Clone)]
pub struct Fake {
    calls: Arc<Mutex<Vec<Call>>>,
    handler: Arc<Mutex<Box<Handler>>>,
    daemon: Arc<Mutex<Box<Daemon>>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Programs for Fake {
    fn run(&self, call: &Call) -> io::Result<Ended> {
        self.calls.lock().unwrap().push(call.clone());
        (self.handler.lock().unwrap())(call)
    }

    fn reaches(&self, authority: &str) -> bool {
        assert_eq!(authority, "192.168.24.1:8443");
        (self.daemon.lock().unwrap())()
    }
}

/// A machine for tests.
pub struct Machine {
    pub dir: tempfile::TempDir,
    pub cloud: Cloud,
    pub log: Log,
    programs: Fake,
}

impl Machine {
    /// A machine whose programs are `handler`.
    pub fn with(handler: impl FnMut(&Call) -> io::Result<Ended> + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let programs = Fake {
            calls: Arc::default(),
            handler: Arc::new(Mutex::new(Box::new(handler))),
            daemon: Arc::new(Mutex::new(Box::new(|| true))),
        };
        let identity = json!({
            "protocol": 2, "api": "https://192.168.24.1:8443",
            "node": "6f1b2d3c-0000-4000-8000-000000000001", "name": "controller-0",
            "key": KEY, "ca_pem": "PEM OF THE CA",
        });
        let identity = serde_json::from_value(identity).unwrap();
        let cloud = Cloud::new(Host::below(dir.path()), identity, Arc::new(programs.clone()));
        let machine = Self { dir, cloud, log: Log::new(Vec::new()), programs };
        machine.file("proc/net/route", ROUTES);
        machine
    }

    /// A machine on which systemd has every unit, and every program does well.
    pub fn good() -> Self {
        Self::with(|call| Ok(Ended::good(if call.program == "systemctl" { ACTIVE } else { "" })))
    }

    pub fn handle(&self, handler: impl FnMut(&Call) -> io::Result<Ended> + Send + 'static) {
        *self.programs.handler.lock().unwrap() = Box::new(handler);
    }

    /// From now on the daemon is reached where `daemon` says so.
    pub fn daemon(&self, daemon: impl FnMut() -> bool + Send + 'static) {
        *self.programs.daemon.lock().unwrap() = Box::new(daemon);
    }

    pub fn try_step(&self, step: &Value) -> Result<Converged, StepFailure> {
        let step: CloudStep = serde_json::from_value(step.clone()).unwrap();
        self.cloud.execute(&step, &self.log)
    }

    /// Does a step and says whether it changed anything.
    pub fn step(&self, step: &Value) -> bool {
        self.try_step(step).unwrap().changed
    }

    /// The kind and the sentence of a step that fails.
    pub fn fails(&self, step: &Value) -> (StepFailureKind, String) {
        let failure = self.try_step(step).unwrap_err();
        (failure.kind, failure.message)
    }

    /// What was started since the last question, each as a line.
    pub fn started(&self) -> Vec<String> {
        self.calls().iter().map(Call::shown).collect()
    }

    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.programs.calls.lock().unwrap())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }
}

pub const ACTIVE: &str =
    "LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\nNeedDaemonReload=no\n";

/// `ens3` is the provisioning network's, `ens4` the internal one's.
pub const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
ens3\t0018A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
ens4\t000011AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

/// A request to an API.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub body: Value,
}

/// An API over plain HTTP on loopback that closes each connection, as uwsgi does.
pub struct Api {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Api {
    /// Serves until the test ends; `handler` gives status and body. A body's `X-Subject-Token`
    /// becomes a header.
    pub fn start(mut handler: impl FnMut(&Request) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let log = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that only connects is no failure.
                let _ = serve(stream, &log, &mut handler);
            }
        });
        Self { url, seen }
    }

    /// What was asked since the last question: `GET /v3/users`.
    pub fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    handler: &mut impl FnMut(&Request) -> (u16, Value),
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let (mut length, mut token) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "x-auth-token" => token = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request { method, path, token, body };
    seen.lock().unwrap().push(request.clone());
    let (status, answer) = handler(&request);
    let token = answer["X-Subject-Token"].as_str();
    let token = token.map(|t| format!("X-Subject-Token: {t}\r\n")).unwrap_or_default();
    let body = answer.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{token}\r\n");
    (&stream).write_all(format!("{head}{body}").as_bytes())
}

/// A free port on which nobody listens.
pub fn silent_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
