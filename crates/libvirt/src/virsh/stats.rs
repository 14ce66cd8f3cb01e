//! `domstats`: lines of `name=value`, the domain's name before them.

use std::{collections::HashMap, time::Duration};

use undercloud_bmc::machine::Readings;

/// Groups that are asked for.
pub(crate) const OPTIONS: [&str; 6] =
    ["--cpu-total", "--vcpu", "--balloon", "--interface", "--block", "--nowait"];

/// Reads it. What is not there is zero: a domain without disks has read nothing from them.
pub(crate) fn read(text: &str) -> Readings {
    let mut values: HashMap<&str, u64> = HashMap::new();
    for line in text.lines() {
        if let Some((name, value)) = line.trim_start().split_once('=')
            && let Ok(value) = value.parse()
        {
            values.entry(name).or_insert(value);
        }
    }
    let value = |name: &str| values.get(name).copied().unwrap_or_default();
    let sum = |group: &str, what: &str| {
        let ours = |name: &str| {
            let index = name.strip_prefix(group).and_then(|rest| rest.strip_suffix(what));
            index
                .is_some_and(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()))
        };
        values
            .iter()
            .filter(|(name, _)| ours(name))
            .fold(0, |all: u64, (_, n)| all.saturating_add(*n))
    };
    Readings {
        cpu_time: Duration::from_nanos(value("cpu.time")),
        cpu_count: u32::try_from(value("vcpu.current")).unwrap_or(u32::MAX),
        // What QEMU needs for itself is not the machine's.
        memory_bytes: value("balloon.rss").min(value("balloon.maximum")).saturating_mul(1024),
        memory_max_bytes: value("balloon.maximum").saturating_mul(1024),
        disk_read_bytes: sum("block.", ".rd.bytes"),
        disk_written_bytes: sum("block.", ".wr.bytes"),
        nic_received_bytes: sum("net.", ".rx.bytes"),
        nic_sent_bytes: sum("net.", ".tx.bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libvirt_9_prints_names_and_values() {
        let text = "Domain: 'web'\n  cpu.time=770000000\n  balloon.maximum=32768\n  \
                    balloon.rss=51308\n  vcpu.current=1\n  net.count=1\n  net.0.rx.bytes=7\n  \
                    block.count=2\n  block.0.name=vda\n  block.0.rd.bytes=1024\n  \
                    block.1.rd.bytes=2\n  block.1.wr.bytes=3\n  cpu.time=1\n";
        let readings = read(text);
        assert_eq!(readings.cpu_time, Duration::from_millis(770), "the first one counts");
        assert_eq!((readings.disk_read_bytes, readings.disk_written_bytes), (1026, 3));
        assert_eq!((readings.nic_received_bytes, readings.cpu_count), (7, 1));
        assert_eq!(readings.memory_bytes, 32768 << 10, "QEMU's own is not the machine's");
    }
}
