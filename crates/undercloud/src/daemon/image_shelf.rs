//! Which images there are: taking them in, letting them go, and whether a machine can boot from what
//! is there. Blobs go by one way alone, [`orphans::release`]: never from under somebody who reads.

use undercloud_api::{ApiError, admin::Removed};
use undercloud_image::{
    blob::{BlobError, Blobs},
    catalog::{Image, names},
};
use undercloud_model::{
    BootMode, ErrorKind, NodeId, NodeName,
    node::{BootInterface, Node, Verb},
};
use undercloud_store::Store;

use super::{agents::api_error, orphans, own_images};
use crate::clock;

/// Takes an image in, in the place of one of the same name and kind.
///
/// # Errors
/// The name is that of an image of another kind, or its blob is gone.
pub(super) async fn register(store: &Store, blobs: &Blobs, image: Image) -> Result<(), ApiError> {
    let (name, digest) = (image.name.clone(), image.digest);
    let before = all(store).await?.into_iter().find(|before| before.name == name);
    if let Some(before) = &before
        && before.kind != image.kind
        // A name of ours is right as it comes; one that has it wrongly is of an earlier version.
        && names::kind_of(&name).is_none()
    {
        let message = format!("{name} is a {}, and this is a {}", before.kind, image.kind);
        return Err(ApiError::new(ErrorKind::Conflict, message).hint(format!(
            "give it another --name, or take that one away: undercloud image remove {name}"
        )));
    }
    {
        let _naming = orphans::while_naming().await;
        // It was there when this began, and may have gone since.
        if blobs.stat(&digest)?.is_none() {
            return Err(BlobError::Missing(digest).into());
        }
        store.put_image(&name, &digest, &image, clock::now_ms()).await.map_err(api_error)?;
    }
    let replaced = before.map(|before| before.digest).filter(|before| *before != digest);
    orphans::release(store, blobs, replaced.into_iter().collect()).await?;
    Ok(())
}

/// Removes an image. Its blob goes unless something needs it.
///
/// # Errors
/// There is none of that name, a machine is booting from it, or nodes have it and `force` is not.
pub(super) async fn remove(
    store: &Store,
    blobs: &Blobs,
    name: &str,
    force: bool,
) -> Result<Removed, ApiError> {
    let missing =
        || ApiError::not_found(format!("there is no image `{name}`")).hint("undercloud image list");
    let images = all(store).await?;
    let image = images.iter().find(|image| image.name == name).ok_or_else(missing)?;
    let nodes = store.nodes().await.map_err(api_error)?;
    let boots = |node: &&Node| node.is_busy() && boot_images(node).contains(&name);
    if let Some(node) = nodes.iter().find(boots) {
        let message = format!("{} is {}, and boots from {name}", node.name, node.phase);
        let hint = format!("wait for that to end: undercloud node show {}", node.name);
        return Err(ApiError::new(ErrorKind::Busy, message).hint(hint));
    }
    let has_it = |node: &&Node| {
        node.instance.as_ref().is_some_and(|i| i.request.image.source.blob == image.digest)
    };
    let needed_by: Vec<NodeName> =
        nodes.iter().filter(has_it).map(|node| node.name.clone()).collect();
    if !needed_by.is_empty() && !force {
        let names: Vec<&str> = needed_by.iter().map(|name| name.as_str()).collect();
        let message = format!("{name} is what is installed on {}", names.join(", "));
        return Err(ApiError::new(ErrorKind::Conflict, message).hint(format!(
            "installing them again needs it; without it: undercloud image remove --force {name}"
        )));
    }
    store.remove_image(name).await.map_err(api_error)?;
    let freed_bytes = orphans::release(store, blobs, vec![image.digest]).await?;
    Ok(Removed { name: name.to_owned(), freed_bytes, needed_by })
}

