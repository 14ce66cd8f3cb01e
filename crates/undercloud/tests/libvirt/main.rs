//! libvirt's domains behind BMCs: the real daemon, a real libvirt, real QEMU machines (without
//! virtualisation, and with nothing to boot), and `ipmitool` and Redfish to speak to them.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod host;
mod images;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use host::{Bmc, HOSTILE, Host, URI, lives, signal, until};
use rustix::process::Signal;
use undercloud_bmc::{
    credentials::Credentials,
    ipmi::client::{Client, Options, SolEvent, SolLine, Steal},
    machine::{BootDevice, Media, MediaSlot, PowerAction, PowerState},
    redfish::{
        client::{self as redfish, BootEnabled, BootMode, Budget, Config},
        link::Trust,
    },
};

const OS_BOOT: &str = "<boot dev='hd'/>";

#[test]
fn power_verbs_switch_the_domain() {
    let host = Host::new();
    host.define(HOSTILE, OS_BOOT, "", "");
    let bmc = host.bmc(HOSTILE);
    assert!(!bmc.is_on());
    for verb in ["cycle", "reset", "diag"] {
        bmc.no(&format!("power {verb}"), "Command not supported in present state");
    }
    for verb in ["off", "soft"] {
        bmc.yes(&format!("power {verb}"));
        assert!(!bmc.runs(), "{verb} from off");
    }
    bmc.yes("power on");
    bmc.until_on(true);
    assert!(bmc.runs());
    let first = bmc.start_number();
    for verb in ["on", "reset", "diag"] {
        bmc.yes(&format!("power {verb}"));
        assert_eq!(bmc.start_number(), first, "{verb}: the same QEMU goes on");
    }
    // Nothing runs in it that would heed the button: it is pressed, and that is all.
    bmc.yes("power soft");
    bmc.yes("power cycle");
    until("another QEMU runs", || bmc.runs() && bmc.start_number() != first);
    bmc.yes("power off");
    bmc.until_on(false);
    assert!(!bmc.runs());
}

/// Sets a device, reads it back, and says what became of the order.
fn set(bmc: &Bmc<'_>, device: &str, selector: &str) -> Vec<String> {
    bmc.yes(&format!("chassis bootdev {device}"));
    let read = bmc.yes("chassis bootparam get 5");
    assert!(read.contains(&format!("Boot Device Selector : {selector}\n")), "{device}: {read}");
    let efi = device.contains("efiboot");
    assert_eq!(read.contains("BIOS EFI boot"), efi, "{device}: {read}");
    let persistent = device.contains("persistent");
    assert_eq!(read.contains("Options apply to all future boots"), persistent, "{read}");
    bmc.order()
}

#[test]
fn boot_devices_change_the_definition_and_go_back() {
    let host = Host::new();
    host.define("by-os", OS_BOOT, "", "");
    host.define("by-place", "", "<boot order='7'/>", "<boot order='9'/>");
    let (pxe, disk, cdrom) =
        ("Force PXE", "Force Boot from default Hard-Drive", "Force Boot from CD/DVD");
    let bmc = host.bmc("by-os");
    let (hd, net, cd) = ("<boot dev='hd'/>", "<boot dev='network'/>", "<boot dev='cdrom'/>");
    for option in ["", " options=persistent", " options=efiboot", " options=efiboot,persistent"] {
        assert_eq!(set(&bmc, &format!("pxe{option}"), pxe), [net, hd]);
        assert_eq!(set(&bmc, &format!("cdrom{option}"), cdrom), [cd, hd]);
        assert_eq!(set(&bmc, &format!("disk{option}"), disk), [hd]);
    }
    assert_eq!(
        set(&bmc, "bios", "Force Boot into BIOS Setup"),
        [hd, "<bootmenu enable='yes' timeout='65535'/>"]
    );
    assert_eq!(set(&bmc, "none", "No override"), [hd]);
    for device in ["safe", "diag", "floppy"] {
        bmc.no(&format!("chassis bootdev {device}"), "Invalid data field");
        assert_eq!(bmc.order(), [hd], "{device}: refused, and nothing done");
    }
    let secret = host.virsh(&["dumpxml", "--security-info", &bmc.uuid]);
    assert!(secret.contains("passwd='secret'"), "an edit keeps the display's password: {secret}");

    let bmc = host.bmc("by-place");
    let places = |a: u8, b: u8| [format!("<boot order='{a}'/>"), format!("<boot order='{b}'/>")];
    assert_eq!(set(&bmc, "pxe", pxe), places(2, 1));
    assert_eq!(set(&bmc, "disk", disk), places(1, 2));
    let three = ["<boot order='2'/>", "<boot order='1'/>", "<boot order='3'/>"];
    assert_eq!(set(&bmc, "cdrom options=persistent", cdrom), three);
    assert_eq!(set(&bmc, "none", "No override"), places(7, 9));
}

