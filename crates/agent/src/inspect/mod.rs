//! What the machine is made of, read from `/sys` and `/proc`.

pub mod content;
mod cpu;
mod disks;
mod nics;
mod system;

use undercloud_model::inventory::{Inventory, InventoryError};

use crate::sys::Host;

pub use disks::disks;
pub use nics::{nics, physical_interfaces};

/// Describes the machine.
///
/// # Errors
/// When what the kernel shows is nothing that a machine can have.
pub fn inspect(host: &Host) -> Result<Inventory, InventoryError> {
    nics::wait_for_carriers(host);
    let inventory = Inventory {
        cpu: cpu::cpu(&host.text("proc/cpuinfo").unwrap_or_default()),
        memory_bytes: cpu::memory_bytes(&host.text("proc/meminfo").unwrap_or_default()),
        disks: content::look(host, disks(host)),
        nics: nics(host),
        system: system::system(host),
    };
    inventory.check()?;
    Ok(inventory)
}

#[cfg(test)]
mod tests;
