//! The probe against our own controller, and against one with every fault there is.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fixture::{MemoryMachine, PASSWORD, USER, credentials, serve, socket};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};
use undercloud_bmc::{
    guid::Guid,
    ipmi::{
        client::{Client, ErrorKind, Options},
        msg::{
            get_channel_auth_cap, get_channel_cipher_suites,
            lan::LanRequest,
            open_session::{self, Accepted},
            session_header::PayloadType,
        },
        packet::{self, Datagram},
        random::Random,
        session::{Out, Reply, Sessions},
        suite::{Algorithms, CipherSuite},
        wire::{Command, Decode, Encode},
    },
    machine::PowerState,
    probe::{Finding, Plan, Report, probe},
    redfish::server::tls::Certificate,
};

const NOW: u64 = 1_767_225_600;

fn plan() -> Plan {
    let options = Options { timeout_ms: 500, attempts_max: 2, ..Options::default() };
    Plan { options, credentials: None, try_defaults: false, https: None, now: NOW }
}

async fn look(address: SocketAddr, plan: Plan) -> Report {
    probe(address, plan).await.expect("a report")
}

#[tokio::test]
async fn nothing_is_wrong_with_ours() {
    let machine = MemoryMachine::new(Duration::ZERO);
    machine.set_power(PowerState::On);
    let server = serve(machine);
    #[expect(clippy::disallowed_methods, reason = "the server's clock is the system's")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let plan = Plan { credentials: Some(credentials(USER, PASSWORD)), now, ..plan() };
    let report = look(server.address(), plan).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.ipmi_2_0, report.suites), (true, Some(vec![17, 3])));
    let inside = report.inside.expect("logged in");
    assert_eq!((inside.suite, inside.power), (CipherSuite::Suite17, PowerState::On));
    assert_eq!(inside.device.firmware_minor, 0x23);
    assert!(inside.system_guid.is_some());
    assert_eq!(report.unknown, Vec::<String>::new());
}

#[tokio::test]
async fn no_default_password_opens_ours() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let report = look(server.address(), Plan { try_defaults: true, ..plan() }).await;
    assert_eq!((report.findings, report.unknown), (vec![], vec![]));
}

#[tokio::test]
async fn nobody_there_and_nobody_known() {
    let silent = socket();
    let options = Options { timeout_ms: 20, attempts_max: 2, ..Options::default() };
    let address = silent.local_addr().expect("address");
    let error = probe(address, Plan { options, ..plan() }).await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let wrong = Some(credentials(USER, "not-the-password"));
    let error = probe(server.address(), Plan { credentials: wrong, ..plan() }).await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Denied);
}

/// Our own sessions behind the answers of a controller as they were sold.
struct Bad {
    sessions: Sessions,
    epoch: Instant,
}

impl Bad {
    /// Answers on a socket until the handle is aborted.
    async fn start() -> (SocketAddr, JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        let random = Random::new(&[3; 32]);
        let sessions = Sessions::new(credentials("ADMIN", "ADMIN"), Guid([9; 16]), random);
        let mut bad = Self { sessions, epoch: Instant::now() };
        let socket = Arc::new(socket);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok((length, source)) = socket.recv_from(&mut buffer).await {
                for bytes in bad.answers(&buffer[..length], source) {
                    let _ = socket.send_to(&bytes, source).await;
                }
            }
        });
        (address, task)
    }

    fn answers(&mut self, bytes: &[u8], source: SocketAddr) -> Vec<Vec<u8>> {
        if let Some(answer) = lie(bytes) {
            return vec![answer];
        }
        let outs = self.sessions.on_datagram(bytes, source, self.epoch.elapsed());
        let sent = |out| match out {
            Out::Send { bytes, .. } => Some(bytes),
            Out::Deliver { .. }
            | Out::Reset(_)
            | Out::LoginFailed { .. }
            | Out::OpenSerial(_)
            | Out::SerialBreak(_) => None,
        };
        outs.into_iter().filter_map(sent).collect()
    }
}

