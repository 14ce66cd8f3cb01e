//! The client half against services that do as real ones are known to: each answer is made as the
//! source of its row says (`redfish/client/quirks.rs`, `tag.rs`).

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use undercloud_bmc::{
    credentials::Credentials,
    machine::{BootDevice, Media, MediaSlot},
    redfish::{
        client::{BootEnabled, BootMode, Budget, Client, ClientError, Config, ErrorKind},
        link::Trust,
    },
};

const SYSTEM: &str = "/redfish/v1/Systems/1";

/// A request, as it came.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    method: String,
    path: String,
    if_match: Option<String>,
    body: Value,
}

/// What is refused, and how.
type Refuses = Box<dyn Fn(&Asked) -> Option<(u16, Value)> + Send>;

/// Documents that can be read and changed.
struct Service {
    documents: BTreeMap<String, Value>,
    refuses: Refuses,
    asked: Vec<Asked>,
}

impl Service {
    fn answer(&mut self, asked: Asked) -> (u16, Value) {
        self.asked.push(asked.clone());
        if let Some(refusal) = (self.refuses)(&asked) {
            return refusal;
        }
        let Some(document) = self.documents.get_mut(&asked.path) else {
            return if asked.method == "POST" { (204, Value::Null) } else { (404, json!({})) };
        };
        if asked.method == "PATCH" {
            let changes = asked.body["Boot"].as_object().cloned().unwrap_or_default();
            for (name, value) in changes {
                document["Boot"][name] = value;
            }
        }
        (200, document.clone())
    }
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Service>>);

impl Fake {
    fn new(vendor: &str, boot: Value) -> Self {
        let root = json!({ "Vendor": vendor, "Systems": { "@odata.id": "/redfish/v1/Systems" } });
        let systems = json!({ "Members": [{ "@odata.id": SYSTEM }] });
        let system = json!({ "Manufacturer": vendor, "Model": "1", "Boot": boot });
        let documents =
            [("/redfish/v1/", root), ("/redfish/v1/Systems", systems), (SYSTEM, system)];
        let documents = documents.map(|(path, document)| (path.to_owned(), document)).into();
        let refuses = Box::new(|_: &Asked| None);
        Self(Arc::new(Mutex::new(Service { documents, refuses, asked: Vec::new() })))
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, path: &str, document: Value) {
        self.service().documents.insert(path.to_owned(), document);
    }

    fn refuse(&self, refuses: impl Fn(&Asked) -> Option<(u16, Value)> + Send + 'static) {
        self.service().refuses = Box::new(refuses);
    }

    fn document(&self, path: &str) -> Value {
        self.service().documents.get(path).cloned().unwrap_or_default()
    }

    /// The requests of this method, in their order.
    fn asked(&self, method: &str) -> Vec<Asked> {
        self.service().asked.iter().filter(|asked| asked.method == method).cloned().collect()
    }

    async fn handle(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        let if_match = head.headers.get("if-match");
        let if_match = if_match.map(|tag| tag.to_str().expect("text").to_owned());
        let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, body) = self.service().answer(Asked { method, path, if_match, body });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = StatusCode::from_u16(status).expect("status");
        if let Some(to) = body["Location"].as_str() {
            response.headers_mut().insert("location", to.parse().expect("address"));
        }
        if let Some(tag) = body["@odata.etag"].as_str() {
            response.headers_mut().insert("etag", tag.parse().expect("tag"));
        }
        Ok(response)
    }

    async fn client(&self) -> Client {
        self.connect().await.expect("connect")
    }

    async fn connect(&self) -> Result<Client, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let fake = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = fake.clone();
                let service = service_fn(move |request| fake.clone().handle(request));
                let serve = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serve);
            }
        });
        let config = Config {
            address,
            credentials: Credentials::new("admin", "sixteen-letters!").expect("credentials"),
            trust: Trust::Anybody,
            deadline: Duration::from_secs(10),
            budget: Budget::UNLIMITED,
        };
        Client::connect(config).await
    }
}

fn boot() -> Value {
    json!({
        "BootSourceOverrideEnabled": "Disabled",
        "BootSourceOverrideMode": "UEFI",
        "BootSourceOverrideTarget": "None",
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd", "Cd", "UsbCd"],
    })
}

fn error(message_id: &str, message: &str) -> Value {
    let info = json!({ "MessageId": message_id, "Message": message });
    json!({ "error": { "code": "Base.1.8.GeneralError", "@Message.ExtendedInfo": [info] } })
}

