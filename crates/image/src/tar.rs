//! Just enough of tar (POSIX.1-2017 `pax`, ustar part) to lay files of ours over an archive that a
//! tool made: members to append, and the place where the archive's own members end.
//!
//! Deterministic: owner root, the time is the caller's.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// A single member larger than this is refused.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Extension headers and all.
const HEADER_BYTES_MAX: usize = 4 << 20;

/// Writes members to `sink`.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    mtime: u64,
}

/// Reads members, one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    left: u64,
}

/// A member: what it is, and the blocks in front of its content as they stood there.
#[derive(Debug)]
pub struct Member {
    /// Its path, without a leading `./` or `/`.
    pub path: String,
    /// What it is.
    pub kind: MemberKind,
    /// Bytes of content, without padding.
    pub size: u64,
    /// All its header blocks.
    pub header: Vec<u8>,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A file; its content follows.
    File,
    /// A directory.
    Directory,
    /// A link, a device, or what else has no content.
    Other,
}

impl<R: Read> Reader<R> {
    /// Nothing is read yet.
    pub fn new(source: R) -> Self {
        Self { source, left: 0 }
    }

    /// The next member; what is left of the one before is skipped. Nothing at the end mark.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        self.copy_content(&mut io::sink())?;
        let mut header: Vec<u8> = Vec::new();
        let mut long_path: Option<String> = None;
        let mut block = [0u8; BLOCK];
        loop {
            self.source.read_exact(&mut block)?;
            if block.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            header.extend_from_slice(&block);
            let size = size_of(&block)?;
            let kind = block[156];
            if matches!(kind, b'x' | b'g' | b'L' | b'K') {
                let body = read_body(&mut self.source, size)?;
                match kind {
                    b'x' => long_path = pax_path(&body).or(long_path),
                    b'L' => long_path = Some(text_of(&body)),
                    _ => {}
                }
                header.extend_from_slice(&body);
                if header.len() > HEADER_BYTES_MAX {
                    return Err(bad("a member has too many extension headers"));
                }
                continue;
            }
            let kind = match kind {
                b'0' | 0 | b'7' => MemberKind::File,
                b'5' => MemberKind::Directory,
                _ => MemberKind::Other,
            };
            // Links and devices may carry a size, but no content (pax, "ustar Interchange Format").
            let size = if kind == MemberKind::File { size } else { 0 };
            self.left = size.next_multiple_of(512);
            let path = long_path.unwrap_or_else(|| path_of(&block));
            let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
            return Ok(Some(Member { path: path.to_owned(), kind, size, header }));
        }
    }

    /// The member's content.
    pub fn content(&mut self, member: &Member) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.copy_content(&mut content)?;
        content.truncate(usize::try_from(member.size).unwrap_or(usize::MAX));
        Ok(content)
    }

    /// Copies the rest of the member's content to `sink`, padding included.
    pub fn copy_content(&mut self, sink: &mut impl Write) -> io::Result<()> {
        let left = std::mem::take(&mut self.left);
        if io::copy(&mut self.source.by_ref().take(left), sink)? == left {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Copies the members of the archive `source` to `sink` without the end mark, so that more can
/// follow. Members that `keep` refuses are left out.
pub fn copy_members(
    source: impl Read,
    mut sink: impl Write,
    mut keep: impl FnMut(&Member) -> bool,
) -> io::Result<()> {
    let mut reader = Reader::new(source);
    while let Some(member) = reader.next_member()? {
        if keep(&member) {
            sink.write_all(&member.header)?;
            reader.copy_content(&mut sink)?;
        }
    }
    Ok(())
}

fn read_body(source: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > 1 << 20 {
        return Err(bad("an extension header is larger than 1 MiB"));
    }
    let mut body = Vec::new();
    let want = size.next_multiple_of(512);
    source.by_ref().take(want).read_to_end(&mut body)?;
    if body.len() as u64 == want { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn size_of(block: &[u8; BLOCK]) -> io::Result<u64> {
    let mut size = 0u64;
    for c in block[124..136].iter().filter(|c| !matches!(c, 0 | b' ')) {
        if !(b'0'..=b'7').contains(c) {
            return Err(bad("a member's size is not octal"));
        }
        size = size << 3 | u64::from(c - b'0');
    }
    if size > FILE_BYTES_MAX { Err(bad("a member is larger than 8 GiB")) } else { Ok(size) }
}

fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn path_of(block: &[u8; BLOCK]) -> String {
    let name = text_of(&block[..100]);
    let prefix = if &block[257..262] == b"ustar" && block[263..265] == *b"00" {
        text_of(&block[345..500])
    } else {
        String::new()
    };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

/// The `path` record of a pax extended header: lines `LENGTH KEY=VALUE\n`.
fn pax_path(body: &[u8]) -> Option<String> {
    let mut rest = body;
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length.checked_sub(1)?)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        rest = rest.get(length..)?;
    }
    None
}

impl<W: Write> Writer<W> {
    /// Members appended to `sink` get the time `mtime` (seconds).
    pub fn new(sink: W, mtime: u64) -> Self {
        Self { sink, mtime }
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.member(&format!("{path}/"), mode, b'5', "", &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.member(path, mode, b'0', "", content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.member(path, 0o777, b'2', target, &[])
    }

    fn member(
        &mut self,
        path: &str,
        mode: u32,
        kind: u8,
        link: &str,
        content: &[u8],
    ) -> io::Result<()> {
        let name = format!("./{path}");
        if name.len() > 100 || link.len() > 100 || path.contains('\0') || path.starts_with('/') {
            return Err(bad("a member's path is longer than 95 bytes, or absolute"));
        }
        let mut h = [0u8; BLOCK];
        h[..name.len()].copy_from_slice(name.as_bytes());
        octal(&mut h[100..108], u64::from(mode & 0o7777));
        octal(&mut h[108..116], 0);
        octal(&mut h[116..124], 0);
        octal(&mut h[124..136], content.len() as u64);
        octal(&mut h[136..148], self.mtime);
        h[148..156].fill(b' ');
        h[156] = kind;
        h[157..157 + link.len()].copy_from_slice(link.as_bytes());
        h[257..265].copy_from_slice(b"ustar\x0000");
        h[265..269].copy_from_slice(b"root");
        h[297..301].copy_from_slice(b"root");
        let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
        octal(&mut h[148..155], sum);
        self.sink.write_all(&h)?;
        self.sink.write_all(content)?;
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        self.sink.write_all(&[0u8; BLOCK][..padding])
    }

    /// Writes the end mark.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0u8; 2 * BLOCK])?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// Octal digits that fill `field` but for a closing NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    for (n, to) in field[..digits].iter_mut().rev().enumerate() {
        *to = b'0' + u8::try_from(value >> (3 * n) & 7).unwrap_or(0);
    }
    field[digits] = 0;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 1_700_000_000);
        writer.dir("etc", 0o755).unwrap();
        writer.file("etc/a", 0o644, &[1; 700]).unwrap();
        writer.symlink("etc/b", "a").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn members_are_copied_without_the_end_mark_and_some_left_out() {
        let bytes = archive();
        let mut seen = Vec::new();
        let mut out = Vec::new();
        let result = copy_members(&bytes[..], &mut out, |member| {
            seen.push((member.path.clone(), member.kind, member.size));
            member.path != "etc/a"
        });
        result.unwrap();
        let expected = [
            ("etc", MemberKind::Directory, 0),
            ("etc/a", MemberKind::File, 700),
            ("etc/b", MemberKind::Other, 0),
        ];
        assert_eq!(seen, expected.map(|(path, kind, size)| (path.to_owned(), kind, size)));
        assert_eq!(out[..512], bytes[..512]);
        assert_eq!(out[512..], bytes[512 + 512 + 1024..bytes.len() - 1024]);
    }

    #[test]
    fn a_file_s_content_is_read() {
        let bytes = archive();
        let mut reader = Reader::new(&bytes[..]);
        reader.next_member().unwrap();
        let file = reader.next_member().unwrap().unwrap();
        assert_eq!(reader.content(&file).unwrap(), [1; 700]);
        assert_eq!(reader.next_member().unwrap().unwrap().path, "etc/b");
        assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn a_pax_path_goes_before_the_header_s() {
        assert_eq!(pax_path(b"13 mtime=1.5\n16 path=./x/y.z\n\0\0"), Some("./x/y.z".into()));
        assert_eq!(pax_path(b"99 path=a\n"), None);
        assert_eq!(pax_path(b"0 path=a\n"), None);
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let bytes = archive();
        for cut in [100, 600, 1100, bytes.len() - 1024] {
            assert!(copy_members(&bytes[..cut], io::sink(), |_| true).is_err(), "{cut}");
        }
    }

    #[test]
    fn gnu_tar_lists_it() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("tar")
            .args(["-tvf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success());
        assert!(text.contains("-rw-r--r-- root/root       700") && text.contains("./etc/b -> a"));
    }

    proptest! {
        #[test]
        fn copying_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _ = copy_members(&bytes[..], io::sink(), |_| true);
            if bytes.len() > 600 {
                bytes[124..136].copy_from_slice(b"00000001000\0");
                bytes[156] = b'x';
                let _ = copy_members(&bytes[..], io::sink(), |_| true);
            }
        }
    }
}
