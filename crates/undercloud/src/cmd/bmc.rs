//! `undercloud bmc …`.

use std::{
    fs,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use undercloud_api::admin::BmcSwitch;
use undercloud_bmc::{
    credentials::Credentials,
    ipmi::client::{ClientError, ErrorKind as BmcErrorKind, Options},
    machine::PowerState,
    probe::{self, Inside, Plan, Report, Severity},
};
use undercloud_model::ErrorKind;

use super::{Context, bmc_domain};
use crate::{
    cli::{BmcCommand, BmcProbeArgs},
    clock,
    failure::Failure,
    out::Format,
};

/// The port of IPMI.
const PORT: u16 = 623;

pub(super) fn run(context: &Context, command: &BmcCommand) -> Result<()> {
    match command {
        BmcCommand::Add(args) => bmc_domain::add(context, args),
        BmcCommand::Delete(domains) => bmc_domain::delete(context, domains),
        BmcCommand::List => bmc_domain::list(context),
        BmcCommand::Show { domain, password } => bmc_domain::show(context, domain, *password),
        BmcCommand::Start(domains) => bmc_domain::switch(context, domains, BmcSwitch::Start),
        BmcCommand::Stop(domains) => bmc_domain::switch(context, domains, BmcSwitch::Stop),
        BmcCommand::Probe(args) => probe(context, args),
        BmcCommand::Fleet(args) => super::bmc_fleet::run(context, args),
    }
}

/// What is printed, in both formats.
#[derive(Debug, Serialize)]
struct Shown {
    address: String,
    ipmi_2_0: bool,
    cipher_suites: Option<Vec<u8>>,
    session: Option<Session>,
    findings: Vec<Found>,
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Session {
    cipher_suite: u8,
    firmware: String,
    manufacturer: u32,
    product: u16,
    system_guid: Option<String>,
    power: &'static str,
    clock: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Found {
    severity: String,
    text: String,
}

fn probe(context: &Context, args: &BmcProbeArgs) -> Result<()> {
    let address = resolve(&args.address)?;
    let credentials = match (&args.user, &args.password_file) {
        (Some(user), Some(file)) => Some(credentials(user, file)?),
        _ => None,
    };
    let now = u64::try_from(clock::now_ms() / 1000).unwrap_or_default();
    let try_defaults = args.default_passwords;
    let plan = Plan { options: Options::default(), credentials, try_defaults, now };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let report = runtime.block_on(probe::probe(address, plan)).map_err(readable)?;
    print(context, &shown(&report))?;
    let critical = report.findings.iter().filter(|it| it.severity() == Severity::Critical).count();
    if critical > 0 {
        let message = format!("BMC {address}: {critical} critical findings");
        return Err(Failure::new(ErrorKind::Bug, message).into());
    }
    Ok(())
}

fn resolve(text: &str) -> Result<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    let found = text
        .to_socket_addrs()
        .or_else(|_| (text, PORT).to_socket_addrs())
        .ok()
        .and_then(|mut all| all.next());
    found.ok_or_else(|| {
        let message = format!("{text} is no address and no name that is known here");
        Failure::new(ErrorKind::Invalid, message).hint("ADDRESS, or ADDRESS:PORT").into()
    })
}

fn credentials(user: &str, file: &Path) -> Result<Credentials> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let password = text.lines().next().unwrap_or_default();
    Credentials::new(user, password)
        .with_context(|| format!("user {user} with the password in {}", file.display()))
}

fn readable(error: ClientError) -> anyhow::Error {
    let kind = match error.kind() {
        BmcErrorKind::Unavailable | BmcErrorKind::Unknown => ErrorKind::Unavailable,
        BmcErrorKind::Busy => ErrorKind::Busy,
        BmcErrorKind::Denied => ErrorKind::Denied,
        BmcErrorKind::Conflict => ErrorKind::Conflict,
        BmcErrorKind::Unsupported => ErrorKind::Invalid,
        BmcErrorKind::Bug => ErrorKind::Bug,
    };
    Failure::new(kind, error.to_string()).into()
}

fn shown(report: &Report) -> Shown {
    let found = report.findings.iter().map(|finding| Found {
        severity: finding.severity().to_string(),
        text: finding.to_string(),
    });
    Shown {
        address: report.address.to_string(),
        ipmi_2_0: report.ipmi_2_0,
        cipher_suites: report.suites.clone(),
        session: report.inside.as_ref().map(session),
        findings: found.collect(),
        unknown: report.unknown.clone(),
    }
}

fn session(inside: &Inside) -> Session {
    let device = &inside.device;
    Session {
        cipher_suite: inside.suite.id(),
        firmware: format!("{}.{:02x}", device.firmware_major, device.firmware_minor),
        manufacturer: device.manufacturer,
        product: device.product,
        system_guid: inside.system_guid.map(|guid| guid.to_string()),
        power: match inside.power {
            PowerState::On => "on",
            PowerState::Off => "off",
        },
        clock: inside.clock,
    }
}

fn print(context: &Context, shown: &Shown) -> Result<()> {
    let out = &context.out;
    if out.format() == Format::Json {
        return out.json(shown);
    }
    let suites = shown.cipher_suites.as_ref().map_or_else(
        || "not told".to_owned(),
        |all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    );
    let mut properties = vec![
        ("address", shown.address.clone()),
        ("IPMI 2.0", if shown.ipmi_2_0 { "yes" } else { "no" }.to_owned()),
        ("cipher suites", suites),
    ];
    if let Some(session) = &shown.session {
        properties.extend([
            ("session", format!("cipher suite {}", session.cipher_suite)),
            ("firmware", session.firmware.clone()),
            ("manufacturer", session.manufacturer.to_string()),
            ("product", session.product.to_string()),
            ("machine", session.system_guid.clone().unwrap_or_else(|| "not told".to_owned())),
            ("power", session.power.to_owned()),
        ]);
    }
    out.properties(shown, &properties)?;
    for finding in &shown.findings {
        out.line(format_args!("{}: {}", finding.severity, finding.text))?;
    }
    for unknown in &shown.unknown {
        out.line(format_args!("not found out: {unknown}"))?;
    }
    if shown.findings.is_empty() {
        out.line("nothing wrong was found")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_port() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:623"),
            ("192.0.2.1:6230", "192.0.2.1:6230"),
            ("2001:db8::1", "[2001:db8::1]:623"),
            ("[2001:db8::1]", "[2001:db8::1]:623"),
            ("[2001:db8::1]:6230", "[2001:db8::1]:6230"),
        ] {
            assert_eq!(resolve(text).ok(), address.parse().ok(), "{text}");
        }
        assert!(resolve("192.0.2.1:port").is_err());
    }
}