/// Whether what `verb` boots the machine from is there: without it the machine would be switched on
/// and waited for in vain.
///
/// # Errors
/// An image is missing, or the machine may not run the one that it is to be given.
pub(super) async fn can_boot(store: &Store, node: NodeId, verb: &Verb) -> Result<(), ApiError> {
    match verb {
        Verb::Inspect | Verb::Provide { .. } | Verb::Deploy(_) | Verb::Undeploy => {}
        Verb::Manage | Verb::Abort | Verb::Power { .. } | Verb::BootDevice { .. } => return Ok(()),
    }
    let node = store.node(node).await.map_err(api_error)?;
    // What the state does not allow is said first.
    verb.check(&node).map_err(|refusal| api_error(refusal.into()))?;
    if let Verb::Deploy(request) = verb {
        let (image, blob) = (&request.image.name, &request.image.source.blob);
        own_images::check(store, &node, image, blob).await?;
    }
    let images = all(store).await?;
    let is_missing = |name: &&&str| !images.iter().any(|image| image.name == ***name);
    match boot_images(&node).iter().find(is_missing) {
        None => Ok(()),
        Some(name) => {
            let message = format!("{} boots from {name}, which is not there", node.name);
            Err(ApiError::new(ErrorKind::Conflict, message).hint("undercloud image build"))
        }
    }
}

/// What a machine boots its ramdisk from.
fn boot_images(node: &Node) -> &'static [&'static str] {
    match (node.boot_interface, node.boot_mode) {
        (BootInterface::Ipxe, BootMode::Bios) => {
            &[names::IPXE_BIOS, names::DEPLOY_KERNEL, names::DEPLOY_RAMDISK]
        }
        (BootInterface::Ipxe, BootMode::Uefi) => {
            &[names::IPXE_UEFI, names::DEPLOY_KERNEL, names::DEPLOY_RAMDISK]
        }
        (BootInterface::RedfishVirtualMedia, _) => &[names::DEPLOY_ISO],
    }
}

