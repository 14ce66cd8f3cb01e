//! What a running machine uses, as the kernel counts it for its QEMU (proc_pid_stat(5),
//! proc_pid_status(5), proc_pid_io(5), proc_pid_net(5)).

use std::{fs, time::Duration};

use super::MachineDefinition;
use crate::{LabNames, MachineKind};

/// Counters since the machine was switched on, and its memory as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MachineReadings {
    /// Processor time, over all of its processors and QEMU itself.
    pub cpu_time: Duration,
    /// Resident on this host, in bytes.
    pub memory_bytes: u64,
    /// Read from this host's disks, in bytes.
    pub disk_read_bytes: u64,
    /// Written to this host's disks, in bytes.
    pub disk_written_bytes: u64,
    /// Received by its NICs, in bytes.
    pub nic_received_bytes: u64,
    /// Sent by its NICs, in bytes.
    pub nic_sent_bytes: u64,
}

/// What a machine uses; `None` when it is gone.
pub(super) fn of(pid: i32, definition: &MachineDefinition, scope: &str) -> Option<MachineReadings> {
    let own = read(pid, definition)?;
    match definition.kind {
        MachineKind::Qemu => Some(own),
        MachineKind::Container => {
            let (cpu_us, memory_bytes) = undercloud_machine::cgroups::used(scope)?;
            Some(MachineReadings { cpu_time: Duration::from_micros(cpu_us), memory_bytes, ..own })
        }
    }
}

/// Reads the files of a QEMU; `None` when it is gone.
fn read(pid: i32, definition: &MachineDefinition) -> Option<MachineReadings> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let ticks = cpu_ticks(&file("stat")?)?;
    let io = file("io")?;
    let net = file("net/dev")?;
    let taps: Vec<String> = definition.nics.iter().map(|nic| LabNames::tap(nic.mac)).collect();
    let (nic_received_bytes, nic_sent_bytes) = taps_bytes(&net, &taps);
    Some(MachineReadings {
        cpu_time: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
        memory_bytes: number_after(&file("status")?, "VmRSS:")? << 10,
        disk_read_bytes: number_after(&io, "read_bytes:")?,
        disk_written_bytes: number_after(&io, "\nwrite_bytes:")?,
        nic_received_bytes,
        nic_sent_bytes,
    })
}

/// Fields 14 and 15, in user and in kernel mode. Field 2, the program's name, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut after_name = stat.rsplit_once(") ")?.1.split_ascii_whitespace().skip(11);
    let user: u64 = after_name.next()?.parse().ok()?;
    let kernel: u64 = after_name.next()?.parse().ok()?;
    user.checked_add(kernel)
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    text.split_once(name)?.1.split_ascii_whitespace().next()?.parse().ok()
}

/// What went through the taps, from the guest's side: the host's end receives what the guest sends.
fn taps_bytes(dev: &str, taps: &[String]) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for line in dev.lines() {
        let Some((name, fields)) = line.split_once(':') else { continue };
        if !taps.iter().any(|tap| tap == name.trim()) {
            continue;
        }
        let fields: Vec<u64> =
            fields.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        sums = (sums.0.saturating_add(field(8)), sums.1.saturating_add(field(0)));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "1571 (qemu (x) sys) S 1 1571 1571 0 -1 4194560 9 0 0 0 302 41 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(343));
        let io = "rchar: 5\nwchar: 6\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 8192\n\
                  cancelled_write_bytes: 1\n";
        assert_eq!(number_after(io, "read_bytes:"), Some(4096));
        assert_eq!(number_after(io, "\nwrite_bytes:"), Some(8192));
        let dev = "Inter-|   Receive\n face |bytes packets\n\
                   tap52540001: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n\
                   tap52540002: 7 1 0 0 0 0 0 0 9 2 0 0 0 0 0 0\n  lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n";
        let taps = ["tap52540001".to_owned(), "tap52540002".to_owned()];
        assert_eq!(taps_bytes(dev, &taps), (209, 107));
        assert_eq!(taps_bytes("", &taps), (0, 0));
        assert_eq!(cpu_ticks("nothing"), None);
    }
}
