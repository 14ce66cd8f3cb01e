//! A machine starts from the CD in its drive: put in while it is off or on, kept over a power cycle
//! and over a restart of this program, and gone when it is ejected. Needs root and QEMU; says so
//! and passes where they are missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Write as _, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::time::timeout;
use undercloud_lab::{
    Acceleration, BootFlags, InsertedCd, Lab, LabConfig, LabOptions, Machine, QemuFiles,
};
use undercloud_model::{BootDevice, PowerAction};

const CONFIG: &str = "
[[network]]
name = 'boot'
cidr = '192.168.24.0/24'
[[machine]]
name = 'metal-0'
profile = 'test'
firmware = 'bios'
memory_mib = 128
cpus = 1
disk_gib = 1
networks = ['boot']
";

/// For anything that QEMU or its firmware does, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
const ONCE: BootFlags = BootFlags { device: BootDevice::Cdrom, efi: false, persistent: false };

/// Prints what follows it on the first serial port, and halts:
/// `call $+3; pop si; add si, 20; next: cs lodsb; test al, al; jz end; mov dx, 0x3f8; out dx, al;
/// jmp next; end: hlt; jmp end`.
const PRINTS: [u8; 23] = [
    0xe8, 0x00, 0x00, 0x5e, 0x81, 0xc6, 0x14, 0x00, 0x2e, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8,
    0x03, 0xee, 0xeb, 0xf4, 0xf4, 0xeb, 0xfd,
];

/// A CD (El Torito 1.0, no emulation) that prints `text`.
fn cd(text: &str) -> Vec<u8> {
    let mut cd = vec![0u8; 21 * 2048];
    let mut put = |at: usize, bytes: &[u8]| cd[at..at + bytes.len()].copy_from_slice(bytes);
    put(16 * 2048, b"\x01CD001\x01");
    put(17 * 2048, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17 * 2048 + 71, &19u32.to_le_bytes());
    put(18 * 2048, b"\xffCD001\x01");
    let validation = [1u16, 0xaa55];
    let sum = validation.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
    put(19 * 2048, &validation[0].to_le_bytes());
    put(19 * 2048 + 28, &sum.wrapping_neg().to_le_bytes());
    put(19 * 2048 + 30, &validation[1].to_le_bytes());
    put(19 * 2048 + 32, &[0x88, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0]);
    put(20 * 2048, &PRINTS);
    put(20 * 2048 + PRINTS.len(), text.as_bytes());
    cd
}

async fn insert(machine: &Machine, text: &str) {
    let mut new = machine.new_cd().unwrap();
    new.file.write_all(&cd(text)).unwrap();
    machine.insert_cd(new, InsertedCd { image: format!("http://127.0.0.1/{text}") }).await.unwrap();
}

fn inserted(machine: &Machine) -> Option<String> {
    machine.cd().unwrap().map(|cd| cd.image)
}

/// Does `action` and waits until the console says all of `words` after that.
async fn says(machine: &Machine, action: PowerAction, words: &[&str]) -> String {
    let log = machine.console_log();
    let before = std::fs::read(&log).unwrap_or_default().len();
    machine.power(action).await.unwrap();
    let mut text = String::new();
    let read = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        while !words.iter().all(|word| text.contains(word)) {
            look.tick().await;
            let bytes = std::fs::read(&log).unwrap_or_default();
            text = String::from_utf8_lossy(&bytes[before.min(bytes.len())..]).into_owned();
        }
    };
    let found = timeout(DEADLINE, read).await;
    assert!(found.is_ok(), "the console does not say {words:?}: {text}");
    text
}

/// Removes what a failed test leaves: the processes in its namespace, then the namespace.
struct Remains(String);

impl Drop for Remains {
    fn drop(&mut self) {
        if !std::path::Path::new("/run/netns").join(&self.0).exists() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_starts_from_its_cd_until_it_is_ejected() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let Ok(files) = QemuFiles::find().inspect_err(|error| println!("skipped: {error}")) else {
        return;
    };
    let options = LabOptions { files, acceleration: Acceleration::Tcg };
    let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let config: LabConfig = CONFIG.parse().unwrap();
    let lab = Lab::create(&state, &config, options.clone()).await.unwrap();
    let _remains = Remains(lab.network().namespace().to_owned());
    let machine = lab.machine("metal-0").unwrap().clone();

    // Put in while it is off.
    insert(&machine, "the first CD").await;
    only_its_own_user_reads_it(&state, &machine);
    machine.set_boot_flags(Some(ONCE)).await.unwrap();
    says(&machine, PowerAction::On, &["SeaBIOS", "the first CD"]).await;
    assert_eq!(machine.boot_flags().flags, None, "once is once");
    let text = says(&machine, PowerAction::Cycle, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the first CD"), "a CD that is in is not booted unasked: {text}");

    // Another one, while it runs.
    insert(&machine, "the second CD").await;
    machine.set_boot_flags(Some(BootFlags { persistent: true, ..ONCE })).await.unwrap();
    let text = says(&machine, PowerAction::Reset, &["the second CD"]).await;
    assert!(!text.contains("the first CD"), "{text}");

    // The process of another run takes over.
    drop((machine, lab));
    let lab = Lab::open(&state, options).await.unwrap().unwrap();
    let machine = lab.machine("metal-0").unwrap().clone();
    assert_eq!(inserted(&machine).as_deref(), Some("http://127.0.0.1/the second CD"));
    says(&machine, PowerAction::Cycle, &["the second CD"]).await;

    // Taken out while it runs: the firmware passes over the empty drive.
    for _ in 0..2 {
        machine.eject_cd().await.unwrap();
        assert_eq!(inserted(&machine), None);
        assert!(!machine_file(&state, "cd.iso").exists(), "what it held is gone");
    }
    let text = says(&machine, PowerAction::Reset, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the second CD"), "{text}");
    let text = says(&machine, PowerAction::Cycle, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the second CD"), "{text}");

    // One that was never finished leaves nothing.
    drop(machine.new_cd().unwrap());
    assert!(!machine_file(&state, "cd.iso.new").exists());
    drop(machine);
    lab.delete().await.unwrap();
}

fn machine_file(state: &Utf8Path, name: &str) -> Utf8PathBuf {
    state.join("lab/machines/metal-0").join(name)
}

/// It may hold a secret: neither other machines' QEMU nor other users read it.
fn only_its_own_user_reads_it(state: &Utf8Path, machine: &Machine) {
    let found = std::fs::metadata(machine_file(state, "cd.iso")).unwrap();
    assert_eq!((found.uid(), found.gid()), (0, machine.definition().uid));
    assert_eq!(found.mode() & 0o777, 0o640);
    let record = std::fs::metadata(machine_file(state, "cd.json")).unwrap();
    assert_eq!(record.mode() & 0o777, 0o600);
}
