//! Reader of ISO 9660 (ECMA-119, 4th edition) with Joliet: one file by its path, so that a config
//! drive can be read where the kernel does not know the file system.
//!
//! Any bytes give files or an error. Joliet's tree, with the true names, goes before the plain one,
//! in which case and `-` or `_` do not count. Rock Ridge's names are not read.

use std::io::{self, Read, Seek, SeekFrom};

const SECTOR: usize = 2048;
/// Where the descriptors begin, and how many are looked at.
const DESCRIPTORS: std::ops::Range<u64> = 16..16 + 64;
/// The largest directory that is read.
const DIRECTORY_MAX: u64 = 1 << 20;
/// What Joliet's descriptors have in their field for escape sequences (levels 1 to 3 of UCS-2).
const UCS2: [&[u8; 3]; 3] = [b"%/@", b"%/C", b"%/E"];

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// There is no descriptor of a volume.
    #[error("there is no ISO 9660 file system")]
    NotIso,
    /// The file system contradicts itself.
    #[error("the ISO 9660 file system is damaged: {0}")]
    Damaged(&'static str),
    /// It is as the standard allows and this reader does not read.
    #[error("the ISO 9660 file system has {0}, which is not supported")]
    Unsupported(&'static str),
    /// It is larger than the caller wants.
    #[error("the file has {bytes} bytes, and {bytes_max} are the most that is read")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The most.
        bytes_max: u64,
    },
    /// The device refused, or is shorter than the file system.
    #[error("cannot read the ISO 9660 file system")]
    Io(#[source] io::Error),
}

/// A file system on `source`.
#[derive(Debug)]
pub struct Volume<R> {
    source: R,
    label: String,
    root: Entry,
    names: Names,
}

/// How names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Plain,
    Joliet,
}

/// A directory record without its name (ECMA-119, 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    sector: u64,
    bytes: u64,
    is_dir: bool,
    /// Its other part is elsewhere: interleaved (9.1.7), or in the next record (9.1.6, bit 7).
    in_parts: bool,
}