/// Waits until another QEMU than that of number `before` runs, with this order.
fn another_start(bmc: &Bmc<'_>, before: &str, order: &[&str]) -> String {
    let mut number = String::new();
    until("it is started anew", || {
        number = bmc.start_number();
        number != before && number != "-" && bmc.live_order() == order
    });
    bmc.until_on(true);
    number
}

#[test]
fn once_is_one_boot() {
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    let (hd, net) = ("<boot dev='hd'/>", "<boot dev='network'/>");
    let used = || {
        bmc.yes("chassis bootparam get 5").contains("Boot Device Selector : No override\n")
            && bmc.order() == [hd]
    };
    bmc.yes("chassis bootdev pxe");
    bmc.yes("power on");
    bmc.until_on(true);
    assert_eq!(bmc.live_order(), [net, hd], "started with what was asked for");
    until("it is used up", used);
    // QEMU would boot from the network at each reset now. The machine must not.
    let first = bmc.start_number();
    host.virsh(&["reset", &bmc.uuid]);
    let second = another_start(&bmc, &first, &[hd]);
    // Asked for while it runs: the reset that a client asks for next uses it.
    bmc.yes("chassis bootdev pxe");
    bmc.yes("power reset");
    let third = another_start(&bmc, &second, &[net, hd]);
    until("it is used up", used);
    // For all boots: it stays, and a reset of a machine that has it is a reset.
    bmc.yes("chassis bootdev pxe options=persistent");
    bmc.yes("power cycle");
    let number = another_start(&bmc, &third, &[net, hd]);
    bmc.yes("power reset");
    assert!(bmc.yes("chassis bootparam get 5").contains("Force PXE"));
    assert_eq!((bmc.start_number(), bmc.order()), (number, vec![net.to_owned(), hd.to_owned()]));
}

fn ticks(pid: u32, fields: std::ops::Range<usize>) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let rest = stat.rsplit_once(") ").expect("stat").1;
    // The third field of proc(5) is the first one here.
    let fields = rest.split(' ').skip(fields.start - 3).take(fields.len());
    fields.map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

async fn connect(bmc: &Bmc<'_>) -> Client {
    let password = fs::read_to_string(&bmc.password).expect("password");
    let credentials = Credentials::new("admin", &password).expect("credentials");
    let address = format!("127.0.0.1:{}", bmc.port).parse().expect("address");
    Client::connect(address, credentials, Options::default()).await.expect("connect")
}

#[test]
fn a_power_status_costs_libvirt_nothing() {
    const STATUSES: u32 = 2000;
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    bmc.yes("power on");
    bmc.until_on(true);
    let (daemon, libvirtd) = (host.daemon_pid(), host.libvirtd().expect("libvirtd"));
    runtime().block_on(async {
        let mut client = connect(&bmc).await;
        let mut seen = (u64::MAX, u64::MAX, u64::MAX);
        // The start that was just made may still be read, by one virsh: then once more.
        for _ in 0..3 {
            let before = (ticks(daemon, 14..16), ticks(libvirtd, 14..16), ticks(daemon, 16..18));
            for _ in 0..STATUSES {
                assert_eq!(client.power_state().await.expect("state"), PowerState::On);
            }
            let after = (ticks(daemon, 14..16), ticks(libvirtd, 14..16), ticks(daemon, 16..18));
            seen = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
            if seen.2 == 0 {
                break;
            }
        }
        // Any virsh that ended would have left its time with us.
        assert_eq!(seen.2, 0, "no child of ours ran");
        // A tick is 10 ms.
        let each = |ticks: u64| ticks as f64 * 10.0 / f64::from(STATUSES);
        let (ours, theirs) = (each(seen.0), each(seen.1));
        println!(
            "{STATUSES} power statuses: {ours:.4} ms of ours each, {theirs:.4} ms of libvirtd's"
        );
        assert!(ours < 0.2 && theirs < 0.05, "VirtualBMC: 0.57 and 0.73 ms");
        client.close().await;
    });
}

