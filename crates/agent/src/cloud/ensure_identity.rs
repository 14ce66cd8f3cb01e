//! `EnsureIdentity`: users, roles, services and endpoints in Keystone.
//!
//! Each list is read once, and only what is missing or different is written: a request costs an
//! emulated machine seconds. Nothing that is not named is touched, and nothing is deleted but services
//! that the cloud has no more.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use undercloud_model::agent::{
    StepFailure, StepFailureKind,
    cloud::{AbsentService, IdentityService, IdentitySetup, IdentityUser},
};

use super::{
    Done, Task,
    keystone::{ApiError, Keystone},
};
use crate::device::failure;

/// How often a request is tried whose failure may pass.
const TRIES_MAX: u32 = 5;

/// Makes Keystone know what is described.
pub(super) fn ensure(task: &Task<'_>, setup: &IdentitySetup) -> Result<Done, StepFailure> {
    let told = |e: ApiError| failure(StepFailureKind::Api, format_args!("Keystone: {e}"));
    let pause = task.host().settle() / 2;
    let talk = patiently(pause, || Keystone::login(&setup.access)).map_err(told)?;
    let mut identity = Identity { task, talk, pause, changed: Vec::new() };
    identity.users(&setup.users).map_err(told)?;
    identity.services(&setup.services, &setup.region).map_err(told)?;
    identity.without(&setup.absent).map_err(told)?;
    if identity.changed.is_empty() {
        return Ok(Done::unchanged("users, services and endpoints are as they should be"));
    }
    // Tokens hold the catalogue as it was.
    task.cloud.tokens.forget(&setup.access);
    let (count, first) = (identity.changed.len(), &identity.changed[0]);
    Ok(Done::changed(format!("{count} changes in Keystone, the first: {first}")))
}

/// Asks until there is an answer or a refusal that will not pass.
fn patiently<T>(mut pause: Duration, ask: impl Fn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut tried = 1;
    loop {
        match ask() {
            Err(error) if error.is_passing() && tried < TRIES_MAX => {}
            end => return end,
        }
        tried += 1;
        thread::sleep(pause);
        pause *= 2;
    }
}

struct Identity<'a> {
    task: &'a Task<'a>,
    talk: Keystone,
    pause: Duration,
    changed: Vec<String>,
}

/// Rows of one of Keystone's lists.
struct Rows {
    /// `user`; the list is `users`.
    kind: &'static str,
    rows: Vec<Value>,
}

impl Rows {
    fn find(&self, key: &str, value: &str) -> Option<&Value> {
        self.rows.iter().find(|r| r[key] == value)
    }
}

fn id(row: &Value) -> String {
    row["id"].as_str().unwrap_or_default().to_owned()
}

