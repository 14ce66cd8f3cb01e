//! A whole lab on this host: made, powered, found again, deleted, and nothing left. Needs root and
//! QEMU; says so and passes where they are missing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::SocketAddrV4,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{sync::broadcast::Receiver, time::timeout};
use undercloud_lab::{
    Acceleration, BootFlags, Lab, LabConfig, LabError, LabOptions, MachineEvent, QemuFiles,
    console::{Console, ESCAPE, Ended},
    namespace,
};
use undercloud_model::{BootDevice, ErrorKind, PowerAction, PowerState};

const CONFIG: &str = "
[[network]]
name = 'boot'
cidr = '192.168.24.0/24'
[[network]]
name = 'other'
cidr = '172.17.0.0/24'
[[machine]]
name = 'metal-0'
profile = 'test'
firmware = 'bios'
memory_mib = 128
cpus = 1
disk_gib = 1
networks = ['boot', 'other']
";

/// For anything that QEMU or its firmware does, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
const ONCE: BootFlags = BootFlags { device: BootDevice::Pxe, efi: false, persistent: false };

fn options() -> Option<LabOptions> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let files = QemuFiles::find().inspect_err(|error| println!("skipped: {error}")).ok()?;
    Some(LabOptions { files, acceleration: Acceleration::Tcg, program: "/bin/false".into() })
}

async fn next(events: &mut Receiver<MachineEvent>, wanted: impl Fn(&MachineEvent) -> bool) {
    let find = async {
        loop {
            let event = events.recv().await.expect("the machine is minded");
            println!("event {event:?}");
            if wanted(&event) {
                return;
            }
        }
    };
    timeout(DEADLINE, find).await.expect("the event comes in time");
}

/// Waits until the console's log, from byte `from`, has all of `words` in this order.
async fn console_says(log: &Utf8Path, from: usize, words: &[&str]) {
    let mut text = String::new();
    let read = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let bytes = printed(log);
            text = String::from_utf8_lossy(&bytes[from.min(bytes.len())..]).into_owned();
            let mut rest = text.as_str();
            let all = words
                .iter()
                .all(|word| rest.find(word).map(|at| rest = &rest[at + word.len()..]).is_some());
            if all {
                return;
            }
        }
    };
    let found = timeout(DEADLINE, read).await;
    assert!(found.is_ok(), "the console does not say {words:?}: {text}");
}

fn printed(log: &Utf8Path) -> Vec<u8> {
    std::fs::read(log).unwrap_or_default()
}

