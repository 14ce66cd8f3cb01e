//! Checks between the files: names, ports, images, cycles, and that every template parses.

use std::collections::BTreeMap;

use undercloud_model::agent::cloud::{PortProtocol, ServiceName};

use super::{
    ADMIN_PASSWORD, DefinitionError, Definitions, KEYSTONE, Network, PortRange, Service, VolumeKind,
};
use crate::{nearest::suggestion, render::Renderer};

type Checked = Result<(), DefinitionError>;

pub(super) fn all(definitions: &Definitions, images: &[&str]) -> Checked {
    if !definitions.secrets.contains_key(ADMIN_PASSWORD) {
        return Err(DefinitionError::Missing {
            what: "the secret `admin_password`",
            file: "services/secrets.toml",
        });
    }
    if !definitions.services.keys().any(|name| name.as_str() == KEYSTONE) {
        return Err(DefinitionError::Missing {
            what: "the service `keystone`",
            file: "services/keystone.toml",
        });
    }
    for (name, service) in &definitions.services {
        let file = format!("services/{name}.toml");
        names(definitions, images, &file, service)?;
        texts(&file, name, service)?;
        shapes(&file, service)?;
        templates(definitions, &file, service)?;
    }
    ports(definitions)?;
    databases(definitions)?;
    for (name, role) in &definitions.roles {
        let file = format!("roles/{name}.toml");
        for service in &role.services {
            known_service(definitions, &file, "services", service)?;
        }
        let every_cloud_s =
            |network: &&Network| matches!(network, Network::Internal | Network::Public);
        if let Some(network) = role.machine.networks.iter().find(|n| !every_cloud_s(n)) {
            return Err(DefinitionError::Text {
                file,
                key: "networks",
                text: network.to_string(),
                rule: "internal or public; cloud.toml says which roles are in another network",
            });
        }
    }
    for (name, feature) in &definitions.features {
        let file = format!("features/{name}.toml");
        for (role, addition) in &feature.roles {
            if !definitions.roles.contains_key(role) {
                return Err(DefinitionError::Unknown {
                    file,
                    key: "roles",
                    what: "role",
                    name: role.clone(),
                    place: "roles/",
                    hint: suggestion(role, definitions.roles.keys().map(String::as_str)),
                });
            }
            for service in &addition.services {
                known_service(definitions, &file, "services", service)?;
            }
        }
    }
    cycles(definitions)
}

fn known_service(
    definitions: &Definitions,
    file: &str,
    key: &'static str,
    name: &ServiceName,
) -> Checked {
    if definitions.services.contains_key(name) {
        return Ok(());
    }
    let known = definitions.services.keys().map(ServiceName::as_str);
    Err(DefinitionError::Unknown {
        file: file.to_owned(),
        key,
        what: "service",
        name: name.to_string(),
        place: "services/",
        hint: suggestion(name.as_str(), known),
    })
}

/// Names that something else must have.
fn names(definitions: &Definitions, images: &[&str], file: &str, service: &Service) -> Checked {
    for name in &service.after {
        known_service(definitions, file, "after", name)?;
    }
    for name in &service.needs {
        known_service(definitions, file, "needs", name)?;
    }
    for name in &service.yields_to {
        known_service(definitions, file, "yields_to", name)?;
    }
    let users = service.identity.users.iter().map(|user| &user.password);
    let accounts = service.databases.iter().map(|database| &database.password);
    let passwords = users.chain(accounts).map(|name| ("password", name));
    for (key, name) in service.secrets.iter().map(|name| ("secrets", name)).chain(passwords) {
        if !definitions.secrets.contains_key(name) {
            return Err(DefinitionError::Unknown {
                file: file.to_owned(),
                key,
                what: "secret",
                name: name.clone(),
                place: "services/secrets.toml",
                hint: suggestion(name, definitions.secrets.keys().map(String::as_str)),
            });
        }
    }
    if !images.contains(&service.image.as_str()) {
        return Err(DefinitionError::Unknown {
            file: file.to_owned(),
            key: "image",
            what: "image",
            name: service.image.clone(),
            place: "containers/",
            hint: suggestion(&service.image, images.iter().copied()),
        });
    }
    for name in service.files.iter().filter_map(|entry| entry.template.as_ref()) {
        if !definitions.templates.contains_key(name) {
            return Err(DefinitionError::Unknown {
                file: file.to_owned(),
                key: "template",
                what: "template",
                name: name.clone(),
                place: "services/",
                hint: suggestion(name, definitions.templates.keys().map(String::as_str)),
            });
        }
    }
    Ok(())
}

