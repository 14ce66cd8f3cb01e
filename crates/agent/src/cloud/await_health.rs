//! `AwaitHealth`: looks at a service until it is healthy, or until its time is over.
//!
//! A look is a connection or a request, which costs nearly nothing; systemd is asked only where it
//! is not healthy yet, and rarely: `systemctl` takes the processor from what is being waited for.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use undercloud_model::agent::{
    StepFailure, StepFailureKind,
    cloud::{HealthCheck, ListedProbe, Probe, ReportRow},
    health,
};

use super::{
    Call, Done, Task, check,
    keystone::http,
    mask::Mask,
    refused,
    systemd::{self, UnitState},
};
use crate::{
    device::failure,
    log::{chain, one_line},
};

/// Between two looks, at first and at last.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// In between, this part of the time that passed: what comes soon is seen soon, and what takes an
/// emulated machine minutes is not looked at a thousand times.
const PAUSE_PART: u32 = 8;
/// Between two questions to systemd, at first and at last; in between, this part of the time that
/// passed.
const UNIT_EVERY_FIRST: Duration = Duration::from_secs(5);
const UNIT_EVERY_MAX: Duration = Duration::from_secs(15);
const UNIT_EVERY_PART: u32 = 4;
/// A service that was started again so often while it was waited for has died for good: it ends by
/// what does not change by waiting. Fewer may be one that waits for another.
const LOOP_RESTARTS: u64 = 5;
/// How long one look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);
/// How much of the journal is reported.
const JOURNAL_LINES: &str = "30";

/// Waits until the service is healthy.
pub(super) fn wait(task: &Task<'_>, check: &HealthCheck) -> Result<Done, StepFailure> {
    let target = Target::parse(&check.probe)?;
    let began = Instant::now();
    let total = Duration::from_secs(check.timeout_s.into());
    // Systemd's answer is the dearest look.
    let dear = if matches!(target, Target::Unit) { 4 } else { 1 };
    let mut asked: Option<Instant> = None;
    let mut unit = UnitState::default();
    let mut restarts_before: Option<u64> = None;
    let mut reports = Reports::of(check);
    loop {
        let looked = reports.has_new(task).and_then(|()| look(task, check, &target));
        let looked = looked.and_then(|()| runs_anew(task, check));
        let saw = match looked {
            Ok(()) => {
                let seconds = began.elapsed().as_secs();
                return Ok(Done::unchanged(format!(
                    "{} is healthy after {seconds} s",
                    check.service
                )));
            }
            Err(saw) => saw,
        };
        let unit_every =
            (began.elapsed() / UNIT_EVERY_PART).clamp(UNIT_EVERY_FIRST, UNIT_EVERY_MAX);
        if asked.is_none_or(|at| at.elapsed() > unit_every) {
            unit = systemd::show(task, &check.service)?;
            asked = Some(Instant::now());
            // Somebody who restarts it by hand makes systemd count anew.
            let before = restarts_before.get_or_insert(unit.restarts);
            *before = unit.restarts.min(*before);
            let restarts = unit.restarts.saturating_sub(*before);
            if let Some(why) = hopeless(check, &unit).or_else(|| loops(&unit, restarts, began)) {
                return Err(unhealthy(task, check, &why));
            }
        }
        let pause = pause_after(began.elapsed()) * dear;
        if began.elapsed() + pause > total {
            unit = systemd::show(task, &check.service).unwrap_or(unit);
            let restarts = match unit.restarts {
                0 => String::new(),
                1 => ", its unit was restarted once".to_owned(),
                n => format!(", its unit was restarted {n} times"),
            };
            let seconds = check.timeout_s;
            let why = format!("was not healthy within {seconds} s: {saw}{restarts}");
            return Err(unhealthy(task, check, &why));
        }
        thread::sleep(pause);
    }
}

fn pause_after(passed: Duration) -> Duration {
    (passed / PAUSE_PART).clamp(PAUSE_FIRST, PAUSE_MAX)
}

