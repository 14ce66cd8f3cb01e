//! Which disk gets the operating system. Ironic's root device hints, in the subset that says which
//! disk without depending on a kernel's naming.
//!
//! Default, when no hint is given: the smallest disk that is large enough for the image and at
//! least 4 GiB, not removable; among equals the first serial number. It is the same disk in every
//! boot, and the plan shows it by serial before anything is erased.

use serde::{Deserialize, Serialize};

use crate::inventory::{Disk, Unusable};

/// Hints that a disk must all match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootDeviceHints {
    /// Exact serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Exact World Wide Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Exact model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Size in GiB, rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether the disk turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// The kernel's name, `/dev/vda`: the weakest hint, for labs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// No disk, or more than one, for the operating system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootDeviceError {
    /// The machine has no disk at all.
    #[error("the machine has no disk that is not removable")]
    NoDisk,
    /// Hints are given and no disk matches.
    #[error("no disk matches the root device hints {hints}; the machine has: {disks}")]
    NoMatch {
        /// The hints as JSON.
        hints: String,
        /// The disks, with serial and size.
        disks: String,
    },
    /// Hints are given and several disks match.
    #[error("{count} disks match the root device hints {hints}: {disks}; hint at one serial")]
    Ambiguous {
        /// How many match.
        count: usize,
        /// The hints as JSON.
        hints: String,
        /// The matching disks.
        disks: String,
    },
    /// The disk that is meant, or every disk that there is, cannot be used.
    #[error("no system can be written to {disks}")]
    Unusable {
        /// Each with its reason.
        disks: String,
    },
    /// The disk that was chosen is too small.
    #[error("the image needs {need_bytes} bytes and the disk holds {size_bytes}: {disk}")]
    TooSmall {
        /// What the image needs.
        need_bytes: u64,
        /// What the disk holds.
        size_bytes: u64,
        /// The disk.
        disk: String,
    },
}

/// The least size of a disk that is chosen without a hint (Ironic's rule).
const DEFAULT_SIZE_MIN: u64 = 4 << 30;

/// Chooses the disk for an image that needs `need_bytes`.
///
/// # Errors
/// When none can be chosen, or more than one could be meant.
pub fn choose_root_device<'a>(
    disks: &'a [Disk],
    hints: &RootDeviceHints,
    need_bytes: u64,
) -> Result<&'a Disk, RootDeviceError> {
    let hinted = *hints != RootDeviceHints::default();
    if hinted { choose_hinted(disks, hints, need_bytes) } else { choose_default(disks, need_bytes) }
}

fn choose_hinted<'a>(
    disks: &'a [Disk],
    hints: &RootDeviceHints,
    need_bytes: u64,
) -> Result<&'a Disk, RootDeviceError> {
    let matching: Vec<&Disk> = disks.iter().filter(|d| !d.hidden && matches(d, hints)).collect();
    let twice = |d: &&Disk| matches!(d.unusable_among(disks), Some(Unusable::Twice { .. }));
    let hints_text = || serde_json::to_string(hints).unwrap_or_default();
    match matching[..] {
        [] => Err(RootDeviceError::NoMatch { hints: hints_text(), disks: list(disks.iter()) }),
        [one] => match unusable(one, disks) {
            Some(found) => Err(none_usable([found].into_iter())),
            None => large_enough(one, need_bytes),
        },
        _ if matching.iter().all(twice) => {
            Err(none_usable(matching.iter().filter_map(|d| unusable(d, disks))))
        }
        _ => Err(RootDeviceError::Ambiguous {
            count: matching.len(),
            hints: hints_text(),
            disks: list(matching.into_iter()),
        }),
    }
}

fn choose_default(disks: &[Disk], need_bytes: u64) -> Result<&Disk, RootDeviceError> {
    let fixed = || disks.iter().filter(|d| !d.removable && d.unusable_among(disks).is_none());
    let key = |d: &&Disk| (d.size_bytes, d.serial.clone(), d.name.clone());
    let floor = need_bytes.max(DEFAULT_SIZE_MIN);
    if let Some(disk) = fixed().filter(|d| d.size_bytes >= floor).min_by_key(key) {
        return Ok(disk);
    }
    if let Some(largest) = fixed().max_by_key(|d| d.size_bytes) {
        return Err(too_small(largest, floor));
    }
    let fixed = disks.iter().filter(|d| !d.removable);
    let mut unusable = fixed.filter_map(|d| unusable(d, disks)).peekable();
    if unusable.peek().is_none() {
        return Err(RootDeviceError::NoDisk);
    }
    Err(none_usable(unusable))
}

fn unusable<'a>(disk: &'a Disk, disks: &[Disk]) -> Option<(&'a Disk, Unusable)> {
    Some((disk, disk.unusable_among(disks)?))
}

fn none_usable<'a>(disks: impl Iterator<Item = (&'a Disk, Unusable)>) -> RootDeviceError {
    let disks: Vec<String> = disks.map(|(d, why)| format!("{}: {why}", describe(d))).collect();
    RootDeviceError::Unusable { disks: disks.join("; ") }
}

fn large_enough(disk: &Disk, need_bytes: u64) -> Result<&Disk, RootDeviceError> {
    if disk.size_bytes < need_bytes { Err(too_small(disk, need_bytes)) } else { Ok(disk) }
}

fn too_small(disk: &Disk, need_bytes: u64) -> RootDeviceError {
    RootDeviceError::TooSmall { need_bytes, size_bytes: disk.size_bytes, disk: describe(disk) }
}

