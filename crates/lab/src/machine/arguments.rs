//! QEMU's command line for a machine, and what runs it as its own user in its own session.
//!
//! Paths are relative to the machine's `vm` directory, QEMU's working directory: the state
//! directory above it is closed to QEMU's user. Devices have fixed PCI addresses, so that a guest
//! names its interfaces the same in every version of this program.

use undercloud_model::BootMode;

use super::{
    Host, MachineDefinition, boot,
    boot::Order,
    files::{InsertedMedia, disk_file},
    media::{MediaDrive, NOTHING, USB_CONTROLLER},
};
use crate::{Acceleration, LabNames, host_memory::TRANSLATION_CACHE_MIB};

/// PCI slot of the disk; the random number generator and the NICs follow.
const SLOT_DISK: u8 = 2;
const SLOT_RNG: u8 = 3;
const SLOT_NIC_FIRST: u8 = 4;
/// Disks beyond the first one, behind all NICs, so that a guest counts both as without them.
const SLOT_MORE_DISKS: u8 = 0x10;
/// Behind all NICs, so that those keep theirs.
const SLOT_USB: u8 = 0x1d;

/// How long a BIOS machine waits before it goes through its boot order again.
const RETRY_AFTER_MS: u32 = 5000;

/// Virtio 1.0 only: every guest since Linux 4.0 speaks it, and it has one PCI id per device kind.
const MODERN: &str = "disable-legacy=on,disable-modern=off";

/// A program and its arguments that end in QEMU: a new session, so that no terminal and no
/// service manager ends it with us; the machine's user, no groups, no capabilities.
pub(crate) fn as_user(uid: u32, qemu: &str) -> Vec<String> {
    let id = uid.to_string();
    ["setsid", "setpriv"]
        .into_iter()
        .map(str::to_owned)
        .chain([
            format!("--reuid={id}"),
            format!("--regid={id}"),
            "--clear-groups".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
            "--no-new-privs".to_owned(),
            "--".to_owned(),
            qemu.to_owned(),
        ])
        .collect()
}

/// QEMU's sandbox: no obsolete system calls, no change of user, no new program, no change of
/// priorities.
pub(crate) const SANDBOX: &str =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What a machine starts with in its drives.
#[derive(Debug, Default)]
pub(crate) struct InDrives {
    pub(crate) cd: Option<InsertedMedia>,
    pub(crate) usb: Option<InsertedMedia>,
}

/// The whole command line that starts `machine`, booting in `order`, with `media` in its drives.
pub(crate) fn command_line(
    machine: &MachineDefinition,
    host: &Host,
    order: Order,
    media: &InDrives,
) -> Vec<String> {
    let mut line = as_user(machine.uid, host.files.qemu.as_str());
    line.extend(board(machine, host.acceleration));
    line.extend(firmware(machine, host));
    line.extend(sockets());
    for (index, disk) in machine.disks().enumerate() {
        line.extend(self::disk(index, &disk.serial, order));
    }
    line.extend(cd_drive(order, media.cd.as_ref()));
    line.extend(usb(order, media.usb.as_ref()));
    line.extend(random());
    for index in 0..machine.nics.len() {
        line.extend(nic(machine, index, order));
    }
    line
}

fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
}

fn board(machine: &MachineDefinition, acceleration: Acceleration) -> Vec<String> {
    let (name, cpus) = (&machine.name, machine.cpus);
    let mut line = vec!["-nodefaults".to_owned(), "-no-user-config".to_owned()];
    // No display: SeaBIOS then prints on the serial port, where OVMF prints anyway.
    line.extend(pairs([
        ("-name", format!("guest={name},debug-threads=off")),
        ("-uuid", machine.system_guid.to_string()),
        ("-machine", "q35,usb=off,vmport=off,graphics=off".to_owned()),
        ("-display", "none".to_owned()),
        ("-m", format!("{}M", machine.memory_mib)),
        ("-smp", format!("{cpus},sockets=1,cores={cpus},threads=1")),
        ("-sandbox", SANDBOX.to_owned()),
        ("-rtc", "base=utc".to_owned()),
        ("-smbios", format!("type=1,manufacturer=undercloud,product=lab,serial={name}")),
    ]));
    line.extend(match acceleration {
        Acceleration::Kvm => pairs([("-accel", "kvm".to_owned()), ("-cpu", "host".to_owned())]),
        // This model has SVM, so that servers on the compute machine run at its own speed, and is
        // quicker to emulate than `max`.
        Acceleration::Tcg => pairs([
            ("-accel", format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}")),
            ("-cpu", "EPYC".to_owned()),
        ]),
    });
    line
}

fn firmware(machine: &MachineDefinition, host: &Host) -> Vec<String> {
    match machine.firmware {
        // As servers do: when nothing booted, try again. SeaBIOS alone would stand still.
        BootMode::Bios => pairs([("-boot", format!("reboot-timeout={RETRY_AFTER_MS}"))]),
        BootMode::Uefi => pairs([
            (
                "-blockdev",
                format!(
                    "driver=file,node-name=code,read-only=on,filename={}",
                    comma_safe(host.files.ovmf_code.as_str())
                ),
            ),
            ("-blockdev", "driver=file,node-name=vars,filename=vars.fd".to_owned()),
            ("-machine", "pflash0=code,pflash1=vars".to_owned()),
        ]),
    }
}

