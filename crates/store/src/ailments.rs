//! What is wrong with the installed cloud. A trouble that begins, changes or ends is one event,
//! written with the row in one transaction; a daemon that starts anew finds what was known.

use serde::{Deserialize, Serialize};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{
    NodeId, UnixMillis,
    ailment::{Ailment, Subject},
    node::ProvisionState,
    timeline::HealthNews,
};

use crate::{
    NewEvent, Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
    timeline::append,
};

/// Figures and last lines of what goes on are written this often at most.
const REFRESH_MS: i64 = 30_000;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AilmentRow {
    /// On which machine; none for what is the cloud's.
    pub node: Option<NodeId>,
    /// What.
    pub ailment: Ailment,
    /// Since when.
    pub since: UnixMillis,
    /// One sentence, with the cause where it is known.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
    /// What the service said last.
    pub said: Vec<String>,
}

/// What was found out of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnosis {
    /// It is ill.
    Ill {
        /// How.
        ailment: Ailment,
        /// One sentence, with the cause where it is known.
        text: String,
        /// What to do.
        hint: Option<String>,
        /// What the service said last.
        said: Vec<String>,
    },
    /// It is well.
    Well(Subject),
}

impl Diagnosis {
    fn subject(&self) -> Subject {
        match self {
            Self::Ill { ailment, .. } => ailment.subject(),
            Self::Well(subject) => subject.clone(),
        }
    }
}

impl Store {
    /// What is wrong now, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ailments(&self) -> Result<Vec<AilmentRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM ailments ORDER BY since, rowid")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(sql("list what is wrong"))?;
        Ok(rows.iter().filter_map(|row| of(row).ok()).map(|(row, _)| row).collect())
    }

    /// What is wrong with one machine, or with the cloud.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ailments_of(&self, node: Option<NodeId>) -> Result<Vec<AilmentRow>, StoreError> {
        let found = find(&mut *self.read().await?, node).await?;
        Ok(found.into_iter().map(|(row, _)| row).collect())
    }

    /// Takes in what was found out of a machine, or of the cloud. Nothing is written where nothing
    /// changed.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn diagnose(
        &self,
        node: Option<NodeId>,
        found: &[Diagnosis],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let known = find(&mut *self.read().await?, node).await?;
        if found.iter().all(|one| news(&known, one, now).is_none()) {
            return Ok(());
        }
        let mut write = self.write().await?;
        // Somebody else may have written since.
        let known = find(write.sql(), node).await?;
        for one in found {
            match news(&known, one, now) {
                None => {}
                Some(News::Over { since }) => {
                    remove(write.sql(), node, &one.subject()).await?;
                    let event = ended(&one.subject(), since, now);
                    append(write.sql(), node, &event, now).await?;
                }
                Some(News::Refresh { since }) => put(write.sql(), node, one, since, now).await?,
                Some(News::Begun) => {
                    put(write.sql(), node, one, now, now).await?;
                    if let Some(event) = begun(one) {
                        append(write.sql(), node, &event, now).await?;
                    }
                }
            }
        }
        write.commit("record what is wrong").await
    }

    /// Nobody looks after machines without an installed system, so nothing is known of them.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn forget_ailments_of_others(&self) -> Result<(), StoreError> {
        let active = ProvisionState::Active.as_str();
        let some: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM ailments WHERE node IN (SELECT id FROM nodes WHERE state <> $1))")
                .bind(active)
                .fetch_one(&mut *self.read().await?)
                .await
                .map_err(sql("look for what is wrong"))?;
        if !some {
            return Ok(());
        }
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM ailments WHERE node IN (SELECT id FROM nodes WHERE state <> $1)")
            .bind(active)
            .execute(write.sql())
            .await
            .map_err(sql("forget what is wrong"))?;
        write.commit("forget what is wrong").await
    }
}

/// What there is to write.
enum News {
    Begun,
    Refresh { since: UnixMillis },
    Over { since: UnixMillis },
}

