//! What network boot and virtual media ask: who is enrolled, and what does it boot now?

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    sync::Arc,
};

use async_trait::async_trait;
use undercloud_api::ApiError;
use undercloud_image::{
    blob::Blobs,
    catalog::{Image, names},
    cpio::{Archive, CpioError},
    deploy_iso::{self, DeployIsoError, IDENTITY_OFFSET, Template},
};
use undercloud_model::{
    MacAddr,
    agent::IDENTITY_PATH,
    node::{BootInterface, BootProgress},
};
use undercloud_netboot::{
    BlobSource, BootEvent, BootEventKind, BootTarget, BootToken, Boots, Lease, MediaServer,
    MediaTarget, Parts, Segment,
};
use undercloud_store::{BootPlan, Seen, Store, StoreError};

use super::site::unavailable;
use crate::clock;

/// How long an address is good for without being asked for again. It is fixed anyway.
const LEASE_SECONDS: u32 = 12 * 3600;

/// The ramdisk's kernel line, as on the deploy CD and on the disk image. An emulator on a busy host
/// misses timer interrupts: a kernel that tests for them panics in one boot of some dozens
/// (`no_timer_check`, Linux, `Documentation/admin-guide/kernel-parameters.txt`; hypervisors that
/// say who they are switch the test off themselves).
const RAMDISK_CMDLINE: [&str; 3] = ["no_timer_check", "console=tty0", "console=ttyS0,115200"];

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
    #[error("the deploy CD cannot be opened")]
    Open(#[source] std::io::Error),
    #[error(transparent)]
    DeployCd(#[from] DeployIsoError),
}

impl EnrolledOnly {
    /// What this machine boots now, if it boots in this way.
    async fn plan(&self, mac: MacAddr, by: BootInterface) -> Result<Option<BootPlan>, StoreError> {
        let plan = self.store.boot_target(mac, clock::now_ms()).await?;
        Ok(plan.filter(|plan| plan.boot_interface == by))
    }

    /// The template, and the identity with which it becomes this machine's for this boot. BMCs read
    /// it more than once, so nothing in it is of the moment: the time is the window's.
    async fn deploy_cd(&self, mac: MacAddr) -> Result<Option<MediaTarget>, NoTarget> {
        let plan = self.plan(mac, BootInterface::RedfishVirtualMedia).await?;
        let Some(plan) = plan else { return Ok(None) };
        let identity = plan.identity(&self.agents_url, &self.ca_pem, plan.opened_at);
        let identity = serde_json::to_vec(&identity).map_err(NoTarget::Identity)?;
        let identity = deploy_iso::identity(&identity_segment(&identity)?)?;
        let template = self.blob(names::DEPLOY_ISO).await?;
        let mut file = std::fs::File::open(&template.path).map_err(NoTarget::Open)?;
        Template::of(&mut file)?;
        Ok(Some(MediaTarget {
            template,
            offset: IDENTITY_OFFSET,
            identity: identity.into(),
            token: BootToken::new(&plan.token).map_err(|_| NoTarget::Token)?,
        }))
    }

    async fn target(&self, mac: MacAddr) -> Result<Option<BootTarget>, NoTarget> {
        let now = clock::now_ms();
        let Some(plan) = self.plan(mac, BootInterface::Ipxe).await? else { return Ok(None) };
        let identity = plan.identity(&self.agents_url, &self.ca_pem, now);
        let identity = serde_json::to_vec(&identity).map_err(NoTarget::Identity)?;
        let segment = identity_segment(&identity)?;
        Ok(Some(BootTarget {
            kernel: self.blob(names::DEPLOY_KERNEL).await?,
            initrd: vec![
                Segment::Bytes(segment.into()),
                Segment::File(self.blob(names::DEPLOY_RAMDISK).await?),
            ],
            cmdline: RAMDISK_CMDLINE.map(str::to_owned).to_vec(),
            token: BootToken::new(&plan.token).map_err(|_| NoTarget::Token)?,
        }))
    }

    async fn boots_by_media(&self, mac: Option<MacAddr>) -> bool {
        let Some(mac) = mac else { return false };
        let lease = self.store.lease_for(mac).await.ok().flatten();
        lease.is_some_and(|lease| lease.boot_interface == BootInterface::RedfishVirtualMedia)
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

/// What serves deploy CDs to BMCs, and where it listens.
///
/// # Errors
/// When it cannot listen at `address`.
pub(super) fn media_parts(
    address: SocketAddrV4,
    boots: EnrolledOnly,
) -> Result<(Parts, SocketAddr), ApiError> {
    let listener = TcpListener::bind(address).map_err(|error| {
        unavailable(&format!("virtual media cannot use tcp {address}"), error)
            .hint(format!("ss -ltnp 'sport = {}' shows who does", address.port()))
    })?;
    MediaServer::parts(listener, Arc::new(boots))
        .map_err(|error| unavailable("virtual media", error))
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
        // What boots by virtual media gets its address with the CD.
        if lease.boot_interface == BootInterface::RedfishVirtualMedia {
            return None;
        }
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

    async fn media(&self, mac: MacAddr) -> Option<MediaTarget> {
        match self.deploy_cd(mac).await {
            Ok(target) => target,
            Err(error) => {
                tracing::error!(error = %anyhow::Error::new(error), %mac, "no deploy CD");
                None
            }
        }
    }

    async fn event(&self, event: BootEvent) {
        // To DHCP it is unknown, and should be.
        if event.kind == BootEventKind::UnknownMac && self.boots_by_media(event.mac).await {
            return;
        }
        let said = event.to_string();
        let is_warning = matches!(
            event.kind,
            BootEventKind::ForeignDhcpServer { .. }
                | BootEventKind::UnknownMac
                | BootEventKind::DhcpDecline { .. }
                | BootEventKind::TftpFailed { .. }
                | BootEventKind::TransferCut { .. }
                | BootEventKind::DhcpUnreadable { .. }
                | BootEventKind::DhcpRelayed { .. }
                | BootEventKind::TooMuch
                | BootEventKind::UnsupportedFirmware { .. }
        );
        let seen = Seen { said: &said, is_warning };
        let progress = progress(&event.kind);
        let now = clock::now_ms();
        let written = match (event.kind, event.mac) {
            // After its agent said hello, that is news.
            (BootEventKind::NothingToBoot, Some(mac)) => {
                self.store.boot_refused(mac, seen, now).await
            }
            _ => self.store.netboot_event(event.mac, progress, seen, now).await,
        };
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
        BootEventKind::MediaServed { .. } => Some(BootProgress::Ramdisk),
        _ => None,
    }
}
