//! One turn of one node: as many steps as there is something to step on.

use undercloud_model::{
    NodeId, PowerState, UnixMillis,
    node::{
        BootInterface, Context, Done, Event, Failure, Next, Node, Phase, Step, Verb, fail, step,
    },
    timeline::{Asked, BootsFrom, Change, Deed, Failed, Happening, Netboot, PowerNews},
};
use undercloud_store::{Cause as Origin, NewEvent, Situation, StoreError, TurnCommit, Watched};

use crate::{EngineDeps, looks::Look, perform};

/// Steps of one turn; more wait for the next.
const STEPS_MAX: usize = 64;
/// The least time to the next turn after one that was due and had nothing to do.
const LATER_MS: i64 = 1000;

/// What is stepped on, and where it came from.
struct Cause {
    event: Event,
    source: Source,
    took_ms: i64,
}

#[derive(PartialEq)]
enum Source {
    Action(String),
    Inbox(i64),
    Clock,
}

/// What came of a turn.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The node as the turn left it; nothing if it is gone.
    pub(crate) node: Option<Watched>,
    /// Whether anything was written.
    pub(crate) has_written: bool,
    /// How the look at its power ended, if there was one.
    pub(crate) look: Option<Look>,
    /// When its turn was due, as the turn saw it last.
    pub(crate) due_at: Option<UnixMillis>,
}

