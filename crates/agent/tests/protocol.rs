//! The agent against a daemon over real TLS, with disks that are files.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod support;

use std::{os::unix::fs::OpenOptionsExt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use support::{Answer, Daemon, Machine, Request};
use undercloud_agent::{
    client::{Client, ClientError, Patience},
    cloud::{Call, Cloud, Ended, Latest, Programs},
    log::Log,
    session::{Rhythm, Session, SessionError, System, hello},
    steps::{Executor, Order, Place},
};
use undercloud_image::{
    configdrive::ConfigDrive,
    digest_of, frames,
    gpt::{Guid, TYPE_ROOT_X86_64, Table},
};
use undercloud_model::{
    Secret,
    agent::{BootIdentity, Outcome, PROTOCOL_VERSION, Report, StepFailureKind, StepResult},
};

const MIB: usize = 1 << 20;
const STEP: &str = "11111111-2222-4333-8444-555555555555";
const RHYTHM: Rhythm = Rhythm {
    hello_pause: Duration::from_millis(10),
    hello_total: Duration::from_millis(200),
    pause_max: Duration::from_millis(10),
    poll_every: Duration::from_millis(1),
    heartbeat: Duration::from_millis(50),
};
/// More than any answer takes, however busy the host is.
const PATIENCE: Patience =
    Patience { pause: Duration::from_millis(5), total: Duration::from_secs(60) };

fn system() -> System {
    System {
        protocol: PROTOCOL_VERSION,
        boot_id: "boot-1".into(),
        ssh_host_key: None,
        health: Latest::default(),
    }
}

fn quiet() -> Log {
    Log::new(Vec::new())
}

fn executor(daemon: &Daemon, machine: &Machine) -> Executor {
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap().with_key(Secret::new("session"));
    Executor::new(machine.host.clone(), Place::Ramdisk, client, quiet())
        .with_patience(PATIENCE, Duration::from_millis(5))
}

fn order(step: &Value) -> Order {
    serde_json::from_value(json!({"id": STEP, "step": step})).unwrap()
}

/// A disk image of 8 MiB with a table, a root partition and content that does not compress.
fn image() -> Vec<u8> {
    let mut table = Table::new(Guid::ZERO, 8 * MIB as u64).unwrap();
    table.push(TYPE_ROOT_X86_64, Guid::ZERO, "root", 6 * 2048).unwrap();
    let mut image = vec![0u8; 8 * MIB];
    let mut state = 1u32;
    for byte in &mut image[MIB..5 * MIB] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    table.write_head(&mut image[..MIB]).unwrap();
    let (at, tail) = table.tail();
    let at = usize::try_from(at).unwrap();
    image[at..at + tail.len()].copy_from_slice(&tail);
    image
}

struct Image {
    raw: Vec<u8>,
    packed: Vec<u8>,
    drive: Vec<u8>,
    step: Value,
}

fn packed_image() -> Image {
    let raw = image();
    let mut packed = Vec::new();
    frames::compress(&raw[..], &mut packed, 1, 1).unwrap();
    let mut drive = ConfigDrive::new();
    drive.meta_data(&json!({"hostname": "compute-0"}));
    let drive = drive.to_iso().unwrap();
    let step = json!({
        "kind": "write_image",
        "image": {
            "blob": digest_of(&packed), "encoding": "zstd",
            "disk_bytes": raw.len(), "disk_digest": digest_of(&raw),
        },
        "disk": {"name": "sda", "serial": "disk-0", "wwn": null, "size_bytes": 16 * MIB},
        "config_drive": STANDARD.encode(&drive),
    });
    Image { raw, packed, drive, step }
}

/// Gives the blob and takes everything else.
fn blob_daemon(blob: Vec<u8>) -> Daemon {
    Daemon::start(move |request: &Request| match request.method.as_str() {
        "GET" => Answer::bytes(blob.clone()),
        _ => Answer::json(200, &json!({})),
    })
}

fn failure_of(report: &Report) -> (StepFailureKind, String) {
    match &report.outcome {
        Outcome::Failed(failure) => (failure.kind, failure.message.clone()),
        Outcome::Done(result) => panic!("{result:?}"),
    }
}

fn blobs_fetched(daemon: &Daemon) -> usize {
    daemon.paths().iter().filter(|p| p.starts_with("/agent/v1/blobs/")).count()
}

#[test]
fn an_image_is_written_fitted_and_reported_once() {
    let image = packed_image();
    let daemon = blob_daemon(image.packed.clone());
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let executor = executor(&daemon, &machine);
    let report = executor.execute(order(&image.step)).unwrap();
    let Outcome::Done(StepResult::WriteImage(receipt)) = &report.outcome else {
        panic!("{report:?}")
    };
    assert_eq!(receipt.disk_digest, digest_of(&image.raw));
    assert_eq!((receipt.disk.name.as_str(), receipt.written_bytes), ("vda", 8 * MIB as u64));
    let disk = machine.vda();
    assert!(disk[MIB..7 * MIB] == image.raw[MIB..7 * MIB]);
    let table = Table::parse(&disk[..MIB]).unwrap();
    assert_eq!(table.disk_bytes(), 16 * MIB as u64);
    assert!(table.by_name("root").unwrap().size_bytes() > 8 * MIB as u64);
    let place = usize::try_from(table.by_name("config-2").unwrap().offset_bytes()).unwrap();
    assert!(disk[place..].starts_with(&image.drive));
    assert!(report.log.iter().any(|l| l.contains("read back")), "{:?}", report.log);

    // The same order again: the same report, and nothing is fetched or written.
    machine.file("dev/vda", b"nobody writes here");
    assert_eq!(executor.execute(order(&image.step)).unwrap(), report);
    assert_eq!(blobs_fetched(&daemon), 1);
    assert_eq!(machine.vda(), b"nobody writes here");
    let seen = daemon.seen.lock().unwrap();
    assert!(seen.iter().all(|r| r.header("authorization") == Some("Bearer session")));
}

#[test]
fn a_raw_image_is_written_too() {
    let mut image = packed_image();
    image.step["image"]["encoding"] = json!("raw");
    image.step["image"]["blob"] = json!(digest_of(&image.raw));
    let daemon = blob_daemon(image.raw.clone());
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let report = executor(&daemon, &machine).execute(order(&image.step)).unwrap();
    assert!(matches!(report.outcome, Outcome::Done(_)), "{report:?}");
    assert!(machine.vda()[MIB..7 * MIB] == image.raw[MIB..7 * MIB]);
}

#[test]
fn what_is_not_the_image_never_boots() {
    let good = packed_image();
    let mut other = good.raw.clone();
    other[2 * MIB] ^= 1;
    let mut other_packed = Vec::new();
    frames::compress(&other[..], &mut other_packed, 1, 1).unwrap();
    let short = good.packed[..good.packed.len() / 2].to_vec();
    let garbage = vec![7u8; 100_000];
    let longer = [good.packed.clone(), vec![0; 100]].concat();
    for (name, blob) in
        [("another", other_packed), ("short", short), ("garbage", garbage), ("longer", longer)]
    {
        let daemon = blob_daemon(blob);
        let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
        let report = executor(&daemon, &machine).execute(order(&good.step)).unwrap();
        let (kind, message) = failure_of(&report);
        assert_eq!(kind, StepFailureKind::DigestMismatch, "{name}: {message}");
        let disk = machine.vda();
        assert!(disk[..MIB].iter().all(|b| *b == 0), "{name}: the first MiB was written");
        assert!(disk[15 * MIB..].iter().all(|b| *b == 0), "{name}: the last MiB was written");
    }
}

#[test]
fn a_blob_that_unpacks_to_another_length_never_boots() {
    for disk_bytes in [7 * MIB, 9 * MIB] {
        let mut image = packed_image();
        image.step["image"]["disk_bytes"] = json!(disk_bytes);
        let daemon = blob_daemon(image.packed.clone());
        let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
        let report = executor(&daemon, &machine).execute(order(&image.step)).unwrap();
        assert_eq!(failure_of(&report).0, StepFailureKind::DigestMismatch);
        assert!(machine.vda()[..MIB].iter().all(|b| *b == 0));
    }
}

#[test]
fn orders_that_contradict_themselves_touch_nothing() {
    let image = packed_image();
    let daemon = blob_daemon(image.raw.clone());
    for (pointer, value) in [
        ("/image/encoding", json!("raw")),
        ("/config_drive", json!("not base64!")),
        ("/config_drive", json!("")),
        ("/config_drive", json!("AAAA".repeat(3 << 20))),
    ] {
        let mut step = image.step.clone();
        *step.pointer_mut(pointer).unwrap() = value;
        let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
        let report = executor(&daemon, &machine).execute(order(&step)).unwrap();
        assert_eq!(failure_of(&report).0, StepFailureKind::Unsupported, "{pointer}");
        assert!(machine.vda().iter().all(|b| *b == 0xee));
    }
}

#[test]
fn a_disk_that_is_too_small_is_not_touched() {
    let mut image = packed_image();
    image.step["disk"]["size_bytes"] = json!(8 * MIB);
    let daemon = blob_daemon(image.packed.clone());
    let machine = Machine::with_disk(&vec![0xee; 8 * MIB]);
    let report = executor(&daemon, &machine).execute(order(&image.step)).unwrap();
    let (kind, message) = failure_of(&report);
    assert_eq!(kind, StepFailureKind::DiskTooSmall, "{message}");
    assert!(message.contains("disk-0") && message.contains("8388608 bytes"), "{message}");
    assert!(machine.vda().iter().all(|b| *b == 0xee));
}

#[test]
fn another_disk_is_never_written() {
    let image = packed_image();
    let daemon = blob_daemon(image.packed.clone());
    for (serial, size) in [("disk-1", 16 * MIB), ("disk-0", 12 * MIB)] {
        let mut step = image.step.clone();
        step["disk"]["serial"] = json!(serial);
        step["disk"]["size_bytes"] = json!(size);
        let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
        let (kind, message) =
            failure_of(&executor(&daemon, &machine).execute(order(&step)).unwrap());
        assert_eq!(kind, StepFailureKind::DiskNotFound);
        assert!(message.contains("the machine has: vda (16777216 bytes, serial disk-0)"));
        assert!(machine.vda().iter().all(|b| *b == 0xee));
    }
}

#[test]
fn a_daemon_that_vanishes_in_mid_write_and_returns_loses_nothing() {
    let image = packed_image();
    let blob = image.packed.clone();
    let mut asked = 0;
    let daemon = Daemon::start(move |request: &Request| {
        if request.method != "GET" {
            return Answer::json(200, &json!({}));
        }
        asked += 1;
        let from = request.header("range").map_or(0, |range| {
            let range = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-'));
            range.unwrap().parse::<usize>().unwrap()
        });
        let length = blob.len();
        let rest = blob[from..].to_vec();
        match asked {
            // Cut, then restarting, then a part, then a whole where a part was asked for.
            1 => Answer::bytes(blob.clone()).cut_after(length / 4),
            2 => Answer::json(503, &json!({"error": {"kind": "unavailable", "message": "later"}})),
            3 => Answer {
                status: 206,
                headers: format!("Content-Range: bytes {from}-{}/{length}\r\n", length - 1),
                cut: Some(rest.len() / 2),
                body: rest,
            },
            _ => Answer::bytes(blob.clone()),
        }
    });
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let report = executor(&daemon, &machine).execute(order(&image.step)).unwrap();
    assert!(matches!(report.outcome, Outcome::Done(_)), "{report:?}");
    assert!(machine.vda()[MIB..7 * MIB] == image.raw[MIB..7 * MIB]);
    assert_eq!(blobs_fetched(&daemon), 4);
}

#[test]
fn a_daemon_that_stays_away_is_a_failure_to_fetch() {
    let image = packed_image();
    let blob = image.packed.clone();
    let daemon = Daemon::start(move |request: &Request| match request.method.as_str() {
        "GET" => Answer::bytes(blob.clone()).cut_after(if request.header("range").is_some() {
            0
        } else {
            MIB
        }),
        _ => Answer::json(200, &json!({})),
    });
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let patience = Patience { total: Duration::from_secs(5), ..PATIENCE };
    let executor = executor(&daemon, &machine).with_patience(patience, Duration::from_millis(5));
    let report = executor.execute(order(&image.step)).unwrap();
    let (kind, message) = failure_of(&report);
    assert_eq!(kind, StepFailureKind::Fetch, "{message}");
    assert!(machine.vda()[..MIB].iter().all(|b| *b == 0));
    // It said how far it was while it waited.
    assert!(daemon.paths().iter().any(|p| p == "/agent/v1/progress"));
}

#[test]
fn a_blob_that_is_refused_is_not_asked_for_again() {
    let image = packed_image();
    let daemon = Daemon::start(|_: &Request| {
        Answer::json(403, &json!({"error": {"kind": "denied", "message": "in no order of yours"}}))
    });
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let (kind, message) =
        failure_of(&executor(&daemon, &machine).execute(order(&image.step)).unwrap());
    assert_eq!(kind, StepFailureKind::Fetch);
    assert!(message.contains("in no order of yours"), "{message}");
    assert_eq!(blobs_fetched(&daemon), 1);
}

fn wipe(serial: &str, bytes: usize) -> Value {
    let disk = json!({"name": "vda", "serial": serial, "wwn": null, "size_bytes": bytes});
    json!({"kind": "wipe_disks", "disks": [disk]})
}

#[test]
fn wiping_reaches_the_ends_of_disks_and_partitions_and_nothing_else() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    machine.file("sys/class/block/vda/vda1/start", b"8192\n");
    machine.file("sys/class/block/vda/vda1/size", b"8192\n");
    machine.disk("sdb", "data", &vec![0xee; 2 * MIB]);
    // A path to the disk has its serial number and its size, and no device node.
    machine.file("sys/class/block/nvme0c0n1/size", &(16 * MIB / 512).to_string().into_bytes());
    machine.file("sys/class/block/nvme0c0n1/serial", b"disk-0");
    machine.file("sys/class/block/nvme0c0n1/hidden", b"1\n");
    let report = executor(&daemon, &machine).execute(order(&wipe("disk-0", 16 * MIB))).unwrap();
    let Outcome::Done(StepResult::WipeDisks { disks }) = &report.outcome else {
        panic!("{report:?}")
    };
    assert_eq!(disks.len(), 1);
    assert_eq!((disks[0].disk.name.as_str(), disks[0].zeroed_bytes), ("vda", 8 * MIB as u64));
    let disk = machine.vda();
    let zero: Vec<bool> = disk.chunks(MIB).map(|c| c.iter().all(|b| *b == 0)).collect();
    let expected: Vec<bool> = (0..16).map(|i| [0, 1, 4, 5, 6, 7, 14, 15].contains(&i)).collect();
    assert_eq!(zero, expected);
    assert!(disk[2 * MIB..4 * MIB].iter().all(|b| *b == 0xee));
    assert!(std::fs::read(machine.path("dev/sdb")).unwrap().iter().all(|b| *b == 0xee));
}

