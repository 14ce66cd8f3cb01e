//! Carries a plan out: gives each machine's agent the steps whose needs are met, until all are done
//! or one failed.
//!
//! ```text
//! waiting ── needs done ──► ordered ── report ──► done
//!                              │            └───► failed: nothing new is ordered, what is open is
//!                              └── agent silent,        withdrawn, the run ends with one sentence
//!                                  machine off, no
//!                                  report in time ─►
//! ```
//! Everything is in the store: an order has the step's key under the deployment's number and run, so
//! a daemon that dies and is asked again goes on where it was. Agents may answer while nobody
//! listens here.

mod open;
mod pace;
mod silence;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use undercloud_model::{
    ErrorKind, NodeId, NodeName, PowerState, Secret, UnixMillis,
    agent::{
        Outcome, Step, StepFailure, StepFailureKind, StepResult,
        cloud::{AgentProgram, CloudStep, Converged, ServiceName},
    },
    ailment::Ailment,
};
use undercloud_store::{RolloutOrder, Run, StepOf, Store, StoreError};

pub use self::open::{OpenStep, open_steps};
use self::{
    pace::Paces,
    silence::{SILENCE_MAX_MS, Silences},
};
use crate::{
    ParseReferenceError, Reference,
    plan::{Plan, PlannedStep},
    resolve,
};

/// Every key of an order of a rollout begins so.
pub const ORDERS: &str = "cloud/";
/// How the keys of the orders of one run begin.
pub fn orders_of(deployment: i64, attempt: i64) -> String {
    format!("{ORDERS}{deployment}/{attempt}/")
}

/// Power that was last seen off before a step was ordered may be on by now. By then it was seen again.
const POWER_IS_NEWS_MS: i64 = 90_000;
/// Silence and power are looked at this often; everything else is told.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a rollout works with.
pub struct Rollout<'a> {
    /// Where orders and results are.
    pub store: &'a Store,
    /// What to do.
    pub plan: &'a Plan,
    /// The deployment's number.
    pub deployment: i64,
    /// Its run.
    pub attempt: i64,
    /// The agent's program, as machines are to have it.
    pub agent: AgentProgram,
    /// Tells the time.
    pub now: &'a (dyn Fn() -> UnixMillis + Send + Sync),
    /// Gives the value of a reference of the plan.
    pub secret: &'a (dyn Fn(&Reference) -> Option<Secret> + Send + Sync),
    /// Is told what happens.
    pub say: &'a (dyn Fn(&Happened<'_>) + Send + Sync),
}

impl std::fmt::Debug for Rollout<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rollout").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}

/// Something happened.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A step was given to its machine.
    Ordered {
        /// Which.
        step: &'a PlannedStep,
    },
    /// A step is done.
    Done {
        /// Which.
        step: &'a PlannedStep,
        /// What it did.
        converged: &'a Converged,
        /// So many are done.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: &'a PlannedStep,
        /// Why.
        failure: &'a StepFailure,
    },
    /// A machine with open steps is waited for: its agent has not called for a while.
    Silent {
        /// Which.
        machine: &'a NodeName,
        /// For how long.
        seconds: i64,
    },
}

/// A rollout that came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps.
    pub steps: usize,
    /// Those that had to change something.
    pub changed: usize,
}

