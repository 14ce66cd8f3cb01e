//! Why something that was asked for did not come about, as one sentence for a person: what failed,
//! on which machine, the likely cause, what to do, which log.

use serde::{Deserialize, Serialize};

use super::{BootInterface, BootProgress, Work};
use crate::{
    NodeName, RootDeviceError,
    agent::{StepFailure, StepFailureKind},
};

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The particulars, as a clause without a full stop: what was seen.
    pub detail: String,
}

/// The kinds of failure that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The BMC refused user or password.
    BmcPassword,
    /// The BMC does not answer.
    BmcUnreachable,
    /// The BMC answered, and would not.
    BmcRefused,
    /// The BMC does not let this user do that.
    BmcDenied,
    /// The BMC has something else to do, or no room for us.
    BmcBusy,
    /// The BMC failed, or answered what is no answer.
    BmcBroken,
    /// The BMC has no such thing.
    BmcLacks,
    /// The BMC serves several systems, and nobody said which one is meant.
    BmcUnnamed,
    /// The BMC sends us to another place.
    BmcMoved,
    /// The BMC did not prove who it is.
    BmcUntrusted,
    /// The BMC took the order, and the power did not change.
    PowerStuck,
    /// The operating system did not shut down when asked to.
    NoSoftOff,
    /// Power came on and the ramdisk's agent never said hello.
    NeverBooted,
    /// The agent had work and fell silent.
    AgentSilent,
    /// The agent lives and its work takes too long.
    TooSlow,
    /// Somebody switched the machine off while it was needed.
    SwitchedOff,
    /// The image is not what it was said to be.
    WrongDigest,
    /// No disk is large enough.
    DiskTooSmall,
    /// No disk, or more than one, is what the hints say.
    NoDiskMatches,
    /// Nobody agreed that this disk, with what is on it, is erased.
    NotApproved,
    /// The disk that was chosen is not there any more.
    DiskGone,
    /// Reading or writing a disk failed.
    DiskFault,
    /// The agent could not read the image from us.
    FetchFailed,
    /// The agent does not know the order: another version.
    AgentRefused,
    /// The agent's answer does not belong to its order.
    AgentConfused,
    /// The disk was written and the system on it never called.
    InstalledSilent,
    /// A boot secret was used twice.
    SecretReused,
    /// Somebody gave up.
    Aborted,
    /// The image was removed between request and write.
    ImageMissing,
    /// The config drive could not be made.
    ConfigDrive,
    /// A state's time ran out without a better reason.
    TimedOut,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The agent never said hello; how far the boot came tells where to look.
    pub fn never_booted(progress: BootProgress, interface: BootInterface) -> Self {
        let detail = match interface {
            BootInterface::Ipxe => Self::netboot_stuck(progress),
            BootInterface::RedfishVirtualMedia if progress == BootProgress::Silent => {
                "its BMC took the address of the deploy CD and never read it: the BMC may not \
                 reach this host"
            }
            BootInterface::RedfishVirtualMedia => {
                "its BMC read the deploy CD and its agent never called: its firmware may not have \
                 started from it, or the kernel lacks a driver for the interface"
            }
        };
        Self::new(FailureKind::NeverBooted, detail)
    }

    const fn netboot_stuck(progress: BootProgress) -> &'static str {
        match progress {
            BootProgress::Silent => {
                "it was switched on and not one DHCP request of its boot interface was seen: the \
                 MAC address in its enrolment, its cable or its firmware's boot order is wrong"
            }
            BootProgress::Dhcp => {
                "it got an address by DHCP and fetched no boot program: its firmware's boot mode \
                 may differ from the one enrolled, or TFTP is blocked"
            }
            BootProgress::Program => {
                "it fetched the boot program and not the boot script: iPXE may lack a driver for \
                 this interface"
            }
            BootProgress::Script => {
                "it fetched the boot script and not the kernel: HTTP to this host may be blocked"
            }
            BootProgress::Kernel => {
                "it fetched the kernel and not the ramdisk: the transfer broke off or its memory \
                 is too small"
            }
            BootProgress::Ramdisk => {
                "it fetched kernel and ramdisk and its agent never called: the kernel may have \
                 crashed or lack a driver for this interface"
            }
        }
    }

    /// What the agent reported.
    pub fn of_step(failure: &StepFailure) -> Self {
        let kind = match failure.kind {
            StepFailureKind::DiskNotFound => FailureKind::DiskGone,
            StepFailureKind::DiskTooSmall => FailureKind::DiskTooSmall,
            StepFailureKind::DigestMismatch => FailureKind::WrongDigest,
            StepFailureKind::DiskIo => FailureKind::DiskFault,
            StepFailureKind::Fetch => FailureKind::FetchFailed,
            // The others are the installed system's; no ramdisk sends them.
            StepFailureKind::Unsupported
            | StepFailureKind::Image
            | StepFailureKind::System
            | StepFailureKind::Unhealthy
            | StepFailureKind::Command
            | StepFailureKind::Api => FailureKind::AgentRefused,
        };
        let text: String = failure.message.chars().filter(|c| !c.is_control()).take(300).collect();
        Self::new(kind, text.trim_end_matches('.'))
    }

    /// No disk can be chosen.
    pub fn of_root_device(error: &RootDeviceError) -> Self {
        let kind = match error {
            RootDeviceError::TooSmall { .. } => FailureKind::DiskTooSmall,
            RootDeviceError::NoDisk
            | RootDeviceError::NoMatch { .. }
            | RootDeviceError::Ambiguous { .. }
            | RootDeviceError::Unusable { .. } => FailureKind::NoDiskMatches,
        };
        Self::new(kind, error.to_string())
    }

    /// The agent fell silent during `work`.
    pub fn silent(work: &Work) -> Self {
        Self::new(FailureKind::AgentSilent, format!("the agent fell silent while {}", work.doing()))
    }

    /// The sentence.
    pub fn sentence(&self, node: &NodeName) -> String {
        let Advice { what, cause, cure, log } = self.kind.advice();
        let detail = if self.detail.is_empty() { cause } else { &self.detail };
        let cure = cure.replace("NODE", node.as_str());
        format!("{node}: {what}: {detail}; {cure} (log: {log}, `undercloud node history {node}`)")
    }
}

