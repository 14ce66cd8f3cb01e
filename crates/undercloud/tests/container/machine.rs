//! One machine of a lab of its own: a namespace with a bridge, a disk with a small system.

#![allow(unreachable_pub, reason = "a module of a test binary is not a crate")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of it is a test: a failure is a panic, a skipped test says why"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use undercloud_image::gpt::{self, Table};

/// For anything that a machine does, in seconds; on an emulated host it takes longer, and that host's
/// suite says how long.
const PATIENCE_S: u64 = 30;
const PATIENCE_NAME: &str = "UNDERCLOUD_TEST_PATIENCE_S";
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);
const DISK_BYTES: u64 = 64 << 20;
const MEMORY_MIB: u32 = 256;
/// Where hosts have their control groups; those of version 1 are a level below.
const GROUPS: &str = "/sys/fs/cgroup";
const ROOT_BYTES: u64 = 32 << 20;
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Where a machine lives.
pub struct Lab {
    folder: tempfile::TempDir,
    namespace: String,
    pub scope: String,
    /// Files of the machine's further disks, each with its serial number.
    pub more_disks: Vec<(PathBuf, String)>,
}

/// A lab, where the host can have one; else why not is printed.
pub fn ready(name: &str) -> Option<Lab> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    if let Err(error) = undercloud_machine::can_carry() {
        println!("skipped: {error}");
        return None;
    }
    let Some(busybox) = busybox() else {
        println!("skipped: busybox-static is not installed");
        return None;
    };
    let folder = tempfile::Builder::new().prefix("uc-ct.").tempdir_in("/var/tmp").unwrap();
    let namespace = format!("uc-ct-{}-{name}", std::process::id());
    run("ip", &["netns", "add", &namespace]);
    run("ip", &["-n", &namespace, "link", "add", "br-test", "type", "bridge"]);
    run("ip", &["-n", &namespace, "link", "set", "br-test", "up"]);
    let lab = Lab { folder, scope: namespace.clone(), namespace, more_disks: Vec::new() };
    fs::create_dir(lab.path("root")).unwrap();
    fs::create_dir(lab.path("vm")).unwrap();
    make_disk(lab.folder.path(), busybox);
    Some(lab)
}

fn patience() -> Duration {
    let said = std::env::var(PATIENCE_NAME).ok();
    let seconds = said.map_or(PATIENCE_S, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// The host's busybox, if it has one.
pub fn busybox() -> Option<&'static Path> {
    BUSYBOX.iter().map(Path::new).find(|path| path.exists())
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
        let _gone = undercloud_machine::cgroups::remove(&self.scope);
    }
}

impl Lab {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the machine one more disk, which begins with these bytes.
    pub fn add_disk(&mut self, bytes: &[u8], serial: &str) {
        let path = self.path(&format!("disk{}.raw", self.more_disks.len() + 1));
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        self.more_disks.push((path, serial.to_owned()));
    }

    fn further_disks(&self) -> Vec<serde_json::Value> {
        let disk = |(file, serial): &(PathBuf, String)| serde_json::json!({ "file": file, "serial": serial });
        self.more_disks.iter().map(disk).collect()
    }

    /// How many loop devices show its disk, as the kernel says it.
    pub fn loop_devices(&self) -> usize {
        let disk = self.path("disk.raw");
        let devices = fs::read_dir("/sys/block").unwrap().flatten();
        let shown = devices
            .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        shown.filter(|file| Path::new(file.trim_end()) == disk).count()
    }

    /// No process, no mount, no loop device, no link of the machine is there.
    pub fn nothing_runs(&self) {
        let folder = self.folder.path().to_str().unwrap();
        let disk = self.path("disk.raw");
        wait("the machine's end", || {
            let disks = self.more_disks.iter().map(|(file, _)| file).chain([&disk]);
            let loops: String =
                disks.map(|disk| output("losetup", &["-j", disk.to_str().unwrap()])).collect();
            let links = output("ip", &["-n", &self.namespace, "-oneline", "link", "show"]);
            let mounts = fs::read_to_string("/proc/mounts").unwrap();
            loops.is_empty() && !links.contains("tap") && !mounts.contains(folder)
        });
    }

    /// Its directories in this host's trees of control groups.
    fn groups(&self) -> Vec<PathBuf> {
        let trees = fs::read_dir(GROUPS).into_iter().flatten().flatten();
        let trees = trees.map(|tree| tree.path()).chain([PathBuf::from(GROUPS)]);
        let groups = trees.map(|tree| tree.join("undercloud").join(&self.scope));
        groups.filter(|group| group.exists()).collect()
    }

    /// Those of its limits that this host has: the file, what it says and what it has to say.
    pub fn limits(&self) -> Vec<(PathBuf, String, String)> {
        let memory_bytes = (u64::from(MEMORY_MIB) << 20).to_string();
        let wanted = [
            ("memory.max", memory_bytes.as_str()),
            ("memory.limit_in_bytes", &memory_bytes),
            ("pids.max", "32768"),
        ];
        let files = self
            .groups()
            .into_iter()
            .flat_map(|group| wanted.map(|(file, wanted)| (group.join(file), wanted.to_owned())));
        let read = |(file, wanted): (PathBuf, String)| {
            let limit = fs::read_to_string(&file).ok()?.trim().to_owned();
            Some((file, limit, wanted))
        };
        files.filter_map(read).collect()
    }

    /// Not even empty directories.
    pub fn nothing_is_left(&self) {
        self.nothing_runs();
        let left = self.groups();
        assert!(left.is_empty(), "control groups are left: {left:?}");
    }
}

