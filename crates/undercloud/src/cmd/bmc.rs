//! `undercloud bmc …`.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
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

use super::{
    Context, bmc_domain,
    bmc_read::{self, What},
};
use crate::{
    cli::{BmcCommand, BmcProbeArgs},
    clock,
    failure::Failure,
    out::{Format, property_lines},
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
        BmcCommand::Sensors(args) => bmc_read::run(context, args, What::Sensors),
        BmcCommand::Sel(args) => bmc_read::run(context, args, What::Events),
        BmcCommand::Fru(args) => bmc_read::run(context, args, What::Inventory),
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
    certificate: Option<String>,
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
    let https = (args.https_port != 0).then(|| SocketAddr::new(address.ip(), args.https_port));
    let plan = Plan { options: Options::default(), credentials, try_defaults, https, now };
    let report = runtime()?.block_on(probe::probe(address, plan)).map_err(readable)?;
    print(context, &shown(&report))?;
    let critical = report.findings.iter().filter(|it| it.severity() == Severity::Critical).count();
    if critical > 0 {
        return Err(CriticalFindings { address, critical }.into());
    }
    Ok(())
}

/// The probe did its work, and what it found is bad: no kind of failure of ours, and 1 as of every
/// program that looks for something.
#[derive(Debug, thiserror::Error)]
#[error("BMC {address}: {critical} critical findings")]
struct CriticalFindings {
    address: SocketAddr,
    critical: usize,
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("cannot start a runtime")
}

pub(super) fn resolve(text: &str) -> Result<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (text, Some(PORT)),
    };
    let found = port.and_then(|port| undercloud_names::addresses(host, port).ok());
    found.and_then(|all| all.first().copied()).ok_or_else(|| {
        let message = format!("{text} is no address and no name that is known here");
        Failure::new(ErrorKind::Invalid, message).hint("ADDRESS, or ADDRESS:PORT").into()
    })
}

pub(super) fn credentials(user: &str, file: &Path) -> Result<Credentials> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let password = text.lines().next().unwrap_or_default();
    Credentials::new(user, password)
        .with_context(|| format!("user {user} with the password in {}", file.display()))
}

pub(super) fn readable(error: ClientError) -> anyhow::Error {
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
        certificate: report.certificate.map(|fingerprint| fingerprint.to_string()),
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
    table(shown).iter().try_for_each(|line| out.line(line))
}

/// What people see.
fn table(shown: &Shown) -> Vec<String> {
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
    if let Some(certificate) = &shown.certificate {
        properties.push(("certificate", certificate.clone()));
    }
    let mut lines = property_lines(&properties);
    lines.extend(shown.findings.iter().map(|it| format!("{}: {}", it.severity, it.text)));
    lines.extend(shown.unknown.iter().map(|unknown| format!("not found out: {unknown}")));
    if shown.findings.is_empty() {
        lines.push("nothing wrong was found".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use undercloud_bmc::redfish::link::Fingerprint;

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

    fn report(findings: Vec<probe::Finding>, inside: Option<Inside>) -> Report {
        let address = "192.0.2.1:623".parse().expect("address");
        let (suites, unknown) = (Some(vec![0, 3, 17]), vec!["clock: no answer".to_owned()]);
        let certificate = inside.is_some().then_some(Fingerprint([0xab; 32]));
        Report { address, ipmi_2_0: true, suites, inside, certificate, findings, unknown }
    }

    fn inside() -> Inside {
        use undercloud_bmc::{guid::Guid, ipmi::msg::get_device_id, ipmi::suite::CipherSuite};
        let device = get_device_id::Response {
            device_id: 0x20,
            device_revision: 1,
            firmware_major: 2,
            firmware_minor: 0x41,
            ipmi_version: 2,
            functions: 0xdf,
            manufacturer: 674,
            product: 256,
            auxiliary: None,
        };
        let system_guid = Some(Guid([0x11; 16]));
        let (suite, power) = (CipherSuite::Suite17, PowerState::On);
        Inside { suite, device, system_guid, power, clock: Some(1_767_225_600) }
    }

    #[test]
    fn the_table_of_a_bad_bmc() {
        let findings = vec![
            probe::Finding::SuiteZero,
            probe::Finding::DefaultPassword { user: "ADMIN", vendor: "Supermicro" },
            probe::Finding::ClockSkew(-3600),
        ];
        let lines = table(&shown(&report(findings, Some(inside()))));
        assert_eq!(
            lines,
            [
                "address        192.0.2.1:623",
                "IPMI 2.0       yes",
                "cipher suites  0, 3, 17",
                "session        cipher suite 17",
                "firmware       2.41",
                "manufacturer   674",
                "product        256",
                "machine        11111111-1111-1111-1111-111111111111",
                "power          on",
                format!("certificate    {}", "ab".repeat(32)).as_str(),
                "critical: accepts cipher suite 0: no password is needed",
                "critical: user ADMIN has the default password (Supermicro)",
                "note: its clock is 3600 s behind",
                "not found out: clock: no answer",
            ]
        );
    }

    #[test]
    fn the_table_and_the_json_of_one_that_is_only_seen_from_outside() {
        let shown = shown(&report(Vec::new(), None));
        assert_eq!(table(&shown).last().map(String::as_str), Some("nothing wrong was found"));
        assert_eq!(
            serde_json::to_value(&shown).expect("JSON"),
            serde_json::json!({
                "address": "192.0.2.1:623",
                "ipmi_2_0": true,
                "cipher_suites": [0, 3, 17],
                "session": null,
                "certificate": null,
                "findings": [],
                "unknown": ["clock: no answer"],
            })
        );
    }

    #[test]
    fn the_json_of_a_bad_bmc() {
        let findings = vec![probe::Finding::NullUser];
        let json = serde_json::to_value(shown(&report(findings, Some(inside())))).expect("JSON");
        assert_eq!(
            json["session"],
            serde_json::json!({
                "cipher_suite": 17,
                "firmware": "2.41",
                "manufacturer": 674,
                "product": 256,
                "system_guid": "11111111-1111-1111-1111-111111111111",
                "power": "on",
                "clock": 1_767_225_600,
            })
        );
        let found = serde_json::json!([
            { "severity": "warning", "text": "users without a name are enabled" },
        ]);
        assert_eq!(json["findings"], found);
    }

    #[test]
    fn critical_findings_end_with_1_and_are_no_fault_of_ours() {
        let address = "192.0.2.1:623".parse().expect("address");
        let error = anyhow::Error::new(CriticalFindings { address, critical: 2 });
        assert_eq!(crate::failure::exit_code(&error), 1);
        assert!(error.downcast_ref::<Failure>().is_none());
        assert_eq!(error.to_string(), "BMC 192.0.2.1:623: 2 critical findings");
    }
}
