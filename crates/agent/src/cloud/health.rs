//! How the machine is, for the heartbeat: the units of the cloud's services, room, memory.
//!
//! It is looked at on a thread of its own, since `systemctl` takes up to a second on an emulated
//! machine; one call asks for all units. What was seen last goes with each poll.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{stat, statvfs},
    time::{ClockId, clock_gettime},
};
use undercloud_model::agent::{
    cloud::ServiceName,
    health::{
        MachineHealth, Memory, RECENT_S, Room, SAID_LINES_MAX, SERVICES_MAX, ServiceHealth,
        UnitState, bounded_lines,
    },
};

use super::{Call, Cloud, OURS, Task, apply_service::places, mask::Mask, systemd};
use crate::log::Log;

/// Between two looks, at least and at most.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// In between, so many times as long as a look took.
const PAUSE_TIMES: u32 = 15;
/// For the journal of one service.
const JOURNAL_DEADLINE: Duration = Duration::from_secs(20);
/// So many services are quoted in one look; a machine on which all fail has one cause.
const QUOTED_MAX: usize = 6;
/// Where the cloud writes.
const WRITTEN: [&str; 3] = ["", "var", "var/lib/overcloud"];

/// How the machine was when it was looked at last. Copies are the same; when the last one is gone,
/// nobody looks any more.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    seen: Seen,
    /// Hung up by its end.
    _wanted: Option<mpsc::Sender<()>>,
}

type Seen = Arc<Mutex<Option<MachineHealth>>>;

impl Latest {
    /// What was seen, with the time of now; nothing before the first look.
    pub fn now(&self) -> Option<MachineHealth> {
        let health = lock(&self.seen).clone()?;
        Some(MachineHealth { clock_ms: now_ms(), ..health })
    }
}

