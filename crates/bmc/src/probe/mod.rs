//! What a baseboard controller can do over IPMI, and what is wrong with it, as a value; and with
//! the certificate that it shows by HTTPS.
//!
//! Nothing is changed: without credentials it asks what a controller answers to anybody and
//! proposes one session that it does not open; with them it logs in and reads. Passwords are only
//! tried when the caller says so, from a list of [`DEFAULTS`] and no others.

mod certificate;

use std::{fmt, net::SocketAddr};

use crate::{
    credentials::Credentials,
    guid::Guid,
    ipmi::{
        client::{Client, ClientError, Discovery, ErrorKind, Options},
        msg::get_device_id,
        suite::{Algorithms, CipherSuite},
    },
    machine::PowerState,
    redfish::link::Fingerprint,
};

/// User and password as controllers leave the factory, and whose they are. Few, because a wrong
/// one counts: many controllers lock a user after a handful.
pub const DEFAULTS: [(&str, &str, &str); 8] = [
    ("ADMIN", "ADMIN", "Supermicro"),
    ("root", "calvin", "Dell"),
    ("USERID", "PASSW0RD", "IBM and Lenovo"),
    ("root", "0penBmc", "OpenBMC"),
    ("root", "changeme", "Oracle"),
    ("root", "Huawei12#", "Huawei"),
    ("admin", "admin", "several"),
    ("admin", "password", "several, and VirtualBMC"),
];
/// A clock that differs by more is wrong.
pub const CLOCK_SKEW_MAX_S: u64 = 60;
/// Below this a controller counts from its own start (section 37.1).
const CLOCK_SET_MIN: u32 = 0x2000_0000;
/// No authentication, no integrity, no confidentiality.
const SUITE_0: Algorithms = Algorithms { authentication: 0, integrity: 0, confidentiality: 0 };

/// Bits of Get Channel Authentication Capabilities (table 22-15).
mod bits {
    pub(super) const TYPE_NONE: u8 = 0x01;
    pub(super) const NULL_USER: u8 = 0x02;
    pub(super) const ANONYMOUS: u8 = 0x01;
    pub(super) const VERSION_2_0: u8 = 0x02;
    pub(super) const VERSION_1_5: u8 = 0x01;
    pub(super) const TYPES_OF_1_5: u8 = 0x37;
    pub(super) const EXTENDED: u8 = 0x80;
}

/// What to probe.
#[derive(Debug)]
pub struct Plan {
    /// How to talk.
    pub options: Options,
    /// With whom to log in; nobody, if absent.
    pub credentials: Option<Credentials>,
    /// Whether to try [`DEFAULTS`].
    pub try_defaults: bool,
    /// Where to look for HTTPS; nowhere, if absent.
    pub https: Option<SocketAddr>,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The controller.
    pub address: SocketAddr,
    /// Whether it speaks IPMI 2.0.
    pub ipmi_2_0: bool,
    /// The cipher suites that it lists; `None` when it does not say.
    pub suites: Option<Vec<u8>>,
    /// What was read after logging in.
    pub inside: Option<Inside>,
    /// The certificate that it shows by HTTPS; `None` when nobody listens there.
    pub certificate: Option<Fingerprint>,
    /// What is wrong with it, worst first.
    pub findings: Vec<Finding>,
    /// What could not be found out, and why.
    pub unknown: Vec<String>,
}

/// What a session shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// The suite of the session.
    pub suite: CipherSuite,
    /// Who the controller is.
    pub device: get_device_id::Response,
    /// Who the machine is; several controllers do not know.
    pub system_guid: Option<Guid>,
    /// Whether it runs.
    pub power: PowerState,
    /// The controller's clock, in seconds since 1970.
    pub clock: Option<u32>,
}

