//! Requests to the routers that listen to machines and to OpenStack's clients: whatever is asked, the
//! answer is none of a broken server, is JSON where it says so, and nobody gets in without a key.
#![no_main]

use std::sync::{Arc, OnceLock};

use axum::{Router, body::Body, http::Request};
use camino::Utf8PathBuf;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use undercloud_api::{
    ApiError, Clock,
    agent::{self, AgentApi, CallingAgent, Session},
    openstack::{self, ImageShelf},
    registry::{self, Puller, RegistryApi},
    serve::Peer,
};
use undercloud_image::{
    blob::Blobs,
    catalog::Image,
    oci::{ContainerImage, ImageName},
};
use undercloud_model::{
    Digest, NodeId, Secret,
    agent::{Hello, Poll, PollReply, Progress, Report, Welcome},
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"];
const PATHS: [&str; 16] = [
    "/",
    "/agent/v1/hello",
    "/agent/v1/poll",
    "/agent/v1/progress",
    "/agent/v1/report",
    "/agent/v1/blobs/",
    "/v2/",
    "/v2/undercloud/keystone/manifests/",
    "/v2/undercloud/keystone/blobs/",
    "/v2/_catalog",
    "/identity/v3",
    "/identity/v3/auth/tokens",
    "/identity/v3/auth/catalog",
    "/image/v2/images",
    "/image/v2/images/",
    "/image/v2/schemas/image",
];
const HEADERS: [&str; 6] =
    ["x-auth-token", "x-subject-token", "range", "accept", "content-type", "authorization"];

/// One machine, one user, and nothing that either may have.
struct Nobody;

impl AgentApi for Nobody {
    async fn hello(&self, hello: Hello, _: Peer) -> Result<Welcome, ApiError> {
        let _ = hello;
        Err(ApiError::unauthenticated())
    }

    async fn authenticate(&self, key: &Secret) -> Result<Option<CallingAgent>, ApiError> {
        let caller =
            CallingAgent { node: NodeId::from_uuid(uuid::Uuid::nil()), session: Session::Installed };
        Ok((key.expose() == KEY).then_some(caller))
    }

    async fn poll(&self, _: CallingAgent, _: Poll) -> Result<PollReply, ApiError> {
        Ok(PollReply { order: None })
    }

    async fn not_understood(&self, _: CallingAgent, _: u32) {}

    async fn progress(&self, _: CallingAgent, _: Progress) -> Result<(), ApiError> {
        Ok(())
    }

    async fn report(&self, _: CallingAgent, _: Report) -> Result<(), ApiError> {
        Ok(())
    }

    async fn may_fetch(&self, _: CallingAgent, _: Digest) -> Result<bool, ApiError> {
        Ok(true)
    }
}

impl ImageShelf for Nobody {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        Ok(Vec::new())
    }
}

impl RegistryApi for Nobody {
    async fn authenticate(&self, user: &str, key: &Secret) -> Result<Option<Puller>, ApiError> {
        Ok((user == "admin" && key.expose() == KEY).then_some(Puller::Administrator))
    }

    async fn names(&self, _: &Puller) -> Result<Vec<String>, ApiError> {
        Ok(vec!["undercloud/keystone".to_owned()])
    }

    async fn versions(&self, _: &Puller, _: &ImageName) -> Result<Vec<ContainerImage>, ApiError> {
        Ok(Vec::new())
    }
}

fn blobs() -> Blobs {
    static BLOBS: OnceLock<Blobs> = OnceLock::new();
    let open = || {
        // Nothing is ever put there.
        let folder = std::env::temp_dir().join("undercloud-fuzz-blobs");
        let folder = Utf8PathBuf::from_path_buf(folder).expect("a path of UTF-8");
        Blobs::open(folder).expect("a store of blobs")
    };
    BLOBS.get_or_init(open).clone()
}

/// The next field: a byte of length, then the bytes.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first()?;
    let (bytes, next) = tail.split_at(usize::from(*length).min(tail.len()));
    *rest = next;
    Some(bytes)
}

async fn ask(router: Router, step: [u8; 3], suffix: &str, header: &[u8], body: &[u8]) {
    let [method, path, key] = step.map(usize::from);
    let method = METHODS[method % METHODS.len()];
    let address = format!("{}{suffix}", PATHS[path % PATHS.len()]);
    let mut request = Request::builder().method(method).uri(&address);
    let has_key = key % 2 == 1;
    if has_key {
        request = request.header("authorization", format!("Bearer {KEY}"));
    }
    if let Some((name, value)) = header.split_first() {
        let name = HEADERS[usize::from(*name) % (HEADERS.len() - usize::from(has_key))];
        request = request.header(name, value);
    }
    request = request.header("content-type", "application/json");
    let peer = Peer { address: Some([192, 0, 2, 9].into()), process: None };
    // What HTTP itself cannot carry never gets here.
    let Ok(request) = request.extension(peer).body(Body::from(body.to_vec())) else { return };
    let path = request.uri().path().to_owned();
    let given = request.headers().get("authorization").cloned();
    let response = router.oneshot(request).await.expect("a router answers");
    let status = response.status();
    assert!(!status.is_server_error() || status == 501, "{method} {address}: {status}");
    if given.is_none() && path.starts_with("/agent/v1/") {
        assert!(!status.is_success(), "{method} {address}: without a key");
    }
    let kind = response.headers().get("content-type").map(|kind| kind.as_bytes().to_vec());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    if method != "HEAD" && kind.is_some_and(|kind| kind == b"application/json") {
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
    }
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let clock = || Clock::new(|| 1_700_000_000_000);
        let registry = || registry::router(Nobody, blobs(), clock());
        // As the daemon merges them, one listener each.
        let machines = agent::router(Nobody, blobs(), clock()).merge(registry());
        let clients = openstack::router(Arc::new(Nobody), blobs(), Secret::new(KEY), clock());
        let routers = [machines, clients.merge(registry())];
        let mut rest = script;
        while let [method, path, key, tail @ ..] = rest {
            let step = [*method, *path, *key];
            rest = tail;
            let [Some(suffix), Some(header), Some(body)] = [(); 3].map(|()| field(&mut rest))
            else {
                break;
            };
            let suffix = String::from_utf8_lossy(suffix).into_owned();
            let router = &routers[usize::from(step[2] / 2 % 2)];
            ask(router.clone(), step, &suffix, header, body).await;
        }
    });
});
