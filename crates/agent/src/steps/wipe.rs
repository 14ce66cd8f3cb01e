//! `WipeMetadata`: overwrites the places where partition tables, file systems, volume managers and
//! arrays keep what they are recognised by, and reads them back from the disk.
//!
//! Those places are the beginnings and ends of every disk and of every partition on it. One MiB at
//! each holds the MBR, both GUID tables, the superblocks of ext4 (at 1 KiB), XFS (0), btrfs
//! (64 KiB), LVM (sector 1), swap (4086), MD of all versions (0, 4 KiB or the end) and ZFS's labels
//! (two of 256 KiB at each end).

use std::{fs::File, io, os::unix::fs::FileExt};

use undercloud_model::{
    agent::{StepFailure, StepFailureKind, WipeReceipt},
    inventory::Disk,
};

use crate::{
    device::{ReadBack, describe, failure, identity, open},
    inspect::disks,
    log::Log,
    sys::Host,
};

/// How much is overwritten at each end.
const END_BYTES: u64 = 1 << 20;

/// Wipes every disk that is not removable.
pub(super) fn wipe(host: &Host, log: &Log) -> Result<Vec<WipeReceipt>, StepFailure> {
    let fixed = disks(host).into_iter().filter(|d| !d.removable);
    fixed.map(|disk| wipe_disk(host, &disk, log)).collect()
}

fn wipe_disk(host: &Host, disk: &Disk, log: &Log) -> Result<WipeReceipt, StepFailure> {
    let id = identity(disk);
    let file = open(host, disk)?;
    let ranges = ranges(disk.size_bytes, &partitions(host, &disk.name));
    let failed = |what: &str, e: &io::Error| {
        failure(StepFailureKind::DiskIo, format_args!("cannot {what} {}: {e}", describe(&id)))
    };
    for (start, end) in &ranges {
        zero(&file, *start, *end).map_err(|e| failed("wipe", &e))?;
    }
    file.sync_all().map_err(|e| failed("sync", &e))?;
    drop(file);
    let disk_now = ReadBack::open(host, &disk.name).map_err(|e| failed("read back", &e))?;
    let mut zeroed_bytes = 0;
    for (start, end) in &ranges {
        let mut zero = true;
        let look = |piece: &[u8]| zero &= piece.iter().all(|b| *b == 0);
        disk_now.each(*start, end - start, look).map_err(|e| failed("read back", &e))?;
        if !zero {
            let message = format!("{} still holds data after it was wiped", describe(&id));
            return Err(failure(StepFailureKind::DiskIo, message));
        }
        zeroed_bytes += end - start;
    }
    log.say(format_args!("wiped {} bytes of {}, read back as zero", zeroed_bytes, describe(&id)));
    Ok(WipeReceipt { disk: id, zeroed_bytes })
}

/// Where the partitions are that the kernel sees on this disk, as first byte and length.
fn partitions(host: &Host, disk: &str) -> Vec<(u64, u64)> {
    let at = format!("sys/class/block/{disk}");
    let names = host.names(&at).into_iter().filter(|n| n.starts_with(disk));
    let number = |n: &str, file: &str| host.number(format!("{at}/{n}/{file}"))?.checked_mul(512);
    names.filter_map(|n| Some((number(&n, "start")?, number(&n, "size")?))).collect()
}

/// The ranges to overwrite, ordered, without overlap, inside the disk.
fn ranges(disk_bytes: u64, partitions: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let parts = partitions.iter().copied();
    for (start, length) in parts.chain([(0, disk_bytes)]) {
        let start = start.min(disk_bytes);
        let end = start.saturating_add(length).min(disk_bytes);
        ranges.push((start, end.min(start.saturating_add(END_BYTES))));
        ranges.push((start.max(end.saturating_sub(END_BYTES)), end));
    }
    ranges.retain(|(start, end)| start < end);
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn zero(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0u8; 1 << 20];
    let mut at = start;
    while at < end {
        let n = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_ordered_apart_and_inside(disk: u64, parts: Vec<(u64, u64)>) {
            let ranges = ranges(disk, &parts);
            prop_assert!(ranges.iter().all(|(s, e)| s < e && *e <= disk));
            prop_assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0));
            if disk > 0 {
                prop_assert_eq!(ranges[0].0, 0);
                prop_assert_eq!(ranges[ranges.len() - 1].1, disk);
            }
        }
    }

    #[test]
    fn both_ends_of_disk_and_partition() {
        const MIB: u64 = 1 << 20;
        assert_eq!(ranges(MIB, &[]), [(0, MIB)]);
        assert_eq!(
            ranges(100 * MIB, &[(10 * MIB, 20 * MIB)]),
            [(0, MIB), (10 * MIB, 11 * MIB), (29 * MIB, 30 * MIB), (99 * MIB, 100 * MIB)]
        );
    }
}
