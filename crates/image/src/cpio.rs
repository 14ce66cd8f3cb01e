//! Writer of `cpio` archives in the kernel's "newc" format, for initial ramdisks.
//!
//! Deterministic: inode numbers count up, all times are 0, owner is root. The kernel reads any number
//! of archives one after the other, packed or not (Documentation/driver-api/early-userspace/
//! buffer-format.rst), so a ramdisk is made of segments: the system, then the agent, then what only
//! one boot needs. A later segment replaces files of an earlier one.

use std::io::{self, Write};

/// An archive in memory.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Why an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CpioError {
    /// More than 32 bits can say.
    #[error("`{0}` is too large for an initial ramdisk")]
    TooLarge(String),
    /// The name is empty, begins with `/`, or holds `..` or a NUL.
    #[error("`{0}` is no path inside an archive")]
    Name(String),
}

const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. Parents must come before what is in them.
    pub fn dir(&mut self, path: &str, mode: u32) -> Result<&mut Self, CpioError> {
        self.entry(path, S_IFDIR | mode & 0o7777, (0, 0), &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<&mut Self, CpioError> {
        self.entry(path, S_IFREG | mode & 0o7777, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self, CpioError> {
        self.entry(path, S_IFLNK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device.
    pub fn char_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<&mut Self, CpioError> {
        self.entry(path, S_IFCHR | mode & 0o7777, (major, minor), &[])
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<&mut Self, CpioError> {
        let bad = path.is_empty()
            || path.contains('\0')
            || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if bad || path == TRAILER {
            return Err(CpioError::Name(path.to_owned()));
        }
        let size = u32::try_from(content.len());
        let size = size.map_err(|_| CpioError::TooLarge(path.to_owned()))?;
        self.entries += 1;
        self.header(path, self.entries, mode, 1, device, size);
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(self)
    }

    fn header(
        &mut self,
        path: &str,
        inode: u32,
        mode: u32,
        links: u32,
        device: (u32, u32),
        size: u32,
    ) {
        let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check.
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Ends the archive and returns it, unpacked.
    pub fn finish(mut self) -> Vec<u8> {
        self.header(TRAILER, 0, 0, 1, (0, 0), 0);
        self.bytes
    }

    /// Ends the archive and returns it as one Zstandard frame (the kernel's `CONFIG_RD_ZSTD`).
    pub fn finish_zstd(self, level: i32) -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
        encoder.include_checksum(false)?;
        encoder.write_all(&self.finish())?;
        encoder.finish()
    }
}

const TRAILER: &str = "TRAILER!!!";

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// Header of `f`, mode 0644, 3 bytes, as `cpio -H newc` writes it but for inode and time.
    const FILE_F: &[u8] = b"070701\
        00000001000081a40000000000000000000000010000000000000003\
        00000000000000000000000000000000000000020000000000000000abc\0";

    #[test]
    fn one_file_is_these_bytes() {
        let mut archive = Archive::new();
        archive.file("f", 0o644, b"abc").unwrap();
        let bytes = archive.finish();
        let expected: Vec<u8> = {
            let mut e = FILE_F[..110].to_vec();
            e.extend_from_slice(b"f\0");
            e.extend_from_slice(b"abc\0");
            e
        };
        assert_eq!(&bytes[..116], &expected[..]);
        assert!(bytes.windows(10).any(|w| w == b"TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for bad in ["", "/etc", "a//b", "../a", "a/..", "a\0b", TRAILER] {
            assert!(Archive::new().file(bad, 0o644, b"").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn gnu_cpio_reads_it() {
        let mut archive = Archive::new();
        archive.dir("etc", 0o755).unwrap();
        archive.file("etc/a", 0o600, b"12345").unwrap();
        archive.symlink("etc/b", "a").unwrap();
        let Ok(mut child) = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return; // No GNU cpio on this machine: the byte vector above has to do.
        };
        child.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), "etc\netc/a\netc/b\n");
    }

    proptest! {
        #[test]
        fn any_name_and_content_is_written_or_refused(path: String, content: Vec<u8>) {
            let mut archive = Archive::new();
            let _ = archive.file(&path, 0o644, &content);
            prop_assert_eq!(archive.finish().len() % 4, 0);
        }
    }
}