/// Runs the node's turn; with a look at its power, once nothing else is to be done.
pub(crate) async fn turn(
    deps: &EngineDeps,
    node: NodeId,
    mut poll: bool,
) -> Result<Ended, StoreError> {
    let mut ended = Ended::default();
    let mut kept: Option<Cause> = None;
    for _ in 0..STEPS_MAX {
        let Some(situation) = deps.store.situation(node).await? else {
            ended.node = None;
            break;
        };
        ended.node = Some(Watched::of(&situation.node));
        ended.due_at = situation.due_at;
        let cause = match kept.take().filter(|cause| is_current(cause, &situation)) {
            Some(cause) => Some(cause),
            None => next_cause(deps, &situation, &mut poll, &mut ended.look).await?,
        };
        let Some(cause) = cause else {
            if rest(deps, &situation, &mut ended.has_written).await? { break } else { continue }
        };
        match write_down(deps, &situation, &cause).await {
            // A look that saw what is known, as nearly all do. Before it there was nothing to do, and
            // whoever writes something from then on makes the node due.
            Ok(false) if ended.look.is_some() => {
                deps.store.saw_power(node);
                break;
            }
            Ok(wrote) => ended.has_written |= wrote,
            // Somebody changed the record meanwhile: step on the same event again.
            Err(StoreError::Stale(_)) => kept = Some(cause),
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// Nothing is to be done now: says when the next turn is due, where that is not written down yet.
/// Whether that is so; if not, somebody wrote the node meanwhile.
async fn rest(
    deps: &EngineDeps,
    situation: &Situation,
    has_written: &mut bool,
) -> Result<bool, StoreError> {
    let now = (deps.clock)();
    if situation.due_at.is_none_or(|at| at > now) {
        return Ok(true);
    }
    let due = due_at(deps, &situation.node, situation.ramdisk_seen_at);
    // What is due and changes nothing is not due again at once.
    let due = due.map(|at| at.max(now.saturating_add(LATER_MS)));
    *has_written = deps.store.reschedule(&situation.node, due).await?;
    Ok(*has_written)
}

/// When the clock alone makes a turn of this node due.
fn due_at(
    deps: &EngineDeps,
    node: &Node,
    ramdisk_seen_at: Option<UnixMillis>,
) -> Option<UnixMillis> {
    let listening = deps.store.opened_at();
    let grace = listening.saturating_add(deps.policy.restart_grace_ms);
    let deadline = node.deadline.map(|deadline| deadline.max(grace));
    let silence = matches!(node.phase, Phase::Ordered { .. }).then(|| {
        let seen = ramdisk_seen_at.map(|seen| seen.max(listening));
        seen.map_or(0, |at| at.saturating_add(deps.policy.agent_silence_ms).saturating_add(1))
    });
    [deadline, silence].into_iter().flatten().min()
}

fn is_current(cause: &Cause, situation: &Situation) -> bool {
    match &cause.source {
        Source::Action(key) => situation.action.as_ref().is_some_and(|a| a.key == *key),
        Source::Inbox(id) => situation.inbox.as_ref().is_some_and(|(i, _)| i == id),
        Source::Clock => false,
    }
}

/// Pending actions first: what an agent says is understood only when the action before it is known
/// to be done.
async fn next_cause(
    deps: &EngineDeps,
    situation: &Situation,
    poll: &mut bool,
    look: &mut Option<Look>,
) -> Result<Option<Cause>, StoreError> {
    let begun = (deps.clock)();
    if let Some(pending) = &situation.action {
        let event = match perform::perform(deps, &situation.node, pending).await? {
            Ok(done) => Event::ActionDone { done },
            Err(failure) => Event::ActionFailed { failure },
        };
        let took_ms = (deps.clock)().saturating_sub(begun);
        return Ok(Some(Cause { event, source: Source::Action(pending.key.clone()), took_ms }));
    }
    let clock = |event| Some(Cause { event, source: Source::Clock, took_ms: 0 });
    if let Some((id, event)) = &situation.inbox {
        let source = Source::Inbox(*id);
        return Ok(Some(Cause { event: event.clone(), source, took_ms: 0 }));
    }
    let ctx = context(deps, situation, begun);
    if matters(&step(&situation.node, &Event::Tick, &ctx)) {
        return Ok(clock(Event::Tick));
    }
    if std::mem::take(poll) {
        return Ok(match perform::look(deps, situation).await {
            Ok(power) => {
                *look = Some(Look::Answered);
                clock(Event::PowerObserved { power })
            }
            Err(failure) => {
                *look = Some(Look::Silent);
                lost_sight(deps, situation, &failure).await?;
                None
            }
        });
    }
    Ok(None)
}

fn matters(decision: &Step) -> bool {
    !matches!(decision, Step::Stay(_))
}

pub(crate) fn context<'a>(
    deps: &'a EngineDeps,
    situation: &Situation,
    now: UnixMillis,
) -> Context<'a> {
    Context {
        policy: &deps.policy,
        now,
        listening_since: deps.store.opened_at(),
        ramdisk_seen_at: situation.ramdisk_seen_at,
        boot_progress: situation.boot_progress,
        boot_opened_at: situation.boot_opened_at,
    }
}

/// The BMC did not answer a look: the power is unknown, once.
async fn lost_sight(
    deps: &EngineDeps,
    situation: &Situation,
    failure: &Failure,
) -> Result<(), StoreError> {
    let node = &situation.node;
    if node.power.is_none() {
        return Ok(());
    }
    let lost = PowerNews::Lost { why: failure.detail.clone() };
    let commit = TurnCommit {
        node,
        next: None,
        taken: None,
        done: None,
        power: Some(None),
        due_at: due_at(deps, node, situation.ramdisk_seen_at),
        events: vec![lost.into()],
    };
    match deps.store.commit(commit, (deps.clock)()).await {
        Ok(_) | Err(StoreError::Stale(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Steps, and writes the decision. Says whether there was anything to write.
async fn write_down(
    deps: &EngineDeps,
    situation: &Situation,
    cause: &Cause,
) -> Result<bool, StoreError> {
    let node = &situation.node;
    let now = (deps.clock)();
    let decision = step(node, &cause.event, &context(deps, situation, now));
    let origin = origin(&cause.event);
    let because = |what: Happening| NewEvent::from(what).because(origin);
    let mut events = Vec::new();
    events.extend(of_cause(node, cause).map(because));
    let next = match &decision {
        Step::Stay(why) => {
            if let Event::Verb { request } = &cause.event {
                events.push(not_taken(request, why, &cause.source));
            }
            None
        }
        Step::Go(next) => Some((**next).clone()),
        Step::Fail(failure) => {
            let next = fail(node, failure, now);
            events.push(because(of_failure(node, failure, &next).into()));
            Some(next)
        }
    };
    if let Some(next) = &next {
        events.extend(second_boot(node, next).map(Happening::Netboot).map(because));
        events.extend(of_transition(node, next).map(Happening::State).map(because));
    }
    let power = seen_power(&cause.event).filter(|p| next.is_some() || node.power != Some(*p));
    let is_clock = cause.source == Source::Clock;
    if is_clock && next.is_none() && power.is_none() {
        return Ok(false);
    }
    let commit = TurnCommit {
        node,
        next: next.as_ref(),
        taken: if let Source::Inbox(id) = cause.source { Some(id) } else { None },
        done: if let Source::Action(key) = &cause.source { Some(key) } else { None },
        power: power.map(Some),
        due_at: due_at(deps, next.as_ref().map_or(node, |n| &n.node), situation.ramdisk_seen_at),
        events,
    };
    deps.store.commit(commit, now).await?;
    if let Some(next) = &next
        && next.node.state != node.state
    {
        let (from, to) = (node.state.as_str(), next.node.state.as_str());
        tracing::info!(node = %node.name, from, to, "transition");
    }
    Ok(true)
}

fn seen_power(event: &Event) -> Option<PowerState> {
    match event {
        Event::ActionDone { done: Done::Power { power } } | Event::PowerObserved { power } => {
            Some(*power)
        }
        Event::ActionDone { done: Done::BootDevice | Done::Media | Done::Ordered { .. } }
        | Event::Verb { .. }
        | Event::ActionFailed { .. }
        | Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::SecretReused
        | Event::RamdiskFetched
        | Event::Tick => None,
    }
}

/// What the events of a turn came of.
const fn origin(event: &Event) -> Origin {
    match event {
        Event::Verb { .. } => Origin::Person,
        Event::ActionDone { .. } | Event::ActionFailed { .. } => Origin::Action,
        Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::RamdiskFetched
        | Event::SecretReused => Origin::Agent,
        Event::PowerObserved { .. } => Origin::Bmc,
        Event::Tick => Origin::Clock,
    }
}

/// What happened, for the timeline. Agents' calls and requests are there already.
fn of_cause(node: &Node, cause: &Cause) -> Option<Happening> {
    match &cause.event {
        Event::ActionDone { done } => deed(node, *done, cause.took_ms).map(Happening::Action),
        Event::PowerObserved { power } if node.power != Some(*power) => {
            let power = *power;
            let is_new = node.power.is_none();
            Some(Happening::Power(if is_new {
                PowerNews::Seen { power }
            } else {
                PowerNews::Changed { power }
            }))
        }
        Event::PowerObserved { .. }
        | Event::Verb { .. }
        | Event::ActionFailed { .. }
        | Event::AgentHello
        | Event::StepReported { .. }
        | Event::InstalledCalled
        | Event::SecretReused
        | Event::RamdiskFetched
        | Event::Tick => None,
    }
}

/// What was done to the machine.
fn deed(node: &Node, done: Done, took_ms: i64) -> Option<Deed> {
    Some(match (done, &node.phase) {
        (Done::Power { power }, Phase::ReadPower) => Deed::BmcAnswered { power, took_ms },
        (Done::Power { power }, _) => Deed::PowerIs { power, took_ms },
        (Done::BootDevice, phase) => {
            let from = match (phase, node.boot_interface) {
                (Phase::NetworkBoot, BootInterface::Ipxe) => Some(BootsFrom::Network),
                (Phase::NetworkBoot, BootInterface::RedfishVirtualMedia) => Some(BootsFrom::Cd),
                (Phase::DiskBoot, _) => Some(BootsFrom::Disk),
                _ => None,
            };
            Deed::BootDevice { from, took_ms }
        }
        (Done::Media, phase) => {
            Deed::DeployCd { is_in: matches!(phase, Phase::InsertMedia), took_ms }
        }
        (Done::Ordered { .. }, Phase::Ordering { work }) => {
            Deed::AgentTold { work: work.doing().to_owned(), took_ms }
        }
        (Done::Ordered { .. }, _) => return None,
    })
}

/// Whoever asked follows the timeline: the request's number tells them that theirs is meant.
fn not_taken(request: &Verb, why: &str, source: &Source) -> NewEvent {
    let number = if let Source::Inbox(number) = source { Some(*number) } else { None };
    let (verb, why) = (request.to_string(), why.to_owned());
    let event = NewEvent::from(Asked::NotTaken { verb, why, not_taken: number });
    match number {
        Some(number) => event.of_request(number),
        None => event,
    }
}

fn of_failure(node: &Node, failure: &Failure, next: &Next) -> Failed {
    let sentence = next.node.last_error.as_ref().map_or_else(String::new, |e| e.text.clone());
    tracing::warn!(node = %node.name, error = %sentence, "failure");
    Failed { kind: failure.kind, sentence }
}

fn second_boot(node: &Node, next: &Next) -> Option<Netboot> {
    (next.node.booted_again && !node.booted_again).then_some(Netboot::BootsAgain)
}

fn of_transition(node: &Node, next: &Next) -> Option<Change> {
    let (from, to) = (node.state, next.node.state);
    let in_state_ms = next.node.state_since.saturating_sub(node.state_since);
    (from != to).then_some(Change { from, to, in_state_ms })
}