/// Texts that become names of files, units, variables and modules.
fn texts(file: &str, name: &ServiceName, service: &Service) -> Checked {
    let check = |key, text: &str, rule, good: &dyn Fn(u8) -> bool| {
        if !text.is_empty() && text.len() <= 255 && text.bytes().all(good) {
            return Ok(());
        }
        let text = text.chars().take(80).collect::<String>().escape_debug().to_string();
        Err(DefinitionError::Text { file: file.to_owned(), key, text, rule })
    };
    let line = |b: u8| b >= b' ' && b != 0x7f;
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if name.as_str() == "pull" {
        let rule = "another name: steps that pull an image are called so";
        let text = name.to_string();
        return Err(DefinitionError::Text { file: file.to_owned(), key: "name", text, rule });
    }
    check("summary", &service.summary, "one line", &line)?;
    // What a template makes of itself is checked by the machine's agent.
    let is_plain = |text: &&String| !text.contains('{');
    for text in service.modules.iter().filter(is_plain) {
        check("modules", text, "letters, digits, `_` and `-`", &word)?;
    }
    for text in service.devices.iter().filter(is_plain) {
        let is_below = text.starts_with("/dev/");
        check("devices", text, "a path below /dev/", &|b| is_below && (word(b) || b == b'/'))?;
    }
    for text in service.privileges.capabilities.iter().flatten() {
        check("capabilities", text, "capital letters, without CAP_", &upper)?;
    }
    let bootstraps = || service.bootstrap.iter();
    let variables = bootstraps().flat_map(|b| b.environment.keys());
    for text in service.environment.keys().chain(variables) {
        check("environment", text, "capital letters, digits and `_`", &upper)?;
    }
    for text in bootstraps().map(|b| &b.name) {
        check("bootstrap.name", text, "letters, digits, `_` and `-`", &word)?;
    }
    for text in service.ports.iter().map(|port| &port.name) {
        check("ports.name", text, "letters, digits and `_`", &|b| word(b) && b != b'-')?;
    }
    let name = |b: u8| word(b) && b != b'-';
    for database in &service.databases {
        let rule = "letters, digits and `_`";
        check("databases.account", &database.account, rule, &name)?;
        for text in &database.names {
            check("databases.names", text, rule, &name)?;
        }
    }
    for fault in &service.faults {
        // Nothing would be in every line.
        check("faults.says", &fault.says, "part of a line", &line)?;
        check("faults.cause", &fault.cause, "the end of a sentence", &line)?;
        check("faults.remedy", &fault.remedy, "one line", &line)?;
    }
    let commands = bootstraps().map(|b| &b.command).chain([&service.command]);
    for command in commands {
        check("command", command.first().map_or("", String::as_str), "a program", &line)?;
        for text in command.iter().filter(|text| !text.is_empty()) {
            check("command", text, "arguments of one line each", &line)?;
        }
    }
    Ok(())
}

