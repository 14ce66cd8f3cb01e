//! `undercloud lab snapshot|restore|snapshots|forget`: a lab as it is, kept under a name: disks, boot
//! orders, BMCs, the daemon's database, keys and images.
//!
//! ```text
//! <state>/snapshots/NAME/      what is in the state, but logs, sockets and other snapshots
//!                 .NAME.new/   one that is being written: not there for anybody
//! ```
//! Both ways the daemon ends first and the machines are switched off: by their button when they are
//! kept, at once when what is on them goes anyway. Then both start as they were. Blobs never change,
//! so they are linked; disks are copied without their holes, or shared where the file system can.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use undercloud_api::admin::LabPower;
use undercloud_model::{ErrorKind, PowerAction, PowerState, UnixMillis};

use super::{Context, down, serve};
use crate::{
    clock, daemon::lock, daemon_client::Daemon, failure::Failure, lab_host, out, state::StateDir,
};

/// What of a state is no part of a snapshot: what a daemon makes anew, what tells of the past, and
/// the snapshots.
const LEFT_OUT: [&str; 3] = ["run", "logs", "snapshots"];
/// Never changed once they are written.
const LINKED: &str = "blobs";
const RECORD: &str = "snapshot.json";
const NAME_BYTES_MAX: usize = 64;

/// A snapshot as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    name: String,
    /// Milliseconds since 1970, UTC.
    made_at: UnixMillis,
    /// Machines that were on.
    on: Vec<String>,
}

/// A name that is one directory.
fn check(name: &str) -> Result<()> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.starts_with('.')
        || !name.bytes().all(legal)
    {
        let message = format!(
            "`{name}` is no snapshot's name: write 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` \
             and `.`, no dot first"
        );
        return Err(Failure::new(ErrorKind::Invalid, message).into());
    }
    Ok(())
}

fn directory(state: &StateDir) -> PathBuf {
    state.root().join("snapshots")
}

pub(super) fn make(context: &Context, name: &str) -> Result<()> {
    check(name)?;
    let state = &context.state;
    need_lab(state)?;
    let place = directory(state).join(name);
    if place.exists() {
        let message = format!("there is a snapshot `{name}` already");
        let hint = format!("undercloud lab forget {name}");
        return Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into());
    }
    let begun = Instant::now();
    let (on, kept) = offline(context, Off::ByButton, |on| {
        let new = directory(state).join(format!(".{name}.new"));
        remove(&new)?;
        fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
        for entry in entries(state.root())? {
            copy(&state.root().join(&entry), &new)?;
        }
        let record = Snapshot { name: name.to_owned(), made_at: clock::now_ms(), on: on.to_vec() };
        fs::write(new.join(RECORD), serde_json::to_vec_pretty(&record)?)
            .with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &place).with_context(|| format!("cannot name {}", place.display()))?;
        Ok((on.to_vec(), record))
    })?;
    let took = out::seconds(begun.elapsed());
    let text = format!("snapshot {name} of {} machines that were on ({took})", on.len());
    context.out.result(&kept, text)
}

