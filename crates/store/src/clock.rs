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

/// The instants of a table.
pub(crate) struct Instants {
    pub(crate) table: &'static str,
    /// What something waits for, or what is told as "since" or compared with one of these: they move
    /// with the clock, in all rows or in those that are not over.
    pub(crate) moving: &'static [&'static str],
    open: Option<&'static str>,
    /// What else changes where they move.
    also: &'static [&'static str],
    /// Records of the past, as the clock showed it then. Nothing that moves is compared with them.
    #[cfg_attr(not(test), expect(dead_code, reason = "told, so that a test finds what is not"))]
    pub(crate) past: &'static [&'static str],
}

/// Of a table whose instants are all of the past.
const fn past(table: &'static str, past: &'static [&'static str]) -> Instants {
    Instants { table, moving: &[], open: None, also: &[], past }
}

/// The version is counted up: a turn that read the clock before it was set cannot write.
const VERSION: &str = "version = version + 1";
/// A failure is told from an earlier one by whether it came after what was asked for.
const LAST_ERROR: &str = "record = CASE WHEN json_type(record, '$.last_error.at') = 'integer'
     THEN json_set(record, '$.last_error.at', json_extract(record, '$.last_error.at') + $1)
     ELSE record END";
const ASKED: &str = "body = coalesce((
     SELECT json_set(body, '$.asked', json_group_object(key, json_set(value, '$.at', value ->> '$.at' + $1)))
     FROM json_each(body, '$.asked') HAVING count(*) > 0), body)";

/// Every instant of the database.
pub(crate) const INSTANTS: &[Instants] = &[
    Instants {
        table: "nodes",
        moving: &["state_since", "deadline", "due_at", "lease_until", "power_seen_at"],
        open: None,
        also: &[VERSION, LAST_ERROR],
        past: &["created_at", "updated_at"],
    },
    Instants {
        table: "boot_windows",
        moving: &["opened_at", "until"],
        open: Some("closed_at IS NULL"),
        also: &[],
        past: &["closed_at", "used_at"],
    },
    Instants {
        table: "agent_sessions",
        moving: &["opened_at", "seen_at"],
        open: None,
        also: &[],
        past: &[],
    },
    Instants {
        table: "machine_keys",
        moving: &["seen_at"],
        open: Some("revoked_at IS NULL"),
        also: &[],
        past: &["created_at", "revoked_at"],
    },
    Instants {
        table: "orders",
        moving: &["created_at"],
        open: Some("reported_at IS NULL AND withdrawn_at IS NULL"),
        also: &[],
        past: &["reported_at", "withdrawn_at"],
    },
    Instants { table: "ailments", moving: &["since", "seen_at"], open: None, also: &[], past: &[] },
    Instants {
        table: "installations",
        moving: &["since", "deadline"],
        open: Some("ended_at IS NULL"),
        also: &[VERSION, ASKED],
        past: &["ended_at"],
    },
    past("events", &["at_ms"]),
    past("inbox", &["at_ms"]),
    past("actions", &["at_ms"]),
    past("images", &["updated_at"]),
    past("container_images", &["updated_at"]),
    past("cloud_secrets", &["created_at"]),
    past("deployments", &["created_at", "started_at", "ended_at"]),
    past("deployment_runs", &["started_at", "ended_at"]),
    past("deployment_steps", &["ended_at"]),
    past("disk_approvals", &["at_ms"]),
];

impl Instants {
    /// Moves them by `$1`; nothing, where none moves.
    fn shift(&self) -> Option<String> {
        let Self { table, moving, open, also, .. } = self;
        let sets = moving.iter().map(|column| format!("{column} = {column} + $1"));
        let sets: Vec<_> = sets.chain(also.iter().map(|&set| set.to_owned())).collect();
        let rows = open.map(|open| format!(" WHERE {open}")).unwrap_or_default();
        (!moving.is_empty()).then(|| format!("UPDATE {table} SET {}{rows}", sets.join(", ")))
    }
}

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
    for statement in INSTANTS.iter().filter_map(Instants::shift) {
        // Nothing of it comes from outside: each word stands in this file.
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(by_ms)
            .execute(&mut *tx)
            .await
            .map_err(sql("follow the clock"))?;
    }
    let event = NewEvent::from(RecordNews::ClockSet { by_ms });
    append(tx, None, &event.because(Cause::Clock), now).await
}
