//! What can be wrong with an installed cloud, and when it is over: a judgement on what machines
//! say of themselves. Pure: it is given what is known to be wrong already, and the time.
//!
//! ```text
//!            ill                       ill, of another kind
//! well ─────────────► open, since ──────────────────────────► open, since
//!   ▲                    │  ill, of the same kind, or unsure: no news
//!   └────── well ────────┘
//! ```
//! Between ill and well there is room in which nothing changes, so that what moves about a limit is
//! one event and not a hundred.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    NodeName, UnixMillis,
    agent::{
        cloud::ServiceName,
        health::{MachineHealth, Memory, RECENT_S, Room, ServiceHealth, UnitState},
    },
};

/// So many restarts of late are a loop: one is an accident.
const LOOP_RESTARTS: u32 = 3;
/// A service that has been active for this long has come up.
const STEADY_S: u64 = 30;
/// Room below this is none: the smaller of a part of the disk and this much, but not less than that.
const ROOM_PART: u64 = 50;
const ROOM_MAX: u64 = 2 << 30;
const ROOM_MIN: u64 = 256 << 20;
/// Memory below this part of all is none.
const MEMORY_PART: u64 = 33;
/// A clock that is off by more makes tokens and certificates invalid; one that is off by less than
/// the second may only be a heartbeat that was late.
const CLOCK_OFF_MS: u64 = 10_000;
const CLOCK_RIGHT_MS: u64 = 5_000;

/// What it is about: there is at most one ailment of each on a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A service of the machine.
    Service(ServiceName),
    /// The file system at this path.
    Disk(String),
    /// The machine's memory.
    Memory,
    /// Its clock.
    Clock,
    /// Its agent.
    Agent,
    /// The cloud's Keystone, as the daemon meets it.
    Keystone,
    /// The certificate of one machine, by its purpose.
    Certificate(String),
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ailment {
    /// A service ends again and again.
    RestartLoop {
        /// Which.
        service: ServiceName,
        /// How often of late.
        restarts: u32,
    },
    /// A service failed, and systemd does not start it again.
    Failed {
        /// Which.
        service: ServiceName,
    },
    /// A service was stopped.
    Stopped {
        /// Which.
        service: ServiceName,
    },
    /// A disk is full.
    DiskFull {
        /// Where it is mounted.
        path: String,
        /// What is free.
        free_bytes: u64,
        /// Of all.
        total_bytes: u64,
    },
    /// There is no memory.
    NoMemory {
        /// What is available.
        available_bytes: u64,
        /// Of all.
        total_bytes: u64,
    },
    /// The clock is off.
    ClockOff {
        /// By so much; positive is ahead.
        by_ms: i64,
    },
    /// The agent does not call.
    Silent {
        /// For so long.
        seconds: i64,
    },
    /// The machine is switched off.
    Off,
    /// Its agent speaks a version of the protocol that is not understood.
    OtherVersion {
        /// The agent's.
        theirs: u32,
        /// Those that are.
        ours: String,
    },
    /// Keystone does not take the password of the cloud's administrator.
    PasswordRefused {
        /// What it said.
        answer: String,
    },
    /// Keystone does not answer.
    NoAnswer {
        /// In the words of whoever asked.
        reason: String,
    },
    /// A certificate ends soon, or has.
    CertificateEnds {
        /// What for.
        purpose: String,
        /// In so many days.
        days: i64,
    },
}

/// What a look at one subject found. What is not found out is not in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is ill.
    Ill {
        /// How.
        ailment: Ailment,
        /// What the service said last.
        said: Vec<String>,
    },
    /// It is well.
    Well(Subject),
}

impl Verdict {
    /// Ill, and nobody has words for it.
    pub fn ill(ailment: Ailment) -> Self {
        Self::Ill { ailment, said: Vec::new() }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Ill { ailment, .. } => ailment.subject(),
            Self::Well(subject) => subject.clone(),
        }
    }
}

