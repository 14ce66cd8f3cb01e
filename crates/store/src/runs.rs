//! Runs of deployments: each begins and ends once, on the timeline too.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqliteConnection};
use undercloud_model::{Digest, UnixMillis, timeline::RunNews};

use crate::{
    Cause, DeploymentRow, NewEvent, Run, Store,
    error::{StoreError, sql, to_json},
    timeline::append,
};

impl Store {
    /// Begins a run of this plan. The newest deployment is run again if it has the same plan: a run
    /// that never ended (the daemon died) goes on, one that did is followed by the next. Another
    /// plan is another deployment. With a run that is new, the open orders of earlier ones, whose
    /// keys begin with `orders`, are nobody's any more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn begin_deployment<P: Serialize + DeserializeOwned>(
        &self,
        plan: &P,
        digest: &Digest,
        orders: &str,
        now: UnixMillis,
    ) -> Result<DeploymentRow<P>, StoreError> {
        let mut write = self.write().await?;
        let number = begin(write.sql(), plan, digest, orders, now).await?;
        write.commit("begin a deployment").await?;
        self.deployment(number).await?.ok_or(StoreError::NoDeployment(number))
    }

    /// The run ended: well, or with one sentence.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_deployment(
        &self,
        number: i64,
        failure: Option<&str>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        end(write.sql(), number, failure, now).await?;
        write.commit("end a deployment").await
    }
}

/// Begins a run of this plan; says of which deployment.
pub(crate) async fn begin<P: Serialize>(
    tx: &mut SqliteConnection,
    plan: &P,
    digest: &Digest,
    orders: &str,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    let newest = sqlx::query(
        "SELECT number, digest, ended_at FROM deployments ORDER BY number DESC LIMIT 1",
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(sql("find the newest deployment"))?;
    let same = newest.filter(|row| row.get::<&str, _>("digest") == digest.to_string());
    let run = match same {
        Some(row) if row.get::<Option<i64>, _>("ended_at").is_none() => {
            return Ok(row.get("number"));
        }
        Some(row) => {
            let deployment = row.get("number");
            let attempt = sqlx::query_scalar(
                "UPDATE deployments SET attempt = attempt + 1, started_at = $2,
                     ended_at = NULL, failure = NULL WHERE number = $1 RETURNING attempt",
            )
            .bind(deployment)
            .bind(now)
            .fetch_one(&mut *tx)
            .await
            .map_err(sql("begin a deployment's next run"))?;
            Run { deployment, attempt }
        }
        None => {
            let deployment = sqlx::query_scalar(
                "INSERT INTO deployments (digest, plan, created_at, attempt, started_at)
                 VALUES ($1, $2, $3, 1, $3) RETURNING number",
            )
            .bind(digest.to_string())
            .bind(to_json("a plan", plan)?)
            .bind(now)
            .fetch_one(&mut *tx)
            .await
            .map_err(sql("begin a deployment"))?;
            Run { deployment, attempt: 1 }
        }
    };
    withdraw(tx, orders, now).await?;
    begin_run(tx, run, digest, now).await?;
    Ok(run.deployment)
}

/// The run of a deployment ended. One that is over already ends once.
pub(crate) async fn end(
    tx: &mut SqliteConnection,
    number: i64,
    failure: Option<&str>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let ended = sqlx::query(
        "UPDATE deployments SET ended_at = $2, failure = $3
         WHERE number = $1 AND ended_at IS NULL RETURNING attempt, started_at",
    )
    .bind(number)
    .bind(now)
    .bind(failure)
    .fetch_optional(&mut *tx)
    .await
    .map_err(sql("end a deployment"))?;
    let Some(ended) = ended else { return Ok(()) };
    let run = Run { deployment: number, attempt: ended.get("attempt") };
    sqlx::query(
        "UPDATE deployment_runs SET ended_at = $3, failure = $4
         WHERE deployment = $1 AND attempt = $2",
    )
    .bind(number)
    .bind(run.attempt)
    .bind(now)
    .bind(failure)
    .execute(&mut *tx)
    .await
    .map_err(sql("end a run"))?;
    let took_ms = now.saturating_sub(ended.get("started_at"));
    let (deployment, attempt) = (number, run.attempt);
    let event = match failure {
        None => RunNews::RunEnded { deployment, run: attempt, took_ms },
        Some(why) => RunNews::RunFailed { deployment, run: attempt, why: why.to_owned(), took_ms },
    };
    append(tx, None, &NewEvent::from(event).of_run(run), now).await
}

async fn begin_run(
    tx: &mut SqliteConnection,
    run: Run,
    plan: &Digest,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let Run { deployment, attempt } = run;
    sqlx::query(
        "INSERT INTO deployment_runs (deployment, attempt, started_at) VALUES ($1, $2, $3)",
    )
    .bind(deployment)
    .bind(attempt)
    .bind(now)
    .execute(&mut *tx)
    .await
    .map_err(sql("begin a run"))?;
    let event = RunNews::RunBegan { deployment, run: attempt, plan: *plan };
    let event = NewEvent::from(event).because(Cause::Person).of_run(run);
    append(tx, None, &event, now).await
}

/// Open orders of installed agents whose keys begin with `prefix` are nobody's any more.
pub(crate) async fn withdraw(
    tx: &mut SqliteConnection,
    prefix: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE orders SET withdrawn_at = $2, body = NULL
         WHERE substr(key, 1, length($1)) = $1 AND agent = 'installed'
             AND withdrawn_at IS NULL AND reported_at IS NULL",
    )
    .bind(prefix)
    .bind(now)
    .execute(tx)
    .await
    .map_err(sql("withdraw orders"))?;
    Ok(())
}
