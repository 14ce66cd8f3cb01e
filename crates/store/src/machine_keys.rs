//! The keys of installed systems, where one takes the place of another without a deployment.

use sqlx::Row as _;
use undercloud_model::{NodeId, Secret, UnixMillis, timeline::AgentCall};

use crate::{
    Store,
    agents::{hash, random_hex},
    error::{StoreError, sql},
    timeline::append,
};

impl Store {
    /// A new key for the installed system's agent, in the place of the one that it has; what is known of
    /// that system stays known.
    ///
    /// # Errors
    /// The database cannot be written, or there are no random numbers.
    pub async fn renew_machine_key(
        &self,
        node: NodeId,
        now: UnixMillis,
    ) -> Result<Secret, StoreError> {
        let key = random_hex::<32>()?;
        let mut write = self.write().await?;
        let known = sqlx::query(
            "UPDATE machine_keys SET revoked_at = $2 WHERE node = $1 AND revoked_at IS NULL
             RETURNING seen_at, boot_id, ssh_host_key",
        )
        .bind(node.to_string())
        .bind(now)
        .fetch_all(write.sql())
        .await
        .map_err(sql("end a machine's key"))?;
        let known = known.first();
        let text = |column| known.and_then(|row| row.get::<Option<String>, _>(column));
        sqlx::query(
            "INSERT INTO machine_keys (key_hash, node, created_at, seen_at, boot_id, ssh_host_key)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(hash(key.expose()))
        .bind(node.to_string())
        .bind(now)
        .bind(known.and_then(|row| row.get::<Option<i64>, _>("seen_at")))
        .bind(text("boot_id"))
        .bind(text("ssh_host_key"))
        .execute(write.sql())
        .await
        .map_err(sql("keep a machine's key"))?;
        append(write.sql(), Some(node), &AgentCall::KeyRenewed.into(), now).await?;
        write.commit("renew a machine's key").await?;
        Ok(key)
    }
}
