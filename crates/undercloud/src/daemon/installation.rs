//! Installs a cloud: carries a plan out, run by run, and goes on by itself with a run that a daemon
//! before this one did not end. A command only asks for it and follows; it may come and go.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use undercloud_api::{
    ApiError,
    admin::{Reporter, TaskProgress, Tasks},
};
use undercloud_cloud::{
    Plan, Reference,
    plan::PlannedStep,
    rollout::{self, Happened, Rollout, RolloutError},
};
use undercloud_model::{Digest, ErrorKind, node::ProvisionState};
use undercloud_store::DeploymentRow;

use super::{
    agents::api_error,
    cloud::{Clouds, LabNics},
    cloud_watch::Explainer,
    install_log::{self, InstallLog},
};
use crate::clock;

/// How far a rollout is after something happened.
fn follow(progress: &mut TaskProgress, happened: &Happened<'_>) {
    let name = |step: &PlannedStep| format!("{}: {}", step.machine, step.title);
    match happened {
        Happened::Ordered { step } => progress.doing.push(name(step)),
        Happened::Done { step, done, .. } => {
            progress.done = *done as u64;
            progress.doing.retain(|doing| *doing != name(step));
        }
        Happened::Failed { step, .. } => progress.doing.retain(|doing| *doing != name(step)),
    }
}

/// Goes on with the run that was under way when the daemon ended, if one was.
pub(super) async fn resume(clouds: &std::sync::Arc<Clouds>, tasks: &Tasks) {
    let row = match clouds.rows().await {
        Ok(rows) => rows.into_iter().next().filter(|row| row.ended_at.is_none()),
        Err(error) => return tracing::error!(%error, "no deployment can be read"),
    };
    let Some(row) = row else { return };
    let (number, attempt) = (row.number, row.attempt);
    let clouds = clouds.clone();
    let begun = tasks.start("cloud", "cloud install", move |reporter| async move {
        clouds.go_on(row, &reporter).await
    });
    match begun {
        Ok(_) => tracing::info!(number, attempt, "an installation goes on"),
        // Somebody was faster to ask for it.
        Err(error) => tracing::info!(number, attempt, %error, "an installation is not resumed"),
    }
}

impl Clouds {
    /// Installs the cloud, or looks that it is as planned and mends what is not.
    ///
    /// # Errors
    /// One sentence: what failed, on which machine, and what to do.
    pub(crate) async fn install(
        &self,
        description: &str,
        nics: &LabNics,
        reporter: &Reporter,
    ) -> Result<Value, ApiError> {
        let planned = self.make(description, nics).await?;
        // Nothing is erased by it: what is not installed yet is refused here.
        self.machines_are_active(&planned.plan).await?;
        self.run(&planned.plan, &planned.digest, reporter).await
    }

    /// Goes on with a run that was broken off.
    async fn go_on(
        &self,
        row: DeploymentRow<Value>,
        reporter: &Reporter,
    ) -> Result<Value, ApiError> {
        let plan = Plan::read(&row.plan).map_err(|error| {
            let message =
                format!("the run was broken off, and its plan is of another version: {error}");
            ApiError::new(ErrorKind::Conflict, message)
                .hint("undercloud cloud install: it plans anew, and changes only what differs")
        });
        let plan = match plan {
            Ok(plan) => self.machines_are_active(&plan).await.map(|()| plan),
            Err(error) => Err(error),
        };
        match plan {
            Ok(plan) => self.run(&plan, &row.digest, reporter).await,
            Err(error) => {
                // Otherwise it would be said to be under way for ever.
                let (failure, now) = (Some(error.message.as_str()), clock::now_ms());
                self.store.end_deployment(row.number, failure, now).await.map_err(api_error)?;
                Err(error)
            }
        }
    }

    async fn run(
        &self,
        plan: &Plan,
        digest: &Digest,
        reporter: &Reporter,
    ) -> Result<Value, ApiError> {
        let now = clock::now_ms();
        let begun = self.store.begin_deployment(plan, digest, rollout::ORDERS, now).await;
        let row = begun.map_err(api_error)?;
        let log = InstallLog::new(self.state.logs(), row.number);
        let intro = format!(
            "deployment {}, run {}: {} steps on {} machines, plan {}",
            row.number,
            row.attempt,
            row.plan.steps.len(),
            row.plan.machines.len(),
            digest.short(),
        );
        log.line(&intro);
        reporter.line(&intro);
        let outcome = self.roll_out(&row, &log, reporter).await;
        let failure = outcome.as_ref().err().map(|error| error.message.clone());
        if let Some(failure) = &failure {
            log.failed(failure);
        }
        let ended = self.store.end_deployment(row.number, failure.as_deref(), clock::now_ms());
        ended.await.map_err(api_error)?;
        let summary = outcome?;
        log.line(&format!(
            "done: {} of {} steps changed something",
            summary.changed, summary.steps
        ));
        Ok(json!({
            "deployment": row.number, "attempt": row.attempt,
            "steps": summary.steps, "changed": summary.changed,
        }))
    }

