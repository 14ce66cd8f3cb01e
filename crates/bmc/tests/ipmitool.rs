//! The referee: the real `ipmitool` against the server half.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{io::Write, process::Stdio, sync::Arc, time::Duration};

use fixture::{MemoryMachine, PASSWORD, USER, serve};
use tempfile::NamedTempFile;
use undercloud_bmc::{
    ipmi::server::ServerHandle,
    machine::{BootDevice, BootFlags, MachineError, PowerAction, PowerState},
};

const SUITES: [&str; 2] = ["17", "3"];

struct Referee {
    machine: Arc<MemoryMachine>,
    server: ServerHandle,
    password: NamedTempFile,
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl Referee {
    fn new(delay: Duration) -> Self {
        let machine = MemoryMachine::new(delay);
        let mut password = NamedTempFile::new().expect("password file");
        password.write_all(PASSWORD.as_bytes()).expect("password file");
        Self { server: serve(machine.clone()), machine, password }
    }

    async fn run(&self, options: &[&str], command: &str) -> Said {
        let port = self.server.address().port().to_string();
        let mut ipmitool = tokio::process::Command::new("ipmitool");
        ipmitool
            .args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-U", USER, "-f"])
            .arg(self.password.path())
            .args(["-R", "3", "-N", "1"])
            .args(options)
            .args(command.split(' '))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = match tokio::time::timeout(Duration::from_secs(30), ipmitool.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                panic!("these tests need ipmitool (Debian package ipmitool): {error}")
            }
            Err(_) => panic!("ipmitool {command} did not end"),
        };
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    async fn yes(&self, suite: &str, command: &str) -> String {
        let said = self.run(&["-C", suite, "-L", "ADMINISTRATOR"], command).await;
        assert!(said.ok, "suite {suite}, {command}: {}{}", said.out, said.err);
        assert_eq!(said.err, "", "suite {suite}, {command}");
        said.out
    }

    async fn no(&self, suite: &str, command: &str, text: &str) {
        let said = self.run(&["-C", suite, "-L", "ADMINISTRATOR"], command).await;
        assert!(!said.ok, "suite {suite}, {command} was not refused: {}", said.out);
        assert!(said.err.contains(text), "suite {suite}, {command}: {}", said.err);
    }

    fn set_power(&self, on: bool) {
        self.machine.set_power(if on { PowerState::On } else { PowerState::Off });
    }

    fn is_on(&self) -> bool {
        self.machine.state().power == PowerState::On
    }
}

#[tokio::test]
async fn power_verbs() {
    let referee = Referee::new(Duration::ZERO);
    for suite in SUITES {
        referee.set_power(false);
        assert_eq!(referee.yes(suite, "power status").await, "Chassis Power is off\n");
        // (verb, on before, on after)
        for (verb, before, after) in [
            ("on", false, true),
            ("on", true, true),
            ("reset", true, true),
            ("cycle", true, true),
            ("diag", true, true),
            ("soft", true, false),
            ("soft", false, false),
            ("off", true, false),
            ("off", false, false),
        ] {
            referee.set_power(before);
            referee.yes(suite, &format!("power {verb}")).await;
            assert_eq!(referee.is_on(), after, "{verb} from {before}");
        }
        referee.set_power(true);
        assert_eq!(referee.yes(suite, "power status").await, "Chassis Power is on\n");
        referee.set_power(false);
        for verb in ["cycle", "reset", "diag"] {
            let command = format!("power {verb}");
            referee.no(suite, &command, "Command not supported in present state").await;
            assert!(!referee.is_on(), "{verb}");
        }
    }
}

#[tokio::test]
async fn boot_devices_read_back() {
    let referee = Referee::new(Duration::ZERO);
    let devices = [
        ("pxe", BootDevice::Pxe, "Force PXE"),
        ("disk", BootDevice::Disk, "Force Boot from default Hard-Drive"),
        ("safe", BootDevice::Safe, "Force Boot from default Hard-Drive, request Safe-Mode"),
        ("diag", BootDevice::Diag, "Force Boot from Diagnostic Partition"),
        ("cdrom", BootDevice::Cdrom, "Force Boot from CD/DVD"),
        ("bios", BootDevice::Bios, "Force Boot into BIOS Setup"),
        ("floppy", BootDevice::Floppy, "Force Boot from Floppy/primary removable media"),
        ("none", BootDevice::None, "No override"),
    ];
    let options = [
        ("", false, false),
        (" options=efiboot", true, false),
        (" options=persistent", false, true),
        (" options=efiboot,persistent", true, true),
    ];
    for suite in SUITES {
        for (word, device, text) in devices {
            for (option, efi, persistent) in options {
                let command = format!("chassis bootdev {word}{option}");
                referee.yes(suite, &command).await;
                let flags = BootFlags { device, efi, persistent, valid: true };
                assert_eq!(referee.machine.state().flags, flags, "{command}");
                let out = referee.yes(suite, "chassis bootparam get 5").await;
                let reads = |text: &str| assert!(out.contains(text), "{command}: {text}\n{out}");
                reads(&format!("- Boot Device Selector : {text}\n"));
                reads(" - Boot Flag Valid\n");
                reads(if persistent { "all future boots\n" } else { "only next boot\n" });
                reads(if efi { "BIOS EFI boot" } else { "BIOS PC Compatible (legacy) boot" });
            }
        }
    }
}

#[tokio::test]
async fn ironic_raw_calls() {
    let referee = Referee::new(Duration::ZERO);
    for suite in SUITES {
        referee.yes(suite, "raw 0x00 0x08 0x03 0x08").await;
        for (first, persistent) in [("0xa0", false), ("0xe0", true)] {
            for (second, device) in [
                ("0x04", BootDevice::Pxe),
                ("0x08", BootDevice::Disk),
                ("0x14", BootDevice::Cdrom),
                ("0x18", BootDevice::Bios),
                ("0x0c", BootDevice::Safe),
                ("0x24", BootDevice::RemoteMedia),
            ] {
                let command = format!("raw 0x00 0x08 0x05 {first} {second} 0x00 0x00 0x00");
                referee.yes(suite, &command).await;
                let flags = BootFlags { device, efi: true, persistent, valid: true };
                assert_eq!(referee.machine.state().flags, flags, "{command}");
            }
        }
        assert_eq!(referee.yes(suite, "raw 0x06 0x02").await.trim(), "");
        assert_eq!(referee.yes(suite, "power status").await, "Chassis Power is off\n");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let referee = Referee::new(Duration::ZERO);
    for suite in SUITES {
        referee.no(suite, "chassis bootparam get 6", "Unsupported parameter").await;
        referee.no(suite, "raw 0x06 0x3f", "Invalid command").await;
        referee.no(suite, "raw 0x0a 0x12 0x00 0x00 0x00 0x00", "Invalid command").await;
        referee.no(suite, "raw 0x2c 0x02 0xdc 0x01 0x00 0x00", "Invalid command").await;
        referee.no(suite, "raw 0x00 0x02", "Request data length invalid").await;
        referee.no(suite, "raw 0x00 0x02 0x09", "Invalid data field in request").await;
        referee.no(suite, "raw 0x00 0x01 0x00", "Request data length invalid").await;
        // What the machine cannot be told is not taken for set.
        let clear_cmos = "raw 0x00 0x08 0x05 0x80 0x84 0x00 0x00 0x00";
        referee.no(suite, clear_cmos, "Invalid data field in request").await;
    }
}

#[tokio::test]
async fn reading_and_small_things() {
    let referee = Referee::new(Duration::ZERO);
    for suite in SUITES {
        referee.set_power(true);
        let reads = [
            ("chassis status", "System Power         : on"),
            ("chassis status", "Power Restore Policy : unknown"),
            ("chassis restart_cause", "System restart cause: "),
            ("chassis poh", "POH Counter  : 0 days, 1 hours"),
            ("chassis identify 1", "Chassis identify interval: 1 seconds"),
            ("chassis selftest", "Self Test Results    : passed"),
            ("mc selftest", "Selftest: passed"),
            ("mc info", "Firmware Revision         : 1.23"),
            ("mc info", "IPMI Version              : 2.0"),
            ("mc info", "Manufacturer Name"),
            ("mc guid", "50010203-0405-4607-8809-0a0b0c0d0e0f"),
            ("chassis bootparam get 0", "Set In Progress : set complete"),
            ("chassis bootparam get 3", "Boot parameter 3 is valid/unlocked"),
            ("chassis bootparam get 4", "Boot Info Acknowledge"),
            ("chassis bootparam get 7", "Boot parameter 7 is valid/unlocked"),
            ("channel info 1", "Channel Medium Type   : 802.3 LAN"),
            ("channel authcap 1 4", "IPMI v2.0"),
            (
                "channel getciphers ipmi 1",
                "17   N/A     hmac_sha256     sha256_128      aes_cbc_128",
            ),
            ("raw 0x06 0x01", "20 01 01 23 02 8f 00 00 00 00 00 00 00 00 00"),
            ("raw 0x06 0x37", "0f 0e 0d 0c 0b 0a 09 88 07 46 05 04 03 02 01 50"),
            ("raw 0x06 0x08", "0f 0e 0d 0c 0b 0a 09 88 07 46 05 04 03 02 01 d0"),
            ("raw 0x06 0x07", "00 00"),
            ("raw 0x00 0x00", "04 20 20 20 20"),
            ("mc reset warm", "Sent warm reset command to MC"),
            ("mc reset cold", "Sent cold reset command to MC"),
            ("power status", "Chassis Power is on"),
        ];
        for (command, text) in reads {
            let out = referee.yes(suite, command).await;
            assert!(out.contains(text), "suite {suite}, {command}: {out}");
        }
    }
}

#[tokio::test]
async fn the_default_suite_is_found() {
    let referee = Referee::new(Duration::ZERO);
    let said = referee.run(&["-v"], "power status").await;
    assert!(said.ok, "{}", said.err);
    assert!(said.out.contains("Chassis Power is off"), "{}", said.out);
    assert!(said.err.contains("Using best available cipher suite 17"), "{}", said.err);
}

#[tokio::test]
async fn privilege_levels() {
    let referee = Referee::new(Duration::ZERO);
    for suite in SUITES {
        for level in ["USER", "OPERATOR", "ADMINISTRATOR"] {
            let said = referee.run(&["-C", suite, "-L", level], "power status").await;
            assert_eq!(said.out, "Chassis Power is off\n", "{level}: {}", said.err);
        }
        let said = referee.run(&["-C", suite, "-L", "USER"], "power on").await;
        assert!(!said.ok && said.err.contains("Insufficient privilege level"), "{}", said.err);
        assert_eq!(referee.machine.state().actions, []);
        let said = referee.run(&["-C", suite, "-L", "OPERATOR"], "raw 6 2").await;
        assert!(!said.ok && said.err.contains("Insufficient privilege level"), "{}", said.err);
    }
    let said = referee.run(&["-C", "3", "-L", "OPERATOR"], "power on").await;
    assert!(said.ok, "{}", said.err);
}

#[tokio::test]
async fn weak_ways_in_are_refused() {
    let referee = Referee::new(Duration::ZERO);
    for suite in ["0", "1", "2", "6", "15", "16"] {
        let said = referee.run(&["-C", suite], "power status").await;
        assert!(!said.ok, "suite {suite}: {}", said.out);
        // The words on which Ironic tries another suite.
        assert!(said.err.contains("no matching cipher suite"), "suite {suite}: {}", said.err);
    }
    let old = referee.run(&["-I", "lan"], "power status").await;
    assert!(!old.ok, "{}", old.out);
    let started = std::time::Instant::now();
    for options in [["-P", "wrong-password-1"], ["-U", "nobody"], ["-U", ""]] {
        let said = referee.run(&options, "power status").await;
        assert!(!said.ok, "{options:?}: {}", said.out);
    }
    assert!(started.elapsed() < Duration::from_secs(9), "a refusal must not be a time-out");
    referee.yes("17", "power status").await;
}

#[tokio::test]
async fn a_slow_machine_does_not_hold_the_client() {
    let referee = Referee::new(Duration::from_secs(3));
    let started = std::time::Instant::now();
    referee.yes("17", "power on").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(referee.yes("17", "power status").await, "Chassis Power is off\n");
    // The words on which Ironic tries again.
    referee.no("17", "power on", "Node busy").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !referee.is_on() {
        assert!(std::time::Instant::now() < deadline, "never on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(referee.machine.state().actions, [PowerAction::On]);
}

#[tokio::test]
async fn the_machine_s_errors_are_told() {
    let referee = Referee::new(Duration::ZERO);
    for (fault, text) in [
        (MachineError::Busy, "Node busy"),
        (MachineError::WrongState, "Command not supported in present state"),
        (MachineError::Unsupported, "Invalid data field in request"),
        (MachineError::Failed("no disk".to_owned()), "Unspecified error"),
    ] {
        referee.machine.fail_next(fault.clone());
        referee.no("17", "power on", text).await;
        referee.machine.fail_next(fault);
        referee.no("17", "raw 0x00 0x08 0x05 0x80 0x04 0x00 0x00 0x00", "").await;
    }
    assert_eq!(referee.machine.state().actions, []);
}

#[tokio::test]
async fn several_clients_at_once() {
    let referee = Arc::new(Referee::new(Duration::ZERO));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..12 {
        let referee = referee.clone();
        let suite = SUITES[client % 2];
        clients.spawn(async move { referee.yes(suite, "power status").await });
    }
    while let Some(out) = clients.join_next().await {
        assert_eq!(out.expect("client"), "Chassis Power is off\n");
    }
}
