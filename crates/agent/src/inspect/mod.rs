//! What the machine is made of, read from `/sys` and `/proc`.

pub mod content;
mod cpu;
mod disks;
mod nics;
mod system;

use undercloud_model::inventory::{Datapath, Inventory, InventoryError};

use crate::{container::is_container, sys::Host};

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
        datapath: datapath(host),
    };
    inventory.check()?;
    Ok(inventory)
}

/// The kernel's, unless this machine is a container on a kernel that does not have it now: it cannot
/// load what is missing. Any other machine gets a kernel of ours, with its modules, whatever the
/// ramdisk's has.
fn datapath(host: &Host) -> Datapath {
    if !is_container(host) || has_module(host, "openvswitch") {
        return Datapath::Kernel;
    }
    Datapath::Userspace
}

/// Whether the kernel has loaded a module. One that is built in shows itself in `/sys/module` where
/// it has a version or parameters.
fn has_module(host: &Host, name: &str) -> bool {
    let loaded = host.text("proc/modules").unwrap_or_default();
    host.has(format!("sys/module/{name}"))
        || loaded.lines().any(|line| line.split(' ').next() == Some(name))
}

#[cfg(test)]
mod tests;