/// Something wrong, worst first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Open Session with cipher suite 0 is accepted: a session without a password.
    SuiteZero,
    /// A default password lets one in.
    DefaultPassword {
        /// Of this user.
        user: &'static str,
        /// Whose default it is.
        vendor: &'static str,
    },
    /// Logging in without name and password is possible.
    AnonymousLogin,
    /// Users without a name are possible.
    NullUser,
    /// IPMI 1.5 without authentication is offered.
    OldWithoutAuthentication,
    /// IPMI 1.5 is offered: no encryption.
    OldVersion,
    /// Suites without encryption or integrity, or with MD5, are listed.
    WeakSuites(Vec<u8>),
    /// Neither suite 17 nor 3: nothing that we would speak.
    NoGoodSuite,
    /// No IPMI 2.0.
    NoIpmi20,
    /// The certificate has ended.
    CertificateExpired {
        /// So many days ago.
        days: u64,
    },
    /// The certificate has not begun: one of two clocks is wrong.
    CertificateNotYetValid,
    /// Nobody else vouches for the certificate.
    CertificateSelfSigned,
    /// Suite 17 is not listed: only SHA-1.
    NoSuite17,
    /// The clock was never set.
    ClockNotSet,
    /// The clock differs by so many seconds; positive when it is ahead.
    ClockSkew(i64),
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Anybody who reaches the port owns the machine.
    Critical,
    /// It makes an attack easier, or we cannot work with it.
    Warning,
    /// Worth knowing.
    Note,
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::SuiteZero
            | Self::DefaultPassword { .. }
            | Self::AnonymousLogin
            | Self::OldWithoutAuthentication => Severity::Critical,
            Self::NullUser
            | Self::OldVersion
            | Self::WeakSuites(_)
            | Self::NoGoodSuite
            | Self::NoIpmi20
            | Self::CertificateExpired { .. }
            | Self::CertificateNotYetValid => Severity::Warning,
            Self::CertificateSelfSigned
            | Self::NoSuite17
            | Self::ClockNotSet
            | Self::ClockSkew(_) => Severity::Note,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SuiteZero => f.write_str("accepts cipher suite 0: no password is needed"),
            Self::DefaultPassword { user, vendor } => {
                write!(f, "user {user} has the default password ({vendor})")
            }
            Self::AnonymousLogin => f.write_str("anonymous login is enabled"),
            Self::NullUser => f.write_str("users without a name are enabled"),
            Self::OldWithoutAuthentication => {
                f.write_str("IPMI 1.5 is enabled, without authentication")
            }
            Self::OldVersion => f.write_str("IPMI 1.5 is enabled: nothing is encrypted"),
            Self::WeakSuites(suites) => write!(f, "lists weak cipher suites: {}", list(suites)),
            Self::NoGoodSuite => f.write_str("offers neither cipher suite 17 nor 3"),
            Self::NoSuite17 => f.write_str("does not offer cipher suite 17, only SHA-1"),
            Self::NoIpmi20 => f.write_str("does not speak IPMI 2.0"),
            Self::CertificateExpired { days } => {
                write!(f, "its certificate expired {days} days ago")
            }
            Self::CertificateNotYetValid => f.write_str("its certificate is not valid yet"),
            Self::CertificateSelfSigned => {
                f.write_str("its certificate is self-signed: pin its fingerprint")
            }
            Self::ClockNotSet => f.write_str("its clock was never set"),
            Self::ClockSkew(seconds) if *seconds < 0 => {
                write!(f, "its clock is {} s behind", seconds.unsigned_abs())
            }
            Self::ClockSkew(seconds) => write!(f, "its clock is {seconds} s ahead"),
        }
    }
}

