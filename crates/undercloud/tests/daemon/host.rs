//! A network with a state in it, and the programs of ours that run there.

use std::{
    fs,
    io::Read as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;
use undercloud_image::{
    blob::Blobs,
    catalog::{Content, Encoding, Image, ImageKind, names},
};
use undercloud_store::{Open, ProvisioningRange, Store};

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);
/// A link that machines could boot from.
pub(crate) const LINK: &str = "ip link add boot0 type veth peer name boot1 && ip address add 10.77.0.1/24 dev boot0 && \
                    ip link set boot1 up && ip link set boot0 up";

/// Waits for what nobody tells of: a socket that answers, a file of another process.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// A program of ours that runs; it is ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn tell(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    /// Waits until it has taken SIGINT into its own hands (`SigCgt`, proc_pid_status(5)).
    pub(crate) fn catches_interrupts(&self) {
        let path = format!("/proc/{}/status", self.0.id());
        until("it watches for SIGINT", || {
            let status = fs::read_to_string(&path).expect("it runs");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("a mask");
            mask & (1 << (Signal::INT.as_raw() - 1)) != 0
        });
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        if let Some(status) = self.0.try_wait().expect("a process") {
            return status;
        }
        let process = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).expect("a handle");
        let mut events = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).expect("a time");
        assert_eq!(poll(&mut events, Some(&patience)), Ok(1), "it does not end");
        self.0.wait().expect("its end")
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
pub(crate) struct Host {
    folder: tempfile::TempDir,
    network: Running,
}

impl Host {
    pub(crate) fn new(links: &str) -> Self {
        Self::with(links, None)
    }

    /// One whose state and cache are on disks of their own of so many MiB each; nothing, with the
    /// reason printed, where nobody but root may mount.
    pub(crate) fn with_small_disks(mib: u32) -> Option<Self> {
        let mount = "mount -t tmpfs none /tmp";
        let tried = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
            .output()
            .expect("unshare runs");
        if !tried.status.success() {
            println!("SKIPPED: no file system can be mounted here: {}", text(&tried));
            return None;
        }
        Some(Self::with("true", Some(mib)))
    }

