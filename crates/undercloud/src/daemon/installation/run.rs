//! Carries a plan out, run by run, and goes on with a run that a daemon before this one did not end.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use undercloud_api::{
    ApiError,
    admin::{Reporter, TaskProgress},
};
use undercloud_cloud::{
    Plan, Reference,
    plan::PlannedStep,
    rollout::{self, Happened, Rollout, RolloutError},
};
use undercloud_model::{
    Digest, ErrorKind,
    agent::cloud::AgentProgram,
    installation::{Goal, Installation},
    node::ProvisionState,
};
use undercloud_store::{DeploymentRow, StoreError};

use super::{
    super::{
        agents::api_error,
        cloud::Clouds,
        install_log::{self, InstallLog},
    },
    Installer,
};
use crate::{clock, failure::Failure};

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
        Happened::Silent { .. } => {}
    }
}

impl Installer {
    /// Does the plan's steps: of the run that was broken off, if one was, or of a plan made now.
    ///
    /// # Errors
    /// One sentence: what failed, on which machine, and what to do.
    pub(super) async fn run(&self, at: &Installation, reporter: &Reporter) -> Result<(), ApiError> {
        let clouds = &self.clouds;
        let (plan, digest) = match self.broken_off(at).await? {
            Some(broken_off) => {
                // What ended the daemon may have switched the machines off as well.
                self.bring(at, Goal::SwitchedOn, reporter).await?;
                broken_off
            }
            None => {
                let planned = clouds.make(&at.order.description, &self.ground.nics()).await?;
                (planned.plan, planned.digest)
            }
        };
        let agent = self.agent().await?;
        // Nothing is erased by it: what is not installed yet is refused here.
        clouds.machines_are_active(&plan).await?;
        let row = self.begin(at.number, &plan, &digest).await?;
        let log = InstallLog::new(clouds.state.logs(), row.number);
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
        match clouds.roll_out(&row, agent, &log, reporter).await {
            Ok(summary) => {
                let (steps, changed) = (summary.steps, summary.changed);
                log.line(&format!("done: {changed} of {steps} steps changed something"));
                Ok(())
            }
            Err(error) => {
                log.failed(&error.message);
                Err(error)
            }
        }
    }

    /// The program that the machines' agents are brought to.
    async fn agent(&self) -> Result<AgentProgram, ApiError> {
        let ground = self.ground.clone();
        let read = tokio::task::spawn_blocking(move || ground.agent()).await;
        let read = read.map_err(|error| ApiError::new(ErrorKind::Bug, error))?;
        read.map_err(|error| {
            let (kind, hint) = match error.downcast_ref::<Failure>() {
                Some(failure) => (failure.kind, failure.hint.clone()),
                None => (ErrorKind::Unavailable, None),
            };
            let message = format!("the agents cannot be brought up to date: {error:#}");
            let error = ApiError::new(kind, message);
            hint.map(|hint| error.clone().hint(hint)).unwrap_or(error)
        })
    }

    /// The run of this installation that did not end.
    async fn broken_off(&self, at: &Installation) -> Result<Option<(Plan, Digest)>, ApiError> {
        let Some(number) = at.deployment else { return Ok(None) };
        let row = self.clouds.store.deployment::<Value>(number).await.map_err(api_error)?;
        let Some(row) = row.filter(|row| row.ended_at.is_none()) else { return Ok(None) };
        let plan = Plan::read(&row.plan).map_err(|error| {
            let message =
                format!("the run was broken off, and its plan is of another version: {error}");
            ApiError::new(ErrorKind::Conflict, message)
                .hint("undercloud cloud install: it plans anew, and changes only what differs")
        })?;
        Ok(Some((plan, row.digest)))
    }

    async fn begin(
        &self,
        installation: i64,
        plan: &Plan,
        digest: &Digest,
    ) -> Result<DeploymentRow<Plan>, ApiError> {
        loop {
            let at = self.current(installation).await?;
            let (store, now) = (&self.clouds.store, clock::now_ms());
            match store.begin_installation_run(&at, plan, digest, rollout::ORDERS, now).await {
                // The clock was set.
                Err(StoreError::InstallationMoved(_)) => {}
                begun => return begun.map(|(row, _)| row).map_err(api_error),
            }
        }
    }
}

impl Clouds {
    async fn roll_out(
        &self,
        row: &DeploymentRow<Plan>,
        agent: AgentProgram,
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
            agent,
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
            let known = self.explainer().of_rollout(&error);
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
