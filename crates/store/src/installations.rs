//! Installations of the cloud: where each is, with what was asked of its machines. One is under way
//! at most; every write of it is one transaction with what belongs to it, and on the timeline.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    Digest, NodeId, NodeName, UnixMillis,
    installation::{Asked, Event, Installation, Order, SCHEMA, State},
    node::Verb,
    timeline::RunNews,
};

use crate::{
    Cause, DeploymentRow, Ident, NewEvent, Requested, Store, deployments,
    error::{StoreError, sql, to_json},
    requests, runs,
    timeline::append,
};

/// Installations that are kept.
const KEPT: i64 = 100;

/// An installation as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// One that can be read.
    Known(Box<Installation>),
    /// One of another version of this program, which stands in nobody's way.
    Other {
        /// Its number.
        number: i64,
        /// Whether it was under way.
        is_open: bool,
    },
}

/// What is written together with an installation's event.
#[derive(Debug, Clone, Copy)]
pub enum WithIt<'a> {
    /// Nothing.
    Nothing,
    /// Its run ended: well, or with one sentence.
    EndOfRun(Option<&'a str>),
    /// What was found by its checks.
    Verification(&'a serde_json::Value),
}

impl Store {
    /// The newest installation, if there is one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn newest_installation(&self) -> Result<Option<Kept>, StoreError> {
        let row = sqlx::query("SELECT * FROM installations ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("read the newest installation"))?;
        Ok(row.as_ref().map(kept))
    }

    /// Asks for an installation. The one under way goes on, if it is of the same order; else another
    /// takes its place.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn ask_for_installation(
        &self,
        order: &Order,
        now: UnixMillis,
    ) -> Result<Installation, StoreError> {
        let mut write = self.write().await?;
        let open = open(write.sql()).await?;
        if let Some(Kept::Known(before)) = &open
            && before.order == *order
        {
            let next = turn(write.sql(), before, Event::AskedAgain, Cause::Person, now).await?;
            write.commit("go on with an installation").await?;
            return Ok(next);
        }
        if let Some(before) = open {
            replace(write.sql(), before, now).await?;
        }
        let next: i64 = sqlx::query_scalar(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'installations'), 0) + 1",
        )
        .fetch_one(write.sql())
        .await
        .map_err(sql("number an installation"))?;
        let installation = Installation::new(next, order.clone(), now);
        sqlx::query(
            "INSERT INTO installations (number, schema, version, state, body, since, deadline)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(installation.number)
        .bind(SCHEMA)
        .bind(installation.version)
        .bind(installation.state.word())
        .bind(to_json("an installation", &installation)?)
        .bind(installation.since)
        .bind(installation.deadline)
        .execute(write.sql())
        .await
        .map_err(sql("begin an installation"))?;
        tell(write.sql(), &installation, Cause::Person, now).await?;
        sqlx::query("DELETE FROM installations WHERE number <= $1 AND ended_at IS NOT NULL")
            .bind(installation.number.saturating_sub(KEPT))
            .execute(write.sql())
            .await
            .map_err(sql("remove old installations"))?;
        write.commit("ask for an installation").await?;
        Ok(installation)
    }

    /// Something happened to an installation.
    ///
    /// # Errors
    /// It was written in the meantime, that cannot happen in its state, or the database cannot be
    /// written.
    pub async fn turn_installation(
        &self,
        installation: &Installation,
        event: Event,
        with: WithIt<'_>,
        now: UnixMillis,
    ) -> Result<Installation, StoreError> {
        let mut write = self.write().await?;
        if let Some(number) = installation.deployment {
            match with {
                WithIt::Nothing => {}
                WithIt::EndOfRun(failure) => runs::end(write.sql(), number, failure, now).await?,
                WithIt::Verification(report) => {
                    deployments::keep_verification(write.sql(), number, report).await?;
                }
            }
        }
        let next = turn(write.sql(), installation, event, Cause::Daemon, now).await?;
        write.commit("turn an installation").await?;
        Ok(next)
    }

    /// Asks one of its machines for something, and notes that.
    ///
    /// # Errors
    /// As [`Store::request`], and if the installation was written in the meantime.
    pub async fn installation_asks(
        &self,
        installation: &Installation,
        (node, name): (NodeId, &NodeName),
        verb: Verb,
        now: UnixMillis,
    ) -> Result<(Requested, Installation), StoreError> {
        let mut write = self.write().await?;
        let requested = requests::take(write.sql(), &Ident::from(node), verb, now).await?;
        let mut next = installation.clone();
        let asked = next.asked.entry(name.clone()).or_default();
        *asked = Asked { requests: asked.requests.saturating_add(1), at: now };
        let next = put(write.sql(), next, now).await?;
        write.commit("ask a machine").await?;
        Ok((requested, next))
    }

    /// Begins its run of this plan, as [`Store::begin_deployment`] does, and notes whose that is.
    ///
    /// # Errors
    /// The installation was written in the meantime, or the database cannot be written.
    pub async fn begin_installation_run<P: Serialize + DeserializeOwned>(
        &self,
        installation: &Installation,
        plan: &P,
        digest: &Digest,
        orders: &str,
        now: UnixMillis,
    ) -> Result<(DeploymentRow<P>, Installation), StoreError> {
        let mut write = self.write().await?;
        let number = runs::begin(write.sql(), plan, digest, orders, now).await?;
        let next = Installation { deployment: Some(number), ..installation.clone() };
        let next = put(write.sql(), next, now).await?;
        write.commit("begin an installation's run").await?;
        let row = self.deployment(number).await?.ok_or(StoreError::NoDeployment(number))?;
        Ok((row, next))
    }

    /// A daemon began: whatever was under way before, and is nobody's, is over. Says which
    /// installation goes on.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn resume_installation(
        &self,
        now: UnixMillis,
    ) -> Result<Option<Installation>, StoreError> {
        let mut write = self.write().await?;
        let mut resumed = None;
        match open(write.sql()).await? {
            Some(Kept::Known(open)) => {
                resumed =
                    Some(turn(write.sql(), &open, Event::DaemonBegan, Cause::Daemon, now).await?);
            }
            Some(other @ Kept::Other { .. }) => replace(write.sql(), other, now).await?,
            None => {}
        }
        let ours = resumed.as_ref().and_then(|installation| installation.deployment);
        let orphans: Vec<i64> = sqlx::query_scalar(
            "SELECT number FROM deployments WHERE ended_at IS NULL AND number IS NOT $1",
        )
        .bind(ours)
        .fetch_all(write.sql())
        .await
        .map_err(sql("look for runs that were broken off"))?;
        let why =
            "it was broken off, and another version of this program does not know how to go on";
        for number in orphans {
            runs::end(write.sql(), number, Some(why), now).await?;
        }
        write.commit("resume an installation").await?;
        Ok(resumed)
    }
}

