//! Who is due, and nobody twice at a time. A write in the store, the bell and the clock wake it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use undercloud_model::{
    NodeId, UnixMillis,
    node::{BootProgress, Context, Phase, ProvisionState},
};
use undercloud_store::{AgendaRow, StoreError};

use crate::{EngineDeps, turn::turn};

/// The longest sleep: a clock that was set is noticed by then.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// After an error of the store, or a turn that was due and did nothing.
const PAUSE: Duration = Duration::from_secs(1);

type TurnEnd = (NodeId, Result<bool, StoreError>);

struct Dispatch {
    deps: EngineDeps,
    turns: JoinSet<TurnEnd>,
    in_turn: HashSet<NodeId>,
    /// When each node's power was looked at last.
    looked_at: HashMap<NodeId, UnixMillis>,
    /// Nodes that are to be left alone for a moment.
    paused: HashMap<NodeId, Instant>,
}

/// What the clock says about a node.
enum Due {
    Now { poll: bool },
    In { ms: i64 },
}

/// Runs until it is cancelled or the store is gone for good.
pub(crate) async fn run(
    deps: EngineDeps,
    bell: Arc<Notify>,
    cancel: CancellationToken,
) -> Result<(), StoreError> {
    let mut changes = deps.store.changes();
    let mut dispatch = Dispatch {
        deps,
        turns: JoinSet::new(),
        in_turn: HashSet::new(),
        looked_at: HashMap::new(),
        paused: HashMap::new(),
    };
    loop {
        changes.mark_unchanged();
        let sleep = match dispatch.look().await {
            Ok(sleep) => sleep,
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
            () = bell.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

impl Dispatch {
    /// Gives a turn to everybody who is due; says when to look again at the latest.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let agenda = self.deps.store.agenda().await?;
        let known: HashSet<NodeId> = agenda.iter().map(|row| row.id).collect();
        self.looked_at.retain(|id, _| known.contains(id));
        let instant = Instant::now();
        self.paused.retain(|_, until| *until > instant);
        let mut sleep = if self.paused.is_empty() { SLEEP_MAX } else { PAUSE };
        let now = (self.deps.clock)();
        for row in agenda {
            if self.in_turn.contains(&row.id) || self.paused.contains_key(&row.id) {
                continue;
            }
            match self.due(&row, now) {
                Due::Now { poll } if self.turns.len() < self.deps.limits.turns_max => {
                    self.give_turn(row.id, poll, now);
                }
                // The end of another's turn wakes us.
                Due::Now { .. } => {}
                Due::In { ms } => {
                    let ms = u64::try_from(ms).unwrap_or(0).saturating_add(1);
                    sleep = sleep.min(Duration::from_millis(ms));
                }
            }
        }
        Ok(sleep)
    }

    fn give_turn(&mut self, node: NodeId, poll: bool, now: UnixMillis) {
        if poll {
            self.looked_at.insert(node, now);
        }
        self.in_turn.insert(node);
        let deps = self.deps.clone();
        self.turns.spawn(async move {
            let ended = turn(&deps, node, poll).await;
            // A look is a look, whatever it saw.
            (node, ended.map(|wrote| wrote || poll))
        });
    }

    fn ended(&mut self, (node, end): TurnEnd) -> Result<(), StoreError> {
        self.in_turn.remove(&node);
        match end {
            Ok(true) => {}
            Ok(false) => {
                self.paused.insert(node, Instant::now() + PAUSE);
            }
            Err(StoreError::Halted) => return Err(StoreError::Halted),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%node, error, "a turn ended early");
                self.paused.insert(node, Instant::now() + PAUSE);
            }
        }
        Ok(())
    }

    fn due(&self, row: &AgendaRow, now: UnixMillis) -> Due {
        let poll_ms = self.poll_every(row);
        let last = self.looked_at.get(&row.id).copied();
        // A clock that was set back must not stop the looks.
        let poll_in = poll_ms.map(|every| {
            last.map_or(0, |at| at.saturating_add(every).saturating_sub(now).min(every))
        });
        let is_poll_due = poll_in.is_some_and(|ms| ms <= 0);
        if row.pending || self.is_overdue(row, now) || is_poll_due {
            return Due::Now { poll: is_poll_due };
        }
        let policy = &self.deps.policy;
        let listening = self.deps.store.opened_at();
        let grace = listening.saturating_add(policy.restart_grace_ms);
        let deadline = row.deadline.map(|d| d.max(grace));
        let silence = match row.phase {
            Phase::Ordered { .. } => {
                let seen = row.ramdisk_seen_at.unwrap_or(listening).max(listening);
                Some(seen.saturating_add(policy.agent_silence_ms).saturating_add(1))
            }
            _ => None,
        };
        let waits = [deadline, silence].into_iter().flatten().map(|at| at.saturating_sub(now));
        let ms = waits.chain(poll_in).min().unwrap_or(i64::MAX).max(0);
        Due::In { ms }
    }

    fn is_overdue(&self, row: &AgendaRow, now: UnixMillis) -> bool {
        let ctx = Context {
            policy: &self.deps.policy,
            now,
            listening_since: self.deps.store.opened_at(),
            ramdisk_seen_at: row.ramdisk_seen_at,
            boot_progress: BootProgress::default(),
            boot_opened_at: None,
        };
        row.deadline.is_some_and(|d| ctx.is_past(d))
            || (matches!(row.phase, Phase::Ordered { .. }) && ctx.ramdisk_is_silent())
    }

    /// Machines that somebody waits for are looked at often, the others seldom, those that nobody
    /// verified or that are in maintenance never.
    fn poll_every(&self, row: &AgendaRow) -> Option<i64> {
        let limits = &self.deps.limits;
        if row.phase.needs_power() {
            Some(limits.power_poll_busy_ms)
        } else if row.state.is_stable()
            && row.phase == Phase::Idle
            && row.state != ProvisionState::Enroll
            && !row.maintenance
        {
            Some(limits.power_poll_idle_ms)
        } else {
            None
        }
    }
}
