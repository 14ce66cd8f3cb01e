//! The CD drive: what is in it is said by files, and QEMU is told to follow.
//!
//! A CD is put in by renaming its file and writing its record; then QEMU, if it runs, is made to
//! show it. A crash in between is mended when QEMU is found again ([`Supervisor::show_cd`]). A
//! machine that is off has the CD at its next start, by its command line.

use serde_json::{Value, json};

use super::{
    boot,
    files::{self, InsertedCd, NewCd},
    supervisor::Supervisor,
};
use crate::LabError;

/// What QEMU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drive {
    /// Started by a version of this program that gave it none.
    Missing,
    Empty,
    Full,
}

impl Supervisor {
    /// Puts a CD in, or takes it out.
    pub(super) async fn set_cd(&mut self, cd: Option<(NewCd, InsertedCd)>) -> Result<(), LabError> {
        match cd {
            Some((new, cd)) => {
                self.files.keep_cd(new, &cd)?;
                tracing::info!(machine = %self.machine.name, "CD inserted");
                self.insert().await
            }
            None => {
                // QEMU first: it has the file open.
                self.eject().await?;
                self.files.remove_cd()
            }
        }
    }

    /// Makes a QEMU that was found again show what the files say.
    pub(super) async fn show_cd(&mut self) -> Result<(), LabError> {
        let wanted = self.files.read_cd()?.is_some();
        match (wanted, self.drive().await?) {
            (true, Drive::Empty) => self.insert().await,
            (false, Drive::Full) => self.eject().await,
            (true, Drive::Full) | (false, Drive::Empty) | (_, Drive::Missing) => Ok(()),
        }
    }

    /// Whether the QEMU that runs was started with a drive.
    pub(super) async fn has_cd_drive(&self) -> Result<bool, LabError> {
        Ok(self.drive().await? != Drive::Missing)
    }

    async fn insert(&self) -> Result<(), LabError> {
        if self.control.is_none() {
            return Ok(());
        }
        let arguments = json!({
            "id": boot::CD, "filename": files::CD, "format": "raw",
            "read-only-mode": "read-only", "force": true,
        });
        self.execute("blockdev-change-medium", arguments).await
    }

    async fn eject(&self) -> Result<(), LabError> {
        if self.control.is_none() || self.drive().await? != Drive::Full {
            return Ok(());
        }
        // By force: a guest may have locked the tray.
        self.execute("eject", json!({ "id": boot::CD, "force": true })).await
    }

    async fn drive(&self) -> Result<Drive, LabError> {
        let drives = self.ask("query-block", Value::Null).await?;
        let is_cd = |drive: &&Value| {
            let device = drive["qdev"].as_str().unwrap_or_default();
            device.rsplit('/').next() == Some(boot::CD)
        };
        Ok(match drives.as_array().into_iter().flatten().find(is_cd) {
            None => Drive::Missing,
            Some(drive) if drive["inserted"].is_object() => Drive::Full,
            Some(_) => Drive::Empty,
        })
    }
}