#[test]
fn a_disk_that_cannot_be_opened_fails_the_wipe() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&[0; 512]);
    std::fs::remove_file(machine.path("dev/vda")).unwrap();
    let report = executor(&daemon, &machine).execute(order(&wipe("disk-0", 512))).unwrap();
    assert_eq!(failure_of(&report).0, StepFailureKind::DiskIo);
}

#[test]
fn a_wipe_that_names_a_disk_which_is_not_there_touches_none() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&vec![0xee; 16 * MIB]);
    let mut step = wipe("disk-0", 16 * MIB);
    let other = wipe("disk-9", 16 * MIB)["disks"][0].clone();
    step["disks"].as_array_mut().unwrap().push(other);
    let report = executor(&daemon, &machine).execute(order(&step)).unwrap();
    assert_eq!(failure_of(&report).0, StepFailureKind::DiskNotFound);
    assert!(machine.vda().iter().all(|b| *b == 0xee));
    // What an older daemon orders, which named no disks, is not known any more.
    let report =
        executor(&daemon, &machine).execute(order(&json!({"kind": "wipe_metadata"}))).unwrap();
    assert_eq!(failure_of(&report).0, StepFailureKind::Unsupported);
    assert!(machine.vda().iter().all(|b| *b == 0xee));
}

#[test]
fn a_step_that_is_not_known_is_answered_so_and_not_quoted() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&[0; 512]);
    for step in [
        json!({"kind": "run_anything", "config_drive": "hunter2"}),
        json!({"kind": "write_image", "config_drive": {"hunter2": 1}}),
        json!("hunter2"),
    ] {
        let report = executor(&daemon, &machine).execute(order(&step)).unwrap();
        let (kind, message) = failure_of(&report);
        assert_eq!(kind, StepFailureKind::Unsupported);
        assert!(!message.contains("hunter2") && !format!("{report:?}").contains("hunter2"));
    }
}

