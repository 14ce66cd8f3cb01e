//! `undercloud cloud verify`: the cloud as a user meets it, over its public HTTPS APIs.
//!
//! ```text
//! token → services → image → flavor → networks → server → address → console
//!       → isolation → ping, http, ssh → screen → what features add → everything removed again
//! ```
//! Everything that is made is called `undercloud-verify`, and what a broken run left goes first.
//! The public network is the cloud's own and stays. A failure leaves what was made, to look at.

mod browser;
mod console;
mod dashboard;
mod dns;
mod fault;
mod http;
mod images;
mod network;
mod outside;
mod report;
mod secret;
mod server;
mod session;
mod stack;
#[cfg(test)]
mod tests;
mod wait;

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use undercloud_api::admin::{CloudAccess, Endpoint};
use undercloud_image::{blob::Blobs, catalog::names};

use self::{
    images::Files,
    outside::Key,
    report::Recorder,
    server::{Parts, Troubles},
    session::{Patience, Service, Session},
};
use crate::{cmd::Context, daemon_client::Daemon, lab_host, state::StateDir};

pub(crate) use report::{Said, VerifyReport, conclusion, kept, passed, summary};
pub(crate) use session::{Login, login};

/// What everything is called.
const NAME: &str = "undercloud-verify";
/// For the services of machines that have just started.
const STARTS_MAX: Duration = Duration::from_secs(180);
/// Services report every ten seconds, and start within minutes.
const SERVICES_UP: Duration = Duration::from_secs(300);
const SERVICES_HINT: &str = "`undercloud logs` lists the logs of the services";

/// What a verification works with.
struct Input<'a> {
    access: &'a CloudAccess,
    ca_pem: String,
    files: Files,
    /// Where the server's key is kept.
    scratch: camino::Utf8PathBuf,
    /// `HOST:PORT` or `HOST:icmp`, and whether the server must reach it.
    targets: Vec<(String, bool)>,
    keep: bool,
    troubles: &'a Troubles<'a>,
}

/// Verifies the cloud.
///
/// # Errors
/// The first check that failed: one sentence, the cause, what to do.
pub(crate) fn run(
    state: &StateDir,
    said: Said,
    access: &CloudAccess,
    keep: bool,
) -> Result<VerifyReport> {
    let ca_pem = std::fs::read_to_string(&access.ca_file)
        .with_context(|| format!("cannot read {}", access.ca_file))?;
    let input = Input {
        access,
        ca_pem,
        files: files(state)?,
        scratch: lab_host::root(state)?.join("verify"),
        targets: targets(state, access)?,
        keep,
        troubles: &|| Ok(Daemon::connect(state)?.status()?.troubles),
    };
    verify(Recorder::new(said), &input).map_err(|error| wait::explained(error, input.troubles))
}

/// Shows what was found.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn print(context: &Context, report: &VerifyReport) -> Result<()> {
    report::print(context.out, report)
}

fn verify(mut record: Recorder, input: &Input<'_>) -> Result<VerifyReport> {
    let access = input.access;
    let said = record.said();
    let session = record.step("login", || {
        let waits = |why: &str| said.line(format!("        login waits for the cloud: {why}"));
        let patience = Patience { max: STARTS_MAX, troubles: input.troubles, waits: &waits };
        let session = Session::open(access, &input.ca_pem, &patience)?;
        Ok((session, format!("{} lists Glance, Nova and Neutron", access.auth_url)))
    })?;
    let session = &session;
    record.step("services", || services(session, input.troubles))?;
    record.step("leftovers", || match remove(session)? {
        0 => Ok(((), "none".to_owned())),
        some => Ok(((), format!("{some} of an earlier run removed"))),
    })?;
    let image = record.step("image", || images::upload(session, &input.files))?;
    let flavor = record.step("flavor", || images::flavor(session))?;
    let public = record.step("public network", || network::ensure_public(session, access))?;
    let networks = record.step("network", || network::make(session, &public))?;
    let key = Key::make(input.scratch.clone())?;
    let server = record.step("server", || {
        let user_data = user_data(&input.targets);
        let (public_key, user_data) = (&key.public()?, &user_data);
        let (image, flavor, networks) = (&image, &flavor, &networks);
        let parts = Parts { image, flavor, networks, public_key, user_data };
        let server = server::create(session, &parts)?;
        let host = server::active(session, &server, input.troubles)?;
        Ok((server, format!("active on {host}")))
    })?;
    let address =
        record.step("floating address", || network::floating_address(session, &public, &server))?;
    let console = record.step("console", || {
        let console = server::ready(session, &server, input.troubles)?;
        let (ip, mtu) = (console.address.as_deref().unwrap_or("?"), console.mtu.unwrap_or(0));
        let detail = format!("it started, took {ip} with MTU {mtu} by DHCP and read its metadata");
        Ok((console, detail))
    })?;
    record.step("isolation", || {
        server::isolated(&console, &server, &input.targets)?;
        let closed = input.targets.iter().filter(|(_, wanted)| !wanted).count();
        Ok(((), format!("{closed} addresses of the management are out of its reach")))
    })?;
    let ip: Ipv4Addr = address.parse().context("the floating address is no address")?;
    reach(&mut record, ip, &server, &key)?;
    record.step("screen", || Ok(((), server::screen(session, &server)?)))?;
    features(&mut record, session, access)?;
    record.step("clean-up", || {
        if input.keep {
            return Ok(((), format!("left as it is: ssh -i {} root@{address}", key.path())));
        }
        key.remove()?;
        Ok(((), format!("{} things removed", remove(session)?)))
    })?;
    Ok(record.finish(server, address))
}

