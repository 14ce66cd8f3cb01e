//! A host with a libvirt of its own, and a daemon that gives its domains BMCs.
//!
//! libvirt's session daemon is started by `virsh` itself; everything it has is under one temporary
//! directory. Root has no session, so all of it runs in a user namespace in which we are somebody
//! else.

#![allow(unreachable_pub, reason = "a module of a test binary is not a crate")]

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const URI: &str = "qemu:///session";
/// A name that is no option, no quotation and no event.
pub const HOSTILE: &str = "--it's a 'trap': Started Booted";
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of.
const POLL: Duration = Duration::from_millis(20);

pub struct Host {
    pub folder: tempfile::TempDir,
    daemon: Option<Child>,
}

/// What a program came to.
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Host {
    pub fn new() -> Self {
        // Short: paths of sockets are.
        let folder = tempfile::Builder::new().prefix("uc-lv.").tempdir_in("/tmp").expect("folder");
        for name in ["run", "config", "cache", "home"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        // What QEMU can do is found out once, not by each of these libvirts.
        let found_out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libvirt-capabilities");
        fs::create_dir_all(&found_out).expect("folder");
        let cache = folder.path().join("cache/libvirt/qemu");
        fs::create_dir_all(&cache).expect("folder");
        std::os::unix::fs::symlink(found_out, cache.join("cache")).expect("link");
        fs::write(folder.path().join("disk"), vec![0; 1 << 20]).expect("disk");
        let mut host = Self { folder, daemon: None };
        host.start_daemon();
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let root = fs::metadata("/proc/self").expect("proc").uid() == 0;
        let first = if root { Path::new("unshare") } else { program.as_ref() };
        let mut command = Command::new(first);
        if root {
            command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program.as_ref());
        }
        command
            .env("LC_ALL", "C")
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("UNDERCLOUD_STATE", self.path("s"))
            .stdin(Stdio::null());
        command
    }

    pub fn start_daemon(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        let mut serve = self.command(env!("CARGO_BIN_EXE_undercloud"));
        let serve = serve.arg("serve").stdout(Stdio::null()).stderr(log.expect("log"));
        self.daemon = Some(serve.spawn().expect("the daemon"));
        until("the daemon answers", || {
            let log = || fs::read_to_string(self.path("log"));
            assert!(self.daemon_lives(), "the daemon ended: {:?}", log());
            UnixStream::connect(self.path("s/run/undercloud.sock")).is_ok()
        });
    }

    fn daemon_lives(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| lives(daemon.id()))
    }

    /// As a power cut ends it.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        daemon.kill().expect("kill");
        daemon.wait().expect("wait");
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// The daemon's children of this name.
    pub fn children(&self, name: &str) -> Vec<u32> {
        let ours = format!(" {} ", self.daemon_pid());
        let processes = fs::read_dir("/proc").expect("proc").flatten();
        let pids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((comm, rest)) = stat.rsplit_once(')') else { return false };
            // State, then the parent.
            comm.ends_with(&format!("({name}"))
                && rest.get(2..).is_some_and(|r| r.starts_with(&ours))
        })
        .collect()
    }

    pub fn libvirtd(&self) -> Option<u32> {
        fs::read_to_string(self.path("run/libvirt/libvirtd.pid")).ok()?.trim().parse().ok()
    }

    pub fn undercloud(&self, args: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(args).output().expect("undercloud").into()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let args = [&["-o", "json"][..], args].concat();
        let said = self.undercloud(&args);
        assert!(said.ok, "{args:?}: {}", said.err);
        serde_json::from_str(&said.out).expect("JSON")
    }

    pub fn try_virsh(&self, args: &[&str]) -> Said {
        let mut command = self.command("virsh");
        let output = command.args(["-q", "-c", URI]).args(args).output();
        output.expect("these tests need virsh (Debian package libvirt-clients)").into()
    }

    pub fn virsh(&self, args: &[&str]) -> String {
        let said = self.try_virsh(args);
        assert!(said.ok, "virsh {args:?}: {}", said.err);
        said.out
    }

    /// Defines a domain; `boots` are `<boot>` elements of `<os>`, or places of disk and interface.
    pub fn define(&self, name: &str, boots: &str, disk: &str, interface: &str) {
        let escaped = name.replace('\'', "&apos;");
        let path = self.path("disk").display().to_string();
        let text = format!(
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{escaped}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boots}</os>
  <features><acpi/></features>
  <devices>
    <disk type='file'><driver name='qemu' type='raw'/><source file='{path}'/><target dev='vda' bus='virtio'/><serial>S1</serial><shareable/>{disk}</disk>
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
    <interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/>{interface}</interface>
    <serial type='pty'/>
    <graphics type='vnc' socket='{path}.vnc' passwd='secret'/>
  </devices>
  <qemu:commandline><qemu:arg value='-machine'/><qemu:arg value='graphics=off'/></qemu:commandline>
</domain>"
        );
        let file = self.path("definition.xml");
        fs::write(&file, text).expect("definition");
        self.virsh(&["define", &file.display().to_string()]);
    }

    /// Adds and starts a BMC.
    pub fn bmc(&self, name: &str) -> Bmc<'_> {
        let added = self.json(&["bmc", "add", "--libvirt-uri", URI, "--", name]);
        assert_eq!(added["status"], "down");
        let file = self.path(&format!("password-{}", added["port"]));
        fs::write(&file, added["password"].as_str().expect("a password")).expect("password");
        let started = self.json(&["bmc", "start", "--", name]);
        assert_eq!(started[0]["status"], "running", "{started}");
        let uuid = added["domain_uuid"].as_str().expect("a UUID").to_owned();
        Bmc { host: self, uuid, port: added["port"].to_string(), password: file }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Without virsh there is nothing to end.
        let mut list = self.command("virsh");
        let list = list.args(["-q", "-c", URI, "list", "--uuid"]).output();
        let running = list.map(|output| Said::from(output).out).unwrap_or_default();
        for uuid in running.split_whitespace() {
            self.try_virsh(&["destroy", uuid]);
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _gone = daemon.kill();
            let _reaped = daemon.wait();
        }
        for pid in ["libvirtd", "virtlogd"] {
            let pid = fs::read_to_string(self.path(&format!("run/libvirt/{pid}.pid")));
            if let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) {
                signal(pid, Signal::TERM);
            }
        }
    }
}

