//! Dresses a machine of the lab as hardware: `bmc` speaks IPMI, `lab` has the machine, and this
//! says the one's words in the other's.

use async_trait::async_trait;
use undercloud_bmc::{
    guid::Guid,
    machine::{
        BootDevice as WireDevice, BootFlags as WireFlags, Identity, Machine as Controlled,
        MachineError, PowerAction as WireAction, PowerState as WirePower,
    },
};
use undercloud_lab::{BootFlags, LabError, Machine};
use undercloud_model::{BootDevice, ErrorKind, PowerAction, PowerState};

/// The controller's firmware version, as `mc info` shows it.
const FIRMWARE: (u8, u8) = (1, 0);

/// A machine of the lab behind a BMC.
#[derive(Debug)]
pub(crate) struct VirtualBmc {
    machine: Machine,
}

impl VirtualBmc {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine }
    }
}

fn refused(error: LabError) -> MachineError {
    match error.kind() {
        ErrorKind::Conflict => MachineError::WrongState,
        ErrorKind::Busy => MachineError::Busy,
        ErrorKind::NotFound
        | ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Unavailable
        | ErrorKind::Bug => MachineError::Failed(format!("{:#}", anyhow::Error::new(error))),
    }
}

#[async_trait]
impl Controlled for VirtualBmc {
    async fn power_state(&self) -> Result<WirePower, MachineError> {
        Ok(match self.machine.power_state() {
            PowerState::On => WirePower::On,
            PowerState::Off => WirePower::Off,
        })
    }

    async fn power(&self, action: WireAction) -> Result<(), MachineError> {
        let action = match action {
            WireAction::On => PowerAction::On,
            WireAction::Off => PowerAction::Off,
            WireAction::Cycle => PowerAction::Cycle,
            WireAction::Reset => PowerAction::Reset,
            WireAction::Soft => PowerAction::SoftOff,
            WireAction::Diag => {
                return self.machine.diagnostic_interrupt().await.map_err(refused);
            }
        };
        self.machine.power(action).await.map_err(refused)
    }

    async fn boot_flags(&self) -> Result<WireFlags, MachineError> {
        Ok(self.machine.boot_flags().flags.map_or(WireFlags::NONE, |flags| WireFlags {
            device: match flags.device {
                BootDevice::Pxe => WireDevice::Pxe,
                BootDevice::Disk => WireDevice::Disk,
                BootDevice::Cdrom => WireDevice::Cdrom,
            },
            efi: flags.efi,
            persistent: flags.persistent,
            valid: true,
        }))
    }

    async fn set_boot_flags(&self, flags: WireFlags) -> Result<(), MachineError> {
        let device = match flags.device {
            WireDevice::None => None,
            WireDevice::Pxe => Some(BootDevice::Pxe),
            WireDevice::Disk => Some(BootDevice::Disk),
            WireDevice::Cdrom => Some(BootDevice::Cdrom),
            WireDevice::Safe
            | WireDevice::Diag
            | WireDevice::Bios
            | WireDevice::RemoteFloppy
            | WireDevice::RemoteCdrom
            | WireDevice::RemoteMedia
            | WireDevice::RemoteDisk
            | WireDevice::Floppy => return Err(MachineError::Unsupported),
        };
        let (efi, persistent) = (flags.efi, flags.persistent);
        let wanted = device.filter(|_| flags.valid);
        let wanted = wanted.map(|device| BootFlags { device, efi, persistent });
        self.machine.set_boot_flags(wanted).await.map_err(refused)
    }

    fn identity(&self) -> Identity {
        let definition = self.machine.definition();
        let guid = definition.system_guid;
        Identity {
            // The controller is another thing than the machine: the same GUID with the last bit
            // turned.
            device_guid: Guid((guid.as_u128() ^ 1).to_be_bytes()),
            system_guid: Guid(*guid.as_bytes()),
            firmware: FIRMWARE,
            name: definition.name.to_string(),
        }
    }
}