/// What only some clouds have.
fn features(record: &mut Recorder, session: &Session, access: &CloudAccess) -> Result<()> {
    if session.has(Service::Orchestration) {
        record.step("stack", || stack::check(session))?;
    }
    if session.has(Service::KeyManager) {
        record.step("secret", || secret::check(session))?;
    }
    if session.has(Service::Dns) {
        record.step("dns", || dns::check(session, access.public_address))?;
    }
    if let Some(url) = &access.dashboard {
        record.step("dashboard", || dashboard::check(session, access, url))?;
    }
    Ok(())
}

/// From this host's shell.
fn reach(record: &mut Recorder, ip: Ipv4Addr, server: &str, key: &Key) -> Result<()> {
    record.step("ping", || Ok((outside::ping(ip)?, format!("{ip} answers"))))?;
    record
        .step("http", || Ok((outside::page(ip, server)?, format!("http://{ip} says {server}"))))?;
    record.step("ssh", || {
        let name = outside::ssh(ip, key)?;
        Ok(((), format!("root@{ip} is {name}")))
    })
}

fn services(session: &Session, troubles: &Troubles<'_>) -> Result<((), String)> {
    let watched = wait::Watched::new(troubles);
    let nova = "a working Nova";
    let computes = wait::until(nova, SERVICES_UP, SERVICES_HINT, || {
        watched.looked(nova, server::compute_services(session)?)
    })?;
    let neutron = "a working Neutron";
    let agents = wait::until(neutron, SERVICES_UP, SERVICES_HINT, || {
        watched.looked(neutron, network::silent_agents(session)?)
    })?;
    Ok(((), format!("{computes} compute up, {agents} network agents alive")))
}

/// Removes all that is called as ours is, in the order in which one needs the other.
fn remove(session: &Session) -> Result<usize> {
    Ok(stack::remove(session)?
        + secret::remove(session)?
        + dns::remove(session)?
        + server::remove(session)?
        + network::remove(session)?
        + images::remove(session)?)
}

/// What the server reads at its start.
fn user_data(targets: &[(String, bool)]) -> String {
    let lines = targets.iter().map(|(target, _)| format!("reach {target}\n"));
    lines.collect()
}

/// The blobs of the test server's image.
fn files(state: &StateDir) -> Result<Files> {
    let daemon = Daemon::connect(state)?;
    let blobs = Blobs::open(crate::images::utf8(state.blobs())?)?;
    let path = |name: &str| -> Result<_> {
        let image = daemon.ask(async |client| client.image(name).await)?;
        Ok(blobs.path(&image.digest))
    };
    Ok(Files { kernel: path(names::TEST_KERNEL)?, ramdisk: path(names::TEST_RAMDISK)? })
}

/// What servers of the cloud must not reach, and one thing that they must, lest silence is taken
/// for safety.
fn targets(state: &StateDir, access: &CloudAccess) -> Result<Vec<(String, bool)>> {
    let daemon = Daemon::connect(state)?;
    let mut closed = BTreeSet::new();
    closed.extend(listeners(&daemon.status()?.endpoints));
    let nodes = daemon.ask(async |client| client.nodes().await)?;
    for port in nodes.iter().filter_map(|view| view.node.boot_port()) {
        let ip = port.address.addr();
        closed.extend([format!("{ip}:22"), format!("{ip}:icmp")]);
    }
    if state.lab_definition().exists() {
        let (host, _) = lab_host::names(state)?.link_addresses(0);
        closed.extend([format!("{host}:icmp"), format!("{host}:22")]);
        let gateway = access.public_network.gateway;
        closed.insert(format!("{gateway}:8443"));
    }
    let mut targets: Vec<(String, bool)> = closed.into_iter().map(|t| (t, false)).collect();
    targets.push((format!("{}:icmp", access.public_network.gateway), true));
    Ok(targets)
}

/// `HOST:PORT` of each listener that is not on the loopback, and the host itself.
fn listeners(endpoints: &[Endpoint]) -> Vec<String> {
    let listener = |endpoint: &Endpoint| {
        let text = endpoint.address.split([' ', ',']).next()?;
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = text.split('/').next()?.rsplit_once(':')?;
        let ip: Ipv4Addr = host.parse().ok().filter(|ip: &Ipv4Addr| !ip.is_loopback())?;
        let port: u16 = port.parse().ok()?;
        Some([format!("{ip}:{port}"), format!("{ip}:icmp")])
    };
    endpoints.iter().filter_map(listener).flatten().collect()
}

/// The id in an answer.
fn id_of(value: &Value) -> Result<String> {
    let id = value["id"].as_str().context("the cloud's answer names no id")?;
    Ok(id.to_owned())
}

/// Ids of those in a list that are called as ours are. What a filter matches may be more.
fn listed(answer: &Value, kind: &str) -> Vec<String> {
    let all = answer[kind].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = all.iter().filter(|one| one["name"].as_str().is_some_and(|n| n.starts_with(NAME)));
    ours.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
}
