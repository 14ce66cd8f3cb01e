//! A network of their own for a fleet and a daemon, and a state that is taken away again.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::super::process::Server;
use crate::cargo;

/// Room for as many addresses as there may be machines; ends with whoever holds its input.
const NETWORK: &str = "ip link set lo up && ip link add boot0 type veth peer name boot1 && \
                       ip address add 10.64.0.1/16 dev boot0 && ip link set boot1 up && \
                       ip link set boot0 up && echo ready && exec cat";
/// As many files and sockets as this host allows.
const UNLIMITED: &str = "ulimit -Sn \"$(ulimit -Hn)\" && exec \"$0\" \"$@\"";
/// The first BMC's port; the others follow. Below the ports that the kernel gives away by itself the
/// other half of the range is left to the daemon's sessions, in a network of their own.
const FLEET_PORT: u16 = 20_000;
const ANSWERS_MAX: Duration = Duration::from_secs(120);
/// How long its end is waited for between two looks at whether it answers.
const LOOK: Duration = Duration::from_millis(2);

/// All of it. What runs in it ends first.
pub(super) struct Place {
    daemon: Option<Server>,
    /// Runs for as long as this lives.
    _fleet: Server,
    network: Server,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Place {
    /// Builds the program, makes the network and starts a fleet of `count`.
    pub(super) fn new(dev: bool, count: u16) -> Result<Self> {
        let program = build(dev)?;
        let folder = tempfile::Builder::new().prefix("undercloud-bench.").tempdir_in("/var/tmp");
        let folder = folder.context("cannot make a directory in /var/tmp")?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", NETWORK]);
        let network = Server::start(&mut unshare, "ready").context("no network of its own")?;
        let mut fleet = inside(&network, &program);
        fleet.args(["bmc", "fleet", "--count", &count.to_string()]);
        fleet.args(["--port", &FLEET_PORT.to_string(), "--redfish-port", "0", "--credentials"]);
        fleet.arg(folder.path().join("fleet.json"));
        let fleet = Server::start(&mut fleet, "Redfish").context("no fleet")?;
        Ok(Self { daemon: None, _fleet: fleet, network, program, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The machines, as the fleet says how they are reached.
    pub(super) fn fleet_machines(&self) -> Result<Vec<Value>> {
        let text =
            fs::read_to_string(self.path("fleet.json")).context("the fleet wrote no file")?;
        serde_json::from_str(&text).context("the fleet's file is damaged")
    }

    /// Writes a file; its path.
    pub(super) fn write(&self, name: &str, value: &Value) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, value.to_string()).context("cannot write a file of machines")?;
        Ok(path.display().to_string())
    }

    /// Starts the daemon and waits until it takes orders.
    pub(super) fn start(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        let mut command = inside(&self.network, &self.program);
        command.arg("--state").arg(self.path("state"));
        command.args(["serve", "--provisioning-interface", "boot0"]);
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.stderr(log.context("cannot write a log")?).stdout(Stdio::null());
        let daemon = self.daemon.insert(Server::start_silent(&mut command)?);
        let (began, socket) =
            (Instant::now(), self.folder.path().join("state/run/undercloud.sock"));
        while UnixStream::connect(&socket).is_err() {
            ensure!(
                daemon.runs_for(LOOK)?,
                "the daemon ended: {}",
                tail(&self.folder.path().join("log"))
            );
            ensure!(began.elapsed() < ANSWERS_MAX, "the daemon does not answer");
        }
        Ok(())
    }

    /// Ends the daemon as a service's manager does.
    pub(super) fn end(&mut self) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.end()
    }

    pub(super) fn daemon(&self) -> Result<&Server> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// Types a command.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command.arg("--state").arg(self.path("state")).args(arguments);
        command.env("XDG_CONFIG_HOME", self.path("config")).stdin(Stdio::null());
        let output = command.output().context("cannot start the program")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let shown: Vec<&str> = arguments.iter().take(3).copied().collect();
            bail!("`undercloud {} …` failed: {said}", shown.join(" "));
        }
        Ok(output.stdout)
    }

    /// Begins a command that goes on; what it prints comes by lines, as far as they are `wanted`.
    pub(super) fn follow(
        &self,
        arguments: &[&str],
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<(Server, Receiver<()>)> {
        let mut command = Command::new(&self.program);
        command.arg("--state").arg(self.path("state")).args(arguments);
        command.env("XDG_CONFIG_HOME", self.path("config")).stdout(Stdio::piped());
        let mut server = Server::start_silent(&mut command)?;
        let lines = BufReader::new(server.output()?).lines();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let wanted = lines.map_while(Result::ok).filter(|line| wanted(line));
            // Nobody listens any more when all have come.
            wanted.map(|_| sender.send(())).take_while(Result::is_ok).for_each(drop);
        });
        Ok((server, receiver))
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_slice(&output).context("the program printed no JSON")
    }

    /// Datagrams that arrived in the network so far (proc(5), /proc/net/snmp).
    pub(super) fn datagrams(&self) -> Result<f64> {
        let path = format!("/proc/{}/net/snmp", self.network.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, numbers) = rows.next().zip(rows.next()).context("no UDP is counted")?;
        let place = names.split(' ').position(|name| name == "InDatagrams");
        let number = place.and_then(|place| numbers.split(' ').nth(place));
        number.and_then(|number| number.parse().ok()).context("no datagrams are counted")
    }

    /// How much room the database takes, its journal included.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn database_bytes(&self) -> Result<f64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.path("state")).context("there is no state")? {
            let entry = entry.context("cannot list the state")?;
            if entry.file_name().to_string_lossy().starts_with("undercloud.db") {
                bytes += entry.metadata().context("a file went away")?.len();
            }
        }
        Ok(bytes as f64)
    }
}

/// The program in that network.
fn inside(network: &Server, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--user", "--mount", "--net", "--preserve-credentials", "--target"])
        .arg(network.pid().to_string())
        .args(["sh", "-c", UNLIMITED])
        .arg(program);
    command
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(3)).copied().collect::<Vec<_>>().join("; ")
}

/// Builds what is measured, unless `UNDERCLOUD` names it; where it is.
fn build(dev: bool) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("UNDERCLOUD") {
        return Ok(program.into());
    }
    let mut command = cargo::command();
    command.args(["build", "-p", "undercloud", "--bin", "undercloud"]);
    if !dev {
        command.arg("--release");
    }
    ensure!(command.status().context("cannot start cargo")?.success(), "it does not build");
    Ok(cargo::programs(Path::new(if dev { "debug" } else { "release" }))?.join("undercloud"))
}
