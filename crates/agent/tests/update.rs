//! An agent that becomes the daemon's build: the daemon over real TLS, the machine a directory, its
//! programs a function. Which agent runs is what `proc/self/exe` holds.

#![allow(clippy::unwrap_used, reason = "a test program")]

#[allow(dead_code, reason = "other tests need the rest")]
mod support;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{Answer, Daemon, Machine, Request};
use undercloud_agent::{
    client::Client,
    cloud::{Call, Cloud, Ended, Latest, Programs, guard},
    log::Log,
    session::{Rhythm, Session, System},
    steps::{Executor, Place},
};
use undercloud_image::digest_of;
use undercloud_model::agent::{
    Outcome, PROTOCOL_VERSION, StepFailureKind, StepResult, cloud::Converged,
};

const ID: &str = "11111111-2222-4333-8444-555555555555";
const PROGRAM: &str = "usr/sbin/undercloud-agent";
const NEW: &str = "usr/sbin/.undercloud-agent.new";
const KEPT: &str = "usr/sbin/undercloud-agent.kept";
const RUNNING: &str = "proc/self/exe";
const TRIAL: &str = "var/lib/undercloud/agent-trial.json";
const GUARD: &str = "etc/systemd/system/undercloud-agent.service.d/trial.conf";
const TRIED: &str = "/usr/sbin/.undercloud-agent.new --version";
const RELOAD: &str = "systemctl daemon-reload";
const RESTART: &str = "systemctl restart --no-block undercloud-agent.service";

/// Programs of which some fail.
#[derive(Debug, Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
    fails: Mutex<Option<&'static str>>,
    restarted: AtomicBool,
}

impl Programs for Fake {
    fn run(&self, call: &Call) -> io::Result<Ended> {
        let shown = call.shown();
        self.calls.lock().unwrap().push(shown.clone());
        if *self.fails.lock().unwrap() == Some(shown.as_str()) {
            return Ok(Ended::bad("Exec format error"));
        }
        self.restarted.fetch_or(shown == RESTART, Ordering::SeqCst);
        Ok(Ended::good(if shown == TRIED { "undercloud-agent 9.9.9\n" } else { "" }))
    }
}

struct Trial {
    daemon: Daemon,
    machine: Machine,
    programs: Arc<Fake>,
    step: Value,
}

/// A machine whose agent is `old`, and a daemon whose build is `new`.
fn trial() -> Trial {
    trial_of(b"new".to_vec(), json!({"blob": digest_of(b"new"), "bytes": 3}))
}

fn trial_of(blob: Vec<u8>, program: Value) -> Trial {
    let daemon = Daemon::start(move |_: &Request| Answer::bytes(blob.clone()));
    let machine = Machine::with_disk(&[0; 512]);
    machine.file(PROGRAM, b"old");
    machine.file(RUNNING, b"old");
    let step = json!({"kind": "cloud", "step": {"kind": "update_agent", "program": program}});
    Trial { daemon, machine, programs: Arc::default(), step }
}

impl Trial {
    /// systemd starts what has the program's name: that runs from now on.
    fn start(&self) -> Executor {
        if self.machine.path(GUARD).exists() {
            // Its failure is no reason not to start.
            let _ = guard(&self.machine.host, &Log::new(Vec::new()));
        }
        fs::copy(self.machine.path(PROGRAM), self.machine.path(RUNNING)).unwrap();
        self.executor()
    }

    fn executor(&self) -> Executor {
        let (host, log) = (self.machine.host.clone(), Log::new(Vec::new()));
        let client = Client::new(&self.daemon.url, &self.daemon.ca_pem).unwrap();
        let cloud = Cloud::new(host.clone(), self.identity(), self.programs.clone());
        Executor::new(host, Place::Installed, client, log).with_cloud(cloud.into())
    }

