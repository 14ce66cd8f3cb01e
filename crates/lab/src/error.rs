//! What can go wrong in a lab: one error type for the crate, except for the configuration
//! ([`crate::ConfigError`]), which a person wrote.

use std::{io, time::Duration};

use camino::Utf8PathBuf;
use ipnet::Ipv4Net;
use undercloud_model::{ErrorKind, NodeName, nearest};

use crate::{NetworkName, OptionRomError, qmp::QmpError};

/// An operation on a lab failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Namespaces, bridges and taps are root's.
    #[error("a lab needs root: it makes a network namespace and runs QEMU as another user")]
    NotRoot,
    /// A program that the lab needs could not be started.
    #[error("cannot run `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that the lab needs said no.
    #[error("`{command}` failed ({status}): {stderr}")]
    CommandFailed {
        /// The whole command.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// A program that the lab needs did not end.
    #[error("`{command}` did not end within {} s", deadline.as_secs())]
    CommandTimeout {
        /// The whole command.
        command: String,
        /// How long it had.
        deadline: Duration,
    },
    /// A program's answer is not what it is known to print.
    #[error("`{command}` printed something unexpected")]
    CommandOutput {
        /// The whole command.
        command: String,
        /// Why it could not be read.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the lab could not be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the lab's state does not say what this version wrote.
    #[error("{path} is damaged: it is not what this program writes")]
    Damaged {
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The network namespace could not be entered.
    #[error("cannot enter the network namespace {namespace}")]
    Namespace {
        /// Its name.
        namespace: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket inside the lab could not be opened.
    #[error("cannot open a {what} socket on {address} in {namespace}")]
    Socket {
        /// UDP or TCP.
        what: &'static str,
        /// The address.
        address: String,
        /// Where.
        namespace: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machines do not fit into this host's memory.
    #[error(
        "not enough memory for {what}: it needs {needed_mib} MiB, {available_mib} MiB are free"
    )]
    NotEnoughMemory {
        /// The lab or one machine.
        what: String,
        /// What it needs.
        needed_mib: u64,
        /// What there is.
        available_mib: u64,
    },
    /// A firmware file or QEMU itself is not installed.
    #[error("{what} is missing: none of {tried} exists; install {package}")]
    Missing {
        /// What it is for.
        what: &'static str,
        /// The places that were looked at.
        tried: String,
        /// The package that has it.
        package: &'static str,
    },
    /// The NIC's boot ROM is none.
    #[error("{path} is not a boot ROM for a network card")]
    OptionRom {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: OptionRomError,
    },
    /// No such machine in this lab.
    #[error(
        "there is no machine `{machine}` in this lab{}",
        if machines.is_empty() { String::new() } else { format!("; it has {}", machines.join(", ")) }
    )]
    NoSuchMachine {
        /// What was asked for.
        machine: String,
        /// Those that there are.
        machines: Vec<String>,
    },
    /// There are no machines that are named after a group.
    #[error(
        "the lab has no machines {group}-0, {group}-1 and on{}",
        if groups.is_empty() { String::new() } else { format!("; it has {}", groups.join(", ")) }
    )]
    NoSuchGroup {
        /// What was asked for.
        group: String,
        /// Those that there are.
        groups: Vec<String>,
    },
    /// A lab that grows gets no smaller.
    #[error(
        "there are {has} machines {group} already; `undercloud lab shrink` takes machines away"
    )]
    Larger {
        /// Which.
        group: String,
        /// How many there are.
        has: usize,
    },
    /// More machines than a lab can have, or none.
    #[error("a lab has 1 to {max} machines, and would have {wanted}")]
    Size {
        /// At most.
        max: usize,
        /// What was asked for.
        wanted: usize,
    },
    /// There is a lab, and it is not the one that was asked for.
    #[error(
        "the lab exists and differs from its new configuration: {difference}; delete the lab first"
    )]
    Differs {
        /// What differs, in words.
        difference: String,
    },
    /// The host has another use for the addresses of the lab's external network.
    #[error(
        "the host already reaches {route} through {device}, so the lab cannot have {cidr}: give the \
         network `{network}` another `cidr` in lab.toml"
    )]
    AddressesTaken {
        /// The lab's network.
        network: NetworkName,
        /// Its addresses.
        cidr: Ipv4Net,
        /// The host's route that overlaps them.
        route: Ipv4Net,
        /// Where that route leads.
        device: String,
    },
    /// The action needs a machine that is on.
    #[error("machine {machine} is off: a {action} needs it on")]
    PoweredOff {
        /// The machine.
        machine: NodeName,
        /// What was asked for.
        action: &'static str,
    },
    /// A container boots from its disk, and has no drives.
    #[error("machine {machine} is a container, which has no drive for a {medium}")]
    NoDriveEver {
        /// The machine.
        machine: NodeName,
        /// What was to be booted from.
        medium: &'static str,
    },
    /// The machine runs since before this program knew of such drives.
    #[error(
        "machine {machine} was started without a drive for a {medium}: switch it off and on first"
    )]
    NoDrive {
        /// The machine.
        machine: NodeName,
        /// What was to be put in.
        medium: &'static str,
    },
    /// QEMU ended while it started.
    #[error("QEMU did not start machine {machine}: {reason}")]
    Start {
        /// The machine.
        machine: NodeName,
        /// The end of what QEMU wrote.
        reason: String,
    },
    /// QEMU did not end in time, even after it was killed.
    #[error("QEMU of machine {machine} (process {pid}) does not end")]
    Stuck {
        /// The machine.
        machine: NodeName,
        /// Its process.
        pid: i32,
    },
    /// QEMU did not do what it was told.
    #[error("machine {machine}: {operation} failed")]
    Qmp {
        /// The machine.
        machine: NodeName,
        /// The command.
        operation: String,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// Somebody else is at the serial console.
    #[error("somebody else is attached to the console of {machine}")]
    ConsoleBusy {
        /// The machine.
        machine: NodeName,
    },
    /// The machine's task is gone; only a fault of ours ends it early.
    #[error("nobody minds machine {machine} any more")]
    Unattended {
        /// The machine.
        machine: NodeName,
    },
    /// Neither KVM nor emulation ran a guest.
    #[error("QEMU cannot run a guest at all: {reason}")]
    NoVirtualisation {
        /// What was seen.
        reason: String,
    },
}

