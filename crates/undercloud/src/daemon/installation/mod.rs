//! Installs a cloud, from enrolled machines to one that was seen to work: carries out what the
//! installation's state wants (`model::installation`), and writes down what came of it. A command only
//! asks for it and follows; it may come and go. A daemon that begins goes on with it.

mod checks;
mod machines;
mod run;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undercloud_api::{
    ApiError,
    admin::{CloudAccess, Reporter, TaskRequest, Tasks},
};
use undercloud_cloud::CloudConfig;
use undercloud_image::{blob::Blobs, catalog::names};
use undercloud_model::{
    Caller, Digest, ErrorKind,
    agent::{Outcome, StepResult, cloud::AgentProgram},
    installation::{Event, Failure, Goal, Installation, Order, Stage, State, Until, Wants},
    node::Verb,
};
use undercloud_store::{Kept, StoreError, WithIt};

use super::{
    agents::api_error,
    cloud::{Clouds, LabNics},
    site::Site,
};
use crate::{
    agent_program, clock,
    state::StateDir,
    verify::{self, Said, VerifyReport},
};

/// The parts of an installation, as who follows it is told of their ends.
pub(crate) const MACHINES: &str = "machines";
pub(crate) const CLOUD: &str = "cloud";
pub(crate) const VERIFICATION: &str = "verification";

/// What an installation needs of what is around it.
pub(crate) trait Ground: Send + Sync + 'static {
    /// Whether machines can boot what the request needs.
    ///
    /// # Errors
    /// They cannot: waiting is in vain.
    fn allows(&self, verb: &Verb) -> Result<(), ApiError>;

    /// The lab's machines' links by network.
    fn nics(&self) -> LabNics;

    /// The agent's program as machines are to have it, ready to be fetched by them. Reads it through, on
    /// this thread.
    ///
    /// # Errors
    /// It is not there, or cannot be kept for them.
    fn agent(&self) -> anyhow::Result<AgentProgram>;

    /// Checks the cloud, on this thread.
    ///
    /// # Errors
    /// The first check that failed.
    fn verify(&self, access: &CloudAccess, said: Said) -> anyhow::Result<VerifyReport>;
}

/// The site that machines are on, and the cloud as its users meet it.
pub(super) struct Real {
    pub(super) site: Arc<Site>,
    pub(super) state: StateDir,
    pub(super) blobs: Blobs,
}

impl Ground for Real {
    fn allows(&self, verb: &Verb) -> Result<(), ApiError> {
        self.site.allows(verb)
    }

    fn nics(&self) -> LabNics {
        self.site.nics()
    }

    fn agent(&self) -> anyhow::Result<AgentProgram> {
        let stored = self.blobs.put(agent_program::open()?)?;
        Ok(AgentProgram { blob: stored.digest, bytes: stored.size })
    }

    fn verify(&self, access: &CloudAccess, said: Said) -> anyhow::Result<VerifyReport> {
        verify::run(&self.state, said, access, false)
    }
}

/// Carries installations out, one at a time: whoever calls holds the task on the cloud.
pub(crate) struct Installer {
    clouds: Arc<Clouds>,
    ground: Arc<dyn Ground>,
}

impl fmt::Debug for Installer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Installer")
    }
}

/// What an installation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// The deployment's number.
    pub(crate) deployment: i64,
    /// Which of its runs it was.
    pub(crate) attempt: i64,
    /// Its steps.
    pub(crate) steps: usize,
    /// Those that had to change something.
    pub(crate) changed: usize,
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deployment, steps, changed, .. } = self;
        match changed {
            0 => write!(f, "deployment {deployment}: {steps} steps, nothing had to be changed"),
            _ => write!(f, "deployment {deployment}: {steps} steps, {changed} changed something"),
        }
    }
}

/// What came of what a state wanted, and what is written with it.
struct CameOf {
    event: Event,
    with: With,
}

/// [`WithIt`], owned.
enum With {
    Nothing,
    EndOfRun(Option<String>),
    Verification(Value),
}

impl CameOf {
    const fn alone(event: Event) -> Self {
        Self { event, with: With::Nothing }
    }

    /// A run that was under way ends with it.
    fn failed(error: &ApiError) -> Self {
        let failure = failure(error);
        let with = With::EndOfRun(Some(failure.message.clone()));
        Self { event: Event::Failed(failure), with }
    }

    fn with(&self) -> WithIt<'_> {
        match &self.with {
            With::Nothing => WithIt::Nothing,
            With::EndOfRun(failure) => WithIt::EndOfRun(failure.as_deref()),
            With::Verification(report) => WithIt::Verification(report),
        }
    }
}

