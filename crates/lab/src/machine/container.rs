//! Starts a machine that is a container: this program in QEMU's place, with the same sockets, in the
//! same directory, found by the same GUID.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use camino::Utf8PathBuf;
use undercloud_machine::{Card, Disk, Firmware, Settings};
use undercloud_model::BootMode;

use super::{
    Host, MachineDefinition,
    boot::{self, Order},
    files::{MachineFiles, make_directory, write_json},
    process::GUID_OPTION,
};
use crate::{LabError, LabNames, MachineKind, command};

/// The hidden command of this program that is such a machine.
const COMMAND: &str = "machine";

pub(super) fn spawn(
    machine: &MachineDefinition,
    files: &MachineFiles,
    host: &Host,
    order: Order,
) -> Result<Child, LabError> {
    let log = files.open_qemu_log()?;
    let settings = settings(machine, files, host, order);
    make_directory(&settings.root, 0o700)?;
    let path = files.container_settings();
    write_json(&path, &settings, 0o600)?;
    // What an earlier process left by its violent end.
    clean(machine, files, host);
    let guid = machine.system_guid.to_string();
    let failed = |source| LabError::Spawn { program: host.program.display().to_string(), source };
    Command::new(&host.program)
        .args([COMMAND, GUID_OPTION, &guid, path.as_str()])
        .env_clear()
        .env("PATH", command::PATH)
        .env("LC_ALL", "C")
        .current_dir(files.vm())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        // No terminal and no service manager ends it with us.
        .process_group(0)
        .spawn()
        .map_err(failed)
}

/// Removes what the kernel does not remove with a container's processes.
pub(super) fn clean(machine: &MachineDefinition, files: &MachineFiles, host: &Host) {
    if machine.kind == MachineKind::Qemu {
        return;
    }
    if let Err(error) = undercloud_machine::cgroups::remove(&host.names.scope(&machine.name)) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(machine = %machine.name, error, "control groups are left");
    }
    for disk in files.disks(machine) {
        if let Err(error) = undercloud_machine::release(&disk) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(machine = %machine.name, error, "loop devices are left");
        }
    }
}

fn settings(
    machine: &MachineDefinition,
    files: &MachineFiles,
    host: &Host,
    order: Order,
) -> Settings {
    let card = |nic: &super::NicDefinition| Card {
        mac: nic.mac,
        port: LabNames::tap(nic.mac),
        bridge: host.names.bridge(&nic.network),
    };
    Settings {
        name: machine.name.to_string(),
        scope: host.names.scope(&machine.name),
        system_guid: machine.system_guid,
        firmware: match machine.firmware {
            BootMode::Bios => Firmware::Bios,
            BootMode::Uefi => Firmware::Uefi,
        },
        disk: files.disk(),
        disk_serial: machine.disk_serial.clone(),
        more_disks: further_disks(machine, files),
        root: files.container_root(),
        namespace: host.namespace.clone(),
        cards: machine.nics.iter().map(card).collect(),
        memory_mib: machine.memory_mib,
        cpus: machine.cpus,
        order: order
            .iter()
            .filter(|device| matches!(**device, boot::DISK | boot::NIC))
            .map(|device| (*device).to_owned())
            .collect(),
        blobs: blobs(&host.names),
    }
}

fn further_disks(machine: &MachineDefinition, files: &MachineFiles) -> Vec<Disk> {
    let disks = files.disks(machine).into_iter().zip(machine.disks()).skip(1);
    disks.map(|(file, disk)| Disk { file, serial: disk.serial }).collect()
}

/// Where this state keeps its images (`image`'s `blob`).
fn blobs(names: &LabNames) -> Utf8PathBuf {
    names.state().join("blobs")
}