impl Ailment {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::RestartLoop { service, .. }
            | Self::Failed { service }
            | Self::Stopped { service } => Subject::Service(service.clone()),
            Self::DiskFull { path, .. } => Subject::Disk(path.clone()),
            Self::NoMemory { .. } => Subject::Memory,
            Self::ClockOff { .. } => Subject::Clock,
            Self::Silent { .. } | Self::Off | Self::OtherVersion { .. } => Subject::Agent,
            Self::PasswordRefused { .. } | Self::NoAnswer { .. } => Subject::Keystone,
            Self::CertificateEnds { purpose, .. } => Subject::Certificate(purpose.clone()),
        }
    }

    /// The service that it is of.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::RestartLoop { service, .. }
            | Self::Failed { service }
            | Self::Stopped { service } => Some(service),
            Self::DiskFull { .. }
            | Self::NoMemory { .. }
            | Self::ClockOff { .. }
            | Self::Silent { .. }
            | Self::Off
            | Self::OtherVersion { .. }
            | Self::PasswordRefused { .. }
            | Self::NoAnswer { .. }
            | Self::CertificateEnds { .. } => None,
        }
    }

    /// Whether it is the same as before, whatever its figures are now.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.subject() == other.subject()
    }

    /// What is wrong, without the machine's name.
    pub fn sentence(&self) -> String {
        let mib = |bytes: &u64| bytes >> 20;
        match self {
            Self::RestartLoop { service, restarts } => format!(
                "{service} ends again and again: it was started {restarts} times in {RECENT_S} s"
            ),
            Self::Failed { service } => format!("{service} failed and is not started again"),
            Self::Stopped { service } => format!("{service} was stopped"),
            Self::DiskFull { path, free_bytes, total_bytes } => format!(
                "the disk of {path} is full: {} MiB of {} MiB are free",
                mib(free_bytes),
                mib(total_bytes)
            ),
            Self::NoMemory { available_bytes, total_bytes } => format!(
                "there is no memory: {} MiB of {} MiB are available",
                mib(available_bytes),
                mib(total_bytes)
            ),
            Self::ClockOff { by_ms } => {
                let way = if *by_ms > 0 { "ahead" } else { "behind" };
                format!("the clock is {} s {way}", by_ms.unsigned_abs() / 1000)
            }
            Self::Silent { seconds } => format!("the agent has not called for {seconds} s"),
            Self::Off => "the machine is switched off".to_owned(),
            Self::OtherVersion { theirs, ours } => {
                format!("the agent speaks version {theirs} of the protocol, this daemon {ours}")
            }
            Self::PasswordRefused { answer } => format!(
                "Keystone does not take the password of `admin`: somebody changed it ({answer})"
            ),
            Self::NoAnswer { reason } => format!("Keystone does not answer: {reason}"),
            Self::CertificateEnds { purpose, days: days @ 1.. } => {
                format!("the certificate for {purpose} ends in {days} days")
            }
            Self::CertificateEnds { purpose, .. } => {
                format!("the certificate for {purpose} has ended")
            }
        }
    }

    /// What to do, where no cause is known. `machine` is none for what is the cloud's.
    pub fn remedy(&self, machine: Option<&NodeName>) -> String {
        let machine = machine.map_or("MACHINE", NodeName::as_str);
        match self {
            Self::RestartLoop { service, .. } | Self::Failed { service } => format!(
                "undercloud ssh {machine} journalctl -u {service} has all that it said; what was \
                 changed by hand is put back by `undercloud cloud install`"
            ),
            Self::Stopped { .. } => "`undercloud cloud install` starts it".to_owned(),
            Self::DiskFull { path, .. } => format!(
                "undercloud ssh {machine} du -xh --max-depth=3 {path} shows what takes it: remove \
                 what is not needed; the services go on by themselves"
            ),
            Self::NoMemory { .. } => format!(
                "undercloud ssh {machine} ps aux --sort=-rss shows who has it; fewer servers, or \
                 more memory for the machine"
            ),
            Self::ClockOff { .. } => format!(
                "undercloud ssh {machine} timedatectl set-ntp true, and a time server that it \
                 reaches"
            ),
            Self::Silent { .. } => format!(
                "undercloud ssh {machine} systemctl status undercloud-agent; undercloud node agent \
                 restore {machine} puts it back; its console shows whether it runs at all"
            ),
            Self::Off => format!("undercloud node power on {machine}"),
            Self::OtherVersion { .. } => format!(
                "undercloud image build, then undercloud node undeploy {machine} and undercloud \
                 cloud install: the machine gets the agent of this version; or go back to the \
                 daemon's version before"
            ),
            Self::PasswordRefused { .. } => {
                "set it back to the one in overcloudrc: log in with the one that it has now, and `openstack \
                 user set --password PASSWORD admin`"
                    .to_owned()
            }
            Self::NoAnswer { .. } => {
                "`undercloud cloud install` looks at every service and mends what it can".to_owned()
            }
            Self::CertificateEnds { .. } => "`undercloud cloud install` renews it".to_owned(),
        }
    }
}