fn names_in(directory: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn ip(namespace: &str, args: &[&str]) -> String {
    let output = Command::new("ip").args(["-n", namespace]).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn process_status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line[field.len()..].trim_start_matches(':').trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lab_from_nothing_to_nothing() {
    let Some(options) = options() else { return };
    let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let config: LabConfig = CONFIG.parse().unwrap();

    let lab = Lab::create(&state, &config, options.clone()).await.unwrap();
    let namespace = lab.network().namespace().to_owned();
    let _remains = Remains(namespace.clone());
    let machine = lab.machine("metal-0").unwrap().clone();
    assert_eq!(machine.power_state(), PowerState::Off);
    network_is_its_own(&namespace);
    files_are_the_machines_own(&state, machine.definition().uid);

    // On, from the disk (which is empty), then from the network.
    let mut events = machine.subscribe();
    machine.power(PowerAction::On).await.unwrap();
    assert_eq!(machine.power_state(), PowerState::On);
    machine.power(PowerAction::On).await.unwrap();
    next(&mut events, |event| *event == MachineEvent::Power(PowerState::On)).await;
    let pid = machine.status().pid.unwrap();
    qemu_has_no_rights(pid, machine.definition().uid);
    let log = machine.console_log();
    console_says(&log, 0, &["SeaBIOS", "Booting from Hard Disk", "Booting from ROM", "iPXE"]).await;
    asks_for_an_address(&namespace, &machine).await;

    // Once from the network: used up by the reset, back to the disk after that.
    machine.set_boot_flags(Some(ONCE)).await.unwrap();
    assert_eq!(machine.boot_flags().flags, Some(ONCE));
    let before = printed(&log).len();
    machine.power(PowerAction::Reset).await.unwrap();
    next(&mut events, |event| *event == MachineEvent::Reset { guest: false }).await;
    next(&mut events, |event| *event == MachineEvent::BootFlags(None)).await;
    console_says(&log, before, &["SeaBIOS", "Booting from ROM", "iPXE initialising"]).await;
    let text = String::from_utf8_lossy(&printed(&log)[before..]).into_owned();
    assert!(!text.contains("Hard Disk"), "the network was not first: {text}");
    assert_eq!(machine.boot_flags().flags, None);

    // The process of another run takes over; the first one lets go without ending QEMU.
    drop((machine, lab, events));
    let lab = Lab::open(&state, options.clone()).await.unwrap().unwrap();
    let machine = lab.machine("metal-0").unwrap().clone();
    assert_eq!((machine.power_state(), machine.status().pid), (PowerState::On, Some(pid)));
    let again = Lab::create(&state, &config, options.clone()).await;
    assert!(again.is_ok(), "a lab that is there is opened: {again:?}");
    drop(again);
    let mut events = machine.subscribe();
    let before = printed(&log).len();
    controlled(&machine).await;
    machine.power(PowerAction::Reset).await.unwrap();
    next(&mut events, |event| matches!(event, MachineEvent::Reset { .. })).await;
    console_says(&log, before, &["SeaBIOS", "Booting from Hard Disk"]).await;

    // Off is no process; what needs the machine on says so.
    machine.diagnostic_interrupt().await.unwrap();
    machine.power(PowerAction::Cycle).await.unwrap();
    let cycled = machine.status().pid.unwrap();
    assert_ne!(cycled, pid);
    killed_from_outside(&machine, cycled, &mut events).await;
    let error = machine.power(PowerAction::Reset).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    machine.power(PowerAction::Off).await.unwrap();
    machine.power(PowerAction::SoftOff).await.unwrap();

    once_lasts_for_the_boot_that_uses_it_up(&machine).await;
    a_guests_own_reboot_counts(&state, &machine).await;
    sockets_open_inside(&namespace);
    the_console_has_one_user(&state, &machine).await;

    drop(machine);
    lab.delete().await.unwrap();
    assert!(Lab::open(&state, options).await.unwrap().is_none());
    assert!(!names_in("/run/netns").contains(&namespace));
    assert!(names_in(state.as_str()).is_empty(), "{:?}", names_in(state.as_str()));
    for pid in [pid, cycled] {
        // This test is the parent of both; one that ended and was not collected has no line.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(line.is_empty(), "process {pid} is left");
    }
}

/// Removes what a failed test leaves: the processes in its namespace, then the namespace.
struct Remains(String);

impl Drop for Remains {
    fn drop(&mut self) {
        if !names_in("/run/netns").contains(&self.0) {
            return;
        }
        let output = Command::new("ip").args(["netns", "pids", &self.0]).output().unwrap();
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn network_is_its_own(namespace: &str) {
    let links = ip(namespace, &["-o", "link", "show"]);
    for link in ["lo:", "br-boot:", "br-other:"] {
        assert!(links.contains(link), "{links}");
    }
    assert_eq!(links.matches(": tap525400").count(), 2, "{links}");
    let addresses = ip(namespace, &["-o", "-4", "addr", "show"]);
    assert!(addresses.contains("192.168.24.1/24") && addresses.contains("172.17.0.1/24"));
    assert!(!ip(namespace, &["route"]).contains("default"));
    let forwards = namespace::enter_and(namespace, || {
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
    });
    assert_eq!(forwards.unwrap().trim(), "0");
}

fn files_are_the_machines_own(state: &Utf8Path, uid: u32) {
    let root = state.join("lab/machines/metal-0");
    let disk = std::fs::metadata(root.join("vm/disk.raw")).unwrap();
    assert_eq!((disk.len(), disk.blocks()), (1 << 30, 0), "sparse");
    assert_eq!((disk.uid(), disk.gid(), disk.permissions().mode() & 0o777), (uid, uid, 0o600));
    let vm = std::fs::metadata(root.join("vm")).unwrap();
    assert_eq!((vm.uid(), vm.permissions().mode() & 0o777), (uid, 0o700));
    assert_eq!(std::fs::metadata(root).unwrap().uid(), 0);
}

fn qemu_has_no_rights(pid: i32, uid: u32) {
    let ids = format!("{uid}\t{uid}\t{uid}\t{uid}");
    assert_eq!(process_status(pid, "Uid"), ids);
    assert_eq!(process_status(pid, "Gid"), ids);
    assert_eq!(process_status(pid, "Groups"), "");
    for field in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert_eq!(process_status(pid, field), "0000000000000000", "{field}");
    }
    assert_eq!(process_status(pid, "NoNewPrivs"), "1");
    assert_eq!(process_status(pid, "Seccomp"), "2");
}

/// iPXE's first packet comes through tap and bridge to a socket of ours.
async fn asks_for_an_address(namespace: &str, machine: &undercloud_lab::Machine) {
    let socket = namespace::open_udp(namespace, namespace::any(67), Some("br-boot"), true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let mut packet = [0u8; 1500];
    let received = timeout(DEADLINE, socket.recv_from(&mut packet)).await;
    let (length, _) = received.expect("a DHCP request comes in time").unwrap();
    // BOOTP (RFC 951, section 3): op at 0, the client's Ethernet address at 28.
    assert!(length >= 240 && packet[0] == 1);
    assert_eq!(packet[28..34], machine.definition().nics[0].mac.as_bytes()[..]);
}

async fn controlled(machine: &undercloud_lab::Machine) {
    let wait = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !machine.status().controlled {
            look.tick().await;
        }
    };
    timeout(DEADLINE, wait).await.expect("QEMU's control socket is ours again");
}

/// What the kernel does to QEMU when memory runs out is seen as power off.
async fn killed_from_outside(
    machine: &undercloud_lab::Machine,
    pid: i32,
    events: &mut Receiver<MachineEvent>,
) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    timeout(DEADLINE, machine.wait_for_power(PowerState::Off)).await.unwrap().unwrap();
    next(events, |event| *event == MachineEvent::Power(PowerState::On)).await;
    next(events, |event| *event == MachineEvent::Power(PowerState::Off)).await;
}

async fn once_lasts_for_the_boot_that_uses_it_up(machine: &undercloud_lab::Machine) {
    machine.set_boot_flags(Some(ONCE)).await.unwrap();
    let log = machine.console_log();
    let before = printed(&log).len();
    machine.power(PowerAction::On).await.unwrap();
    assert_eq!(machine.boot_flags().flags, None);
    console_says(&log, before, &["SeaBIOS", "Booting from ROM", "iPXE initialising"]).await;
    assert!(!String::from_utf8_lossy(&printed(&log)[before..]).contains("Hard Disk"));
    let before = printed(&log).len();
    machine.power(PowerAction::Cycle).await.unwrap();
    console_says(&log, before, &["SeaBIOS", "Booting from Hard Disk"]).await;
    machine.power(PowerAction::Off).await.unwrap();
}

/// A boot sector that does nothing but reset the machine (keyboard controller, command FE).
const REBOOTS: [u8; 7] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];

async fn a_guests_own_reboot_counts(state: &Utf8Path, machine: &undercloud_lab::Machine) {
    let path = state.join("lab/machines/metal-0/vm/disk.raw");
    let mut disk = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let mut sector = [0u8; 512];
    sector[..REBOOTS.len()].copy_from_slice(&REBOOTS);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    disk.write_all(&sector).unwrap();
    let mut events = machine.subscribe();
    machine.power(PowerAction::On).await.unwrap();
    next(&mut events, |event| *event == MachineEvent::Reset { guest: true }).await;
    let log = machine.console_log();
    let before = printed(&log).len();
    machine.set_boot_flags(Some(ONCE)).await.unwrap();
    console_says(&log, before, &["Booting from ROM", "iPXE initialising"]).await;
    next(&mut events, |event| *event == MachineEvent::BootFlags(None)).await;
    machine.power(PowerAction::Off).await.unwrap();
}

fn sockets_open_inside(namespace: &str) {
    let inside = SocketAddrV4::new([192, 168, 24, 1].into(), 8080);
    let listener = namespace::open_tcp_listener(namespace, inside).unwrap();
    // The host may know another machine by this address, but its packets do not come in here.
    let outside = std::net::TcpStream::connect_timeout(&inside.into(), Duration::from_millis(300));
    assert!(listener.accept().is_err(), "the host reaches the lab: {outside:?}");
    let mut stream = namespace::connect_tcp(namespace, inside, DEADLINE).unwrap();
    stream.write_all(b"x").unwrap();
    drop(stream);
    listener.set_nonblocking(false).unwrap();
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"x");
    let dhcp = namespace::open_udp(namespace, namespace::any(67), Some("br-boot"), true).unwrap();
    assert!(dhcp.broadcast().unwrap());
    let second = namespace::open_udp(namespace, namespace::any(67), Some("br-boot"), true);
    assert!(matches!(second, Err(LabError::Socket { .. })), "{second:?}");
    let unknown = namespace::open_udp(namespace, namespace::any(67), Some("br-none"), true);
    assert!(unknown.is_err(), "{unknown:?}");
}

