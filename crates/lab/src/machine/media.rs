//! Media that come and go: what is in a drive is said by files, and QEMU is told to follow.
//!
//! A medium is put in by renaming its file and writing its record; then QEMU, if it runs, is made
//! to show it. A crash in between is mended when QEMU is found again ([`Supervisor::show_media`]).
//! A machine that is off has its media at its next start, by its command line.
//!
//! The CD drive is always there. The USB stick's is plugged in with the first stick, as one that
//! holds nothing, and stays until QEMU ends: taking a USB device away takes until the guest's
//! processors have let go of it, which a guest in its firmware did not do in ten minutes.

use serde_json::{Value, json};

use super::{
    boot,
    files::{InsertedMedia, NewMedia},
    supervisor::Supervisor,
};
use crate::LabError;

/// QEMU's id of the USB controller.
pub(crate) const USB_CONTROLLER: &str = "usb";
/// QEMU's name of the medium that a drive has before its first one.
pub(crate) const NOTHING: &str = "nothing";

/// A drive for media that come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaDrive {
    /// The CD drive.
    Cd,
    /// The place of the USB stick.
    Usb,
}

impl MediaDrive {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cd, Self::Usb];

    /// QEMU's id of it.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Cd => boot::CD,
            Self::Usb => boot::USB,
        }
    }

    /// Its medium's file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Cd => "cd.iso",
            Self::Usb => "usb.img",
        }
    }

    /// The same, as QEMU names it from inside `vm`.
    pub(crate) fn file_for_qemu(self) -> String {
        format!("../{}", self.file())
    }

    /// What is put in, for people.
    pub(crate) fn medium(self) -> &'static str {
        match self {
            Self::Cd => "CD",
            Self::Usb => "USB stick",
        }
    }
}

/// What QEMU has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Missing,
    /// By QEMU's name of the drive.
    Empty(String),
    Full(String),
}

impl Shown {
    /// From the answer to `query-block`, of which a drive is a device or a part of one.
    fn read(drives: &Value, drive: MediaDrive) -> Self {
        let device = |block: &Value| {
            let device = block["qdev"].as_str()?;
            device.split('/').any(|part| part == drive.id()).then(|| device.to_owned())
        };
        let mut blocks = drives.as_array().into_iter().flatten();
        let found = blocks.find_map(|block| Some((device(block)?, &block["inserted"])));
        match found {
            None => Self::Missing,
            Some((device, medium)) if medium.is_object() && medium["node-name"] != NOTHING => {
                Self::Full(device)
            }
            Some((device, _)) => Self::Empty(device),
        }
    }
}

impl Supervisor {
    /// Puts a medium in, or takes it out. One that QEMU does not take is not in.
    pub(super) async fn set_media(
        &mut self,
        drive: MediaDrive,
        media: Option<(NewMedia, InsertedMedia)>,
    ) -> Result<(), LabError> {
        if let Some((new, media)) = media {
            self.files.keep_media(new, &media)?;
            let Err(error) = self.insert(drive, &media).await else {
                tracing::info!(machine = %self.machine.name, medium = drive.medium(), "inserted");
                return Ok(());
            };
            self.files.remove_media(drive)?;
            // If QEMU does not do that either, it is made to when it answers again.
            if let Err(error) = self.eject(drive).await {
                tracing::warn!(machine = %self.machine.name, error = %error, "half a medium");
            }
            return Err(error);
        }
        // QEMU first: it has the file open.
        self.eject(drive).await?;
        self.files.remove_media(drive)
    }

    /// Makes a QEMU that was found again show what the files say.
    pub(super) async fn show_media(&mut self) -> Result<(), LabError> {
        for drive in MediaDrive::ALL {
            match (self.files.read_media(drive)?, self.shown(drive).await?) {
                (Some(media), Shown::Missing | Shown::Empty(_)) => {
                    self.insert(drive, &media).await?;
                }
                (None, Shown::Full(_)) => self.eject(drive).await?,
                (Some(_), Shown::Full(_)) | (None, Shown::Missing | Shown::Empty(_)) => {}
            }
        }
        Ok(())
    }

    async fn insert(&self, drive: MediaDrive, media: &InsertedMedia) -> Result<(), LabError> {
        if self.control.is_none() {
            return Ok(());
        }
        let device = match self.shown(drive).await? {
            Shown::Empty(device) | Shown::Full(device) => device,
            Shown::Missing => self.plug_in(drive).await?,
        };
        let mode = if media.write_protected { "read-only" } else { "read-write" };
        let arguments = json!({
            "id": device, "filename": drive.file_for_qemu(), "format": "raw",
            "read-only-mode": mode, "force": true,
        });
        self.execute("blockdev-change-medium", arguments).await
    }

    async fn eject(&self, drive: MediaDrive) -> Result<(), LabError> {
        if self.control.is_none() {
            return Ok(());
        }
        let Shown::Full(device) = self.shown(drive).await? else { return Ok(()) };
        // By force: a guest may have locked the tray.
        self.execute("eject", json!({ "id": device, "force": true })).await
    }

    /// Gives a machine that runs a drive that it lacks, in its place in the order that it boots in.
    async fn plug_in(&self, drive: MediaDrive) -> Result<String, LabError> {
        let missing =
            || LabError::NoDrive { machine: self.machine.name.clone(), medium: drive.medium() };
        let can_be_plugged = drive == MediaDrive::Usb && self.has_device(USB_CONTROLLER).await?;
        if !can_be_plugged {
            return Err(missing());
        }
        let mut arguments = json!({
            "driver": "usb-storage", "id": drive.id(), "bus": format!("{USB_CONTROLLER}.0"),
            "drive": NOTHING, "removable": true,
        });
        if let Some(index) = self.boot_index(drive.id()) {
            arguments["bootindex"] = json!(index);
        }
        self.execute("device_add", arguments).await?;
        match self.shown(drive).await? {
            Shown::Empty(device) | Shown::Full(device) => Ok(device),
            Shown::Missing => Err(missing()),
        }
    }

    async fn shown(&self, drive: MediaDrive) -> Result<Shown, LabError> {
        Ok(Shown::read(&self.ask("query-block", Value::Null).await?, drive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_found_among_qemu_s_blocks() {
        let stick = "/machine/peripheral/usb0/usb0.0/legacy[0]";
        let blocks = |medium: Value| {
            json!([
                { "qdev": "/machine/peripheral/disk0/virtio-backend", "inserted": {} },
                { "qdev": "cd0" },
                { "qdev": stick, "inserted": medium },
            ])
        };
        let full = blocks(json!({ "node-name": "#block123" }));
        assert_eq!(Shown::read(&full, MediaDrive::Usb), Shown::Full(stick.to_owned()));
        assert_eq!(Shown::read(&full, MediaDrive::Cd), Shown::Empty("cd0".to_owned()));
        for medium in [json!({ "node-name": NOTHING }), Value::Null] {
            let empty = Shown::read(&blocks(medium), MediaDrive::Usb);
            assert_eq!(empty, Shown::Empty(stick.to_owned()));
        }
        for strange in [json!([]), json!({}), json!([{ "qdev": 5 }, "x", null])] {
            assert_eq!(Shown::read(&strange, MediaDrive::Usb), Shown::Missing);
        }
    }
}
