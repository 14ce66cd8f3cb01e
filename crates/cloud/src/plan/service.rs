//! A service's definition rendered for a machine.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use undercloud_model::{
    Secret,
    agent::cloud::{
        AbsentService, HealthCheck, IdentityAccess, IdentityService, IdentitySetup, IdentityUser,
        ImagePull, ListedProbe, Probe, ReportRow, RunOnce, Seed, ServiceFile, ServiceName,
        ServiceSetup, Variable, Volume,
    },
};

use super::{
    PlanError,
    context::{Context, Contexts},
    layout::{Layout, Machine},
};
use crate::{
    CertificateKind, Reference,
    definition::{
        ADMIN_PASSWORD, Bootstrap, Certificate, Health, Listed, ReportedAt, Service, VolumeKind,
    },
};

/// Who everybody may read a certificate by; a key is its service's.
const CERTIFICATE_MODE: u32 = 0o444;
const KEY_MODE: u32 = 0o400;
/// Settings may hold a site's passwords.
const SETTINGS_MODE: u32 = 0o400;
/// How long a unit without a probe may take to become active.
const UNIT_TIMEOUT_S: u32 = 120;

pub(super) fn setup(
    layout: &Layout<'_>,
    machine: &Machine<'_>,
    (name, service): (&ServiceName, &Service),
    image: &ImagePull,
    context: &Context<'_>,
) -> Result<ServiceSetup, PlanError> {
    let here = |other: &&ServiceName| machine.services.contains_key(*other);
    let volume = |entry: &crate::definition::VolumeEntry| Volume {
        host: entry.host.as_str().to_owned(),
        path: entry.path.as_str().to_owned(),
        mode: entry.mode.bits(),
        uid: entry.uid.unwrap_or(service.uid),
        shared: entry.shared,
        existing: entry.kind == VolumeKind::Existing,
    };
    let mut files = Vec::new();
    for entry in &service.files {
        let content = context.render_file(entry, layout.definitions.templates())?;
        files.push(ServiceFile {
            path: entry.path.as_str().to_owned(),
            mode: entry.mode.bits(),
            content: Secret::new(content),
        });
    }
    files.extend(site_settings(layout, machine, name, service));
    files.extend(service.certificates.iter().flat_map(|entry| certificate(machine, entry)));
    Ok(ServiceSetup {
        name: name.clone(),
        summary: service.summary.clone(),
        image: image.clone(),
        command: texts(&service.command, context)?,
        uid: service.uid,
        environment: service
            .environment
            .iter()
            .map(|(name, text)| Ok((name.clone(), context.render(text)?)))
            .collect::<Result<_, PlanError>>()?,
        after: service.after.iter().filter(here).cloned().collect(),
        yields_to: yields_to(layout, context, machine, service)?,
        modules: present(&service.modules, context)?,
        devices: present(&service.devices, context)?,
        privileges: service.privileges.clone(),
        stop: service.stop,
        files,
        seeds: service
            .seeds
            .iter()
            .map(|seed| {
                Ok(Seed {
                    host: seed.host.as_str().to_owned(),
                    mode: seed.mode.bits(),
                    uid: service.uid,
                    content: context.render(&seed.text)?,
                })
            })
            .collect::<Result<_, PlanError>>()?,
        volumes: service.volumes.iter().map(volume).collect(),
    })
}

/// Where the services of this machine answer that come first.
fn yields_to(
    layout: &Layout<'_>,
    context: &Context<'_>,
    machine: &Machine<'_>,
    service: &Service,
) -> Result<Vec<String>, PlanError> {
    let mut urls = Vec::new();
    for first in &service.yields_to {
        let Some((name, first)) = machine.services.get_key_value(first) else { continue };
        let Some(url) = first.health.as_ref().and_then(|health| health.http.as_ref()) else {
            continue;
        };
        urls.push(context.of(layout, machine, name, first).render(url)?);
    }
    Ok(urls)
}

/// What a site sets for the service on this machine.
fn site_settings<'a>(
    layout: &'a Layout<'_>,
    machine: &'a Machine<'_>,
    name: &'a ServiceName,
    service: &'a Service,
) -> impl Iterator<Item = ServiceFile> + 'a {
    let ours = layout.definitions.settings().iter().filter(move |settings| {
        settings.service == *name
            && settings.machine.as_ref().is_none_or(|only| only == machine.name)
    });
    service.config_dir.iter().flat_map(move |directory| {
        ours.clone().map(|settings| ServiceFile {
            path: settings.place(directory),
            mode: SETTINGS_MODE,
            content: Secret::new(settings.text.clone()),
        })
    })
}

fn texts(list: &[String], context: &Context<'_>) -> Result<Vec<String>, PlanError> {
    list.iter().map(|text| context.render(text)).collect()
}

/// Those that are not rendered to nothing.
fn present(list: &[String], context: &Context<'_>) -> Result<Vec<String>, PlanError> {
    Ok(texts(list, context)?.into_iter().filter(|text| !text.is_empty()).collect())
}