fn sockets() -> Vec<String> {
    pairs([
        ("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off".to_owned()),
        ("-mon", "chardev=qmp,mode=control".to_owned()),
        (
            "-chardev",
            "socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=console.log,\
             logappend=on"
                .to_owned(),
        ),
        ("-serial", "chardev:serial0".to_owned()),
    ])
}

/// The first one is booted from; the others are where data goes.
fn disk(index: usize, serial: &str, order: Order) -> Vec<String> {
    let file = disk_file(index);
    let (id, node, slot) = match index {
        0 => (boot::DISK.to_owned(), "disk".to_owned(), SLOT_DISK),
        _ => {
            let further = u8::try_from(index - 1).unwrap_or(u8::MAX - SLOT_MORE_DISKS);
            (format!("disk{index}"), format!("disk-{index}"), SLOT_MORE_DISKS + further)
        }
    };
    let index = bootindex(order, &id);
    pairs([
        (
            "-blockdev",
            format!("driver=file,node-name={node}-file,filename={file},discard=unmap,aio=threads"),
        ),
        (
            "-blockdev",
            format!(
                "driver=raw,node-name={node},file={node}-file,discard=unmap,detect-zeroes=unmap"
            ),
        ),
        (
            "-device",
            format!(
                "virtio-blk-pci,id={id},drive={node},serial={serial},addr={slot:#x},{MODERN}{index}"
            ),
        ),
    ])
}

/// At the board's own AHCI controller: it takes no PCI address that a guest would count.
fn cd_drive(order: Order, inserted: Option<&InsertedMedia>) -> Vec<String> {
    let (id, index) = (boot::CD, bootindex(order, boot::CD));
    if inserted.is_none() {
        return pairs([("-device", format!("ide-cd,id={id},bus=ide.0{index}"))]);
    }
    pairs([
        (
            "-drive",
            format!(
                "if=none,id=media,file={},format=raw,readonly=on,media=cdrom",
                MediaDrive::Cd.file_for_qemu()
            ),
        ),
        ("-device", format!("ide-cd,id={id},bus=ide.0,drive=media{index}")),
    ])
}

/// A controller, and a stick if one is in; the first one that comes later is plugged in, holding
/// nothing at first. An idle machine with a controller costs what one without does (measured).
fn usb(order: Order, inserted: Option<&InsertedMedia>) -> Vec<String> {
    let (id, index) = (boot::USB, bootindex(order, boot::USB));
    let mut line = pairs([
        ("-blockdev", format!("driver=null-co,node-name={NOTHING},size=512,read-only=on")),
        ("-device", format!("qemu-xhci,id={USB_CONTROLLER},addr={SLOT_USB:#x}")),
    ]);
    if let Some(media) = inserted {
        let readonly = if media.write_protected { "on" } else { "off" };
        line.extend(pairs([
            (
                "-drive",
                format!(
                    "if=none,id=stick,file={},format=raw,readonly={readonly}",
                    MediaDrive::Usb.file_for_qemu()
                ),
            ),
            (
                "-device",
                format!(
                    "usb-storage,id={id},bus={USB_CONTROLLER}.0,drive=stick,removable=on{index}"
                ),
            ),
        ]));
    }
    line
}

/// Without it a first boot waits for entropy.
fn random() -> Vec<String> {
    pairs([
        ("-object", "rng-random,id=rng0,filename=/dev/urandom".to_owned()),
        ("-device", format!("virtio-rng-pci,rng=rng0,addr={SLOT_RNG:#x},{MODERN}")),
    ])
}

fn nic(machine: &MachineDefinition, index: usize, order: Order) -> Vec<String> {
    let mac = machine.nics[index].mac;
    let tap = LabNames::tap(mac);
    let slot = SLOT_NIC_FIRST + u8::try_from(index).unwrap_or(u8::MAX - SLOT_NIC_FIRST);
    let id = format!("nic{index}");
    // A BIOS machine boots by the ROM of its first card; OVMF brings its own driver.
    let rom = match (machine.firmware, index) {
        (BootMode::Bios, 0) => "../nic.rom",
        (BootMode::Bios | BootMode::Uefi, _) => "",
    };
    let index = bootindex(order, &id);
    pairs([
        ("-netdev", format!("tap,id=net-{id},ifname={tap},script=no,downscript=no")),
        (
            "-device",
            format!(
                "virtio-net-pci,id={id},netdev=net-{id},mac={mac},addr={slot:#x},romfile={rom},\
                 {MODERN}{index}"
            ),
        ),
    ])
}

fn bootindex(order: Order, id: &str) -> String {
    order
        .iter()
        .position(|device| *device == id)
        .map(|index| format!(",bootindex={index}"))
        .unwrap_or_default()
}

