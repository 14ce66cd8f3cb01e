//! What is on a disk, as far as a look at its ends and at those of its partitions tells. The agent
//! looks; a person reads it before a disk is erased, and it is compared with what is there then.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a look at a disk told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "look", rename_all = "snake_case")]
pub enum Content {
    /// Nobody looked.
    #[default]
    NotLooked,
    /// The disk could not be read.
    Unreadable {
        /// What the kernel said.
        why: String,
    },
    /// What was found; nothing where all those ends are zeros.
    Found {
        /// Ordered by place.
        parts: Vec<Finding>,
    },
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The number of the partition that it is in; nothing where it is of the whole disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Where the partition begins, in bytes.
    #[serde(default)]
    pub at: u64,
    /// What it is.
    pub what: Signature,
    /// The name that somebody gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its own id, so that another of the same kind is not taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What data on a disk is recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// A GUID partition table.
    Gpt,
    /// A partition table of the PC's old kind.
    Mbr,
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// FAT of any size, as of EFI.
    Fat,
    /// `exFAT`.
    ExFat,
    /// NTFS.
    Ntfs,
    /// A CD's file system.
    Iso9660,
    /// Swap space.
    Swap,
    /// A physical volume of LVM.
    Lvm,
    /// A member of a Linux RAID.
    LinuxRaid,
    /// A member of a RAID by an Intel firmware.
    IntelRaid,
    /// A member of a RAID in the DDF format.
    DdfRaid,
    /// An encrypted volume (LUKS).
    Luks,
    /// A member of a ZFS pool.
    Zfs,
    /// A member of a Windows dynamic disk.
    WindowsLdm,
    /// A VMFS datastore.
    Vmfs,
    /// A bcache device.
    Bcache,
    /// An object store of Ceph.
    CephBlueStore,
    /// Something that is not zeros, and not recognised.
    Data,
}

impl Content {
    /// A disk with nothing on it.
    pub const EMPTY: Self = Self::Found { parts: Vec::new() };

    /// Whether a look found nothing.
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::Found { parts } if parts.is_empty())
    }

    /// Every text in it.
    pub(crate) fn texts(&self) -> Vec<&String> {
        match self {
            Self::NotLooked => Vec::new(),
            Self::Unreadable { why } => vec![why],
            Self::Found { parts } => {
                parts.iter().flat_map(|p| [&p.label, &p.id]).flatten().collect()
            }
        }
    }

    /// Whether somebody looked and saw.
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Found { .. })
    }
}

impl Signature {
    /// Its name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
            Self::Ext => "ext",
            Self::Xfs => "XFS",
            Self::Btrfs => "Btrfs",
            Self::F2fs => "F2FS",
            Self::Fat => "FAT",
            Self::ExFat => "exFAT",
            Self::Ntfs => "NTFS",
            Self::Iso9660 => "ISO 9660",
            Self::Swap => "swap",
            Self::Lvm => "LVM",
            Self::LinuxRaid => "Linux RAID",
            Self::IntelRaid => "Intel RAID",
            Self::DdfRaid => "DDF RAID",
            Self::Luks => "LUKS",
            Self::Zfs => "ZFS",
            Self::WindowsLdm => "Windows dynamic disk",
            Self::Vmfs => "VMFS",
            Self::Bcache => "bcache",
            Self::CephBlueStore => "Ceph BlueStore",
            Self::Data => "unknown data",
        }
    }
}

impl fmt::Display for Content {
    /// `GPT; partition 1: FAT "ESP"; partition 2: ext "root"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = match self {
            Self::NotLooked => return f.write_str("nobody looked what is on it"),
            Self::Unreadable { why } => return write!(f, "it cannot be read ({why})"),
            Self::Found { parts } if parts.is_empty() => return f.write_str("empty"),
            Self::Found { parts } => parts,
        };
        let mut before: Option<&Finding> = None;
        for part in parts {
            match (before, part.partition) {
                (Some(before), number) if before.partition == number => f.write_str(", ")?,
                (Some(_), Some(number)) => write!(f, "; partition {number}: ")?,
                (None, Some(number)) => write!(f, "partition {number}: ")?,
                (Some(_), None) => f.write_str("; ")?,
                (None, None) => {}
            }
            f.write_str(part.what.as_str())?;
            if let Some(label) = &part.label {
                write!(f, " \"{label}\"")?;
            }
            before = Some(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(partition: Option<u32>, what: Signature, label: &str) -> Finding {
        let label = (!label.is_empty()).then(|| label.to_owned());
        Finding { partition, at: 0, what, label, id: None }
    }

    #[test]
    fn a_person_reads_it_in_one_line() {
        let parts = vec![
            finding(None, Signature::Gpt, ""),
            finding(None, Signature::DdfRaid, ""),
            finding(Some(1), Signature::Fat, "ESP"),
            finding(Some(2), Signature::Lvm, ""),
        ];
        assert_eq!(
            Content::Found { parts }.to_string(),
            "GPT, DDF RAID; partition 1: FAT \"ESP\"; partition 2: LVM"
        );
        assert_eq!(Content::EMPTY.to_string(), "empty");
        let unreadable = Content::Unreadable { why: "I/O error".into() };
        assert_eq!(unreadable.to_string(), "it cannot be read (I/O error)");
    }

    #[test]
    fn what_an_older_agent_sends_is_a_disk_that_nobody_looked_at() {
        let disk: crate::inventory::Disk = serde_json::from_value(serde_json::json!({
            "name": "vda", "size_bytes": 512, "serial": null, "wwn": null, "model": null,
            "rotational": false, "removable": false,
        }))
        .unwrap();
        assert_eq!((disk.content, disk.sector_bytes), (Content::NotLooked, 512));
    }
}
