//! Machines that are containers, by the program itself: power, reset, the power button and serial
//! over the sockets that QEMU would have; what root inside can reach; what is left afterwards.
//! Needs root, busybox (static) and a host that can carry such machines; says so and passes else.

mod lab;
mod machine;

use std::time::{Duration, Instant};

use machine::{Machine, ready};

/// Machines that are killed while they start.
const KILLS: u32 = 60;
/// About what a boot takes, until its system runs.
const BOOT_TIME: Duration = Duration::from_millis(600);

#[test]
fn a_hostile_root_inside_reaches_nothing_of_the_host() {
    let Some(lab) = ready("hostile") else { return };
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let mut machine = Machine::start(&lab);
    let said = machine.console_until("HOSTILE DONE");
    println!("{said}");
    assert!(!said.contains("OPEN "), "something of the host is open:\n{said}");
    for line in [
        "init is 1 of ",
        "container=undercloud",
        "root is ext4",
        "disks: vda vda1",
        "cards: eth0 lo",
        "file systems on disks: 1",
        "cmdline []",
        "refused clock: ",
        "refused kvm: ",
        "refused loop control: ",
        "refused sysctl kernel: ",
        "refused sysctl of its own proc: ",
        "refused sysctl made writable: ",
        "calls are filtered, sudo works",
        "refused swapon: ",
        "release agents: 0",
        "refused kernel's log: ",
        "refused the group above its own: ",
        "loop devices of others that open: 0",
        "dev is 755 null 666",
        "sysctl net: 0 then 1",
    ] {
        assert!(said.contains(line), "it did not say `{line}`:\n{said}");
    }
    // Where the host has version 2 of control groups alone, the kernel makes no tree of version 1 for it.
    let device_list: &[&str] = match std::path::Path::new("/sys/fs/cgroup/devices").exists() {
        true => &["refused device list: ", "refused device list below: "],
        false => &["no device list of version 1"],
    };
    for line in device_list {
        assert!(said.contains(line), "it did not say `{line}`:\n{said}");
    }
    let after = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(before, after, "its network's settings are its own");
    let limits = lab.limits();
    println!("limits that it could not lift: {limits:?}");
    assert!(limits.iter().all(|(_, limit, wanted)| limit == wanted), "{limits:?}");
    machine.quit();
    lab.nothing_is_left();
}

#[test]
fn it_has_more_than_one_disk_and_boots_from_the_first() {
    let Some(mut lab) = ready("disks") else { return };
    lab.add_disk(b"marked", "UCMORE1");
    lab.add_disk(b"", "UCMORE2");
    let mut machine = Machine::start(&lab);
    let said = machine.console_until("HOSTILE DONE");
    for line in [
        "disks: vda vda1 vdb vdc",
        "serials: UCTEST UCMORE1 UCMORE2",
        "sizes: 131072 2048 2048",
        "data: marked",
    ] {
        assert!(said.contains(line), "it did not say `{line}`:\n{said}");
    }
    machine.quit();
    lab.nothing_is_left();
}

#[test]
fn it_is_reset_switched_off_by_its_button_and_by_itself() {
    let Some(lab) = ready("power") else { return };
    let mut machine = Machine::start(&lab);
    let first = machine.boot_id();
    machine.type_line("reboot");
    machine.event("RESET", "\"guest\":true");
    let second = machine.boot_id();
    machine.execute("system_reset");
    machine.event("RESET", "\"guest\":false");
    let third = machine.boot_id();
    assert!(first != second && second != third, "each boot has an id of its own");
    machine.type_line("crash");
    machine.event("GUEST_PANICKED", "");
    assert!(machine.is_alive(), "a crash is no power off");
    machine.execute("system_reset");
    machine.boot_id();
    machine.execute("system_powerdown");
    machine.event("SHUTDOWN", "\"guest\":true");
    machine.ends();
    lab.nothing_is_left();

    let mut machine = Machine::start(&lab);
    machine.boot_id();
    machine.type_line("poweroff");
    machine.event("SHUTDOWN", "\"guest\":true");
    machine.ends();
    lab.nothing_is_left();
}

#[test]
fn a_killed_machine_leaves_nothing_that_runs_or_is_mounted() {
    let Some(lab) = ready("killed") else { return };
    let mut machine = Machine::start(&lab);
    machine.boot_id();
    machine.type_line("fork");
    machine.console_until("forked");
    machine.kill();
    // Its directories of control groups are removed by whoever minds the machine.
    lab.nothing_runs();
    undercloud_machine::cgroups::remove(&lab.scope).unwrap();
    lab.nothing_is_left();
}

#[test]
fn killed_at_any_moment_it_leaves_no_loop_device() {
    let Some(lab) = ready("loops") else { return };
    for round in 0..KILLS {
        let mut child = Machine::spawn(&lab);
        let begun = Instant::now();
        // Half of them at the moment that a device is there, which is when it may be left; the others
        // anywhere in a boot.
        let at = BOOT_TIME * round / KILLS;
        let is_time = || match round % 2 {
            0 => lab.loop_devices() > usize::from(round % 4 == 0),
            _ => begun.elapsed() >= at,
        };
        while !is_time() && begun.elapsed() < Duration::from_secs(10) {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lab.nothing_runs();
    }
    undercloud_machine::cgroups::remove(&lab.scope).unwrap();
    lab.nothing_is_left();
}
