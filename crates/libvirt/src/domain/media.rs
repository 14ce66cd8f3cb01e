//! The CD drive of a domain: the image is fetched, given to libvirt's storage, and put into the
//! definition and, if it runs, into what runs.
//!
//! The volume is named after the domain, so that one that was left by a crash is found by the next
//! image, which takes its place.

use std::{io, path::PathBuf, sync::Arc};

use rustix::fs::{Mode, OFlags};
use undercloud_bmc::{
    machine::{Media, PowerState},
    redfish::link::{FetchLimits, Trust, fetch},
};

use super::Shared;
use crate::{
    LibvirtError,
    xml::media::{self, Drive, Inserted},
};

/// How images come to domains.
#[derive(Debug, Clone)]
pub struct Images {
    /// Where one is kept until libvirt has it, without a name.
    pub folder: PathBuf,
    /// Which servers of images are believed.
    pub trust: Trust,
}

impl Images {
    /// Fetches an image into a file that goes when it is closed. Returns how long it is, too.
    async fn fetch(&self, image: &str) -> Result<(std::fs::File, u64), LibvirtError> {
        let keep =
            |source| LibvirtError::Keep { folder: self.folder.display().to_string(), source };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.folder, flags, Mode::from_raw_mode(0o600));
        let file = std::fs::File::from(file.map_err(|error| keep(io::Error::from(error)))?);
        let mut to = tokio::fs::File::from_std(file.try_clone().map_err(keep)?);
        let bytes = fetch(image, &self.trust, FetchLimits::default(), &mut to).await;
        Ok((file, bytes.map_err(LibvirtError::Fetch)?))
    }
}

/// Puts an image in, in place of another one of ours.
pub(super) async fn insert(
    domain: Arc<Shared>,
    images: Images,
    wanted: Media,
) -> Result<(), LibvirtError> {
    let (file, bytes) = images.fetch(&wanted.image).await?;
    let _turn = domain.turn().await;
    // Whether it can be is known before anything is taken out or uploaded.
    let probe = Inserted { image: wanted.image.clone(), file: "/dev/null".to_owned() };
    let text = domain.definition().await?;
    media::set(&text, Some(&probe)).map_err(LibvirtError::Definition)?;
    eject_in_turn(&domain).await?;
    let path = domain.virsh().upload(&volume(&domain), file, bytes).await?;
    let inserted = Inserted { image: wanted.image, file: path };
    let done = show(&domain, &inserted).await;
    if done.is_err() {
        eject_in_turn(&domain).await?;
    }
    done
}

/// Takes our image out, and forgets it.
pub(super) async fn eject(domain: Arc<Shared>) -> Result<(), LibvirtError> {
    let _turn = domain.turn().await;
    eject_in_turn(&domain).await
}

fn volume(domain: &Shared) -> String {
    format!("undercloud-{}.iso", domain.uuid())
}

async fn show(domain: &Shared, inserted: &Inserted) -> Result<(), LibvirtError> {
    edit(domain, Some(inserted)).await?;
    if let Some(Drive { target, .. }) = live(domain).await? {
        let change = [target.as_str(), inserted.file.as_str(), "--update", "--live"];
        domain.virsh().domain("change-media", domain.uuid(), &change).await?;
    }
    Ok(())
}

async fn eject_in_turn(domain: &Shared) -> Result<(), LibvirtError> {
    let text = domain.definition().await?;
    let drive = media::read(&text).map_err(LibvirtError::Definition)?;
    let Some(Drive { inserted: Some(inserted), .. }) = drive else {
        return edit(domain, None).await;
    };
    // What runs first: it has the file open. By force: a guest may have locked the tray.
    if let Some(drive) = live(domain).await?
        && drive.holds(&inserted.file)
    {
        let change = [drive.target.as_str(), "--eject", "--live", "--force"];
        domain.virsh().domain("change-media", domain.uuid(), &change).await?;
    }
    edit(domain, None).await?;
    domain.virsh().delete_volume(&volume(domain)).await
}

/// The drive of what runs.
async fn live(domain: &Shared) -> Result<Option<Drive>, LibvirtError> {
    if domain.power() == PowerState::Off {
        return Ok(None);
    }
    let text = domain.virsh().domain("dumpxml", domain.uuid(), &[]).await?;
    media::read(&text).map_err(LibvirtError::Definition)
}

async fn edit(domain: &Shared, image: Option<&Inserted>) -> Result<(), LibvirtError> {
    domain.edit(|text| media::set(text, image)).await?;
    domain.know_media(image.cloned());
    Ok(())
}