struct Advice {
    what: &'static str,
    /// Said when nothing better is known.
    cause: &'static str,
    cure: &'static str,
    log: &'static str,
}

const DAEMON_LOG: &str = "logs/undercloud.log";
const AGENT_LOG: &str = "logs/ironic-python-agent.log";

const fn advice(
    what: &'static str,
    cause: &'static str,
    cure: &'static str,
    log: &'static str,
) -> Advice {
    Advice { what, cause, cure, log }
}

impl FailureKind {
    /// The one place where the sentences are made.
    #[rustfmt::skip]
    const fn advice(self) -> Advice {
        match self {
            Self::BmcPassword
            | Self::BmcUnreachable
            | Self::BmcRefused
            | Self::BmcDenied
            | Self::BmcBusy
            | Self::BmcBroken
            | Self::BmcLacks
            | Self::BmcUnnamed
            | Self::BmcMoved
            | Self::BmcUntrusted => self.bmc_advice(),
            Self::PowerStuck => advice("its power did not change", "the BMC took the order and the machine did not follow",
                "look at the machine and at its BMC's own log, then repeat the command", DAEMON_LOG),
            Self::NoSoftOff => advice("it did not shut down", "its operating system did not follow the request in time",
                "switch it off at once with `undercloud node power off NODE`", DAEMON_LOG),
            Self::NeverBooted => advice(
                "it never booted the ramdisk", "its boot did not complete",
                "correct that and repeat the command", AGENT_LOG),
            Self::AgentSilent => advice(
                "its agent fell silent", "the machine crashed, restarted or lost its network",
                "look at its console and its cable, then repeat the command, which boots it afresh", AGENT_LOG),
            Self::TooSlow => advice(
                "its agent took too long", "a disk or the network is far slower than expected",
                "look for a failing disk or link in its log and at its console, then repeat the command", AGENT_LOG),
            Self::SwitchedOff => advice(
                "it was switched off while it was needed", "somebody pressed the button or used the BMC, or the power failed",
                "leave it alone and repeat the command, which boots it afresh", DAEMON_LOG),
            Self::WrongDigest => advice("the image has the wrong digest", "it was changed or damaged after it was taken in",
                "build or import the image again, then repeat the command", AGENT_LOG),
            Self::DiskTooSmall => advice("its disk is too small for the image", "the image needs more than the disk holds",
                "hint at a larger disk or fit one, then repeat the command", AGENT_LOG),
            Self::NoDiskMatches => advice(
                "no single disk can be chosen for the system", "the root device hints fit none or several",
                "correct `root_device` in the enrolment file, import that again and repeat the command", AGENT_LOG),
            Self::NotApproved => advice(
                "no disk of it was erased", "nobody agreed to that",
                "look with `undercloud node disks NODE`, agree with `undercloud node approve NODE DIGEST`, then repeat the command", DAEMON_LOG),
            Self::DiskGone => advice("the chosen disk is gone", "it failed or was taken out after the inspection",
                "look at the disk, then repeat the command", AGENT_LOG),
            Self::DiskFault => advice("a disk failed", "reading or writing it ended in an error",
                "replace the disk or hint at another, then repeat the command", AGENT_LOG),
            Self::FetchFailed => advice(
                "its agent could not fetch the image", "the network between machine and this host broke off, or this host's disk did",
                "check both, then repeat the command", AGENT_LOG),
            Self::AgentRefused => advice(
                "its agent does not know the order", "the ramdisk is of another version than this daemon",
                "build the images again with `undercloud image build`, then repeat the command", AGENT_LOG),
            Self::AgentConfused => advice(
                "its agent answered something else than was asked", "the ramdisk is of another version, or is not ours",
                "build the images again with `undercloud image build`, then repeat the command", AGENT_LOG),
            Self::InstalledSilent => advice(
                "the installed system never reported", "its disk was written, and it does not boot or cannot reach this host",
                "look at its console, then repeat the command, which restarts it without writing again, or undeploy it", AGENT_LOG),
            Self::SecretReused => advice(
                "SECURITY: its boot secret was used twice", "another machine on the provisioning network read it, or the machine restarted by itself",
                "look at its console, and who is on that network, before you repeat the command", DAEMON_LOG),
            Self::Aborted => advice("it was aborted", "somebody asked for that",
                "repeat the command to start again", DAEMON_LOG),
            Self::ImageMissing => advice("the image is missing", "it was removed after the request was taken",
                "build or import it again, then repeat the command", DAEMON_LOG),
            Self::ConfigDrive => advice("its config drive could not be made", "the request's data does not fit",
                "shorten user data and keys, then repeat the command", DAEMON_LOG),
            Self::TimedOut => advice("it took too long", "no better reason is known",
                "look at its history, then repeat the command", DAEMON_LOG),
        }
    }

