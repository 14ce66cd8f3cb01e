//! Any request to the service: no panic, no status of the 500s but for methods that HTTP does not
//! know and queries that are not offered, and always what DSP0266 wants of every answer.

mod fixture;

use bytes::Bytes;
use fixture::rack::{Rack, password};
use http::Request;
use proptest::prelude::*;
use undercloud_bmc::redfish::server::service::Service;

const PATHS: [&str; 24] = [
    "/redfish",
    "/redfish/v1/",
    "/redfish/v1/odata",
    "/redfish/v1/$metadata",
    "/redfish/v1/Systems",
    "/redfish/v1/Systems/m1",
    "/redfish/v1/Systems/m1/Actions/ComputerSystem.Reset",
    "/redfish/v1/Systems/m1/Storage/1/Drives/1",
    "/redfish/v1/Systems/m1/Storage/1/Volumes",
    "/redfish/v1/Systems/m1/VirtualMedia/Cd",
    "/redfish/v1/Systems/m1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia",
    "/redfish/v1/Managers/m1",
    "/redfish/v1/Managers/m1/Actions/Manager.Reset",
    "/redfish/v1/Chassis/m1/Sensors/CpuLoad",
    "/redfish/v1/SessionService",
    "/redfish/v1/SessionService/Sessions",
    "/redfish/v1/AccountService/Accounts",
    "/redfish/v1/AccountService/Accounts/m1.2",
    "/redfish/v1/EventService/Subscriptions",
    "/redfish/v1/TaskService/Tasks/1",
    "/redfish/v1/UpdateService",
    "/redfish/v1/Registries/Base.1.18",
    "/redfish/v1/JsonSchemas/Chassis.v1_25_0",
    "/redfish/v1/Systems/m2",
];

const WORDS: [&str; 20] = [
    "Boot",
    "BootSourceOverrideTarget",
    "BootSourceOverrideEnabled",
    "BootSourceOverrideMode",
    "ResetType",
    "Image",
    "Inserted",
    "WriteProtected",
    "UserName",
    "Password",
    "RoleId",
    "Enabled",
    "SessionTimeout",
    "Destination",
    "Protocol",
    "Context",
    "On",
    "Once",
    "Pxe",
    "@odata.id",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(&WORDS[..]).prop_map(str::to_owned), ".{0,12}"]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        word().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(word(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => json().prop_map(|json| json.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => (1..60_000usize).prop_map(|depth| vec![b'['; depth]),
    ]
}

fn method() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"];
    prop_oneof![8 => proptest::sample::select(KNOWN).prop_map(str::to_owned), 1 => "[A-Z]{1,9}"]
}

fn address() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        6 => proptest::sample::select(&PATHS[..]).prop_map(str::to_owned),
        1 => "/[!-~]{0,40}",
        1 => "/redfish/v1/[A-Za-z/%.0-9]{0,40}",
    ];
    const NAMES: &[&str] = &["$top", "$skip", "$select", "$expand", "only", "$filter", "x"];
    let query = (proptest::sample::select(NAMES), "[!-~]{0,12}");
    let query =
        prop_oneof![3 => Just(String::new()), 1 => query.prop_map(|(n, v)| format!("?{n}={v}"))];
    (path, query).prop_map(|(path, query)| format!("{path}{query}"))
}

fn header() -> impl Strategy<Value = (String, String)> {
    const NAMES: &[&str] = &[
        "if-match",
        "if-none-match",
        "accept",
        "content-type",
        "odata-version",
        "x-auth-token",
        "authorization",
    ];
    let name = prop_oneof![proptest::sample::select(&NAMES[..5]), proptest::sample::select(NAMES),];
    (name.prop_map(str::to_owned), "[ -~]{0,30}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_request_is_answered(
        method in method(),
        address in address(),
        body in body(),
        header in proptest::option::of(header()),
        logged_in in proptest::bool::weighted(0.8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("runtime");
        let request = Request::builder().method(method.as_str()).uri(&address);
        let request = header.iter().fold(request, |r, (name, value)| r.header(name, value));
        let request = if logged_in {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let login = STANDARD.encode(format!("admin:{}", password(1)));
            request.header("authorization", format!("Basic {login}"))
        } else {
            request
        };
        // What HTTP itself cannot carry never gets here.
        let Ok(request) = request.body(Bytes::from(body)) else { return Ok(()) };
        let response = runtime.block_on(async {
            let rack = Rack::new(2);
            let service = Service::new(rack.site).expect("service");
            service.answer(request, [127, 0, 0, 1].into()).await
        });
        let status = response.status().as_u16();
        prop_assert!(status < 500 || status == 501, "{method} {address}: {status}");
        prop_assert_eq!(response.headers().get("odata-version").expect("header"), "4.0");
        prop_assert!(response.headers().contains_key("cache-control"));
        prop_assert!(status != 405 || response.headers().contains_key("allow"));
    }
}
