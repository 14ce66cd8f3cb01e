//! Tests of the import: files, loopback http, and what must be refused.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use camino::Utf8PathBuf;
use proptest::prelude::*;

use super::*;
use crate::{
    digest_of,
    gpt::{Guid, TYPE_LINUX, Table},
};

struct Place {
    dir: tempfile::TempDir,
    blobs: Blobs,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("blobs")).unwrap();
        Self { blobs: Blobs::open(root).unwrap(), dir }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn import(&self, source: &str, sha256: Option<Digest>) -> Result<Image, ImportError> {
        self.import_up_to(source, sha256, SIZE_MAX)
    }

    fn import_up_to(
        &self,
        source: &str,
        sha256: Option<Digest>,
        size_max: u64,
    ) -> Result<Image, ImportError> {
        import(&ImportRequest {
            source,
            sha256,
            name: "mine",
            kind: ImageKind::Disk,
            size_max,
            blobs: &self.blobs,
            now: 5,
        })
    }

    fn is_empty(&self) -> bool {
        self.blobs.list().unwrap().is_empty()
    }
}

fn disk() -> Vec<u8> {
    let id = Guid::from_digest(&digest_of(b"x"));
    let mut table = Table::new(id, 4 << 20).unwrap();
    table.push(TYPE_LINUX, id, "root", 2048).unwrap();
    let mut bytes = vec![0u8; 4 << 20];
    table.write_head(&mut bytes).unwrap();
    bytes
}

fn sums(content: &[u8], name: &str) -> String {
    format!("{}  other\n{} *{name}\n", digest_of(b"other").hex(), digest_of(content).hex())
}

#[test]
fn a_file_with_its_digest_is_taken_in() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    let image = place.import(&path, Some(digest_of(&disk()))).unwrap();
    assert_eq!((image.digest, image.size, image.built_at), (digest_of(&disk()), 4 << 20, 5));
    assert!(!image.has_agent);
    place.blobs.verify(&image.digest).unwrap();
}

#[test]
fn a_file_without_a_digest_needs_a_list_beside_it() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    let err = place.import(&path, None).unwrap_err();
    assert!(matches!(err, ImportError::NoDigest(_)), "{err}");
    place.file("SHA256SUMS", b"what is this");
    let err = place.import(&path, None).unwrap_err();
    assert!(err.to_string().contains("SHA256SUMS is not a list"), "{err}");
    assert!(err.to_string().contains("line 1") && err.to_string().contains("--sha256"), "{err}");
    place.file("SHA256SUMS", sums(&disk(), "b.raw").as_bytes());
    assert!(matches!(place.import(&path, None), Err(ImportError::NoDigest(_))));
    assert!(place.is_empty());
    place.file("SHA256SUMS", sums(&disk(), "a.raw").as_bytes());
    place.import(&path, None).unwrap();
}

#[test]
fn another_content_than_promised_is_not_kept() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    let err = place.import(&path, Some(digest_of(b"other"))).unwrap_err();
    assert!(matches!(err, ImportError::Mismatch { .. }), "{err}");
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(place.is_empty());
}

#[test]
fn what_is_too_large_is_not_read_to_its_end() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    let err = place.import_up_to(&path, Some(digest_of(&disk())), 1 << 20).unwrap_err();
    assert!(matches!(err, ImportError::TooLarge { max: 1_048_576, .. }), "{err}");
    assert!(place.is_empty());
}

#[test]
fn devices_and_directories_are_not_files() {
    let place = Place::new();
    for source in ["/dev/zero", "/tmp"] {
        let err = place.import(source, Some(digest_of(b""))).unwrap_err();
        assert!(matches!(err, ImportError::NotAFile(_)), "{err}");
    }
    let err = place.import("/nowhere/a.raw", Some(digest_of(b""))).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    let err = place.import("http://", Some(digest_of(b""))).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_remedy_and_removed() {
    let place = Place::new();
    let mut qcow2 = b"QFI\xfb".to_vec();
    qcow2.resize(70_000, 0);
    let path = place.file("a.qcow2", &qcow2);
    let err = place.import(&path, Some(digest_of(&qcow2))).unwrap_err();
    let ImportError::Format { source, .. } = &err else { panic!("{err}") };
    assert!(source.to_string().contains("qemu-img convert -O raw"), "{source}");
    assert!(place.is_empty());
    let cut = &disk()[..3 << 20];
    let path = place.file("cut.raw", cut);
    let err = place.import(&path, Some(digest_of(cut))).unwrap_err();
    assert!(matches!(err, ImportError::Format { source: FormatError::Cut { .. }, .. }), "{err}");
}

#[test]
fn kinds_are_told_apart() {
    let mut kernel = vec![0u8; 2048];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    let mut mbr = vec![0u8; 1024];
    mbr[450] = 0x83;
    mbr[510..512].copy_from_slice(b"\x55\xaa");
    let size = 1 << 20;
    assert_eq!(format::check(ImageKind::Kernel, &kernel, size), Ok(()));
    assert_eq!(format::check(ImageKind::Ramdisk, b"070701", size), Ok(()));
    assert_eq!(format::check(ImageKind::Disk, &mbr, size), Ok(()));
    assert!(format::check(ImageKind::Disk, &kernel, size).is_err());
    assert!(format::check(ImageKind::Kernel, &mbr, size).is_err());
    assert!(format::check(ImageKind::Ramdisk, &kernel, size).is_err());
    mbr[450] = 0xee;
    assert_eq!(format::check(ImageKind::Disk, &mbr, size), Err(FormatError::NoTable));
}

/// Answers each request by its path until it is dropped with the test.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            lines.read_line(&mut request).unwrap();
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body) = match found {
                Some((_, body)) => ("200 OK", &body[..]),
                None => ("404 Not Found", &b""[..]),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_blob_that_was_damaged_is_had_again() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    let digest = digest_of(&disk());
    place.import(&path, Some(digest)).unwrap();
    let mut bytes = disk();
    bytes[1 << 20] ^= 1;
    fs::write(place.blobs.path(&digest), &bytes).unwrap();
    assert!(place.blobs.verify(&digest).is_err());
    place.import(&path, Some(digest)).unwrap();
    place.blobs.verify(&digest).unwrap();
    // Cut short it is not the same either.
    fs::write(place.blobs.path(&digest), &bytes[..9]).unwrap();
    place.import(&path, Some(digest)).unwrap();
    place.blobs.verify(&digest).unwrap();
}

