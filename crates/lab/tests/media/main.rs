//! A machine starts from its CD or its USB stick: put in while it is off or on, kept over a power
//! cycle and over a restart of this program, and gone when it is ejected. Needs root and QEMU; says
//! so and passes where they are missing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it is skipped"
)]

mod stick;

use std::{io::Write as _, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::time::timeout;
use undercloud_lab::{
    Acceleration, BootFlags, InsertedMedia, Lab, LabConfig, LabOptions, Machine, MediaDrive,
    QemuFiles,
};
use undercloud_model::{BootDevice, PowerAction};

use stick::PRINTS;

/// A lab of one machine.
fn config(firmware: &str, memory_mib: u32) -> LabConfig {
    let text = format!(
        "[[network]]
         name = 'boot'
         cidr = '192.168.24.0/24'
         [[machine]]
         name = 'metal-0'
         profile = 'test'
         firmware = '{firmware}'
         memory_mib = {memory_mib}
         cpus = 1
         disk_gib = 1
         networks = ['boot']"
    );
    text.parse().unwrap()
}

/// For anything that QEMU or its firmware does, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

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

async fn insert(machine: &Machine, drive: MediaDrive, text: &str) {
    let mut new = machine.new_media(drive).unwrap();
    let bytes = match drive {
        MediaDrive::Cd => cd(text),
        MediaDrive::Usb => stick::stick(text),
    };
    new.file.write_all(&bytes).unwrap();
    let image = format!("http://127.0.0.1/{text}");
    machine.insert_media(new, InsertedMedia { image, write_protected: true }).await.unwrap();
}

fn inserted(machine: &Machine, drive: MediaDrive) -> Option<String> {
    machine.media(drive).unwrap().map(|media| media.image)
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

/// A lab of one machine, for as long as the test runs.
struct Bench {
    state: Utf8PathBuf,
    options: LabOptions,
    _directory: tempfile::TempDir,
    _remains: Remains,
}

/// Nothing, where something is missing.
async fn bench(config: &LabConfig) -> Option<(Bench, Lab)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let files = QemuFiles::find().inspect_err(|error| println!("skipped: {error}")).ok()?;
    let options =
        LabOptions { files, acceleration: Acceleration::Tcg, program: "/bin/false".into() };
    let directory = tempfile::Builder::new().prefix("lab-test-").tempdir().unwrap();
    let state = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    let lab = Lab::create(&state, config, options.clone()).await.unwrap();
    let remains = Remains(lab.network().namespace().to_owned());
    Some((Bench { state, options, _directory: directory, _remains: remains }, lab))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_starts_from_its_cd_until_it_is_ejected() {
    starts_until_it_is_ejected(MediaDrive::Cd, BootDevice::Cdrom).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_starts_from_its_usb_stick_until_it_is_ejected() {
    starts_until_it_is_ejected(MediaDrive::Usb, BootDevice::Usb).await;
}

async fn starts_until_it_is_ejected(drive: MediaDrive, device: BootDevice) {
    let Some((bench, lab)) = bench(&config("bios", 128)).await else { return };
    let machine = lab.machine("metal-0").unwrap().clone();
    let once = BootFlags { device, efi: false, persistent: false };
    let files = Files::of(&bench.state, drive);

    // Put in while it is off.
    insert(&machine, drive, "the first one").await;
    only_its_own_user_reads_it(&files, &machine);
    machine.set_boot_flags(Some(once)).await.unwrap();
    says(&machine, PowerAction::On, &["SeaBIOS", "the first one"]).await;
    assert_eq!(machine.boot_flags().flags, None, "once is once");
    let text = says(&machine, PowerAction::Cycle, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the first one"), "what is in is not booted unasked: {text}");

    // Another one, while it runs.
    insert(&machine, drive, "the second one").await;
    machine.set_boot_flags(Some(BootFlags { persistent: true, ..once })).await.unwrap();
    let text = says(&machine, PowerAction::Reset, &["the second one"]).await;
    assert!(!text.contains("the first one"), "{text}");

    // The process of another run takes over.
    drop((machine, lab));
    let lab = Lab::open(&bench.state, bench.options.clone()).await.unwrap().unwrap();
    let machine = lab.machine("metal-0").unwrap().clone();
    assert_eq!(inserted(&machine, drive).as_deref(), Some("http://127.0.0.1/the second one"));
    says(&machine, PowerAction::Cycle, &["the second one"]).await;

    // Taken out while it runs: the firmware passes over the empty drive.
    for _ in 0..2 {
        machine.eject_media(drive).await.unwrap();
        assert_eq!(inserted(&machine, drive), None);
        assert!(!files.image.exists(), "what it held is gone");
    }
    let text = says(&machine, PowerAction::Reset, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the second one"), "{text}");
    let text = says(&machine, PowerAction::Cycle, &["Booting from Hard Disk"]).await;
    assert!(!text.contains("the second one"), "{text}");

    // The first one for a machine that was started without any; its order counts for it already.
    insert(&machine, drive, "the third one").await;
    says(&machine, PowerAction::Reset, &["the third one"]).await;

    // One that was never finished leaves nothing.
    drop(machine.new_media(drive).unwrap());
    assert!(!Utf8PathBuf::from(format!("{}.new", files.image)).exists());
    drop(machine);
    lab.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uefi_machine_starts_from_a_usb_stick_that_it_can_write_to() {
    let Some((bench, lab)) = bench(&config("uefi", 256)).await else { return };
    let machine = lab.machine("metal-0").unwrap().clone();
    machine.power(PowerAction::On).await.unwrap();
    let mut new = machine.new_media(MediaDrive::Usb).unwrap();
    new.file.write_all(&stick::stick("a stick with UEFI")).unwrap();
    let media = InsertedMedia { image: "http://127.0.0.1/".to_owned(), write_protected: false };
    machine.insert_media(new, media.clone()).await.unwrap();
    assert_eq!(machine.media(MediaDrive::Usb).unwrap(), Some(media));
    let image = std::fs::metadata(Files::of(&bench.state, MediaDrive::Usb).image).unwrap();
    assert_eq!(image.mode() & 0o777, 0o660, "its own user writes to it");
    let once = BootFlags { device: BootDevice::Usb, efi: true, persistent: false };
    for action in [PowerAction::Reset, PowerAction::Cycle] {
        machine.set_boot_flags(Some(once)).await.unwrap();
        says(&machine, action, &["a stick with UEFI"]).await;
    }
    drop(machine);
    lab.delete().await.unwrap();
}

/// The files of what is in a drive.
struct Files {
    image: Utf8PathBuf,
    record: Utf8PathBuf,
}

impl Files {
    fn of(state: &Utf8Path, drive: MediaDrive) -> Self {
        let (image, record) = match drive {
            MediaDrive::Cd => ("cd.iso", "cd.json"),
            MediaDrive::Usb => ("usb.img", "usb.json"),
        };
        let folder = state.join("lab/machines/metal-0");
        Self { image: folder.join(image), record: folder.join(record) }
    }
}

/// It may hold a secret: neither other machines' QEMU nor other users read it.
fn only_its_own_user_reads_it(files: &Files, machine: &Machine) {
    let found = std::fs::metadata(&files.image).unwrap();
    assert_eq!((found.uid(), found.gid()), (0, machine.definition().uid));
    assert_eq!(found.mode() & 0o777, 0o640);
    let record = std::fs::metadata(&files.record).unwrap();
    assert_eq!(record.mode() & 0o777, 0o600);
}