fn lock(seen: &Seen) -> MutexGuard<'_, Option<MachineHealth>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// Looks at the machine on a thread of its own, as long as anybody wants to know.
pub(crate) fn watch(cloud: Arc<Cloud>, log: &Log) -> Latest {
    let (wanted, end) = mpsc::channel();
    let latest = Latest { seen: Seen::default(), _wanted: Some(wanted) };
    let (seen, quiet) = (latest.seen.clone(), log.fork());
    let work = move || {
        let mut history = History::default();
        loop {
            let began = Instant::now();
            let health = look(&Task { cloud: &cloud, log: &quiet }, &mut history, began);
            *lock(&seen) = Some(health);
            // What a look said belongs to no report.
            drop(quiet.take());
            let pause = (began.elapsed() * PAUSE_TIMES).clamp(PAUSE_MIN, PAUSE_MAX);
            if end.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("health".into()).spawn(work) {
        // The heartbeat goes on without it.
        log.say(format_args!("nobody looks how the machine is: {error}"));
    }
    latest
}

/// How often each service had been restarted, and when that was seen.
#[derive(Debug, Default)]
struct History(BTreeMap<ServiceName, VecDeque<(Instant, u64)>>);

impl History {
    /// How often the service was restarted of late, now that it was `restarts` times in all.
    fn recent(&mut self, service: &ServiceName, restarts: u64, now: Instant) -> u32 {
        let seen = self.0.entry(service.clone()).or_default();
        // Somebody restarted it: systemd counts anew.
        if seen.back().is_some_and(|(_, before)| *before > restarts) {
            seen.clear();
            seen.push_back((now, 0));
        }
        seen.push_back((now, restarts));
        let window = Duration::from_secs(RECENT_S);
        while seen.len() > 1 && seen.front().is_some_and(|(at, _)| now.duration_since(*at) > window)
        {
            seen.pop_front();
        }
        let first = seen.front().map_or(restarts, |(_, first)| *first);
        u32::try_from(restarts.saturating_sub(first)).unwrap_or(u32::MAX)
    }
}

fn look(task: &Task<'_>, history: &mut History, now: Instant) -> MachineHealth {
    let names = services(task);
    // Where systemd cannot be asked, nothing is said of any service: that is no answer, not an ill one.
    let units = systemd::show_all(task, &names).unwrap_or_default();
    history.0.retain(|name, _| names.contains(name));
    let mut quoted = 0;
    let services = units.into_iter().map(|(name, unit)| {
        let restarts = history.recent(&name, unit.restarts, now);
        let state = state(&unit.active);
        let active_s = match state {
            UnitState::Active => unit.active_for().as_secs(),
            UnitState::Inactive => unit.unchanged_for().as_secs(),
            UnitState::Activating
            | UnitState::Deactivating
            | UnitState::Failed
            | UnitState::Other => 0,
        };
        let is_ill = state == UnitState::Failed || (restarts > 0 && active_s < RECENT_S);
        let said = if is_ill && quoted < QUOTED_MAX {
            quoted += 1;
            said(task, &name)
        } else {
            Vec::new()
        };
        ServiceHealth { name, state, restarts, active_s, said }
    });
    let services = services.collect();
    MachineHealth { clock_ms: now_ms(), services, disks: rooms(task), memory: memory(task) }
}

/// Those that we made units of.
fn services(task: &Task<'_>) -> Vec<ServiceName> {
    let host = task.host();
    let ours = |name: &String| {
        let path = format!("{}/{name}", places::UNITS);
        host.text(path).is_ok_and(|text| text.starts_with(OURS))
    };
    let names = host.names(places::UNITS).into_iter().filter(ours);
    names.filter_map(|n| n.strip_suffix(".container")?.parse().ok()).take(SERVICES_MAX).collect()
}

fn state(active: &str) -> UnitState {
    match active {
        "active" => UnitState::Active,
        "activating" => UnitState::Activating,
        "deactivating" => UnitState::Deactivating,
        "inactive" => UnitState::Inactive,
        "failed" => UnitState::Failed,
        _ => UnitState::Other,
    }
}

/// The service's last lines, without its secrets.
pub(super) fn said(task: &Task<'_>, service: &ServiceName) -> Vec<String> {
    let unit = format!("{service}.service");
    // What it said itself, not what systemd says of it.
    let lines = (SAID_LINES_MAX * 3).to_string();
    let call = Call::new(
        "journalctl",
        JOURNAL_DEADLINE,
        ["--unit", &unit, "--lines", &lines, "--output", "cat", "--no-pager", "--quiet"],
    );
    let ended = task.run(&call).unwrap_or_default();
    let mask = Mask::of_service(task.host(), service);
    bounded_lines(ended.stdout.lines().filter(|l| !of_systemd(l)).map(|line| mask.apply(line)))
}

/// Lines of systemd and podman about a unit that ends and is started again: there are more of them than of the
/// service's own, and they say nothing about why.
fn of_systemd(line: &str) -> bool {
    // Podman tells of the container's life in the unit's journal, too.
    let of_podman = line.starts_with("conmon ")
        || (line.contains(" container ") && line.contains("PODMAN_SYSTEMD_UNIT="));
    let begins = ["Started ", "Starting ", "Stopped ", "Stopping "];
    let unit = ["Scheduled restart job", "Main process exited", "Failed with result", "Consumed "];
    of_podman
        || begins.iter().any(|word| line.starts_with(word))
        || unit.iter().any(|word| line.contains(&format!(".service: {word}")))
}

fn rooms(task: &Task<'_>) -> Vec<Room> {
    let mut devices = Vec::new();
    let rooms = WRITTEN.iter().filter_map(|path| {
        let at = task.host().path(path);
        let device = stat(&at).ok()?.st_dev;
        if devices.contains(&device) {
            return None;
        }
        devices.push(device);
        let found = statvfs(&at).ok()?;
        Some(Room {
            path: format!("/{path}"),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    });
    rooms.collect()
}

/// `/proc/meminfo`, in KiB (proc_meminfo(5)).
fn memory(task: &Task<'_>) -> Option<Memory> {
    let text = task.host().text("proc/meminfo").ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory { available_bytes: bytes("MemAvailable")?, total_bytes: bytes("MemTotal")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::{Ended, Programs};

    #[test]
    fn restarts_are_counted_while_they_are_recent() {
        let (mut history, name) = (History::default(), "mariadb".parse().unwrap());
        let start = Instant::now();
        let mut at = |s: u64, n: u64| history.recent(&name, n, start + Duration::from_secs(s));
        // How often it was restarted before anybody looked is history.
        assert_eq!(at(0, 40), 0);
        assert_eq!(at(10, 42), 2);
        assert_eq!(at(20, 45), 5);
        assert_eq!(at(RECENT_S + 15, 45), 0);
        // Restarted by hand, and twice by itself since.
        assert_eq!(at(RECENT_S + 25, 2), 2);
    }

    /// A machine's systemd and journal.
    #[derive(Debug)]
    struct Sick(Mutex<Vec<String>>);

    impl Programs for Sick {
        fn run(&self, call: &Call) -> std::io::Result<Ended> {
            self.0.lock().unwrap().push(call.shown());
            Ok(Ended::good(match call.program {
                "systemctl" => {
                    "Id=keystone.service\nLoadState=loaded\nActiveState=active\nNRestarts=0\n\
                     ActiveEnterTimestampMonotonic=1\n\nId=mariadb.service\nLoadState=loaded\n\
                     ActiveState=failed\nNRestarts=4\n\nId=retired.service\nLoadState=not-found\n"
                }
                _ => {
                    "Started mariadb.service - MariaDB.\n[ERROR] AAAAbbbbCCCCddddEEEEffff is wrong\n\
                     mariadb.service: Scheduled restart job, restart counter is at 4.\n"
                }
            }))
        }
    }

    #[test]
    fn one_call_asks_for_all_and_who_is_ill_is_quoted_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for name in ["keystone", "mariadb", "retired"] {
            write(&format!("{}/{name}.container", places::UNITS), OURS);
        }
        write(&format!("{}/someone-elses.container", places::UNITS), "[Container]");
        write("etc/undercloud/services/mariadb/etc/x", "password = AAAAbbbbCCCCddddEEEEffff");
        write("proc/meminfo", "MemTotal:       8000 kB\nMemAvailable:    100 kB\n");
        let identity = serde_json::json!({
            "protocol": 2, "api": "https://192.168.24.1:8443", "name": "c", "key": "k", "ca_pem": "",
            "node": "00000000-0000-0000-0000-000000000001",
        });
        let programs = Arc::new(Sick(Mutex::default()));
        let identity = serde_json::from_value(identity).unwrap();
        let cloud = Cloud::new(crate::sys::Host::below(dir.path()), identity, programs.clone());
        let log = Log::new(Vec::new());
        let task = Task { cloud: &cloud, log: &log };
        let health = look(&task, &mut History::default(), Instant::now());
        let [keystone, mariadb] = health.services.as_slice() else { panic!("{health:?}") };
        assert_eq!((keystone.state, keystone.said.len()), (UnitState::Active, 0));
        assert_eq!((mariadb.state, mariadb.restarts), (UnitState::Failed, 0));
        assert_eq!(mariadb.said, ["[ERROR] *** is wrong"]);
        let memory = Memory { available_bytes: 100 << 10, total_bytes: 8000 << 10 };
        assert_eq!(health.memory, Some(memory));
        // One file system, whatever is on it.
        assert_eq!(health.disks.len(), 1);
        assert!(health.disks[0].total_bytes > 0 && health.disks[0].path == "/");
        let calls = programs.0.lock().unwrap();
        let asked = calls.iter().filter(|call| call.starts_with("systemctl")).count();
        assert_eq!((asked, calls.len()), (1, 2), "{calls:?}");
        let seen = Arc::new(Mutex::new(Some(MachineHealth { clock_ms: 0, ..health })));
        let latest = Latest { seen, ..Latest::default() };
        assert!(latest.now().unwrap().clock_ms > 0, "the time is that of the heartbeat");
    }

    #[test]
    fn what_systemd_says_is_told_from_what_the_service_says() {
        let systemd = [
            "mariadb.service: Scheduled restart job, restart counter is at 7.",
            "mariadb.service: Main process exited, code=exited, status=1/FAILURE",
            "mariadb.service: Failed with result 'exit-code'.",
            "Started mariadb.service - MariaDB: the database of every other service.",
            "conmon ed0efd32a0c086fea03b <nwarn>: Failed to open cgroups file: /sys/fs/cgroup/x",
            "2026-11-29 15:38:55 +0000 UTC m=+0.06 container died ed0efd32 (image=localhost/mariadb, \
             PODMAN_SYSTEMD_UNIT=mariadb.service)",
        ];
        assert!(systemd.into_iter().all(of_systemd));
        assert!(!of_systemd("2026-01-01 [ERROR] Can't init tc log"));
    }
}