    fn identity(&self) -> undercloud_model::agent::InstalledIdentity {
        serde_json::from_value(json!({
            "protocol": PROTOCOL_VERSION, "api": self.daemon.url, "node": ID, "name": "n",
            "key": "k", "ca_pem": self.daemon.ca_pem,
        }))
        .unwrap()
    }

    /// The order's outcome, if this agent is the one to report it.
    fn order(&self, executor: &Executor) -> Option<Outcome> {
        let order = serde_json::from_value(json!({"id": ID, "step": self.step}));
        executor.execute(order.unwrap()).map(|report| report.outcome)
    }

    fn done(&self, executor: &Executor) -> Converged {
        match self.order(executor) {
            Some(Outcome::Done(StepResult::Cloud(converged))) => converged,
            other => panic!("{other:?}"),
        }
    }

    fn failed(&self, executor: &Executor) -> (StepFailureKind, String) {
        match self.order(executor) {
            Some(Outcome::Failed(failure)) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        }
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.machine.path(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.machine.path(path).exists()
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.programs.calls.lock().unwrap())
    }
}

#[test]
fn the_next_agent_reports_that_it_took_the_place() {
    let trial = trial();
    assert!(trial.order(&trial.start()).is_none(), "the one that goes reports nothing");
    assert_eq!(trial.calls(), [TRIED, RELOAD, RESTART]);
    assert_eq!((trial.text(PROGRAM).as_str(), trial.text(KEPT).as_str()), ("new", "old"));
    let mode = |path| fs::metadata(trial.machine.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(PROGRAM), mode(KEPT)), (0o755, 0o755));
    let guard = trial.text(GUARD);
    assert!(guard.contains("ExecStartPre=-/usr/sbin/undercloud-agent.kept guard\n"), "{guard}");

    let next = trial.start();
    next.answered();
    assert!(!trial.has(GUARD), "the trial is over");
    assert_eq!(trial.calls(), [RELOAD]);
    let done = trial.done(&next);
    assert!(done.changed && done.note.contains(" in the place of "), "{done:?}");
    assert!(!trial.has(TRIAL) && !trial.has(NEW) && trial.text(KEPT) == "old");

    let again = trial.done(&trial.start());
    assert!(!again.changed && again.note.ends_with("is the daemon's build"), "{again:?}");
    assert!(trial.calls().is_empty());
    let paths = trial.daemon.paths();
    assert_eq!(paths, [format!("/agent/v1/blobs/{}", digest_of(b"new"))], "it was fetched once");
}

#[test]
fn an_agent_that_does_not_reach_the_daemon_gives_its_place_back() {
    let trial = trial();
    assert!(trial.order(&trial.start()).is_none());
    // Twice it is started, and twice it ends without an answer.
    for _ in 0..2 {
        trial.start();
        assert_eq!(trial.text(RUNNING), "new");
    }
    let kept = trial.start();
    assert_eq!((trial.text(RUNNING).as_str(), trial.text(KEPT).as_str()), ("old", "old"));
    trial.calls();
    kept.answered();
    assert!(!trial.has(GUARD));
    assert_eq!(trial.calls(), [RELOAD]);
    let (kind, message) = trial.failed(&kept);
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("did not reach the daemon, and agent "), "{message}");
    // Another order is another try.
    assert!(trial.order(&trial.executor()).is_none());
    assert_eq!(trial.text(PROGRAM), "new");
}

#[test]
fn where_starts_cannot_be_counted_the_kept_agent_is_back_at_once() {
    let trial = trial();
    assert!(trial.order(&trial.start()).is_none());
    // What is written goes beside it first, under a name of this process's: nothing can be.
    for number in 0..1000 {
        let beside = format!(".agent-trial.json.{}-{number}.new", std::process::id());
        fs::create_dir(trial.machine.path("var/lib/undercloud").join(beside)).unwrap();
    }
    for _ in 0..3 {
        trial.start();
        assert_eq!((trial.text(PROGRAM).as_str(), trial.text(KEPT).as_str()), ("old", "old"));
    }
}

