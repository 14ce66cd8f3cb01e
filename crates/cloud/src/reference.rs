//! References: what a plan holds in place of secrets, keys and certificates.
//!
//! A plan is stored and shown; a secret is neither. `⟪secret:NAME⟫`, `⟪certificate:MACHINE:KIND⟫`,
//! `⟪key:MACHINE:KIND⟫` and `⟪ca⟫` stand in fields of the type [`Secret`] and nowhere else, until
//! [`resolve`] puts the values in, as a step is handed to its machine.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};
use undercloud_model::{NodeName, Secret, agent::cloud::CloudStep};

use crate::Plan;

pub(crate) const OPEN: char = '⟪';
const CLOSE: char = '⟫';

/// Something that a plan refers to and does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A generated secret.
    Secret(String),
    /// A certificate with its chain, in PEM.
    Certificate(NodeName, CertificateKind),
    /// The certificate's key, in PEM.
    Key(NodeName, CertificateKind),
    /// The certificate of the cloud's CA, in PEM.
    Ca,
}

/// Who a certificate is shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// Other machines: it carries the machine's name and internal address.
    Internal,
    /// Users too: it carries the cloud's public name and address as well.
    Public,
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::Public => "public",
        })
    }
}

/// A text in reference signs that is no reference of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a reference to a secret or certificate; the plan is another version's: make it anew"
)]
pub struct ParseReferenceError(String);

impl ParseReferenceError {
    /// What was there.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "{OPEN}secret:{name}{CLOSE}"),
            Self::Certificate(machine, kind) => {
                write!(f, "{OPEN}certificate:{machine}:{kind}{CLOSE}")
            }
            Self::Key(machine, kind) => write!(f, "{OPEN}key:{machine}:{kind}{CLOSE}"),
            Self::Ca => write!(f, "{OPEN}ca{CLOSE}"),
        }
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let err = || ParseReferenceError(text.chars().take(120).collect());
        let inner = text.strip_prefix(OPEN).and_then(|t| t.strip_suffix(CLOSE)).ok_or_else(err)?;
        let parts: Vec<&str> = inner.split(':').collect();
        let machine = |name: &str, kind: &str| {
            let kind = match kind {
                "internal" => CertificateKind::Internal,
                "public" => CertificateKind::Public,
                _ => return Err(err()),
            };
            Ok((name.parse::<NodeName>().map_err(|_| err())?, kind))
        };
        match parts.as_slice() {
            ["ca"] => Ok(Self::Ca),
            ["secret", name] if !name.is_empty() && !name.contains(OPEN) => {
                Ok(Self::Secret((*name).to_owned()))
            }
            ["certificate", name, kind] => {
                machine(name, kind).map(|(name, kind)| Self::Certificate(name, kind))
            }
            ["key", name, kind] => machine(name, kind).map(|(name, kind)| Self::Key(name, kind)),
            _ => Err(err()),
        }
    }
}

/// The step with its references replaced by what `value` gives for them.
///
/// # Errors
/// Those of `value`, and a text that is no reference of this version.
pub fn resolve<E: From<ParseReferenceError>>(
    step: &CloudStep,
    value: &dyn Fn(&Reference) -> Result<Secret, E>,
) -> Result<CloudStep, E> {
    let mut step = step.clone();
    for secret in secrets_of(&mut step) {
        *secret = resolve_text(secret, value)?;
    }
    Ok(step)
}

fn resolve_text<E: From<ParseReferenceError>>(
    text: &Secret,
    value: &dyn Fn(&Reference) -> Result<Secret, E>,
) -> Result<Secret, E> {
    let mut rest = text.expose();
    let mut resolved = Secret::default();
    while let Some(start) = rest.find(OPEN) {
        let end = rest[start..].find(CLOSE).map(|end| start + end + CLOSE.len_utf8());
        let end = end.unwrap_or(rest.len());
        let secret = value(&rest[start..end].parse()?)?;
        // Each value passes through a `Secret`, so that what is dropped is overwritten.
        resolved = Secret::new([resolved.expose(), &rest[..start], secret.expose()].concat());
        rest = &rest[end..];
    }
    Ok(Secret::new([resolved.expose(), rest].concat()))
}

