//! The daemon as a process: what it shows of itself, what it does without, how it ends. Each runs in
//! a network of its own, with no machines but one in memory behind a BMC.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use undercloud_image::{
    blob::Blobs,
    catalog::{Content, Encoding, Image, ImageKind, names},
};
use undercloud_store::{Open, ProvisioningRange, Store};

const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);
/// A link that machines could boot from.
const LINK: &str = "ip link add boot0 type veth peer name boot1 && ip address add 10.77.0.1/24 dev boot0 && \
                    ip link set boot1 up && ip link set boot0 up";

/// A program of ours that runs; it is ended with the test.
struct Running(Child);

impl Running {
    fn tell(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    /// Waits until it has taken SIGINT into its own hands (`SigCgt`, proc_pid_status(5)).
    fn catches_interrupts(&self) {
        let (path, end) = (format!("/proc/{}/status", self.0.id()), Instant::now() + PATIENCE);
        loop {
            let status = fs::read_to_string(&path).expect("it runs");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("a mask");
            if mask & (1 << (Signal::INT.as_raw() - 1)) != 0 {
                return;
            }
            assert!(Instant::now() < end, "it does not watch for SIGINT");
            std::thread::sleep(POLL);
        }
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a process") {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.tell(Signal::TERM);
            self.ended();
        }
    }
}

/// A network with a state in it.
struct Host {
    folder: tempfile::TempDir,
    network: Running,
}

