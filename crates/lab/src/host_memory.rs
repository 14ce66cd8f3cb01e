//! Does it fit? What machines need of this host's memory, and what is free.

use camino::Utf8Path;

use crate::{Acceleration, LabError, MachineKind};

/// QEMU itself, its devices and its firmware, for each machine. Measured: 60 to 90 MiB.
const QEMU_OVERHEAD_MIB: u64 = 96;

/// Emulation's translation cache for each machine; QEMU's own default would be 1 GiB.
pub(crate) const TRANSLATION_CACHE_MIB: u64 = 512;

/// A container has no memory of its own: its size is a limit. Measured: a controller uses 45 % of
/// what it may, a compute machine with a server 25 %.
const CONTAINER_PERCENT: u64 = 50;

/// What machines need of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Their sum, everything included.
    pub needed_mib: u64,
    /// What the kernel says can be used without swapping.
    pub available_mib: u64,
}

impl MemoryNeed {
    /// What machines with these sizes need, beside what is free now.
    ///
    /// # Errors
    /// When the kernel's figure cannot be read.
    pub fn of(
        machines: impl IntoIterator<Item = (MachineKind, u32)>,
        acceleration: Acceleration,
    ) -> Result<Self, LabError> {
        let cache = match acceleration {
            Acceleration::Kvm => 0,
            Acceleration::Tcg => TRANSLATION_CACHE_MIB,
        };
        let need = |(kind, size): (MachineKind, u32)| match kind {
            MachineKind::Qemu => u64::from(size) + QEMU_OVERHEAD_MIB + cache,
            MachineKind::Container => u64::from(size) * CONTAINER_PERCENT / 100,
        };
        let needed_mib = machines.into_iter().map(need).sum();
        let path = Utf8Path::new("/proc/meminfo");
        let text = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
        Ok(Self { needed_mib, available_mib: available_mib(&text) })
    }

    pub(crate) fn check(self, what: impl Into<String>) -> Result<(), LabError> {
        let Self { needed_mib, available_mib } = self;
        if needed_mib <= available_mib {
            return Ok(());
        }
        Err(LabError::NotEnoughMemory { what: what.into(), needed_mib, available_mib })
    }
}

fn available_mib(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figure_is_read() {
        let text = "MemTotal:       24682312 kB\nMemFree: 1 kB\nMemAvailable:   20480000 kB\n";
        assert_eq!(available_mib(text), 20_000);
        assert_eq!(available_mib(""), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let need = MemoryNeed { needed_mib: 8000, available_mib: 7999 };
        let text = need.check("the lab").unwrap_err().to_string();
        assert!(text.contains("8000") && text.contains("7999") && text.contains("the lab"));
        assert!(MemoryNeed { needed_mib: 7999, ..need }.check("the lab").is_ok());
    }

    #[test]
    fn emulation_costs_a_translation_cache_for_each_machine() {
        let sum = |kind, acceleration| {
            MemoryNeed::of([(kind, 128), (kind, 256)], acceleration).unwrap().needed_mib
        };
        let qemu = |acceleration| sum(MachineKind::Qemu, acceleration);
        assert_eq!(qemu(Acceleration::Tcg) - qemu(Acceleration::Kvm), 2 * TRANSLATION_CACHE_MIB);
        assert_eq!(sum(MachineKind::Container, Acceleration::Tcg), 192);
    }
}
