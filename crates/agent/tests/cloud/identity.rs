//! `EnsureIdentity` against a small Keystone.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use undercloud_model::agent::StepFailureKind;

use crate::fake::{Api, Machine, Request};

/// What a Keystone holds: lists by name, and the users' passwords by their ids.
#[derive(Default)]
struct Rows {
    lists: Map<String, Value>,
    next: u32,
}

impl Rows {
    fn list(&mut self, name: &str) -> &mut Vec<Value> {
        let list = self.lists.entry(name).or_insert_with(|| json!([]));
        list.as_array_mut().unwrap()
    }

    fn answer(&mut self, request: &Request) -> (u16, Value) {
        let path = request.path.trim_start_matches("/v3/").split('?').next().unwrap().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("POST", ["auth", "tokens"]) => self.login(&request.body),
            _ if request.token.as_deref() != Some("t0ken") => (401, json!({})),
            ("GET", [list]) => (200, json!({*list: self.list(list)})),
            ("POST", [list]) => {
                self.next += 1;
                let kind = list.trim_end_matches('s');
                let mut row = request.body[kind].clone();
                row["id"] = json!(format!("{kind}-{}", self.next));
                self.list(list).push(row.clone());
                (201, json!({kind: row}))
            }
            ("PATCH", [list, id]) => {
                let change = request.body[list.trim_end_matches('s')].as_object().unwrap().clone();
                let row = self.list(list).iter_mut().find(|r| r["id"] == **id).unwrap();
                row.as_object_mut().unwrap().extend(change);
                (200, json!({}))
            }
            ("DELETE", ["services", id]) => {
                self.list("services").retain(|row| row["id"] != *id);
                self.list("endpoints").retain(|row| row["service_id"] != *id);
                (204, Value::Null)
            }
            ("PUT", ["projects", project, "users", user, "roles", role]) => {
                let row = json!({"role": {"id": role}, "user": {"id": user},
                    "scope": {"project": {"id": project}}});
                self.list("role_assignments").push(row);
                (204, Value::Null)
            }
            other => panic!("{other:?}"),
        }
    }

    fn login(&mut self, body: &Value) -> (u16, Value) {
        let user = &body["auth"]["identity"]["password"]["user"];
        let known = user["name"] == "admin" && user["password"] == "adm1n"
            || self
                .list("users")
                .iter()
                .any(|u| u["name"] == user["name"] && u["password"] == user["password"]);
        if !known {
            return (401, json!({"error": {"message": "no, hunter"}}));
        }
        let token = json!({"project": {"domain": {"id": "default"}}});
        (201, json!({"X-Subject-Token": "t0ken", "token": token}))
    }
}

fn keystone() -> (Api, Arc<Mutex<Rows>>) {
    let rows = Arc::new(Mutex::new(Rows::default()));
    for role in ["admin", "service"] {
        rows.lock().unwrap().list("roles").push(json!({"id": format!("r-{role}"), "name": role}));
    }
    let shared = rows.clone();
    (Api::start(move |request| shared.lock().unwrap().answer(request)), rows)
}

fn setup(url: &str) -> Value {
    json!({
        "kind": "ensure_identity",
        "access": {"auth_url": format!("{url}/v3"), "user": "admin", "password": "adm1n", "project": "admin"},
        "region": "RegionOne",
        "users": [
            {"name": "glance", "password": "gl", "project": "service", "roles": ["admin", "service"]},
            {"name": "nova", "password": "no", "project": "service", "roles": ["admin", "new-role"]},
        ],
        "services": [{
            "type": "image", "name": "glance",
            "public": "https://cloud:9292", "internal": "http://172.17.0.10:9292",
        }],
    })
}

fn writes(api: &Api) -> Vec<String> {
    api.asked().into_iter().filter(|r| !r.starts_with("GET") && !r.ends_with("tokens")).collect()
}

#[test]
fn what_is_missing_is_made_once() {
    let (api, rows) = keystone();
    let machine = Machine::good();
    let done = machine.try_step(&setup(&api.url)).unwrap();
    assert!(done.changed);
    assert_eq!(done.note, "11 changes in Keystone, the first: made the project service");
    let asked = api.asked();
    assert_eq!(asked.len(), 1 + 6 + 11, "{asked:?}");
    assert_eq!(rows.lock().unwrap().list("endpoints")[0]["region_id"], "RegionOne");
    assert_eq!(rows.lock().unwrap().list("projects").len(), 1);

    assert!(!machine.step(&setup(&api.url)));
    let asked = api.asked();
    assert_eq!(asked.len(), 1 + 6 + 2, "lists, and one login for each user: {asked:?}");
    assert!(!machine.log.take().join("\n").contains("adm1n"));
}

#[test]
fn what_the_cloud_has_no_more_is_removed_and_anothers_row_stays() {
    let (api, rows) = keystone();
    let machine = Machine::good();
    machine.step(&setup(&api.url));
    for (id, kind, name) in [("h", "orchestration", "heat"), ("d", "dns", "bind-of-the-site")] {
        let row = json!({"id": id, "type": kind, "name": name, "enabled": true});
        rows.lock().unwrap().list("services").push(row);
    }
    let mut without = setup(&api.url);
    without["absent"] = json!([
        {"type": "orchestration", "name": "heat"}, {"type": "dns", "name": "designate"},
    ]);
    api.asked();
    assert!(machine.step(&without));
    assert_eq!(writes(&api), ["DELETE /v3/services/h"]);
    assert!(!machine.step(&without), "once");
    assert_eq!(rows.lock().unwrap().list("endpoints").len(), 2);
}

#[test]
fn what_is_different_is_mended() {
    let (api, rows) = keystone();
    let machine = Machine::good();
    machine.step(&setup(&api.url));
    api.asked();
    {
        let mut rows = rows.lock().unwrap();
        rows.list("users")[0]["password"] = json!("other");
        rows.list("users")[1]["enabled"] = json!(false);
        rows.list("services")[0]["name"] = json!("other");
        rows.list("endpoints")[1]["url"] = json!("http://elsewhere");
        rows.list("role_assignments").remove(0);
    }
    assert!(machine.step(&setup(&api.url)));
    let kinds: Vec<String> =
        writes(&api).iter().map(|w| w.split('-').next().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        [
            "PATCH /v3/users/user",
            "PUT /v3/projects/project",
            "PATCH /v3/users/user",
            "PATCH /v3/services/service",
            "PATCH /v3/endpoints/endpoint",
        ]
    );
    assert!(!machine.step(&setup(&api.url)));
}

#[test]
fn a_keystone_that_starts_late_is_asked_again() {
    let (_, rows) = keystone();
    let mut asked = 0;
    let api = Api::start(move |request| {
        asked += 1;
        if asked % 3 == 1 { (503, json!({})) } else { rows.lock().unwrap().answer(request) }
    });
    assert!(Machine::good().step(&setup(&api.url)));
}

#[test]
fn a_refusal_says_what_was_asked_and_no_password() {
    let (api, _) = keystone();
    let mut step = setup(&api.url);
    step["access"]["password"] = json!("wr0ng");
    let (kind, message) = Machine::good().fails(&step);
    assert_eq!(kind, StepFailureKind::Api);
    assert_eq!(message, format!("Keystone: {}/v3/auth/tokens answered 401: no, hunter", api.url));
    let silent = Api::start(|_| (404, json!({})));
    let (_, message) = Machine::good().fails(&setup(&silent.url));
    assert!(message.contains("answered 404"), "{message}");
}
