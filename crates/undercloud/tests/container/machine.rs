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

/// For anything that a machine does.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);
const DISK_BYTES: u64 = 64 << 20;
const ROOT_BYTES: u64 = 32 << 20;
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Where a machine lives.
pub struct Lab {
    folder: tempfile::TempDir,
    namespace: String,
    pub scope: String,
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
    let Some(busybox) = BUSYBOX.iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: busybox-static is not installed");
        return None;
    };
    let folder = tempfile::Builder::new().prefix("uc-ct.").tempdir_in("/var/tmp").unwrap();
    let namespace = format!("uc-ct-{}-{name}", std::process::id());
    run("ip", &["netns", "add", &namespace]);
    run("ip", &["-n", &namespace, "link", "add", "br-test", "type", "bridge"]);
    run("ip", &["-n", &namespace, "link", "set", "br-test", "up"]);
    let lab = Lab { folder, scope: namespace.clone(), namespace };
    fs::create_dir(lab.path("root")).unwrap();
    fs::create_dir(lab.path("vm")).unwrap();
    lab.make_disk(Path::new(busybox));
    Some(lab)
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

    /// A partition table with one root file system: busybox, and a script as its init.
    fn make_disk(&self, busybox: &Path) {
        let tree = self.path("tree");
        for name in ["bin", "sbin", "tmp", "proc", "sys", "dev", "run"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        run("chroot", &[tree.to_str().unwrap(), "/bin/busybox", "--install", "-s", "/bin"]);
        let init = tree.join("sbin/init");
        fs::write(&init, include_str!("hostile.sh")).unwrap();
        run("chmod", &["755", init.to_str().unwrap()]);
        let root = self.path("root.ext4");
        fs::File::create(&root).unwrap().set_len(ROOT_BYTES).unwrap();
        let (root, tree) = (root.to_str().unwrap(), tree.to_str().unwrap());
        run("mkfs.ext4", &["-q", "-d", tree, root]);
        let mut table =
            Table::new("11111111-1111-1111-1111-111111111111".parse().unwrap(), DISK_BYTES)
                .unwrap();
        let id = "22222222-2222-2222-2222-222222222222".parse().unwrap();
        let sectors = ROOT_BYTES / gpt::SECTOR_BYTES;
        let at = table.push(gpt::TYPE_ROOT_X86_64, id, "root", sectors).unwrap().offset_bytes();
        let mut head = vec![0u8; usize::try_from(gpt::HEAD_BYTES).unwrap()];
        table.write_head(&mut head).unwrap();
        let disk = fs::File::create(self.path("disk.raw")).unwrap();
        disk.set_len(DISK_BYTES).unwrap();
        use std::os::unix::fs::FileExt as _;
        disk.write_all_at(&head, 0).unwrap();
        disk.write_all_at(&fs::read(root).unwrap(), at).unwrap();
        let (end, tail) = table.tail();
        disk.write_all_at(&tail, end).unwrap();
    }

    /// No process, no mount, no loop device, no link of the machine is there.
    pub fn nothing_runs(&self) {
        let folder = self.folder.path().to_str().unwrap();
        let disk = self.path("disk.raw");
        wait("the machine's end", || {
            let loops = output("losetup", &["-j", disk.to_str().unwrap()]);
            let links = output("ip", &["-n", &self.namespace, "-oneline", "link", "show"]);
            let mounts = fs::read_to_string("/proc/mounts").unwrap();
            loops.is_empty() && !links.contains("tap") && !mounts.contains(folder)
        });
    }

    /// Not even empty directories.
    pub fn nothing_is_left(&self) {
        self.nothing_runs();
        let left: Vec<_> = ["/sys/fs/cgroup"]
            .iter()
            .flat_map(|root| {
                let trees = fs::read_dir(root).into_iter().flatten().flatten();
                trees.map(|tree| tree.path()).chain([PathBuf::from(root)])
            })
            .map(|tree| tree.join("undercloud").join(&self.scope))
            .filter(|group| group.exists())
            .collect();
        assert!(left.is_empty(), "control groups are left: {left:?}");
    }
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
    pub fn start(lab: &Lab) -> Self {
        for name in ["qmp.sock", "serial.sock", "console.log"] {
            let _not_there = fs::remove_file(lab.path("vm").join(name));
        }
        let settings = serde_json::json!({
            "name": "test", "scope": lab.scope, "firmware": "bios",
            "system_guid": "00000000-0000-0000-0000-000000000001",
            "disk": lab.path("disk.raw"), "disk_serial": "UCTEST", "root": lab.path("root"),
            "namespace": lab.namespace, "memory_mib": 256, "cpus": 1, "order": ["disk0"],
            "cards": [{ "mac": "52:54:00:00:00:01", "port": "tap1", "bridge": "br-test" }],
            "blobs": lab.path("blobs"),
        });
        let path = lab.path("container.json");
        fs::write(&path, settings.to_string()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_undercloud"))
            .args(["machine", "-uuid", "1", path.to_str().unwrap()])
            .current_dir(lab.path("vm"))
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let connect = |child: &mut Child, name: &str| {
            let path = lab.path("vm").join(name);
            wait(name, || {
                assert!(child.try_wait().unwrap().is_none(), "it ended at once");
                UnixStream::connect(&path).is_ok()
            });
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
        let end = Instant::now() + PATIENCE;
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
        self.ends_within(PATIENCE);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn ends_within(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
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

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
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
