//! Any sequence of requests to a Redfish service with two machines, logged in or not: no panic, no
//! status of the 500s but 501 (what HTTP or the service does not know) and 503, and a body that
//! is JSON where it says so.
#![no_main]

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use undercloud_bmc::redfish::server::service::Service;

#[path = "../../crates/bmc/tests/fixture/mod.rs"]
mod fixture;
use fixture::rack::{Rack, password};

const METHODS: [&str; 6] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "PUT"];
const HEADERS: [&str; 6] =
    ["if-match", "if-none-match", "accept", "content-type", "odata-version", "x-auth-token"];
/// Where a script's own path goes on.
const PATHS: [&str; 20] = [
    "/",
    "/redfish/v1/",
    "/redfish/v1/Systems",
    "/redfish/v1/Systems/m1",
    "/redfish/v1/Systems/m2",
    "/redfish/v1/Systems/m1/Actions/ComputerSystem.Reset",
    "/redfish/v1/Systems/m1/Storage/1",
    "/redfish/v1/Systems/m1/VirtualMedia/Cd",
    "/redfish/v1/Systems/m1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia",
    "/redfish/v1/Systems/m1/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia",
    "/redfish/v1/Managers/m1",
    "/redfish/v1/Managers/m1/Actions/Manager.Reset",
    "/redfish/v1/Chassis/m1/Sensors",
    "/redfish/v1/SessionService",
    "/redfish/v1/SessionService/Sessions",
    "/redfish/v1/AccountService/Accounts",
    "/redfish/v1/AccountService/Accounts/m1.2",
    "/redfish/v1/TaskService/Tasks/1",
    "/redfish/v1/UpdateService",
    "/redfish/v1/EventService/Subscriptions",
];

/// The next field: a byte of length, then the bytes.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first()?;
    let (bytes, next) = tail.split_at(usize::from(*length).min(tail.len()));
    *rest = next;
    Some(bytes)
}

async fn ask(service: &Service, step: [u8; 3], suffix: &str, header: &[u8], body: &[u8]) {
    let [method, path, login] = step.map(usize::from);
    let address = format!("{}{suffix}", PATHS[path % PATHS.len()]);
    let mut request = Request::builder().method(METHODS[method % METHODS.len()]).uri(address);
    let user = match login % 4 {
        0 => None,
        1 => Some(("admin", password(1))),
        2 => Some((fixture::rack::SITE_USER, fixture::rack::SITE_PASSWORD.to_owned())),
        _ => Some(("admin", "wrong-wrong-wrong".to_owned())),
    };
    if let Some((name, password)) = user {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let login = STANDARD.encode(format!("{name}:{password}"));
        request = request.header("authorization", format!("Basic {login}"));
    }
    if let Some((name, value)) = header.split_first() {
        request = request.header(HEADERS[usize::from(*name) % HEADERS.len()], value);
    }
    // What HTTP itself cannot carry never gets here.
    let Ok(request) = request.body(Bytes::copy_from_slice(body)) else { return };
    let is_head = request.method() == http::Method::HEAD;
    let response = service.answer(request, [192, 0, 2, 1].into()).await;
    let status = response.status().as_u16();
    assert!(status < 500 || matches!(status, 501 | 503), "status {status}");
    let kind = response.headers().get("content-type").map(|it| it.as_bytes().to_vec());
    if kind.is_some_and(|kind| kind.starts_with(b"application/json")) && !is_head {
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
    }
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    runtime.block_on(async {
        let service = Service::new(Rack::new(2).site).expect("service");
        let mut rest = script;
        while let [method, path, login, tail @ ..] = rest {
            let step = [*method, *path, *login];
            rest = tail;
            let [Some(suffix), Some(header), Some(body)] = [(); 3].map(|()| field(&mut rest))
            else {
                break;
            };
            let suffix = String::from_utf8_lossy(suffix).into_owned();
            ask(&service, step, &suffix, header, body).await;
        }
    });
});