#[test]
fn the_installed_system_writes_no_disks() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&[0xee; 512]);
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let executor = Executor::new(machine.host.clone(), Place::Installed, client, quiet());
    let report = executor.execute(order(&wipe("disk-0", 512))).unwrap();
    assert_eq!(failure_of(&report).0, StepFailureKind::Unsupported);
    assert_eq!(machine.vda(), [0xee; 512]);
}

#[test]
fn a_certificate_that_is_not_valid_now_names_the_clocks() {
    for (years, words) in [
        ((4000, 4096), "days after this machine's time: its clock is behind, or the daemon's"),
        ((1975, 2011), "days before this machine's time: its clock is ahead, or the daemon's"),
    ] {
        let daemon = Daemon::valid_in_years(years, |_| Answer::json(200, &json!({})));
        let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
        let error = client.tell("/x", &json!({}), Duration::from_secs(20)).unwrap_err();
        assert!(error.is_retryable(), "a clock is set right");
        let text = error.to_string();
        assert!(text.contains("the daemon's certificate") && text.contains(words), "{text}");
    }
}

fn identity(daemon: &Daemon, protocol: u32) -> BootIdentity {
    serde_json::from_value(json!({
        "protocol": protocol, "api": daemon.url, "node": STEP, "secret": "boot-secret",
        "ca_pem": daemon.ca_pem, "now_ms": 0,
        "network": {"mac": "52:54:00:12:34:56", "address": "127.0.0.1/8", "gateway": null},
    }))
    .unwrap()
}