/// Keys that exclude each other, and places.
fn shapes(file: &str, service: &Service) -> Checked {
    let one_of = |key, choices, found: usize| {
        if found == 1 {
            return Ok(());
        }
        Err(DefinitionError::OneOf { file: file.to_owned(), key, choices, found })
    };
    let mut paths = BTreeMap::new();
    for entry in &service.files {
        let found = usize::from(entry.template.is_some()) + usize::from(entry.text.is_some());
        one_of("files", "`template` and `text`", found)?;
        if paths.insert(&entry.path, ()).is_some() {
            return Err(DefinitionError::Twice {
                file: file.to_owned(),
                what: "the path",
                name: entry.path.as_str().to_owned(),
                other: "another of its `files`".to_owned(),
            });
        }
    }
    if let Some(health) = &service.health {
        let probes = [&health.http, &health.tcp, &health.unix];
        let found = probes.iter().filter(|probe| probe.is_some()).count();
        let found = found + usize::from(health.listed.is_some());
        one_of("health", "`http`, `tcp`, `unix` and `listed`", found)?;
    }
    for volume in &service.volumes {
        if volume.kind == VolumeKind::Own && !volume.host.is_for_services() {
            let host = volume.host.as_str().to_owned();
            return Err(DefinitionError::Place { file: file.to_owned(), host });
        }
    }
    for seed in &service.seeds {
        let mut own = service.volumes.iter().filter(|volume| volume.kind == VolumeKind::Own);
        let is_inside = |dir: &str| {
            seed.host.as_str().strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        if !own.any(|volume| is_inside(volume.host.as_str())) {
            let host = seed.host.as_str().to_owned();
            return Err(DefinitionError::Seed { file: file.to_owned(), host });
        }
    }
    Ok(())
}

/// Numbers are of one port in the cloud, those on the public address included.
fn ports(definitions: &Definitions) -> Checked {
    let mut names: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    let mut numbers: Vec<(&ServiceName, PortProtocol, PortRange)> = Vec::new();
    for (service, definition) in &definitions.services {
        let file = || format!("services/{service}.toml");
        let twice = |what, name, other: &ServiceName| {
            let other = format!("services/{other}.toml");
            DefinitionError::Twice { file: file(), what, name, other }
        };
        for port in &definition.ports {
            let (name, range) = (|| port.name.clone(), port.range());
            let PortRange { first, last } = range;
            if last < first {
                return Err(DefinitionError::PortRange { file: file(), name: name(), first, last });
            }
            if port.published_number.is_some() && port.publish.is_none() {
                return Err(DefinitionError::NotPublished { file: file(), name: name() });
            }
            if let Some(other) = names.insert(&port.name, service) {
                return Err(twice("the port's name", name(), other));
            }
            let public = port.published().filter(|number| *number != first);
            let public = public.map(|number| PortRange { first: number, last: number });
            for range in [Some(range), public].into_iter().flatten() {
                let is_taken = |(_, protocol, taken): &&(_, PortProtocol, PortRange)| {
                    *protocol == port.protocol
                        && taken.first <= range.last
                        && range.first <= taken.last
                };
                if let Some((other, ..)) = numbers.iter().find(is_taken) {
                    return Err(twice("the port", range.first.to_string(), other));
                }
                numbers.push((service, port.protocol, range));
            }
        }
    }
    Ok(())
}

/// An account or a database is of one service: two would set its password in turn.
fn databases(definitions: &Definitions) -> Checked {
    let mut seen: BTreeMap<(&'static str, &str), &ServiceName> = BTreeMap::new();
    for (service, definition) in &definitions.services {
        for database in &definition.databases {
            let names = database.names.iter().map(|name| ("the database", name.as_str()));
            for key in names.chain([("the database account", database.account.as_str())]) {
                if let Some(other) = seen.insert(key, service) {
                    return Err(DefinitionError::Twice {
                        file: format!("services/{service}.toml"),
                        what: key.0,
                        name: key.1.to_owned(),
                        other: format!("services/{other}.toml"),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Every template parses.
fn templates(definitions: &Definitions, file: &str, service: &Service) -> Checked {
    let renderer = Renderer::new();
    let check = |name: &str, text: &str| {
        renderer.check(name, text).map_err(|fault| DefinitionError::Template {
            file: name.to_owned(),
            line: fault.line,
            problem: fault.problem,
        })
    };
    for entry in &service.files {
        if let Some(text) = &entry.text {
            check(file, text)?;
        } else if let Some(name) = &entry.template
            && let Some(text) = definitions.templates.get(name)
        {
            check(&format!("services/{name}"), text)?;
        }
    }
    let mut short: Vec<&str> = service.command.iter().map(String::as_str).collect();
    short.extend(service.modules.iter().chain(&service.devices).map(String::as_str));
    short.extend(service.seeds.iter().map(|seed| seed.text.as_str()));
    short.extend(service.environment.values().map(String::as_str));
    for bootstrap in &service.bootstrap {
        short.extend(bootstrap.command.iter().map(String::as_str));
        short.extend(bootstrap.environment.values().map(String::as_str));
    }
    if let Some(health) = &service.health {
        let probes = [&health.http, &health.tcp, &health.unix];
        short.extend(probes.into_iter().flatten().map(String::as_str));
        let rows = health.listed.iter().flat_map(|row| {
            let report = row.report.iter().flat_map(|report| report.matching.values());
            row.matching.values().chain(row.equal.values()).chain(report)
        });
        short.extend(rows.filter_map(|value| value.as_str()));
    }
    if let Some(identity) = &service.identity.service {
        short.extend([identity.public.as_str(), identity.internal.as_str()]);
    }
    short.into_iter().try_for_each(|text| check(file, text))
}

/// No service waits for itself, by whatever way.
fn cycles(definitions: &Definitions) -> Checked {
    let mut done: BTreeMap<&ServiceName, ()> = BTreeMap::new();
    for name in definitions.services.keys() {
        // The way to where we are, each with the neighbours that were not looked at yet.
        let mut way = vec![(name, neighbours(definitions, name))];
        while let Some((current, rest)) = way.last_mut() {
            let current = *current;
            let Some(next) = rest.pop() else {
                done.insert(current, ());
                way.pop();
                continue;
            };
            if let Some(start) = way.iter().position(|(on_way, _)| *on_way == next) {
                let path = way[start..].iter().map(|(name, _)| name.to_string());
                let path = path.chain([next.to_string()]).collect();
                return Err(DefinitionError::Cycle { path });
            }
            if !done.contains_key(next) {
                way.push((next, neighbours(definitions, next)));
            }
        }
    }
    Ok(())
}

fn neighbours<'a>(definitions: &'a Definitions, name: &ServiceName) -> Vec<&'a ServiceName> {
    let service = definitions.services.get(name);
    service.iter().flat_map(|service| service.after.iter().chain(&service.needs)).collect()
}
