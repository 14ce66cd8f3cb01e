//! Who is due, and nobody twice at a time. A write in the store, a call and the clock wake it.
//!
//! ```text
//! store: due_at, an index, the longest waiting first ──▶ turns of work   (turns_max at once)
//!   of those whose BMC is silent or was never asked  ──▶ turns of work   (unheard_turns_max at once)
//! memory: whose power is looked at next ([`Looks`])  ──▶ turns of looking (looks_max at once)
//! ```
//! None waits for a slot of another, so BMCs that do not answer keep nobody from work whose BMC does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use undercloud_model::{NodeId, UnixMillis};
use undercloud_store::{StoreError, TurnLease, Whose};

use crate::{
    EngineDeps,
    looks::Looks,
    turn::{Ended, turn},
};

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// After an error of the store, or a turn that was due and did nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// For so long a node's turns are ours; renewed while one of them goes on.
const LEASE_MS: i64 = 60_000;

/// What a turn was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Work(Whose),
    Look,
}

const WORK: [Kind; 2] = [Kind::Work(Whose::Heard), Kind::Work(Whose::Unheard)];

/// A turn that was given.
#[derive(Debug, Clone, Copy)]
struct Given {
    kind: Kind,
    at: UnixMillis,
    /// The store's changes until then.
    changes: u64,
}

type TurnEnd = (NodeId, Result<Ended, StoreError>);

struct Dispatch {
    deps: EngineDeps,
    owner: String,
    turns: JoinSet<TurnEnd>,
    /// Who has one.
    in_turn: HashMap<NodeId, Given>,
    looks: Looks,
    /// Nodes that are to be left alone for a moment.
    paused: HashMap<NodeId, Instant>,
    /// Until then nobody's work is due, unless the store changes or a turn of work ends: nobody needs
    /// to be asked. Nothing, if that is not known.
    quiet_until: Option<UnixMillis>,
    /// The store's changes so far.
    changes: u64,
    leased_at: UnixMillis,
    /// When turns were given last.
    gave_at: UnixMillis,
}