fn news(known: &[(AilmentRow, UnixMillis)], one: &Diagnosis, now: UnixMillis) -> Option<News> {
    let subject = one.subject();
    let row = known.iter().find(|(row, _)| row.ailment.subject() == subject);
    match (one, row) {
        (Diagnosis::Well(_), None) => None,
        (Diagnosis::Well(_), Some((row, _))) => Some(News::Over { since: row.since }),
        (Diagnosis::Ill { .. }, None) => Some(News::Begun),
        (Diagnosis::Ill { ailment, .. }, Some((row, _))) if !ailment.is_like(&row.ailment) => {
            Some(News::Begun)
        }
        (Diagnosis::Ill { text, hint, said, .. }, Some((row, seen_at))) => {
            let is_same = (text, hint, said) == (&row.text, &row.hint, &row.said);
            let is_due = now.saturating_sub(*seen_at).unsigned_abs() >= REFRESH_MS.unsigned_abs();
            (!is_same && is_due).then_some(News::Refresh { since: row.since })
        }
    }
}

fn begun(one: &Diagnosis) -> Option<NewEvent> {
    let Diagnosis::Ill { ailment, text, hint, said } = one else { return None };
    let (ailment, text) = (ailment.clone(), text.clone());
    Some(HealthNews::Ill { ailment, text, hint: hint.clone(), said: said.clone() }.into())
}

fn ended(subject: &Subject, since: UnixMillis, now: UnixMillis) -> NewEvent {
    let seconds = now.saturating_sub(since).max(0) / 1000;
    HealthNews::Well { over: subject.clone(), since, seconds }.into()
}

async fn find(
    db: &mut SqliteConnection,
    node: Option<NodeId>,
) -> Result<Vec<(AilmentRow, UnixMillis)>, StoreError> {
    let rows = sqlx::query("SELECT * FROM ailments WHERE node IS $1")
        .bind(node.map(|node| node.to_string()))
        .fetch_all(db)
        .await
        .map_err(sql("list what is wrong"))?;
    // What another version wrote and this one has no word for is found again, if it is so still.
    Ok(rows.iter().filter_map(|row| of(row).ok()).collect())
}

fn of(row: &SqliteRow) -> Result<(AilmentRow, UnixMillis), StoreError> {
    let node: Option<&str> = row.get("node");
    let ailment = AilmentRow {
        node: node.map(str::parse).transpose().map_err(corrupt("node id"))?,
        ailment: from_json("an ailment", row.get("ailment"))?,
        since: row.get("since"),
        text: row.get("text"),
        hint: row.get("hint"),
        said: from_json("a service's last lines", row.get("said"))?,
    };
    Ok((ailment, row.get("seen_at")))
}

async fn remove(
    tx: &mut SqliteConnection,
    node: Option<NodeId>,
    subject: &Subject,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ailments WHERE node IS $1 AND subject = $2")
        .bind(node.map(|node| node.to_string()))
        .bind(to_json("a subject", subject)?)
        .execute(tx)
        .await
        .map_err(sql("end what was wrong"))?;
    Ok(())
}

async fn put(
    tx: &mut SqliteConnection,
    node: Option<NodeId>,
    one: &Diagnosis,
    since: UnixMillis,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Diagnosis::Ill { ailment, text, hint, said } = one else { return Ok(()) };
    remove(&mut *tx, node, &ailment.subject()).await?;
    sqlx::query(
        "INSERT INTO ailments (node, subject, ailment, since, seen_at, text, hint, said)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(node.map(|node| node.to_string()))
    .bind(to_json("a subject", &ailment.subject())?)
    .bind(to_json("an ailment", ailment)?)
    .bind(since)
    .bind(now)
    .bind(text)
    .bind(hint)
    .bind(to_json("a service's last lines", said)?)
    .execute(tx)
    .await
    .map_err(sql("record what is wrong"))?;
    Ok(())
}