/// Why a rollout ended early. The sentence names the machine, the cause and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// A step failed.
    #[error("{machine}: {title}: {}", .failure.message.trim_end_matches('.'))]
    Step {
        /// On which machine.
        machine: NodeName,
        /// The step.
        title: String,
        /// The service that it is about, if it is about one.
        service: Option<ServiceName>,
        /// Why.
        failure: Box<StepFailure>,
    },
    /// The machine is switched off.
    #[error("{machine} was switched off while the cloud was installed on it")]
    SwitchedOff {
        /// Which.
        machine: NodeName,
    },
    /// The machine's agent does not call.
    #[error(
        "the agent of {machine} has not called for {seconds} s: the machine may be down or cut off \
         from the provisioning network"
    )]
    Silent {
        /// Which machine.
        machine: NodeName,
        /// For how long.
        seconds: i64,
    },
    /// The machine's agent calls, and does not end a step.
    #[error(
        "{machine}: {title}: it was not over after {minutes} minutes, though its agent goes on calling"
    )]
    TooSlow {
        /// On which machine.
        machine: NodeName,
        /// The step.
        title: String,
        /// After how long it was given up.
        minutes: i64,
    },
    /// A step is for a machine that the plan does not have.
    #[error("the step `{title}` is for {machine}, which the plan does not have")]
    NoMachine {
        /// For which machine.
        machine: NodeName,
        /// The step.
        title: String,
    },
    /// The plan needs a secret that nobody has.
    #[error("the value of {0} is not there: the plan was made by another version")]
    NoSecret(String),
    /// The plan holds a reference that this version does not know.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RolloutError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Step { .. }
            | Self::SwitchedOff { .. }
            | Self::Silent { .. }
            | Self::TooSlow { .. } => ErrorKind::Unavailable,
            Self::NoSecret(_) | Self::Reference(_) | Self::NoMachine { .. } => ErrorKind::Bug,
            Self::Store(error) => error.kind(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let again = "then run the same command again: it resumes";
        match self {
            Self::Step { failure, .. } if is_refused_password(failure) => {
                let refused = Ailment::PasswordRefused { answer: String::new() };
                format!("{}; {again}", refused.remedy(None))
            }
            Self::Step { machine, .. } | Self::TooSlow { machine, .. } => format!(
                "see `undercloud logs openstack_failures_long` and `undercloud ssh {machine}`; {again}"
            ),
            Self::SwitchedOff { machine } => {
                format!("undercloud node power on {machine}; {again}")
            }
            Self::Silent { machine, .. } => format!(
                "undercloud node agent restore {machine}, if ssh reaches it; undercloud lab console \
                 {machine} shows its console (or its BMC's); {again}"
            ),
            Self::NoSecret(_) | Self::Reference(_) | Self::NoMachine { .. } | Self::Store(_) => {
                "see `undercloud logs undercloud`".to_owned()
            }
        }
    }
}

/// Whether Keystone did not take the password of the cloud's administrator.
fn is_refused_password(failure: &StepFailure) -> bool {
    failure.kind == StepFailureKind::Api
        && failure.message.contains("/auth/tokens")
        && failure.message.contains("answered 401")
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    Waiting,
    Ordered { since: UnixMillis },
    Done { changed: bool },
}