fn matches(disk: &Disk, hints: &RootDeviceHints) -> bool {
    let RootDeviceHints { serial, wwn, model, size, rotational, name } = hints;
    let text = |hint: &Option<String>, value: &Option<String>| hint.is_none() || hint == value;
    text(serial, &disk.serial)
        && text(wwn, &disk.wwn)
        && text(model, &disk.model)
        && size.is_none_or(|gib| disk.size_bytes >> 30 == gib)
        && rotational.is_none_or(|turns| disk.rotational == turns)
        && name.as_ref().is_none_or(|n| n.strip_prefix("/dev/").unwrap_or(n) == disk.name)
}

fn list<'a>(disks: impl Iterator<Item = &'a Disk>) -> String {
    disks.map(describe).collect::<Vec<_>>().join(", ")
}

/// A disk in a sentence.
pub(crate) fn describe(disk: &Disk) -> String {
    disk.identity().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, gib: u64, serial: &str) -> Disk {
        Disk {
            name: name.into(),
            size_bytes: gib << 30,
            serial: Some(serial.into()),
            ..Disk::default()
        }
    }

    #[test]
    fn the_default_is_the_smallest_that_fits() {
        let disks = [disk("vda", 100, "c"), disk("vdb", 10, "b"), disk("vdc", 2, "a")];
        let none = RootDeviceHints::default();
        assert_eq!(choose_root_device(&disks, &none, 1).unwrap().name, "vdb");
        assert_eq!(choose_root_device(&disks, &none, 11 << 30).unwrap().name, "vda");
        assert!(matches!(
            choose_root_device(&disks, &none, 101 << 30),
            Err(RootDeviceError::TooSmall { .. })
        ));
    }

    #[test]
    fn equal_disks_are_told_apart_by_serial_not_by_order() {
        let none = RootDeviceHints::default();
        let mut disks = [disk("vda", 10, "b"), disk("vdb", 10, "a")];
        assert_eq!(choose_root_device(&disks, &none, 1).unwrap().name, "vdb");
        disks.reverse();
        assert_eq!(choose_root_device(&disks, &none, 1).unwrap().name, "vdb");
    }

    #[test]
    fn a_removable_disk_is_never_the_default() {
        let stick = Disk { removable: true, ..disk("sda", 64, "usb") };
        let none = RootDeviceHints::default();
        assert_eq!(choose_root_device(&[stick], &none, 1), Err(RootDeviceError::NoDisk));
    }

    #[test]
    fn what_cannot_be_written_is_not_chosen_and_says_why() {
        let none = RootDeviceHints::default();
        type Spoil = fn(&mut Disk);
        let spoilt: [(Spoil, &str); 4] = [
            (|d| d.read_only = true, "it is read-only"),
            (|d| d.hidden = true, "it is a path to another disk"),
            (|d| d.sector_bytes = 4096, "its sectors of 4096 bytes are not supported"),
            (|d| d.serial = Some("b".into()), "cannot be told from vdb"),
        ];
        for (spoil, why) in spoilt {
            let mut disks = [disk("vda", 10, "a"), disk("vdb", 10, "b"), disk("vdc", 11, "c")];
            spoil(&mut disks[0]);
            let chosen = choose_root_device(&disks, &none, 1).unwrap();
            assert!(chosen.name != "vda" && chosen.unusable_among(&disks).is_none(), "{why}");
            let twins = &disks[..if why.contains("vdb") { 2 } else { 1 }];
            let error = choose_root_device(twins, &none, 1).unwrap_err().to_string();
            assert!(error.contains("vda (") && error.contains(why), "{error}");
            let hint = RootDeviceHints { serial: disks[0].serial.clone(), ..none.clone() };
            let error = choose_root_device(&disks, &hint, 1).unwrap_err().to_string();
            assert!(disks[0].hidden || error.contains(why), "{error}");
        }
    }

    #[test]
    fn two_paths_to_one_disk_are_one_by_their_wwn() {
        let path =
            |name: &str, serial: &str| Disk { wwn: Some("0x5".into()), ..disk(name, 10, serial) };
        let disks = [path("sda", "a"), path("sdb", "a")];
        let error = choose_root_device(&disks, &RootDeviceHints::default(), 1).unwrap_err();
        assert!(matches!(error, RootDeviceError::Unusable { .. }), "{error}");
        // Two namespaces of one NVMe controller have its serial number, and are two disks.
        let mut two = disks.clone();
        two[1].wwn = Some("0x6".into());
        assert!(choose_root_device(&two, &RootDeviceHints::default(), 1).is_ok());
    }

    #[test]
    fn a_hint_must_name_exactly_one_disk() {
        let disks = [disk("vda", 10, "a"), disk("vdb", 10, "b")];
        let hint = |f: fn(&mut RootDeviceHints)| {
            let mut hints = RootDeviceHints::default();
            f(&mut hints);
            choose_root_device(&disks, &hints, 1).map(|d| d.name.as_str())
        };
        assert_eq!(hint(|h| h.serial = Some("b".into())).unwrap(), "vdb");
        assert_eq!(hint(|h| h.name = Some("/dev/vda".into())).unwrap(), "vda");
        assert!(matches!(hint(|h| h.size = Some(10)), Err(RootDeviceError::Ambiguous { .. })));
        assert!(matches!(
            hint(|h| h.wwn = Some("0x5".into())),
            Err(RootDeviceError::NoMatch { .. })
        ));
    }
}