fn certificate(machine: &Machine<'_>, entry: &Certificate) -> [ServiceFile; 3] {
    let kind = if entry.public { CertificateKind::Public } else { CertificateKind::Internal };
    let file = |name, mode, reference: Reference| ServiceFile {
        path: format!("{}/{name}", entry.directory.as_str()),
        mode,
        content: Secret::new(reference.to_string()),
    };
    let machine = || machine.name.clone();
    [
        file("cert.pem", CERTIFICATE_MODE, Reference::Certificate(machine(), kind)),
        file("cert.pem.key", KEY_MODE, Reference::Key(machine(), kind)),
        file("ca.pem", CERTIFICATE_MODE, Reference::Ca),
    ]
}

/// The user who asks and makes things in Keystone.
fn access(layout: &Layout<'_>) -> IdentityAccess {
    let keystone = layout.keystone().addresses.internal;
    IdentityAccess {
        auth_url: format!("http://{keystone}:{}/v3", layout.keystone_port),
        user: "admin".to_owned(),
        password: Secret::new(Reference::Secret(ADMIN_PASSWORD.to_owned()).to_string()),
        project: "admin".to_owned(),
    }
}

pub(super) fn health(
    layout: &Layout<'_>,
    name: &ServiceName,
    health: Option<&Health>,
    context: &Context<'_>,
) -> Result<HealthCheck, PlanError> {
    let timeout_s = health.map_or(UNIT_TIMEOUT_S, |health| health.timeout_s);
    let probe = match health {
        Some(Health { http: Some(url), .. }) => Probe::Http(context.render(url)?),
        Some(Health { tcp: Some(address), .. }) => Probe::Tcp(context.render(address)?),
        Some(Health { unix: Some(path), .. }) => Probe::Unix(context.render(path)?),
        Some(Health { listed: Some(row), .. }) => {
            Probe::Listed(Box::new(listed(layout, row, context)?))
        }
        Some(_) | None => Probe::Unit,
    };
    Ok(HealthCheck { service: name.clone(), probe, timeout_s, anew: false })
}

fn listed(
    layout: &Layout<'_>,
    row: &Listed,
    context: &Context<'_>,
) -> Result<ListedProbe, PlanError> {
    let render = |values: &BTreeMap<String, Json>| {
        let one = |(name, value): (&String, &Json)| {
            let value = match value {
                Json::String(text) => Json::String(context.render(text)?),
                other => other.clone(),
            };
            Ok((name.clone(), value))
        };
        values.iter().map(one).collect::<Result<BTreeMap<_, _>, PlanError>>()
    };
    let report = |report: &ReportedAt| {
        Ok::<_, PlanError>(ReportRow {
            path: report.path.clone(),
            list: report.list.clone(),
            matching: render(&report.matching)?,
            field: report.field.clone(),
        })
    };
    Ok(ListedProbe {
        access: access(layout),
        api: row.api.clone(),
        path: row.path.clone(),
        list: row.list.clone(),
        matching: render(&row.matching)?,
        equal: render(&row.equal)?,
        report: row.report.as_ref().map(report).transpose()?,
    })
}

pub(super) fn bootstrap(
    service: &ServiceName,
    entry: &Bootstrap,
    context: &Context<'_>,
) -> Result<RunOnce, PlanError> {
    let variable = |(name, text): (&String, &String)| {
        Ok(Variable { name: name.clone(), value: Secret::new(context.render(text)?) })
    };
    Ok(RunOnce {
        service: service.clone(),
        name: entry.name.clone(),
        command: texts(&entry.command, context)?,
        environment: entry.environment.iter().map(variable).collect::<Result<_, PlanError>>()?,
    })
}

/// Users, services and endpoints of every service of the cloud.
pub(super) fn identity(
    layout: &Layout<'_>,
    contexts: &Contexts,
) -> Result<IdentitySetup, PlanError> {
    let services = layout.services();
    let users = services.values().flat_map(|(service, _)| &service.identity.users);
    let user = |entry: &crate::definition::UserIdentity| IdentityUser {
        name: entry.name.clone(),
        password: Secret::new(Reference::Secret(entry.password.clone()).to_string()),
        project: entry.project.clone(),
        roles: entry.roles.clone(),
    };
    Ok(IdentitySetup {
        access: access(layout),
        region: layout.config.region.clone(),
        users: users.map(user).collect(),
        services: identity_services(layout, contexts)?,
        absent: absent(layout),
    })
}

/// What there are definitions of and no machine runs.
fn absent(layout: &Layout<'_>) -> Vec<AbsentService> {
    let running = layout.services();
    let others =
        layout.definitions.services().iter().filter(|(name, _)| !running.contains_key(name));
    let rows = others.filter_map(|(_, service)| service.identity.service.as_ref());
    let is_offered = |kind: &str| {
        let offered = running.values().filter_map(|(s, _)| s.identity.service.as_ref());
        offered.map(|row| row.kind.as_str()).any(|running| running == kind)
    };
    rows.filter(|row| !is_offered(&row.kind))
        .map(|row| AbsentService { kind: row.kind.clone(), name: row.name.clone() })
        .collect()
}

pub(super) fn identity_services(
    layout: &Layout<'_>,
    contexts: &Contexts,
) -> Result<Vec<IdentityService>, PlanError> {
    let mut rows = Vec::new();
    for (name, (service, machine)) in layout.services() {
        let Some(entry) = &service.identity.service else { continue };
        let context = contexts.of(layout, machine, name, service);
        rows.push(IdentityService {
            kind: entry.kind.clone(),
            name: entry.name.clone(),
            public: context.render(&entry.public)?,
            internal: context.render(&entry.internal)?,
        });
    }
    Ok(rows)
}
