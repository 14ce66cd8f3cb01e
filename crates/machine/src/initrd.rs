//! Unpacks an initial ramdisk as the kernel does: any number of `cpio` archives in the "newc"
//! format, one after the other, plain or in Zstandard frames, zeros between them
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Two things are left out: device nodes, which the machine has its own of, and the modules of a
//! kernel that is not run. Names are checked; a symbolic link that leads out of the directory is
//! harmless only where the directory is `/`, so call it there.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Component, Path},
};

use crate::MachineError;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const NEWC: &[u8; 6] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// `PATH_MAX`.
const NAME_BYTES_MAX: u32 = 4096;
/// A ramdisk that unpacks to more than this is refused.
const BYTES_MAX: u64 = 4 << 30;
/// Below this are the drivers of a kernel that does not run here.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Unpacks all of it into `directory`; says how many entries were made.
///
/// # Errors
/// When it is no ramdisk, is cut off, or a file cannot be made.
pub(crate) fn unpack(mut bytes: &[u8], directory: &Path) -> Result<usize, MachineError> {
    let mut made = Unpacked { directory, entries: 0, bytes: 0 };
    loop {
        bytes = after_zeros(bytes);
        if bytes.is_empty() {
            return Ok(made.entries);
        }
        if bytes.starts_with(NEWC) {
            made.archive(&mut bytes)?;
        } else if bytes.starts_with(&ZSTD) {
            let mut frames = Frames { rest: &mut bytes, current: None };
            made.archives(&mut frames)?;
        } else {
            let text = "a piece of it is neither cpio (newc) nor Zstandard";
            return Err(MachineError::Ramdisk(text.to_owned()));
        }
    }
}

fn after_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Frames that follow one another, as one stream. Ends where no frame begins.
struct Frames<'a, 'b> {
    rest: &'b mut &'a [u8],
    current: Option<zstd::Decoder<'static, io::Cursor<Vec<u8>>>>,
}

impl Frames<'_, '_> {
    /// The next frame's length is known to the decoder alone, so it is found by a first walk.
    fn begin(&mut self) -> io::Result<bool> {
        if !self.rest.starts_with(&ZSTD) {
            return Ok(false);
        }
        let length = zstd::zstd_safe::find_frame_compressed_size(self.rest)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a frame is cut off"))?;
        let (frame, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame is cut off"))?;
        *self.rest = rest;
        let decoder = zstd::Decoder::with_buffer(io::Cursor::new(frame.to_vec()))?.single_frame();
        self.current = Some(decoder);
        Ok(true)
    }
}

impl Read for Frames<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.current {
                let got = frame.read(buffer)?;
                if got > 0 || buffer.is_empty() {
                    return Ok(got);
                }
                self.current = None;
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

struct Unpacked<'a> {
    directory: &'a Path,
    entries: usize,
    bytes: u64,
}

impl Unpacked<'_> {
    /// Archives up to the end of a stream.
    fn archives(&mut self, source: &mut impl Read) -> Result<(), MachineError> {
        loop {
            // Archives begin at multiples of four bytes, so zeros come by fours.
            let mut word = [0u8; 4];
            match read_some(source, &mut word)? {
                0 => return Ok(()),
                4 if word == [0; 4] => {}
                4 => {
                    let mut joined = (&word[..]).chain(&mut *source);
                    self.archive(&mut joined)?;
                }
                _ => return Err(cut_off()),
            }
        }
    }

    /// One archive, up to its trailer.
    fn archive(&mut self, source: &mut impl Read) -> Result<(), MachineError> {
        loop {
            let header = Header::read(source)?;
            let name = header.name(source)?;
            if name == TRAILER {
                return Ok(());
            }
            self.bytes += u64::from(header.size) + HEADER_BYTES as u64;
            if self.bytes > BYTES_MAX {
                return Err(MachineError::Ramdisk(format!("it unpacks to over {BYTES_MAX} bytes")));
            }
            self.entry(&header, &name, source)?;
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        name: &str,
        source: &mut impl Read,
    ) -> Result<(), MachineError> {
        let content = u64::from(header.size);
        let padding = content.next_multiple_of(4) - content;
        let mut limited = source.by_ref().take(content);
        let kind = header.mode & S_IFMT;
        let wanted = matches!(kind, S_IFDIR | S_IFREG | S_IFLNK)
            && !MODULES.iter().any(|below| Path::new(name).starts_with(below));
        if let (true, Some(path)) = (wanted, inside(self.directory, name)?) {
            make(&path, kind, header.mode & 0o7777, &mut limited)
                .map_err(MachineError::io(format!("make {name} of the ramdisk")))?;
            self.entries += 1;
        }
        let failed = |_| cut_off();
        io::copy(&mut limited, &mut io::sink()).map_err(failed)?;
        if limited.limit() > 0 {
            return Err(cut_off());
        }
        let skipped = io::copy(&mut source.by_ref().take(padding), &mut io::sink());
        if skipped.map_err(failed)? == padding { Ok(()) } else { Err(cut_off()) }
    }
}

/// Where an entry goes; nothing for the directory itself.
fn inside(directory: &Path, name: &str) -> Result<Option<std::path::PathBuf>, MachineError> {
    let mut path = directory.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(MachineError::Ramdisk(format!("{name:?} is no path inside it")));
            }
        }
    }
    Ok((path != directory).then_some(path))
}