impl Stand {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

impl Rollout<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// The first step that failed, or a machine that cannot be reached.
    pub async fn run(&self) -> Result<Summary, RolloutError> {
        let mut stands: BTreeMap<&str, Stand> =
            self.plan.steps.iter().map(|s| (s.key.as_str(), Stand::Waiting)).collect();
        let mut summary = Summary { steps: stands.len(), changed: 0 };
        let (mut paces, mut silences) = (Paces::default(), Silences::default());
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            let orders = self.store.orders_under(&self.prefix()).await?;
            if let Some(error) = self.take(&orders, &mut stands, &mut summary, &mut paces).await? {
                self.store.withdraw_orders_under(&self.prefix(), (self.now)()).await?;
                return Err(error);
            }
            if stands.values().all(Stand::is_done) {
                return Ok(summary);
            }
            self.order_ready(&mut stands).await?;
            let lost = self.lost_machine(&stands, &paces, &mut silences).await?;
            if let Some((node, machine, error)) = lost {
                let (why, now) = (error.to_string(), (self.now)());
                let machine = (node, machine);
                self.store.lose_machine(self.run_of(), machine, why, &self.prefix(), now).await?;
                return Err(error);
            }
            // Either somebody wrote something, or it is time to look at the machines.
            let _woken = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        }
    }

    fn run_of(&self) -> Run {
        Run { deployment: self.deployment, attempt: self.attempt }
    }

    fn step_of<'s>(&self, node: NodeId, step: &'s PlannedStep) -> StepOf<'s> {
        let PlannedStep { machine, title, .. } = step;
        let key = step.key.as_str();
        StepOf { run: self.run_of(), node, machine, key, title }
    }

    fn prefix(&self) -> String {
        orders_of(self.deployment, self.attempt)
    }

    /// Takes in what agents reported; returns the first failure in the plan's order.
    async fn take<'p>(
        &'p self,
        orders: &[RolloutOrder],
        stands: &mut BTreeMap<&'p str, Stand>,
        summary: &mut Summary,
        paces: &mut Paces,
    ) -> Result<Option<RolloutError>, RolloutError> {
        let prefix = self.prefix();
        let by_key: BTreeMap<&str, &RolloutOrder> =
            orders.iter().filter_map(|o| Some((o.key.strip_prefix(&prefix)?, o))).collect();
        let mut failed = None;
        for step in &self.plan.steps {
            let key = step.key.as_str();
            let Some(order) = by_key.get(key) else { continue };
            if stands.get(key).is_some_and(Stand::is_done) {
                continue;
            }
            let Some(outcome) = &order.outcome else {
                stands.insert(key, Stand::Ordered { since: order.created_at });
                continue;
            };
            let outcome = as_it_counts(step, outcome);
            let ended = self.step_of(order.node, step);
            self.store.record_step(&ended, &outcome, (self.now)()).await?;
            match &*outcome {
                Outcome::Done(result) => {
                    let converged = converged(result);
                    stands.insert(key, Stand::Done { changed: converged.changed });
                    summary.changed += usize::from(converged.changed);
                    paces.done(&step.machine, converged.took_ms, step.expected_s);
                    let done = stands.values().filter(|s| s.is_done()).count();
                    let total = summary.steps;
                    (self.say)(&Happened::Done { step, converged: &converged, done, total });
                }
                Outcome::Failed(failure) => {
                    (self.say)(&Happened::Failed { step, failure });
                    let (machine, title) = (step.machine.clone(), step.title.clone());
                    let service = service_of(step).cloned();
                    let failure = Box::new(failure.clone());
                    failed.get_or_insert(RolloutError::Step { machine, title, service, failure });
                }
            }
        }
        Ok(failed)
    }

    /// Gives out every step whose needs are done.
    async fn order_ready<'p>(
        &'p self,
        stands: &mut BTreeMap<&'p str, Stand>,
    ) -> Result<(), RolloutError> {
        for step in &self.plan.steps {
            let done = |key: &str| stands.get(key).is_some_and(Stand::is_done);
            let waits = stands.get(step.key.as_str()) == Some(&Stand::Waiting);
            if !waits || !step.needs.iter().all(|need| done(need.as_str())) {
                continue;
            }
            let Some(node) = self.node(&step.machine) else {
                let (machine, title) = (step.machine.clone(), step.title.clone());
                return Err(RolloutError::NoMachine { machine, title });
            };
            let mut body = resolve(&step.step, &|reference: &Reference| {
                (self.secret)(reference)
                    .ok_or_else(|| RolloutError::NoSecret(reference.to_string()))
            })?;
            if let CloudStep::AwaitHealth(check) = &mut body {
                check.anew = self.is_anew(step, &check.service, stands);
            }
            if let CloudStep::UpdateAgent { program } = &mut body {
                *program = Some(self.agent);
            }
            let body = Step::Cloud { step: Box::new(body) };
            let key = format!("{}{}", self.prefix(), step.key);
            let now = (self.now)();
            self.store.begin_step(&self.step_of(node, step), &key, &body, now).await?;
            stands.insert(step.key.as_str(), Stand::Ordered { since: now });
            (self.say)(&Happened::Ordered { step });
        }
        Ok(())
    }

    /// Whether the step that starts a service, which this one waits for, changed something.
    fn is_anew(
        &self,
        waits: &PlannedStep,
        service: &ServiceName,
        stands: &BTreeMap<&str, Stand>,
    ) -> bool {
        let changed = Some(&Stand::Done { changed: true });
        let starts = |step: &CloudStep| match step {
            CloudStep::ApplyService(setup) => setup.name == *service,
            _ => false,
        };
        let mut needed = self.plan.steps.iter().filter(|step| waits.needs.contains(&step.key));
        needed.any(|step| starts(&step.step) && stands.get(step.key.as_str()) == changed)
    }

    /// A machine with open orders that is off, or whose agent does not call.
    async fn lost_machine(
        &self,
        stands: &BTreeMap<&str, Stand>,
        paces: &Paces,
        silences: &mut Silences,
    ) -> Result<Option<(NodeId, &NodeName, RolloutError)>, RolloutError> {
        for machine in &self.plan.machines {
            let steps = self.plan.steps.iter().filter(|s| s.machine == machine.name);
            let open = steps.filter_map(|s| match stands.get(s.key.as_str()) {
                Some(Stand::Ordered { since }) => Some((*since, s)),
                _ => None,
            });
            let Some((since, step)) = open.min_by_key(|(since, _)| *since) else { continue };
            let node = self.store.node(machine.node).await?;
            let name = machine.name.clone();
            let lost = |error| Ok(Some((machine.node, &machine.name, error)));
            let waited_ms = (self.now)().saturating_sub(since);
            let is_news = node.power_seen_at.is_some_and(|seen| seen >= since);
            if node.power == Some(PowerState::Off) && (is_news || waited_ms > POWER_IS_NEWS_MS) {
                return lost(RolloutError::SwitchedOff { machine: name });
            }
            let seen = self.store.installed_seen_at(machine.node).await?.unwrap_or_default();
            let last = seen.max(since).max(self.store.opened_at());
            let silent_ms = (self.now)().saturating_sub(last);
            if silent_ms > SILENCE_MAX_MS {
                let seconds = silent_ms / 1000;
                return lost(RolloutError::Silent { machine: name, seconds });
            }
            if let Some(seconds) = silences.news(&machine.name, silent_ms) {
                (self.say)(&Happened::Silent { machine: &machine.name, seconds });
            }
            if waited_ms > paces.most_ms(&machine.name, step.expected_s) {
                let (title, minutes) = (step.title.clone(), waited_ms / 60_000);
                return lost(RolloutError::TooSlow { machine: name, title, minutes });
            }
        }
        Ok(None)
    }

    fn node(&self, name: &NodeName) -> Option<NodeId> {
        self.plan.machines.iter().find(|m| m.name == *name).map(|m| m.node)
    }
}