/// What a bad controller says for itself; the rest is up to the sessions.
fn lie(bytes: &[u8]) -> Option<Vec<u8>> {
    match Datagram::parse(bytes).ok()? {
        Datagram::V15 { payload, .. } => {
            let request = LanRequest::decode(payload).ok()?;
            let reply = match request.command {
                get_channel_auth_cap::Request::CODE => Reply::ok(&get_channel_auth_cap::Response {
                    channel: 1,
                    types: 0x97,
                    status: 0x07,
                    versions: 0x03,
                    oem: [0; 4],
                }),
                get_channel_cipher_suites::Request::CODE => {
                    let records = vec![0xc0, 0, 0, 0x40, 0x80, 0xc0, 2, 1, 0x41, 0x80];
                    Reply::ok(&get_channel_cipher_suites::Response { channel: 1, records })
                }
                _ => return None,
            };
            let message = request.response(reply.completion, reply.data).to_bytes();
            Some(packet::plain_v15(&message))
        }
        Datagram::Plus(packet) if packet.header.payload_type == PayloadType::OpenSessionRequest => {
            let request = open_session::Request::decode(packet.payload).ok()?;
            let nothing = [request.authentication, request.integrity, request.confidentiality];
            if nothing != [Some(0); 3] {
                return None;
            }
            let algorithms = Algorithms { authentication: 0, integrity: 0, confidentiality: 0 };
            let response = open_session::Response {
                tag: request.tag,
                privilege: 4,
                console_id: request.console_id,
                outcome: Ok(Accepted { controller_id: 7, algorithms }),
            };
            Some(packet::plain(PayloadType::OpenSessionResponse, &response.to_bytes()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_fault_is_found() {
    let (address, bad) = Bad::start().await;
    let report = look(address, plan()).await;
    let mut findings = vec![
        Finding::SuiteZero,
        Finding::AnonymousLogin,
        Finding::NullUser,
        Finding::OldWithoutAuthentication,
        Finding::OldVersion,
        Finding::WeakSuites(vec![0, 2]),
        Finding::NoGoodSuite,
    ];
    assert_eq!((report.findings, report.inside), (findings.clone(), None), "unasked, no password");
    let report = look(address, Plan { try_defaults: true, ..plan() }).await;
    findings.insert(1, Finding::DefaultPassword { user: "ADMIN", vendor: "Supermicro" });
    assert_eq!((report.findings, report.unknown), (findings, vec![]));
    bad.abort();
}

/// Our own controller with its clock set to this.
async fn with_clock(time: u64) -> Vec<Finding> {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let options = plan().options;
    let mut client = Client::connect(server.address(), credentials(USER, PASSWORD), options)
        .await
        .expect("connect");
    client.set_clock(u32::try_from(time).expect("before 2106")).await.expect("set clock");
    client.close().await;
    let login = Some(credentials(USER, PASSWORD));
    look(server.address(), Plan { credentials: login, ..plan() }).await.findings
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    assert_eq!(with_clock(NOW).await, []);
    let [Finding::ClockSkew(behind)] = with_clock(NOW - 3600).await[..] else { panic!("behind") };
    assert!((-3600..-3500).contains(&behind), "{behind}");
    let [Finding::ClockSkew(ahead)] = with_clock(NOW + 7200).await[..] else { panic!("ahead") };
    assert!((7200..7300).contains(&ahead), "{ahead}");
    assert_eq!(with_clock(4711).await, [Finding::ClockNotSet]);
}

/// Shows this certificate to whoever connects.
async fn https(params: rcgen::CertificateParams) -> (SocketAddr, JoinHandle<()>) {
    let key = rcgen::KeyPair::generate().expect("key");
    let chain = vec![params.self_signed(&key).expect("certificate").der().clone()];
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = Certificate { chain, key }.into_config().expect("configuration");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let task = tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        while let Ok((connection, _)) = listener.accept().await {
            let _ = acceptor.accept(connection).await;
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_certificate_that_has_ended() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let mut params = rcgen::CertificateParams::new(vec!["bmc.example".to_owned()]).expect("names");
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2015, 1, 1), rcgen::date_time_ymd(2025, 1, 1));
    let (address, task) = https(params.clone()).await;
    let report = look(server.address(), Plan { https: Some(address), ..plan() }).await;
    let expired = Finding::CertificateExpired { days: 365 };
    assert_eq!(report.findings, [expired, Finding::CertificateSelfSigned]);
    assert!(report.certificate.is_some());
    task.abort();
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let (address, task) = https(params).await;
    let report = look(server.address(), Plan { https: Some(address), ..plan() }).await;
    assert_eq!(report.findings, [Finding::CertificateSelfSigned]);
    task.abort();
}

#[tokio::test]
async fn no_https_is_no_fault_and_no_tls_is_told() {
    let server = serve(MemoryMachine::new(Duration::ZERO));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let closing = tokio::spawn(async move { drop(listener.accept().await) });
    let report = look(server.address(), Plan { https: Some(address), ..plan() }).await;
    assert_eq!((report.findings, report.certificate), (vec![], None));
    assert_eq!(report.unknown.len(), 1, "{:?}", report.unknown);
    closing.await.expect("accepted");
    let report = look(server.address(), Plan { https: Some(address), ..plan() }).await;
    assert_eq!((report.findings, report.unknown), (vec![], vec![]));
}
