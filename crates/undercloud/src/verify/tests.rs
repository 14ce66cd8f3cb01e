//! The steps against a cloud of a few lines, over plain HTTP.

mod site;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;
use undercloud_api::{admin::PublicNetwork, tls::Authority};
use undercloud_model::Secret;

use super::{
    network::Networks,
    session::Service::{Compute, Image, KeyManager, Network, Orchestration},
    *,
};
use crate::failure::{Failure, exit_code};

/// Everything that exists, by path; how it was asked.
#[derive(Debug, Default)]
struct State {
    things: BTreeMap<String, Value>,
    asked: Vec<String>,
    tokens: u32,
    next: u32,
    refuse: Option<(u16, &'static str)>,
    /// What the catalogue has beside what every cloud has: type and path.
    features: Vec<(&'static str, &'static str)>,
    /// The one stack that Heat has.
    stack: Option<Value>,
    /// The one secret that Barbican has, and what it is given in that one's place.
    secret: Option<String>,
    other_secret: Option<String>,
    /// It keeps what is to go.
    keeps_secrets: bool,
}

impl State {
    /// Barbican's API reference, "Secrets".
    fn secret(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let reference = json!("https://192.0.2.1/v1/secrets/s1");
        match (method, path) {
            ("POST", "/v1/secrets") => {
                assert_eq!(body["payload_content_type"], "text/plain");
                let payload = body["payload"].as_str().map(str::to_owned);
                self.secret = self.other_secret.clone().or(payload);
                (201, json!({ "secret_ref": reference }))
            }
            ("GET", "/v1/secrets") => {
                let all =
                    self.secret.iter().map(|_| json!({ "name": NAME, "secret_ref": reference }));
                (200, json!({ "secrets": all.collect::<Vec<_>>() }))
            }
            ("GET", "/v1/secrets/s1/payload") => (200, json!(self.secret)),
            ("GET", "/v1/secrets/s1") if self.secret.is_some() => (200, json!({ "name": NAME })),
            ("DELETE", "/v1/secrets/s1") if self.keeps_secrets => (204, Value::Null),
            ("DELETE", "/v1/secrets/s1") if self.secret.take().is_some() => (204, Value::Null),
            _ => (404, json!({ "title": "Not Found" })),
        }
    }
}

#[derive(Debug, Clone)]
struct Cloud {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Cloud {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cloud = Self { state: Arc::default(), address };
        cloud.serve(listener);
        cloud
    }

    fn serve(&self, listener: TcpListener) {
        let cloud = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                cloud.answer(stream.unwrap());
            }
        });
    }

    fn access(&self) -> CloudAccess {
        CloudAccess {
            deployment: 1,
            auth_url: format!("http://{}/v3", self.address),
            ca_file: String::new(),
            user: "admin".into(),
            password: Secret::new("p"),
            project: "admin".into(),
            region: "RegionOne".into(),
            public_address: [127, 0, 0, 1].into(),
            dashboard: None,
            public_network: PublicNetwork {
                cidr: "10.0.0.0/24".parse().unwrap(),
                gateway: [10, 0, 0, 1].into(),
                floating_first: [10, 0, 0, 100].into(),
                floating_last: [10, 0, 0, 199].into(),
            },
            machines: Vec::new(),
        }
    }

    fn session(&self) -> Session {
        open(&self.access(), &ca()).unwrap()
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "x-auth-token" => token = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = self.decide(&method, &path, &token, &body);
        let text = match &answer {
            Value::Null => String::new(),
            // What is asked for as plain text.
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let tokens = self.state.lock().unwrap().tokens;
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nx-subject-token: t{tokens}\r\n\
             connection: close\r\n\r\n{text}"
        );
        reader.into_inner().write_all(head.as_bytes()).unwrap();
    }

    fn decide(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        if path == "/v3/auth/tokens" {
            state.tokens += 1;
            return (201, self.catalogue(&state.features));
        }
        if token != format!("t{}", state.tokens) {
            return (401, json!({ "error": { "message": "no such token", "code": 401 } }));
        }
        state.asked.push(format!("{method} {path}"));
        if let Some((status, message)) = state.refuse {
            return (status, json!({ "computeFault": { "message": message } }));
        }
        let bare = path.split('?').next().unwrap_or_default().to_owned();
        if bare.starts_with("/v1/secrets") {
            return state.secret(method, &bare, body);
        }
        if path.starts_with("/v1/p/stacks") {
            let stack = state.stack.clone();
            return match method {
                "GET" if path.ends_with("/stacks") => (200, json!({ "stacks": stack.as_slice() })),
                "DELETE" => (204, state.stack.take().map_or(Value::Null, |_| Value::Null)),
                _ => (200, json!({ "stack": stack })),
            };
        }
        match method {
            "POST" => {
                state.next += 1;
                let id = format!("id-{}", state.next);
                let wrapped = body.as_object().filter(|map| map.len() == 1);
                let (key, inner) = wrapped.and_then(|map| map.iter().next()).map_or_else(
                    || (None, body.clone()),
                    |(key, inner)| (Some(key.clone()), inner.clone()),
                );
                let mut made = inner;
                made["id"] = json!(id);
                state.things.insert(format!("{bare}/{id}"), made.clone());
                (201, key.map_or(made.clone(), |key| json!({ key: made })))
            }
            "GET" => {
                let kind = bare.rsplit('/').next().unwrap_or_default().replace('-', "_");
                let below = format!("{bare}/");
                let list = state.things.iter().filter(|(path, _)| path.starts_with(&below));
                let list: Vec<Value> = list.map(|(_, thing)| thing.clone()).collect();
                (200, json!({ kind: list }))
            }
            "DELETE" => match state.things.remove(&bare) {
                Some(_) => (204, Value::Null),
                None => (404, json!({ "itemNotFound": { "message": "not here" } })),
            },
            _ => (200, Value::Null),
        }
    }

    fn catalogue(&self, features: &[(&str, &str)]) -> Value {
        let listed = |kind: &str, path: &str| {
            let url = format!("http://{}{path}", self.address);
            json!({ "type": kind, "endpoints": [
                { "interface": "internal", "region": "RegionOne", "url": "http://192.0.2.1" },
                { "interface": "public", "region": "Other", "url": "http://192.0.2.2" },
                { "interface": "public", "region": "RegionOne", "url": url },
            ]})
        };
        let everywhere = [("image", ""), ("compute", "/v2.1"), ("network", "/")];
        let all = everywhere.iter().chain(features);
        let list: Vec<Value> = all.map(|(kind, path)| listed(kind, path)).collect();
        json!({ "token": { "catalog": list } })
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn ca() -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(directory.path()).unwrap();
    Authority::open(path, crate::clock::now_ms()).unwrap().pem().to_owned()
}