async fn the_console_has_one_user(state: &Utf8Path, machine: &undercloud_lab::Machine) {
    assert!(Console::open(state, machine.name()).is_err(), "the machine is off");
    machine.power(PowerAction::On).await.unwrap();
    let console = Console::open(state, machine.name()).unwrap();
    let busy = Console::open(state, machine.name()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    let (input, mut typist) = std::os::unix::net::UnixStream::pair().unwrap();
    let shown = tempfile::NamedTempFile::new().unwrap();
    let output = shown.reopen().unwrap();
    let person = tokio::task::spawn_blocking(move || console.run(input, output, ESCAPE));
    let path = Utf8Path::from_path(shown.path()).unwrap();
    console_says(path, 0, &["SeaBIOS"]).await;
    typist.write_all(&[ESCAPE]).unwrap();
    assert_eq!(person.await.unwrap().unwrap(), Ended::Detached);
    machine.power(PowerAction::Off).await.unwrap();
}

/// A QEMU that does not end holds the cycle between its stop and its start, and the process that
/// minds the machine dies there.
#[test]
fn a_power_cycle_that_was_cut_short_is_finished_by_the_next_process() {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    let Some(options) = options() else { return };
    let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    };
    let first = runtime();
    let (pid, _remains) = first.block_on(async {
        let lab = Lab::create(&state, &CONFIG.parse().unwrap(), options.clone()).await.unwrap();
        let remains = Remains(lab.network().namespace().to_owned());
        let machine = lab.machine("metal-0").unwrap().clone();
        machine.power(PowerAction::On).await.unwrap();
        let pid = Pid::from_raw(machine.status().pid.unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let kept = machine.console_log().parent().unwrap().parent().unwrap().join("boot.json");
        tokio::spawn(async move { machine.power(PowerAction::Cycle).await });
        let is_begun = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            let begun = |text: String| text.contains("\"cycling\": true");
            while !std::fs::read_to_string(&kept).is_ok_and(begun) {
                look.tick().await;
            }
        };
        timeout(DEADLINE, is_begun).await.expect("what is begun is written down");
        (pid, remains)
    });
    first.shutdown_timeout(DEADLINE);
    kill_process(pid, Signal::KILL).unwrap();
    waitpid(Some(pid), WaitOptions::empty()).unwrap();
    runtime().block_on(async {
        let lab = Lab::open(&state, options.clone()).await.unwrap().unwrap();
        let machine = lab.machine("metal-0").unwrap().clone();
        timeout(DEADLINE, machine.wait_for_power(PowerState::On)).await.unwrap().unwrap();
        machine.power(PowerAction::Off).await.unwrap();
        drop((machine, lab));
        // Once is enough: what was switched off since stays off.
        let lab = Lab::open(&state, options).await.unwrap().unwrap();
        let machine = lab.machine("metal-0").unwrap().clone();
        machine.set_boot_flags(None).await.unwrap();
        assert_eq!(machine.power_state(), PowerState::Off);
        drop(machine);
        lab.delete().await.unwrap();
    });
}