#[test]
fn whatever_fails_on_the_way_one_agent_runs_and_the_next_order_goes_on() {
    for (fails, kind) in [(TRIED, "old"), (RELOAD, "old"), (RESTART, "new")] {
        let trial = trial();
        *trial.programs.fails.lock().unwrap() = Some(fails);
        let (_, message) = trial.failed(&trial.start());
        assert!(message.contains("failed: Exec format error"), "{fails}: {message}");
        assert_eq!(trial.text(PROGRAM), kind, "{fails}");
        *trial.programs.fails.lock().unwrap() = None;
        // The machine loses its power: the same agent or the next one starts.
        let next = trial.start();
        next.answered();
        assert_eq!(trial.text(RUNNING), kind, "{fails}");
        // One that knows of a try that came to nothing says so; each order is another one.
        let ended = (0..2).find_map(|_| match trial.order(&trial.executor()) {
            Some(Outcome::Failed(_)) => None,
            other => Some(other),
        });
        if ended.unwrap().is_none() {
            let last = trial.start();
            last.answered();
            assert!(trial.done(&last).changed, "{fails}");
        }
        assert_eq!(trial.text(RUNNING), "new", "{fails}");
        assert!(!trial.has(GUARD) && !trial.has(TRIAL), "{fails}");
    }
}

#[test]
fn what_came_wrong_or_is_no_agent_takes_nobody_s_place() {
    let digest = digest_of(b"new");
    let wrong = trial_of(b"bad".to_vec(), json!({"blob": digest, "bytes": 3}));
    let longer = trial_of(b"new and more".to_vec(), json!({"blob": digest, "bytes": 3}));
    for trial in [wrong, longer] {
        let (kind, message) = trial.failed(&trial.start());
        assert_eq!(kind, StepFailureKind::DigestMismatch);
        assert_eq!(message, "the daemon's build of the agent: what came is not what was ordered");
        assert!(!trial.has(NEW));
        assert_eq!(trial.text(PROGRAM), "old");
    }
    let without = trial_of(Vec::new(), Value::Null);
    let huge = trial_of(Vec::new(), json!({"blob": digest, "bytes": (1u64 << 30) + 1}));
    for trial in [without, huge] {
        assert_eq!(trial.failed(&trial.start()).0, StepFailureKind::Unsupported);
        assert!(trial.daemon.paths().is_empty() && trial.text(PROGRAM) == "old");
    }
}

#[test]
fn the_order_stays_in_progress_until_the_agent_ends() {
    let trial = trial();
    let (step, programs) = (trial.step.clone(), trial.programs.clone());
    let mut left = 20;
    let daemon = Daemon::start(move |request: &Request| match request.path.as_str() {
        "/agent/v1/poll" if programs.restarted.load(Ordering::SeqCst) => {
            left -= 1;
            let busy = &request.json()["busy"];
            assert_eq!(*busy, json!([ID]));
            let status = if left == 0 { 401 } else { 200 };
            Answer::json(status, &json!({"order": null}))
        }
        "/agent/v1/poll" => Answer::json(200, &json!({"order": {"id": ID, "step": step}})),
        _ => Answer::bytes(b"new".to_vec()),
    });
    let client = Client::new(&daemon.url, &daemon.ca_pem).unwrap();
    let system = System {
        protocol: PROTOCOL_VERSION,
        boot_id: "b".into(),
        ssh_host_key: None,
        health: Latest::default(),
    };
    let pause = Duration::from_millis(1);
    let rhythm = Rhythm { pause_max: pause, poll_every: pause, ..Rhythm::default() };
    let executor = trial.start();
    Session::new(client, executor, system, rhythm, Log::new(Vec::new()))
        .with_orders_at_once(2)
        .run();
    assert!(!daemon.paths().iter().any(|path| path == "/agent/v1/report"));
}
