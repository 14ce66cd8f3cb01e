//! The host's clock was set. Deadlines are kept as times of day, for they outlive the process; when
//! the clock jumps, what is waited for moves with it, so that nothing is over hours too early or too
//! late.

use sqlx::SqliteConnection;
use undercloud_model::{
    UnixMillis,
    timeline::{Cause, RecordNews},
};

use crate::{
    NewEvent, Store,
    error::{StoreError, sql},
    timeline::append,
};

/// Every time that something waits for. The version is counted up with a node's: a turn that read
/// the clock before it was set cannot write.
const SHIFTS: &[&str] = &[
    "UPDATE nodes SET version = version + 1, deadline = deadline + $1, due_at = due_at + $1,
         lease_until = lease_until + $1, power_seen_at = power_seen_at + $1",
    "UPDATE boot_windows SET opened_at = opened_at + $1, until = until + $1
     WHERE closed_at IS NULL",
    "UPDATE agent_sessions SET opened_at = opened_at + $1, seen_at = seen_at + $1",
    "UPDATE machine_keys SET seen_at = seen_at + $1 WHERE revoked_at IS NULL",
    "UPDATE orders SET created_at = created_at + $1
     WHERE reported_at IS NULL AND withdrawn_at IS NULL",
    "UPDATE ailments SET since = since + $1, seen_at = seen_at + $1",
    "UPDATE installations SET version = version + 1, since = since + $1, deadline = deadline + $1
     WHERE ended_at IS NULL",
];

/// A clock that is this much behind the last that was written down was set back meanwhile.
const BACK_MIN_MS: i64 = 60_000;

impl Store {
    /// The clock was set by `by_ms`, and shows `now` since. `follow` is called in between with
    /// that, or with its opposite if it comes to nothing: whoever tells the time here follows then.
    ///
    /// # Errors
    /// The database cannot be written: then nothing has changed.
    pub async fn clock_was_set(
        &self,
        by_ms: i64,
        now: UnixMillis,
        follow: impl Fn(i64),
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        shift(write.sql(), by_ms, now).await?;
        // Nobody can write before the commit, and who read before it is refused after it.
        self.move_memory(by_ms);
        follow(by_ms);
        let done = write.commit("follow the clock").await;
        if done.is_err() {
            self.move_memory(-by_ms);
            follow(-by_ms);
        }
        done
    }

    /// Where the clock was set back while no process was there to see it: by how much at least is
    /// known by what was written last.
    pub(crate) async fn follow_a_clock_that_went_back(
        &self,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let last: i64 = sqlx::query_scalar(
            "SELECT max(coalesce((SELECT max(updated_at) FROM nodes), 0),
                 coalesce((SELECT at_ms FROM events ORDER BY id DESC LIMIT 1), 0))",
        )
        .fetch_one(&mut *self.read().await?)
        .await
        .map_err(sql("read the last time"))?;
        let by_ms = now.saturating_sub(last);
        if by_ms > -BACK_MIN_MS {
            return Ok(());
        }
        let mut write = self.write().await?;
        shift(write.sql(), by_ms, now).await?;
        // Otherwise it would be found again and again.
        sqlx::query("UPDATE nodes SET updated_at = $1 WHERE updated_at > $1")
            .bind(now)
            .execute(write.sql())
            .await
            .map_err(sql("follow the clock"))?;
        write.commit("follow the clock").await
    }
}

async fn shift(tx: &mut SqliteConnection, by_ms: i64, now: UnixMillis) -> Result<(), StoreError> {
    for statement in SHIFTS {
        sqlx::query(*statement)
            .bind(by_ms)
            .execute(&mut *tx)
            .await
            .map_err(sql("follow the clock"))?;
    }
    let event = NewEvent::from(RecordNews::ClockSet { by_ms });
    append(tx, None, &event.because(Cause::Clock), now).await
}
