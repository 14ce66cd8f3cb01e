//! `MountImages`: podman's storage with every image of the cloud, fetched as one file and mounted.
//!
//! ```text
//! daemon ── blob ──► /var/lib/undercloud/images/DIGEST.squashfs ── mounted ──► …/DIGEST
//!                                                                                 ▲
//!                      podman ── storage.conf, `additionalimagestores` ───────────┘
//! ```
//! In a machine that is a container its process on the host has the blob and mounts it, at each boot
//! when a unit of ours asks for it; there is nothing to fetch.
//!
//! Nothing is unpacked: an emulated machine needs minutes for that, and seconds for this. Storages
//! of earlier versions stay mounted until the machine starts anew, since containers may run on them.

use std::{fs, time::Duration};

use undercloud_model::{
    Digest,
    agent::{StepFailure, StepFailureKind, cloud::ImageStore},
};

use super::{
    Call, Done, OURS, Task,
    fetch::{self, Blob},
    files::{self, Wanted},
    system,
};
use crate::{
    container::{self, is_container},
    device::failure,
    log::chain,
    sys::Host,
};

/// Where the files and their mount points are.
const DIR: &str = "var/lib/undercloud/images";
/// Where podman is told of them (containers-storage.conf(5)).
const STORAGE_CONF: &str = "etc/containers/storage.conf";
const UNITS: &str = "etc/systemd/system";
const DEADLINE: Duration = Duration::from_secs(120);

/// Has the storage mounted, and podman told of it, at the end.
pub(super) fn mount(task: &Task<'_>, store: &ImageStore) -> Result<Done, StepFailure> {
    let name = store.blob.short();
    let is_container = is_container(task.host());
    let fetched = if is_container { false } else { fetched(task, store)? };
    let changed = mounted(task, &store.blob, is_container)?;
    // Podman would fail on one that is not there.
    let conf = storage_conf(&store.blob);
    let told = Wanted::public(STORAGE_CONF, &conf).ensure(task.host())?;
    let list = list(&store.blob);
    if !task.host().has(&list) {
        let message = format!("the container images {name} are mounted and have no /{list}");
        return Err(failure(StepFailureKind::Image, message));
    }
    remove_older(task, &store.blob)?;
    if !fetched && !changed && !told {
        return Ok(Done::unchanged(format!("container images {name} were there")));
    }
    Ok(Done::changed(format!("container images {name}, {} MB", store.bytes / 1_000_000)))
}

/// The lists of the images in storages that podman is told of.
pub(super) fn lists(host: &Host) -> Vec<String> {
    let conf = host.text(STORAGE_CONF).unwrap_or_default();
    let names =
        host.names(DIR).into_iter().filter(|name| conf.contains(&format!("{DIR}/{name}\"")));
    names.map(|name| format!("{DIR}/{name}/overlay-images/images.json")).collect()
}

fn file(blob: &Digest) -> String {
    format!("{DIR}/{}.squashfs", blob.short())
}

fn point(blob: &Digest) -> String {
    format!("{DIR}/{}", blob.short())
}

fn list(blob: &Digest) -> String {
    format!("{}/overlay-images/images.json", point(blob))
}

/// The unit that mounts it, and its text. Of a mount the name is systemd's (systemd.mount(5)): hyphens
/// stand for slashes.
fn unit(blob: &Digest, is_container: bool) -> (String, String) {
    let (point, name) = (point(blob), point(blob).replace('/', "-"));
    if is_container {
        let text = format!(
            "{OURS}\n[Unit]\nDescription=Container images of the cloud\nDefaultDependencies=no\n\
             After=systemd-remount-fs.service\nBefore=local-fs.target shutdown.target\n\
             Conflicts=shutdown.target\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart=/usr/sbin/undercloud-agent mount-images {blob} /{point}\n\n\
             [Install]\nWantedBy=local-fs.target\n"
        );
        return (format!("{name}.service"), text);
    }
    let text = format!(
        "{OURS}\n[Unit]\nDescription=Container images of the cloud\n\n[Mount]\n\
         What=/{}\nWhere=/{point}\nType=squashfs\nOptions=loop,ro,nodev\n\n\
         [Install]\nWantedBy=local-fs.target\n",
        file(blob)
    );
    (format!("{name}.mount"), text)
}