fn list(numbers: &[u8]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

/// Probes one controller.
///
/// # Errors
/// [`ClientError`] when nobody answers, or when the given credentials do not work. What goes
/// wrong after that is told in the report.
pub async fn probe(address: SocketAddr, plan: Plan) -> Result<Report, ClientError> {
    let mut discovery = Discovery::open(address, &plan.options).await?;
    let capabilities = discovery.capabilities().await?;
    let extended = capabilities.types & bits::EXTENDED != 0;
    let ipmi_2_0 = extended && capabilities.versions & bits::VERSION_2_0 != 0;
    let (suites, inside, unknown) = (None, None, Vec::new());
    let findings = old_ways(&capabilities, extended);
    let mut report =
        Report { address, ipmi_2_0, suites, inside, certificate: None, findings, unknown };
    if ipmi_2_0 {
        look_at_suites(&mut discovery, &mut report).await;
        if let Some(credentials) = plan.credentials {
            look_inside(credentials, &plan.options, plan.now, &mut report).await?;
        }
        if plan.try_defaults {
            try_defaults(&plan.options, &mut report).await;
        }
    } else {
        report.findings.push(Finding::NoIpmi20);
    }
    if let Some(https) = plan.https {
        look_at_certificate(https, plan.now, &mut report).await;
    }
    report.findings.sort();
    Ok(report)
}

async fn look_at_certificate(https: SocketAddr, now: u64, report: &mut Report) {
    match certificate::look(https, now).await {
        Ok(Some(seen)) => {
            report.certificate = Some(seen.fingerprint);
            report.findings.extend(seen.findings());
        }
        Ok(None) => {}
        Err(error) => report.unknown.push(format!("certificate of {https}: {error}")),
    }
}

fn old_ways(
    capabilities: &crate::ipmi::msg::get_channel_auth_cap::Response,
    extended: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let types = capabilities.types & bits::TYPES_OF_1_5;
    if !extended || capabilities.versions & bits::VERSION_1_5 != 0 {
        if types & bits::TYPE_NONE != 0 {
            findings.push(Finding::OldWithoutAuthentication);
        }
        findings.push(Finding::OldVersion);
    }
    if capabilities.status & bits::ANONYMOUS != 0 {
        findings.push(Finding::AnonymousLogin);
    }
    if capabilities.status & bits::NULL_USER != 0 {
        findings.push(Finding::NullUser);
    }
    findings
}

async fn look_at_suites(discovery: &mut Discovery, report: &mut Report) {
    match discovery.cipher_suites().await {
        Ok(suites) => {
            let weak = |suite: &&u8| !matches!(suite, 3 | 15..=19);
            let weak: Vec<u8> = suites.iter().filter(weak).copied().collect();
            if !weak.is_empty() {
                report.findings.push(Finding::WeakSuites(weak));
            }
            match (suites.contains(&17), suites.contains(&3)) {
                (true, _) => {}
                (false, true) => report.findings.push(Finding::NoSuite17),
                (false, false) => report.findings.push(Finding::NoGoodSuite),
            }
            report.suites = Some(suites);
        }
        Err(error) => report.unknown.push(format!("cipher suites: {error}")),
    }
    match discovery.accepts(SUITE_0).await {
        Ok(true) => report.findings.push(Finding::SuiteZero),
        Ok(false) => {}
        Err(error) => report.unknown.push(format!("cipher suite 0: {error}")),
    }
}

async fn look_inside(
    credentials: Credentials,
    options: &Options,
    now: u64,
    report: &mut Report,
) -> Result<(), ClientError> {
    let mut client = Client::connect(report.address, credentials, options.clone()).await?;
    let suite = client.suite();
    let (device, power) = (client.device_id().await?, client.power_state().await?);
    let mut or_unknown = |what: &str, error: ClientError| {
        report.unknown.push(format!("{what}: {error}"));
    };
    let guid = client.system_guid().await;
    let system_guid = guid.map_err(|error| or_unknown("system GUID", error)).ok();
    let clock = client.clock().await.map_err(|error| or_unknown("clock", error)).ok();
    client.close().await;
    report.findings.extend(clock.and_then(|clock| skew(clock, now)));
    report.inside = suite.map(|suite| Inside { suite, device, system_guid, power, clock });
    Ok(())
}

/// What is wrong with a clock. Several controllers live in local time, which shows as hours.
fn skew(clock: u32, now: u64) -> Option<Finding> {
    if clock < CLOCK_SET_MIN {
        return Some(Finding::ClockNotSet);
    }
    if u64::from(clock).abs_diff(now) <= CLOCK_SKEW_MAX_S {
        return None;
    }
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    Some(Finding::ClockSkew(i64::from(clock).saturating_sub(now)))
}

/// Until the controller has enough of it.
async fn try_defaults(options: &Options, report: &mut Report) {
    for (user, password, vendor) in DEFAULTS {
        let Ok(credentials) = Credentials::new(user, password) else { continue };
        match Client::connect(report.address, credentials, options.clone()).await {
            Ok(client) => {
                client.close().await;
                report.findings.push(Finding::DefaultPassword { user, vendor });
            }
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => {
                report.unknown.push(format!("default passwords from user {user} on: {error}"));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let now = 1_767_225_600;
        for (clock, finding) in [
            (1_767_225_600, None),
            (1_767_225_660, None),
            (1_767_225_540, None),
            (1_767_225_661, Some(Finding::ClockSkew(61))),
            (1_767_222_000, Some(Finding::ClockSkew(-3600))),
            (4711, Some(Finding::ClockNotSet)),
            (u32::MAX, Some(Finding::ClockSkew(2_527_741_695))),
        ] {
            assert_eq!(skew(clock, now), finding, "{clock}");
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let mut findings = vec![
            Finding::ClockSkew(-90),
            Finding::NullUser,
            Finding::NoSuite17,
            Finding::SuiteZero,
        ];
        findings.sort();
        let severities: Vec<Severity> = findings.iter().map(Finding::severity).collect();
        assert!(severities.is_sorted_by(|a, b| a <= b), "{findings:?}");
        assert_eq!(findings[3].to_string(), "its clock is 90 s behind");
    }
}
