//! Container images: what the last build registered, and what the one before it did.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use undercloud_model::{Digest, UnixMillis};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// A version of a container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImageRow<T> {
    /// Its name in the registry.
    pub name: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What the image crate says about it.
    pub record: T,
    /// Whether it is of the last build: what the tag names.
    pub is_current: bool,
}

impl Store {
    /// Makes `images` what there is: each by its name, its manifest's digest and its record. What
    /// was there before stays until the next change; returns the records of what is dropped now.
    /// The same images again change nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_container_images<T: Serialize + DeserializeOwned>(
        &self,
        images: &[(&str, Digest, &T)],
        now: UnixMillis,
    ) -> Result<Vec<T>, StoreError> {
        let mut write = self.write().await?;
        let last = last_generation(write.sql()).await?;
        let there = generation(write.sql(), last).await?;
        let wanted: BTreeSet<(String, String)> =
            images.iter().map(|(name, m, _)| ((*name).to_owned(), m.to_string())).collect();
        if wanted == there {
            return Ok(Vec::new());
        }
        for (name, manifest, record) in images {
            sqlx::query(
                "INSERT INTO container_images (name, manifest, generation, record, updated_at)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (name, manifest) DO UPDATE SET generation = excluded.generation,
                     record = excluded.record, updated_at = excluded.updated_at",
            )
            .bind(name)
            .bind(manifest.to_string())
            .bind(last + 1)
            .bind(to_json("a container image's record", record)?)
            .bind(now)
            .execute(write.sql())
            .await
            .map_err(sql("write a container image's record"))?;
        }
        let dropped =
            sqlx::query("DELETE FROM container_images WHERE generation < $1 RETURNING record")
                .bind(last)
                .fetch_all(write.sql())
                .await
                .map_err(sql("drop old container images"))?;
        let records = dropped.iter().map(|row| from_json("container image's record", row.get(0)));
        let records = records.collect::<Result<_, _>>()?;
        write.commit("register container images").await?;
        Ok(records)
    }

    /// All versions of all container images, by name, the current one first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn container_images<T: DeserializeOwned>(
        &self,
    ) -> Result<Vec<ContainerImageRow<T>>, StoreError> {
        let mut db = self.read().await?;
        let last = last_generation(&mut db).await?;
        let rows =
            sqlx::query("SELECT * FROM container_images ORDER BY name, generation DESC, manifest")
                .fetch_all(&mut *db)
                .await
                .map_err(sql("list the container images"))?;
        rows.iter().map(|row| version(row, last)).collect()
    }
}

fn version<T: DeserializeOwned>(
    row: &SqliteRow,
    last: i64,
) -> Result<ContainerImageRow<T>, StoreError> {
    Ok(ContainerImageRow {
        name: row.get("name"),
        manifest: row.get::<&str, _>("manifest").parse().map_err(corrupt("manifest's digest"))?,
        record: from_json("container image's record", row.get("record"))?,
        is_current: row.get::<i64, _>("generation") == last,
    })
}

async fn last_generation(db: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT coalesce(max(generation), 0) FROM container_images")
        .fetch_one(db)
        .await
        .map_err(sql("read the container images' generation"))
}

async fn generation(
    db: &mut SqliteConnection,
    generation: i64,
) -> Result<BTreeSet<(String, String)>, StoreError> {
    let rows = sqlx::query("SELECT name, manifest FROM container_images WHERE generation = $1")
        .bind(generation)
        .fetch_all(db)
        .await
        .map_err(sql("list the container images"))?;
    Ok(rows.iter().map(|row| (row.get("name"), row.get("manifest"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Open;

    fn digest(n: u8) -> Digest {
        Digest::from_bytes([n; 32])
    }

    async fn current(store: &Store) -> Vec<(String, u64)> {
        let rows = store.container_images::<u64>().await.unwrap();
        let rows = rows.into_iter().filter(|row| row.is_current);
        rows.map(|row| (row.name, row.record)).collect()
    }

    #[tokio::test]
    async fn the_build_before_stays_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(dir.path()).unwrap().join("db");
        let store = Store::open(path, Open::at(1)).await.unwrap();
        let put = async |images: &[(&str, Digest, &u64)]| {
            store.put_container_images(images, 2).await.unwrap()
        };
        assert!(put(&[("nova", digest(1), &1), ("ovn", digest(2), &2)]).await.is_empty());
        assert_eq!(current(&store).await, [("nova".to_owned(), 1), ("ovn".to_owned(), 2)]);
        let writes = store.writes();
        assert!(put(&[("ovn", digest(2), &2), ("nova", digest(1), &1)]).await.is_empty());
        assert_eq!(store.writes(), writes, "the same again is no change");

        assert!(put(&[("nova", digest(3), &3), ("ovn", digest(2), &2)]).await.is_empty());
        let rows = store.container_images::<u64>().await.unwrap();
        let nova: Vec<_> = rows.iter().map(|r| (r.record, r.is_current)).collect();
        assert_eq!(nova, [(3, true), (1, false), (2, true)], "nova has two versions");

        // An image that is built no more goes with the build after.
        assert_eq!(put(&[("nova", digest(4), &4)]).await, [1]);
        assert_eq!(put(&[("nova", digest(1), &1)]).await.len(), 2);
        assert_eq!(current(&store).await, [("nova".to_owned(), 1)]);
    }
}