#[test]
fn what_is_not_there_and_what_is_not_spoken_are_told_before_the_digest() {
    let place = Place::new();
    let err = place.import("/nowhere/a.raw", None).unwrap_err();
    assert_eq!(
        (err.kind(), err.to_string().as_str()),
        (ErrorKind::NotFound, "cannot read /nowhere/a.raw")
    );
    for url in ["ftp://h/a.raw", "file:///a.raw", "s3://me:pw@h/a.raw"] {
        let err = place.import(url, None).unwrap_err();
        assert!(matches!(err, ImportError::Url(_)), "{err}");
        assert!(!err.to_string().contains("pw"), "{err}");
    }
}

#[test]
fn a_list_of_the_one_file_alone() {
    let place = Place::new();
    let path = place.file("a.raw", &disk());
    place.file("a.raw.sha256", format!("{}\n", digest_of(&disk()).hex()).as_bytes());
    place.import(&path, None).unwrap();
}

#[test]
fn disks_that_cannot_be_used_are_named_with_what_they_are() {
    let mut big_sectors = vec![0u8; 64 << 10];
    big_sectors[510..512].copy_from_slice(b"\x55\xaa");
    big_sectors[450] = 0xee;
    big_sectors[4096..4104].copy_from_slice(b"EFI PART");
    let found = format::check(ImageKind::Disk, &big_sectors, 1 << 20);
    assert_eq!(found, Err(FormatError::Sectors(4096)));
    assert!(found.unwrap_err().to_string().contains("4096 bytes"));
    let mut tar = vec![0u8; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (head, what) in [
        (&b"\x04\x22\x4d\x18..."[..], "lz4"),
        (b"\x02\x21\x4c\x18...", "lz4"),
        (b"PK\x03\x04...", "zip"),
        (b"\x5d\0\0\x80...", "lzma"),
        (&tar, "tar"),
    ] {
        let error = format::check(ImageKind::Disk, head, 1 << 20).unwrap_err();
        assert!(error.to_string().contains(&format!("packed ({what})")), "{error}");
    }
    for head in [&b"\x02\x21\x4c\x18"[..], b"\x5d\0\0\x80", b"\x89LZO\0"] {
        assert_eq!(format::check(ImageKind::Ramdisk, head, 1 << 20), Ok(()));
    }
}

#[test]
fn over_http_by_whatever_name_the_url_gives() {
    let place = Place::new();
    let list = sums(&disk(), "my disk.raw").into_bytes();
    let url = serve(vec![
        ("/x/my%20disk.raw", disk()),
        ("/x/my%20disk.raw?token=1", disk()),
        ("/x/SHA256SUMS", list.clone()),
        ("/y/my%20disk.raw?token=1", disk()),
        ("/y/SHA256SUMS?token=1", list),
    ]);
    for path in ["/x/my%20disk.raw", "/x/my%20disk.raw?token=1", "/y/my%20disk.raw?token=1"] {
        place.import(&format!("{url}{path}"), None).unwrap();
        place.blobs.delete(&digest_of(&disk())).unwrap();
    }
    assert_eq!(names_in("http://h/a%2"), ["a%2", "a%2"]);
}

#[test]
fn what_breaks_off_says_how_far_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // What is not read would cut off what is sent.
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
        let _ = stream.write_all(&vec![0; 2 << 20]);
    });
    let place = Place::new();
    let err = place.import(&format!("http://{address}/a.raw"), Some(digest_of(b"x"))).unwrap_err();
    let ImportError::BrokeOff { came, whole, .. } = &err else { panic!("{err}") };
    assert_eq!((*came, *whole), (2 << 20, Some(4 << 20)));
    assert!(err.to_string().contains("after 2 MiB of 4; nothing was kept"), "{err}");
    assert!(place.is_empty());
}

#[test]
fn over_http_with_the_list_beside_it() {
    let place = Place::new();
    let list = sums(&disk(), "a.raw").into_bytes();
    let url = serve(vec![("/x/a.raw", disk()), ("/x/SHA256SUMS", list), ("/y/a.raw", disk())]);
    let image = place.import(&format!("{url}/x/a.raw"), None).unwrap();
    assert_eq!(image.digest, digest_of(&disk()));
    let err = place.import(&format!("{url}/y/a.raw"), None).unwrap_err();
    assert!(matches!(err, ImportError::NoDigest(_)), "{err}");
    let err = place.import(&format!("{url}/z.raw"), Some(digest_of(b"z"))).unwrap_err();
    assert!(matches!(err, ImportError::Fetch { .. }), "{err}");
}

proptest! {
    #[test]
    fn any_head_is_looked_at(head: Vec<u8>, size: u64) {
        for kind in [ImageKind::Disk, ImageKind::Kernel, ImageKind::Ramdisk, ImageKind::NetbootProgram] {
            let _ = format::check(kind, &head, size);
        }
    }
}
