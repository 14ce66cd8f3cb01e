//! `cargo xtask bench bmc`: what virtual BMCs cost, beside VirtualBMC and sushy-tools.
//!
//! The client is the same program for everybody (`crates/bmc/examples/load.rs`), one after the
//! other in turns, and what counts of the turns is their median. The peers are asked for less:
//! VirtualBMC knows cipher suite 3 only; it has a machine of a real libvirt behind it, whose daemon's
//! processor time is not counted. sushy-tools runs on its fake driver without authentication. Both
//! come from PyPI into `$UNDERCLOUD_CACHE`; VirtualBMC needs Debian's python3-libvirt.

mod peers;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use self::peers::Peers;
use super::process::Server;
use crate::cargo;

const TURNS: usize = 3;
const IDLE: Duration = Duration::from_secs(10);
const FLEET_MAX: u16 = 10_000;
const FLEET_PORT: u16 = 20_000;
pub(super) const USER: &str = "admin";
pub(super) const PASSWORD: &str = "sixteen-letters!";

/// What a figure has to be.
enum Wanted {
    AtMost(f64),
    /// That many times less than the peer's.
    TimesLess(f64),
    /// That many times more than the peer's.
    TimesMore(f64),
    Anything,
}

/// One line of the table.
struct Row {
    what: &'static str,
    unit: &'static str,
    ours: f64,
    peer: Option<f64>,
    wanted: Wanted,
}

/// Runs it.
///
/// # Errors
/// When a program does not start or does not answer; a figure that is missed is no error, it is in
/// the table.
pub(crate) fn bmc(dev: bool) -> Result<()> {
    let bench = Bench::new(dev)?;
    let mut rows = bench.ipmi()?;
    rows.extend(bench.growth()?);
    rows.extend(bench.fleets()?);
    rows.extend(bench.redfish()?);
    print(&rows);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what the task is for")]
fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    println!("{:width$}  {:>9} {:>9}            ratio  wanted", "", "ours", "peer");
    for Row { what, unit, ours, peer, wanted } in rows {
        let less = peer.map(|peer| peer / ours);
        let more = peer.map(|peer| ours / peer);
        let (ratio, wanted, good) = match wanted {
            Wanted::AtMost(most) => (less, format!("≤ {most} {unit}"), ours <= most),
            Wanted::TimesLess(times) => (less, format!("≥ {times}×"), less >= Some(*times)),
            Wanted::TimesMore(times) => (more, format!("≥ {times}×"), more >= Some(*times)),
            Wanted::Anything => (less, String::new(), true),
        };
        let peer = peer.map(|peer| format!("{peer:.3}")).unwrap_or_default();
        let ratio = ratio.map(|ratio| format!("{ratio:.1}×")).unwrap_or_default();
        let verdict = if good { "" } else { "  MISSED" };
        println!("{what:width$}  {ours:9.3} {peer:>9} {unit:10} {ratio:>6}  {wanted}{verdict}");
    }
}

/// What the client found, and what the server used meanwhile.
struct Turn {
    rate: f64,
    p50_us: f64,
    cpu_ms: f64,
}