async fn all(store: &Store) -> Result<Vec<Image>, ApiError> {
    let rows = store.images::<Image>().await.map_err(api_error)?;
    Ok(rows.into_iter().map(|row| row.record).collect())
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use undercloud_image::catalog::{Content, Encoding, ImageKind};
    use undercloud_model::{
        agent::{ImageEncoding, ImageSource},
        node::{DeployRequest, InstanceImage, Next, ProvisionState},
    };
    use undercloud_store::{Open, TurnCommit};

    use super::*;
    use crate::daemon::test_node;

    struct Shelf {
        store: Store,
        blobs: Blobs,
        node: Node,
        _dir: tempfile::TempDir,
    }

    async fn shelf() -> Shelf {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let store = Store::open(path.join("db"), Open::at(1)).await.unwrap();
        let blobs = Blobs::open(path.join("blobs")).unwrap();
        let node = test_node::enrolled(&store, "compute-0", 1).await;
        Shelf { store, blobs, node, _dir: dir }
    }

    impl Shelf {
        async fn put(&self, name: &str, kind: ImageKind, bytes: &[u8]) -> Result<Image, ApiError> {
            let stored = self.blobs.put(bytes).unwrap();
            let image = Image {
                name: name.to_owned(),
                kind,
                digest: stored.digest,
                size: stored.size,
                encoding: Encoding::Plain,
                content: Content { digest: stored.digest, size: stored.size },
                os: None,
                min_disk_bytes: 0,
                has_agent: false,
                built_at: 1,
                // As of one that was built from something.
                inputs: undercloud_image::digest_of(b"packages"),
            };
            register(&self.store, &self.blobs, image.clone()).await.map(|()| image)
        }

        /// The node is in `state`, by `image` if one is given.
        async fn is(&mut self, state: ProvisionState, image: Option<&Image>) {
            let mut next = Next::to(&self.node, state, 1);
            if let Some(image) = image {
                let source = ImageSource {
                    blob: image.digest,
                    encoding: ImageEncoding::Raw,
                    disk_bytes: image.size,
                    disk_digest: image.digest,
                };
                let image = InstanceImage {
                    name: image.name.clone(),
                    source,
                    min_disk_bytes: 0,
                    has_agent: false,
                };
                let request = DeployRequest {
                    image,
                    hostname: None,
                    ssh_keys: Vec::new(),
                    user_data: None,
                    network_data: None,
                };
                next.node.instance = Some(undercloud_model::node::Instance {
                    request,
                    written: None,
                    reported_at: None,
                });
            }
            let commit = TurnCommit {
                node: &self.node,
                next: Some(&next),
                taken: None,
                done: None,
                power: None,
                events: Vec::new(),
                due_at: None,
            };
            self.node = self.store.commit(commit, 1).await.unwrap();
        }

        fn has(&self, image: &Image) -> bool {
            self.blobs.stat(&image.digest).unwrap().is_some()
        }
    }

    #[tokio::test]
    async fn a_blob_that_goes_while_its_image_is_registered_is_missed() {
        let shelf = shelf().await;
        let image = shelf.put("kernel", ImageKind::Kernel, b"kernel").await.unwrap();
        shelf.store.remove_image("kernel").await.unwrap();
        // Somebody who removes blobs has asked who names this one, and goes on.
        let removing = orphans::while_naming().await;
        let (registered, ()) = tokio::join!(
            biased;
            register(&shelf.store, &shelf.blobs, image.clone()),
            async {
                shelf.blobs.delete(&image.digest).unwrap();
                drop(removing);
            }
        );
        assert_eq!(registered.unwrap_err().kind, ErrorKind::NotFound);
        assert!(all(&shelf.store).await.unwrap().is_empty(), "nothing names what is not there");
    }

    /// Both at once, on two threads: the image is there with its blob, or neither is.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_first_an_image_that_is_registered_has_its_blob() {
        let shelf = shelf().await;
        for round in 0..20 {
            let name = format!("kernel-{round}");
            let image = shelf.put(&name, ImageKind::Kernel, name.as_bytes()).await.unwrap();
            shelf.store.remove_image(&name).await.unwrap();
            let (store, blobs, digest) = (shelf.store.clone(), shelf.blobs.clone(), image.digest);
            let removing =
                tokio::spawn(async move { orphans::release(&store, &blobs, vec![digest]).await });
            let registered = register(&shelf.store, &shelf.blobs, image).await;
            removing.await.unwrap().unwrap();
            let is_there = shelf.blobs.stat(&digest).unwrap().is_some();
            assert_eq!(is_there, registered.is_ok(), "{registered:?}");
        }
    }

    #[tokio::test]
    async fn an_image_is_not_taken_from_under_the_machine_that_is_written() {
        let mut shelf = shelf().await;
        let disk = shelf.put("overcloud-full", ImageKind::Disk, b"disk").await.unwrap();
        shelf.is(ProvisionState::WaitCallBack, Some(&disk)).await;
        let refused =
            remove(&shelf.store, &shelf.blobs, "overcloud-full", false).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert_eq!(refused.message, "overcloud-full is what is installed on compute-0");
        assert!(refused.hint.unwrap().ends_with("undercloud image remove --force overcloud-full"));
        assert!(all(&shelf.store).await.unwrap().iter().any(|i| i.name == "overcloud-full"));
        let removed = remove(&shelf.store, &shelf.blobs, "overcloud-full", true).await.unwrap();
        assert_eq!(
            (removed.freed_bytes, &removed.needed_by[..]),
            (0, &[shelf.node.name.clone()][..])
        );
        assert!(shelf.has(&disk), "it is being read");
        let gone = remove(&shelf.store, &shelf.blobs, "overcloud-full", false).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);

        let other = shelf.put("mine", ImageKind::Disk, b"other").await.unwrap();
        let same = shelf.put("twin", ImageKind::Disk, b"other").await.unwrap();
        let removed = remove(&shelf.store, &shelf.blobs, "mine", false).await.unwrap();
        assert_eq!((removed.freed_bytes, shelf.has(&other)), (0, true), "its twin has it");
        let removed = remove(&shelf.store, &shelf.blobs, "twin", false).await.unwrap();
        assert_eq!((removed.freed_bytes, shelf.has(&same)), (5, false));
    }

    #[tokio::test]
    async fn what_a_machine_boots_from_stays_while_it_boots_and_is_missed_before() {
        let mut shelf = shelf().await;
        for (name, kind) in [
            (names::IPXE_BIOS, ImageKind::NetbootProgram),
            (names::DEPLOY_KERNEL, ImageKind::Kernel),
            (names::DEPLOY_RAMDISK, ImageKind::Ramdisk),
        ] {
            shelf.put(name, kind, name.as_bytes()).await.unwrap();
        }
        shelf.is(ProvisionState::Manageable, None).await;
        let id = shelf.node.id;
        can_boot(&shelf.store, id, &Verb::Inspect).await.unwrap();
        shelf.is(ProvisionState::InspectWait, None).await;
        let refused =
            remove(&shelf.store, &shelf.blobs, names::DEPLOY_KERNEL, false).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Busy);
        assert!(refused.message.contains("boots from bm-deploy-kernel"), "{refused}");

        shelf.is(ProvisionState::Manageable, None).await;
        remove(&shelf.store, &shelf.blobs, names::DEPLOY_KERNEL, false).await.unwrap();
        for verb in
            [Verb::Inspect, Verb::Provide { wipe: undercloud_model::consent::WipeScope::default() }]
        {
            let refused = can_boot(&shelf.store, id, &verb).await.unwrap_err();
            assert_eq!(refused.hint.as_deref(), Some("undercloud image build"), "{refused}");
        }
        can_boot(&shelf.store, id, &Verb::Manage).await.unwrap();
        let refused = can_boot(&shelf.store, id, &Verb::Undeploy).await.unwrap_err();
        assert!(refused.message.contains("cannot undeploy"), "{refused}");
    }

    /// What `node deploy` asks for.
    fn deploy(image: &Image) -> Verb {
        let source = ImageSource {
            blob: image.digest,
            encoding: ImageEncoding::Raw,
            disk_bytes: image.size,
            disk_digest: image.digest,
        };
        let (name, min_disk_bytes, has_agent) = (image.name.clone(), 0, false);
        Verb::Deploy(Box::new(DeployRequest {
            image: InstanceImage { name, source, min_disk_bytes, has_agent },
            hostname: None,
            ssh_keys: Vec::new(),
            user_data: None,
            network_data: None,
        }))
    }

    #[tokio::test]
    async fn a_container_runs_images_that_were_built_here_alone() {
        let mut shelf = shelf().await;
        for name in [names::IPXE_BIOS, names::DEPLOY_KERNEL, names::DEPLOY_RAMDISK] {
            shelf.put(name, names::kind_of(name).unwrap(), name.as_bytes()).await.unwrap();
        }
        shelf.is(ProvisionState::Available, None).await;
        let id = shelf.node.id;
        let built = shelf.put("mine", ImageKind::Disk, b"built").await.unwrap();
        let imported = shelf.put("debian-13", ImageKind::Disk, b"imported").await.unwrap();
        let imported = Image { inputs: imported.digest, ..imported };
        register(&shelf.store, &shelf.blobs, imported.clone()).await.unwrap();
        // On a machine with a kernel of its own, both.
        for image in [&built, &imported] {
            can_boot(&shelf.store, id, &deploy(image)).await.unwrap();
        }
        let lab = "kind = 'container'\n[[network]]\nname = 'p'\ncidr = '10.9.0.0/24'\n[[machine]]\n\
                   name = 'compute-0'\nprofile = 'x'\nfirmware = 'bios'\nmemory_mib = 128\n\
                   cpus = 1\ndisk_gib = 1\nnetworks = ['p']\n";
        let names = undercloud_lab::LabNames::from_real_path(Utf8Path::new("/state"));
        let mut machines = undercloud_lab::definitions(&names, &lab.parse().unwrap());
        machines[0].nics[0].mac = shelf.node.ports[0].mac;
        own_images::note(&shelf.store, machines.iter()).await.unwrap();
        can_boot(&shelf.store, id, &deploy(&built)).await.unwrap();
        let refused = can_boot(&shelf.store, id, &deploy(&imported)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains("compute-0 is a container"), "{refused}");
        assert!(refused.message.contains("debian-13 was imported"), "{refused}");
        assert!(refused.hint.unwrap().contains("`kind = \"qemu\"`"));
        // The one that a cloud's machines are installed from.
        own_images::check_system(&shelf.store, &shelf.node).await.unwrap();
        let system = Image { name: "overcloud-full".into(), ..imported.clone() };
        register(&shelf.store, &shelf.blobs, system).await.unwrap();
        let refused = own_images::check_system(&shelf.store, &shelf.node).await.unwrap_err();
        assert!(refused.message.contains("overcloud-full was imported"), "{refused}");
        own_images::note(&shelf.store, std::iter::empty()).await.unwrap();
        can_boot(&shelf.store, id, &deploy(&imported)).await.unwrap();
    }

    #[tokio::test]
    async fn an_image_is_replaced_by_its_own_kind_alone() {
        let shelf = shelf().await;
        let old = shelf.put("mine", ImageKind::Kernel, b"kernel").await.unwrap();
        let refused = shelf.put("mine", ImageKind::Disk, b"disk").await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains("mine is a kernel, and this is a disk"), "{refused}");
        assert!(shelf.has(&old));
        shelf.put("mine", ImageKind::Kernel, b"newer").await.unwrap();
        assert!(!shelf.has(&old), "what was replaced is let go of");
    }
}
