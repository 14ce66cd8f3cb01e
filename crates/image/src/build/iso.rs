//! The boot images of the deploy CD, by GRUB's and mtools' programs; the CD itself is written by
//! [`crate::deploy_iso`].

use std::{fs, time::Duration};

use camino::Utf8Path;

use super::{
    BuildError, at,
    child::{Log, Run},
    disk,
    recipe::DEPLOY_ISO_CONFIG,
};
use crate::deploy_iso::write::{Parts, write};

/// Files that the steps make, inside the builder's root directory.
const WORK: &str = "work";
/// Modules in both loaders. Their commands are inside, so that they read nothing but what is booted.
const MODULES: [&str; 7] =
    ["iso9660", "search_label", "linux", "boot", "serial", "terminal", "echo"];
/// What a FAT file system takes beside its files.
const FAT_BYTES: u64 = 256 << 10;

/// What a CD is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Iso<'a> {
    /// The builder's root directory.
    pub(super) root: &'a Utf8Path,
    pub(super) kernel: &'a [u8],
    /// The deploy ramdisk with the agent.
    pub(super) ramdisk: &'a [u8],
    /// The time of all files, in seconds.
    pub(super) date: u64,
}

impl Iso<'_> {
    /// Makes the CD.
    pub(super) fn build(&self, log: &Log<'_>) -> Result<Vec<u8>, BuildError> {
        let work = self.root.join(WORK);
        disk::clear(&work)?;
        fs::create_dir(&work).map_err(at("make the directory", &work))?;
        let config = work.join("cd.cfg");
        fs::write(&config, DEPLOY_ISO_CONFIG).map_err(at("write", &config))?;
        self.loader("i386-pc-eltorito", "i386-pc", &["biosdisk"], log)?;
        self.loader("x86_64-efi", "x86_64-efi", &["efi_gop", "all_video"], log)?;
        self.file_system(log)?;
        let read = |path: &str| {
            let path = self.root.join(path);
            fs::read(&path).map_err(at("read", &path))
        };
        let cd = write(&Parts {
            hybrid: &read("usr/lib/grub/i386-pc/boot_hybrid.img")?,
            bios: &read("work/i386-pc-eltorito")?,
            efi: &read("work/efi.img")?,
            kernel: self.kernel,
            ramdisk: self.ramdisk,
        })
        .map_err(BuildError::DeployIso)?;
        disk::clear(&work)?;
        Ok(cd)
    }

    fn tool(&self, program: &str) -> Run {
        Run::inside(self.root, program)
            .env("SOURCE_DATE_EPOCH", self.date.to_string())
            .deadline(Duration::from_secs(600))
    }

    fn loader(
        &self,
        format: &str,
        platform: &str,
        own: &[&str],
        log: &Log<'_>,
    ) -> Result<(), BuildError> {
        self.tool("grub-mkimage")
            .args(["-O", format, "-d"])
            .arg(format!("/usr/lib/grub/{platform}"))
            .arg("-o")
            .arg(format!("/{WORK}/{format}"))
            .arg("-c")
            .arg(format!("/{WORK}/cd.cfg"))
            .args(["-p", "/boot/grub"])
            .args(own.iter().copied().chain(MODULES))
            .run(log)
    }

    /// Where UEFI looks for the loader.
    fn file_system(&self, log: &Log<'_>) -> Result<(), BuildError> {
        let loader = self.root.join(WORK).join("x86_64-efi");
        let bytes = fs::metadata(&loader).map_err(at("look at", &loader))?.len();
        let path = self.root.join(WORK).join("efi.img");
        let size = (bytes + FAT_BYTES).next_multiple_of(64 << 10);
        let file = fs::File::create_new(&path).map_err(at("create", &path))?;
        file.set_len(size).map_err(at("resize", &path))?;
        let image = format!("/{WORK}/efi.img");
        self.tool("mkfs.vfat")
            .args(["-F", "12", "--invariant", "-n", "EFIBOOT", "-i", "0d0e0f10", &image])
            .run(log)?;
        self.tool("mmd").args(["-i", &image, "::/EFI", "::/EFI/BOOT"]).run(log)?;
        let from = format!("/{WORK}/x86_64-efi");
        self.tool("mcopy").args(["-i", &image, &from, "::/EFI/BOOT/BOOTX64.EFI"]).run(log)
    }
}
