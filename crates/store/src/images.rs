//! Images by name. The record is the image crate's; a deployment reads what it needs from it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Row as _, sqlite::SqliteRow};
use undercloud_model::{
    Digest, UnixMillis,
    agent::{ImageEncoding, ImageSource},
    node::InstanceImage,
};

use crate::{
    Store,
    error::{StoreError, corrupt, from_json, sql, to_json},
};

/// An image's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow<T> {
    /// Its name.
    pub name: String,
    /// Its blob.
    pub digest: Digest,
    /// What the image crate says about it.
    pub record: T,
    /// When it was put here.
    pub updated_at: UnixMillis,
}

/// What a deployment needs of the image crate's record (`catalog::Image`).
#[derive(Deserialize)]
struct Deployable {
    kind: String,
    digest: Digest,
    encoding: String,
    content: Content,
    min_disk_bytes: u64,
    has_agent: bool,
}

#[derive(Deserialize)]
struct Content {
    digest: Digest,
    size: u64,
}

impl Store {
    /// Puts an image's record under its name, in place of another.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_image(
        &self,
        name: &str,
        digest: &Digest,
        record: &impl Serialize,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO images (name, digest, record, updated_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET digest = excluded.digest,
                 record = excluded.record, updated_at = excluded.updated_at",
        )
        .bind(name)
        .bind(digest.to_string())
        .bind(to_json("an image's record", record)?)
        .bind(now)
        .execute(write.sql())
        .await
        .map_err(sql("write an image's record"))?;
        write.commit("write an image's record").await
    }

    /// One image.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn image<T: DeserializeOwned>(&self, name: &str) -> Result<ImageRow<T>, StoreError> {
        let row = sqlx::query("SELECT * FROM images WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(sql("read an image's record"))?;
        row.as_ref().map_or_else(|| Err(StoreError::NoImage(cut(name))), image)
    }

    /// All images, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn images<T: DeserializeOwned>(&self) -> Result<Vec<ImageRow<T>>, StoreError> {
        let rows = sqlx::query("SELECT * FROM images ORDER BY name")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(sql("list the images"))?;
        rows.iter().map(image).collect()
    }

    /// Removes an image's record; its blob stays. Says whether it was there.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remove_image(&self, name: &str) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let gone = sqlx::query("DELETE FROM images WHERE name = $1")
            .bind(name)
            .execute(write.sql())
            .await
            .map_err(sql("remove an image's record"))?;
        write.commit("remove an image's record").await?;
        Ok(gone.rows_affected() > 0)
    }

    /// A disk image as a deployment needs it.
    ///
    /// # Errors
    /// There is none of that name, or it is no disk image.
    pub async fn deployable_image(&self, name: &str) -> Result<InstanceImage, StoreError> {
        let Deployable { kind, digest, encoding, content, min_disk_bytes, has_agent } = {
            let row = self.image::<serde_json::Value>(name).await?;
            serde_json::from_value(row.record).map_err(corrupt("image's record"))?
        };
        if kind != "disk" {
            return Err(StoreError::NotADisk(cut(name)));
        }
        let encoding = if encoding == "zstd" { ImageEncoding::Zstd } else { ImageEncoding::Raw };
        let source = ImageSource {
            blob: digest,
            encoding,
            disk_bytes: content.size,
            disk_digest: content.digest,
        };
        Ok(InstanceImage { name: name.to_owned(), source, min_disk_bytes, has_agent })
    }
}

fn image<T: DeserializeOwned>(row: &SqliteRow) -> Result<ImageRow<T>, StoreError> {
    Ok(ImageRow {
        name: row.get("name"),
        digest: row.get::<&str, _>("digest").parse().map_err(corrupt("image's digest"))?,
        record: from_json("image's record", row.get("record"))?,
        updated_at: row.get("updated_at"),
    })
}

fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}
