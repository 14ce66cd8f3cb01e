//! The agents' routes, of one machine.

use std::sync::Mutex;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use undercloud_model::{
    Digest, ErrorKind, NodeId, StepId,
    agent::{Hello, PROTOCOL_VERSION, Poll, PollReply, Progress, Report, Step, StepOrder, Welcome},
};
use uuid::Uuid;

use super::*;

const NODE: NodeId = NodeId::from_uuid(Uuid::from_u128(7));

#[derive(Default)]
struct OneMachine {
    blob: Option<Digest>,
    reports: Mutex<Vec<Report>>,
    not_understood: Mutex<Vec<u32>>,
}

impl AgentApi for Arc<OneMachine> {
    async fn hello(&self, hello: Hello, _: Peer) -> Result<Welcome, ApiError> {
        if hello.node == NODE && hello.secret == Secret::new("boot") {
            return Ok(Welcome { session_key: Secret::new("session") });
        }
        Err(ApiError::new(ErrorKind::Denied, "the boot secret is not valid"))
    }

    async fn authenticate(&self, key: &Secret) -> Result<Option<CallingAgent>, ApiError> {
        let right = *key == Secret::new("session");
        Ok(right.then_some(CallingAgent { node: NODE, session: Session::Ramdisk }))
    }

    async fn poll(&self, caller: CallingAgent, _: Poll) -> Result<PollReply, ApiError> {
        assert_eq!(caller.node, NODE);
        let id = StepId::from_uuid(Uuid::from_u128(9));
        Ok(PollReply { order: Some(StepOrder { id, step: Step::Inspect }) })
    }

    async fn not_understood(&self, _: CallingAgent, theirs: u32) {
        self.not_understood.lock().unwrap().push(theirs);
    }

    async fn progress(&self, _: CallingAgent, _: Progress) -> Result<(), ApiError> {
        Err(ApiError::new(ErrorKind::Conflict, "the step is not this machine's order"))
    }

    async fn report(&self, _: CallingAgent, report: Report) -> Result<(), ApiError> {
        self.reports.lock().unwrap().push(report);
        Ok(())
    }

    async fn may_fetch(&self, _: CallingAgent, blob: Digest) -> Result<bool, ApiError> {
        Ok(self.blob == Some(blob))
    }
}

struct Fixture {
    router: Router,
    api: Arc<OneMachine>,
    digest: Digest,
    other: Digest,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(camino::Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    let digest = blobs.put(&b"01234567"[..]).unwrap().digest;
    let other = blobs.put(&b"secret of another machine"[..]).unwrap().digest;
    let api = Arc::new(OneMachine { blob: Some(digest), ..OneMachine::default() });
    let router = router(api.clone(), blobs, Clock::new(|| 1_000));
    Fixture { router, api, digest, other, _dir: dir }
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

fn request(method: &str, path: &str, key: Option<&str>, body: &Value) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        builder = builder.header("authorization", format!("Bearer {key}"));
    }
    builder.body(Body::from(body.to_string())).unwrap()
}

fn hello(protocol: u32, secret: &str) -> Value {
    json!({"protocol": protocol, "node": NODE, "secret": secret, "boot_id": "b",
           "agent_version": "0.1.0"})
}