#[test]
fn from_hello_to_the_end_of_the_session() {
    let (mut polls, mut reported) = (0, false);
    let daemon = Daemon::start(move |request: &Request| match request.path.as_str() {
        "/agent/v1/hello" => Answer::json(200, &json!({"session_key": "session"})),
        "/agent/v1/poll" => {
            polls += 1;
            match polls {
                1 => Answer::json(200, &json!({"order": null})),
                2 => Answer::json(503, &json!({})),
                3 => Answer::bytes(b"no json".to_vec()),
                4 => {
                    Answer::json(200, &json!({"order": {"id": STEP, "step": {"kind": "inspect"}}}))
                }
                _ if !reported => Answer::json(200, &json!({"order": null})),
                _ => Answer::json(
                    401,
                    &json!({"error": {"kind": "denied", "message": "over", "hint": "look"}}),
                ),
            }
        }
        "/agent/v1/report" => {
            reported = true;
            Answer { status: 204, ..Answer::bytes(Vec::new()) }
        }
        other => panic!("{other}"),
    });
    let machine = Machine::with_disk(&[0; 512]);
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let identity = identity(&daemon, PROTOCOL_VERSION);
    let key = hello(&client, &identity, "boot-1", &RHYTHM, &quiet()).unwrap();
    let client = client.with_key(key);
    let executor = Executor::new(machine.host.clone(), Place::Ramdisk, client.clone(), quiet());
    let end = Session::new(client, executor, system(), RHYTHM, quiet()).run();
    let ClientError::Refused { status: 401, message, .. } = end else { panic!("{end}") };
    assert_eq!(message, "over; look");
    let seen = daemon.seen.lock().unwrap();
    assert_eq!(seen[0].json()["secret"], "boot-secret");
    assert_eq!(
        (&seen[0].json()["boot_id"], seen[0].header("authorization")),
        (&json!("boot-1"), None)
    );
    assert_eq!(seen[1].json(), json!({"protocol": PROTOCOL_VERSION, "boot_id": "boot-1"}));
    let report = seen.iter().find(|r| r.path == "/agent/v1/report").unwrap().json();
    assert_eq!(report["outcome"]["done"]["kind"], "inspect");
    assert_eq!(report["outcome"]["done"]["disks"][0]["serial"], "disk-0");
}