impl Identity<'_> {
    fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        patiently(self.pause, || self.talk.ask(method, path, body))
    }

    fn list(&self, kind: &'static str, filter: &str) -> Result<Rows, ApiError> {
        let mut answer = self.ask("GET", &format!("{kind}s{filter}"), None)?;
        let list = format!("{kind}s");
        match answer[&list].take() {
            Value::Array(rows) => Ok(Rows { kind, rows }),
            _ => Err(ApiError::Strange { url: list, what: "list" }),
        }
    }

    /// Makes a row and remembers it; gives back its id.
    fn create(&mut self, rows: &mut Rows, name: &str, row: Value) -> Result<String, ApiError> {
        let Rows { kind, rows } = rows;
        let mut answer = self.ask("POST", &format!("{kind}s"), Some(&json!({*kind: row})))?;
        let row = answer[*kind].take();
        let id = id(&row);
        if id.is_empty() {
            return Err(ApiError::Strange { url: format!("{kind}s"), what: "id" });
        }
        rows.push(row);
        self.note(format!("made the {kind} {name}"));
        Ok(id)
    }

    fn mend(&mut self, rows: &Rows, row: &str, name: &str, to: Value) -> Result<(), ApiError> {
        let kind = rows.kind;
        self.ask("PATCH", &format!("{kind}s/{row}"), Some(&json!({kind: to})))?;
        self.note(format!("mended the {kind} {name}"));
        Ok(())
    }

    fn note(&mut self, what: String) {
        self.task.log.say(&what);
        self.changed.push(what);
    }

    fn users(&mut self, users: &[IdentityUser]) -> Result<(), ApiError> {
        if users.is_empty() {
            return Ok(());
        }
        let domain = self.talk.domain()?.to_owned();
        let filter = format!("?domain_id={domain}");
        let mut projects = self.list("project", &filter)?;
        let mut roles = self.list("role", "")?;
        let mut known = self.list("user", &filter)?;
        let assigned = self.list("role_assignment", "")?;
        for user in users {
            let project = match projects.find("name", &user.project) {
                Some(project) => id(project),
                None => {
                    let row = json!({"name": user.project, "domain_id": domain});
                    self.create(&mut projects, &user.project, row)?
                }
            };
            let account = self.user(&mut known, user, &domain)?;
            for role in &user.roles {
                let role_id = match roles.find("name", role) {
                    Some(row) => id(row),
                    None => self.create(&mut roles, role, json!({"name": role}))?,
                };
                let has = |a: &Value| {
                    a["role"]["id"] == *role_id
                        && a["user"]["id"] == *account
                        && a["scope"]["project"]["id"] == *project
                        && a["scope"].get("OS-INHERIT:inherited_to").is_none()
                };
                if !assigned.rows.iter().any(has) {
                    let path = format!("projects/{project}/users/{account}/roles/{role_id}");
                    self.ask("PUT", &path, None)?;
                    self.note(format!("gave {} the role {role} in {}", user.name, user.project));
                }
            }
        }
        Ok(())
    }

    /// The user's id; made, or given its password again, where that is needed.
    fn user(
        &mut self,
        known: &mut Rows,
        user: &IdentityUser,
        domain: &str,
    ) -> Result<String, ApiError> {
        let password = user.password.expose();
        let Some(row) = known.find("name", &user.name) else {
            let row = json!({
                "name": user.name, "domain_id": domain, "password": password, "enabled": true,
            });
            return self.create(known, &user.name, row);
        };
        let (account, enabled) = (id(row), row["enabled"] != false);
        let accepted =
            enabled && patiently(self.pause, || self.talk.accepts(&user.name, &user.password))?;
        if !accepted {
            let to = json!({"password": password, "enabled": true});
            self.mend(known, &account, &user.name, to)?;
        }
        Ok(account)
    }

    fn services(&mut self, services: &[IdentityService], region: &str) -> Result<(), ApiError> {
        if services.is_empty() {
            return Ok(());
        }
        let mut known = self.list("service", "")?;
        let mut endpoints = self.list("endpoint", "")?;
        for service in services {
            let IdentityService { kind, name, .. } = service;
            let service_id = match known.find("type", kind) {
                Some(row) => {
                    let (service_id, same) =
                        (id(row), row["name"] == **name && row["enabled"] != false);
                    if !same {
                        let to = json!({"name": name, "enabled": true});
                        self.mend(&known, &service_id, name, to)?;
                    }
                    service_id
                }
                None => {
                    let row = json!({"name": name, "type": kind, "enabled": true});
                    self.create(&mut known, name, row)?
                }
            };
            for (interface, url) in [("public", &service.public), ("internal", &service.internal)] {
                let is_it = |e: &&Value| {
                    e["service_id"] == *service_id
                        && e["interface"] == interface
                        && e["region_id"] == region
                };
                let what = format!("{name} {interface}");
                match endpoints.rows.iter().find(is_it) {
                    Some(row) if row["url"] == **url && row["enabled"] != false => {}
                    Some(row) => {
                        let to = json!({"url": url, "enabled": true});
                        self.mend(&endpoints, &id(row), &what, to)?;
                    }
                    None => {
                        let row = json!({
                            "service_id": service_id, "interface": interface, "region_id": region,
                            "url": url, "enabled": true,
                        });
                        self.create(&mut endpoints, &what, row)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keystone removes a service's endpoints with it (Identity API v3, "Delete service").
    fn without(&mut self, absent: &[AbsentService]) -> Result<(), ApiError> {
        if absent.is_empty() {
            return Ok(());
        }
        let known = self.list("service", "")?;
        for AbsentService { kind, name } in absent {
            let is_it = |row: &&Value| row["type"] == **kind && row["name"] == **name;
            if let Some(row) = known.rows.iter().find(is_it) {
                self.ask("DELETE", &format!("services/{}", id(row)), None)?;
                self.note(format!("removed the service {name}"));
            }
        }
        Ok(())
    }
}