/// The one that is under way.
async fn open(tx: &mut SqliteConnection) -> Result<Option<Kept>, StoreError> {
    let row = sqlx::query("SELECT * FROM installations WHERE ended_at IS NULL")
        .fetch_optional(tx)
        .await
        .map_err(sql("find the installation under way"))?;
    Ok(row.as_ref().map(kept))
}

/// Another is asked for; what this one had begun ends.
async fn replace(
    tx: &mut SqliteConnection,
    before: Kept,
    now: UnixMillis,
) -> Result<(), StoreError> {
    match before {
        Kept::Known(before) => {
            if let Some(number) = before.deployment {
                runs::end(tx, number, Some("another installation was asked for"), now).await?;
            }
            turn(tx, &before, Event::Replaced, Cause::Person, now).await.map(drop)
        }
        Kept::Other { number, .. } => {
            sqlx::query(
                "UPDATE installations SET ended_at = $2, state = $3, version = version + 1
                 WHERE number = $1",
            )
            .bind(number)
            .bind(now)
            .bind(State::Replaced.word())
            .execute(tx)
            .await
            .map_err(sql("end an installation of another version"))?;
            Ok(())
        }
    }
}

async fn turn(
    tx: &mut SqliteConnection,
    before: &Installation,
    event: Event,
    cause: Cause,
    now: UnixMillis,
) -> Result<Installation, StoreError> {
    let next = put(tx, before.on(event, now)?, now).await?;
    if next.state != before.state {
        tell(tx, &next, cause, now).await?;
    }
    Ok(next)
}

async fn tell(
    tx: &mut SqliteConnection,
    installation: &Installation,
    cause: Cause,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (number, text) = (installation.number, installation.state.to_string());
    let event = match &installation.state {
        State::WaitsForApproval { .. } => RunNews::InstallationWaits { installation: number, text },
        State::Failed { failure, .. } => {
            RunNews::InstallationFailed { installation: number, why: failure.message.clone() }
        }
        state => {
            let state = state.word().to_owned();
            RunNews::Installation { installation: number, state, text }
        }
    };
    append(tx, None, &NewEvent::from(event).because(cause), now).await
}

/// Writes it as the next version.
async fn put(
    tx: &mut SqliteConnection,
    mut next: Installation,
    now: UnixMillis,
) -> Result<Installation, StoreError> {
    let expected = next.version;
    next.version += 1;
    let written = sqlx::query(
        "UPDATE installations SET version = $3, state = $4, body = $5, since = $6, deadline = $7,
             ended_at = $8 WHERE number = $1 AND version = $2 AND ended_at IS NULL",
    )
    .bind(next.number)
    .bind(expected)
    .bind(next.version)
    .bind(next.state.word())
    .bind(to_json("an installation", &next)?)
    .bind(next.since)
    .bind(next.deadline)
    .bind(next.is_over().then_some(now))
    .execute(tx)
    .await
    .map_err(sql("write an installation"))?;
    if written.rows_affected() == 0 {
        return Err(StoreError::InstallationMoved(next.number));
    }
    Ok(next)
}

/// The columns are what counts: the clock moves those.
fn kept(row: &SqliteRow) -> Kept {
    let number = row.get("number");
    let read = (row.get::<i64, _>("schema") == SCHEMA)
        .then(|| serde_json::from_str::<Installation>(row.get("body")).ok())
        .flatten();
    match read {
        Some(body) => Kept::Known(Box::new(Installation {
            number,
            version: row.get("version"),
            since: row.get("since"),
            deadline: row.get("deadline"),
            ..body
        })),
        None => Kept::Other { number, is_open: row.get::<Option<i64>, _>("ended_at").is_none() },
    }
}
