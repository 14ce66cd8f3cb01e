//! Virtual media: below the system, or below its manager in older services.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Client, ClientError, link_of, quirks};
use crate::machine::{Media, MediaSlot};

/// For a drive to show that what was taken out is out: iDRAC takes its time, and refuses another
/// image until then (Ironic's story 2008504).
const EJECTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a service calls a drive of this kind.
fn types(slot: MediaSlot) -> &'static [&'static str] {
    match slot {
        MediaSlot::Cd => &["CD", "DVD"],
        MediaSlot::UsbStick => &["USBStick"],
    }
}

/// A drive, and what it shows.
struct Drive {
    path: String,
    body: Value,
}

impl Client {
    /// The addresses of all virtual drives.
    pub(super) async fn media_paths(&self) -> Result<Vec<String>, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        if let Some(path) = link_of(&system["VirtualMedia"]) {
            return self.members(&path).await;
        }
        let managers = system["Links"]["ManagedBy"].as_array().cloned().unwrap_or_default();
        for manager in managers.iter().filter_map(link_of) {
            let manager = self.get(&manager).await?.body;
            if let Some(path) = link_of(&manager["VirtualMedia"]) {
                return self.members(&path).await;
            }
        }
        Ok(Vec::new())
    }

    /// The drives of a kind; there is one at least.
    async fn media_drives(&self, slot: MediaSlot) -> Result<Vec<Drive>, ClientError> {
        let mut drives = Vec::new();
        for path in self.media_paths().await? {
            let body = self.get(&path).await?.body;
            let offered = body["MediaTypes"].as_array().cloned().unwrap_or_default();
            if types(slot).iter().any(|wanted| offered.iter().any(|kind| kind == wanted)) {
                drives.push(Drive { path, body });
            }
        }
        if drives.is_empty() {
            return Err(ClientError::NotOffered { what: format!("virtual drive {slot:?}") });
        }
        Ok(drives)
    }

    /// What is in a drive of this kind.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, ClientError> {
        let drives = self.media_drives(slot).await?;
        Ok(drives.iter().find_map(|Drive { body, .. }| {
            let image = body["Image"].as_str().filter(|image| !image.is_empty())?;
            let write_protected = body["WriteProtected"].as_bool().unwrap_or(true);
            let media = Media { image: image.to_owned(), write_protected };
            (body["Inserted"] != false).then_some(media)
        }))
    }

    /// Puts an image in, after taking out what is there. Of several drives the first that takes it:
    /// some are for a person's browser only, and refuse (Cisco UCS, OpenBMC; Ironic:
    /// drivers/modules/redfish/boot.py, `_insert_vmedia_in_resource`).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn insert_media(&self, slot: MediaSlot, media: &Media) -> Result<(), ClientError> {
        let drives = self.media_drives(slot).await?;
        for drive in drives.iter().filter(|drive| drive.body["Inserted"] == true) {
            self.eject(drive).await?;
            self.see_ejected(drive).await?;
        }
        let mut refusal = None;
        for drive in &drives {
            match self.insert(drive, media).await {
                Err(error @ ClientError::Refused { status: 400 | 404 | 405 | 501, .. }) => {
                    tracing::debug!(path = drive.path, %error, "drive takes no image");
                    // What the first one has against it says most.
                    refusal = refusal.or(Some(error));
                }
                other => return other,
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    async fn insert(&self, drive: &Drive, media: &Media) -> Result<(), ClientError> {
        let Drive { path, body } = drive;
        let action = &body["Actions"]["#VirtualMedia.InsertMedia"];
        let Some(target) = action["target"].as_str() else {
            // Lenovo's SD530 wants it said that it is inserted (sushy).
            let etag = self.get(path).await?.etag;
            let body = json!({
                "Image": media.image, "Inserted": true, "WriteProtected": media.write_protected,
            });
            return self.change(path, &body, etag).await;
        };
        // Supermicro's X11 refuses what is so anyway by the action's definition (sushy).
        let mut request = json!({ "Image": media.image });
        if !media.write_protected {
            request["WriteProtected"] = false.into();
        }
        loop {
            match self.post(target, &request).await {
                Err(ClientError::Refused { status: 400, message, .. })
                    if quirks::add_missing(&message, &mut request) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Takes out what is in the drives of this kind; nothing in them is fine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn eject_media(&self, slot: MediaSlot) -> Result<(), ClientError> {
        let drives = self.media_drives(slot).await?;
        // Some do not say whether something is in.
        for drive in drives.iter().filter(|drive| drive.body["Inserted"] != false) {
            self.eject(drive).await?;
        }
        Ok(())
    }

    async fn eject(&self, Drive { path, body }: &Drive) -> Result<(), ClientError> {
        if let Some(target) = body["Actions"]["#VirtualMedia.EjectMedia"]["target"].as_str() {
            return self.post(target, &json!({})).await.map(drop);
        }
        let etag = self.get(path).await?.etag;
        let body = json!({ "Image": null, "Inserted": false });
        self.change(path, &body, etag).await
    }

    /// Waits until a drive is empty. One that does not say so in time may take an image yet.
    async fn see_ejected(&self, drive: &Drive) -> Result<(), ClientError> {
        let deadline = Instant::now() + EJECTED_WITHIN;
        while self.get(&drive.path).await?.body["Inserted"] == true && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
