//! `cargo xtask bench nodes`: what one daemon costs that minds ten thousand machines, beside the
//! budget that each figure has.
//!
//! The machines are a fleet in memory (`undercloud bmc fleet`), a process of its own: what is counted
//! of the daemon, by its `/proc`, is the daemon's alone. Both run in a network that is made for them
//! and a state that is taken away again. Enrolment is the ordinary import of files; every machine is
//! verified (`node manage`), which makes the daemon look at its power once a minute from then on.
//! That it does is checked: a session with a BMC that nobody used for two minutes is closed.

mod place;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::place::Place;
use super::process::MIB;

const COUNT: u16 = 10_000;
const MINUTES: u32 = 5;
/// Longer than an unused session is kept (`undercloud_bmc::keeper::IDLE_MAX`), with the minute before.
const MINUTES_MIN: u32 = 2;
/// Most machines of one file (`undercloud_api::admin::instackenv`).
const FILE_MACHINES: usize = 1000;
/// Machines that one command names.
const NAMED_AT_ONCE: usize = 100;
/// For all machines to be verified.
const VERIFIED_MAX: Duration = Duration::from_secs(900);
const MINUTE: Duration = Duration::from_secs(60);
/// Commands whose median counts.
const TURNS: usize = 20;
const PERCENT: f64 = 100.0;

/// Its name, unit and budget; without one it is shown beside.
type Line = (&'static str, &'static str, Option<f64>);

const IMPORT: Line = ("import", "s", None);
const VERIFIED: Line = ("all asked, and verified", "s", None);
const MEMORY_EMPTY: Line = ("memory, no machine yet", "MiB", None);
const MEMORY: Line = ("memory, all verified", "MiB", Some(256.0));
const MEMORY_LATER: Line = ("memory after the looks", "MiB", Some(256.0));
const PROCESSOR: Line = ("processor while it looks", "%", Some(5.0));
const QUESTIONS: Line = ("questions to BMCs, keep-alives too", "/s", None);
const DESCRIPTORS: Line = ("files and sockets", "", None);
const DATABASE: Line = ("database", "MiB", None);
const SHOW: Line = ("node show", "ms", Some(50.0));
const LIST: Line = ("node list, all of them", "ms", None);
const STATUS: Line = ("status", "ms", None);
const END: Line = ("restart: SIGTERM to its end", "s", None);
const FIRST: Line = ("restart: start to first answer", "s", Some(1.0));

/// What is asked for.
struct Wanted {
    count: u16,
    minutes: u32,
    dev: bool,
}

/// Runs it.
///
/// # Errors
/// The first step that failed; a figure over its budget is no error, it is in the table.
pub(crate) fn nodes(arguments: &[String]) -> Result<()> {
    let wanted = Wanted::parse(arguments)?;
    let mut place = Place::new(wanted.dev, wanted.count)?;
    let found = measure(&wanted, &mut place)?;
    print(&wanted, &found);
    Ok(())
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self { count: COUNT, minutes: MINUTES, dev: false };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("--count", number)) => {
                    wanted.count = number.parse().context("--count= wants a number to 40000")?;
                }
                Some(("--minutes", number)) => {
                    wanted.minutes = number.parse().context("--minutes= wants a number")?;
                }
                None if argument == "--dev" => wanted.dev = true,
                _ => bail!("unknown option {argument}: there are --count=, --minutes= and --dev"),
            }
        }
        ensure!((1..=40_000).contains(&wanted.count), "--count= is from 1 to 40000");
        ensure!(wanted.minutes >= MINUTES_MIN, "--minutes= is {MINUTES_MIN} or more");
        Ok(wanted)
    }
}

type Found = Vec<(Line, f64)>;

fn measure(wanted: &Wanted, place: &mut Place) -> Result<Found> {
    let mut found = Found::new();
    place.start()?;
    found.push((MEMORY_EMPTY, place.daemon()?.resident_mib()?));
    let machines = place.fleet_machines()?;
    let names = enrol(place, &machines, &mut found)?;
    verify(place, &names, &mut found)?;
    found.push((MEMORY, place.daemon()?.resident_mib()?));
    looks(wanted, place, &mut found)?;
    let name = names.get(names.len() / 2).context("there is no machine")?;
    found.push((SHOW, median_ms(place, &["node", "show", name])?));
    found.push((LIST, median_ms(place, &["node", "list"])?));
    found.push((STATUS, median_ms(place, &["status"])?));
    let began = Instant::now();
    place.end()?;
    found.push((END, began.elapsed().as_secs_f64()));
    let began = Instant::now();
    place.start()?;
    place.run(&["node", "show", name])?;
    found.push((FIRST, began.elapsed().as_secs_f64()));
    Ok(found)
}

