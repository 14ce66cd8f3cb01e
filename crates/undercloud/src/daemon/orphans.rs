//! Blobs that nothing refers to any more: those of images that were built again, and those of builds
//! that died before they were registered.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use undercloud_api::ApiError;
use undercloud_image::{
    blob::{BlobError, Blobs},
    catalog::Image,
    oci::ContainerImage,
};
use undercloud_model::{Digest, ErrorKind};
use undercloud_store::Store;

use super::agents::api_error;

/// A build stores its blobs first and registers them at its end: it has this long.
pub(super) const GRACE: Duration = Duration::from_secs(3600);

/// Held while somebody asks who names a blob and acts by the answer: whoever removes one, and whoever
/// registers what names one. A process has one store of blobs.
static NAMING: Mutex<()> = Mutex::const_new(());

/// No blob is removed while this is kept: blobs that are there can be named. Nothing that is slow
/// may be waited for meanwhile.
pub(super) async fn while_naming() -> MutexGuard<'static, ()> {
    NAMING.lock().await
}

/// Removes the orphans among all blobs, but for those younger than `grace`. Says how many bytes that
/// gave back.
///
/// # Errors
/// When the store cannot be read, or a blob cannot be removed.
pub(super) async fn collect(
    store: &Store,
    blobs: &Blobs,
    grace: Duration,
) -> Result<u64, ApiError> {
    let all = blobs.clone();
    let old = move || {
        let mut old = Vec::new();
        for digest in all.list()? {
            if all.age(&digest)?.is_some_and(|age| age >= grace) {
                old.push(digest);
            }
        }
        Ok(old)
    };
    let old = blocking(old).await?;
    release(store, blobs, old).await
}

/// Removes those of `candidates` that no image, container image, node or the newest deployment
/// names. Says how many bytes that gave back.
///
/// # Errors
/// When the store cannot be read, or a blob cannot be removed.
pub(super) async fn release(
    store: &Store,
    blobs: &Blobs,
    candidates: Vec<Digest>,
) -> Result<u64, ApiError> {
    if candidates.is_empty() {
        return Ok(0);
    }
    let naming = while_naming().await;
    let images = store.images::<Image>().await.map_err(api_error)?;
    let containers = store.container_images::<ContainerImage>().await.map_err(api_error)?;
    let mut named: BTreeSet<Digest> = images.iter().map(|row| row.digest).collect();
    named.extend(containers.iter().flat_map(|row| row.record.pieces()).map(|piece| piece.digest));
    let deployments = store.deployments::<Value>().await.map_err(api_error)?;
    let mut texts: Vec<String> =
        deployments.iter().take(1).map(|newest| newest.plan.to_string()).collect();
    for node in &store.nodes().await.map_err(api_error)? {
        texts.push(serde_json::to_string(node).map_err(|e| ApiError::new(ErrorKind::Bug, e))?);
    }
    let blobs = blobs.clone();
    let remove = move || {
        // Here it ends, also when nobody waits for it any more.
        let _naming = naming;
        let mut freed = 0;
        for digest in candidates {
            let text = digest.to_string();
            if !named.contains(&digest) && !texts.iter().any(|it| it.contains(&text)) {
                freed += blobs.stat(&digest)?.unwrap_or(0);
                blobs.delete(&digest)?;
            }
        }
        Ok(freed)
    };
    let freed = blocking(remove).await?;
    if freed > 0 {
        tracing::info!(bytes = freed, "removed blobs that nothing refers to");
    }
    Ok(freed)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| ApiError::new(ErrorKind::Bug, e))??)
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use undercloud_image::catalog::{Content, Encoding, ImageKind};
    use undercloud_store::Open;

    use super::*;

    fn image(blobs: &Blobs, name: &str, bytes: &[u8]) -> Image {
        let stored = blobs.put(bytes).unwrap();
        Image {
            name: name.to_owned(),
            kind: ImageKind::Kernel,
            digest: stored.digest,
            size: stored.size,
            encoding: Encoding::Plain,
            content: Content { digest: stored.digest, size: stored.size },
            os: None,
            min_disk_bytes: 0,
            has_agent: false,
            built_at: 1,
            inputs: stored.digest,
        }
    }

    #[tokio::test]
    async fn what_was_replaced_goes_and_what_is_named_or_new_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let store = Store::open(path.join("db"), Open::at(1)).await.unwrap();
        let blobs = Blobs::open(path.join("blobs")).unwrap();
        let old = image(&blobs, "kernel", b"old");
        let new = image(&blobs, "kernel", b"newer");
        let planned = blobs.put(&b"planned"[..]).unwrap().digest;
        for image in [&old, &new] {
            store.put_image("kernel", &image.digest, image, 1).await.unwrap();
        }
        let plan = serde_json::json!({"services": [{"image": format!("store@{planned}")}]});
        store.begin_deployment(&plan, &planned, "x/", 1).await.unwrap();

        assert_eq!(collect(&store, &blobs, GRACE).await.unwrap(), 0, "a build may be under way");
        assert_eq!(collect(&store, &blobs, Duration::ZERO).await.unwrap(), old.size);
        let there = |digest| blobs.stat(&digest).unwrap().is_some();
        assert!(!there(old.digest) && there(new.digest) && there(planned));
        assert_eq!(collect(&store, &blobs, Duration::ZERO).await.unwrap(), 0);
    }
}