impl LabError {
    /// What callers tell apart.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRoot => ErrorKind::Denied,
            Self::NoSuchMachine { .. } | Self::NoSuchGroup { .. } => ErrorKind::NotFound,
            Self::Differs { .. }
            | Self::PoweredOff { .. }
            | Self::NoDrive { .. }
            | Self::Larger { .. }
            | Self::Size { .. }
            | Self::AddressesTaken { .. } => ErrorKind::Conflict,
            Self::OptionRom { .. } | Self::NoDriveEver { .. } => ErrorKind::Invalid,
            Self::ConsoleBusy { .. } => ErrorKind::Busy,
            Self::Unattended { .. } | Self::CommandOutput { .. } | Self::Damaged { .. } => {
                ErrorKind::Bug
            }
            Self::Spawn { .. }
            | Self::CommandFailed { .. }
            | Self::CommandTimeout { .. }
            | Self::File { .. }
            | Self::Namespace { .. }
            | Self::Socket { .. }
            | Self::NotEnoughMemory { .. }
            | Self::Missing { .. }
            | Self::Start { .. }
            | Self::Stuck { .. }
            | Self::Qmp { .. }
            | Self::NoVirtualisation { .. } => ErrorKind::Unavailable,
        }
    }

    /// What to do about it, where that is a command.
    pub fn hint(&self) -> Option<String> {
        if let Self::NoSuchMachine { machine: word, machines: known }
        | Self::NoSuchGroup { group: word, groups: known } = self
        {
            return Some(did_you_mean(word, known));
        }
        None
    }

    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<Utf8PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}

/// The one that was probably meant, or where all are shown.
fn did_you_mean(word: &str, known: &[String]) -> String {
    match nearest(word, known.iter().map(String::as_str)).first() {
        Some(meant) => format!("did you mean `{meant}`? undercloud lab list"),
        None => "undercloud lab list".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said_beside_what_is() {
        let known = || vec!["compute-0".to_owned(), "controller-0".to_owned()];
        let machine = |machine: &str| LabError::NoSuchMachine {
            machine: machine.to_owned(),
            machines: known(),
        };
        let error = machine("compte-0");
        assert_eq!(
            error.to_string(),
            "there is no machine `compte-0` in this lab; it has compute-0, controller-0"
        );
        let hint = error.hint().unwrap();
        assert_eq!(hint, "did you mean `compute-0`? undercloud lab list");
        assert_eq!(machine("nope").hint().unwrap(), "undercloud lab list");
        let groups = vec!["compute".to_owned()];
        let group = LabError::NoSuchGroup { group: "computes".to_owned(), groups };
        assert_eq!(group.hint().unwrap(), "did you mean `compute`? undercloud lab list");
        assert_eq!(LabError::NotRoot.hint(), None);
    }
}
