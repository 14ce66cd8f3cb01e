//! What the daemon orders and what an agent answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    cloud::{CloudStep, Converged},
    health::{self, MachineHealth},
};
use crate::{Digest, Secret, SshHostKey, StepId, expose_on_the_wire, inventory::Inventory};

/// Heartbeat, and the question for work. The daemon may hold its answer for up to 20 seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Poll {
    /// [`super::PROTOCOL_VERSION`] of the agent.
    pub protocol: u32,
    /// The kernel's boot id: tells a reboot from a reconnection.
    pub boot_id: String,
    /// Orders that this agent is busy with. Another may be given beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busy: Vec<StepId>,
    /// By which key the installed system's ssh server is known. A person who logs in then trusts
    /// what the machine's own key vouches for, not the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_host_key: Option<SshHostKey>,
    /// How the installed system is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<MachineHealth>,
}

/// Answer to a [`Poll`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PollReply {
    /// What to do now; nothing when there is nothing.
    pub order: Option<StepOrder>,
}

/// A step with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOrder {
    /// The same order has the same id, however often it is sent.
    pub id: StepId,
    /// What to do.
    pub step: Step,
}

/// What an agent can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Step {
    /// Say what the machine is made of.
    Inspect,
    /// Erase partition tables and file system signatures of these disks and no others, and read
    /// back that they are gone (Ironic's `erase_devices_metadata`).
    WipeDisks {
        /// Which. Each must be there, once.
        disks: Vec<DiskIdentity>,
    },
    /// Write an image to a disk, then the config drive, then make both durable.
    WriteImage {
        /// What to write.
        image: ImageSource,
        /// Where to.
        disk: DiskIdentity,
        /// The files of the config drive, as an ISO 9660 or FAT file system, base64.
        #[serde(serialize_with = "expose_on_the_wire")]
        config_drive: Secret,
    },
    /// Part of the cloud's installation; only the installed system does these.
    Cloud {
        /// Which.
        step: Box<CloudStep>,
    },
}

impl Step {
    /// The disks whose data is lost by it.
    pub fn erases(&self) -> &[DiskIdentity] {
        match self {
            Self::WipeDisks { disks } => disks,
            Self::WriteImage { disk, .. } => std::slice::from_ref(disk),
            Self::Inspect | Self::Cloud { .. } => &[],
        }
    }
}

/// An image and how to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The blob to fetch from `/agent/v1/blobs/{digest}`.
    pub blob: Digest,
    /// How the blob is packed.
    pub encoding: ImageEncoding,
    /// Size of the disk image when unpacked, in bytes.
    pub disk_bytes: u64,
    /// Digest of the disk image when unpacked.
    pub disk_digest: Digest,
}

/// How an image's blob is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageEncoding {
    /// As it goes to the disk.
    Raw,
    /// Zstandard (RFC 8878), one or several frames.
    Zstd,
}

/// A disk by what stays the same between boots. All that is given must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// The name it had at inspection; decides only where the rest is missing.
    pub name: String,
    /// Its serial.
    pub serial: Option<String>,
    /// Its World Wide Name.
    pub wwn: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl DiskIdentity {
    /// Whether it is the same disk, in whatever boot. The name tells only where nothing else does.
    pub fn is(&self, other: &Self) -> bool {
        let named = self.serial.is_some() || self.wwn.is_some();
        (&self.serial, &self.wwn, self.size_bytes) == (&other.serial, &other.wwn, other.size_bytes)
            && (named || self.name == other.name)
    }
}

impl fmt::Display for DiskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.serial.as_deref().or(self.wwn.as_deref()).unwrap_or("no serial");
        write!(f, "{} ({known}, {} GiB)", self.name, self.size_bytes >> 30)
    }
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which step.
    pub id: StepId,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A step's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which step.
    pub id: StepId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the agent logged about it, for `ironic-python-agent.log`.
    pub log: Vec<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done and verified.
    Done(StepResult),
    /// Not done.
    Failed(StepFailure),
}

/// What a step gives back, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepResult {
    /// Of [`Step::Inspect`].
    Inspect(Inventory),
    /// Of [`Step::WipeDisks`].
    WipeDisks {
        /// One for each disk.
        disks: Vec<WipeReceipt>,
    },
    /// Of [`Step::WriteImage`].
    WriteImage(WriteReceipt),
    /// Of [`Step::Cloud`].
    Cloud(Converged),
}

/// A disk whose metadata is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeReceipt {
    /// Which disk.
    pub disk: DiskIdentity,
    /// Bytes overwritten and read back as zero.
    pub zeroed_bytes: u64,
}

/// A disk that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReceipt {
    /// Which disk.
    pub disk: DiskIdentity,
    /// Digest of the image, as ordered. It follows from the blob's digest, which was computed from
    /// the stream and compared before the disk was made bootable.
    pub disk_digest: Digest,
    /// Bytes of the image.
    pub written_bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// What kind of failure.
    pub kind: StepFailureKind,
    /// One sentence, for a person.
    pub message: String,
    /// The last lines of the service that failed, if it was one. Without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "health::said")]
    pub said: Vec<String>,
}

impl StepFailure {
    /// A failure that no service has words for.
    pub fn new(kind: StepFailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), said: Vec::new() }
    }
}

/// Kinds of failure that the engine tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepFailureKind {
    /// No disk is the one that was named.
    DiskNotFound,
    /// The image does not fit.
    DiskTooSmall,
    /// The image is not the one that was named.
    DigestMismatch,
    /// Reading or writing a disk failed.
    DiskIo,
    /// The daemon could not be read from.
    Fetch,
    /// The order makes no sense to this agent.
    Unsupported,
    /// A container image could not be had.
    Image,
    /// The machine refused: a file, a unit, a module.
    System,
    /// A service did not become healthy in its time.
    Unhealthy,
    /// A command ended with an error.
    Command,
    /// An OpenStack API did not answer as it should.
    Api,
}
