//! What is on the disks: reads the ends of each disk and of each partition on it, and has them
//! recognised ([`signature`]). Reads only.
//!
//! The places are those that a wipe overwrites ([`END_BYTES`]), so that a disk that was wiped is
//! seen as empty.

pub mod signature;
#[cfg(test)]
mod tests;

use std::{io, thread};

use undercloud_model::{Content, Finding, inventory::Disk};

use self::signature::Area;
use crate::{
    device::{END_BYTES, Partition, ReadBack, partitions},
    sys::Host,
};

/// So many disks are read at once: some have to begin to turn first.
const AT_ONCE: usize = 16;

/// The disks, with what is on them.
pub(super) fn look(host: &Host, mut disks: Vec<Disk>) -> Vec<Disk> {
    for some in disks.chunks_mut(AT_ONCE) {
        thread::scope(|scope| {
            for disk in some {
                scope.spawn(move || disk.content = of_disk(host, disk));
            }
        });
    }
    disks
}

fn of_disk(host: &Host, disk: &Disk) -> Content {
    // It has no device node.
    if disk.hidden {
        return Content::NotLooked;
    }
    match findings(host, disk) {
        Ok(parts) => Content::Found { parts },
        Err(error) => Content::Unreadable { why: error.to_string() },
    }
}

fn findings(host: &Host, disk: &Disk) -> io::Result<Vec<Finding>> {
    let device = ReadBack::open(host, &disk.name)?;
    let mut parts = of_area(&device, None, 0, disk.size_bytes)?;
    for Partition { number, start, length } in partitions(host, &disk.name) {
        let start = start.min(disk.size_bytes);
        let length = length.min(disk.size_bytes - start);
        parts.extend(of_area(&device, Some(number), start, length)?);
    }
    Ok(parts)
}

fn of_area(
    device: &ReadBack,
    partition: Option<u32>,
    at: u64,
    length: u64,
) -> io::Result<Vec<Finding>> {
    let end = length.min(END_BYTES);
    let head = device.bytes(at, end)?;
    let tail = device.bytes(at + length - end, end)?;
    let area = Area { head: &head, tail: &tail, length, is_disk: partition.is_none() };
    let found = signature::recognise(&area).into_iter();
    Ok(found
        .map(|found| Finding { partition, at, what: found.what, label: found.label, id: found.id })
        .collect())
}