/// Runs until it is cancelled or the store is gone for good.
pub(crate) async fn run(
    deps: EngineDeps,
    wake: Arc<Notify>,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let mut changes = deps.store.changes();
    let now = (deps.clock)();
    let mut dispatch = Dispatch {
        // The state's lock says that no other process has turns of it.
        owner: format!("{}-{}", std::process::id(), deps.store.opened_at()),
        leased_at: now,
        gave_at: now,
        deps,
        turns: JoinSet::new(),
        in_turn: HashMap::new(),
        looks: Looks::default(),
        paused: HashMap::new(),
        quiet_until: None,
        changes: *changes.borrow(),
    };
    let mut has_begun = false;
    loop {
        dispatch.note_changes(*changes.borrow_and_update());
        let given = if has_begun { dispatch.give().await } else { dispatch.begin().await };
        let sleep = match given {
            Ok(sleep) => {
                has_begun = true;
                sleep
            }
            Err(StoreError::Halted) => return Err(StoreError::Halted),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot look for work");
                PAUSE
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            Some(ended) = dispatch.turns.join_next() => match ended {
                Ok(end) => dispatch.ended(end)?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            },
            _ = changes.changed() => {}
            () = wake.notified() => dispatch.quiet_until = None,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

impl Dispatch {
    /// The store has changed so often.
    fn note_changes(&mut self, changes: u64) {
        if self.changes != changes {
            self.changes = changes;
            self.quiet_until = None;
        }
    }

    /// What an earlier process had is ours, and every node is looked at once.
    async fn begin(&mut self) -> Result<Duration, StoreError> {
        self.deps.store.end_leases().await?;
        let now = (self.deps.clock)();
        for node in self.deps.store.watched().await? {
            self.looks.set(&node, &self.deps.limits, None, now);
        }
        self.give().await
    }

    /// Gives turns as far as there are slots; says when to look again at the latest.
    async fn give(&mut self) -> Result<Duration, StoreError> {
        let instant = Instant::now();
        self.paused.retain(|_, until| *until > instant);
        let now = (self.deps.clock)();
        // A clock that was set back must not stop the looks.
        if now < self.gave_at {
            self.looks.shift(now.saturating_sub(self.gave_at));
            self.quiet_until = None;
            self.leased_at = self.leased_at.min(now);
        }
        self.gave_at = now;
        self.renew_leases(now).await?;
        if self.quiet_until.is_none_or(|until| until <= now) {
            self.quiet_until = None;
            self.give_work(now).await?;
        }
        let free = self.free(Kind::Look);
        for node in self.looks.due(now, free, |id| self.is_left_out(id)) {
            self.give_turn(node, Kind::Look, now);
        }
        self.sleep(now).await
    }

    async fn give_work(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        let lease = self.lease(now);
        for kind in WORK {
            let (Kind::Work(whose), free @ 1..) = (kind, self.free(kind)) else { continue };
            let store = &self.deps.store;
            let due = store.take_due(&lease, (whose, &self.left_out()), free, now).await?;
            for node in due {
                self.give_turn(node, kind, now);
            }
        }
        Ok(())
    }

    /// Until something is due that there is a slot for. The end of a turn wakes us, too.
    async fn sleep(&mut self, now: UnixMillis) -> Result<Duration, StoreError> {
        if self.quiet_until.is_none() {
            self.quiet_until = Some(self.work_due(now).await?);
        }
        let mut sleep = if self.paused.is_empty() { SLEEP_MAX } else { PAUSE };
        let mut wake_at = |at: UnixMillis| {
            let ms = u64::try_from(at.saturating_sub(now)).unwrap_or(0).saturating_add(1);
            sleep = sleep.min(Duration::from_millis(ms));
        };
        if let Some(at) = self.quiet_until {
            wake_at(at);
        }
        if self.free(Kind::Look) > 0
            && let Some(at) = self.looks.next(|id| self.is_left_out(id))
        {
            wake_at(at);
        }
        Ok(sleep)
    }

    /// When the next work is due that there is a slot for. One that is paused is asked for again as
    /// soon as it is not.
    async fn work_due(&self, now: UnixMillis) -> Result<UnixMillis, StoreError> {
        let longest = if self.paused.is_empty() { SLEEP_MAX } else { PAUSE };
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let mut due = now.saturating_add(longest);
        for kind in WORK {
            if let Kind::Work(whose) = kind
                && self.free(kind) > 0
                && let Some(at) = self.deps.store.next_due(whose, &self.left_out()).await?
            {
                due = due.min(at);
            }
        }
        Ok(due)
    }

    fn lease(&self, now: UnixMillis) -> TurnLease {
        TurnLease { owner: self.owner.clone(), until: now.saturating_add(LEASE_MS) }
    }

    async fn renew_leases(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        if now.saturating_sub(self.leased_at) < LEASE_MS / 3 {
            return Ok(());
        }
        self.leased_at = now;
        let nodes: Vec<NodeId> = self.in_turn.keys().copied().collect();
        if nodes.is_empty() {
            return Ok(());
        }
        self.deps.store.renew_leases(&self.lease(now), &nodes).await
    }

    /// How many more turns of that kind there are slots for.
    fn free(&self, kind: Kind) -> usize {
        let limits = &self.deps.limits;
        let max = match kind {
            Kind::Work(Whose::Heard) => limits.turns_max,
            Kind::Work(Whose::Unheard) => limits.unheard_turns_max,
            Kind::Look => limits.looks_max,
        };
        max.saturating_sub(self.in_turn.values().filter(|given| given.kind == kind).count())
    }

    fn is_left_out(&self, node: NodeId) -> bool {
        self.in_turn.contains_key(&node) || self.paused.contains_key(&node)
    }

    fn left_out(&self) -> Vec<NodeId> {
        let all: HashSet<NodeId> = self.in_turn.keys().chain(self.paused.keys()).copied().collect();
        all.into_iter().collect()
    }

    fn give_turn(&mut self, node: NodeId, kind: Kind, now: UnixMillis) {
        if self.in_turn.contains_key(&node) {
            return;
        }
        self.in_turn.insert(node, Given { kind, at: now, changes: self.changes });
        let deps = self.deps.clone();
        self.turns.spawn(async move { (node, turn(&deps, node, kind == Kind::Look).await) });
    }

    fn ended(&mut self, (node, end): TurnEnd) -> Result<(), StoreError> {
        let given = self.in_turn.remove(&node);
        let was_look = given.is_some_and(|given| given.kind == Kind::Look);
        // Whoever has a turn is left out when it is asked who is due.
        self.quiet_until = match (&end, given) {
            (Ok(ended), Some(given)) if was_look && given.changes == self.changes => {
                self.quiet_until.map(|until| ended.due_at.map_or(until, |at| until.min(at)))
            }
            _ => None,
        };
        let pause = |dispatch: &mut Self| dispatch.paused.insert(node, Instant::now() + PAUSE);
        match end {
            Ok(ended) => {
                match &ended.node {
                    Some(watched) => {
                        // From when it was given on: a BMC that takes its time is asked as often.
                        let since = given.map_or(self.gave_at, |given| given.at);
                        self.looks.set(watched, &self.deps.limits, ended.look, since);
                    }
                    None => self.looks.forget(node),
                }
                if !ended.has_written && !was_look {
                    pause(self);
                }
            }
            Err(StoreError::Halted) => return Err(StoreError::Halted),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%node, error, "a turn ended early");
                pause(self);
            }
        }
        Ok(())
    }
}