    async fn roll_out(
        &self,
        row: &DeploymentRow<Plan>,
        log: &InstallLog,
        reporter: &Reporter,
    ) -> Result<rollout::Summary, ApiError> {
        let values = self.values(&row.plan).await?;
        let (number, attempt) = (row.number, row.attempt);
        let total = row.plan.steps.len() as u64;
        let progress = Mutex::new(TaskProgress { total, ..TaskProgress::default() });
        let rollout = Rollout {
            store: &self.store,
            plan: &row.plan,
            deployment: number,
            attempt,
            now: &clock::now_ms,
            secret: &|reference: &Reference| values.get(reference).cloned(),
            say: &|happened| {
                log.happened(happened);
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                follow(&mut progress, happened);
                reporter.progress(progress.clone());
                drop(progress);
                if !matches!(happened, Happened::Ordered { .. }) {
                    reporter.line(install_log::describe(happened));
                }
            },
        };
        rollout.run().await.map_err(|error: RolloutError| {
            let known = Explainer::new().of_rollout(&error);
            let (kind, hint) = (error.kind(), error.hint());
            let failed = format!("{:#}", anyhow::Error::new(error));
            match known {
                Some((cause, known_hint)) => {
                    let hint = known_hint.unwrap_or(hint);
                    ApiError::new(kind, format_args!("{failed}: {cause}")).hint(hint)
                }
                None => ApiError::new(kind, failed).hint(hint),
            }
        })
    }

