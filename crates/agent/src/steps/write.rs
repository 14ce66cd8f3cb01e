//! `WriteImage`: streams an image from the daemon to the disk, adds the config drive, and reads back
//! what makes the disk boot.
//!
//! ```text
//! daemon ─ TLS ─► BlobReader ─► write_image: blob's digest, unpack ─► disk
//! ```
//! Memory is constant. The blob's digest is compared before the first MiB, and with it the partition
//! table, goes to the disk: an image that is not the one that was ordered never boots. The digest of
//! the unpacked image follows from the blob's; computing it too costs an emulated machine a third
//! of the step's time (29 of 93 seconds of CPU for an image of 2 GiB).

use std::{
    fs::File,
    io,
    ops::ControlFlow,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use undercloud_image::{
    catalog::Encoding,
    gpt::{HEAD_BYTES, Table},
    write::{WriteError, WriteRequest, Written, write_image},
};
use undercloud_model::{
    Secret, StepId,
    agent::{
        DiskIdentity, ImageEncoding, ImageSource, Progress, StepFailure, StepFailureKind,
        WriteReceipt,
    },
};

use super::Tools;
use crate::{
    client::BlobReader,
    device::{ReadBack, describe, failure, find, open},
    log::chain,
};

/// The largest config drive that is accepted.
const CONFIG_DRIVE_MAX: usize = 8 << 20;
/// How long one word about the progress may take.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(10);

/// One order.
pub(super) struct Job {
    pub(super) id: StepId,
    pub(super) image: ImageSource,
    pub(super) disk: DiskIdentity,
    pub(super) config_drive: Secret,
}

/// Does the order.
pub(super) fn write(tools: &Tools, job: &Job) -> Result<WriteReceipt, StepFailure> {
    let began = Instant::now();
    let log = &tools.log;
    let disk = find(&tools.host, &job.disk)?;
    let id = disk.identity();
    let drive = config_drive(&job.config_drive)?;
    if job.image.encoding == ImageEncoding::Raw && job.image.blob != job.image.disk_digest {
        let message = "the order gives a raw image two digests";
        return Err(failure(StepFailureKind::Unsupported, message));
    }
    let file = open(&tools.host, &disk)?;
    log.say(format_args!("writing {} to {}", job.image.blob, describe(&id)));
    let written = with_progress(tools, job, |done| stream(tools, job, &file, &drive, done))?;
    drop(file);
    let table = written.table.as_ref().ok_or_else(|| {
        failure(StepFailureKind::Unsupported, "the image has no GUID partition table")
    })?;
    let back = ReadBack::open(&tools.host, &disk.name);
    back.and_then(|disk| read_back(&disk, table, &drive)).map_err(|e| {
        let message = format!("{} does not hold what was written: {e}", describe(&id));
        failure(StepFailureKind::DiskIo, message)
    })?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    log.say(format_args!(
        "wrote {} bytes ({} of them zeros) to {} in {took_ms} ms, table and config drive read back",
        job.image.disk_bytes,
        written.zeroed_bytes,
        describe(&id)
    ));
    Ok(WriteReceipt {
        disk: id,
        disk_digest: job.image.disk_digest,
        written_bytes: job.image.disk_bytes,
        took_ms,
    })
}

fn config_drive(encoded: &Secret) -> Result<Vec<u8>, StepFailure> {
    let wrong = |why| failure(StepFailureKind::Unsupported, format_args!("the config drive {why}"));
    if encoded.expose().len() / 4 * 3 > CONFIG_DRIVE_MAX {
        return Err(wrong("is larger than 8 MiB"));
    }
    let drive = STANDARD.decode(encoded.expose()).map_err(|_| wrong("is not base64"))?;
    if drive.is_empty() { Err(wrong("is empty")) } else { Ok(drive) }
}

/// Streams, unpacks, verifies and writes.
fn stream(
    tools: &Tools,
    job: &Job,
    file: &File,
    drive: &[u8],
    done: &AtomicU64,
) -> Result<Written, StepFailure> {
    let image = &job.image;
    let client = tools.client.clone();
    let mut blob = BlobReader::new(client, image.blob, tools.patience, tools.log.clone());
    let mut progress = |p: undercloud_image::write::Progress| {
        done.store(p.done, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    let result = match blob.length() {
        Ok(size) => {
            let request = WriteRequest {
                encoding: match image.encoding {
                    ImageEncoding::Raw => Encoding::Plain,
                    ImageEncoding::Zstd => Encoding::Zstd,
                },
                digest: image.blob,
                size,
                content_size: image.disk_bytes,
                config_drive: Some(drive),
            };
            write_image(&mut blob, file, job.disk.size_bytes, &request, &mut progress)
        }
        Err(source) => Err(WriteError::Source { at: 0, source }),
    };
    result.map_err(|error| {
        let kind = match &error {
            WriteError::DiskTooSmall { .. } => StepFailureKind::DiskTooSmall,
            WriteError::Source { .. } if blob.gave_up() => StepFailureKind::Fetch,
            // What comes complete and cannot be unpacked, or has another digest, is another image.
            WriteError::Source { .. } | WriteError::Digest { .. } | WriteError::Size { .. } => {
                StepFailureKind::DigestMismatch
            }
            WriteError::Disk { .. } => StepFailureKind::DiskIo,
            WriteError::Table(_) | WriteError::Cancelled => StepFailureKind::Unsupported,
        };
        failure(kind, format_args!("{}: {}", describe(&job.disk), chain(&error)))
    })
}

/// Runs `work`, and meanwhile tells the daemon how far it is, also while the stream is broken or the
/// disk is slow. That the machine lives is the session's to say.
fn with_progress<T>(tools: &Tools, job: &Job, work: impl FnOnce(&AtomicU64) -> T) -> T {
    let done = AtomicU64::new(0);
    let (finished, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let wait = wait;
            while wait.recv_timeout(tools.progress_every) == Err(RecvTimeoutError::Timeout) {
                let progress = Progress {
                    id: job.id,
                    done_bytes: done.load(Ordering::Relaxed),
                    total_bytes: job.image.disk_bytes,
                };
                // The next one says the same and more.
                let _ = tools.client.tell("/agent/v1/progress", &progress, PROGRESS_DEADLINE);
            }
        });
        let result = work(&done);
        drop(finished);
        result
    })
}

/// Compares what is on the disk with what was written: both copies of the table, the config drive.
fn read_back(disk: &ReadBack, table: &Table, drive: &[u8]) -> io::Result<()> {
    let differs = |what: &str| io::Error::other(format!("{what} differs"));
    let mut head = disk.bytes(0, HEAD_BYTES)?;
    let found = Table::parse(&head).map_err(io::Error::other)?;
    let on_disk = head.clone();
    table.write_head(&mut head).map_err(io::Error::other)?;
    if found != *table || head != on_disk {
        return Err(differs("the partition table"));
    }
    let (at, tail) = table.tail();
    if disk.bytes(at, tail.len() as u64)? != tail {
        return Err(differs("the partition table's copy"));
    }
    let place = table.by_name(undercloud_image::write::CONFIG_DRIVE_NAME);
    let place = place.ok_or_else(|| differs("the config drive's place"))?.offset_bytes();
    if disk.bytes(place, drive.len() as u64)? != drive {
        return Err(differs("the config drive"));
    }
    Ok(())
}