/// Goes on with the installation that was under way when the daemon ended, if one was.
pub(super) async fn resume(installer: &Arc<Installer>, tasks: &Tasks) {
    let resumed = installer.clouds.store.resume_installation(clock::now_ms()).await;
    let installation = match resumed {
        Ok(Some(installation)) if installation.wants() != Wants::Person => installation,
        Ok(_) => return,
        Err(error) => return tracing::error!(%error, "no installation can be read"),
    };
    let Order { description, ssh_keys, until, .. } = installation.order.clone();
    // Whoever asks for the same follows it.
    let request = TaskRequest::CloudInstall { description, ssh_keys, until };
    let (number, state) = (installation.number, installation.state.word());
    let installer = installer.clone();
    let begun = tasks.start_or_follow(request, |_, reporter| async move {
        installer.drive(installation, &Arc::new(reporter)).await
    });
    match begun {
        Ok(_) => tracing::info!(number, state, "an installation goes on"),
        Err(error) => tracing::info!(number, state, %error, "an installation is not resumed"),
    }
}

impl Installer {
    pub(super) fn new(clouds: Arc<Clouds>, ground: Arc<dyn Ground>) -> Self {
        Self { clouds, ground }
    }

    /// Installs a cloud, or goes on with it, or looks that it is as planned and mends what is not.
    ///
    /// # Errors
    /// One sentence: what failed, on which machine, and what to do.
    pub(crate) async fn install(
        &self,
        caller: &Caller,
        (description, ssh_keys, until): (String, Vec<String>, Until),
        reporter: Reporter,
    ) -> Result<Value, ApiError> {
        let config: CloudConfig = description.parse().map_err(|error| {
            ApiError::invalid(format_args!("the cloud's description: {error}"))
                .hint("`cloud.toml` in the source tree shows every key")
        })?;
        let machines = config.machines.iter().map(|machine| machine.name.clone()).collect();
        let image = names::OVERCLOUD_FULL.to_owned();
        let order = Order { description, machines, image, ssh_keys, until };
        let asked =
            self.clouds.store.asked_by(caller).ask_for_installation(&order, clock::now_ms()).await;
        self.drive(asked.map_err(api_error)?, &Arc::new(reporter)).await
    }

    /// Turn by turn, to its end or to where a person has to do something.
    async fn drive(
        &self,
        mut at: Installation,
        reporter: &Arc<Reporter>,
    ) -> Result<Value, ApiError> {
        let mut told = Told::default();
        loop {
            self.tell(&at, &mut told, reporter).await?;
            let left = at.deadline.map(|deadline| deadline.saturating_sub(clock::now_ms()));
            let left = u64::try_from(left.unwrap_or_default()).unwrap_or_default();
            let work = self.work(&at, reporter);
            let came_of = match tokio::time::timeout(Duration::from_millis(left), work).await {
                Ok(Ok(Some(came_of))) => came_of,
                Ok(Ok(None)) => return self.outcome(&at).await,
                Ok(Err(error)) => CameOf::failed(&error),
                Err(_elapsed) => {
                    let over = With::EndOfRun(Some("it took too long".to_owned()));
                    CameOf { event: Event::TimeOver, with: over }
                }
            };
            let passed = came_of.event == Event::ChecksPassed;
            told.is_checked = passed && matches!(came_of.with, With::Nothing);
            at = self.turn(at.number, &came_of).await?;
        }
    }

    /// Does what the state wants; nothing, where that is nothing, or a person.
    async fn work(
        &self,
        at: &Installation,
        reporter: &Arc<Reporter>,
    ) -> Result<Option<CameOf>, ApiError> {
        Ok(Some(match at.wants() {
            Wants::MachinesAt(goal) => self.machines_at(at, goal, reporter).await?,
            Wants::Run => {
                self.run(at, reporter).await?;
                CameOf { event: Event::RunDone, with: With::EndOfRun(None) }
            }
            Wants::Checks => self.check(at, reporter).await?,
            Wants::Person | Wants::Nothing => return Ok(None),
        }))
    }

    async fn machines_at(
        &self,
        at: &Installation,
        goal: Goal,
        reporter: &Reporter,
    ) -> Result<CameOf, ApiError> {
        self.bring(at, goal, reporter).await?;
        Ok(CameOf::alone(match goal {
            Goal::Active | Goal::SwitchedOn => Event::MachinesActive,
            Goal::Inspected => {
                let planned = self.clouds.make(&at.order.description, &self.ground.nics()).await?;
                let is_agreed = planned.erases.is_empty() && planned.uninspected.is_empty();
                Event::Inspected { needs_approval: (!is_agreed).then_some(planned.digest) }
            }
        }))
    }

