//! Answers the container registry: who may pull, what there is, and what goes when a new build comes.

use std::collections::BTreeSet;

use undercloud_api::{
    ApiError,
    registry::{Puller, RegistryApi},
};
use undercloud_image::{
    blob::{BlobError, Blobs},
    oci::{ContainerImage, ImageName},
};
use undercloud_model::{Digest, Secret};
use undercloud_store::{AgentKind, Store};

use super::{agents::api_error, orphans};
use crate::clock;

/// The administrator's user name.
const ADMINISTRATOR: &str = undercloud_api::openstack::USER_NAME;

/// Pulls by installed machines: the user is the node's id or name, the password its machine's key.
#[derive(Debug)]
pub(crate) struct Machines(pub(crate) Store);

/// Pulls from this host: the user and password of the undercloud's own cloud.
#[derive(Debug)]
pub(crate) struct Administrator {
    pub(crate) store: Store,
    pub(crate) password: Secret,
}

impl RegistryApi for Machines {
    async fn authenticate(&self, user: &str, key: &Secret) -> Result<Option<Puller>, ApiError> {
        let Self(store) = self;
        // A ramdisk has nothing to run containers in.
        let found = store.authenticate(key).await.map_err(api_error)?;
        let Some(found) = found.filter(|found| found.kind == AgentKind::Installed) else {
            return Ok(None);
        };
        let node = store.node(found.node).await.map_err(api_error)?;
        let is_own = user == node.id.to_string() || user == node.name.as_str();
        Ok(is_own.then_some(Puller::Machine(node.id)))
    }

    async fn names(&self, _: &Puller) -> Result<Vec<String>, ApiError> {
        names(&self.0).await
    }

    // No image holds a secret, so every machine may have every image.
    async fn versions(&self, _: &Puller, of: &ImageName) -> Result<Vec<ContainerImage>, ApiError> {
        versions(&self.0, of).await
    }
}

impl RegistryApi for Administrator {
    async fn authenticate(
        &self,
        user: &str,
        password: &Secret,
    ) -> Result<Option<Puller>, ApiError> {
        // Both are looked at, so that the time does not tell which is wrong.
        let right = (user == ADMINISTRATOR) & (*password == self.password);
        Ok(right.then_some(Puller::Administrator))
    }

    async fn names(&self, _: &Puller) -> Result<Vec<String>, ApiError> {
        names(&self.store).await
    }

    async fn versions(&self, _: &Puller, of: &ImageName) -> Result<Vec<ContainerImage>, ApiError> {
        versions(&self.store, of).await
    }
}

async fn names(store: &Store) -> Result<Vec<String>, ApiError> {
    Ok(current(store).await?.into_iter().map(|image| image.name).collect())
}

async fn versions(store: &Store, of: &ImageName) -> Result<Vec<ContainerImage>, ApiError> {
    let rows = store.container_images::<ContainerImage>().await.map_err(api_error)?;
    let named = rows.into_iter().filter(|row| row.name == of.as_str());
    Ok(named.map(|row| row.record).collect())
}

/// What the last build made, by name.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn current(store: &Store) -> Result<Vec<ContainerImage>, ApiError> {
    let rows = store.container_images::<ContainerImage>().await.map_err(api_error)?;
    Ok(rows.into_iter().filter(|row| row.is_current).map(|row| row.record).collect())
}