#[tokio::test]
async fn a_tag_is_said_as_the_service_can_compare_it() {
    const WEAK: &str = "W/\"1\"";
    for (tag, accepted, status, said) in [
        (Some(WEAK), Some("\"1\""), 412, vec![Some(WEAK), Some("\"1\"")]),
        (Some(WEAK), None, 412, vec![Some(WEAK), Some("\"1\""), None]),
        (Some("\"1\""), None, 412, vec![Some("\"1\""), None]),
        (None, Some("*"), 428, vec![None, Some("*")]),
    ] {
        let fake = Fake::new("", boot());
        let mut system = fake.document(SYSTEM);
        if let Some(tag) = tag {
            system["@odata.etag"] = tag.into();
        }
        fake.put(SYSTEM, system);
        fake.refuse(move |asked| {
            let good = asked.method != "PATCH" || asked.if_match.as_deref() == accepted;
            (!good).then(|| (status, json!({})))
        });
        let client = fake.client().await;
        client.set_boot(BootDevice::Pxe, BootEnabled::Once, None).await.expect("set");
        let patches = fake.asked("PATCH");
        let tags: Vec<_> = patches.iter().map(|asked| asked.if_match.as_deref()).collect();
        assert_eq!(tags, said);
    }
}

#[tokio::test]
async fn supermicro_is_told_everything_and_boots_media_as_usb() {
    for (vendor, target, names) in [("Supermicro", "UsbCd", 3), ("AMI", "Cd", 3), ("Dell", "Cd", 2)]
    {
        let fake = Fake::new(vendor, boot());
        let client = fake.client().await;
        client.set_boot(BootDevice::Cdrom, BootEnabled::Once, None).await.expect("set");
        let patches = fake.asked("PATCH");
        let [Asked { body, .. }] = patches.as_slice() else { panic!("one: {patches:?}") };
        assert_eq!(body["Boot"]["BootSourceOverrideTarget"], target, "{vendor}");
        assert_eq!(body["Boot"].as_object().map(|all| all.len()), Some(names), "{vendor}");
    }
}