/// What can be asked for, checked before the first look.
enum Target<'a> {
    Unit,
    Http(&'a str),
    Tcp(SocketAddr),
    Unix(&'a str),
    Listed(&'a ListedProbe),
}

impl<'a> Target<'a> {
    fn parse(probe: &'a Probe) -> Result<Self, StepFailure> {
        Ok(match probe {
            Probe::Unit => Self::Unit,
            Probe::Http(url) if url.starts_with("http://") => Self::Http(check::line("URL", url)?),
            Probe::Http(url) => return Err(refused(format_args!("`{url}` is no http URL"))),
            Probe::Tcp(address) => Self::Tcp(
                address
                    .parse()
                    .map_err(|_| refused(format_args!("`{address}` is no address with a port")))?,
            ),
            Probe::Unix(path) => Self::Unix(check::path(path)?),
            Probe::Listed(listed) => Self::Listed(listed),
        })
    }
}

/// One look; the error is what was seen in place of health.
fn look(task: &Task<'_>, check: &HealthCheck, target: &Target<'_>) -> Result<(), String> {
    match target {
        Target::Unit => {
            let unit = systemd::show(task, &check.service).map_err(|f| f.message)?;
            let state = format!("its unit is {} ({})", unit.active, unit.sub);
            if unit.is_steady() { Ok(()) } else { Err(state) }
        }
        Target::Http(url) => match http(LOOK_DEADLINE).get(*url).call() {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{url} answers {}", answer.status().as_u16())),
            Err(e) => Err(format!("{url} does not answer ({})", one_line(&chain(&e)))),
        },
        Target::Tcp(address) => TcpStream::connect_timeout(address, LOOK_DEADLINE)
            .map(drop)
            .map_err(|e| format!("{address} takes no connection ({e})")),
        Target::Unix(path) => UnixStream::connect(task.host().path(path))
            .map(drop)
            .map_err(|e| format!("/{path} takes no connection ({e})")),
        Target::Listed(listed) => look_in_list(task, listed),
    }
}

/// What a service reported before it was started anew, and whether it has reported since. No clock is
/// asked: those of two machines may differ.
struct Reports<'a> {
    /// What to look for, as long as it was not seen.
    wanted: Option<(&'a ListedProbe, &'a ReportRow)>,
    /// The time of the last report at the first look; null where there was none.
    before: Option<Value>,
}

impl<'a> Reports<'a> {
    fn of(check: &'a HealthCheck) -> Self {
        let wanted = match &check.probe {
            Probe::Listed(probe) if check.anew => probe.report.as_ref().map(|row| (&**probe, row)),
            _ => None,
        };
        Self { wanted, before: None }
    }

    /// The error is what was seen in place of a new report.
    fn has_new(&mut self, task: &Task<'_>) -> Result<(), String> {
        let Some((probe, row)) = self.wanted else { return Ok(()) };
        let rows = rows(task, probe, &row.path, &row.list)?;
        let mine = rows.iter().find(|found| row.matching.iter().all(|field| has(found, field)));
        let last = mine.and_then(|found| found.get(&row.field)).cloned().unwrap_or_default();
        let before = self.before.get_or_insert_with(|| last.clone());
        if last != *before && !last.is_null() {
            self.wanted = None;
            return Ok(());
        }
        Err(match last.as_str() {
            Some(time) => format!("its last report is that of {time}, before it was started anew"),
            None => format!("`{}` of the {} API has no report of it", row.path, probe.api),
        })
    }
}

/// A row of an API's list may say for minutes what was true before the service was started anew, and
/// Neutron's gives the present as the time of the last report. Where no report tells the two apart, the
/// service's own unit must run, and go on to; one that is another machine's is not looked at.
fn runs_anew(task: &Task<'_>, check: &HealthCheck) -> Result<(), String> {
    let is_row_alone = matches!(&check.probe, Probe::Listed(probe) if probe.report.is_none());
    if !check.anew || !is_row_alone {
        return Ok(());
    }
    let unit = systemd::show(task, &check.service).map_err(|f| f.message)?;
    if unit.is_steady() || unit.load == "not-found" {
        return Ok(());
    }
    Err(format!("it is listed as well, and its unit is {} ({})", unit.active, unit.sub))
}

fn has(row: &Value, (key, value): (&String, &Value)) -> bool {
    row.get(key) == Some(value)
}

/// The rows of a list of an API.
fn rows(
    task: &Task<'_>,
    probe: &ListedProbe,
    path: &str,
    list: &str,
) -> Result<Vec<Value>, String> {
    let tokens = &task.cloud.tokens;
    let talk = tokens.get(&probe.access).map_err(|e| e.to_string())?;
    let Some(url) = talk.endpoint(&probe.api) else {
        tokens.forget(&probe.access);
        return Err(format!("the catalogue has no internal endpoint of `{}`", probe.api));
    };
    let mut answer = talk.get(&format!("{url}{path}")).map_err(|e| {
        if e.status() == Some(401) {
            tokens.forget(&probe.access);
        }
        e.to_string()
    })?;
    Ok(match answer.get_mut(list).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => Vec::new(),
    })
}