/// Makes `images` what there is, and lets go of the blobs that only older builds had.
///
/// # Errors
/// When the store cannot be written, or a blob cannot be removed.
pub(super) async fn register(
    store: &Store,
    blobs: &Blobs,
    images: Vec<ContainerImage>,
) -> Result<(), ApiError> {
    let records: Vec<(&str, Digest, &ContainerImage)> =
        images.iter().map(|i| (i.name.as_str(), i.manifest.digest, i)).collect();
    let naming = orphans::while_naming().await;
    // They were there when this began, and may have gone since.
    for piece in images.iter().flat_map(ContainerImage::pieces) {
        if blobs.stat(&piece.digest)?.is_none() {
            return Err(BlobError::Missing(piece.digest).into());
        }
    }
    let dropped = store.put_container_images(&records, clock::now_ms()).await.map_err(api_error)?;
    drop(naming);
    let pieces = dropped.iter().flat_map(ContainerImage::pieces);
    let digests: BTreeSet<Digest> = pieces.map(|piece| piece.digest).collect();
    orphans::release(store, blobs, digests.into_iter().collect()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use undercloud_image::oci::{Manifest, Piece};
    use undercloud_model::{
        agent::Step,
        node::{Effect, Next, ProvisionState},
    };
    use undercloud_store::{Open, TurnCommit};

    use super::*;
    use crate::daemon::test_node;

    struct Fixture {
        store: Store,
        blobs: Blobs,
        _dir: tempfile::TempDir,
    }

    async fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(dir.path()).unwrap();
        let store = Store::open(path.join("db"), Open::at(1)).await.unwrap();
        Fixture { store, blobs: Blobs::open(path.join("blobs")).unwrap(), _dir: dir }
    }

    fn image(blobs: &Blobs, name: &str, layers: &[&str]) -> ContainerImage {
        let put = |bytes: &[u8]| {
            let stored = blobs.put(bytes).unwrap();
            Piece { digest: stored.digest, size: stored.size }
        };
        let config = put(format!("config of {name} {layers:?}").as_bytes());
        let layers: Vec<Piece> = layers.iter().map(|layer| put(layer.as_bytes())).collect();
        let manifest = put(&Manifest { config, layers: layers.clone() }.to_bytes());
        let (name, inputs) = (name.to_owned(), manifest.digest);
        ContainerImage { name, manifest, config, layers, size: 1, inputs, built_at: 1 }
    }

    #[tokio::test]
    async fn the_build_before_can_still_be_pulled_and_older_ones_leave_nothing() {
        let f = fixture().await;
        let builds =
            ["first", "second", "third"].map(|layer| image(&f.blobs, "nova", &["shared", layer]));
        for build in &builds {
            register(&f.store, &f.blobs, vec![build.clone()]).await.unwrap();
        }
        let name = "nova".parse().unwrap();
        assert_eq!(
            versions(&f.store, &name).await.unwrap(),
            [&builds[2], &builds[1]].map(Clone::clone)
        );
        assert_eq!(current(&f.store).await.unwrap(), [builds[2].clone()]);
        let there = |digest| f.blobs.stat(&digest).unwrap().is_some();
        assert!(builds[1].pieces().chain(builds[2].pieces()).all(|piece| there(piece.digest)));
        let [shared, own] = builds[0].layers[..] else { panic!("two layers") };
        assert!(there(shared.digest) && !there(own.digest));
        assert!(!there(builds[0].manifest.digest) && !there(builds[0].config.digest));
    }

    #[tokio::test]
    async fn only_the_administrator_s_own_password_lets_in() {
        let f = fixture().await;
        let api = Administrator { store: f.store.clone(), password: Secret::new("right") };
        for (user, password, is_right) in
            [("admin", "right", true), ("admin", "wrong", false), ("root", "right", false)]
        {
            let found = api.authenticate(user, &Secret::new(password)).await.unwrap();
            assert_eq!(found.is_some(), is_right, "{user} {password}");
        }
    }

    #[tokio::test]
    async fn a_machine_pulls_with_its_own_key_until_that_is_revoked() {
        let f = fixture().await;
        let [own, other] = test_node::all(&f.store, ["compute-0", "compute-1"], 1).await;
        let key = undercloud_store::fresh_secret().unwrap();
        let put = f.store.put_order(own.id, AgentKind::Ramdisk, "k", &Step::Inspect, Some(&key), 1);
        put.await.unwrap();
        let api = Machines(f.store.clone());
        let ask = async |user: &str, key: &Secret| api.authenticate(user, key).await.unwrap();
        let id = own.id.to_string();
        for user in ["compute-0", id.as_str()] {
            assert_eq!(ask(user, &key).await, Some(Puller::Machine(own.id)), "{user}");
        }
        let wrong = undercloud_store::fresh_secret().unwrap();
        for user in ["compute-1", &other.id.to_string(), "admin", ""] {
            assert_eq!(ask(user, &key).await, None, "{user}");
        }
        assert_eq!(ask("compute-0", &wrong).await, None);
        let next = Next::to(&own, ProvisionState::Active, 1).effect(Effect::RevokeMachineKey);
        let commit = TurnCommit {
            node: &own,
            next: Some(&next),
            taken: None,
            done: None,
            power: None,
            due_at: None,
            events: Vec::new(),
        };
        f.store.commit(commit, 1).await.unwrap();
        assert_eq!(ask("compute-0", &key).await, None);
    }
}