/// The fields of a step that may hold a secret: all that have the type [`Secret`].
fn secrets_of(step: &mut CloudStep) -> Vec<&mut Secret> {
    use undercloud_model::agent::cloud::Probe;
    match step {
        CloudStep::UpdateAgent { .. }
        | CloudStep::Network(_)
        | CloudStep::MountImages(_)
        | CloudStep::PullImage(_)
        | CloudStep::RetireServices { .. } => Vec::new(),
        CloudStep::ApplyService(setup) => {
            setup.files.iter_mut().map(|file| &mut file.content).collect()
        }
        CloudStep::AwaitHealth(check) => match &mut check.probe {
            Probe::Unit | Probe::Http(_) | Probe::Tcp(_) | Probe::Unix(_) => Vec::new(),
            Probe::Listed(listed) => vec![&mut listed.access.password],
        },
        CloudStep::RunOnce(run) => {
            run.environment.iter_mut().map(|variable| &mut variable.value).collect()
        }
        CloudStep::EnsureIdentity(setup) => {
            let users = setup.users.iter_mut().map(|user| &mut user.password);
            users.chain([&mut setup.access.password]).collect()
        }
    }
}

/// The references of a step.
pub(crate) fn references_of(step: &CloudStep) -> Result<BTreeSet<Reference>, ParseReferenceError> {
    let found = std::cell::RefCell::new(BTreeSet::new());
    resolve::<ParseReferenceError>(step, &|reference| {
        found.borrow_mut().insert(reference.clone());
        Ok(Secret::default())
    })?;
    Ok(found.into_inner())
}

/// The first text outside the step's secret fields with a reference in it.
pub(crate) fn misplaced(step: &CloudStep) -> Option<String> {
    let mut step = step.clone();
    for secret in secrets_of(&mut step) {
        *secret = Secret::default();
    }
    let value = serde_json::to_value(&step).ok()?;
    fn find(value: &serde_json::Value) -> Option<String> {
        match value {
            serde_json::Value::String(text) => {
                text.contains([OPEN, CLOSE]).then(|| text.chars().take(120).collect())
            }
            serde_json::Value::Array(items) => items.iter().find_map(find),
            serde_json::Value::Object(fields) => fields.values().find_map(find),
            _ => None,
        }
    }
    find(&value)
}

/// Everything that the plan refers to.
///
/// # Errors
/// The plan is another version's and holds a reference that this one does not know.
pub fn references(plan: &Plan) -> Result<BTreeSet<Reference>, ParseReferenceError> {
    let mut all = BTreeSet::new();
    for step in &plan.steps {
        all.append(&mut references_of(&step.step)?);
    }
    Ok(all)
}

/// A certificate that the plan's machines need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Whose.
    pub machine: NodeName,
    /// For whom.
    pub kind: CertificateKind,
    /// The names that it carries.
    pub names: Vec<String>,
    /// The addresses that it carries.
    pub addresses: Vec<Ipv4Addr>,
}

/// The certificates that the plan refers to, each for client and server use.
///
/// # Errors
/// As [`references`].
pub fn certificate_requests(plan: &Plan) -> Result<Vec<CertificateRequest>, ParseReferenceError> {
    let mut requests = Vec::new();
    for reference in references(plan)? {
        let Reference::Certificate(name, kind) = reference else { continue };
        let Some(machine) = plan.machine(&name) else { continue };
        let mut names = vec![name.to_string()];
        let mut addresses = vec![machine.addresses.internal];
        if kind == CertificateKind::Public {
            names.push(plan.cloud.public_host.clone());
            addresses.push(plan.cloud.public_address);
        }
        requests.push(CertificateRequest { machine: name, kind, names, addresses });
    }
    Ok(requests)
}
