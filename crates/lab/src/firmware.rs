//! Where QEMU and the machines' firmware are on this host.

use camino::{Utf8Path, Utf8PathBuf};

use crate::LabError;

/// The files that machines are made of. Names of Debian's packages are in the errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuFiles {
    /// `qemu-system-x86_64`, version 10 or later.
    pub qemu: Utf8PathBuf,
    /// OVMF's code, 4 MB flavour. Readable by everybody: QEMU is not root when it opens it.
    pub ovmf_code: Utf8PathBuf,
    /// OVMF's empty variables, of the same flavour. Each machine gets a copy.
    pub ovmf_vars: Utf8PathBuf,
    /// The boot ROM of a BIOS machine's first card: iPXE for virtio. Each machine gets a copy.
    pub bios_nic_rom: Utf8PathBuf,
}

impl QemuFiles {
    /// Finds them where Debian puts them.
    ///
    /// # Errors
    /// When one is missing; the error names its package.
    pub fn find() -> Result<Self, LabError> {
        Ok(Self {
            qemu: first("QEMU", "qemu-system-x86", &["/usr/bin/qemu-system-x86_64"])?,
            ovmf_code: first("UEFI firmware", "ovmf", &["/usr/share/OVMF/OVMF_CODE_4M.fd"])?,
            ovmf_vars: first("UEFI variables", "ovmf", &["/usr/share/OVMF/OVMF_VARS_4M.fd"])?,
            bios_nic_rom: first(
                "a network boot ROM",
                "ipxe-qemu",
                // Debian 12's place, and Debian 13's.
                &["/usr/lib/ipxe/qemu/pxe-virtio.rom", "/usr/share/qemu/pxe-virtio.rom"],
            )?,
        })
    }

    /// The same with another boot ROM, for instance the one an image builder brought along.
    #[must_use]
    pub fn with_bios_nic_rom(self, rom: impl Into<Utf8PathBuf>) -> Self {
        Self { bios_nic_rom: rom.into(), ..self }
    }
}

fn first(
    what: &'static str,
    package: &'static str,
    candidates: &[&str],
) -> Result<Utf8PathBuf, LabError> {
    candidates
        .iter()
        .map(Utf8Path::new)
        .find(|path| path.is_file())
        .map(Utf8Path::to_owned)
        .ok_or_else(|| LabError::Missing { what, tried: candidates.join(", "), package })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_names_its_package() {
        let error = first("QEMU", "qemu-system-x86", &["/no/such", "/file"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/no/such, /file") && text.contains("install qemu-system-x86"));
    }
}