#[test]
fn a_report_is_sent_until_it_is_taken() {
    let (mut polls, mut reports) = (0, 0);
    let daemon = Daemon::start(move |request: &Request| match request.path.as_str() {
        "/agent/v1/poll" => {
            polls += 1;
            let order = json!({"id": STEP, "step": {"kind": "inspect"}});
            let order = if polls == 1 { order } else { Value::Null };
            Answer::json(if reports < 4 { 200 } else { 401 }, &json!({"order": order}))
        }
        _ => {
            reports += 1;
            Answer::json(if reports < 4 { 500 } else { 200 }, &json!({}))
        }
    });
    let machine = Machine::with_disk(&[0; 512]);
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let executor = Executor::new(machine.host.clone(), Place::Ramdisk, client.clone(), quiet());
    Session::new(client, executor, system(), RHYTHM, quiet()).run();
    let reports: Vec<_> = daemon.paths().into_iter().filter(|p| p.ends_with("report")).collect();
    assert_eq!(reports.len(), 4);
}

#[test]
fn an_agent_whose_step_takes_long_goes_on_calling() {
    let machine = Machine::with_disk(&[0; 512]);
    // A disk whose first sector does not come until somebody lets it: the step waits in the kernel.
    let disk = machine.path("dev/vda");
    std::fs::remove_file(&disk).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&disk).status().unwrap();
    assert!(made.success());
    let (mut busy, mut reported) = (0, false);
    let daemon = Daemon::start(move |request: &Request| match request.path.as_str() {
        "/agent/v1/poll" => {
            if busy == 0 && request.json()["busy"].is_null() {
                let order = json!({"id": STEP, "step": {"kind": "inspect"}});
                return Answer::json(200, &json!({ "order": order }));
            }
            if request.json()["busy"] == json!([STEP]) {
                busy += 1;
                if busy >= 3 {
                    // Opened and closed: what opens it goes on. It may open it twice.
                    let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
                    let mut options = std::fs::OpenOptions::new();
                    options.write(true).custom_flags(i32::try_from(nonblock).unwrap());
                    drop(options.open(&disk));
                }
            }
            Answer::json(if reported { 401 } else { 200 }, &json!({"order": null}))
        }
        _ => {
            assert!(busy >= 3, "it was silent while it worked");
            reported = true;
            Answer::json(200, &json!({}))
        }
    });
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let executor = Executor::new(machine.host.clone(), Place::Ramdisk, client.clone(), quiet());
    Session::new(client, executor, system(), RHYTHM, quiet()).run();
    let seen = daemon.seen.lock().unwrap();
    let report = seen.iter().find(|r| r.path == "/agent/v1/report").unwrap().json();
    assert_eq!(report["outcome"]["done"]["disks"][0]["content"]["look"], "unreadable");
}