pub(super) fn restore(context: &Context, name: &str) -> Result<()> {
    let state = &context.state;
    let place = find(state, name)?;
    let record = read(&place)?;
    let begun = Instant::now();
    // Whole beside the present one, and this one thrown away last: between them are names alone.
    // Cut short at any point, it is done again from the snapshot, which is never touched.
    let [new, old] = [".restore.new", ".restore.old"].map(|name| directory(state).join(name));
    for place in [&new, &old] {
        remove(place)?;
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    for entry in entries(&place)?.iter().filter(|entry| *entry != OsStr::new(RECORD)) {
        copy(&place.join(entry), &new)?;
    }
    offline(context, Off::AtOnce, |_| {
        rename_all(state.root(), &old)?;
        rename_all(&new, state.root())?;
        Ok((record.on.clone(), ()))
    })?;
    remove(&new)?;
    remove(&old)?;
    let took = out::seconds(begun.elapsed());
    let text = format!("the lab is as it was at snapshot {name} ({took})");
    context.out.result(&record, text)
}

fn rename_all(from: &Path, to: &Path) -> Result<()> {
    for entry in entries(from)? {
        let to = to.join(&entry);
        fs::rename(from.join(&entry), &to)
            .with_context(|| format!("cannot put {} in its place", to.display()))?;
    }
    Ok(())
}

pub(super) fn list(context: &Context) -> Result<()> {
    let mut snapshots = Vec::new();
    let there = fs::read_dir(directory(&context.state)).into_iter().flatten().flatten();
    for place in there.map(|entry| entry.path()) {
        if place.join(RECORD).exists() && !is_unfinished(&place) {
            snapshots.push(read(&place)?);
        }
    }
    snapshots.sort_by_key(|snapshot| snapshot.made_at);
    context.out.rows(&["name", "made", "machines on"], &snapshots, |snapshot| {
        vec![snapshot.name.clone(), clock::rfc3339(snapshot.made_at), snapshot.on.join(", ")]
    })
}

pub(super) fn forget(context: &Context, name: &str) -> Result<()> {
    let place = find(&context.state, name)?;
    let record = read(&place)?;
    // Not there for anybody before half of it is gone.
    let going = directory(&context.state).join(format!(".{name}.new"));
    remove(&going)?;
    fs::rename(&place, &going).with_context(|| format!("cannot rename {}", place.display()))?;
    remove(&going)?;
    context.out.result(&record, format!("snapshot {name} is forgotten"))
}

fn is_unfinished(place: &Path) -> bool {
    place.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn find(state: &StateDir, name: &str) -> Result<PathBuf> {
    check(name)?;
    let place = directory(state).join(name);
    if place.join(RECORD).exists() {
        return Ok(place);
    }
    let message = format!("there is no snapshot `{name}`");
    Err(Failure::new(ErrorKind::NotFound, message).hint("undercloud lab snapshots").into())
}

fn read(place: &Path) -> Result<Snapshot> {
    let path = place.join(RECORD);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

fn need_lab(state: &StateDir) -> Result<()> {
    if state.lab_definition().exists() {
        return Ok(());
    }
    let message = "there is no lab in this state: machines of metal have no snapshots";
    Err(Failure::new(ErrorKind::NotFound, message).hint("undercloud lab create").into())
}

/// How machines are switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Off {
    ByButton,
    AtOnce,
}

/// Does `work` while neither daemon nor machine runs; it is told which machines were on, and says
/// which are on afterwards. They and the daemon start again also where it fails.
fn offline<T>(
    context: &Context,
    off: Off,
    work: impl FnOnce(&[String]) -> Result<(Vec<String>, T)>,
) -> Result<(Vec<String>, T)> {
    let state = &context.state;
    if lock::holder(state).is_some() {
        context.out.step("daemon", || down::stop_daemon(context))?;
    }
    let were_on = switch_off(state, off)?;
    let done = work(&were_on);
    let on = done.as_ref().map_or(&were_on, |(on, _)| on);
    let started = serve::ensure(context).and_then(|_| switch_on(state, on));
    let done = done?;
    started?;
    Ok(done)
}

fn switch_off(state: &StateDir, off: Off) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(lab) = lab_host::open(state).await? else { return Ok(Vec::new()) };
        let on: Vec<String> = lab
            .machines()
            .filter(|machine| machine.power_state() == PowerState::On)
            .map(|machine| machine.name().to_string())
            .collect();
        match off {
            Off::ByButton => lab.stop().await?,
            Off::AtOnce => {
                for machine in lab.machines() {
                    machine.power(PowerAction::Off).await?;
                }
            }
        }
        Ok(on)
    })
}

fn switch_on(state: &StateDir, names: &[String]) -> Result<()> {
    let daemon = Daemon::connect(state)?;
    for name in names {
        daemon.ask(async |c| c.lab_power(name, LabPower::Start).await)?;
    }
    Ok(())
}

/// What of a directory belongs to a snapshot.
fn entries(directory: &Path) -> Result<Vec<std::ffi::OsString>> {
    let failed = || format!("cannot read {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(failed)? {
        let name = entry.with_context(failed)?.file_name();
        if !LEFT_OUT.iter().any(|out| name == *out) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Copies an entry into a directory.
fn copy(from: &Path, into: &Path) -> Result<()> {
    let linked = from.file_name() == Some(OsStr::new(LINKED));
    let how: &[&str] = if linked { &["--link"] } else { &["--reflink=auto", "--sparse=always"] };
    let output = Command::new("cp")
        .arg("--archive")
        .args(how)
        .args([from, into])
        .output()
        .context("cannot start cp")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = format!("cannot copy {}: {said}", from.display());
    Err(Failure::new(ErrorKind::Unavailable, message)
        .hint("df -h; undercloud lab snapshots")
        .into())
}

fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    gone.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_directory() {
        for name in ["verified", "2025.1-a_b"] {
            check(name).unwrap();
        }
        for name in ["", ".", "..", ".new", "a/b", "a b", &"x".repeat(65)] {
            let text = check(name).unwrap_err().to_string();
            assert!(text.contains("is no snapshot's name"), "{text}");
        }
    }

    #[test]
    fn holes_stay_holes_and_blobs_are_linked() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("state"), dir.path().join("snapshot"));
        fs::create_dir_all(from.join("blobs")).unwrap();
        fs::create_dir_all(from.join("logs")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("blobs/a"), "blob").unwrap();
        let disk = fs::File::create(from.join("disk.raw")).unwrap();
        disk.set_len(1 << 30).unwrap();
        let mut names = entries(&from).unwrap();
        names.sort();
        assert_eq!(names, ["blobs", "disk.raw"], "logs stay");
        for name in names {
            copy(&from.join(name), &to).unwrap();
        }
        let meta = |path: &str| fs::metadata(dir.path().join(path)).unwrap();
        assert_eq!(meta("state/blobs/a").ino(), meta("snapshot/blobs/a").ino());
        assert_eq!(meta("snapshot/disk.raw").len(), 1 << 30);
        assert!(meta("snapshot/disk.raw").blocks() < 64);
        let missing = copy(&from.join("nothing"), &to).unwrap_err().to_string();
        assert!(missing.contains("cannot copy"), "{missing}");
    }
}
