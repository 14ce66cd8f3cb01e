//! Processors from `/proc/cpuinfo` and memory from `/proc/meminfo` (proc(5)).

use undercloud_model::inventory::Cpu;

use crate::sys::clean;

/// The processors that `/proc/cpuinfo` lists.
pub(super) fn cpu(cpuinfo: &str) -> Cpu {
    let fields = || cpuinfo.lines().filter_map(|l| l.split_once(':')).map(|(k, v)| (k.trim(), v));
    let first = |key: &str| fields().find(|(k, _)| *k == key).map(|(_, v)| v.trim());
    let count = fields().filter(|(k, _)| *k == "processor").count();
    // ARM calls them `Features`; it has no flag for virtualisation there.
    let flags = first("flags").unwrap_or_default();
    Cpu {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        architecture: std::env::consts::ARCH.to_owned(),
        model: first("model name").and_then(clean).unwrap_or_default(),
        virtualisation: flags.split_whitespace().any(|f| f == "svm" || f == "vmx"),
    }
}

/// `MemTotal` in bytes.
pub(super) fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