#[test]
fn the_public_url_of_the_region_is_asked_with_the_right_prefix() {
    let cloud = Cloud::start();
    let session = cloud.session();
    session.get(Image, "/images").unwrap();
    session.get(Compute, "/servers").unwrap();
    session.get(Network, "/networks").unwrap();
    assert_eq!(cloud.asked(), ["GET /v2/images", "GET /v2.1/servers", "GET /v2.0/networks"]);
}

#[test]
fn what_only_some_clouds_have_is_looked_for_in_the_catalogue() {
    let cloud = Cloud::start();
    let session = cloud.session();
    assert!(session.has(Compute) && !session.has(Orchestration) && !session.has(KeyManager));
    assert_eq!(stack::remove(&session).unwrap(), 0);
    assert_eq!(secret::remove(&session).unwrap() + dns::remove(&session).unwrap(), 0);
    assert_eq!(cloud.asked(), Vec::<String>::new());
}

#[test]
fn a_stack_is_complete_puts_out_its_word_and_goes() {
    let cloud = Cloud::start();
    cloud.state.lock().unwrap().features.push(("orchestration", "/v1/p"));
    let session = cloud.session();
    // What a stack becomes, by what Heat says of it.
    for (status, word, expected) in [
        ("CREATE_COMPLETE", "abcdefghijklmnop", Ok("is gone")),
        ("CREATE_COMPLETE", "abc", Err("puts out `abc`")),
        ("CREATE_FAILED", "", Err("the stack failed: no valid host")),
    ] {
        let output = json!([{ "output_key": "word", "output_value": word }]);
        let stack = json!({ "id": "s1", "stack_name": NAME, "stack_status": status,
            "stack_status_reason": "no valid host", "outputs": output });
        cloud.state.lock().unwrap().stack = Some(stack);
        match (stack::check(&session), expected) {
            (Ok(((), said)), Ok(words)) => assert!(said.ends_with(words), "{said}"),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (other, _) => panic!("{status}, {word}: {other:?}"),
        }
    }
    assert!(cloud.asked().contains(&format!("DELETE /v1/p/stacks/{NAME}/s1")));
}

#[test]
fn a_secret_is_read_as_it_was_stored_and_goes() {
    let cloud = Cloud::start();
    cloud.state.lock().unwrap().features.push(("key-manager", ""));
    let session = cloud.session();
    secret::check(&session).unwrap();
    assert_eq!(secret::remove(&session).unwrap(), 0);
    cloud.state.lock().unwrap().keeps_secrets = true;
    let error = secret::check(&session).unwrap_err().to_string();
    assert_eq!(error, "the secret is there after its removal");
    cloud.state.lock().unwrap().keeps_secrets = false;
    assert_eq!(secret::remove(&session).unwrap(), 1);
    cloud.state.lock().unwrap().other_secret = Some("another".into());
    let error = secret::check(&session).unwrap_err().to_string();
    assert_eq!(error, "the secret that was read is not the one that was stored");
}

#[test]
fn a_token_that_ended_is_replaced_once() {
    let cloud = Cloud::start();
    let session = cloud.session();
    cloud.state.lock().unwrap().tokens = 7;
    session.get(Compute, "/servers").unwrap();
    assert_eq!(cloud.state.lock().unwrap().tokens, 8);
}