impl Host {
    fn new(links: &str) -> Self {
        // Short: paths of sockets are.
        let folder = tempfile::Builder::new().prefix("uc-d.").tempdir_in("/tmp").expect("folder");
        for name in ["home", "config", "cache"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        let hold = format!("ip link set lo up && {links} && echo ready && exec sleep infinity");
        let mut network = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", &hold])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a network");
        let mut ready = [0; 6];
        let mut said = network.stdout.take().expect("its output");
        said.read_exact(&mut ready).expect("the network is made");
        Self { folder, network: Running(network) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this network.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--net", "--preserve-credentials", "--target"])
            .arg(self.network.0.id().to_string())
            .arg(program)
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("UNDERCLOUD_STATE", self.path("s"))
            .env("UNDERCLOUD_CACHE", self.path("cache"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn undercloud(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(arguments).output().expect("the program runs")
    }

    /// A daemon that answers; `limit` is the soft limit of files that it is born with.
    fn serve(&self, limit: u32, arguments: &[&str]) -> Running {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        let mut command = self.command("sh");
        command
            .args(["-c", &format!("ulimit -Sn {limit} && exec \"$0\" serve \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_undercloud"))
            .args(arguments)
            .stderr(log.expect("log"));
        let mut daemon = Running(command.spawn().expect("the daemon"));
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(self.path("s/run/undercloud.sock")).is_err() {
            let log = fs::read_to_string(self.path("log")).expect("log");
            let ended = daemon.0.try_wait().expect("a process");
            assert_eq!(ended, None, "the daemon ended: {log}");
            assert!(Instant::now() < end, "the daemon does not answer: {log}");
            std::thread::sleep(POLL);
        }
        daemon
    }

    /// A machine in memory behind a BMC.
    fn fleet(&self, port: u16, redfish_port: u16) -> Running {
        let file = self.path("fleet.json");
        let _of_another = fs::remove_file(&file);
        let mut command = self.command(env!("CARGO_BIN_EXE_undercloud"));
        command
            .args(["bmc", "fleet", "--count", "1", "--port", &port.to_string()])
            .args(["--redfish-port", &redfish_port.to_string(), "--credentials"])
            .arg(&file)
            .stdout(Stdio::null());
        let mut fleet = Running(command.spawn().expect("a fleet"));
        let end = Instant::now() + PATIENCE;
        while !file.exists() {
            assert_eq!(fleet.0.try_wait().expect("a process"), None, "the fleet ended");
            assert!(Instant::now() < end, "the fleet does not answer");
            std::thread::sleep(POLL);
        }
        fleet
    }

    fn status(&self) -> Value {
        let output = self.undercloud(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until the status is as wanted.
    fn await_status(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if is_it(&status) {
                return;
            }
            assert!(Instant::now() < end, "{what}: not in time: {status:#}");
            std::thread::sleep(POLL);
        }
    }

    /// The message of a part's trouble, once it is in trouble.
    fn trouble(&self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            let found = status["troubles"].as_array().expect("troubles").iter();
            let found = found
                .filter(|trouble| trouble["part"] == part)
                .find_map(|t| t["message"].as_str().map(str::to_owned));
            if let Some(message) = found {
                return message;
            }
            assert!(Instant::now() < end, "no trouble with {part}: {status:#}");
            std::thread::sleep(POLL);
        }
    }

    /// Prepares the state's database before a daemon runs.
    fn prepare<F: Future<Output = ()>>(&self, work: impl FnOnce(Store) -> F) {
        fs::create_dir_all(self.path("s")).expect("state");
        let path = self.path("s/undercloud.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let path = path.to_str().expect("UTF-8");
            let store = Store::open(path, Open::at(1)).await.expect("a database");
            work(store.clone()).await;
            store.close().await;
        });
    }

    /// Boot programs, as far as network boot looks at them.
    fn add_boot_programs(&self) {
        self.prepare(async |store| {
            let root = self.path("s/blobs");
            let blobs = Blobs::open(root.to_str().expect("UTF-8")).expect("blobs");
            for name in [names::IPXE_BIOS, names::IPXE_UEFI] {
                let stored = blobs.put(name.as_bytes()).expect("a blob");
                let (digest, size) = (stored.digest, stored.size);
                let image = Image {
                    name: name.to_owned(),
                    kind: ImageKind::NetbootProgram,
                    digest,
                    size,
                    encoding: Encoding::Plain,
                    content: Content { digest, size },
                    os: None,
                    min_disk_bytes: 0,
                    has_agent: false,
                    built_at: 1,
                    inputs: digest,
                };
                store.put_image(name, &digest, &image, 1).await.expect("an image");
            }
        });
    }
}

fn listed<'a>(status: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    let list = status[list].as_array().expect("a list").iter();
    list.filter_map(|entry| entry[key].as_str()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_runs_is_shown_and_who_asks_is_answered_before_the_end() {
    let host = Host::new("true");
    let mut daemon = host.serve(256, &[]);
    let status = host.status();
    let names = listed(&status, "background", "name");
    for name in ["heartbeat", "OpenStack APIs", "administration", "engine"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let descriptors = &status["descriptors"];
    assert!(descriptors["max"].as_u64() > Some(256), "the soft limit is raised: {descriptors}");
    assert!(descriptors["open"].as_u64() > Some(5), "{descriptors}");
    let shown = host.undercloud(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("heartbeat"));

    let mut poll = UnixStream::connect(host.path("s/run/undercloud.sock")).expect("the socket");
    let ask =
        format!("GET /v1/events?after={}&wait_ms=25000 HTTP/1.1\r\nHost: x\r\n\r\n", i64::MAX);
    poll.write_all(ask.as_bytes()).expect("asked");
    // Asked after it, answered after it: the daemon has read the first by then.
    host.status();
    daemon.tell(Signal::TERM);
    let mut answer = String::new();
    poll.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let ended = daemon.ended();
    let log = fs::read_to_string(host.path("log")).expect("log");
    assert!(ended.success(), "{ended}: {log}");
    assert!(log.contains("daemon stopped") && ended.signal().is_none(), "{log}");
}

#[test]
fn a_port_that_is_taken_is_said_and_all_else_goes_on() {
    let host = Host::new("true");
    let daemon = host.serve(1024, &[]);
    let status = host.status();
    let identity = listed(&status, "endpoints", "address");
    let identity = identity.iter().find_map(|address| address.strip_prefix("https://127.0.0.1:"));
    let port = identity.and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    drop(daemon);
    let _taken = host.fleet(26230, port);
    let _daemon = host.serve(1024, &[]);
    let message = host.trouble("OpenStack APIs");
    assert!(message.contains(&port.to_string()) && message.contains("in use"), "{message}");
    let log = host.undercloud(&["status"]);
    let shown = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(shown.contains("OpenStack APIs: cannot listen"), "{shown}");
}

#[test]
fn network_boot_opens_without_what_it_can_do_without() {
    let host = Host::new(LINK);
    host.add_boot_programs();
    // The host's own DHCP client has that port on many.
    let _dhcp_client = host.fleet(68, 28443);
    let _daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("watch for DHCP servers");
    assert!(message.contains("DHCP client port on boot0"), "{message}");
    let status = host.status();
    let names = listed(&status, "background", "name");
    for name in ["DHCP", "TFTP", "HTTP boot", "boot events", "router advertisements"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(listed(&status, "endpoints", "name").contains(&"network boot"), "{status:#}");
}

#[test]
fn network_boot_that_cannot_be_opened_is_said_and_all_else_goes_on() {
    let host = Host::new(LINK);
    host.add_boot_programs();
    let _dhcp_server = host.fleet(67, 28443);
    let daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("network boot");
    assert!(message.contains("DHCP port on boot0"), "{message}");
    let status = host.status();
    assert!(!listed(&status, "endpoints", "name").contains(&"network boot"), "{status:#}");
    assert!(listed(&status, "background", "name").contains(&"agents' API"), "{status:#}");
    drop(daemon);
}

#[test]
fn network_boot_without_programs_says_which() {
    let host = Host::new(LINK);
    let _daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("network boot");
    assert!(message.contains("undionly.kpxe is not built"), "{message}");
    // It is nobody's event, and can be seen all the same.
    let events = host.undercloud(&["events"]);
    let shown = String::from_utf8_lossy(&events.stdout).into_owned();
    assert!(shown.contains("network boot: machines cannot boot"), "{shown}");
    let events = host.undercloud(&["events", "--limit", "1", "-o", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).expect("JSON");
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
}

#[test]
fn what_grows_is_bounded_while_the_daemon_runs() {
    let host = Host::new("true");
    fs::create_dir_all(host.path("s/logs")).expect("a folder");
    let log = host.path("s/logs/undercloud.log");
    fs::write(&log, vec![b'x'; 40 << 20]).expect("a log");
    let _daemon = host.serve(1024, &[]);
    let end = Instant::now() + PATIENCE;
    while fs::metadata(&log).expect("a log").len() > 0 {
        assert!(Instant::now() < end, "the log is not bounded: {:#}", host.status());
        std::thread::sleep(POLL);
    }
    let status = host.status();
    for name in ["retention", "consoles"] {
        assert!(listed(&status, "background", "name").contains(&name), "{status:#}");
    }
    let room = listed(&status, "room", "what");
    assert!(room.contains(&"database") && room.contains(&"logs"), "{room:?}");
}

#[test]
fn without_a_network_bmcs_are_driven_and_what_needs_a_ramdisk_is_refused() {
    let host = Host::new("true");
    host.prepare(async |store| {
        let range = ProvisioningRange {
            network: "10.77.0.0/24".parse().expect("a network"),
            first: "10.77.0.10".parse().expect("an address"),
            last: "10.77.0.99".parse().expect("an address"),
        };
        store.set_provisioning_range(&range).await.expect("a range");
    });
    let _fleet = host.fleet(26230, 28443);
    let fleet = fs::read(host.path("fleet.json")).expect("credentials");
    let fleet: Value = serde_json::from_slice(&fleet).expect("JSON");
    let machine = &fleet[0];
    let node = serde_json::json!({ "nodes": [{
        "name": "m1", "pm_type": "ipmi", "mac": ["52:54:00:aa:09:01"],
        "pm_addr": machine["address"], "pm_port": machine["port"].to_string(),
        "pm_user": machine["user"], "pm_password": machine["password"],
    }] });
    fs::write(host.path("nodes.json"), node.to_string()).expect("a file");
    let _daemon = host.serve(1024, &[]);
    for command in [
        &["node", "import", "nodes.json"][..],
        &["node", "manage", "m1"],
        &["node", "power", "on", "m1"],
    ] {
        let output = host.undercloud(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    let refused = host.undercloud(&["node", "inspect", "m1"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    assert!(text(&refused).contains("no network for machines"), "{}", text(&refused));
}

#[test]
fn who_follows_an_installation_may_go_and_the_daemon_goes_on_even_when_it_was_killed() {
    // A machine whose BMC never answers.
    let host = Host::new(
        "ip link add bmc0 type veth peer name bmc1 && ip address add 192.0.2.2/24 dev bmc0 && \
         ip link set bmc1 up && ip link set bmc0 up && \
         ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev bmc0 nud permanent",
    );
    host.prepare(async |store| {
        let range = ProvisioningRange {
            network: "10.77.0.0/24".parse().expect("a network"),
            first: "10.77.0.10".parse().expect("an address"),
            last: "10.77.0.99".parse().expect("an address"),
        };
        store.set_provisioning_range(&range).await.expect("a range");
    });
    let node = serde_json::json!({ "nodes": [{
        "name": "controller-0", "pm_type": "ipmi", "mac": ["52:54:00:aa:09:01"],
        "pm_addr": "192.0.2.1", "pm_user": "admin", "pm_password": "correct horse 16",
    }] });
    fs::write(host.path("nodes.json"), node.to_string()).expect("a file");
    let mut daemon = host.serve(1024, &[]);
    let imported = host.undercloud(&["node", "import", "nodes.json"]);
    assert!(imported.status.success(), "{}", text(&imported));
    for round in ["asked for", "followed again"] {
        let said = host.path(round);
        let mut command = host.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(["cloud", "install"]).stdout(Stdio::null());
        command.stderr(fs::File::create(&said).expect("a file"));
        let mut follower = Running(command.spawn().expect("a command"));
        host.await_status(round, |status| {
            status["nodes"]["verifying"] == 1 && status["tasks"][0]["name"] == "cloud install"
        });
        follower.catches_interrupts();
        follower.tell(Signal::INT);
        assert_eq!(follower.ended().code(), Some(6));
        let said = fs::read_to_string(&said).expect("what it said");
        assert!(said.contains("the daemon goes on with it"), "{said}");
        assert!(said.contains("hint: the same command follows it again"), "{said}");
        daemon.tell(Signal::KILL);
        daemon.ended();
        daemon = host.serve(1024, &[]);
        let status = host.status();
        let installation = &status["installation"];
        assert_eq!(
            (&installation["number"], &installation["state"]),
            (&1.into(), &"inspecting".into())
        );
        assert_eq!(status["tasks"][0]["state"], "running", "{status:#}");
    }
    // It was asked for once, however often it was followed.
    let events = host.undercloud(&["events", "-o", "json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("asked for: manage").count(), 1, "{events}");
}