/// Makes `disk.raw` in a folder: a partition table with one root file system, busybox in it, and a script
/// as its init.
pub fn make_disk(folder: &Path, busybox: &Path) {
    let tree = folder.join("tree");
    for name in ["bin", "sbin", "tmp", "proc", "sys", "dev", "run"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    fs::copy(busybox, tree.join("bin/busybox")).unwrap();
    run("chroot", &[tree.to_str().unwrap(), "/bin/busybox", "--install", "-s", "/bin"]);
    let init = tree.join("sbin/init");
    fs::write(&init, include_str!("hostile.sh")).unwrap();
    run("chmod", &["755", init.to_str().unwrap()]);
    let root = folder.join("root.ext4");
    fs::File::create(&root).unwrap().set_len(ROOT_BYTES).unwrap();
    let (root, tree) = (root.to_str().unwrap(), tree.to_str().unwrap());
    run("mkfs.ext4", &["-q", "-d", tree, root]);
    let mut table =
        Table::new("11111111-1111-1111-1111-111111111111".parse().unwrap(), DISK_BYTES).unwrap();
    let id = "22222222-2222-2222-2222-222222222222".parse().unwrap();
    let sectors = ROOT_BYTES / gpt::SECTOR_BYTES;
    let at = table.push(gpt::TYPE_ROOT_X86_64, id, "root", sectors).unwrap().offset_bytes();
    let mut head = vec![0u8; usize::try_from(gpt::HEAD_BYTES).unwrap()];
    table.write_head(&mut head).unwrap();
    let disk = fs::File::create(folder.join("disk.raw")).unwrap();
    disk.set_len(DISK_BYTES).unwrap();
    use std::os::unix::fs::FileExt as _;
    disk.write_all_at(&head, 0).unwrap();
    disk.write_all_at(&fs::read(root).unwrap(), at).unwrap();
    let (end, tail) = table.tail();
    disk.write_all_at(&tail, end).unwrap();
}

/// A machine that runs.
pub struct Machine {
    child: Child,
    qmp: BufReader<UnixStream>,
    serial: UnixStream,
    console: String,
    /// What was looked for and found last ends here.
    seen: usize,
}

impl Machine {
    /// The machine's process, and no more: it may not even have its sockets yet.
    pub fn spawn(lab: &Lab) -> Child {
        for name in ["qmp.sock", "serial.sock", "console.log"] {
            let _not_there = fs::remove_file(lab.path("vm").join(name));
        }
        let mut settings = serde_json::json!({
            "name": "test", "scope": lab.scope, "firmware": "bios",
            "system_guid": "00000000-0000-0000-0000-000000000001",
            "disk": lab.path("disk.raw"), "disk_serial": "UCTEST", "root": lab.path("root"),
            "namespace": lab.namespace, "memory_mib": MEMORY_MIB, "cpus": 1, "order": ["disk0"],
            "cards": [{ "mac": "52:54:00:00:00:01", "port": "tap1", "bridge": "br-test" }],
            "blobs": lab.path("blobs"),
        });
        if !lab.more_disks.is_empty() {
            settings["more_disks"] = lab.further_disks().into();
        }
        let path = lab.path("container.json");
        fs::write(&path, settings.to_string()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_undercloud"))
            .args(["machine", "-uuid", "1", path.to_str().unwrap()])
            .current_dir(lab.path("vm"))
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub fn start(lab: &Lab) -> Self {
        let mut child = Self::spawn(lab);
        let connect = |child: &mut Child, name: &str| {
            let path = lab.path("vm").join(name);
            wait(name, || {
                assert!(child.try_wait().unwrap().is_none(), "it ended at once");
                UnixStream::connect(&path).is_ok()
            });
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(patience())).unwrap();
            stream
        };
        let qmp = BufReader::new(connect(&mut child, "qmp.sock"));
        let serial = connect(&mut child, "serial.sock");
        // What it said before somebody listened is in its log.
        let mut machine = Self { child, qmp, serial, console: String::new(), seen: 0 };
        machine.event("\"QMP\"", "");
        machine.console = fs::read_to_string(lab.path("vm/console.log")).unwrap_or_default();
        machine
    }

    /// Reads the console up to a word; gives what came since the last look.
    pub fn console_until(&mut self, word: &str) -> String {
        let end = Instant::now() + patience();
        loop {
            if let Some(at) = self.console[self.seen..].find(word) {
                let text = self.console[self.seen..self.seen + at + word.len()].to_owned();
                self.seen += at + word.len();
                return text;
            }
            assert!(Instant::now() < end, "no `{word}` on the console:\n{}", self.console);
            let mut buffer = [0u8; 4096];
            let count = self.serial.read(&mut buffer).unwrap_or_default();
            self.console.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Waits for a boot's end and gives its id.
    pub fn boot_id(&mut self) -> String {
        let said = self.console_until("HOSTILE DONE");
        let id = said.lines().find_map(|line| line.split_once("boot id ")).unwrap().1;
        id.trim().to_owned()
    }

    pub fn type_line(&mut self, line: &str) {
        self.serial.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn execute(&mut self, command: &str) {
        let line = format!("{{\"execute\":\"{command}\"}}\n");
        self.qmp.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// Waits for a line with both words.
    pub fn event(&mut self, word: &str, and: &str) {
        loop {
            let mut line = String::new();
            let count = self.qmp.read_line(&mut line).unwrap();
            assert!(count > 0, "the control socket ended before `{word}`");
            if line.contains(word) && line.contains(and) {
                return;
            }
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn quit(&mut self) {
        self.execute("quit");
        self.ends();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn ends(&mut self) {
        let end = Instant::now() + patience();
        while self.is_alive() {
            assert!(Instant::now() < end, "it did not end; console:\n{}", self.console);
            std::thread::sleep(POLL);
        }
        assert!(self.child.wait().unwrap().success(), "it ended with an error");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _collected = self.child.wait();
    }
}

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + patience();
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(POLL);
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
