//! The cloud's secrets: generated once, given to the machines that need them.

use undercloud_model::{Secret, UnixMillis};

use crate::{
    Store,
    error::{StoreError, sql},
};

impl Store {
    /// A secret of the cloud, if it was ever kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn cloud_secret(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT value FROM cloud_secrets WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *self.read().await?)
                .await
                .map_err(sql("read a secret"))?;
        Ok(found.map(Secret::new))
    }

    /// The secrets of the cloud whose names begin with `prefix`, with their names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn cloud_secrets_under(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Secret)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, value FROM cloud_secrets WHERE substr(name, 1, length($1)) = $1
             ORDER BY name",
        )
        .bind(prefix)
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(sql("list secrets"))?;
        Ok(rows.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
    }

    /// Keeps a secret under a name that has none; returns the one that is kept then, which is an
    /// earlier one if there was one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn keep_cloud_secret(
        &self,
        name: &str,
        fresh: &Secret,
        now: UnixMillis,
    ) -> Result<Secret, StoreError> {
        if let Some(kept) = self.cloud_secret(name).await? {
            return Ok(kept);
        }
        let mut write = self.write().await?;
        let kept: String = sqlx::query_scalar(
            "INSERT INTO cloud_secrets (name, value, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET value = value RETURNING value",
        )
        .bind(name)
        .bind(fresh.expose())
        .bind(now)
        .fetch_one(write.sql())
        .await
        .map_err(sql("keep a secret"))?;
        write.commit("keep a secret").await?;
        Ok(Secret::new(kept))
    }

    /// Keeps a secret in place of another: a certificate that nears its end.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn replace_cloud_secret(
        &self,
        name: &str,
        fresh: &Secret,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO cloud_secrets (name, value, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value,
                 created_at = excluded.created_at",
        )
        .bind(name)
        .bind(fresh.expose())
        .bind(now)
        .execute(write.sql())
        .await
        .map_err(sql("replace a secret"))?;
        write.commit("replace a secret").await
    }
}