#[test]
fn a_refusal_is_a_sentence_with_a_hint_and_an_exit_code() {
    let cloud = Cloud::start();
    let session = cloud.session();
    for (status, code) in [(403, 5), (404, 3), (409, 4), (500, 7), (503, 7), (400, 1)] {
        cloud.state.lock().unwrap().refuse = Some((status, "quota of\n cores exceeded"));
        let error = session.get(Compute, "/servers").unwrap_err();
        let expected =
            format!("Nova refused GET /v2.1/servers ({status}): quota of cores exceeded");
        assert_eq!(error.to_string(), expected);
        assert_eq!(exit_code(&error), code, "{status}");
        assert!(error.downcast_ref::<Failure>().unwrap().hint.is_some());
    }
    cloud.state.lock().unwrap().refuse = Some((409, "in use"));
    assert!(!session.delete(Network, "/networks/x").unwrap());
    assert!(session.post_early(Compute, "/x", &json!({})).unwrap().is_none());
}

fn open(access: &CloudAccess, ca_pem: &str) -> Result<Session> {
    let none = || Ok(Vec::new());
    let patience = Patience { max: Duration::ZERO, troubles: &none, waits: &|_| {} };
    Session::open(access, ca_pem, &patience)
}

#[test]
fn a_cloud_that_starts_is_waited_for() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cloud = Cloud { state: Arc::default(), address: free };
    let waited = std::cell::RefCell::new(Vec::new());
    let waits = |why: &str| {
        waited.borrow_mut().push(why.to_owned());
        cloud.serve(TcpListener::bind(free).unwrap());
    };
    let none = || Ok(Vec::new());
    let patience = Patience { max: Duration::from_secs(60), troubles: &none, waits: &waits };
    Session::open(&cloud.access(), &ca(), &patience).unwrap();
    let waited = waited.borrow();
    assert_eq!(waited.len(), 1, "{waited:?}");
    assert!(waited[0].starts_with("Keystone does not answer"), "{waited:?}");
}

#[test]
fn who_does_not_answer_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let access = CloudAccess { auth_url: format!("http://{closed}/v3"), ..Cloud::start().access() };
    let error = open(&access, &ca()).unwrap_err().to_string();
    let expected = format!(
        "a login did not come about within 0 s: Keystone does not answer at \
         http://{closed}/v3/auth/tokens: "
    );
    assert!(error.starts_with(&expected), "{error}");
    let error = open(&access, "no certificate").unwrap_err().to_string();
    assert_eq!(error, "the cloud's CA certificate cannot be read");
}

#[test]
fn what_is_made_is_found_and_removed() {
    let cloud = Cloud::start();
    let session = cloud.session();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = camino::Utf8Path::from_path(directory.path()).unwrap().join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let files = Files { kernel: file("k"), ramdisk: file("r") };
    let (image, said) = images::upload(&session, &files).unwrap();
    assert_eq!(said, "1.0 MiB sent");
    let (flavor, _) = images::flavor(&session).unwrap();
    let (public, said) = network::ensure_public(&session, &cloud.access()).unwrap();
    assert_eq!(said, "`public` is made, 10.0.0.100 to 10.0.0.199");
    let (again, _) = network::ensure_public(&session, &cloud.access()).unwrap();
    assert_eq!(again, public);
    let (networks, _) = network::make(&session, &public).unwrap();
    let Networks { network, security_group } = &networks;
    assert!(!network.is_empty() && !security_group.is_empty());
    let parts = Parts {
        image: &image,
        flavor: &flavor,
        networks: &networks,
        public_key: "ssh-ed25519 x",
        user_data: "reach a:1\n",
    };
    let server = server::create(&session, &parts).unwrap();
    let thing = cloud.state.lock().unwrap().things[&format!("/v2.1/servers/{server}")].clone();
    assert_eq!(thing["user_data"], "cmVhY2ggYToxCg==");
    assert_eq!(thing["networks"][0]["uuid"], *network);
    // The fake lists everything of a kind, also the public network: it is not ours to remove.
    images::remove(&session).unwrap();
    network::remove(&session).unwrap();
    let state = cloud.state.lock().unwrap();
    let left = |kind: &str| state.things.keys().filter(|path| path.contains(kind)).count();
    assert_eq!((left("/images/"), left("/flavors/"), left("/routers/")), (0, 0, 0));
    assert_eq!((left("/networks/"), left("/security-groups/")), (1, 0));
}

#[test]
fn listeners_are_told_from_the_hosts_own() {
    let endpoint = |address: &str| Endpoint { name: "x".into(), address: address.into() };
    let found = listeners(&[
        endpoint("https://192.168.24.1:8443 inside uc-1234abcd"),
        endpoint("https://127.0.0.1:6320/identity/v3"),
        endpoint("/var/lib/undercloud/run/undercloud.sock"),
        endpoint("http://192.168.24.1:8088, dhcp, tftp inside uc-1234abcd"),
    ]);
    let (agents, boot, host) = ("192.168.24.1:8443", "192.168.24.1:8088", "192.168.24.1:icmp");
    assert_eq!(found, [agents, host, boot, host]);
    assert_eq!(
        user_data(&[("a:1".into(), false), ("b:icmp".into(), true)]),
        "reach a:1\nreach b:icmp\n"
    );
}
