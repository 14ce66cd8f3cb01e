//! What root inside must not be able to do, whatever it becomes: taken out of the bounding set, from
//! which a new program's capabilities come (capabilities(7)).

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};

use crate::MachineError;

/// Modules, clock, raw hardware, the kernel's log and keys, mandatory access control, suspend,
/// process accounting, files by handle (which reach past every mount), performance events.
const TAKEN: CapabilitySet = CapabilitySet::SYS_MODULE
    .union(CapabilitySet::SYS_TIME)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::WAKE_ALARM)
    .union(CapabilitySet::BLOCK_SUSPEND)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::PERFMON);

/// Gives them up for good.
pub(super) fn drop_all() -> Result<(), MachineError> {
    let give_up = || -> rustix::io::Result<()> {
        for capability in TAKEN.iter() {
            remove_capability_from_bounding_set(capability)?;
        }
        let now = capabilities(None)?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: now.effective.difference(TAKEN),
                permitted: now.permitted.difference(TAKEN),
                inheritable: CapabilitySet::empty(),
            },
        )
    };
    give_up().map_err(MachineError::io("give up capabilities"))
}
