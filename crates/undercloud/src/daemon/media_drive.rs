//! A virtual drive of a machine of the lab: fetches the image, keeps it in the machine's directory,
//! has QEMU show it. One image at a time: a second request meanwhile is told to wait.

use tokio::sync::Mutex;
use undercloud_bmc::{
    machine::{MachineError, Media},
    redfish::link::{FetchLimits, Trust, fetch},
};
use undercloud_lab::{InsertedMedia, Machine, MediaDrive as Slot};

use super::virtual_bmc::refused;

/// A drive.
#[derive(Debug)]
pub(super) struct MediaDrive {
    machine: Machine,
    slot: Slot,
    trust: Trust,
    busy: Mutex<()>,
}

impl MediaDrive {
    pub(super) fn new(machine: Machine, slot: Slot, trust: Trust) -> Self {
        Self { machine, slot, trust, busy: Mutex::default() }
    }

    pub(super) fn media(&self) -> Result<Option<Media>, MachineError> {
        let media = self.machine.media(self.slot).map_err(refused)?;
        Ok(media.map(|InsertedMedia { image, write_protected }| Media { image, write_protected }))
    }

    pub(super) async fn set(&self, media: Option<Media>) -> Result<(), MachineError> {
        let _busy = self.busy.try_lock().map_err(|_| MachineError::Busy)?;
        let Some(media) = media else {
            return self.machine.eject_media(self.slot).await.map_err(refused);
        };
        let new = self.machine.new_media(self.slot).map_err(refused)?;
        let failed = |error: anyhow::Error| MachineError::Failed(format!("{error:#}"));
        let file = new.file.try_clone().map_err(|error| failed(error.into()))?;
        let mut file = tokio::fs::File::from_std(file);
        let bytes = fetch(&media.image, &self.trust, FetchLimits::default(), &mut file).await;
        let bytes = bytes.map_err(|error| failed(error.into()))?;
        // The address holds a token: it is told to the machine's users alone.
        tracing::info!(machine = %self.machine.name(), slot = ?self.slot, bytes, "image fetched");
        let Media { image, write_protected } = media;
        let media = InsertedMedia { image, write_protected };
        self.machine.insert_media(new, media).await.map_err(refused)
    }
}