    /// The sentences of what a BMC did.
    #[rustfmt::skip]
    const fn bmc_advice(self) -> Advice {
        match self {
            Self::BmcPassword => advice(
                "its BMC refused the login", "the user or the password given at enrolment is probably wrong",
                "correct it in the enrolment file, import that again and repeat the command", DAEMON_LOG),
            Self::BmcUnreachable => advice(
                "its BMC does not answer", "its address or port is wrong, or the BMC is down or not connected",
                "check the address in the enrolment file and that the BMC has power, then repeat the command", DAEMON_LOG),
            Self::BmcRefused => advice(
                "its BMC refused an order", "it does not take it in its present state, or not with these values",
                "look at the BMC's settings and at its own log, then repeat the command", DAEMON_LOG),
            Self::BmcDenied => advice(
                "its BMC does not let the user do that", "the user lacks the privilege",
                "give the user operator rights on the BMC, then repeat the command", DAEMON_LOG),
            Self::BmcBusy => advice(
                "its BMC has no time", "the machine is starting, a job is under way, or its sessions are all taken",
                "wait for that to end, or end other people's sessions on the BMC, then repeat the command", DAEMON_LOG),
            Self::BmcBroken => advice(
                "its BMC answered with an error of its own", "its firmware failed",
                "repeat the command; if that does not help, restart the BMC itself or update its firmware", DAEMON_LOG),
            Self::BmcLacks => advice(
                "its BMC does not offer what is needed", "another `pm_type` or `boot_interface` may do",
                "choose another in the enrolment file (with `redfish-ipmi` IPMI does what Redfish lacks), import that again and repeat the command", DAEMON_LOG),
            Self::BmcUnnamed => advice(
                "its BMC serves several systems", "nobody said which one is meant",
                "name it as `pm_system_id` in the enrolment file, import that again and repeat the command", DAEMON_LOG),
            Self::BmcMoved => advice(
                "its BMC sends us to another place", "its Redfish is served from there",
                "give that as `pm_addr` and `pm_port` in the enrolment file, import that again and repeat the command", DAEMON_LOG),
            Self::BmcUntrusted => advice(
                "its BMC's certificate is not trusted", "no known CA signed it, or it is for another address",
                "give its SHA-256 or its CA as `redfish_verify_ca` in the enrolment file, import that again and repeat the command", DAEMON_LOG),
            _ => advice("its BMC did not do what was asked", "no better reason is known",
                "look at its history, then repeat the command", DAEMON_LOG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_machine_cause_cure_and_log() {
        let node: NodeName = "compute-0".parse().unwrap();
        let text = Failure::new(FailureKind::BmcPassword, "").sentence(&node);
        assert_eq!(
            text,
            "compute-0: its BMC refused the login: the user or the password given at enrolment is \
             probably wrong; correct it in the enrolment file, import that again and repeat the \
             command (log: logs/undercloud.log, `undercloud node history compute-0`)"
        );
        let stuck = Failure::new(FailureKind::NoSoftOff, "").sentence(&node);
        assert!(stuck.contains("`undercloud node power off compute-0`"), "{stuck}");
    }

    #[test]
    fn what_an_agent_says_is_cut_and_cleaned() {
        let failure = Failure::of_step(&StepFailure::new(
            StepFailureKind::DiskIo,
            format!("bad\x1b[31m\nsector{}.", "x".repeat(1000)),
        ));
        assert!(failure.detail.starts_with("bad[31msector"), "{}", failure.detail);
        assert!(failure.detail.len() <= 300);
    }
}