/// The service that a step is about.
fn service_of(step: &PlannedStep) -> Option<&ServiceName> {
    match &step.step {
        CloudStep::ApplyService(setup) => Some(&setup.name),
        CloudStep::AwaitHealth(check) => Some(&check.service),
        CloudStep::RunOnce(command) => Some(&command.service),
        CloudStep::UpdateAgent { .. }
        | CloudStep::Network(_)
        | CloudStep::MountImages(_)
        | CloudStep::PullImage(_)
        | CloudStep::EnsureIdentity(_)
        | CloudStep::RetireServices { .. } => None,
    }
}

/// An agent that is too old to know how it is brought up to date is not in the way of the rest: both
/// sides speak every version of the protocol that this daemon understands.
fn as_it_counts<'o>(step: &PlannedStep, outcome: &'o Outcome) -> Cow<'o, Outcome> {
    let is_unknown = matches!(outcome,
        Outcome::Failed(failure) if failure.kind == StepFailureKind::Unsupported);
    if !is_unknown || !matches!(step.step, CloudStep::UpdateAgent { .. }) {
        return Cow::Borrowed(outcome);
    }
    let note = format!(
        "the agent is of an earlier version, which cannot be replaced from here: undercloud node \
         agent restore {} does it",
        step.machine
    );
    Cow::Owned(Outcome::Done(StepResult::Cloud(Converged { changed: false, note, took_ms: 0 })))
}

/// What an agent says of a cloud step; another result is none that was ordered, and changed nothing
/// that is known.
fn converged(result: &StepResult) -> Converged {
    match result {
        StepResult::Cloud(converged) => converged.clone(),
        StepResult::Inspect(_) | StepResult::WipeDisks { .. } | StepResult::WriteImage(_) => {
            Converged { changed: false, note: String::new(), took_ms: 0 }
        }
    }
}

#[cfg(test)]
mod tests;
