//! Tests of the blob store.

use std::{io::Cursor, thread};

use super::*;
use crate::digest_of;

fn store() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(dir.path().join("blobs")).unwrap();
    let blobs = Blobs::open(root).unwrap();
    (dir, blobs)
}

fn left_over(blobs: &Blobs) -> usize {
    entries(&blobs.root.join("tmp")).unwrap().len()
}

#[test]
fn what_is_put_can_be_opened_and_deleted() {
    let (_dir, blobs) = store();
    let stored = blobs.put(Cursor::new(b"hello")).unwrap();
    assert_eq!(stored, Stored { digest: digest_of(b"hello"), size: 5 });
    assert_eq!(blobs.stat(&stored.digest).unwrap(), Some(5));
    assert_eq!(blobs.verify(&stored.digest).unwrap(), stored);
    assert_eq!(blobs.list().unwrap(), vec![stored.digest]);
    let mut text = String::new();
    blobs.open_blob(&stored.digest).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(blobs.delete(&stored.digest).unwrap());
    assert!(!blobs.delete(&stored.digest).unwrap());
    assert_eq!(blobs.open_blob(&stored.digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(left_over(&blobs), 0);
}

#[test]
fn another_digest_than_promised_leaves_nothing() {
    let (_dir, blobs) = store();
    let err = blobs.put_verified(Cursor::new(b"evil"), &digest_of(b"good")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert_eq!(blobs.list().unwrap(), vec![]);
    assert_eq!(left_over(&blobs), 0);
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_dir, blobs) = store();
    let err = blobs.put(Cursor::new(b"half").chain(Broken)).unwrap_err();
    assert!(matches!(err, BlobError::Source(_)), "{err}");
    assert_eq!(blobs.list().unwrap(), vec![]);
    assert_eq!(left_over(&blobs), 0);
}

#[test]
fn a_changed_blob_does_not_verify() {
    let (_dir, blobs) = store();
    let stored = blobs.put(Cursor::new(b"hello")).unwrap();
    fs::write(blobs.path(&stored.digest), b"jello").unwrap();
    assert!(matches!(blobs.verify(&stored.digest), Err(BlobError::Mismatch { .. })));
}

#[test]
fn opening_removes_what_a_dead_writer_left_and_spares_a_living_one() {
    let (_dir, blobs) = store();
    let dead = blobs.root.join("tmp").join("1-1");
    fs::write(&dead, b"half").unwrap();
    let mut living = blobs.writer().unwrap();
    living.write_all(b"whole").unwrap();
    let again = Blobs::open(blobs.root.clone()).unwrap();
    assert!(!dead.exists());
    let stored = living.finish().unwrap();
    assert_eq!(again.verify(&stored.digest).unwrap().size, 5);
}

#[test]
fn many_writers_of_the_same_bytes_end_with_one_blob() {
    let (_dir, blobs) = store();
    let content = vec![7u8; 300_000];
    let all: Vec<Stored> = thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..8).map(|_| scope.spawn(|| blobs.put(&content[..]).unwrap())).collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    assert!(all.iter().all(|stored| stored.digest == digest_of(&content)));
    assert_eq!(blobs.list().unwrap().len(), 1);
    assert_eq!(left_over(&blobs), 0);
}

#[test]
fn a_blob_is_taken_over_from_another_store_if_it_is_what_it_says() {
    let (_dir, blobs) = store();
    let (_other_dir, other) = store();
    let stored = other.put(&b"hello"[..]).unwrap();
    assert_eq!(blobs.adopt(&other, &stored.digest).unwrap(), stored);
    assert_eq!(blobs.adopt(&other, &stored.digest).unwrap(), stored);
    assert_eq!(blobs.verify(&stored.digest).unwrap(), stored);
    other.delete(&stored.digest).unwrap();
    assert_eq!(blobs.verify(&stored.digest).unwrap(), stored);
    assert!(matches!(blobs.adopt(&other, &stored.digest), Err(BlobError::Missing(_))));
    let wrong = other.put(&b"other"[..]).unwrap();
    fs::write(other.path(&wrong.digest), b"ether").unwrap();
    assert!(blobs.adopt(&other, &wrong.digest).is_err());
    assert_eq!(blobs.list().unwrap(), [stored.digest]);
    assert_eq!(left_over(&blobs), 0);
}
