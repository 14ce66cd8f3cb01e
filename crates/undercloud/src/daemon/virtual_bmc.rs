//! Dresses a machine of the lab as hardware: `bmc` speaks IPMI, `lab` has the machine, and this
//! says the one's words in the other's.

use std::any::Any;

use async_trait::async_trait;
use tokio::sync::watch;
use undercloud_bmc::{
    guid::Guid,
    machine::{
        BootDevice as WireDevice, BootFlags as WireFlags, Identity, Inventory,
        Machine as Controlled, MachineError, Media, MediaSlot, PowerAction as WireAction,
        PowerState as WirePower, Readings, SerialLine,
        inventory::{Drive, Nic, Processor},
    },
    redfish::link::Trust,
};
use undercloud_lab::{
    Acceleration, BootFlags, LabError, Machine, MachineDefinition, MachineKind, MediaDrive as Slot,
    PowerChanges,
};
use undercloud_model::{BootDevice, BootMode, ErrorKind, PowerAction, PowerState};

use super::media_drive::MediaDrive;

/// The controller's firmware version, as `mc info` shows it.
const FIRMWARE: (u8, u8) = (1, 0);

/// A machine of the lab behind a BMC.
#[derive(Debug)]
pub(crate) struct VirtualBmc {
    machine: Machine,
    acceleration: Acceleration,
    power: watch::Receiver<WirePower>,
    cd: MediaDrive,
    usb: MediaDrive,
}

impl VirtualBmc {
    /// And what follows its power, to be run for as long as it is there; that ends when nobody
    /// minds the machine any more. Servers of images must show a certificate that is good by
    /// `trust`.
    pub(crate) fn new(
        machine: Machine,
        acceleration: Acceleration,
        trust: Trust,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (seen, power) = watch::channel(wire(machine.power_state()));
        let followed = follow(machine.power_changes(), machine.power_state(), seen);
        let cd = MediaDrive::new(machine.clone(), Slot::Cd, trust.clone());
        let usb = MediaDrive::new(machine.clone(), Slot::Usb, trust);
        (Self { machine, acceleration, power, cd, usb }, followed)
    }

    fn drive(&self, slot: MediaSlot) -> &MediaDrive {
        match slot {
            MediaSlot::Cd => &self.cd,
            MediaSlot::UsbStick => &self.usb,
        }
    }
}

/// Passes observed power on, until nobody listens or nobody minds the machine any more.
async fn follow(mut changes: PowerChanges, mut known: PowerState, seen: watch::Sender<WirePower>) {
    loop {
        tokio::select! {
            biased;
            () = seen.closed() => return,
            power = changes.other_than(known) => {
                let Some(power) = power else { return };
                known = power;
                seen.send_replace(wire(power));
            }
        }
    }
}

fn wire(power: PowerState) -> WirePower {
    match power {
        PowerState::On => WirePower::On,
        PowerState::Off => WirePower::Off,
    }
}

/// As SMBIOS and the devices in `undercloud_lab` say it from inside.
fn inventory(definition: &MachineDefinition, acceleration: Acceleration) -> Inventory {
    let model = match (definition.kind, acceleration) {
        (MachineKind::Container, _) | (MachineKind::Qemu, Acceleration::Kvm) => "as the host's",
        (MachineKind::Qemu, Acceleration::Tcg) => "AMD EPYC (emulated)",
    };
    let nic = |nic: &undercloud_lab::NicDefinition| Nic {
        name: nic.network.to_string(),
        mac: *nic.mac.as_bytes(),
        speed_mbps: None,
    };
    let drive = |(index, disk): (usize, undercloud_lab::DiskDefinition)| Drive {
        name: if index == 0 { "disk".to_owned() } else { format!("disk{index}") },
        serial_number: disk.serial,
        model: "virtio".to_owned(),
        capacity_bytes: u64::from(disk.gib) << 30,
    };
    Inventory {
        manufacturer: "undercloud".to_owned(),
        model: "lab".to_owned(),
        serial_number: definition.name.to_string(),
        asset_tag: definition.profile.clone(),
        firmware_version: match (definition.kind, definition.firmware) {
            (MachineKind::Container, _) => "none: a container".to_owned(),
            (MachineKind::Qemu, BootMode::Bios) => "SeaBIOS".to_owned(),
            (MachineKind::Qemu, BootMode::Uefi) => "OVMF".to_owned(),
        },
        uefi: definition.firmware == BootMode::Uefi,
        secure_boot: None,
        processors: vec![Processor {
            model: model.to_owned(),
            cores: definition.cpus,
            threads: definition.cpus,
        }],
        memory_mib: u64::from(definition.memory_mib),
        nics: definition.nics.iter().map(nic).collect(),
        drives: definition.disks().enumerate().map(drive).collect(),
    }
}

pub(super) fn refused(error: LabError) -> MachineError {
    if matches!(error, LabError::NoDriveEver { .. }) {
        return MachineError::Unsupported;
    }
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
        Ok(wire(self.machine.power_state()))
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
                BootDevice::Usb => WireDevice::Floppy,
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
            // "Floppy or primary removable media" (table 28-14).
            WireDevice::Floppy => Some(BootDevice::Usb),
            WireDevice::Safe
            | WireDevice::Diag
            | WireDevice::Bios
            | WireDevice::RemoteFloppy
            | WireDevice::RemoteCdrom
            | WireDevice::RemoteMedia
            | WireDevice::RemoteDisk => return Err(MachineError::Unsupported),
        };
        let (efi, persistent) = (flags.efi, flags.persistent);
        let wanted = device.filter(|_| flags.valid);
        let wanted = wanted.map(|device| BootFlags { device, efi, persistent });
        self.machine.set_boot_flags(wanted).await.map_err(refused)
    }

    fn inventory(&self) -> Inventory {
        inventory(self.machine.definition(), self.acceleration)
    }

    async fn readings(&self) -> Result<Readings, MachineError> {
        let found = self.machine.readings().ok_or(MachineError::WrongState)?;
        let definition = self.machine.definition();
        Ok(Readings {
            cpu_time: found.cpu_time,
            cpu_count: definition.cpus,
            memory_bytes: found.memory_bytes,
            memory_max_bytes: u64::from(definition.memory_mib) << 20,
            disk_read_bytes: found.disk_read_bytes,
            disk_written_bytes: found.disk_written_bytes,
            nic_received_bytes: found.nic_received_bytes,
            nic_sent_bytes: found.nic_sent_bytes,
        })
    }

    fn power_changes(&self) -> Option<watch::Receiver<WirePower>> {
        Some(self.power.clone())
    }

    async fn open_serial(&self) -> Result<SerialLine, MachineError> {
        let port = self.machine.open_serial().await.map_err(refused)?;
        let held: Box<dyn Any + Send> = Box::new(port.lock);
        Ok(SerialLine { stream: Box::new(port.stream), send_break: None, held: Some(held) })
    }

    fn media_slots(&self) -> &'static [MediaSlot] {
        match self.machine.definition().kind {
            MachineKind::Qemu => &MediaSlot::ALL,
            MachineKind::Container => &[],
        }
    }

    async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, MachineError> {
        self.drive(slot).media()
    }

    async fn set_media(&self, slot: MediaSlot, media: Option<Media>) -> Result<(), MachineError> {
        self.drive(slot).set(media).await
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