#[tokio::test]
async fn every_route_but_hello_refuses_strangers() {
    let f = fixture();
    for (method, path) in ROUTES.iter().filter(|(_, path)| !path.ends_with("/hello")) {
        let path = path.replace("{digest}", &f.digest.to_string());
        for key in [None, Some("wrong"), Some("")] {
            let (status, headers, body) =
                send(&f.router, request(method, &path, key, &json!({}))).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {key:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["kind"], "denied");
        }
        let (status, ..) = send(&f.router, request("PATCH", &path, None, &json!({}))).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path} is routed");
    }
    let (status, ..) = send(&f.router, request("GET", "/agent/v1/other", None, &json!({}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_machine_says_hello_polls_and_reports() {
    let f = fixture();
    let (status, _, body) =
        send(&f.router, request("POST", "/agent/v1/hello", None, &hello(PROTOCOL_VERSION, "boot")))
            .await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &br#"{"session_key":"session"}"#[..]));
    let poll = json!({"protocol": PROTOCOL_VERSION, "boot_id": "b"});
    let (status, _, body) =
        send(&f.router, request("POST", "/agent/v1/poll", Some("session"), &poll)).await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_snapshot!(String::from_utf8(body).unwrap(), @r#"{"order":{"id":"00000000-0000-0000-0000-000000000009","step":{"kind":"inspect"}}}"#);
    let failed = json!({"failed": {"kind": "disk_io", "message": "m"}});
    let report = json!({"id": Uuid::from_u128(9), "outcome": failed, "log": ["line"]});
    let (status, ..) =
        send(&f.router, request("POST", "/agent/v1/report", Some("session"), &report)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(f.api.reports.lock().unwrap()[0].log, ["line"]);
    let progress = json!({"id": Uuid::from_u128(9), "done_bytes": 1, "total_bytes": 2});
    let (status, ..) =
        send(&f.router, request("POST", "/agent/v1/progress", Some("session"), &progress)).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn another_version_is_told_what_to_do() {
    let f = fixture();
    for (protocol, expected) in
        [(PROTOCOL.min - 1, "undercloud image build"), (PROTOCOL.max + 1, "upgrade this daemon")]
    {
        // Another version's messages may have any shape beside the number.
        let hello = json!({"protocol": protocol, "who": []});
        let (status, _, body) =
            send(&f.router, request("POST", "/agent/v1/hello", None, &hello)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"]["hint"].as_str().unwrap().contains(expected), "{body}");
        let poll = json!({"protocol": protocol, "mood": []});
        let request = request("POST", "/agent/v1/poll", Some("session"), &poll);
        let (status, _, body) = send(&f.router, request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains(&format!("speaks version {protocol} of")), "{text}");
    }
    let told = f.api.not_understood.lock().unwrap().clone();
    assert_eq!(told, [PROTOCOL.min - 1, PROTOCOL.max + 1]);
}

#[tokio::test]
async fn refused_hellos_run_into_the_limit() {
    let f = fixture();
    let wrong = hello(PROTOCOL_VERSION, "wrong");
    for _ in 0..HELLO_FAILURES_MAX {
        let (status, ..) = send(&f.router, request("POST", "/agent/v1/hello", None, &wrong)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let (status, headers, _) =
        send(&f.router, request("POST", "/agent/v1/hello", None, &hello(PROTOCOL_VERSION, "boot")))
            .await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn errors_do_not_repeat_what_was_sent() {
    let f = fixture();
    for body in [
        json!({"protocol": "hunter2"}),
        json!({"protocol": PROTOCOL_VERSION, "node": "hunter2"}),
        json!({"protocol": PROTOCOL_VERSION, "node": NODE, "secret": {"hunter2": 1}}),
    ] {
        let (status, _, body) =
            send(&f.router, request("POST", "/agent/v1/hello", None, &body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!String::from_utf8(body).unwrap().contains("hunter2"));
    }
    let long =
        json!({"protocol": PROTOCOL_VERSION, "pad": "x".repeat(crate::body::BODY_BYTES_MAX)});
    let (status, ..) = send(&f.router, request("POST", "/agent/v1/hello", None, &long)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_machine_gets_the_blob_of_its_order_and_no_other() {
    let f = fixture();
    let path = |digest: &Digest| format!("/agent/v1/blobs/{digest}");
    let get = |path: String, range: Option<&'static str>| {
        let mut request = request("GET", &path, Some("session"), &json!(null));
        if let Some(range) = range {
            request.headers_mut().insert("range", http::HeaderValue::from_static(range));
        }
        send(&f.router, request)
    };
    let (status, headers, body) = get(path(&f.digest), None).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &b"01234567"[..]));
    assert_eq!(headers["content-length"], "8");
    let (status, headers, body) = get(path(&f.digest), Some("bytes=2-4")).await;
    assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert_eq!(headers["content-range"], "bytes 2-4/8");
    let (status, headers, _) = get(path(&f.digest), Some("bytes=8-")).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers["content-range"], "bytes */8");
    assert_eq!(get(path(&f.other), None).await.0, StatusCode::FORBIDDEN);
    let (status, ..) = get("/agent/v1/blobs/..%2f..%2fetc".to_owned(), None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_body_is_a_fault_of_ours(
        route in 0..4usize,
        cut in 0..300usize,
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let report = json!({"id": NODE, "outcome": {"done": {"kind": "wipe_metadata", "disks": []}},
            "log": ["x"], "protocol": PROTOCOL_VERSION, "boot_id": "b", "node": NODE, "secret": "boot",
            "agent_version": "0", "done_bytes": 1, "total_bytes": 2});
        let mut body = report.to_string().into_bytes();
        let at = cut.min(body.len());
        body.splice(at..(at + noise.len()).min(report.to_string().len()), noise);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async {
            let f = fixture();
            let (method, path) = ROUTES[route];
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", "Bearer session");
            send(&f.router, request.body(Body::from(body)).unwrap()).await.0
        });
        proptest::prop_assert!(!status.is_server_error(), "{status}");
    }
}
