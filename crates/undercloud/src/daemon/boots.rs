//! What network boot asks: who is enrolled, and what does it boot now?

use std::net::Ipv4Addr;

use async_trait::async_trait;
use undercloud_image::{
    blob::Blobs,
    catalog::{Image, names},
    cpio::{Archive, CpioError},
};
use undercloud_model::{MacAddr, agent::IDENTITY_PATH, node::BootProgress};
use undercloud_netboot::{
    BlobSource, BootEvent, BootEventKind, BootTarget, BootToken, Boots, Lease, Segment,
};
use undercloud_store::{EventKind, NewEvent, Store, StoreError};

use crate::clock;

/// How long an address is good for without being asked for again. It is fixed anyway.
const LEASE_SECONDS: u32 = 12 * 3600;

/// The store and the images, as machines that boot see them.
#[derive(Debug)]
pub(crate) struct EnrolledOnly {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    /// The agents' listener.
    pub(crate) agents_url: String,
    /// Our CA.
    pub(crate) ca_pem: String,
}

/// Why a machine that should boot cannot.
#[derive(Debug, thiserror::Error)]
enum NoTarget {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the blob of image {0} is missing")]
    Blob(&'static str),
    #[error("the identity cannot be written")]
    Identity(#[source] serde_json::Error),
    #[error(transparent)]
    Segment(#[from] CpioError),
    #[error("the boot token cannot be used")]
    Token,
}

impl EnrolledOnly {
    async fn target(&self, mac: MacAddr) -> Result<Option<BootTarget>, NoTarget> {
        let now = clock::now_ms();
        let Some(plan) = self.store.boot_target(mac, now).await? else { return Ok(None) };
        let identity = plan.identity(&self.agents_url, &self.ca_pem, now);
        let identity = serde_json::to_vec(&identity).map_err(NoTarget::Identity)?;
        let segment = identity_segment(&identity)?;
        Ok(Some(BootTarget {
            kernel: self.blob(names::DEPLOY_KERNEL).await?,
            initrd: vec![
                Segment::Bytes(segment.into()),
                Segment::File(self.blob(names::DEPLOY_RAMDISK).await?),
            ],
            cmdline: vec!["console=tty0".into(), "console=ttyS0,115200".into()],
            token: BootToken::new(&plan.token).map_err(|_| NoTarget::Token)?,
        }))
    }

    async fn blob(&self, name: &'static str) -> Result<BlobSource, NoTarget> {
        let image: Image = self.store.image(name).await?.record;
        let path = self.blobs.path(&image.digest);

        if !path.exists() {
            return Err(NoTarget::Blob(name));
        }
        Ok(BlobSource { path, size: image.size })
    }
}

/// The ramdisk's first segment: the identity and the directories above it.
fn identity_segment(identity: &[u8]) -> Result<Vec<u8>, CpioError> {
    let path = IDENTITY_PATH.trim_start_matches('/');
    let mut archive = Archive::new();
    for (end, _) in path.match_indices('/') {
        archive.dir(&path[..end], 0o755)?;
    }
    archive.file(path, 0o600, identity)?;
    Ok(archive.finish())
}

#[async_trait]
impl Boots for EnrolledOnly {
    async fn lease(&self, mac: MacAddr) -> Option<Lease> {
        let lease = self.store.lease_for(mac).await;
        let lease = lease.map_err(|error| tracing::error!(%error, %mac, "no lease")).ok()??;
        Some(Lease {
            address: lease.address,
            gateway: None::<Ipv4Addr>,
            dns: Vec::new(),
            lease_seconds: LEASE_SECONDS,
            hostname: Some(lease.name.to_string()),
        })
    }

    async fn boot(&self, mac: MacAddr) -> Option<BootTarget> {
        match self.target(mac).await {
            Ok(target) => target,
            Err(error) => {
                tracing::error!(error = %anyhow::Error::new(error), %mac, "nothing to boot");
                None
            }
        }
    }

    async fn event(&self, event: BootEvent) {
        let text = event.kind.to_string();
        let new = match event.kind {
            BootEventKind::ForeignDhcpServer { .. }
            | BootEventKind::UnknownMac
            | BootEventKind::DhcpDecline { .. }
            | BootEventKind::TftpFailed { .. }
            | BootEventKind::TransferCut { .. }
            | BootEventKind::UnsupportedFirmware { .. } => {
                NewEvent::warning(EventKind::Netboot, text)
            }
            _ => NewEvent::info(EventKind::Netboot, text),
        };
        let progress = progress(&event.kind);
        let written = self.store.netboot_event(event.mac, progress, new, clock::now_ms()).await;
        if let Err(error) = written {
            tracing::error!(%error, "boot event not recorded");
        }
    }
}

/// How far a boot is that did this.
fn progress(kind: &BootEventKind) -> Option<BootProgress> {
    match kind {
        BootEventKind::DhcpDiscover { .. }
        | BootEventKind::DhcpOffer { .. }
        | BootEventKind::DhcpAck { .. } => Some(BootProgress::Dhcp),
        BootEventKind::TftpDone { .. } | BootEventKind::EfiServed { .. } => {
            Some(BootProgress::Program)
        }
        BootEventKind::ScriptServed => Some(BootProgress::Script),
        BootEventKind::KernelServed { .. } => Some(BootProgress::Kernel),
        BootEventKind::InitrdServed { .. } => Some(BootProgress::Ramdisk),
        _ => None,
    }
}