#[test]
fn another_version_of_the_protocol_is_said_before_anything_is_sent() {
    let daemon = blob_daemon(Vec::new());
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let error = hello(&client, &identity(&daemon, 1), "b", &RHYTHM, &quiet()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this agent speaks version 2 of the protocol and the daemon version 1: build the images \
         again with `undercloud image build`"
    );
    assert!(daemon.paths().is_empty());
}

#[test]
fn a_refused_hello_is_the_end_and_does_not_show_the_secret() {
    let daemon = Daemon::start(|_: &Request| {
        Answer::json(403, &json!({"error": {"kind": "denied", "message": "used\nalready"}}))
    });
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let identity = identity(&daemon, PROTOCOL_VERSION);
    let error = hello(&client, &identity, "b", &RHYTHM, &quiet()).unwrap_err();
    let text = format!("{error} {error:?} {identity:?} {client:?}");
    assert!(text.contains("refused (403): used already"), "{text}");
    assert!(!text.contains("boot-secret"), "{text}");
    assert_eq!(daemon.paths().len(), 1);
}

#[test]
fn a_daemon_with_a_certificate_of_another_ca_is_told_nothing() {
    let daemon = blob_daemon(Vec::new());
    let other = blob_daemon(Vec::new());
    let client = Client::new(&daemon.url, &other.ca_pem).unwrap();
    let log = quiet();
    let error =
        hello(&client, &identity(&daemon, PROTOCOL_VERSION), "b", &RHYTHM, &log).unwrap_err();
    assert!(matches!(error, SessionError::Silent { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    assert!(daemon.paths().is_empty());
}

#[test]
fn a_reply_without_end_is_cut_off() {
    let huge = Arc::new(vec![b' '; 17 << 20]);
    let daemon = Daemon::start(move |_: &Request| Answer::bytes(huge.to_vec()));
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let answer: Result<Value, _> =
        client.post("/agent/v1/poll", &json!({}), Duration::from_secs(20));
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("limit"), "{error}");
}

#[test]
fn an_identity_without_an_address_or_ca_is_refused() {
    let daemon = blob_daemon(Vec::new());
    assert!(matches!(Client::new("https://daemon:1", &daemon.ca_pem), Err(ClientError::Url(_))));
    assert!(matches!(Client::new("http://127.0.0.1", &daemon.ca_pem), Err(ClientError::Url(_))));
    for pem in ["", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(Client::new(&daemon.url, pem), Err(ClientError::Ca)), "{pem}");
    }
}

/// Steps of the installed system's agent that wait until they are let go, and what the daemon saw.
struct Gate {
    open: std::sync::Mutex<Vec<String>>,
    changed: std::sync::Condvar,
}

impl Gate {
    fn wait_for(&self, name: &str) {
        let open = self.open.lock().unwrap();
        let closed = |open: &mut Vec<String>| !open.iter().any(|n| n == name);
        let (open, timeout) =
            self.changed.wait_timeout_while(open, Duration::from_secs(30), closed).unwrap();
        drop(open);
        assert!(!timeout.timed_out(), "{name}");
    }

    fn open(&self, name: &str) {
        self.open.lock().unwrap().push(name.to_owned());
        self.changed.notify_all();
    }
}

/// Every program waits at the gate under its last argument: `a.service`.
#[derive(Clone)]
struct Waiting(Arc<Gate>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl Programs for Waiting {
    fn run(&self, call: &Call) -> std::io::Result<Ended> {
        self.0.wait_for(call.arguments.last().unwrap());
        Ok(Ended::good("LoadState=loaded\nActiveState=active\n"))
    }
}

fn step_id(letter: char) -> String {
    STEP.replace("11111111", &letter.to_string().repeat(8))
}

fn await_unit(letter: char) -> Value {
    json!({"id": step_id(letter), "step": {"kind": "cloud", "step": {
        "kind": "await_health", "service": letter, "probe": "unit", "timeout_s": 0,
    }}})
}

#[test]
fn an_installed_machine_does_several_orders_at_once_and_none_twice() {
    let gate = Arc::new(Gate { open: Default::default(), changed: Default::default() });
    let doors = gate.clone();
    let mut polls = 0;
    let daemon = Daemon::start(move |request: &Request| match request.path.as_str() {
        "/agent/v1/poll" => {
            polls += 1;
            let order = match polls {
                1 => await_unit('a'),
                // The same again, though it is in progress.
                2 => await_unit('a'),
                3 => await_unit('b'),
                // The limit is two: this poll came only because the second one ended.
                4 => {
                    assert_eq!(request.json()["busy"], json!([step_id('a')]));
                    doors.open("a.service");
                    await_unit('b')
                }
                _ => return Answer::json(401, &json!({})),
            };
            if polls == 3 {
                doors.open("b.service");
            }
            Answer::json(200, &json!({ "order": order }))
        }
        _ => Answer::json(200, &json!({})),
    });
    let machine = Machine::with_disk(&[0; 512]);
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let identity = serde_json::from_value(json!({
        "protocol": PROTOCOL_VERSION, "api": daemon.url, "node": STEP, "name": "n", "key": "k",
        "ca_pem": daemon.ca_pem,
    }));
    let cloud =
        Cloud::new(machine.host.clone(), identity.unwrap(), Arc::new(Waiting(gate.clone())));
    let executor = Executor::new(machine.host.clone(), Place::Installed, client.clone(), quiet())
        .with_cloud(cloud.into());
    let session = Session::new(client, executor, system(), RHYTHM, quiet()).with_orders_at_once(2);
    session.run();
    // The reports come from the orders' own threads; the second order was given again after its
    // report, which is repeated.
    let reports = || {
        let seen = daemon.seen.lock().unwrap();
        let reports = seen.iter().filter(|r| r.path == "/agent/v1/report").map(Request::json);
        let mut ids: Vec<String> =
            reports.map(|r| r["id"].as_str().unwrap()[..1].to_owned()).collect();
        ids.sort();
        ids
    };
    let began = std::time::Instant::now();
    while reports() != ["a", "b", "b"] {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", reports());
        std::thread::yield_now();
    }
    let seen = daemon.seen.lock().unwrap();
    let polls: Vec<Value> = seen
        .iter()
        .filter(|r| r.path == "/agent/v1/poll")
        .map(|r| r.json()["busy"].clone())
        .collect();
    assert_eq!(polls[0], Value::Null);
    assert_eq!(polls[1], json!([step_id('a')]));
    assert_eq!(polls[2], json!([step_id('a')]));
}

#[test]
fn the_ramdisk_does_no_cloud_steps() {
    let daemon = blob_daemon(Vec::new());
    let machine = Machine::with_disk(&[0; 512]);
    let order = serde_json::from_value(await_unit('a')).unwrap();
    let (kind, message) = failure_of(&executor(&daemon, &machine).execute(order).unwrap());
    assert_eq!(kind, StepFailureKind::Unsupported);
    assert!(
        message.starts_with("`cloud await_health` is done by the installed system"),
        "{message}"
    );
}
