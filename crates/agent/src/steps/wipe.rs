//! `WipeDisks`: overwrites the places where partition tables, file systems, volume managers and
//! arrays keep what they are recognised by, and reads them back from the disk.
//!
//! Those places are the beginnings and ends of the disk and of every partition on it
//! ([`END_BYTES`]). Disks that the order does not name are not opened.

use std::{fs::File, io, os::unix::fs::FileExt};

use undercloud_model::{
    agent::{DiskIdentity, StepFailure, StepFailureKind, WipeReceipt},
    inventory::Disk,
};

use crate::{
    device::{END_BYTES, Partition, ReadBack, describe, failure, find, open, partitions},
    log::Log,
    sys::Host,
};

/// Wipes these disks. All of them are found before the first is touched.
pub(crate) fn wipe(
    host: &Host,
    disks: &[DiskIdentity],
    log: &Log,
) -> Result<Vec<WipeReceipt>, StepFailure> {
    let found: Vec<Disk> = disks.iter().map(|disk| find(host, disk)).collect::<Result<_, _>>()?;
    found.iter().map(|disk| wipe_disk(host, disk, log)).collect()
}

fn wipe_disk(host: &Host, disk: &Disk, log: &Log) -> Result<WipeReceipt, StepFailure> {
    let id = disk.identity();
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

/// The ranges to overwrite, ordered, without overlap, inside the disk.
fn ranges(disk_bytes: u64, partitions: &[Partition]) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let parts = partitions.iter().map(|p| (p.start, p.length));
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
            let part = |(start, length)| Partition { number: 1, start, length };
            let parts: Vec<Partition> = parts.into_iter().map(part).collect();
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
        let part = Partition { number: 1, start: 10 * MIB, length: 20 * MIB };
        assert_eq!(
            ranges(100 * MIB, &[part]),
            [(0, 2 * MIB), (10 * MIB, 12 * MIB), (28 * MIB, 30 * MIB), (98 * MIB, 100 * MIB)]
        );
    }
}