#[test]
fn what_others_do_is_seen_and_restarts_lose_nothing() {
    let mut host = Host::new();
    host.define(HOSTILE, OS_BOOT, "", "");
    let bmc = host.bmc(HOSTILE);
    let (uuid, port, password) = (bmc.uuid.clone(), bmc.port.clone(), bmc.password.clone());
    host.virsh(&["start", &uuid]);
    bmc.until_on(true);
    host.virsh(&["destroy", &uuid]);
    bmc.until_on(false);

    // The listener is killed, and the domain started, while the daemon can see neither.
    let listener = host.children("virsh");
    signal(host.daemon_pid(), Signal::STOP);
    for pid in &listener {
        signal(*pid, Signal::KILL);
    }
    host.virsh(&["start", &uuid]);
    signal(host.daemon_pid(), Signal::CONT);
    bmc.until_on(true);
    assert_ne!(host.children("virsh"), listener, "another one listens");

    // libvirt is killed; QEMU is not. virsh starts another one.
    signal(host.libvirtd().expect("libvirtd"), Signal::KILL);
    bmc.until_on(true);
    until("libvirt is there again", || host.try_virsh(&["destroy", &uuid]).ok);
    bmc.until_on(false);

    // The daemon is killed between a request and the start that uses it.
    bmc.yes("chassis bootdev pxe");
    let before = host.json(&["bmc", "show", "--password", "--", HOSTILE]);
    let listener = host.children("virsh");
    host.kill_daemon();
    until("the listener ends with it", || !listener.iter().any(|pid| lives(*pid)));
    host.virsh(&["start", &uuid]);
    host.start_daemon();
    let bmc = Bmc { host: &host, uuid, port, password };
    bmc.until_on(true);
    let after = host.json(&["bmc", "show", "--password", "--", HOSTILE]);
    assert_eq!(after, before);
    assert_eq!(bmc.live_order(), ["<boot dev='network'/>", "<boot dev='hd'/>"]);
    until("the override is used up", || bmc.order() == ["<boot dev='hd'/>"]);

    // A domain that is taken away, and one that comes in its place.
    host.virsh(&["destroy", &bmc.uuid]);
    host.virsh(&["undefine", &bmc.uuid]);
    until("its BMC says so", || {
        let shown = host.json(&["bmc", "show", "--", HOSTILE]);
        shown["status"] == "error"
            && shown["trouble"].as_str().is_some_and(|t| t.contains("any more"))
    });
}

#[test]
fn a_power_cycle_that_was_cut_short_is_finished_by_the_next_daemon() {
    let mut host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    bmc.yes("power on");
    bmc.until_on(true);
    let first = bmc.start_number();
    let (uuid, port, password) = (bmc.uuid.clone(), bmc.port.clone(), bmc.password.clone());
    // A QEMU that does not end when it is told to holds libvirt between the stop and the start.
    let qemu = fs::read_to_string(host.path("run/libvirt/qemu/run/web.pid")).expect("its pid");
    let qemu = qemu.trim().parse().expect("a pid");
    signal(qemu, Signal::STOP);
    let intent = host.path(&format!("s/domain-bmc-memories/{uuid}.cycle"));
    std::thread::scope(|scope| {
        scope.spawn(|| bmc.ipmitool("power cycle"));
        until("the cycle is written down", || intent.exists());
        signal(host.daemon_pid(), Signal::KILL);
    });
    host.kill_daemon();
    until("libvirt ends it", || !lives(qemu));
    host.start_daemon();
    let bmc = Bmc { host: &host, uuid, port, password };
    until("another QEMU runs", || bmc.runs() && bmc.start_number() != first);
    until("it is done", || !intent.exists());
    // Once is enough: what is switched off since stays off.
    bmc.yes("power off");
    bmc.until_on(false);
    assert!(!bmc.runs());
}

