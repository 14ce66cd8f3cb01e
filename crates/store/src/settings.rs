//! Settings that the daemon keeps: a key and a value.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::SqliteConnection;

use crate::{
    Store,
    error::{StoreError, from_json, sql, to_json},
};

const PROVISIONING_RANGE: &str = "provisioning-range";

/// The addresses that enrolled machines get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisioningRange {
    /// The network they are in.
    pub network: Ipv4Net,
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

impl Store {
    /// Sets the range from which nodes that are enrolled later get their addresses.
    ///
    /// # Errors
    /// It is not inside its network, or the database cannot be written.
    pub async fn set_provisioning_range(
        &self,
        range: &ProvisioningRange,
    ) -> Result<(), StoreError> {
        let ProvisioningRange { network, first, last } = range;
        if first > last || !network.contains(first) || !network.contains(last) {
            return Err(StoreError::BadRange {
                network: network.to_string(),
                first: first.to_string(),
                last: last.to_string(),
            });
        }
        if self.setting::<ProvisioningRange>(PROVISIONING_RANGE).await? == Some(*range) {
            return Ok(());
        }
        self.set_setting(PROVISIONING_RANGE, range).await
    }

    /// A setting, if it was ever set.
    ///
    /// # Errors
    /// The database cannot be read, or the setting is of another shape.
    pub async fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        read(&mut *self.read().await?, key).await
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_setting(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO settings (key, value) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(to_json("a setting", value)?)
        .execute(write.sql())
        .await
        .map_err(sql("write a setting"))?;
        write.commit("write a setting").await
    }
}

pub(crate) async fn provisioning_range(
    db: &mut SqliteConnection,
) -> Result<Option<ProvisioningRange>, StoreError> {
    read(db, PROVISIONING_RANGE).await
}

pub(crate) async fn read<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let found: Option<String> = sqlx::query_scalar("SELECT value FROM settings WHERE key = $1")
        .bind(key)
        .fetch_optional(db)
        .await
        .map_err(sql("read a setting"))?;
    found.map(|text| from_json("setting", &text)).transpose()
}
