//! Virtual media: below the system, or below its manager in older services.

use serde_json::json;

use super::{Client, ClientError, link_of};
use crate::machine::{Media, MediaSlot};

/// What a service calls a drive of this kind.
fn types(slot: MediaSlot) -> &'static [&'static str] {
    match slot {
        MediaSlot::Cd => &["CD", "DVD"],
        MediaSlot::UsbStick => &["USBStick"],
    }
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

    async fn drive(&self, slot: MediaSlot) -> Result<(String, serde_json::Value), ClientError> {
        for path in self.media_paths().await? {
            let drive = self.get(&path).await?.body;
            let offered = drive["MediaTypes"].as_array().cloned().unwrap_or_default();
            if types(slot).iter().any(|wanted| offered.iter().any(|kind| kind == wanted)) {
                return Ok((path, drive));
            }
        }
        Err(ClientError::NotOffered { what: format!("virtual drive {slot:?}") })
    }

    /// What is in a drive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn media(&self, slot: MediaSlot) -> Result<Option<Media>, ClientError> {
        let (_, drive) = self.drive(slot).await?;
        if drive["Inserted"] == false {
            return Ok(None);
        }
        let image = drive["Image"].as_str().filter(|image| !image.is_empty());
        let write_protected = drive["WriteProtected"].as_bool().unwrap_or(true);
        Ok(image.map(|image| Media { image: image.to_owned(), write_protected }))
    }

    /// Puts an image in, after taking out what is there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn insert_media(&self, slot: MediaSlot, media: &Media) -> Result<(), ClientError> {
        let (path, drive) = self.drive(slot).await?;
        if drive["Inserted"] == true {
            self.eject(&path, &drive).await?;
        }
        let write_protected = media.write_protected;
        let action = &drive["Actions"]["#VirtualMedia.InsertMedia"];
        if let Some(target) = action["target"].as_str() {
            let body = json!({
                "Image": media.image, "Inserted": true, "WriteProtected": write_protected,
            });
            return self.post(target, &body).await.map(drop);
        }
        let etag = self.get(&path).await?.etag;
        let body = json!({ "Image": media.image, "Inserted": true });
        self.change(&path, &body, etag).await
    }

    /// Takes out what is in a drive; nothing in it is fine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn eject_media(&self, slot: MediaSlot) -> Result<(), ClientError> {
        let (path, drive) = self.drive(slot).await?;
        if drive["Inserted"] == false {
            return Ok(());
        }
        self.eject(&path, &drive).await
    }

    async fn eject(&self, path: &str, drive: &serde_json::Value) -> Result<(), ClientError> {
        if let Some(target) = drive["Actions"]["#VirtualMedia.EjectMedia"]["target"].as_str() {
            return self.post(target, &json!({})).await.map(drop);
        }
        let etag = self.get(path).await?.etag;
        let body = json!({ "Image": null, "Inserted": false });
        self.change(path, &body, etag).await
    }
}
