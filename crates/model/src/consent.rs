//! Which disks a request erases, what happens to the others, and whether a person agreed.
//!
//! ```text
//! inspection ─▶ fates: every disk, what is on it, what would happen ─▶ a person agrees to that
//!            ─▶ approvals: a row for each disk that may be erased
//! before each wipe and write: a fresh look; the same disk, and on it what was agreed to, or
//!            nothing, or what we put there ourselves: done; else refused in one sentence
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Content, Digest, RootDeviceError, RootDeviceHints, UnixMillis,
    agent::DiskIdentity,
    choose_root_device,
    inventory::{Disk, Unusable},
    node::{Node, ProvisionState},
    root_device::describe,
};

/// Which disks a cleaning erases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wipe", rename_all = "snake_case")]
pub enum WipeScope {
    /// The one that the operating system will be written to.
    Root {
        /// What the image needs; the disk is chosen by it.
        need_bytes: u64,
    },
    /// All that are not removable.
    All,
    /// These: what was written to them is taken away.
    These {
        /// Which.
        disks: Vec<DiskIdentity>,
    },
}

impl Default for WipeScope {
    fn default() -> Self {
        Self::Root { need_bytes: 0 }
    }
}

/// A disk and what would happen to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPlan {
    /// The disk, with what is on it.
    pub disk: Disk,
    /// What would happen to it.
    pub fate: Fate,
}

/// What would happen to a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It is erased.
    Erased,
    /// The system that we wrote is on it, and stays.
    Installed,
    /// Nothing: the system goes to another.
    NotChosen,
    /// Nothing: it can be taken out.
    Removable,
    /// Nothing: it cannot be used.
    Unusable(Unusable),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erased => f.write_str("ERASED"),
            Self::Installed => f.write_str("kept: the system is installed on it"),
            Self::NotChosen => f.write_str("left alone"),
            Self::Removable => f.write_str("left alone: it is removable"),
            Self::Unusable(why) => write!(f, "left alone: {why}"),
        }
    }
}

/// A person's word that a disk may be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Which disk.
    pub disk: DiskIdentity,
    /// What the person saw on it. Nothing once it was erased or written under this approval: what
    /// is on it then is ours.
    pub content: Option<Content>,
    /// Digest of what the person saw.
    pub plan: Digest,
    /// Who.
    pub by: String,
    /// When.
    pub at: UnixMillis,
}

/// Why a disk may not be erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The node has no approval.
    #[error("nobody agreed that {disk} is erased, which holds: {content}")]
    Nobody {
        /// The disk.
        disk: String,
        /// What is on it.
        content: Content,
    },
    /// Another disk may be.
    #[error("{agreed} may be erased, and not {disk}, which holds: {content}")]
    OtherDisk {
        /// The disks that may be.
        agreed: String,
        /// The disk.
        disk: String,
        /// What is on it.
        content: Content,
    },
    /// It held something else when the person looked.
    #[error("{disk} changed since somebody agreed that it is erased: then `{then}`, now `{now}`")]
    Changed {
        /// The disk.
        disk: String,
        /// What the person saw.
        then: Content,
        /// What is there.
        now: Content,
    },
    /// No inspection saw it.
    #[error("the last inspection did not see {disk}")]
    NotSeen {
        /// The disk.
        disk: String,
    },
}

/// Whether this disk, as it was seen just now, may be erased.
///
/// # Errors
/// Why not.
pub fn may_erase(approvals: &[Approval], disk: &Disk) -> Result<(), NotApproved> {
    let name = describe(disk);
    let content = disk.content.clone();
    let Some(approval) = approvals.iter().find(|a| a.disk.is(&disk.identity())) else {
        let agreed: Vec<String> = approvals.iter().map(|a| a.disk.to_string()).collect();
        return Err(match agreed[..] {
            [] => NotApproved::Nobody { disk: name, content },
            _ => NotApproved::OtherDisk { agreed: agreed.join(", "), disk: name, content },
        });
    };
    match &approval.content {
        // What is on it is ours.
        None => Ok(()),
        Some(_) if content.is_empty() => Ok(()),
        Some(then) if *then == content => Ok(()),
        Some(then) => Err(NotApproved::Changed { disk: name, then: then.clone(), now: content }),
    }
}

/// Every disk, and what would happen to it.
///
/// # Errors
/// No disk can be chosen.
pub fn fates(
    disks: &[Disk],
    hints: &RootDeviceHints,
    scope: &WipeScope,
) -> Result<Vec<DiskPlan>, RootDeviceError> {
    let chosen = match scope {
        WipeScope::Root { need_bytes } => Some(choose_root_device(disks, hints, *need_bytes)?),
        WipeScope::All | WipeScope::These { .. } => None,
    };
    let fate = |disk: &Disk| match (scope, disk.unusable_among(disks)) {
        (WipeScope::Root { .. }, _) if chosen == Some(disk) => Fate::Erased,
        (WipeScope::These { disks }, _) if disks.iter().any(|d| d.is(&disk.identity())) => {
            Fate::Erased
        }
        // Its ends can be erased, although no system can be written to it.
        (WipeScope::All, None | Some(Unusable::Sectors { .. })) if !disk.removable => Fate::Erased,
        (_, Some(why)) => Fate::Unusable(why),
        (_, None) if disk.removable => Fate::Removable,
        (_, None) => Fate::NotChosen,
    };
    Ok(disks.iter().map(|disk| DiskPlan { disk: disk.clone(), fate: fate(disk) }).collect())
}

