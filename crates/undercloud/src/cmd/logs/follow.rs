//! A log as it grows: what is added to it, also behind its being begun anew in place or under
//! another name. The kernel tells of each change (inotify(7)); nothing is looked at in between.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;

/// The most that is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What of a folder may be news of a file in it.
const NEWS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Where the last `lines` of a log begin; its own beginning without a number.
///
/// # Errors
/// It cannot be read.
pub(super) fn last_lines(log: &File, lines: Option<u64>) -> io::Result<u64> {
    let length = log.metadata()?.len();
    let mut left = match lines {
        None => return Ok(0),
        Some(0) => return Ok(length),
        Some(lines) => lines,
    };
    let (mut chunk, mut end) = (vec![0; CHUNK_BYTES], length);
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        let chunk = &mut chunk[..usize::try_from(end - start).unwrap_or(CHUNK_BYTES)];
        log.read_exact_at(chunk, start)?;
        for (at, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let next = start + at as u64 + 1;
            // What ends the last line begins none.
            if next < length {
                left -= 1;
            }
            if left == 0 {
                return Ok(next);
            }
        }
        end = start;
    }
    Ok(0)
}

/// A log, and how much of it was seen.
#[derive(Debug)]
pub(super) struct Growing {
    path: PathBuf,
    /// None between two logs of this name.
    open: Option<File>,
    at: u64,
}

impl Growing {
    /// A log, from its byte `at` on.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path, at: u64) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), open: Some(File::open(path)?), at })
    }

    /// Hands over what came since the last look.
    ///
    /// # Errors
    /// The log cannot be read, or what `to` says.
    pub(super) fn look<E: From<io::Error>>(
        &mut self,
        to: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let before = self.rest(to)?;
            let named = match fs::metadata(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                named => Some(id(&named?)),
            };
            if before == named {
                return Ok(());
            }
            // Another one has the name: now whoever wrote to the one before is done with it.
            self.rest(to)?;
            match File::open(&self.path) {
                Ok(new) => (self.open, self.at) = (Some(new), 0),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.open = None,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What came to the one that is open; says which that is.
    fn rest<E: From<io::Error>>(
        &mut self,
        to: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Option<(u64, u64)>, E> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let metadata = open.metadata()?;
        if metadata.len() < self.at {
            // Begun anew in place.
            self.at = 0;
        }
        open.seek(SeekFrom::Start(self.at))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = open.read(&mut chunk)?;
            if count == 0 {
                return Ok(Some(id(&metadata)));
            }
            self.at += count as u64;
            to(&chunk[..count])?;
        }
    }
}

/// Which file it is, whatever it is called.
fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Tells when there may be news of the files of a folder.
#[derive(Debug)]
pub(super) struct News {
    folder: PathBuf,
    id: (u64, u64),
    /// No pipe, which tokio does not mind: it is read when it is readable.
    events: pipe::Receiver,
}

impl News {
    /// Of the folder that `path` is in; from now on. To be made on a runtime.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let id = id(&fs::metadata(&folder)?);
        inotify::add_watch(&events, &folder, NEWS)?;
        let events = pipe::Receiver::from_owned_fd_unchecked(events)?;
        Ok(Self { folder, id, events })
    }

    /// Waits for news; says whether the folder is still there.
    ///
    /// # Errors
    /// The kernel does not tell any more.
    pub(super) async fn come(&mut self) -> io::Result<bool> {
        let mut has_come = false;
        while !has_come {
            self.events.readable().await?;
            // What happened is not asked: all of it is there to be looked at.
            let mut events = [0; 4096];
            loop {
                match self.events.try_read(&mut events) {
                    Ok(_) => has_come = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(fs::metadata(&self.folder).is_ok_and(|folder| id(&folder) == self.id))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Looks until `wanted` was seen: each look is for news that the kernel told of.
    async fn until(news: &mut News, growing: &mut Growing, seen: &mut String, wanted: &str) {
        loop {
            growing
                .look(&mut |bytes: &[u8]| {
                    seen.push_str(std::str::from_utf8(bytes).unwrap());
                    io::Result::Ok(())
                })
                .unwrap();
            if seen.ends_with(wanted) {
                return;
            }
            assert!(news.come().await.unwrap(), "the folder is there");
        }
    }

    #[tokio::test]
    async fn what_is_added_is_seen_also_behind_a_new_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut news = News::beside(&path).unwrap();
        let from = last_lines(&File::open(&path).unwrap(), Some(1)).unwrap();
        let mut growing = Growing::open(&path, from).unwrap();
        let mut seen = String::new();
        until(&mut news, &mut growing, &mut seen, "two\n").await;
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"three\n").unwrap();
        until(&mut news, &mut growing, &mut seen, "three\n").await;
        // Begun anew under its name; what was written to the old one before is not lost.
        writer.write_all(b"four\n").unwrap();
        fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        fs::write(&path, "five\n").unwrap();
        until(&mut news, &mut growing, &mut seen, "five\n").await;
        // Begun anew in place, by somebody who holds it open.
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.set_len(0).unwrap();
        until(&mut news, &mut growing, &mut seen, "").await;
        writer.write_all(b"six\n").unwrap();
        until(&mut news, &mut growing, &mut seen, "six\n").await;
        // There is none of the name for a while.
        fs::remove_file(&path).unwrap();
        until(&mut news, &mut growing, &mut seen, "").await;
        fs::write(&path, "seven\n").unwrap();
        until(&mut news, &mut growing, &mut seen, "seven\n").await;
        assert_eq!(seen, "two\nthree\nfour\nfive\nsix\nseven\n");
    }

    #[tokio::test]
    async fn a_folder_that_is_removed_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        fs::create_dir(&folder).unwrap();
        let mut news = News::beside(&folder.join("a.log")).unwrap();
        fs::remove_dir(&folder).unwrap();
        while news.come().await.unwrap() {}
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let long = "x".repeat(CHUNK_BYTES);
        for (text, lines, expected) in [
            (String::new(), Some(3), String::new()),
            ("a\nb\n".to_owned(), None, "a\nb\n".to_owned()),
            ("a\nb\n".to_owned(), Some(0), String::new()),
            ("a\nb\n".to_owned(), Some(1), "b\n".to_owned()),
            ("a\nb\n".to_owned(), Some(2), "a\nb\n".to_owned()),
            ("a\nb\n".to_owned(), Some(9), "a\nb\n".to_owned()),
            ("a\nb".to_owned(), Some(1), "b".to_owned()),
            (format!("a\n{long}\n{long}\nz\n"), Some(2), format!("{long}\nz\n")),
        ] {
            fs::write(&path, &text).unwrap();
            let from = last_lines(&File::open(&path).unwrap(), lines).unwrap();
            assert_eq!(text[usize::try_from(from).unwrap()..], expected, "{lines:?}");
        }
    }
}