    async fn machines_are_active(&self, plan: &Plan) -> Result<(), ApiError> {
        for machine in &plan.machines {
            let node = self.store.node(machine.node).await.map_err(api_error)?;
            if node.state != ProvisionState::Active {
                let state = node.state.as_str();
                let message = format!("{} is `{state}`, not active", machine.name);
                return Err(ApiError::new(ErrorKind::Conflict, message)
                    .hint(format!("undercloud node deploy {}", machine.name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use undercloud_api::{Clock, admin::TaskState, admin::TaskView, tls::Authority};
    use undercloud_model::{
        agent::{
            Outcome, PROTOCOL_VERSION, Poll, Report, StepFailure, StepFailureKind, StepResult,
            cloud::Converged,
        },
        node::Node,
    };
    use undercloud_store::{AgentKind, Open, Principal, Store};

    use super::*;
    use crate::daemon::test_node;
    use crate::state::StateDir;

    struct Site {
        _dir: tempfile::TempDir,
        clouds: Arc<Clouds>,
        store: Store,
        node: Node,
    }

    /// A machine that is installed, and a daemon that has begun.
    async fn site() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(dir.path()).unwrap();
        let now = clock::now_ms();
        let store = Store::open(path.join("db"), Open::at(now)).await.unwrap();
        let node = test_node::enrolled(&store, "controller-0", now).await;
        let node = test_node::brought_to(&store, &node, ProvisionState::Active, now).await;
        let state = StateDir::new(dir.path()).unwrap();
        std::fs::create_dir(state.pki()).unwrap();
        let authority = Arc::new(Authority::open(&path.join("pki"), now).unwrap());
        let clouds = Arc::new(Clouds::new(&state, store.clone(), authority));
        Site { _dir: dir, clouds, store, node }
    }

    impl Site {
        fn plan(&self, schema: u32) -> Value {
            let machine = json!({
                "name": "controller-0", "node": self.node.id, "role": "controller",
                "addresses": { "internal": "172.17.0.10", "public": null },
                "provisioning_address": null, "services": [], "images": [], "memory_mib": null,
                "install": false, "disk": null,
            });
            json!({
                "schema": schema,
                "cloud": {
                    "name": "overcloud", "region": "RegionOne", "public_host": "10.0.0.10",
                    "public_address": "10.0.0.10", "internal_address": "172.17.0.10",
                    "auth_url": "https://10.0.0.10:5000/v3", "endpoints": [],
                    "public_network": {
                        "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
                        "floating_start": "10.0.0.100", "floating_end": "10.0.0.199",
                    },
                },
                "machines": [machine],
                "steps": [{
                    "key": "controller-0/retire", "machine": "controller-0", "title": "Retire",
                    "needs": [], "expected_s": 1,
                    "step": { "kind": "retire_services", "keep": [] },
                }],
                "secrets": {}, "expected_minutes": 1,
            })
        }

        /// A run that a daemon began and did not end.
        async fn broken_off(&self, schema: u32) {
            let (plan, digest) = (self.plan(schema), Digest::from_bytes([7; 32]));
            let now = clock::now_ms();
            self.store.begin_deployment(&plan, &digest, rollout::ORDERS, now).await.unwrap();
        }

        /// The machine's agent does the one step.
        async fn agent(&self, outcome: Outcome) {
            let caller = Principal { node: self.node.id, kind: AgentKind::Installed };
            let poll = Poll {
                protocol: PROTOCOL_VERSION,
                boot_id: "b".into(),
                busy: Vec::new(),
                ssh_host_key: None,
                health: None,
            };
            let (hold, now) = (Duration::from_secs(60), clock::now_ms());
            let reply = self.store.agent_poll(&caller, &poll, hold, now).await.unwrap();
            let report = Report { id: reply.order.unwrap().id, outcome, log: Vec::new() };
            self.store.agent_report(&caller, &report, now).await.unwrap();
        }

        async fn newest(&self) -> DeploymentRow<Value> {
            self.clouds.rows().await.unwrap().remove(0)
        }
    }

    async fn ended(tasks: &Tasks) -> TaskView {
        let id = tasks.list()[0].id;
        loop {
            let view = tasks.wait(id, u64::MAX, Duration::from_secs(60)).await.unwrap();
            if view.state != TaskState::Running {
                return view;
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_that_begins_goes_on_with_the_run_that_was_broken_off() {
        let site = site().await;
        site.broken_off(undercloud_cloud::plan::SCHEMA).await;
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        resume(&site.clouds, &tasks).await;
        let done = Converged { changed: true, note: String::new(), took_ms: 1 };
        site.agent(Outcome::Done(StepResult::Cloud(done))).await;
        let view = ended(&tasks).await;
        assert_eq!((view.name.as_str(), view.state), ("cloud install", TaskState::Done));
        let row = site.newest().await;
        assert_eq!((row.number, row.attempt, row.is_complete()), (1, 1, true));
        // What is over is not begun again.
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        resume(&site.clouds, &tasks).await;
        assert!(tasks.list().is_empty());
    }

    #[tokio::test]
    async fn a_run_that_this_version_cannot_carry_out_ends_with_a_sentence() {
        let site = site().await;
        site.broken_off(99).await;
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        resume(&site.clouds, &tasks).await;
        let view = ended(&tasks).await;
        assert!(view.error.unwrap().hint.unwrap().contains("undercloud cloud install"));
        let failure = site.newest().await.failure.unwrap();
        assert!(failure.contains("version 99 of a plan's shape"), "{failure}");
    }

    #[tokio::test]
    async fn a_failure_with_known_words_is_explained() {
        let site = site().await;
        let mut plan = site.plan(undercloud_cloud::plan::SCHEMA);
        plan["steps"][0]["step"] = json!({
            "kind": "await_health", "service": "mariadb", "probe": "unit", "timeout_s": 300,
        });
        let (digest, now) = (Digest::from_bytes([7; 32]), clock::now_ms());
        site.store.begin_deployment(&plan, &digest, rollout::ORDERS, now).await.unwrap();
        let tasks = Tasks::new(Clock::new(clock::now_ms));
        resume(&site.clouds, &tasks).await;
        let message = "mariadb ends again and again: it was started again 5 times in 14 s";
        let failure = StepFailure {
            said: vec!["[ERROR] Can't init tc log".into()],
            ..StepFailure::new(StepFailureKind::Unhealthy, message)
        };
        site.agent(Outcome::Failed(failure)).await;
        let error = ended(&tasks).await.error.unwrap();
        assert_eq!(
            error.message,
            format!("controller-0: Retire: {message}: its transaction log is empty or damaged")
        );
        assert!(error.hint.unwrap().starts_with("undercloud ssh controller-0 rm "));
    }
}