/// What a well subject is called when it is over.
pub fn over(subject: &Subject) -> String {
    match subject {
        Subject::Service(service) => format!("{service} runs again"),
        Subject::Disk(path) => format!("the disk of {path} has room again"),
        Subject::Memory => "there is memory again".to_owned(),
        Subject::Clock => "the clock is right again".to_owned(),
        Subject::Agent => "the agent calls again".to_owned(),
        Subject::Keystone => "Keystone answers again, with the password that we have".to_owned(),
        Subject::Certificate(purpose) => format!("the certificate for {purpose} was renewed"),
    }
}

/// Judges what a machine said of itself at `now`. `open` are the subjects that are known to be ill.
pub fn judge(health: &MachineHealth, open: &BTreeSet<Subject>, now: UnixMillis) -> Vec<Verdict> {
    let services = health.services.iter().filter_map(service);
    let disks = health
        .disks
        .iter()
        .filter_map(|room| disk(room, open.contains(&Subject::Disk(room.path.clone()))));
    let memory = health.memory.as_ref().and_then(memory);
    let calls = Verdict::Well(Subject::Agent);
    let mut found: Vec<Verdict> = services.chain(disks).chain(memory).collect();
    found.extend(clock(health.clock_ms, now));
    found.push(calls);
    // A service that was retired has no row any more, and is no trouble either.
    let has = |name: &ServiceName| health.services.iter().any(|s| s.name == *name);
    found.extend(open.iter().filter_map(|subject| match subject {
        Subject::Service(name) if !has(name) => Some(Verdict::Well(subject.clone())),
        Subject::Service(_)
        | Subject::Disk(_)
        | Subject::Memory
        | Subject::Clock
        | Subject::Agent
        | Subject::Keystone
        | Subject::Certificate(_) => None,
    }));
    found
}

fn service(health: &ServiceHealth) -> Option<Verdict> {
    let service = health.name.clone();
    let ill = |ailment| Some(Verdict::Ill { ailment, said: health.said.clone() });
    match health.state {
        UnitState::Failed => ill(Ailment::Failed { service }),
        UnitState::Active if health.active_s >= STEADY_S => {
            Some(Verdict::Well(Subject::Service(service)))
        }
        _ if health.restarts >= LOOP_RESTARTS => {
            ill(Ailment::RestartLoop { service, restarts: health.restarts })
        }
        // One that is being installed has its unit before it is started.
        UnitState::Inactive if health.active_s >= STEADY_S => ill(Ailment::Stopped { service }),
        UnitState::Active
        | UnitState::Activating
        | UnitState::Deactivating
        | UnitState::Inactive
        | UnitState::Other => None,
    }
}

fn disk(room: &Room, is_open: bool) -> Option<Verdict> {
    let &Room { free_bytes, total_bytes, .. } = room;
    if total_bytes == 0 {
        return None;
    }
    let path = room.path.clone();
    // A small disk may be smaller than what we would like to be free.
    let least = (total_bytes / ROOM_PART).clamp(ROOM_MIN, ROOM_MAX).min(total_bytes / 4);
    if free_bytes < least {
        return Some(Verdict::ill(Ailment::DiskFull { path, free_bytes, total_bytes }));
    }
    let is_well = !is_open || free_bytes >= least.saturating_add(least / 2);
    is_well.then_some(Verdict::Well(Subject::Disk(path)))
}

fn memory(memory: &Memory) -> Option<Verdict> {
    let &Memory { available_bytes, total_bytes } = memory;
    let least = total_bytes / MEMORY_PART;
    if total_bytes == 0 {
        return None;
    }
    if available_bytes < least {
        return Some(Verdict::ill(Ailment::NoMemory { available_bytes, total_bytes }));
    }
    (available_bytes >= least.saturating_mul(2)).then_some(Verdict::Well(Subject::Memory))
}

