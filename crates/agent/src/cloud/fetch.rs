//! A blob of the daemon's as a file: bounded, its digest checked on the way, durable when it is there.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use undercloud_image::HashingReader;
use undercloud_model::{
    Digest,
    agent::{StepFailure, StepFailureKind},
};

use super::{Task, system};
use crate::{
    client::{BlobReader, Client, Patience},
    device::failure,
};

/// Room that is left on the disk beside the file.
const SPARE_BYTES: u64 = 256 << 20;

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob<'a> {
    /// In people's words: `the container images`.
    pub(super) what: &'a str,
    pub(super) digest: Digest,
    /// Its length; no byte more is taken.
    pub(super) bytes: u64,
}

/// Writes the blob to `path`, where nothing may rely on what was there. What came wrong is removed: the
/// next try begins anew.
pub(super) fn fetch(task: &Task<'_>, blob: &Blob<'_>, path: &Path) -> Result<(), StepFailure> {
    let Blob { what, digest, bytes } = *blob;
    let wrote = |error: io::Error| {
        system(format_args!("cannot write {what} to {}: {error}", path.display()))
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(wrote)?;
        room(dir, blob)?;
    }
    let mut target = File::create(path).map_err(wrote)?;
    let identity = &task.cloud.identity;
    let client = Client::new(&identity.api, &identity.ca_pem)
        .map_err(|error| failure(StepFailureKind::Fetch, error))?
        .with_key(identity.key.clone());
    let reader = BlobReader::new(client, digest, Patience::default(), task.log.clone());
    // One byte more, to see that there is none.
    let mut reader = HashingReader::new(reader.take(bytes.saturating_add(1)));
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let count = reader.read(&mut buffer).map_err(|error| {
            failure(StepFailureKind::Fetch, format_args!("{what}: could not be fetched: {error}"))
        })?;
        if count == 0 {
            break;
        }
        target.write_all(&buffer[..count]).map_err(wrote)?;
    }
    if reader.finish().0 != digest {
        fs::remove_file(path).map_err(wrote)?;
        let message = format!("{what}: what came is not what was ordered");
        return Err(failure(StepFailureKind::DigestMismatch, message));
    }
    target.sync_all().map_err(wrote)
}

fn room(dir: &Path, blob: &Blob<'_>) -> Result<(), StepFailure> {
    let Ok(found) = rustix::fs::statvfs(dir) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let need = blob.bytes.saturating_add(SPARE_BYTES);
    if free >= need {
        return Ok(());
    }
    let (free, need, what) = (free >> 20, need >> 20, blob.what);
    Err(system(format_args!(
        "the machine's disk is full: {free} MiB are free and {need} MiB are needed for {what}"
    )))
}
