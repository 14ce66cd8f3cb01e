//! The seam to a machine's BMC. One implementation drives IPMI, one Redfish, one is the tests' fake.

use std::{fmt, net::IpAddr};

use async_trait::async_trait;
use undercloud_model::{
    BootDevice, BootMode, PowerState, Secret,
    node::{Driver, Failure, FailureKind, RedfishAddress},
};

/// A BMC that we have logged in to. Every method has a bound of its own or is given one by the
/// caller; none changes what it was not asked to.
#[async_trait]
pub trait Bmc: Send {
    /// Whether the machine is on.
    async fn power(&mut self) -> Result<PowerState, BmcFault>;

    /// Orders a change of power. Returns when the BMC has taken it, not when it has happened.
    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault>;

    /// Sets what the machine starts from: the next time, or for good.
    async fn set_boot_device(
        &mut self,
        device: BootDevice,
        mode: BootMode,
        persistent: bool,
    ) -> Result<(), BmcFault>;

    /// Shows the machine the image at `url` as a CD, in place of any other. Returns when it is in.
    async fn insert_media(&mut self, url: &str) -> Result<(), BmcFault>;

    /// Takes the CD out; no CD is fine.
    async fn eject_media(&mut self) -> Result<(), BmcFault>;

    /// Is done with it. A BMC has few sessions, so the factory may keep this one for the next.
    async fn close(&mut self);
}

/// Logs in to BMCs.
#[async_trait]
pub trait BmcFactory: Send + Sync {
    /// Opens a session.
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault>;

    /// Ends the sessions that are kept for the next to come. Whoever keeps none has nothing to do.
    async fn close(&self) {}
}

/// Where a BMC is and who we are to it.
#[derive(Debug, Clone)]
pub struct BmcTarget {
    /// What it speaks.
    pub driver: Driver,
    /// Its address.
    pub address: IpAddr,
    /// Its port: IPMI's, or Redfish's where that is all that is spoken.
    pub port: u16,
    /// Where its Redfish is, if that is spoken.
    pub redfish: Option<RedfishAddress>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A change of power. There is no cycle and no reset: they cannot be repeated after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerOrder {
    /// On.
    On,
    /// Off at once.
    Off,
    /// Off by the operating system.
    SoftOff,
}

/// Why a BMC did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BmcFault {
    /// It refused user or password.
    #[error("the BMC refused the login: {0}")]
    Login(String),
    /// It does not answer. Worth another try.
    #[error("the BMC does not answer: {0}")]
    Silent(String),
    /// It answered that it has no time now. Worth another try.
    #[error("the BMC is busy: {0}")]
    Busy(String),
    /// It failed, or answered what is no answer. Worth another try.
    #[error("the BMC failed: {0}")]
    Broken(String),
    /// It answered, and would not.
    #[error("the BMC refused: {0}")]
    Refused(String),
    /// This user may not do that.
    #[error("the BMC does not let the user do that: {0}")]
    Denied(String),
    /// It serves several systems, and the enrolment names none.
    #[error("the BMC serves several systems: {0}")]
    Unnamed(String),
    /// It sends us elsewhere, and who sits there is not known.
    #[error("the BMC sends us elsewhere: {0}")]
    Moved(String),
    /// It has no such thing, so nothing was done.
    #[error("the BMC does not offer it: {0}")]
    NotOffered(String),
    /// It did not prove who it is, so it was told nothing.
    #[error("the BMC's certificate is not trusted: {0}")]
    Untrusted(String),
}

impl BmcFault {
    /// Whether another try may help.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Silent(_) | Self::Busy(_) | Self::Broken(_) => true,
            Self::Login(_)
            | Self::Refused(_)
            | Self::Denied(_)
            | Self::Unnamed(_)
            | Self::Moved(_)
            | Self::NotOffered(_)
            | Self::Untrusted(_) => false,
        }
    }

    /// As a node's failure.
    pub fn failure(&self, target: &BmcTarget) -> Failure {
        let BmcTarget { address, port, user, .. } = target;
        match self {
            Self::Login(why) => Failure::new(
                FailureKind::BmcPassword,
                format!(
                    "{address} port {port} did not accept user `{user}` ({why}), so the user or \
                     the password given at enrolment is probably wrong"
                ),
            ),
            Self::Silent(why) => Failure::new(
                FailureKind::BmcUnreachable,
                format!(
                    "nothing answered at {address} port {port} ({why}), so the address or the \
                     port is wrong, or the BMC is down or not connected"
                ),
            ),
            Self::Busy(why) => answered(FailureKind::BmcBusy, target, why),
            Self::Broken(why) => answered(FailureKind::BmcBroken, target, why),
            Self::Refused(why) => answered(FailureKind::BmcRefused, target, why),
            Self::Denied(why) => answered(FailureKind::BmcDenied, target, why),
            Self::NotOffered(why) => answered(FailureKind::BmcLacks, target, why),
            Self::Unnamed(why) => answered(FailureKind::BmcUnnamed, target, why),
            Self::Moved(why) => answered(FailureKind::BmcMoved, target, why),
            Self::Untrusted(why) => Failure::new(
                FailureKind::BmcUntrusted,
                format!("the certificate of {address} cannot be verified ({why})"),
            ),
        }
    }
}

/// One cause, one advice: that of its kind.
fn answered(kind: FailureKind, target: &BmcTarget, why: &str) -> Failure {
    let BmcTarget { address, port, .. } = target;
    Failure::new(kind, format!("{address} port {port} answered: {why}"))
}

impl fmt::Display for PowerOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::SoftOff => "soft off",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cause_has_an_advice_of_its_own() {
        let target = BmcTarget {
            driver: Driver::Redfish,
            address: [192, 0, 2, 1].into(),
            port: 443,
            redfish: None,
            user: "admin".into(),
            password: Secret::new("not-to-be-shown"),
        };
        let node = "compute-0".parse().unwrap();
        type Make = fn(String) -> BmcFault;
        let faults: [(Make, &str); 10] = [
            (BmcFault::Login, "user or the password"),
            (BmcFault::Silent, "down or not connected"),
            (BmcFault::Busy, "wait for that to end"),
            (BmcFault::Broken, "restart the BMC itself"),
            (BmcFault::Refused, "look at the BMC's settings"),
            (BmcFault::Denied, "operator rights"),
            (BmcFault::NotOffered, "`redfish-ipmi`"),
            (BmcFault::Unnamed, "`pm_system_id`"),
            (BmcFault::Moved, "`pm_addr`"),
            (BmcFault::Untrusted, "`redfish_verify_ca`"),
        ];
        let mut cures = BTreeSet::new();
        for (fault, advice) in faults {
            let sentence = fault("because".into()).failure(&target).sentence(&node);
            assert!(sentence.contains("because") && sentence.contains(advice), "{sentence}");
            assert!(!sentence.contains("not-to-be-shown"));
            let rights = sentence.contains("operator rights");
            assert_eq!(rights, advice == "operator rights", "{sentence}");
            cures.insert(sentence.split(';').nth(1).map(str::to_owned));
        }
        assert_eq!(cures.len(), faults.len());
    }
}