    /// The installation of this number as it stands.
    ///
    /// # Errors
    /// It is not the newest any more.
    async fn current(&self, number: i64) -> Result<Installation, ApiError> {
        match self.clouds.store.newest_installation().await.map_err(api_error)? {
            Some(Kept::Known(newest)) if newest.number == number => Ok(*newest),
            _ => {
                let message = format!("installation {number} ended: another was asked for");
                Err(ApiError::new(ErrorKind::Busy, message).hint("undercloud status shows it"))
            }
        }
    }

    async fn turn(&self, number: i64, came_of: &CameOf) -> Result<Installation, ApiError> {
        loop {
            let at = self.current(number).await?;
            let (event, with, now) = (came_of.event.clone(), came_of.with(), clock::now_ms());
            match self.clouds.store.turn_installation(&at, event, with, now).await {
                // The clock was set.
                Err(StoreError::InstallationMoved(_)) => {}
                turned => {
                    let next = turned.map_err(api_error)?;
                    let state = next.state.word();
                    tracing::info!(
                        number,
                        from = at.state.word(),
                        to = state,
                        "installation turned"
                    );
                    return Ok(next);
                }
            }
        }
    }

    /// What it came to, of one that nothing follows for now.
    async fn outcome(&self, at: &Installation) -> Result<Value, ApiError> {
        match &at.state {
            State::WaitsForApproval { plan } => Err(approval_is_missing(plan)),
            State::Failed { failure: Failure { kind, message, hint }, .. } => {
                let error = ApiError::new(*kind, message);
                Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
            _ => Ok(json!(self.installed(at).await?)),
        }
    }

    /// What its run did.
    async fn installed(&self, at: &Installation) -> Result<Option<Installed>, ApiError> {
        let (store, Some(deployment)) = (&self.clouds.store, at.deployment) else {
            return Ok(None);
        };
        let row = store.deployment::<Value>(deployment).await.map_err(api_error)?;
        let Some(row) = row else { return Ok(None) };
        let done = store.deployment_steps(deployment).await.map_err(api_error)?;
        let changed = done.iter().filter(|step| {
            let changed = matches!(&step.outcome,
                Outcome::Done(StepResult::Cloud(converged)) if converged.changed);
            step.attempt == row.attempt && changed
        });
        let steps = row.plan["steps"].as_array().map_or(0, Vec::len);
        Ok(Some(Installed { deployment, attempt: row.attempt, steps, changed: changed.count() }))
    }

    /// Tells which parts are over, once for each.
    async fn tell(
        &self,
        at: &Installation,
        told: &mut Told,
        reporter: &Reporter,
    ) -> Result<(), ApiError> {
        let done = parts_done(&at.state);
        if told.parts < 1 && done >= 1 {
            reporter.ended(MACHINES, format_args!("{} active", at.order.machines.len()));
        }
        if told.parts < 2
            && done >= 2
            && let Some(installed) = self.installed(at).await?
        {
            reporter.ended(CLOUD, installed);
        }
        if told.parts < 3 && done >= 3 {
            let earlier = if told.is_checked { " (an earlier run)" } else { "" };
            reporter.ended(VERIFICATION, format_args!("{}{earlier}", self.verified(at).await?));
        }
        told.parts = told.parts.max(done);
        Ok(())
    }
}

/// Which parts of an installation their followers were told of.
#[derive(Debug, Default)]
struct Told {
    parts: u8,
    /// The checks were passed by an earlier run.
    is_checked: bool,
}

/// How many parts are over: machines, cloud, verification.
const fn parts_done(state: &State) -> u8 {
    match state {
        State::Inspecting
        | State::WaitsForApproval { .. }
        | State::Machines
        | State::Failed { during: Stage::Inspecting | Stage::Machines, .. }
        | State::Replaced => 0,
        State::Installing | State::Failed { during: Stage::Installing, .. } => 1,
        State::Verifying | State::Installed | State::Failed { during: Stage::Verifying, .. } => 2,
        State::Verified => 3,
    }
}

fn approval_is_missing(plan: &Digest) -> ApiError {
    let message = "the plan erases disks of machines that are not the lab's";
    ApiError::new(ErrorKind::Denied, message).hint(format_args!(
        "look at it with `undercloud cloud plan`, then: undercloud cloud install --approve {plan}"
    ))
}

fn failure(error: &ApiError) -> Failure {
    Failure { kind: error.kind, message: error.message.clone(), hint: error.hint.clone() }
}