/// QEMU's option syntax: a comma in a value is written twice.
fn comma_safe(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::{LabConfig, QemuFiles, machine::BootFlags};
    use undercloud_model::BootDevice;

    fn host(acceleration: Acceleration) -> Host {
        let files = QemuFiles {
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            ovmf_code: "/usr/share/OVMF/a,b.fd".into(),
            ovmf_vars: "/usr/share/OVMF/OVMF_VARS_4M.fd".into(),
            bios_nic_rom: "/usr/lib/ipxe/qemu/pxe-virtio.rom".into(),
        };
        let names = LabNames::from_real_path(Utf8Path::new("/var/lib/undercloud"));
        let program = "/usr/bin/undercloud".into();
        Host { names, program, files, acceleration, namespace: "uc-00000000".to_owned() }
    }

    fn snapshot(
        machine: usize,
        acceleration: Acceleration,
        flags: Option<BootFlags>,
        media: &InDrives,
    ) -> String {
        let names = LabNames::from_real_path(Utf8Path::new("/var/lib/undercloud"));
        let machines = crate::lab::definitions(&names, &LabConfig::default());
        let mut text = String::new();
        for word in command_line(&machines[machine], &host(acceleration), boot::order(flags), media)
        {
            let option = word.starts_with('-') && !word.starts_with("--");
            text.push(if option { '\n' } else { ' ' });
            text.push_str(&word);
        }
        text.trim_start().to_owned()
    }

    #[test]
    fn a_bios_machine_under_emulation() {
        insta::assert_snapshot!(snapshot(0, Acceleration::Tcg, None, &InDrives::default()));
    }

    #[test]
    fn a_uefi_machine_with_kvm_that_boots_from_the_network() {
        let flags = BootFlags { device: BootDevice::Pxe, efi: true, persistent: false };
        insta::assert_snapshot!(snapshot(1, Acceleration::Kvm, Some(flags), &InDrives::default()));
    }

    #[test]
    fn further_disks_are_behind_all_else_and_are_not_booted_from() {
        let names = LabNames::from_real_path(Utf8Path::new("/var/lib/undercloud"));
        let text = crate::config::DEFAULT.replace("disk_gib = 20", "disks_gib = [20, 10, 5]");
        let machines = crate::lab::definitions(&names, &text.parse().unwrap());
        let line = |machine| {
            let order = boot::order(None);
            command_line(machine, &host(Acceleration::Kvm), order, &InDrives::default()).join(" ")
        };
        let with = line(&machines[0]);
        let serials: Vec<String> = machines[0].disks().map(|disk| disk.serial).collect();
        for (index, addr) in [(1, "0x10"), (2, "0x11")] {
            let serial = &serials[index];
            for words in [
                format!("node-name=disk-{index}-file,filename=disk{index}.raw,"),
                format!("node-name=disk-{index},file=disk-{index}-file,"),
                format!("id=disk{index},drive=disk-{index},serial={serial},addr={addr},{MODERN} "),
            ] {
                assert!(with.contains(&words), "{words}: {with}");
            }
        }
        // All else is as it is with one disk.
        let mut one = machines[0].clone();
        one.more_disks.clear();
        let rest: Vec<&str> = with
            .split(" -")
            .filter(|option| !option.contains("disk-1") && !option.contains("disk-2"))
            .collect();
        assert_eq!(rest.join(" -"), line(&one));
    }

    fn media(write_protected: bool) -> InsertedMedia {
        InsertedMedia { image: "http://192.0.2.1/image".to_owned(), write_protected }
    }

    #[test]
    fn a_machine_that_boots_from_its_usb_stick() {
        let flags = BootFlags { device: BootDevice::Usb, efi: true, persistent: false };
        for (write_protected, readonly) in [(true, "on"), (false, "off")] {
            let drives = InDrives { cd: None, usb: Some(media(write_protected)) };
            let line = snapshot(1, Acceleration::Kvm, Some(flags), &drives);
            let file = "-drive if=none,id=stick,file=../usb.img,format=raw,readonly=";
            assert!(line.contains(&format!("{file}{readonly}\n")), "{line}");
            let stick = "usb-storage,id=usb0,bus=usb.0,drive=stick,removable=on,bootindex=0";
            assert!(line.contains(stick) && line.contains("id=disk0,drive=disk"), "{line}");
        }
    }

    #[test]
    fn a_machine_that_boots_from_its_cd() {
        let flags = BootFlags { device: BootDevice::Cdrom, efi: true, persistent: false };
        let cd = Some(media(true));
        let line = snapshot(1, Acceleration::Kvm, Some(flags), &InDrives { cd, usb: None });
        assert!(line.contains("-drive if=none,id=media,file=../cd.iso,format=raw,readonly=on"));
        assert!(line.contains("-device ide-cd,id=cd0,bus=ide.0,drive=media,bootindex=0"));
        assert!(line.contains("id=disk0,drive=disk") && line.contains("bootindex=1"));
    }
}