fn clock(there_ms: UnixMillis, now: UnixMillis) -> Option<Verdict> {
    let by_ms = there_ms.saturating_sub(now);
    match by_ms.unsigned_abs() {
        CLOCK_OFF_MS.. => Some(Verdict::ill(Ailment::ClockOff { by_ms })),
        0..CLOCK_RIGHT_MS => Some(Verdict::Well(Subject::Clock)),
        CLOCK_RIGHT_MS.. => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn of(services: Vec<ServiceHealth>) -> MachineHealth {
        MachineHealth { clock_ms: NOW, services, disks: Vec::new(), memory: None }
    }

    fn mariadb(state: UnitState, restarts: u32, active_s: u64) -> ServiceHealth {
        let said = vec!["Can't init tc log".to_owned()];
        ServiceHealth { name: "mariadb".parse().unwrap(), state, restarts, active_s, said }
    }

    fn verdict(service: ServiceHealth) -> Option<Verdict> {
        let subject = Subject::Service("mariadb".parse().unwrap());
        let found = judge(&of(vec![service]), &BTreeSet::new(), NOW);
        found.into_iter().find(|verdict| verdict.subject() == subject)
    }

    #[test]
    fn a_service_that_loops_is_told_from_one_that_was_restarted_once() {
        use UnitState as U;
        assert_eq!(verdict(mariadb(U::Activating, 1, 0)), None);
        assert_eq!(verdict(mariadb(U::Active, 1, 5)), None);
        let looping = verdict(mariadb(U::Active, 7, 2)).unwrap();
        let Verdict::Ill { ailment, said } = looping else { panic!("{looping:?}") };
        assert_eq!(said, ["Can't init tc log"]);
        assert_eq!(
            ailment.sentence(),
            "mariadb ends again and again: it was started 7 times in 120 s"
        );
        // It came up: how often it did not before is history.
        assert!(matches!(verdict(mariadb(U::Active, 7, STEADY_S)), Some(Verdict::Well(_))));
        let failed = verdict(mariadb(U::Failed, 0, 0)).unwrap();
        assert!(matches!(failed, Verdict::Ill { ailment: Ailment::Failed { .. }, .. }));
        assert_eq!(verdict(mariadb(U::Inactive, 0, 0)), None);
        let stopped = verdict(mariadb(U::Inactive, 0, STEADY_S)).unwrap();
        assert!(matches!(stopped, Verdict::Ill { ailment: Ailment::Stopped { .. }, .. }));
    }

    #[test]
    fn a_service_that_is_gone_is_no_trouble() {
        let subject = Subject::Service("mariadb".parse().unwrap());
        let found = judge(&of(Vec::new()), &BTreeSet::from([subject.clone()]), NOW);
        assert!(found.contains(&Verdict::Well(subject)), "{found:?}");
    }

    #[test]
    fn a_disk_at_its_limit_does_not_flap() {
        let room = |free_mib: u64| Room {
            path: "/".into(),
            free_bytes: free_mib << 20,
            total_bytes: 10 << 30,
        };
        let is_ill = |verdict: Option<Verdict>| verdict.map(|v| matches!(v, Verdict::Ill { .. }));
        assert_eq!(is_ill(disk(&room(255), false)), Some(true));
        assert_eq!(is_ill(disk(&room(257), true)), None);
        assert_eq!(is_ill(disk(&room(257), false)), Some(false));
        assert_eq!(is_ill(disk(&room(400), true)), Some(false));
        // No limit above what a small disk has at all.
        let small = Room { path: "/".into(), free_bytes: 90 << 20, total_bytes: 300 << 20 };
        assert_eq!(is_ill(disk(&small, false)), Some(false));
    }

    #[test]
    fn a_late_heartbeat_is_no_wrong_clock() {
        assert!(matches!(clock(NOW - 3_000, NOW), Some(Verdict::Well(_))));
        assert_eq!(clock(NOW - 7_000, NOW), None);
        let Some(Verdict::Ill { ailment, .. }) = clock(NOW + 90_000, NOW) else { panic!() };
        assert_eq!(ailment.sentence(), "the clock is 90 s ahead");
    }

    proptest! {
        #[test]
        fn no_subject_is_both_ill_and_well(
            clock_ms: i64, now: i64, free: u64, total: u64, restarts: u32, active_s: u64,
            is_open: bool,
        ) {
            let health = MachineHealth {
                clock_ms,
                services: vec![mariadb(UnitState::Active, restarts, active_s)],
                disks: vec![Room { path: "/".into(), free_bytes: free, total_bytes: total }],
                memory: Some(Memory { available_bytes: free, total_bytes: total }),
            };
            let open = [Subject::Disk("/".into()), Subject::Service("x".parse().unwrap())];
            let open: BTreeSet<Subject> = open.into_iter().filter(|_| is_open).collect();
            let found = judge(&health, &open, now);
            let subjects: BTreeSet<Subject> = found.iter().map(Verdict::subject).collect();
            prop_assert_eq!(subjects.len(), found.len());
            for verdict in &found {
                if let Verdict::Ill { ailment, .. } = verdict {
                    prop_assert!(ailment.is_like(ailment) && !ailment.sentence().is_empty());
                    prop_assert!(!ailment.remedy(None).is_empty());
                }
            }
        }
    }
}