#[tokio::test]
async fn a_lab_that_does_not_fit_is_not_made() {
    let Some(options) = options() else { return };
    let directory = tempfile::tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let config = CONFIG.replace("memory_mib = 128", "memory_mib = 1048576");
    let error = Lab::create(&state, &config.parse().unwrap(), options).await.unwrap_err();
    assert!(matches!(error, LabError::NotEnoughMemory { .. }), "{error}");
    assert!(error.to_string().contains("the lab: it needs 10491"), "{error}");
    assert!(names_in(state.as_str()).is_empty());
}

const UEFI: &str = "
[[network]]
name = 'boot'
cidr = '192.168.24.0/24'
[[machine]]
name = 'metal-1'
profile = 'test'
firmware = 'uefi'
memory_mib = 256
cpus = 2
disk_gib = 1
networks = ['boot']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uefi_machine_follows_its_boot_flags() {
    let Some(options) = options() else { return };
    let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let lab = Lab::create(&state, &UEFI.parse().unwrap(), options).await.unwrap();
    let _remains = Remains(lab.network().namespace().to_owned());
    let machine = lab.machine("metal-1").unwrap();
    let log = machine.console_log();
    machine.power(PowerAction::On).await.unwrap();
    console_says(&log, 0, &["failed to load Boot", "Start PXE over IPv4"]).await;

    let always = BootFlags { persistent: true, ..ONCE };
    machine.set_boot_flags(Some(always)).await.unwrap();
    assert!(!machine.boot_flags().firmware_as_wished(), "BIOS was wished for");
    for _ in 0..2 {
        let before = printed(&log).len();
        machine.power(PowerAction::Reset).await.unwrap();
        console_says(&log, before, &["Start PXE over IPv4"]).await;
        let text = String::from_utf8_lossy(&printed(&log)[before..]).into_owned();
        assert!(!text.contains("failed to load Boot"), "the disk was tried first: {text}");
    }
    assert_eq!(machine.boot_flags().flags, Some(always));
    lab.delete().await.unwrap();
}
