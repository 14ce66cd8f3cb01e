//! Glance and the flavor: what the server is made of.

use std::fs;

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::{
    NAME, id_of, listed,
    session::{Service, Session},
};

/// Nobody reads the disk: the system is in the ramdisk. Nova wants one of some size.
const DISK_BYTES: usize = 1 << 20;
/// The kernel unpacks the ramdisk beside itself; the server itself uses 20 MiB.
const MEMORY_MIB: u32 = 192;
/// Its own console for people is the screen; the serial one is what Nova keeps.
/// An emulated timer on a busy host comes late, and a kernel that tests for it ends
/// (`no_timer_check`, Linux, `Documentation/admin-guide/kernel-parameters.txt`).
const COMMAND_LINE: &str =
    "console=tty0 console=ttyS0 quiet mitigations=off no_timer_check rdinit=/init";

/// The test server's image, on this host.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) kernel: Utf8PathBuf,
    pub(super) ramdisk: Utf8PathBuf,
}

/// Uploads the kernel, the ramdisk, and an empty disk that names both. Returns the disk's id.
pub(super) fn upload(session: &Session, files: &Files) -> Result<(String, String)> {
    let read = |path: &Utf8PathBuf| fs::read(path).with_context(|| format!("cannot read {path}"));
    let (kernel, ramdisk) = (read(&files.kernel)?, read(&files.ramdisk)?);
    let bytes = kernel.len() + ramdisk.len() + DISK_BYTES;
    let kernel = image(session, "kernel", json!({}), kernel)?;
    let ramdisk = image(session, "ramdisk", json!({}), ramdisk)?;
    let properties = json!({
        "kernel_id": kernel,
        "ramdisk_id": ramdisk,
        "os_command_line": COMMAND_LINE,
        "hw_rng_model": "virtio",
    });
    let disk = image(session, "disk", properties, vec![0; DISK_BYTES])?;
    Ok((disk, format!("{} sent", crate::out::bytes(bytes as u64))))
}

fn image(session: &Session, what: &str, more: Value, content: Vec<u8>) -> Result<String> {
    let mut body = json!({
        "name": format!("{NAME}-{what}"),
        "disk_format": "raw",
        "container_format": "bare",
        "visibility": "private",
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    let made = session.post(Service::Image, "/images", &body)?;
    let id = id_of(&made)?;
    session.upload(&id, content)?;
    Ok(id)
}

/// Makes the flavor. Returns its id.
pub(super) fn flavor(session: &Session) -> Result<(String, String)> {
    let flavor = json!({ "name": NAME, "vcpus": 1, "ram": MEMORY_MIB, "disk": 0 });
    let made = session.post(Service::Compute, "/flavors", &json!({ "flavor": flavor }))?;
    Ok((id_of(&made["flavor"])?, format!("1 vCPU, {MEMORY_MIB} MiB")))
}

/// Removes what earlier runs made here.
pub(super) fn remove(session: &Session) -> Result<usize> {
    let mut removed = 0;
    let flavors = session.get(Service::Compute, "/flavors?is_public=None")?;
    for id in listed(&flavors, "flavors") {
        session.delete(Service::Compute, &format!("/flavors/{id}"))?;
        removed += 1;
    }
    for what in ["disk", "ramdisk", "kernel"] {
        let images = session.get(Service::Image, &format!("/images?name={NAME}-{what}"))?;
        for id in listed(&images, "images") {
            session.delete(Service::Image, &format!("/images/{id}"))?;
            removed += 1;
        }
    }
    Ok(removed)
}