/// Every disk of a node that was inspected, and what a cleaning and an installation would do to it.
///
/// # Errors
/// No disk can be chosen.
pub fn outlook(node: &Node, asked: &WipeScope) -> Result<Vec<DiskPlan>, RootDeviceError> {
    let disks = node.inventory.as_ref().map_or(&[][..], |inventory| &inventory.disks);
    let written = node.instance.as_ref().and_then(|instance| instance.written.as_ref());
    let Some(written) = written.filter(|_| node.state == ProvisionState::Active) else {
        return fates(disks, &node.root_device, &node.wiped_by(asked));
    };
    let mut plans = fates(disks, &node.root_device, &WipeScope::These { disks: Vec::new() })?;
    for plan in plans.iter_mut().filter(|plan| written.disk.is(&plan.disk.identity())) {
        plan.fate = Fate::Installed;
    }
    Ok(plans)
}

/// The disks that are erased.
///
/// # Errors
/// No disk can be chosen.
pub fn erased(
    disks: &[Disk],
    hints: &RootDeviceHints,
    scope: &WipeScope,
) -> Result<Vec<Disk>, RootDeviceError> {
    let plans = fates(disks, hints, scope)?;
    Ok(plans.into_iter().filter(|plan| plan.fate == Fate::Erased).map(|plan| plan.disk).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, Signature};

    fn disk(name: &str, serial: &str, what: &[Signature]) -> Disk {
        let part = |what: &Signature| Finding {
            partition: None,
            at: 0,
            what: *what,
            label: None,
            id: None,
        };
        Disk {
            name: name.into(),
            size_bytes: 20 << 30,
            serial: Some(serial.into()),
            content: Content::Found { parts: what.iter().map(part).collect() },
            ..Disk::default()
        }
    }

    fn approval(disk: &Disk) -> Approval {
        Approval {
            disk: disk.identity(),
            content: Some(disk.content.clone()),
            plan: Digest::from_bytes([1; 32]),
            by: "root".into(),
            at: 1,
        }
    }

    #[test]
    fn only_the_disk_that_was_seen_with_what_was_seen_on_it_may_be_erased() {
        let seen = disk("sda", "a", &[Signature::Lvm]);
        let given = [approval(&seen)];
        assert_eq!(may_erase(&given, &seen), Ok(()));
        // Another boot names it otherwise.
        assert_eq!(may_erase(&given, &disk("sdb", "a", &[Signature::Lvm])), Ok(()));
        assert_eq!(may_erase(&given, &disk("sda", "a", &[])), Ok(()), "nothing is lost");
        let nobody = may_erase(&[], &seen).unwrap_err().to_string();
        assert_eq!(nobody, "nobody agreed that sda (a, 20 GiB) is erased, which holds: LVM");
        let other = may_erase(&given, &disk("sda", "b", &[Signature::Lvm])).unwrap_err();
        assert_eq!(
            other.to_string(),
            "sda (a, 20 GiB) may be erased, and not sda (b, 20 GiB), which holds: LVM"
        );
        let changed = may_erase(&given, &disk("sda", "a", &[Signature::Zfs])).unwrap_err();
        assert_eq!(
            changed.to_string(),
            "sda (a, 20 GiB) changed since somebody agreed that it is erased: then `LVM`, now `ZFS`"
        );
        let unseen = Disk { content: Content::NotLooked, ..seen.clone() };
        assert!(matches!(may_erase(&given, &unseen), Err(NotApproved::Changed { .. })));
        let ours = [Approval { content: None, ..approval(&seen) }];
        assert_eq!(may_erase(&ours, &disk("sda", "a", &[Signature::Zfs])), Ok(()));
    }

    #[test]
    fn every_disk_has_a_fate_and_only_the_chosen_one_is_erased() {
        let hints = RootDeviceHints { serial: Some("b".into()), ..RootDeviceHints::default() };
        let disks = [
            disk("sda", "a", &[Signature::Lvm]),
            disk("sdb", "b", &[]),
            Disk { removable: true, ..disk("sdc", "c", &[]) },
            Disk { read_only: true, ..disk("sdd", "d", &[]) },
        ];
        let fates = |scope: &WipeScope| -> Vec<String> {
            let plans = fates(&disks, &hints, scope).unwrap();
            plans.iter().map(|plan| plan.fate.to_string()).collect()
        };
        let read_only = "left alone: it is read-only";
        assert_eq!(
            fates(&WipeScope::default()),
            ["left alone", "ERASED", "left alone: it is removable", read_only]
        );
        assert_eq!(
            fates(&WipeScope::All),
            ["ERASED", "ERASED", "left alone: it is removable", read_only]
        );
        let these = WipeScope::These { disks: vec![disks[0].identity()] };
        assert_eq!(erased(&disks, &hints, &these).unwrap(), disks[..1]);
    }
}
