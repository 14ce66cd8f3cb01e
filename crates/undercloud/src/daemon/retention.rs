//! What is kept of all that grows, and for how long: as [`Limits`] says. With its defaults a state
//! stays below two GiB, beside images and the machines' disks:
//!
//! ```text
//! the database    see `Keep`: below 1 GiB
//! logs            512 MiB, of which the daemon's own has 64
//! consoles        256 MiB, shared by the lab's machines
//! ```
//! Everything is looked at every five minutes, consoles often: a guest can print a lot.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use undercloud_api::{ApiError, admin::Room};
use undercloud_cloud::rollout::ORDERS;
use undercloud_image::blob::Blobs;
use undercloud_model::ErrorKind;
use undercloud_store::{Pruned, Store};

use super::{
    agents::api_error,
    limits::{self, Limits},
    log_files, orphans,
    site::Site,
    tasks::Group,
    troubles::Troubles,
};
use crate::{out, state::StateDir};

/// How often all but the consoles is looked at.
const EVERY: Duration = Duration::from_secs(300);
/// How often consoles are.
const CONSOLES_EVERY: Duration = Duration::from_secs(10);
/// One console, where there are few.
const CONSOLE_BYTES_MAX: u64 = 16 << 20;
/// A blob that nothing names may be one of a build that goes on; not after a day.
const BLOB_GRACE: Duration = Duration::from_secs(24 * 3600);
/// The daemon's log, as `serve --detach` names it.
const DAEMON_LOG: &str = "undercloud.log";
/// The part that this is, where it has a trouble.
const PART: &str = "retention";

/// What is looked after.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) state: StateDir,
    pub(super) store: Store,
    pub(super) blobs: Blobs,
    pub(super) troubles: Arc<Troubles>,
}

/// Begins to look after all of that.
pub(super) fn begin(group: &mut Group, kept: Kept, site: &Arc<Site>) {
    let (site, file) = (site.clone(), kept.state.limits());
    group.periodic("retention", EVERY, move || {
        let kept = kept.clone();
        async move {
            let done = kept.pass().await;
            kept.troubles.note(PART, done.as_ref().map(|_| ())).await;
            Ok(done?)
        }
    });
    group.periodic("consoles", CONSOLES_EVERY, move || {
        let (site, file) = (site.clone(), file.clone());
        async move {
            // A guest that prints fills the disk meanwhile: whatever is wrong with the file.
            let all = limits::bytes(Limits::read(&file).unwrap_or_default().consoles_mib);
            let each = move |machines| console_bytes_max(all, machines);
            let freed = blocking(move || site.bound_consoles(each)).await?;
            Ok(format!("gave back {}", out::bytes(freed)))
        }
    });
}

/// What each of so many consoles may have, and its older part as well.
fn console_bytes_max(all: u64, machines: usize) -> u64 {
    let machines = u64::try_from(machines).unwrap_or(u64::MAX).max(1);
    (all / 2 / machines).min(CONSOLE_BYTES_MAX)
}

impl Kept {
    /// Removes what is over. A file of limits that is wrong is a person's who wanted to keep more,
    /// or less: until it is mended nothing is removed.
    async fn pass(&self) -> Result<String, ApiError> {
        let limits = Limits::read(&self.state.limits())?;
        let pruned = self.store.prune(&limits.keep, ORDERS).await.map_err(api_error)?;
        let shrunk = self.store.shrink().await.map_err(api_error)?;
        let folder = self.state.logs();
        let logs = blocking(move || bound_logs(&folder, &limits)).await;
        let logs =
            logs.map_err(|e| ApiError::new(ErrorKind::Unavailable, format_args!("{e:#}")))?;
        let blobs = orphans::collect(&self.store, &self.blobs, BLOB_GRACE).await?;
        Ok(said(&pruned, shrunk, &[(logs, "logs"), (blobs, "blobs")]))
    }
}

fn bound_logs(folder: &Path, limits: &Limits) -> std::io::Result<u64> {
    let (own, all) = (limits::bytes(limits.daemon_log_mib), limits::bytes(limits.logs_mib));
    let freed = log_files::bound(&folder.join(DAEMON_LOG), own / 2)?;
    Ok(freed + log_files::bound_all(folder, own + all, |name| name == DAEMON_LOG)?)
}