/// Makes an entry in place of what a former archive had there.
fn make(path: &Path, kind: u32, mode: u32, content: &mut impl Read) -> io::Result<()> {
    if kind == S_IFDIR {
        return match fs::create_dir(path) {
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if kind == S_IFLNK {
        let mut target = String::new();
        content.take(u64::from(NAME_BYTES_MAX)).read_to_string(&mut target)?;
        return symlink(target, path);
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(path)?;
    io::copy(content, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

struct Header {
    mode: u32,
    size: u32,
    name_bytes: u32,
}

impl Header {
    fn read(source: &mut impl Read) -> Result<Self, MachineError> {
        let mut bytes = [0u8; HEADER_BYTES];
        source.read_exact(&mut bytes).map_err(|_| cut_off())?;
        let bad = || MachineError::Ramdisk("a header of it is not cpio's (newc)".to_owned());
        if !bytes.starts_with(NEWC) {
            return Err(bad());
        }
        // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check.
        let field = |index: usize| {
            let digits = bytes.get(6 + index * 8..14 + index * 8)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let field = |index| field(index).ok_or_else(bad);
        let header = Self { mode: field(1)?, size: field(6)?, name_bytes: field(11)? };
        let sane = (1..=NAME_BYTES_MAX).contains(&header.name_bytes);
        if sane { Ok(header) } else { Err(bad()) }
    }

    fn name(&self, source: &mut impl Read) -> Result<String, MachineError> {
        let length = u64::from(self.name_bytes);
        let padded = (HEADER_BYTES as u64 + length).next_multiple_of(4) - HEADER_BYTES as u64;
        let mut bytes = Vec::new();
        source.by_ref().take(padded).read_to_end(&mut bytes).map_err(|_| cut_off())?;
        if bytes.len() as u64 != padded {
            return Err(cut_off());
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        String::from_utf8(bytes)
            .map_err(|_| MachineError::Ramdisk("a name of it is no UTF-8".to_owned()))
    }
}

/// Fills as much of the buffer as there is.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, MachineError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(MachineError::Ramdisk(error.to_string())),
        }
    }
    Ok(filled)
}

fn cut_off() -> MachineError {
    MachineError::Ramdisk("it is cut off".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use undercloud_image::cpio::Archive;

    use super::*;

    fn identity() -> Vec<u8> {
        let mut archive = Archive::new();
        archive.dir("etc", 0o755).unwrap();
        archive.file("etc/boot.json", 0o600, b"{}x").unwrap();
        archive.finish()
    }

    fn system() -> Archive {
        let mut archive = Archive::new();
        archive.dir("etc", 0o700).unwrap().dir("lib", 0o755).unwrap();
        archive.dir("lib/modules", 0o755).unwrap();
        archive.file("lib/modules/a.ko", 0o644, b"driver").unwrap();
        archive.file("init", 0o755, b"agent").unwrap();
        archive.symlink("sbin", "usr/bin").unwrap();
        archive.char_device("console", 0o600, 5, 1).unwrap();
        archive
    }

    #[test]
    fn segments_plain_and_packed_lie_one_over_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = identity();
        bytes.extend([0; 512]);
        bytes.extend(system().finish_zstd(1).unwrap());
        let mut newer = Archive::new();
        newer.file("init", 0o755, b"newer agent").unwrap();
        bytes.extend(newer.finish_zstd(1).unwrap());
        unpack(&bytes, dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("etc/boot.json")).unwrap(), b"{}x");
        assert_eq!(fs::read(dir.path().join("init")).unwrap(), b"newer agent");
        let mode = |name: &str| {
            fs::symlink_metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!((mode("init"), mode("etc/boot.json")), (0o755, 0o600));
        assert_eq!(fs::read_link(dir.path().join("sbin")).unwrap(), Path::new("usr/bin"));
        assert!(!dir.path().join("lib/modules").exists(), "drivers of another kernel");
        assert!(!dir.path().join("console").exists(), "the machine has nodes of its own");
    }

    #[test]
    fn an_archive_over_several_frames_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let plain = system().finish();
        let (head, tail) = plain.split_at(plain.len() / 2);
        let mut bytes = zstd::encode_all(head, 1).unwrap();
        bytes.extend(zstd::encode_all(tail, 1).unwrap());
        unpack(&bytes, dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("init")).unwrap(), b"agent");
    }

    #[test]
    fn what_is_no_ramdisk_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let cut = |bytes: Vec<u8>, at: usize| bytes[..at].to_vec();
        let climbing = {
            // The writer refuses such a name, so one of the same length is changed.
            let mut archive = Archive::new();
            archive.file("aa/b", 0o644, b"x").unwrap();
            let bytes = archive.finish();
            let at = bytes.windows(4).position(|w| w == b"aa/b").unwrap();
            [&bytes[..at], b"../b", &bytes[at + 4..]].concat()
        };
        for (bytes, words) in [
            (b"MZ a kernel".to_vec(), "neither cpio"),
            (cut(identity(), 200), "cut off"),
            (cut(system().finish_zstd(1).unwrap(), 60), "cut off"),
            (climbing, "no path inside"),
        ] {
            let error = unpack(&bytes, &inside).unwrap_err().chain();
            assert!(error.contains(words), "{error}");
        }
        assert!(!outside.path().join("b").exists());
    }

    proptest! {
        #[test]
        fn unpacking_never_panics(at in 0usize..600, byte: u8, packed: bool) {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes =
                if packed { system().finish_zstd(1).unwrap() } else { system().finish() };
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = unpack(&bytes, dir.path());
        }
    }
}