/// Imports all machines, by files as people write them.
fn enrol(place: &Place, machines: &[Value], found: &mut Found) -> Result<Vec<String>> {
    let mut names = Vec::with_capacity(machines.len());
    let mut took = Duration::ZERO;
    for (number, part) in machines.chunks(FILE_MACHINES).enumerate() {
        let mut entries = Vec::with_capacity(part.len());
        for machine in part {
            let name = machine["id"].as_str().context("a machine has no name")?;
            let [high, low] = u16::try_from(names.len()).context("too many")?.to_be_bytes();
            entries.push(json!({
                "name": name, "pm_type": "ipmi", "pm_addr": machine["address"],
                "pm_port": machine["port"], "pm_user": machine["user"],
                "pm_password": machine["password"],
                "ports": [{ "address": format!("52:54:00:0a:{high:02x}:{low:02x}") }],
            }));
            names.push(name.to_owned());
        }
        let file = place.write(&format!("{number}.json"), &json!({ "nodes": entries }))?;
        let began = Instant::now();
        place.run(&["node", "import", &file])?;
        took += began.elapsed();
    }
    found.push((IMPORT, took.as_secs_f64()));
    Ok(names)
}

/// Has every machine verified: its BMC asked once. From then on its power is looked at.
fn verify(place: &Place, names: &[String], found: &mut Found) -> Result<()> {
    let began = Instant::now();
    let is_verified = |line: &str| line.contains("→ manageable");
    let (_follower, verified) =
        place.follow(&["events", "--follow", "--limit", "1"], is_verified)?;
    for part in names.chunks(NAMED_AT_ONCE) {
        let mut command = vec!["node", "manage", "--no-wait"];
        command.extend(part.iter().map(String::as_str));
        place.run(&command)?;
    }
    for _ in names {
        let left = VERIFIED_MAX.saturating_sub(began.elapsed());
        if verified.recv_timeout(left).is_err() {
            break;
        }
    }
    found.push((VERIFIED, began.elapsed().as_secs_f64()));
    let states = place.json(&["status"])?["nodes"].clone();
    ensure!(states["manageable"] == names.len(), "not all were verified in time: {states}");
    Ok(())
}

/// Nobody asks for anything; the daemon looks at each machine once a minute.
fn looks(wanted: &Wanted, place: &Place, found: &mut Found) -> Result<()> {
    let daemon = place.daemon()?;
    // The first minute goes by as after any change.
    ensure!(daemon.runs_for(MINUTE)?, "the daemon ended");
    let (began, used, datagrams) = (Instant::now(), daemon.cpu_seconds()?, place.datagrams()?);
    ensure!(daemon.runs_for(MINUTE * wanted.minutes)?, "the daemon ended");
    let seconds = began.elapsed().as_secs_f64();
    let used = daemon.cpu_seconds()? - used;
    // A question and its answer.
    let asked = (place.datagrams()? - datagrams) / 2.0;
    let open = daemon.descriptors()?;
    ensure!(
        open >= usize::from(wanted.count),
        "{open} files and sockets for {} machines: the looks stayed away",
        wanted.count
    );
    found.push((PROCESSOR, PERCENT * used / seconds));
    found.push((QUESTIONS, asked / seconds));
    found.push((MEMORY_LATER, daemon.resident_mib()?));
    #[expect(clippy::cast_precision_loss, reason = "a few thousands")]
    found.push((DESCRIPTORS, open as f64));
    found.push((DATABASE, place.database_bytes()? / MIB));
    Ok(())
}

fn median_ms(place: &Place, command: &[&str]) -> Result<f64> {
    let mut all = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let began = Instant::now();
        place.run(command)?;
        all.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    all.sort_by(f64::total_cmp);
    all.get(TURNS / 2).copied().context("no turn")
}

#[expect(clippy::print_stdout, reason = "the table is what the task is for")]
fn print(wanted: &Wanted, found: &Found) {
    let Wanted { count, minutes, dev } = wanted;
    let build = if *dev { "development" } else { "release" };
    println!("{count} machines, {minutes} min of looks, the {build} build");
    for ((name, unit, budget), value) in found {
        let beside = budget.map_or(String::new(), |budget| {
            let verdict = if *value <= budget { "ok" } else { "OVER" };
            format!(" of {budget:6.1}  {verdict}")
        });
        println!("{name:36}{value:10.2} {unit:3}{beside}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Wanted::parse(&words).map(|w| (w.count, w.minutes, w.dev))
        };
        assert_eq!(parse("").unwrap(), (COUNT, MINUTES, false));
        assert_eq!(parse("--count=1000 --minutes=2 --dev").unwrap(), (1000, 2, true));
        for wrong in ["--count=0", "--count=70000", "--count", "--minutes=1", "1000", "--rounds=2"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
