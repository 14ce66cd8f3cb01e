//! systemd, by `systemctl`. Each call costs up to a second on an emulated machine, `daemon-reload`
//! most: requests for it that come while one runs share the next one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use undercloud_model::agent::{StepFailure, cloud::ServiceName};

use super::{Call, Task};

/// How long systemd may take for an answer.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long services may take to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(300);

/// For how long a unit must have been active.
const STEADY: Duration = Duration::from_secs(5);

/// A unit as systemd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnitState {
    /// `loaded`, `not-found`, `bad-setting`.
    pub(super) load: String,
    /// `active`, `activating`, `inactive`, `failed`.
    pub(super) active: String,
    /// `running`, `auto-restart`.
    pub(super) sub: String,
    /// How often it was restarted by itself.
    pub(super) restarts: u64,
    /// Since when it is active, in microseconds of the monotonic clock.
    active_since_us: u64,
    /// When it changed last, on the same clock.
    changed_us: u64,
    /// Its file is newer than what systemd knows.
    pub(super) stale: bool,
}

impl UnitState {
    pub(super) fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// Runs, and for long enough: a service that ends at once and is started again is active in
    /// between, since podman has then started its container.
    pub(super) fn is_steady(&self) -> bool {
        self.active == "active" && self.active_for() >= STEADY
    }

    /// For how long it is active, where it is.
    pub(super) fn active_for(&self) -> Duration {
        since(self.active_since_us)
    }

    /// Since when it is what it is; no time for a unit that never was anything else.
    pub(super) fn unchanged_for(&self) -> Duration {
        if self.changed_us == 0 { Duration::ZERO } else { since(self.changed_us) }
    }

    /// It will not come up by itself any more.
    pub(super) fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|l| l.split_once('='));
            lines.find(|(k, _)| *k == key).map(|(_, v)| v.trim()).unwrap_or_default()
        };
        Self {
            load: value("LoadState").into(),
            active: value("ActiveState").into(),
            sub: value("SubState").into(),
            restarts: value("NRestarts").parse().unwrap_or(0),
            active_since_us: value("ActiveEnterTimestampMonotonic").parse().unwrap_or(0),
            changed_us: value("StateChangeTimestampMonotonic").parse().unwrap_or(0),
            stale: value("NeedDaemonReload") == "yes",
        }
    }
}

fn since(monotonic_us: u64) -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let now_us = u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000_000);
    Duration::from_micros(now_us.saturating_sub(monotonic_us))
}

/// What systemd knows of a service's unit.
pub(super) fn show(task: &Task<'_>, service: &ServiceName) -> Result<UnitState, StepFailure> {
    let properties = "--property=LoadState,ActiveState,SubState,NRestarts,NeedDaemonReload,\
                      ActiveEnterTimestampMonotonic";
    let unit = format!("{service}.service");
    let call = Call::new("systemctl", DEADLINE, ["show", properties, &unit]);
    Ok(UnitState::parse(&task.must(&call)?.stdout))
}

/// What systemd knows of all these units, in one call. Those that it does not have are left out.
pub(super) fn show_all(
    task: &Task<'_>,
    services: &[ServiceName],
) -> Result<Vec<(ServiceName, UnitState)>, StepFailure> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let properties = "--property=Id,LoadState,ActiveState,SubState,NRestarts,\
                      ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic";
    let units = services.iter().map(|service| format!("{service}.service"));
    let arguments = ["show".to_owned(), properties.to_owned()].into_iter().chain(units);
    let text = task.must(&Call::new("systemctl", DEADLINE, arguments))?.stdout;
    let one = |block: &str| {
        let id = block.lines().find_map(|line| line.strip_prefix("Id="))?;
        let name = services.iter().find(|s| id.strip_suffix(".service") == Some(s.as_str()))?;
        let unit = UnitState::parse(block);
        unit.is_loaded().then(|| (name.clone(), unit))
    };
    Ok(text.split("\n\n").filter_map(one).collect())
}

/// Begins to start a service that does not run.
pub(super) fn start(task: &Task<'_>, service: &ServiceName) -> Result<(), StepFailure> {
    begin(task, "start", service)
}

/// Begins to restart a service, or to start it.
pub(super) fn restart(task: &Task<'_>, service: &ServiceName) -> Result<(), StepFailure> {
    begin(task, "restart", service)
}

fn begin(task: &Task<'_>, verb: &str, service: &ServiceName) -> Result<(), StepFailure> {
    let unit = format!("{service}.service");
    task.must(&Call::new("systemctl", DEADLINE, [verb, "--no-block", &unit])).map(drop)
}

/// Stops services and waits for it.
pub(super) fn stop(task: &Task<'_>, services: &[ServiceName]) -> Result<(), StepFailure> {
    let units = services.iter().map(|s| format!("{s}.service"));
    let arguments = std::iter::once("stop".to_owned()).chain(units);
    task.must(&Call::new("systemctl", STOP_DEADLINE, arguments)).map(drop)
}

/// Forgets that a service failed.
pub(super) fn reset_failed(task: &Task<'_>, service: &ServiceName) -> Result<(), StepFailure> {
    let unit = format!("{service}.service");
    task.must(&Call::new("systemctl", DEADLINE, ["reset-failed", &unit])).map(drop)
}

/// Who asked for `daemon-reload`, and who was served.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    asked: Mutex<u64>,
    /// The last request that a reload began after. Held while one runs.
    served: Mutex<u64>,
}

impl Reloads {
    /// Makes systemd read its units, unless that began after this call anyway.
    pub(super) fn reload(&self, task: &Task<'_>) -> Result<(), StepFailure> {
        let ticket = {
            let mut asked = lock(&self.asked);
            *asked += 1;
            *asked
        };
        let mut served = lock(&self.served);
        if *served >= ticket {
            return Ok(());
        }
        let covers = *lock(&self.asked);
        task.must(&Call::new("systemctl", DEADLINE, ["daemon-reload"]))?;
        *served = covers;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_s_state_is_read() {
        let text = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n\
                    NRestarts=4\nNeedDaemonReload=yes\n";
        let state = UnitState::parse(text);
        assert!(state.is_loaded() && !state.is_steady() && !state.is_failed() && state.stale);
        assert_eq!((state.restarts, state.sub.as_str()), (4, "auto-restart"));
        assert_eq!(UnitState::parse(""), UnitState::default());
        let active = |since| format!("ActiveState=active\nActiveEnterTimestampMonotonic={since}\n");
        assert!(UnitState::parse(&active(0)).is_steady());
        assert!(!UnitState::parse(&active(u64::MAX)).is_steady());
    }
}