#[test]
fn the_book_is_kept_and_mistakes_are_told() {
    let mut host = Host::new();
    host.define("controller-0", OS_BOOT, "", "");
    host.define("compute-0", OS_BOOT, "", "");
    let refused = |args: &[&str], text: &str, hint: &str| {
        let said = host.undercloud(args);
        assert!(!said.ok && said.out.is_empty(), "{args:?}: {}", said.out);
        assert!(said.err.contains(text), "{args:?}: {}", said.err);
        assert!(said.err.contains(hint), "{args:?}: {}", said.err);
    };
    let add = |name, rest: &[&'static str]| {
        [&["bmc", "add", "--libvirt-uri", URI, name][..], rest].concat()
    };
    refused(
        &add("controler-0", &[]),
        "no persistent domain `controler-0`",
        "did you mean controller-0?",
    );
    refused(
        &["bmc", "add", "x", "--libvirt-uri", "nonsense"],
        "no libvirt connection URI",
        "qemu:///system",
    );
    let nowhere = "qemu+unix:///system?socket=/nowhere";
    refused(&["bmc", "add", "x", "--libvirt-uri", nowhere], "is not reachable", "virsh -c ");
    refused(
        &add("controller-0", &["--username", "seventeen-letters"]),
        "the user name has 17 bytes",
        "--username",
    );
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("address").port().to_string();
    let with_port =
        [&["bmc", "add", "--libvirt-uri", URI, "--port", &port, "controller-0"][..]].concat();
    refused(&with_port, &format!("udp 127.0.0.1:{port} is taken"), "ss -lunp");
    drop(taken);
    let added = host.json(&with_port);
    assert_eq!(added["password"].as_str().map(str::len), Some(20));
    refused(&add("controller-0", &[]), "has a BMC already", "bmc show");
    let same = [&["bmc", "add", "--libvirt-uri", URI, "--port", &port, "compute-0"][..]].concat();
    refused(&same, "is that of `controller-0`'s BMC", "--port");
    refused(&["bmc", "start", "compute-0"], "no BMC was added", "bmc list");

    let file = host.path("s/domain-bmcs.json");
    assert_eq!(fs::metadata(&file).expect("book").permissions().mode() & 0o777, 0o600);
    let listed = host.undercloud(&["bmc", "list"]).out;
    assert!(
        listed.starts_with(
            "DOMAIN NAME   STATUS  ADDRESS    PORT\ncontroller-0  down    127.0.0.1  "
        ),
        "{listed}"
    );
    let second = host.bmc("compute-0");
    let second_port = second.port.clone();
    assert!(host.json(&["bmc", "show", "compute-0"]).get("password").is_none());
    let before = host.json(&["bmc", "list"]);
    host.kill_daemon();
    host.start_daemon();
    until("all is as before", || host.json(&["bmc", "list"]) == before);
    assert_eq!(before[0]["status"], "running");
    assert_eq!(before[0]["port"].to_string(), second_port);
    assert_eq!(before[1]["status"], "down");

    let stopped = host.json(&["bmc", "stop", "compute-0"]);
    assert_eq!(stopped[0]["status"], "down");
    until("nobody listens for a BMC that is stopped", || host.children("virsh").is_empty());
    assert!(host.undercloud(&["bmc", "delete", "compute-0", "controller-0"]).ok);
    assert_eq!(host.json(&["bmc", "list"]), serde_json::json!([]));
}

