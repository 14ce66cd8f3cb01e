//! `MountImages`. Fetching a blob has its own tests (`protocol`); here its file is there already.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use undercloud_model::agent::StepFailureKind;

use crate::fake::{DIGEST, Machine};

const DIR: &str = "var/lib/undercloud/images";
const NAME: &str = "000000000000";
const UNIT: &str = "var-lib-undercloud-images-000000000000.mount";

fn step() -> Value {
    json!({"kind": "mount_images", "blob": DIGEST, "bytes": 4})
}

fn with_file() -> Machine {
    let machine = Machine::good();
    machine.file(&format!("{DIR}/{NAME}.squashfs"), "hsqs");
    machine.file("proc/self/mounts", "/dev/root / ext4 rw 0 0\n");
    machine
}

/// What mounting shows.
fn mount(machine: &Machine) {
    let id = DIGEST.trim_start_matches("sha256:");
    let list = json!([{"id": id, "names": ["localhost/keystone:latest"]}]).to_string();
    machine.file(&format!("{DIR}/{NAME}/overlay-images/images.json"), &list);
    let row = format!("/dev/loop0 /{DIR}/{NAME} squashfs ro 0 0\n");
    machine.file("proc/self/mounts", &row);
}

#[test]
fn the_images_are_mounted_once_and_podman_is_told() {
    let machine = with_file();
    mount(&machine);
    assert!(machine.step(&step()));
    assert_eq!(machine.started(), [format!("systemctl enable --now {UNIT}")]);
    let unit = machine.text(&format!("etc/systemd/system/{UNIT}"));
    assert!(
        unit.contains(&format!("What=/{DIR}/{NAME}.squashfs\nWhere=/{DIR}/{NAME}\n")),
        "{unit}"
    );
    let conf = machine.text("etc/containers/storage.conf");
    assert!(conf.contains(&format!("additionalimagestores = [\"/{DIR}/{NAME}\"]")), "{conf}");

    assert!(!machine.step(&step()), "the second time changes nothing");
    assert!(machine.started().is_empty());
    // Every image in it counts as fetched: podman is not started.
    let pull = json!({
        "kind": "pull_image", "name": "keystone", "digest": DIGEST, "id": DIGEST, "bytes": 1,
    });
    assert!(!machine.step(&pull));
    assert!(machine.started().is_empty());
}

#[test]
fn a_mount_without_images_is_a_failure() {
    let machine = with_file();
    let (kind, message) = machine.fails(&step());
    assert_eq!(kind, StepFailureKind::Image);
    assert!(message.contains("are mounted and have no"), "{message}");
}

#[test]
fn storages_of_other_versions_go_when_nothing_has_them_mounted() {
    let machine = with_file();
    mount(&machine);
    let old = "111111111111";
    machine.file(&format!("{DIR}/{old}.squashfs"), "hsqs");
    let partials = ["222222222222", NAME].map(|name| format!("{DIR}/{name}.partial"));
    partials.iter().for_each(|partial| machine.file(partial, "hs"));
    let unit = format!("var-lib-undercloud-images-{old}.mount");
    machine.file(&format!("etc/systemd/system/{unit}"), "");
    assert!(machine.step(&step()));
    assert!(machine.started().contains(&format!("systemctl disable {unit}")));
    assert!(!machine.path(&format!("{DIR}/{old}.squashfs")).exists());
    assert!(!machine.path(&format!("etc/systemd/system/{unit}")).exists());
    assert!(!machine.path(&partials[0]).exists(), "nobody fetches its rest");
    assert!(machine.path(&partials[1]).exists(), "this one may be on its way");
}

/// A machine that is a container, whose process on the host answers with `answer`; and what it was
/// asked.
fn container(answer: &'static str) -> (Machine, Arc<Mutex<Vec<String>>>) {
    let machine = Machine::good();
    machine.file("run/systemd/container", "undercloud\n");
    machine.file("proc/self/mounts", "/dev/root / ext4 rw 0 0\n");
    let socket = machine.path("run/undercloud-machine/machine.sock");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            log.lock().unwrap().push(line);
            (&stream).write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    });
    (machine, asked)
}

#[test]
fn a_container_asks_its_host_and_fetches_nothing() {
    let (machine, asked) = container(r#"{"ok":true}"#);
    mount(&machine);
    assert!(machine.step(&step()));
    let hex = DIGEST.trim_start_matches("sha256:");
    assert_eq!(
        *asked.lock().unwrap(),
        [format!("{{\"mount_images\":{{\"sha256\":\"{hex}\",\"at\":\"/{DIR}/{NAME}\"}}}}\n")]
    );
    assert!(!machine.path(&format!("{DIR}/{NAME}.squashfs")).exists());
    // The next boot has it mounted before any service starts.
    let unit = UNIT.replace(".mount", ".service");
    assert_eq!(machine.started(), [format!("systemctl enable {unit}")]);
    let text = machine.text(&format!("etc/systemd/system/{unit}"));
    let start =
        format!("ExecStart=/usr/sbin/undercloud-agent mount-images {DIGEST} /{DIR}/{NAME}\n");
    assert!(text.contains(&start) && text.contains("Before=local-fs.target"), "{text}");
    let conf = machine.text("etc/containers/storage.conf");
    assert!(conf.contains(&format!("additionalimagestores = [\"/{DIR}/{NAME}\"]")), "{conf}");

    assert!(!machine.step(&step()), "the second time changes nothing");
    assert!(machine.started().is_empty());
    // Gone, as by a boot whose unit failed: asked for again.
    machine.file("proc/self/mounts", "/dev/root / ext4 rw 0 0\n");
    assert!(machine.step(&step()));
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn what_the_host_of_a_container_refuses_is_the_failure() {
    let (machine, _) = container(r#"{"error":"there is no blob 0000"}"#);
    let (kind, message) = machine.fails(&step());
    assert_eq!(kind, StepFailureKind::Image);
    assert_eq!(
        message,
        "the container images were not mounted: the machine's process on the host: there is no blob 0000"
    );
    assert!(!machine.path("etc/containers/storage.conf").exists(), "podman is not told of it");
}

#[test]
fn a_container_s_units_of_other_versions_go() {
    let (machine, _) = container(r#"{"ok":true}"#);
    mount(&machine);
    let unit = "var-lib-undercloud-images-111111111111.service";
    machine.file(&format!("etc/systemd/system/{unit}"), "");
    assert!(machine.step(&step()));
    assert!(machine.started().contains(&format!("systemctl disable {unit}")));
    assert!(!machine.path(&format!("etc/systemd/system/{unit}")).exists());
}