#[tokio::test]
async fn one_that_has_no_once_and_one_that_says_yes_and_does_nothing() {
    let set = async |shown: &str, asked: BootEnabled| {
        let mut boot = boot();
        boot["BootSourceOverrideEnabled"] = shown.into();
        boot["BootSourceOverrideTarget"] = if shown == "Disabled" { "None" } else { "Pxe" }.into();
        let fake = Fake::new("", boot);
        fake.refuse(|asked| (asked.method == "PATCH").then_some((204, Value::Null)));
        fake.client().await.set_boot(BootDevice::Pxe, asked, None).await
    };
    set("Once", BootEnabled::Once).await.expect("as asked");
    set("Continuous", BootEnabled::Once).await.expect("the next boot is from there");
    for (shown, asked, sentence) in [
        (
            "Disabled",
            BootEnabled::Once,
            "said yes to boot Once from Pxe, and shows boot Disabled from None by Uefi",
        ),
        (
            "Once",
            BootEnabled::Continuous,
            "said yes to boot Continuous from Pxe, and shows boot Once from Pxe by Uefi",
        ),
    ] {
        let error = set(shown, asked).await.expect_err("not as asked");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[tokio::test]
async fn a_service_that_puts_a_slash_behind_every_path_is_followed() {
    let fake = Fake::new("", boot());
    for path in ["/redfish/v1/Systems", SYSTEM] {
        let document = fake.document(path);
        fake.put(&format!("{path}/"), document);
    }
    fake.refuse(|asked| {
        let to = format!("{}/", asked.path);
        (!asked.path.ends_with('/')).then(|| (308, json!({ "Location": to })))
    });
    let client = fake.client().await;
    client.set_boot(BootDevice::Pxe, BootEnabled::Once, None).await.expect("set");
    let patched = fake.asked("PATCH");
    assert_eq!(patched.last().map(|asked| asked.path.clone()), Some(format!("{SYSTEM}/")));
    assert_eq!(patched.last().map(|asked| &asked.body), patched.first().map(|asked| &asked.body));
    fake.refuse(|_| Some((308, json!({ "Location": "https://bmc.example/redfish/v1" }))));
    let error = client.power_state().await.expect_err("another place");
    assert!(error.to_string().contains("sends us to https://bmc.example/redfish/v1"), "{error}");
}

#[tokio::test]
async fn several_systems_are_named() {
    let fake = Fake::new("", boot());
    let members = ["/redfish/v1/Systems/1", "/redfish/v1/Systems/2"];
    let members = members.map(|path| json!({ "@odata.id": path }));
    fake.put("/redfish/v1/Systems", json!({ "Members": members }));
    let error = fake.connect().await.expect_err("which one?");
    let sentence = "several systems: /redfish/v1/Systems/1, /redfish/v1/Systems/2";
    assert!(error.to_string().contains(sentence), "{error}");
}

#[tokio::test]
async fn each_property_is_changed_where_it_is_shown() {
    const SETTINGS: &str = "/redfish/v1/Systems/1/SD";
    // All of it (AMI), the mode alone (iDRAC), nothing.
    for (shown, there, here) in [
        (boot(), 3, 0),
        (json!({ "BootSourceOverrideMode": "UEFI", "BootOrder": [] }), 1, 2),
        (json!({}), 0, 3),
    ] {
        let fake = Fake::new("", boot());
        let mut system = fake.document(SYSTEM);
        system["@Redfish.Settings"] = json!({ "SettingsObject": { "@odata.id": SETTINGS } });
        fake.put(SYSTEM, system);
        fake.put(SETTINGS, json!({ "Boot": shown }));
        let client = fake.client().await;
        let mode = Some(BootMode::Legacy);
        client.set_boot(BootDevice::Disk, BootEnabled::Continuous, mode).await.expect("set");
        let count = |path: &str| -> usize {
            let patches = fake.asked("PATCH").into_iter().filter(|asked| asked.path == path);
            patches.map(|asked| asked.body["Boot"].as_object().map_or(0, |all| all.len())).sum()
        };
        assert_eq!((count(SETTINGS), count(SYSTEM)), (there, here));
    }
}

#[tokio::test]
async fn an_image_goes_into_the_drive_that_takes_it_with_what_it_wants() {
    let fake = Fake::new("", boot());
    let mut system = fake.document(SYSTEM);
    system["VirtualMedia"] = json!({ "@odata.id": "/media" });
    fake.put(SYSTEM, system);
    let members = ["/media/0", "/media/1"].map(|path| json!({ "@odata.id": path }));
    fake.put("/media", json!({ "Members": members }));
    for path in ["/media/0", "/media/1"] {
        let insert = json!({ "target": format!("{path}/Insert") });
        let actions = json!({ "#VirtualMedia.InsertMedia": insert });
        fake.put(path, json!({ "MediaTypes": ["DVD"], "Inserted": false, "Actions": actions }));
    }
    let missing = error(
        "Base.1.8.ActionParameterMissing",
        "The action InsertMedia requires the parameter TransferProtocolType to be present.",
    );
    fake.refuse(move |asked| match asked.path.as_str() {
        "/media/0/Insert" => Some((405, json!({}))),
        "/media/1/Insert" if asked.body["TransferProtocolType"] != "HTTPS" => {
            Some((400, missing.clone()))
        }
        _ => None,
    });
    let image = "https://images.example/a.iso";
    let media = Media { image: image.into(), write_protected: true };
    fake.client().await.insert_media(MediaSlot::Cd, &media).await.expect("insert");
    let asked = fake.asked("POST").into_iter().map(|asked| (asked.path, asked.body));
    let expected = [
        ("/media/0/Insert", json!({ "Image": image })),
        ("/media/1/Insert", json!({ "Image": image })),
        ("/media/1/Insert", json!({ "Image": image, "TransferProtocolType": "HTTPS" })),
    ];
    let expected = expected.map(|(path, body)| (path.to_owned(), body));
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_machine_that_starts_is_busy_and_not_unwilling() {
    for (message_id, kind) in [
        ("iLO.2.14.UnableToModifyDuringSystemPOST", ErrorKind::Busy),
        ("IDRAC.2.8.SYS518", ErrorKind::Busy),
        ("IDRAC.1.6.SWC0700", ErrorKind::Busy),
        ("Base.1.8.InsufficientPrivilege", ErrorKind::Denied),
        ("Base.1.8.PropertyValueNotInList", ErrorKind::Invalid),
    ] {
        let fake = Fake::new("", boot());
        fake.refuse(move |asked| {
            (asked.method == "PATCH").then(|| (400, error(message_id, "not now")))
        });
        let client = fake.client().await;
        let refused = client.set_boot(BootDevice::Pxe, BootEnabled::Once, None).await;
        assert_eq!(refused.expect_err("refused").kind(), kind, "{message_id}");
    }
}