/// Types `keys`, again while nothing is said, and reads until `text` has come.
async fn types(line: &mut SolLine, keys: &[u8], text: &str) -> String {
    let mut said = String::new();
    let all = async {
        while !said.contains(text) {
            // The firmware drops what was typed before it asked.
            match tokio::time::timeout(Duration::from_secs(1), line.next()).await {
                Ok(Ok(SolEvent::Characters(some))) => said += &String::from_utf8_lossy(&some),
                Ok(Ok(SolEvent::Room)) => {}
                Ok(Ok(SolEvent::Ended)) => panic!("the line ended: {said}"),
                Ok(Err(error)) => panic!("the line broke: {error}"),
                Err(_) => {
                    let _taken = line.offer(keys);
                }
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(50), all).await;
    assert!(in_time.is_ok(), "no `{text}`");
    said
}

#[test]
fn the_firmware_waits_at_its_menu_and_is_typed_to_over_the_serial_line() {
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    runtime().block_on(async {
        let line = connect(&bmc).await.open_sol(Steal::No).await;
        assert!(line.is_err(), "a machine that is off has no serial line");
    });
    bmc.yes("chassis bootdev bios");
    bmc.yes("power on");
    bmc.until_on(true);
    runtime().block_on(async {
        let mut line = connect(&bmc).await.open_sol(Steal::No).await.expect("a line");
        let second = connect(&bmc).await.open_sol(Steal::No).await;
        assert!(second.is_err(), "one at a time");
        let menu = types(&mut line, b"\x1b", "DVD/CD").await;
        assert!(menu.contains("Select boot device"), "{menu}");
        line.close().await;
    });
}

/// A client of Redfish for the BMC of `name`.
async fn redfish(bmc: &Bmc<'_>, name: &str) -> redfish::Client {
    let shown = bmc.host.json(&["bmc", "show", name]);
    let password = fs::read_to_string(&bmc.password).expect("password");
    let config = Config {
        address: shown["redfish"].as_str().expect("an address").to_owned(),
        credentials: Credentials::new("admin", &password).expect("credentials"),
        trust: Trust::Anybody,
        deadline: Duration::from_secs(30),
        budget: Budget { burst: 1000, interval: Duration::from_millis(1) },
    };
    redfish::Client::connect(config).await.expect("connect")
}

#[test]
fn redfish_switches_the_domain_and_says_from_what_it_boots() {
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    let (net, hd) = ("<boot dev='network'/>", "<boot dev='hd'/>");
    runtime().block_on(async {
        let client = redfish(&bmc, "web").await;
        let (once, always) = (BootEnabled::Once, BootEnabled::Continuous);
        client.set_boot(BootDevice::Pxe, once, Some(BootMode::Legacy)).await.expect("once");
        assert_eq!(bmc.order(), [net, hd]);
        client.power(PowerAction::On).await.expect("on");
        assert!(bmc.runs());
        assert_eq!(bmc.live_order(), [net, hd]);
        until("once is once", || bmc.order() == [hd]);
        let first = bmc.start_number();
        client.set_boot(BootDevice::Cdrom, always, None).await.expect("always");
        client.power(PowerAction::Cycle).await.expect("cycle");
        assert_ne!(bmc.start_number(), first, "another QEMU runs");
        assert_eq!(bmc.live_order(), ["<boot dev='cdrom'/>", hd]);
        assert_eq!(client.boot().await.expect("boot").target, "Cd");
        // A domain has no stick, so that it could not boot from one.
        let stick = client.set_boot(BootDevice::Floppy, once, None).await;
        assert!(stick.is_err(), "refused");
        assert_eq!(client.boot().await.expect("boot").target, "Cd", "and left as it was");
        client.set_boot(BootDevice::None, BootEnabled::Disabled, None).await.expect("none");
        assert_eq!(bmc.order(), [hd]);
        client.power(PowerAction::Off).await.expect("off");
        assert!(!bmc.runs());
        assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
        client.log_out().await;
    });
}

/// What the domain's CD drive holds, at its next start and now.
fn held(bmc: &Bmc<'_>) -> [Option<String>; 2] {
    [&["--inactive"][..], &[]].map(|which| {
        let text = bmc.host.virsh(&[&["domblklist", &bmc.uuid][..], which].concat());
        let line = text.lines().find(|line| line.contains("hdc")).expect("a drive").trim();
        let path = line.split_once("hdc").expect("a drive").1.trim().to_owned();
        (path != "-").then_some(path)
    })
}

#[test]
fn redfish_puts_an_image_into_the_cd_drive_of_a_domain() {
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    let server = images::Server::start();
    runtime().block_on(async {
        let client = redfish(&bmc, "web").await;
        let image = |name: &str| Media { image: server.address(name), write_protected: true };
        let (first, second) = (image("first.iso"), image("second.iso?a='b'&c"));
        let no_pool = client.insert_media(MediaSlot::Cd, &first).await.expect_err("no pool");
        assert!(no_pool.to_string().contains("pool-create-as"), "{no_pool}");
        assert_eq!(client.media(MediaSlot::Cd).await.expect("media"), None);
        fs::create_dir(host.path("pool")).expect("pool");
        let pool = host.path("pool").display().to_string();
        host.virsh(&["pool-create-as", "default", "dir", "--target", &pool]);
        let stick = client.insert_media(MediaSlot::UsbStick, &first).await.expect_err("no stick");
        assert!(matches!(stick, redfish::ClientError::NotOffered { .. }), "{stick}");
        let missing = client.insert_media(MediaSlot::Cd, &image("missing")).await;
        assert!(missing.is_err() && held(&bmc) == [None, None]);

        // While it is off; it is there when it starts.
        client.insert_media(MediaSlot::Cd, &first).await.expect("insert");
        assert_eq!(client.media(MediaSlot::Cd).await.expect("media").as_ref(), Some(&first));
        let file = held(&bmc)[0].clone().expect("a file");
        assert_eq!(fs::read(&file).expect("the image"), images::bytes("first.iso"));
        bmc.yes("power on");
        bmc.until_on(true);
        assert_eq!(held(&bmc)[1].as_ref(), Some(&file));

        // Another one while it runs, and out again.
        client.insert_media(MediaSlot::Cd, &second).await.expect("insert");
        assert_eq!(client.media(MediaSlot::Cd).await.expect("media").as_ref(), Some(&second));
        let [next, now] = held(&bmc);
        assert_eq!(next, now);
        let file = next.expect("a file");
        assert_eq!(fs::read(&file).expect("the image"), images::bytes("second.iso"));
        for _ in 0..2 {
            client.eject_media(MediaSlot::Cd).await.expect("eject");
            assert_eq!(client.media(MediaSlot::Cd).await.expect("media"), None);
            assert_eq!(held(&bmc), [None, None]);
            assert!(!std::path::Path::new(&file).exists(), "what it held is gone");
        }

        // What somebody else put in stays.
        let theirs = host.path("disk").display().to_string();
        host.virsh(&["change-media", &bmc.uuid, "hdc", &theirs, "--insert", "--config"]);
        let refused = client.insert_media(MediaSlot::Cd, &first).await.expect_err("theirs");
        assert!(refused.to_string().contains("somebody else"), "{refused}");
        assert_eq!(held(&bmc), [Some(theirs), None]);
        client.log_out().await;
    });
}

#[test]
fn redfish_has_the_same_machine() {
    let host = Host::new();
    host.define("web", OS_BOOT, "", "");
    let bmc = host.bmc("web");
    runtime().block_on(async {
        let client = redfish(&bmc, "web").await;
        assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
        let system = client.get_raw(client.system_path()).await.expect("system");
        assert_eq!(system["UUID"].as_str(), Some(bmc.uuid.as_str()));
        let inventory = client.inventory().await.expect("inventory");
        assert_eq!(inventory.memory_mib, 64);
        assert_eq!(inventory.nics[0].mac, [0x52, 0x54, 0, 0x11, 0x22, 0x33]);
        assert_eq!(inventory.drives[0].serial_number, "S1");
        assert_eq!(inventory.drives[0].capacity_bytes, 1 << 20);
        let path = client.system_path().to_owned();
        let boot = serde_json::json!({ "ResetType": "On" });
        client.post_raw(&format!("{path}/Actions/ComputerSystem.Reset"), &boot).await.expect("on");
        until("libvirt runs it", || bmc.runs());
        until("it measures itself", || bmc.yes("sdr list").contains("CPU Usage"));
        host.virsh(&["destroy", &bmc.uuid]);
        until("Redfish sees what virsh does", || !bmc.is_on());
        assert_eq!(client.power_state().await.expect("state"), PowerState::Off);
        assert_eq!(client.boot().await.expect("boot").enabled, BootEnabled::Disabled);
        bmc.yes("chassis bootdev pxe");
        let boot = client.boot().await.expect("boot");
        assert_eq!((boot.enabled, boot.target.as_str()), (BootEnabled::Once, "Pxe"));
        client.log_out().await;
    });
}