/// Whether a process runs, or at least could.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    let _gone = kill_process(pid, signal);
}

/// Looks until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL);
    }
}

/// A BMC, and `ipmitool` to speak to it.
pub struct Bmc<'a> {
    pub host: &'a Host,
    pub uuid: String,
    pub port: String,
    pub password: PathBuf,
}

impl Bmc<'_> {
    pub fn ipmitool(&self, command: &str) -> Said {
        let mut ipmitool = Command::new("ipmitool");
        ipmitool
            .args(["-I", "lanplus", "-C", "17", "-H", "127.0.0.1", "-p", &self.port, "-U", "admin"])
            .arg("-f")
            .arg(&self.password)
            // On a busy host a cycle takes its time: asked again too soon, it would be two.
            .args(["-R", "2", "-N", "5"])
            .args(command.split(' '));
        ipmitool.output().expect("these tests need ipmitool (Debian package ipmitool)").into()
    }

    pub fn yes(&self, command: &str) -> String {
        let mut out = String::new();
        // "Node busy", "Timeout": as Ironic does, asked again.
        until(command, || {
            let said = self.ipmitool(command);
            let again = said.err.contains("Node busy") || said.err.contains("Timeout");
            assert!(said.ok || again, "{command}: {}{}", said.out, said.err);
            out = said.out;
            said.ok
        });
        out
    }

    pub fn no(&self, command: &str, text: &str) {
        until(command, || {
            let said = self.ipmitool(command);
            assert!(
                !said.ok || said.err.contains(text),
                "{command} was not refused: {}{}",
                said.out,
                said.err
            );
            let busy = said.err.contains("Node busy") && !text.contains("Node busy");
            assert!(busy || said.err.contains(text), "{command}: {}", said.err);
            !busy
        });
    }

    pub fn is_on(&self) -> bool {
        self.yes("power status") == "Chassis Power is on\n"
    }

    pub fn until_on(&self, on: bool) {
        until(if on { "it is on" } else { "it is off" }, || self.is_on() == on);
    }

    /// What libvirt says of it.
    pub fn runs(&self) -> bool {
        self.host.virsh(&["domstate", &self.uuid]).trim() == "running"
    }

    /// The number that libvirt gives to each start.
    pub fn start_number(&self) -> String {
        self.host.virsh(&["domid", &self.uuid]).trim().to_owned()
    }

    fn lines(&self, args: &[&str], with: &[&str]) -> Vec<String> {
        let text = self.host.virsh(args);
        let lines = text.lines().map(str::trim).filter(|l| with.iter().any(|w| l.starts_with(w)));
        lines.map(str::to_owned).collect()
    }

    /// The boot order of the next start.
    pub fn order(&self) -> Vec<String> {
        self.lines(&["dumpxml", "--inactive", &self.uuid], &["<boot"])
    }

    /// The boot order of what runs.
    pub fn live_order(&self) -> Vec<String> {
        self.lines(&["dumpxml", &self.uuid], &["<boot"])
    }
}
