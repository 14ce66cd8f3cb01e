//! Files of a storage pool, where libvirt's machines may read them, also those of another host.

use std::{fs::File, time::Duration};

use super::{DEADLINE, Input, Virsh};
use crate::LibvirtError;

/// The pool that images are put into: libvirt's usual one.
pub(crate) const POOL: &str = "default";
/// For the bytes of an image.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(600);

impl Virsh {
    /// Makes a volume of this name with the bytes of `file`, in place of any other. Returns its
    /// path.
    pub(crate) async fn upload(
        &self,
        name: &str,
        file: File,
        bytes: u64,
    ) -> Result<String, LibvirtError> {
        self.delete_volume(name).await?;
        let size = bytes.to_string();
        let create = ["vol-create-as", POOL, name, &size, "--format", "raw"];
        self.volume("vol-create-as", &create).await?;
        let upload = ["vol-upload", name, "/dev/stdin", "--pool", POOL];
        let uploaded =
            self.run_with("vol-upload", &upload, Input::File(file), UPLOAD_DEADLINE).await;
        if let Err(error) = uploaded {
            self.delete_volume(name).await?;
            return Err(error);
        }
        let path = self.volume("vol-path", &["vol-path", name, "--pool", POOL]).await?;
        Ok(path.trim().to_owned())
    }

    /// Deletes a volume, if there is one of this name.
    pub(crate) async fn delete_volume(&self, name: &str) -> Result<(), LibvirtError> {
        match self.volume("vol-delete", &["vol-delete", name, "--pool", POOL]).await {
            Err(LibvirtError::Refused { said, .. }) if said.contains("volume not found") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn volume(&self, name: &'static str, args: &[&str]) -> Result<String, LibvirtError> {
        match self.run_with(name, args, Input::None, DEADLINE).await {
            Err(LibvirtError::Refused { said, .. })
                if said.contains("pool not found") || said.contains("is not active") =>
            {
                Err(LibvirtError::NoPool { uri: self.uri().clone() })
            }
            other => other,
        }
    }
}
