//! Inspection of captured trees: a QEMU machine and a server with SCSI and NVMe disks.

use std::{fs, path::Path};

use undercloud_model::BootMode;

use super::*;

fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, content).unwrap();
    }
    let host = Host::below(dir.path());
    (dir, host)
}

const CPUINFO: &[u8] = b"processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\n\
model name\t: AMD EPYC Processor\nflags\t\t: fpu vme svm sse4a\n\n\
processor\t: 1\nmodel name\t: AMD EPYC Processor\nflags\t\t: fpu vme svm sse4a\n";
const MEMINFO: &[u8] = b"MemTotal:        3525116 kB\nMemFree:         3331384 kB\n";

#[test]
fn a_qemu_machine() {
    let (_dir, host) = tree(&[
        ("proc/cpuinfo", CPUINFO),
        ("proc/meminfo", MEMINFO),
        ("sys/class/block/vda/size", b"41943040\n"),
        ("sys/class/block/vda/serial", b"disk-controller-0"),
        ("sys/class/block/vda/removable", b"0\n"),
        ("sys/class/block/vda/queue/rotational", b"1\n"),
        ("sys/class/block/vda1/size", b"2048\n"),
        ("sys/class/block/vda1/partition", b"1\n"),
        ("sys/class/block/sr0/size", b"2097151\n"),
        ("sys/class/block/loop0/size", b"8\n"),
        ("sys/class/block/ram0/size", b"8192\n"),
        ("sys/class/net/lo/address", b"00:00:00:00:00:00\n"),
        ("sys/class/net/eth0/address", b"52:54:00:12:34:56\n"),
        ("sys/class/net/eth0/carrier", b"1\n"),
        ("sys/class/net/eth0/speed", b"-1\n"),
        ("sys/class/net/eth0/device/vendor", b"0x1af4\n"),
        ("sys/class/net/br0/address", b"52:54:00:12:34:57\n"),
        ("sys/class/dmi/id/sys_vendor", b"QEMU\n"),
        ("sys/class/dmi/id/product_name", b"Standard PC (Q35 + ICH9, 2009)\n"),
        ("sys/class/dmi/id/bios_version", b"1.16.3-debian-1.16.3-2\n"),
    ]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&inspect(&host).unwrap()).unwrap());
}

#[test]
fn a_server_with_scsi_and_nvme() {
    let (_dir, host) = tree(&[
        ("proc/cpuinfo", CPUINFO),
        ("proc/meminfo", MEMINFO),
        ("sys/class/block/sda/size", b"7814037168\n"),
        ("sys/class/block/sda/device/vpd_pg80", b"\0\x80\0\x14            ZC1ABCDE"),
        ("sys/class/block/sda/device/wwid", b"naa.5000c500abcdef01\n"),
        ("sys/class/block/sda/device/model", b"ST4000NM000A-2HZ\n"),
        ("sys/class/block/sda/queue/rotational", b"1\n"),
        ("sys/class/block/sdb/size", b"60062500\n"),
        ("sys/class/block/sdb/removable", b"1\n"),
        ("sys/class/block/sdb/device/wwid", b"t10.Generic USB\n"),
        ("sys/class/block/sdc/size", b"0\n"),
        ("sys/class/block/sdd/size", b"7814037168\n"),
        ("sys/class/block/sdd/ro", b"1\n"),
        ("sys/class/block/sdd/queue/logical_block_size", b"4096\n"),
        ("sys/class/block/nvme0c0n1/size", b"3750748848\n"),
        ("sys/class/block/nvme0c0n1/hidden", b"1\n"),
        ("sys/class/block/nvme0c0n1/device/serial", b"S4EVNX0M123456      \n"),
        ("sys/class/block/nvme0n1/size", b"3750748848\n"),
        ("sys/class/block/nvme0n1/wwid", b"eui.0025388501234567\n"),
        ("sys/class/block/nvme0n1/device/serial", b"S4EVNX0M123456      \n"),
        ("sys/class/block/nvme0n1/device/model", b"SAMSUNG MZQLB1T9HAJR-00007              \n"),
        ("sys/class/net/eno1/address", b"b0:26:28:00:00:01\n"),
        ("sys/class/net/eno1/carrier", b"1\n"),
        ("sys/class/net/eno1/speed", b"25000\n"),
        ("sys/class/net/eno1/device/vendor", b"0x15b3\n"),
        ("sys/class/net/eno2/address", b"b0:26:28:00:00:02\n"),
        ("sys/class/net/eno2/device/vendor", b"0x15b3\n"),
        ("sys/firmware/efi/fw_platform_size", b"64\n"),
    ]);
    let inventory = inspect(&host).unwrap();
    assert_eq!(inventory.system.boot_mode, BootMode::Uefi);
    let parts = (inventory.disks, inventory.nics);
    insta::assert_snapshot!(serde_json::to_string_pretty(&parts).unwrap());
}

#[test]
fn a_vital_product_page_of_any_length_is_read_without_panic() {
    for page in [&b""[..], b"\0\x80", b"\0\x80\xff\xff", b"\0\x80\0\x05AB", b"\0\x80\0\0AB"] {
        let (_dir, host) = tree(&[
            ("sys/class/block/sda/size", b"8\n"),
            ("sys/class/block/sda/device/vpd_pg80", page),
        ]);
        let serial = disks(&host)[0].serial.clone();
        assert_eq!(serial.as_deref(), page.ends_with(b"\x05AB").then_some("AB"), "{page:?}");
    }
}

#[test]
fn a_machine_without_processors_is_refused() {
    let (_dir, host) = tree(&[("proc/meminfo", MEMINFO)]);
    assert_eq!(inspect(&host).unwrap_err().field, "cpu.count");
}

#[test]
fn a_container_s_switch_forwards_in_the_kernel_if_its_host_s_can() {
    let container: (&str, &[u8]) = ("proc/1/environ", b"container=undercloud\0");
    let other: (&str, &[u8]) = ("proc/modules", b"openvswitch_not 1 0 - Live 0x0\n");
    let loaded: (&str, &[u8]) = (
        "proc/modules",
        b"nf_nat 61440 1 openvswitch, Live 0x0\nopenvswitch 200704 0 - Live 0x0\n",
    );
    let built_in: (&str, &[u8]) = ("sys/module/openvswitch/uevent", b"");
    for (files, wanted) in [
        (&[container][..], Datapath::Userspace),
        (&[container, other], Datapath::Userspace),
        (&[container, loaded], Datapath::Kernel),
        (&[container, built_in], Datapath::Kernel),
        // Not in the ramdisk, and in the system that will be installed.
        (&[], Datapath::Kernel),
    ] {
        let (_dir, host) = tree(files);
        assert_eq!(datapath(&host), wanted, "{files:?}");
    }
}
