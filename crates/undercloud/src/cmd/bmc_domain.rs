//! `undercloud bmc add|delete|list|show|start|stop`: virtual BMCs of libvirt's domains, in
//! VirtualBMC's words.

use anyhow::Result;
use serde_json::json;
use undercloud_api::admin::{BmcRequest, BmcSwitch, BmcView};

use super::Context;
use crate::{
    cli::{BmcAddArgs, BmcDomains},
    daemon_client::Daemon,
    out::Format,
};

pub(super) fn add(context: &Context, args: &BmcAddArgs) -> Result<()> {
    let request = BmcRequest {
        domain_name: args.domain.clone(),
        libvirt_uri: args.libvirt_uri.clone(),
        address: args.address,
        port: args.port,
        username: args.username.clone(),
    };
    let daemon = Daemon::connect(&context.state)?;
    show_one(context, &daemon.ask(async |c| c.add_bmc(&request).await)?)
}

pub(super) fn list(context: &Context) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    table(context, &daemon.ask(async |c| c.bmcs().await)?)
}

pub(super) fn show(context: &Context, domain: &str, password: bool) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    show_one(context, &daemon.ask(async |c| c.bmc(domain, password).await)?)
}

/// All of them, as far as it goes: the first one that fails is told of.
pub(super) fn switch(context: &Context, domains: &BmcDomains, switch: BmcSwitch) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    let switched = domains
        .domains
        .iter()
        .map(|domain| daemon.ask(async |client| client.switch_bmc(domain, switch).await));
    table(context, &switched.collect::<Result<Vec<_>>>()?)
}

pub(super) fn delete(context: &Context, domains: &BmcDomains) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    for domain in &domains.domains {
        daemon.ask(async |client| client.remove_bmc(domain).await)?;
        context.out.line(format_args!("the BMC of {domain} is gone"))?;
    }
    let gone = domains.domains.iter();
    let gone: Vec<_> = gone.map(|d| json!({ "domain_name": d, "outcome": "deleted" })).collect();
    if context.out.format() == Format::Json { context.out.json(&gone) } else { Ok(()) }
}

fn table(context: &Context, bmcs: &[BmcView]) -> Result<()> {
    context.out.rows(&["domain name", "status", "address", "port"], bmcs, |bmc| {
        vec![
            bmc.domain_name.clone(),
            bmc.status.as_str().to_owned(),
            bmc.address.to_string(),
            bmc.port.to_string(),
        ]
    })
}

fn show_one(context: &Context, bmc: &BmcView) -> Result<()> {
    let mut properties = vec![
        ("domain_name", bmc.domain_name.clone()),
        ("domain_uuid", bmc.domain_uuid.clone()),
        ("status", bmc.status.as_str().to_owned()),
        ("address", bmc.address.to_string()),
        ("port", bmc.port.to_string()),
        ("libvirt_uri", bmc.libvirt_uri.clone()),
        ("username", bmc.username.clone()),
    ];
    if let Some(password) = &bmc.password {
        properties.push(("password", password.expose().to_owned()));
    }
    properties.extend(bmc.redfish.clone().map(|redfish| ("redfish", redfish)));
    properties.extend(bmc.trouble.clone().map(|trouble| ("trouble", trouble)));
    context.out.properties(bmc, &properties)
}