fn median(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    let mut figures: Vec<f64> = turns.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Bench {
    programs: PathBuf,
    folder: TempDir,
    peers: Peers,
}

/// A fleet, and how its first machine is reached.
struct Fleet {
    server: Server,
    file: PathBuf,
    address: String,
    password: String,
}

impl Bench {
    fn new(dev: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("undercloud-bench.").tempdir()?;
        Ok(Self { programs: build(dev)?, peers: Peers::new()?, folder })
    }

    fn fleet(&self, count: u16) -> Result<Fleet> {
        let file = self.folder.path().join("fleet.json");
        let mut command = Command::new(self.programs.join("undercloud"));
        command
            .args(["bmc", "fleet", "--count", &count.to_string()])
            .args(["--port", &FLEET_PORT.to_string(), "--redfish-port", "0", "--credentials"])
            .arg(&file);
        let server = Server::start(&mut command, "machines, Redfish")?;
        let text = std::fs::read_to_string(&file).context("the fleet wrote no file")?;
        let rows: Value = serde_json::from_str(&text).context("the fleet's file is damaged")?;
        let password =
            rows[0]["password"].as_str().context("the fleet has no password")?.to_owned();
        let address = format!("127.0.0.1:{}", rows[0]["port"]);
        Ok(Fleet { server, file, address, password })
    }

    /// Runs the client on one core.
    fn load(&self, password: &str, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(self.programs.join("examples/load"));
        command.args(arguments).env("BMC_PASSWORD", password);
        let output = command.output().context("cannot start the client")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`load {}` failed: {said}", arguments.join(" "));
        serde_json::from_slice(&output.stdout).context("the client printed no JSON")
    }

    fn turn(&self, server: &Server, password: &str, arguments: &[&str]) -> Result<Turn> {
        let before = server.cpu_seconds()?;
        let found = self.load(password, arguments)?;
        let used = server.cpu_seconds()? - before;
        let number = |key: &str| found[key].as_f64().context("the client forgot a figure");
        let count = number("count")?;
        Ok(Turn {
            rate: count / number("seconds")?,
            p50_us: number("p50")?,
            cpu_ms: used * 1000.0 / count,
        })
    }

    fn ipmi(&self) -> Result<Vec<Row>> {
        let fleet = self.fleet(1)?;
        let peer = self.peers.virtualbmc(self.folder.path())?;
        let peer_address = format!("127.0.0.1:{}", peer.server.ready);
        let mut turns: [Vec<Turn>; 6] = Default::default();
        for _ in 0..TURNS {
            let ours = |what: &str, suite: &str, count: &str| {
                self.turn(
                    &fleet.server,
                    &fleet.password,
                    &[what, &fleet.address, USER, suite, count],
                )
            };
            let theirs = |what: &str, count: &str| {
                self.turn(&peer.server, PASSWORD, &[what, &peer_address, USER, "3", count])
            };
            turns[0].push(ours("sessions", "3", "5000")?);
            turns[1].push(theirs("sessions", "1000")?);
            turns[2].push(ours("sessions", "17", "5000")?);
            turns[3].push(ours("statuses", "3", "50000")?);
            turns[4].push(theirs("statuses", "1000")?);
            turns[5].push(ours("statuses", "17", "50000")?);
        }
        let [s3, peer_s, s17, p3, peer_p, p17] = &turns;
        let cpu = |what, turns: &[Turn], peer: Option<&[Turn]>, wanted| Row {
            what,
            unit: "ms",
            ours: median(turns, |turn| turn.cpu_ms),
            peer: peer.map(|turns| median(turns, |turn| turn.cpu_ms)),
            wanted,
        };
        let p50 = |what, turns: &[Turn], peer: Option<&[Turn]>, wanted| Row {
            what,
            unit: "µs",
            ours: median(turns, |turn| turn.p50_us),
            peer: peer.map(|turns| median(turns, |turn| turn.p50_us)),
            wanted,
        };
        Ok(vec![
            cpu("CPU per session, suite 3", s3, Some(peer_s), Wanted::AtMost(0.12)),
            cpu("CPU per session, suite 17", s17, None, Wanted::AtMost(0.12)),
            p50("session p50, suite 3", s3, Some(peer_s), Wanted::Anything),
            cpu("CPU per power status, suite 3", p3, Some(peer_p), Wanted::AtMost(0.02)),
            cpu("CPU per power status, suite 17", p17, None, Wanted::AtMost(0.02)),
            p50("power status p50, suite 3", p3, Some(peer_p), Wanted::AtMost(50.0)),
            p50("power status p50, suite 17", p17, None, Wanted::AtMost(50.0)),
            p50("power status p50 against VirtualBMC", p3, Some(peer_p), Wanted::TimesLess(25.0)),
        ])
    }

    /// A hundred thousand sessions; the first few thousand may fill caches.
    fn growth(&self) -> Result<Vec<Row>> {
        let fleet = self.fleet(1)?;
        let sessions = |count| {
            self.load(&fleet.password, &["sessions", &fleet.address, USER, "17", count]).map(drop)
        };
        sessions("5000")?;
        let before = fleet.server.resident_mib()?;
        sessions("100000")?;
        let ours = fleet.server.resident_mib()? - before;
        let what = "growth over 100,000 sessions";
        Ok(vec![Row { what, unit: "MiB", ours, peer: None, wanted: Wanted::AtMost(1.0) }])
    }

    fn fleets(&self) -> Result<Vec<Row>> {
        let row = |what, unit, ours, wanted| Row { what, unit, ours, peer: None, wanted };
        let small = self.fleet(100)?;
        let resident = small.server.resident_mib()?;
        let mut rows = vec![row("memory of 100 BMCs", "MiB", resident, Wanted::AtMost(20.0))];
        drop(small);
        let large = self.fleet(FLEET_MAX)?;
        let resident = large.server.resident_mib()?;
        rows.push(row("memory of 10,000 BMCs", "MiB", resident, Wanted::AtMost(128.0)));
        let before = large.server.cpu_seconds()?;
        // What is measured is the time in which nothing happens.
        thread::sleep(IDLE);
        let idle = (large.server.cpu_seconds()? - before) / IDLE.as_secs_f64() * 100.0;
        rows.push(row("CPU of 10,000 idle BMCs", "%", idle, Wanted::AtMost(0.1)));
        let file = large.file.to_str().context("a path is not UTF-8")?;
        let found = self.load("", &["fleet", file])?;
        ensure!(found["count"] == FLEET_MAX, "the client lost machines: {found}");
        let number = |key: &str| found[key].as_f64().context("the client forgot a figure");
        let what = "10,000 power states, log-in included, one core";
        rows.push(row(what, "s", number("with_login")?, Wanted::AtMost(5.0)));
        let what = "10,000 power states in open sessions, one core";
        rows.push(row(what, "s", number("seconds")?, Wanted::AtMost(5.0)));
        let resident = large.server.resident_mib()?;
        let what = "memory of 10,000 BMCs with a session each";
        rows.push(row(what, "MiB", resident, Wanted::Anything));
        Ok(rows)
    }

    fn redfish(&self) -> Result<Vec<Row>> {
        let ours = |arguments: &[&str]| {
            let mut command = Command::new(self.programs.join("examples/redfish"));
            Server::start(command.args(["127.0.0.1:0", "1"]).args(arguments), "listening on")
        };
        let (plain, tls) = (ours(&["plain"])?, ours(&[])?);
        let theirs = |kind| self.peers.sushy(kind, self.folder.path());
        let (peer_plain, peer_tls) = (theirs("plain")?, theirs("tls")?);
        let system = |scheme: &str, server: &Server| {
            format!("{scheme}://{}/redfish/v1/Systems/m1", server.ready)
        };
        let path = |scheme: &str, server: &Server| {
            let (port, id) = server.ready.split_once(' ').unwrap_or((&server.ready, ""));
            format!("{scheme}://127.0.0.1:{port}/redfish/v1/Systems/{id}")
        };
        let mut turns: [Vec<Turn>; 6] = Default::default();
        for _ in 0..TURNS {
            let get = |server: &Server, address: &str, count: &str, how: &str| {
                let arguments = ["redfish", address, USER, count, how];
                self.turn(server, "rack-password-001", &arguments)
            };
            let (address, peer) = (system("http", &plain), path("http", &peer_plain));
            turns[0].push(get(&plain, &address, "20000", "keep")?);
            turns[1].push(get(&peer_plain, &peer, "300", "keep")?);
            turns[2].push(get(&plain, &address, "5000", "new")?);
            turns[3].push(get(&peer_plain, &peer, "300", "new")?);
            turns[4].push(get(&tls, &system("https", &tls), "3000", "new")?);
            turns[5].push(get(&peer_tls, &path("https", &peer_tls), "300", "new")?);
        }
        let rate = |what, at: usize, wanted| Row {
            what,
            unit: "/s",
            ours: median(&turns[at], |turn| turn.rate),
            peer: Some(median(&turns[at + 1], |turn| turn.rate)),
            wanted,
        };
        let cpu = |what, at: usize| Row {
            what,
            unit: "ms",
            ours: median(&turns[at], |turn| turn.cpu_ms),
            peer: Some(median(&turns[at + 1], |turn| turn.cpu_ms)),
            wanted: Wanted::Anything,
        };
        Ok(vec![
            rate("GET /Systems/ID, plain", 0, Wanted::TimesMore(40.0)),
            rate("GET /Systems/ID, plain, a new connection each", 2, Wanted::TimesMore(1.0)),
            rate("GET /Systems/ID, TLS, a new connection each", 4, Wanted::TimesMore(20.0)),
            cpu("CPU per GET, plain", 0),
            cpu("CPU per GET, TLS, a new connection each", 4),
        ])
    }
}

/// Builds what is measured; where it is.
fn build(dev: bool) -> Result<PathBuf> {
    let mut command = cargo::command();
    command.arg("build").args(["-p", "undercloud", "-p", "undercloud-bmc"]);
    command.args(["--bin", "undercloud", "--example", "load", "--example", "redfish"]);
    if !dev {
        command.arg("--release");
    }
    if !command.status().context("cannot start cargo")?.success() {
        bail!("what is to be measured does not build");
    }
    cargo::programs(Path::new(if dev { "debug" } else { "release" }))
}
