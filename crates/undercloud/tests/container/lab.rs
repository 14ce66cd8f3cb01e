//! A lab of containers by the program's own commands, with a daemon of its own: machines come and go
//! while others run, and a snapshot of it lives beside it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of it is a test: a failure is a panic, a skipped test says why"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::machine::{busybox, make_disk, wait};

const LAB: &str = "
kind = 'container'
[[network]]
name = 'provisioning'
cidr = '10.93.0.0/24'
[[machine]]
name = 'm'
count = 2
profile = 'x'
firmware = 'bios'
memory_mib = 128
cpus = 1
disks_gib = [1, 2]
networks = ['provisioning']
";

/// A folder, and a network with ports of its own.
struct Host {
    folder: tempfile::TempDir,
    network: String,
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.network]);
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

/// Commands for one state.
struct Cloud {
    network: PathBuf,
    folder: PathBuf,
    state: PathBuf,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _said_by_the_test = self.try_run(&["down"]);
    }
}

impl Cloud {
    fn new(host: &Host, name: &str) -> Self {
        let folder = host.folder.path().to_owned();
        let network = Path::new("/run/netns").join(&host.network);
        Self { network, state: folder.join(name), folder }
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        Command::new("nsenter")
            .arg(format!("--net={}", self.network.display()))
            .arg(env!("CARGO_BIN_EXE_undercloud"))
            .args(arguments)
            .env("HOME", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("UNDERCLOUD_STATE", &self.state)
            .env("UNDERCLOUD_CACHE", self.folder.join("cache"))
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Value {
        let output = self.try_run(&[arguments, &["-o", "json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "undercloud {arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(!output.status.success(), "undercloud {arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The lab's machines as it lists them.
    fn machines(&self) -> Vec<Value> {
        let mut machines = self.run(&["lab", "list"]).as_array().unwrap().clone();
        // What it uses just now.
        machines.iter_mut().for_each(|machine| drop(machine["memory_bytes"].take()));
        machines
    }

    fn names(&self) -> Vec<String> {
        self.machines().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    }

    fn nodes(&self) -> Vec<String> {
        let nodes = self.run(&["node", "list"]);
        let name = |node: &Value| node["name"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = nodes.as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    fn machine(&self, name: &str) -> Value {
        self.machines().into_iter().find(|machine| machine["name"] == name).unwrap()
    }

    /// What is in its state, with sizes: what a command has come to.
    fn files(&self) -> std::collections::BTreeMap<PathBuf, u64> {
        let folders = ["", "lab", "lab/machines"].map(|name| self.state.join(name));
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        entries.flatten().filter_map(|e| Some((e.path(), e.metadata().ok()?.len()))).collect()
    }

    fn kill_daemon(&self) {
        let pid = fs::read_to_string(self.state.join("run/undercloud.pid")).unwrap();
        let status = Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
        assert!(status.success());
        wait("the daemon's end", || !Path::new("/proc").join(pid.trim()).exists());
    }

    fn namespace(&self) -> String {
        let real = camino::Utf8PathBuf::from_path_buf(self.state.canonicalize().unwrap()).unwrap();
        undercloud_lab::LabNames::from_real_path(&real).namespace()
    }

    /// What of a machine is on this host: processes, files, control groups, loop devices, its BMC.
    fn traces(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let folder = self.state.join("lab/machines").join(name);
        let inside = format!("{}/", folder.display());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&inside) {
                found.push(format!("process {}", entry.path().display()));
            }
        }
        for entry in fs::read_dir("/sys/block").unwrap().flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file"));
            if file.is_ok_and(|file| file.starts_with(&inside)) {
                found.push(format!("loop device {}", entry.path().display()));
            }
        }
        let scope = format!("{}-{name}", self.namespace());
        let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let groups = trees.map(|tree| tree.path().join("undercloud").join(&scope));
        let memory = self.state.join("bmc-memories").join(format!("{name}.json"));
        found.extend(
            groups.chain([folder, memory]).filter(|p| p.exists()).map(|p| p.display().to_string()),
        );
        let bmcs = fs::read_to_string(self.state.join("bmcs.json")).unwrap();
        if bmcs.contains(&format!("\"{name}\"")) {
            found.push("its BMC's password".to_owned());
        }
        found
    }
}

/// A place for a test, where the host can have a lab of containers.
fn ready(name: &str) -> Option<Host> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    if let Err(error) = undercloud_lab::can_carry_containers() {
        println!("skipped: {error}");
        return None;
    }
    if let Err(error) = undercloud_lab::QemuFiles::find() {
        println!("skipped: {error}");
        return None;
    }
    if busybox().is_none() {
        println!("skipped: busybox-static is not installed");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("uc-lab.").tempdir_in("/var/tmp").unwrap();
    fs::write(folder.path().join("lab.toml"), LAB).unwrap();
    let network = format!("uc-lab-{}-{name}", std::process::id());
    ip(&["netns", "add", &network]);
    ip(&["-n", &network, "link", "set", "lo", "up"]);
    Some(Host { folder, network })
}

/// A lab of two machines, enrolled; on the first one's disk is a system.
fn made(host: &Host) -> Cloud {
    let (cloud, folder) = (Cloud::new(host, "a"), host.folder.path());
    cloud.run(&["serve", "--detach"]);
    let file = folder.join("lab.toml");
    cloud.run(&["lab", "create", "--file", file.to_str().unwrap()]);
    make_disk(folder, busybox().unwrap());
    let vm = cloud.state.join("lab/machines/m-0/vm");
    // Into the file that is there, which belongs to the machine's user.
    let disk = fs::read(folder.join("disk.raw")).unwrap();
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().write(true).open(vm.join("disk.raw")).unwrap();
    file.write_all_at(&disk, 0).unwrap();
    cloud.run(&["node", "import", cloud.state.join("instackenv.json").to_str().unwrap()]);
    cloud
}

#[test]
fn machines_come_and_go_while_another_runs() {
    let Some(host) = ready("resize") else { return };
    let cloud = made(&host);
    assert_eq!(cloud.names(), ["m-0", "m-1"]);
    assert_eq!(cloud.machine("m-1")["disks"], serde_json::json!([1u64 << 30, 2u64 << 30]));
    cloud.run(&["lab", "start", "m-0"]);
    let pid = cloud.machine("m-0")["pid"].clone();
    let mac = cloud.machine("m-1")["mac"].clone();

    cloud.run(&["lab", "grow", "m", "--count", "4"]);
    let all = ["m-0", "m-1", "m-2", "m-3"];
    assert_eq!(cloud.names(), all);
    assert_eq!(cloud.nodes(), all, "they are enrolled");
    let machines = cloud.machines();
    for key in ["mac", "bmc"] {
        let values: BTreeSet<String> = machines.iter().map(|m| m[key].to_string()).collect();
        assert_eq!(values.len(), 4, "each has its own {key}");
    }
    // Asked again, nothing changes; a machine of the file's own is no other than it was.
    cloud.run(&["lab", "grow", "m", "--count", "4"]);
    assert_eq!((cloud.machines(), cloud.machine("m-1")["mac"].clone()), (machines, mac));
    let file = host.folder.path().join("lab.toml");
    cloud.run(&["lab", "create", "--file", file.to_str().unwrap()]);
    // By its BMC, as the nodes that were there are.
    cloud.run(&["node", "manage", "m-3"]);
    cloud.run(&["node", "power", "on", "m-3"]);
    wait("m-3's power", || cloud.machine("m-3")["power"] == cloud.machine("m-0")["power"]);
    assert!(cloud.traces("m-3").iter().any(|trace| trace.starts_with("process")), "it runs");

    cloud.run(&["lab", "shrink", "m-3", "m-1"]);
    assert_eq!((cloud.names(), cloud.nodes()), (vec!["m-0".into(), "m-2".into()], cloud.names()));
    for name in ["m-1", "m-3"] {
        assert_eq!(cloud.traces(name), Vec::<String>::new(), "of {name} nothing is left");
    }
    let again = cloud.run(&["lab", "shrink", "m-3"]);
    assert_eq!(again["gone"], serde_json::json!([]));
    cloud.run(&["lab", "create", "--file", file.to_str().unwrap()]);
    assert_eq!(cloud.names(), ["m-0", "m-2"]);
    for (arguments, words) in [
        (&["lab", "shrink", "m-0", "m-2"][..], "no machine would be left"),
        (&["lab", "grow", "m", "--count", "1"], "there are 2 machines m already"),
        (&["lab", "grow", "n"], "no machines n-0, n-1 and on; it has m"),
        (&["lab", "grow", "m", "--count", "41"], "1 to 40 machines"),
    ] {
        let said = cloud.refuses(arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    cloud.run(&["lab", "grow", "m"]);
    assert_eq!(cloud.names(), ["m-0", "m-1", "m-2"], "one more, with the lowest number");
    assert_eq!(cloud.machine("m-0")["pid"], pid, "all the while m-0 ran");
    let namespace = Path::new("/run/netns").join(cloud.namespace());
    cloud.run(&["down"]);
    assert!(!namespace.exists() && !cloud.state.exists());
}

#[test]
fn a_daemon_that_is_killed_meanwhile_finishes_what_was_begun() {
    let Some(host) = ready("kills") else { return };
    let cloud = made(&host);
    cloud.run(&["lab", "start", "m-0"]);
    let pid = cloud.machine("m-0")["pid"].clone();
    for round in 0..4 {
        for arguments in
            [&["lab", "grow", "m", "--count", "4"][..], &["lab", "shrink", "m-2", "m-3"]]
        {
            std::thread::scope(|scope| {
                let command = scope.spawn(|| cloud.try_run(arguments));
                // Further on each time: whatever it was at, nothing may be half there afterwards.
                let (mut files, mut changes) = (cloud.files(), 0);
                while changes < 3 * round && !command.is_finished() {
                    let now = cloud.files();
                    changes += usize::from(now != files);
                    files = now;
                    std::thread::yield_now();
                }
                cloud.kill_daemon();
                command.join().unwrap();
            });
            cloud.run(&["serve", "--detach"]);
            cloud.run(arguments);
            let wanted: &[&str] = match arguments[1] {
                "grow" => &["m-0", "m-1", "m-2", "m-3"],
                _ => &["m-0", "m-1"],
            };
            assert_eq!(cloud.names(), wanted, "round {round}: {arguments:?}");
            assert_eq!(cloud.nodes(), wanted, "round {round}: {arguments:?}");
        }
        for name in ["m-2", "m-3"] {
            assert_eq!(cloud.traces(name), Vec::<String>::new(), "round {round}, of {name}");
        }
        assert_eq!(cloud.machine("m-0")["pid"], pid, "m-0 ran");
    }
}

#[test]
fn a_clone_lives_beside_the_lab_that_it_is_of() {
    let Some(host) = ready("clone") else { return };
    let first = made(&host);
    first.run(&["lab", "start", "m-0"]);
    let log = first.state.join("lab/machines/m-0/vm/console.log");
    // From then on it minds its power button.
    wait("its system", || fs::read_to_string(&log).unwrap_or_default().contains("HOSTILE DONE"));
    first.run(&["node", "manage", "m-0"]);
    first.run(&["lab", "snapshot", "s"]);
    let before = first.machine("m-0");
    let mut clone = Cloud::new(&host, "b");
    let said = first.refuses(&["lab", "clone", "none", clone.state.to_str().unwrap()]);
    assert!(said.contains("there is no snapshot `none`"), "{said}");
    let said = first.refuses(&["lab", "clone", "s", first.state.to_str().unwrap()]);
    assert!(said.contains("is there already"), "{said}");
    let made = first.try_run(&["lab", "clone", "s", clone.state.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&made.stderr);
    // Ports follow from the path: one path in two hundred has the first one's, and is refused.
    if said.contains("ports that are in use") {
        clone = Cloud::new(&host, "c");
        first.run(&["lab", "clone", "s", clone.state.to_str().unwrap()]);
    } else {
        assert!(made.status.success(), "{said}");
    }
    assert_eq!((clone.names(), clone.nodes()), (first.names(), first.nodes()));
    let copy = clone.machine("m-0");
    assert_eq!(copy["power"], before["power"], "what was on is on");
    assert_eq!(copy["mac"], before["mac"], "inside it is the same");
    assert!(copy["pid"] != before["pid"] && copy["bmc"] != before["bmc"], "outside it is not");
    assert_ne!(clone.namespace(), first.namespace());
    assert_eq!(first.machine("m-0"), before, "the first one ran on");
    // Each daemon drives its own machine.
    clone.run(&["node", "power", "off", "m-0"]);
    wait("the clone's power", || clone.machine("m-0")["power"] != before["power"]);
    assert_eq!(first.machine("m-0"), before);
    clone.run(&["node", "power", "on", "m-0"]);
    wait("the clone's power", || clone.machine("m-0")["power"] == before["power"]);
    // It is the lab of the same file, and grows by itself.
    let file = host.folder.path().join("lab.toml");
    clone.run(&["lab", "create", "--file", file.to_str().unwrap()]);
    clone.run(&["lab", "grow", "m"]);
    assert_eq!((clone.names().len(), first.names().len()), (3, 2));
    clone.run(&["down"]);
    assert_eq!(first.machine("m-0"), before, "it goes without the first one");
}