fn storage_conf(blob: &Digest) -> String {
    let point = point(blob);
    format!(
        "{OURS}\n[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\n\
         graphroot = \"/var/lib/containers/storage\"\n\n[storage.options]\n\
         additionalimagestores = [\"/{point}\"]\n"
    )
}

/// Fetches the file unless it is there whole: it gets its name only then.
fn fetched(task: &Task<'_>, store: &ImageStore) -> Result<bool, StepFailure> {
    let path = task.host().path(file(&store.blob));
    if fs::metadata(&path).is_ok_and(|m| m.len() == store.bytes) {
        return Ok(false);
    }
    let partial = path.with_extension("partial");
    let blob = Blob { what: "the container images", digest: store.blob, bytes: store.bytes };
    fetch::fetch(task, &blob, &partial)?;
    undercloud_durable::rename(partial.as_ref(), path.as_ref()).map_err(|error| {
        system(format_args!("cannot rename {} to its name: {error}", partial.display()))
    })?;
    Ok(true)
}

/// Has the file mounted, now and at every start of the machine; says whether it was not.
fn mounted(task: &Task<'_>, blob: &Digest, is_container: bool) -> Result<bool, StepFailure> {
    let host = task.host();
    let point = point(blob);
    let (unit, text) = unit(blob, is_container);
    let wrote = Wanted::public(&format!("{UNITS}/{unit}"), &text).ensure(host)?;
    if !wrote && is_mounted(host, &point) {
        return Ok(false);
    }
    fs::create_dir_all(host.path(&point))
        .map_err(|e| system(format_args!("cannot make /{point}: {e}")))?;
    if is_container {
        // Not by the unit: the host's reason would be in the journal only.
        container::mount_images(host, blob, &format!("/{point}")).map_err(|e| {
            let message = format!("the container images were not mounted: {}", chain(&e));
            failure(StepFailureKind::Image, message)
        })?;
        task.must(&Call::new("systemctl", DEADLINE, ["enable", &unit]))?;
    } else {
        task.must(&Call::new("systemctl", DEADLINE, ["enable", "--now", &unit]))?;
    }
    Ok(true)
}

fn is_mounted(host: &Host, point: &str) -> bool {
    let table = host.text("proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(1) == Some(&format!("/{point}")))
}

/// Storages of other versions are not mounted at the next start, and a file that is not mounted
/// any more goes; so does what was fetched of one in part.
fn remove_older(task: &Task<'_>, blob: &Digest) -> Result<(), StepFailure> {
    let host = task.host();
    let keep = blob.short();
    let prefix = format!("{}-", DIR.replace('/', "-"));
    for unit in host.names(UNITS) {
        let named = unit.strip_prefix(&prefix).and_then(|rest| rest.rsplit_once('.'));
        if named.is_some_and(|(other, kind)| other != keep && ["mount", "service"].contains(&kind))
        {
            task.must(&Call::new("systemctl", DEADLINE, ["disable", &unit]))?;
            files::remove(host, &format!("{UNITS}/{unit}"))?;
        }
    }
    for name in host.names(DIR) {
        if name.strip_suffix(".partial").is_some_and(|other| other != keep) {
            files::remove(host, &format!("{DIR}/{name}"))?;
        }
        let Some(other) = name.strip_suffix(".squashfs").filter(|other| **other != *keep) else {
            continue;
        };
        if !is_mounted(host, &format!("{DIR}/{other}")) {
            files::remove(host, &format!("{DIR}/{name}"))?;
        }
    }
    Ok(())
}