    fn with(links: &str, mib: Option<u32>) -> Self {
        // Short: paths of sockets are.
        let folder = tempfile::Builder::new().prefix("uc-d.").tempdir_in("/tmp").expect("folder");
        for name in ["home", "config", "cache"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        let mut disks = String::new();
        for name in mib.iter().flat_map(|_| ["s", "cache"]) {
            let place = folder.path().join(name);
            fs::create_dir_all(&place).expect("folder");
            let mib = mib.unwrap_or_default();
            disks +=
                &format!("mount -t tmpfs -o size={mib}m,mode=0700 none {} && ", place.display());
        }
        let hold =
            format!("{disks}ip link set lo up && {links} && echo ready && exec sleep infinity");
        let mut network = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", &hold])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a network");
        let mut ready = [0; 6];
        let mut said = network.stdout.take().expect("its output");
        said.read_exact(&mut ready).expect("the network is made");
        Self { folder, network: Running(network) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same file as programs in there see it: they may have mounted something over it.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.network.0.id()));
        root.join(self.path(name).strip_prefix("/").expect("an absolute path"))
    }

    /// A command in this network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--net", "--preserve-credentials", "--target"])
            .arg(self.network.0.id().to_string())
            .arg(format!("--wd={}", self.folder.path().display()))
            .arg(program)
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("UNDERCLOUD_STATE", self.path("s"))
            .env("UNDERCLOUD_CACHE", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn undercloud(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(arguments).output().expect("the program runs")
    }

    /// A daemon that answers; `limit` is the soft limit of files that it is born with.
    pub(crate) fn serve(&self, limit: u32, arguments: &[&str]) -> Running {
        let mut command = self.command("sh");
        command
            .args(["-c", &format!("ulimit -Sn {limit} && exec \"$0\" serve \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_undercloud"))
            .args(arguments);
        self.answering(command, &self.path("log"))
    }

    /// A daemon that `command` becomes, once it answers; it writes its log to this file.
    pub(crate) fn answering(&self, mut command: Command, log: &Path) -> Running {
        let file = fs::File::options().create(true).append(true).open(log).expect("log");
        let mut daemon = Running(command.stderr(file).spawn().expect("the daemon"));
        until("the daemon answers", || {
            let log = fs::read_to_string(log).expect("log");
            assert_eq!(daemon.0.try_wait().expect("a process"), None, "the daemon ended: {log}");
            self.answers()
        });
        daemon
    }

    /// Whether a daemon takes orders.
    pub(crate) fn answers(&self) -> bool {
        UnixStream::connect(self.inside("s/run/undercloud.sock")).is_ok()
    }

    /// The tasks of the daemon that are not as they were begun.
    pub(crate) fn tasks_that_ended(&self) -> Vec<Value> {
        let status = self.status();
        let tasks = status["background"].as_array().expect("a list").iter();
        let ended = tasks.filter(|task| task["state"] == "ended" || task["restarts"] != 0);
        ended.cloned().collect()
    }

    /// A machine in memory behind a BMC.
    pub(crate) fn fleet(&self, port: u16, redfish_port: u16) -> Running {
        let file = self.path("fleet.json");
        let _of_another = fs::remove_file(&file);
        let mut command = self.command(env!("CARGO_BIN_EXE_undercloud"));
        command
            .args(["bmc", "fleet", "--count", "1", "--port", &port.to_string()])
            .args(["--redfish-port", &redfish_port.to_string(), "--credentials"])
            .arg(&file)
            .stdout(Stdio::null());
        let mut fleet = Running(command.spawn().expect("a fleet"));
        until("the fleet answers", || {
            assert_eq!(fleet.0.try_wait().expect("a process"), None, "the fleet ended");
            file.exists()
        });
        fleet
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.undercloud(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until the status is as wanted.
    pub(crate) fn await_status(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        until(what, || is_it(&self.status()));
    }

    /// The message of a part's trouble, once it is in trouble.
    pub(crate) fn trouble(&self, part: &str) -> String {
        let mut message = None;
        until(&format!("{part} is in trouble"), || {
            let status = self.status();
            let found = status["troubles"].as_array().expect("troubles").iter();
            let mut found = found.filter(|trouble| trouble["part"] == part);
            message = found.find_map(|t| t["message"].as_str().map(str::to_owned));
            message.is_some()
        });
        message.expect("it is there")
    }

    /// Prepares the state's database before a daemon runs.
    pub(crate) fn prepare<F: Future<Output = ()>>(&self, work: impl FnOnce(Store) -> F) {
        // Beside the state, and copied: SQLite follows the links of `inside` by itself, to elsewhere.
        let (path, place) = (self.path("prepared.db"), self.inside("s/undercloud.db"));
        fs::create_dir_all(self.inside("s")).expect("state");
        if place.exists() {
            fs::copy(&place, &path).expect("a copy");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let path = path.to_str().expect("UTF-8");
            let store = Store::open(path, Open::at(1)).await.expect("a database");
            work(store.clone()).await;
            store.close().await;
        });
        fs::copy(&path, &place).expect("a copy");
    }

    /// Says which addresses machines have, so that some can be enrolled.
    pub(crate) fn add_range(&self) {
        self.prepare(async |store| {
            let range = ProvisioningRange {
                network: "10.77.0.0/24".parse().expect("a network"),
                first: "10.77.0.10".parse().expect("an address"),
                last: "10.77.0.99".parse().expect("an address"),
            };
            store.set_provisioning_range(&range).await.expect("a range");
        });
    }

    /// Boot programs, as far as network boot looks at them.
    pub(crate) fn add_boot_programs(&self) {
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

pub(crate) fn listed<'a>(status: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    let list = status[list].as_array().expect("a list").iter();
    list.filter_map(|entry| entry[key].as_str()).collect()
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