fn look_in_list(task: &Task<'_>, probe: &ListedProbe) -> Result<(), String> {
    let rows = rows(task, probe, &probe.path, &probe.list)?;
    let mine: Vec<&Value> =
        rows.iter().filter(|row| probe.matching.iter().all(|f| has(row, f))).collect();
    if mine.iter().any(|row| probe.equal.iter().all(|f| has(row, f))) {
        return Ok(());
    }
    let Some(row) = mine.first() else {
        return Err(format!("`{}` of the {} API does not list it", probe.path, probe.api));
    };
    let seen = probe.equal.keys().map(|k| format!("{k} is {}", row.get(k).unwrap_or(&Value::Null)));
    Err(format!("`{}` lists it, but its {}", probe.path, seen.collect::<Vec<_>>().join(", ")))
}

/// Whether waiting cannot help.
fn hopeless(check: &HealthCheck, unit: &UnitState) -> Option<String> {
    // A row in a list may be of another machine's service.
    if unit.load == "not-found" {
        let elsewhere = matches!(check.probe, Probe::Listed(_));
        return (!elsewhere).then(|| "has no unit on this machine".to_owned());
    }
    if !unit.is_loaded() {
        return Some(format!("has a unit that systemd cannot use ({})", unit.load));
    }
    unit.is_failed().then(|| "has failed and is not started again".to_owned())
}

/// Whether it ends again and again, however long somebody waits.
fn loops(unit: &UnitState, restarts: u64, began: Instant) -> Option<String> {
    let seconds = began.elapsed().as_secs();
    (restarts >= LOOP_RESTARTS && !unit.is_steady()).then(|| {
        format!("ends again and again: it was started again {restarts} times in {seconds} s")
    })
}

fn unhealthy(task: &Task<'_>, check: &HealthCheck, why: &str) -> StepFailure {
    let unit = format!("{}.service", check.service);
    let call = Call::new(
        "journalctl",
        Duration::from_secs(60),
        ["--unit", &unit, "--lines", JOURNAL_LINES, "--output", "cat", "--no-pager", "--quiet"],
    );
    let lines = task.run(&call).map(|ended| ended.stdout).unwrap_or_default();
    let mask = Mask::of_service(task.host(), &check.service);
    for line in lines.lines() {
        task.log.say(format_args!("{}: {}", check.service, mask.apply(line)));
    }
    let said = health::bounded_lines(lines.lines().map(|line| mask.apply(line)));
    let failed = failure(StepFailureKind::Unhealthy, format_args!("{} {why}", check.service));
    StepFailure { said, ..failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_soon_is_looked_at_often_and_what_takes_long_is_not() {
        let after = |ms| pause_after(Duration::from_millis(ms)).as_millis();
        assert_eq!(
            [after(0), after(2_000), after(8_000), after(3_600_000)],
            [250, 250, 1000, 2000]
        );
    }
}
