//! `undercloud bmc fleet`: machines in memory behind real BMCs, for tests, benchmarks and rehearsal.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use undercloud_bmc::{
    fleet::{Fleet, FleetOptions, Member},
    guid::Guid,
    machine::Machine as _,
    redfish::server::{self, Entry, Server, Site, Transport, tls::Certificate},
};

use super::Context;
use crate::{cli::BmcFleetArgs, whole_file};

/// What a client needs to reach one machine.
#[derive(Debug, Serialize)]
struct Access<'a> {
    id: &'a str,
    address: String,
    port: u16,
    redfish: String,
    user: &'a str,
    password: &'a str,
}

/// Serves until a signal says to end.
///
/// # Errors
/// When a port is taken, or the file cannot be written.
pub(super) fn run(context: &Context, args: &BmcFleetArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(serve(context, args))
}

async fn serve(context: &Context, args: &BmcFleetArgs) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let BmcFleetArgs { count, address, port, latency, .. } = *args;
    let latency = Duration::from_millis(latency);
    let fleet = Fleet::start(FleetOptions { count, address, port, latency })?;
    let redfish = serve_redfish(&fleet.members, SocketAddr::new(address, args.redfish_port))?;
    write(&args.credentials, &fleet.members, redfish.address())?;
    let (address, file) = (redfish.address(), args.credentials.display());
    let value = json!({ "machines": count, "redfish": address, "credentials": file.to_string() });
    let machines = if count == 1 { "machine" } else { "machines" };
    context.out.result(
        &value,
        format_args!(
            "{count} {machines}, Redfish https://{address}; {file} says how to reach them"
        ),
    )?;
    tokio::select! {
        biased;
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    redfish.shutdown().await;
    fleet.stop().await;
    Ok(())
}

fn serve_redfish(members: &[Member], address: SocketAddr) -> Result<server::ServerHandle> {
    let site = Site::new(service_uuid(members), None);
    for member in members {
        let (machine, memory) = (member.machine.clone(), member.memory.clone());
        let entry = Entry { id: member.id.clone(), machine, accounts: memory.accounts };
        site.add_logged(entry, memory.nvram)?;
    }
    let certificate = Certificate::self_signed(&["localhost"], &[address.ip()])?.into_config()?;
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(Server::start(listener, Transport::Tls(certificate), site)?)
}

/// The service has no identity beside that of its machines.
fn service_uuid(members: &[Member]) -> Guid {
    members.first().map_or(Guid([0; 16]), |member| member.machine.identity().device_guid)
}

/// Nobody sees a part of the file, and nobody but its owner sees it at all.
fn write(file: &Path, members: &[Member], redfish: SocketAddr) -> Result<()> {
    let rows: Vec<Access<'_>> = members
        .iter()
        .map(|member| Access {
            id: &member.id,
            address: member.address.ip().to_string(),
            port: member.address.port(),
            redfish: format!("https://{redfish}/redfish/v1/Systems/{}", member.id),
            user: member.user,
            password: &member.password,
        })
        .collect();
    whole_file::write(file, &serde_json::to_vec_pretty(&rows)?)
}