fn said(pruned: &Pruned, shrunk: bool, freed: &[(u64, &str)]) -> String {
    let Pruned { events, orders, boot_windows, machine_keys, deployments, runs, steps } = pruned;
    let counts = [
        (events, "events"),
        (orders, "orders"),
        (boot_windows, "boot windows"),
        (machine_keys, "keys"),
        (deployments, "deployments"),
        (runs, "runs"),
        (steps, "steps"),
    ];
    let mut said: Vec<String> = counts
        .iter()
        .filter(|(count, _)| **count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let freed = freed.iter().filter(|(bytes, _)| *bytes > 0);
    said.extend(freed.map(|(bytes, what)| format!("{} of {what}", out::bytes(*bytes))));
    let what = if said.is_empty() { "nothing".to_owned() } else { said.join(", ") };
    let note = if shrunk { "; the database was written anew" } else { "" };
    format!("removed {what}{note}")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?.context("logs are not bounded")
}

/// What takes room in a state, the largest first.
pub(super) async fn room(state: &StateDir, store: &Store) -> Vec<Room> {
    let database = store.bytes();
    let (blobs, lab, logs) = (state.blobs(), state.lab(), state.logs());
    let bmcs = [state.bmc_memories(), state.domain_bmc_memories()];
    let measured = tokio::task::spawn_blocking(move || {
        let all = |folder: &Path| used(folder, DEPTH_MAX, &|_| true);
        let consoles = used(&lab, DEPTH_MAX, &is_console);
        [
            ("blobs", all(&blobs)),
            ("machines' disks", all(&lab).saturating_sub(consoles)),
            ("consoles", consoles),
            ("logs", all(&logs)),
            ("BMCs", bmcs.iter().map(|folder| all(folder)).sum()),
        ]
    });
    let measured = measured.await.into_iter().flatten();
    let mut room: Vec<Room> = std::iter::once(("database", database))
        .chain(measured)
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(what, bytes)| Room { what: what.to_owned(), bytes })
        .collect();
    room.sort_by_key(|room| std::cmp::Reverse(room.bytes));
    room
}

/// No folder of a state is deeper; containers' file systems are not walked.
const DEPTH_MAX: u32 = 4;

fn is_console(name: &str) -> bool {
    name.starts_with("console.log")
}

/// The blocks that the files below a folder take whose names count: a sparse disk has fewer than it
/// is long.
fn used(folder: &Path, depth: u32, counts: &dyn Fn(&str) -> bool) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(file) if file.is_file() && counts(&entry.file_name().to_string_lossy()) => {
            file.blocks() * 512
        }
        Ok(inner) if inner.is_dir() && depth > 0 => used(&entry.path(), depth - 1, counts),
        Ok(_) | Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8Path;
    use undercloud_model::timeline::RecordNews;
    use undercloud_store::Open;

    use super::*;

    async fn kept(folder: &Path) -> Kept {
        let state = StateDir::new(folder).unwrap();
        state.create().unwrap();
        let path = state.database();
        let store = Store::open(path.to_str().unwrap(), Open::at(1)).await.unwrap();
        let blobs = Blobs::open(Utf8Path::from_path(&state.blobs()).unwrap()).unwrap();
        let troubles = Arc::new(Troubles::new(store.clone()));
        Kept { state, store, blobs, troubles }
    }

    #[test]
    fn together_a_state_stays_below_two_gib() {
        let database = 1 << 30;
        let Limits { logs_mib, daemon_log_mib, consoles_mib, .. } = Limits::default();
        let files = limits::bytes(logs_mib + daemon_log_mib + consoles_mib);
        assert!(files + database < 2 << 30);
        let all = limits::bytes(consoles_mib);
        for machines in [0, 1, 3, 10, 200] {
            let used = console_bytes_max(all, machines) * 2 * machines as u64;
            assert!(used <= all, "{machines} machines");
        }
    }

    #[tokio::test]
    async fn a_pass_bounds_what_grew_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path()).await;
        assert_eq!(kept.pass().await.unwrap(), "removed nothing");
        let log = kept.state.logs().join(DAEMON_LOG);
        fs::write(&log, vec![b'x'; 40 << 20]).unwrap();
        assert_eq!(kept.pass().await.unwrap(), "removed 8.0 MiB of logs");
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_person_says_how_much_is_kept_and_a_wrong_file_removes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path()).await;
        for number in 0..9 {
            let reason = Some(format!("event {number}"));
            let event = RecordNews::MaintenanceBegan { reason };
            kept.store.record(None, &event.into(), number).await.unwrap();
        }
        fs::write(kept.state.limits(), "other_event = 4").unwrap();
        let error = kept.pass().await.unwrap_err();
        assert!(error.message.contains("is `other_events` meant?"), "{error:?}");
        fs::write(kept.state.limits(), "other_events = 4").unwrap();
        assert_eq!(kept.pass().await.unwrap(), "removed 5 events");
    }

    #[tokio::test]
    async fn what_takes_room_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path()).await;
        let machine = kept.state.lab().join("machines/compute-0/vm");
        fs::create_dir_all(&machine).unwrap();
        for (path, kib) in [
            (machine.join("disk.raw"), 400),
            (machine.join("console.log"), 40),
            (machine.join("console.log.1"), 60),
            (kept.state.logs().join(DAEMON_LOG), 200),
        ] {
            fs::write(path, vec![b'x'; kib << 10]).unwrap();
        }
        kept.blobs.put(&vec![b'x'; 300 << 10][..]).unwrap();
        let room = room(&kept.state, &kept.store).await;
        let of = |what: &str| room.iter().find(|r| r.what == what).map(|room| room.bytes >> 10);
        for (what, kib) in
            [("machines' disks", 400), ("consoles", 100), ("logs", 200), ("blobs", 300)]
        {
            // A file system rounds up.
            assert!(of(what).is_some_and(|it| (kib..kib + 16).contains(&it)), "{what}: {room:?}");
        }
        assert!(of("database") > Some(0), "{room:?}");
    }
}