impl<R: Read + Seek> Volume<R> {
    /// Reads the descriptors.
    ///
    /// # Errors
    /// `NotIso` where there is no file system; see [`IsoError`].
    pub fn open(mut source: R) -> Result<Self, IsoError> {
        let mut plain = None;
        for number in DESCRIPTORS {
            let sector = match bytes_at(&mut source, number, SECTOR as u64) {
                // The device ends before the list does.
                Err(IsoError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read?,
            };
            if sector.get(1..6) != Some(b"CD001") {
                break;
            }
            match sector[0] {
                1 if plain.is_none() => {
                    plain = Some((label(&sector[40..72]), root(&sector)?));
                }
                2 if UCS2.iter().any(|escape| sector[88..91] == **escape) => {
                    // Standards want the primary one first.
                    let (label, _) = plain.ok_or(IsoError::Damaged("it has no primary volume"))?;
                    let root = root(&sector)?;
                    return Ok(Self { source, label, root, names: Names::Joliet });
                }
                255 => break,
                _ => {}
            }
        }
        let (label, root) = plain.ok_or(IsoError::NotIso)?;
        Ok(Self { source, label, root, names: Names::Plain })
    }

    /// The volume's name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The file at `path`, of at most `bytes_max` bytes; nothing where there is none.
    ///
    /// # Errors
    /// See [`IsoError`].
    pub fn file(&mut self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, IsoError> {
        let mut at = self.root;
        for part in path.split('/') {
            if !at.is_dir {
                return Ok(None);
            }
            let directory = self.content(at, DIRECTORY_MAX)?;
            let Some(found) = find(&directory, self.names, part)? else { return Ok(None) };
            at = found;
        }
        if at.is_dir {
            return Ok(None);
        }
        self.content(at, bytes_max).map(Some)
    }

    fn content(&mut self, entry: Entry, bytes_max: u64) -> Result<Vec<u8>, IsoError> {
        if entry.in_parts {
            return Err(IsoError::Unsupported("a file in several parts"));
        }
        let bytes = entry.bytes;
        if bytes > bytes_max {
            return Err(IsoError::TooLarge { bytes, bytes_max });
        }
        bytes_at(&mut self.source, entry.sector, bytes)
    }
}

/// Reads `bytes` bytes from a sector on. No room is made for what is not there.
fn bytes_at(source: &mut (impl Read + Seek), sector: u64, bytes: u64) -> Result<Vec<u8>, IsoError> {
    source.seek(SeekFrom::Start(sector * SECTOR as u64)).map_err(IsoError::Io)?;
    let mut content = Vec::new();
    let read = source.take(bytes).read_to_end(&mut content).map_err(IsoError::Io)?;
    if (read as u64) < bytes {
        return Err(IsoError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(content)
}

/// A descriptor's root directory (8.4.18); its sectors must be of the usual size (8.4.12).
fn root(descriptor: &[u8]) -> Result<Entry, IsoError> {
    if descriptor.get(128..130) != Some(&2048u16.to_le_bytes()) {
        return Err(IsoError::Unsupported("blocks that are not of 2048 bytes"));
    }
    let record = descriptor.get(156..190).and_then(entry);
    let root = record.ok_or(IsoError::Damaged("its root is cut off"))?;
    if !root.is_dir {
        return Err(IsoError::Damaged("its root is no directory"));
    }
    Ok(root)
}

/// A record without its name; nothing where it is too short for one.
fn entry(record: &[u8]) -> Option<Entry> {
    let u32_at = |at: usize| {
        let bytes: [u8; 4] = record.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(bytes)))
    };
    let (attributes, flags) = (*record.get(1)?, *record.get(25)?);
    Some(Entry {
        // An extended attribute record stands before the content (9.1.2).
        sector: u32_at(2)? + u64::from(attributes),
        bytes: u32_at(10)?,
        is_dir: flags & 0x02 != 0,
        in_parts: flags & 0x80 != 0 || record.get(26..28)? != [0, 0],
    })
}

/// The entry called `wanted`.
fn find(directory: &[u8], names: Names, wanted: &str) -> Result<Option<Entry>, IsoError> {
    let wanted = comparable(names, wanted);
    let mut at = 0;
    while let Some(length) = directory.get(at) {
        let length = usize::from(*length);
        if length == 0 {
            // A record does not cross a sector's end (6.8.1.1): the rest is filled up.
            at = (at + 1).next_multiple_of(SECTOR);
            continue;
        }
        let record = directory.get(at..at + length);
        let name = record.and_then(|record| {
            let length = usize::from(*record.get(32)?);
            record.get(33..33 + length)
        });
        let (Some(record), Some(name)) = (record, name) else {
            return Err(IsoError::Damaged("a directory's record is cut off"));
        };
        if text(names, name).is_some_and(|name| comparable(names, &name) == wanted) {
            return Ok(entry(record));
        }
        at += length;
    }
    Ok(None)
}

/// A name as text, without its version (7.5.1).
fn text(names: Names, bytes: &[u8]) -> Option<String> {
    let text = match names {
        Names::Plain => String::from_utf8(bytes.to_vec()).ok()?,
        Names::Joliet => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()?
        }
    };
    let name = text.rsplit_once(';').map_or(text.as_str(), |(name, _)| name);
    Some(name.to_owned())
}

/// Names of the plain tree are in upper case, without hyphens, and end with a dot where they have no
/// other.
fn comparable(names: Names, name: &str) -> String {
    match names {
        Names::Plain => name.trim_end_matches('.').to_ascii_uppercase().replace('-', "_"),
        Names::Joliet => name.to_owned(),
    }
}

fn label(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::configdrive::ConfigDrive;

    const MAX: u64 = 1 << 20;

    fn drive() -> ConfigDrive {
        let mut drive = ConfigDrive::new();
        drive.user_data("#!/bin/sh\n");
        drive.file("undercloud/agent.json", "{}").unwrap();
        drive.file("openstack/latest/network-data", vec![7; 5000]).unwrap();
        drive.file("empty", "").unwrap();
        drive
    }

    fn open(bytes: &[u8]) -> Result<Volume<Cursor<&[u8]>>, IsoError> {
        Volume::open(Cursor::new(bytes))
    }

    #[test]
    fn what_the_writer_wrote_is_read() {
        let iso = drive().to_iso().unwrap();
        let mut volume = open(&iso).unwrap();
        assert_eq!((volume.label(), volume.names), ("config-2", Names::Joliet));
        for (path, content) in drive().files() {
            assert_eq!(volume.file(path, MAX).unwrap().as_ref(), Some(content), "{path}");
        }
        for path in ["", "openstack", "empty/x", "nothing", "openstack/latest/USER_DATA"] {
            assert_eq!(volume.file(path, MAX).unwrap(), None, "{path}");
        }
        assert_eq!(
            volume.file("openstack/latest/network-data", 4999).unwrap_err().to_string(),
            "the file has 5000 bytes, and 4999 are the most that is read"
        );
    }

    #[test]
    fn the_plain_tree_is_read_where_there_is_no_other() {
        let mut iso = drive().to_iso().unwrap();
        iso[17 * SECTOR] = 255;
        let mut volume = open(&iso).unwrap();
        assert_eq!(volume.names, Names::Plain);
        for (path, content) in drive().files() {
            assert_eq!(volume.file(path, MAX).unwrap().as_ref(), Some(content), "{path}");
        }
    }

    #[test]
    fn what_is_none_or_cut_off_is_an_error() {
        let iso = drive().to_iso().unwrap();
        assert!(matches!(open(&iso[..16 * SECTOR + 1]), Err(IsoError::NotIso)));
        assert!(matches!(open(&[0; 20 * SECTOR]), Err(IsoError::NotIso)));
        let mut volume = open(&iso[..20 * SECTOR]).unwrap();
        assert!(matches!(volume.file("empty", MAX), Err(IsoError::Io(_))));
        let mut wrong = iso.clone();
        wrong[16 * SECTOR + 129] = 4;
        assert!(matches!(open(&wrong), Err(IsoError::Unsupported(_))));
        let mut wrong = iso;
        wrong[16 * SECTOR + 156 + 25] = 0;
        assert!(matches!(open(&wrong), Err(IsoError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_give_files_or_an_error(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
            length in any::<prop::sample::Index>(),
        ) {
            let whole = drive().to_iso().unwrap();
            let mut iso = whole.clone();
            for (at, byte) in changes {
                // Most of a drive is its empty beginning.
                let at = 16 * SECTOR + at.index(iso.len() - 16 * SECTOR);
                iso[at] = byte;
            }
            iso.truncate(16 * SECTOR + length.index(iso.len() - 16 * SECTOR) + 1);
            for iso in [iso, whole] {
                let Ok(mut volume) = open(&iso) else { continue };
                for path in drive().files().keys() {
                    let file = volume.file(path, 4096);
                    prop_assert!(file.is_err() || file.unwrap().is_none_or(|f| f.len() <= 4096));
                }
            }
        }

        #[test]
        fn any_directory_is_searched(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            for names in [Names::Plain, Names::Joliet] {
                let _ = find(&bytes, names, "x");
            }
        }
    }
}
