//! Containers run images that were built here, and no others: what runs in one shares the host's
//! kernel, and nobody here knows what an imported image does with that.

use undercloud_api::ApiError;
use undercloud_image::catalog::{Image, names};
use undercloud_lab::{MachineDefinition, MachineKind};
use undercloud_model::{Digest, ErrorKind, MacAddr, NodeName, node::Node};
use undercloud_store::Store;

use super::agents::api_error;

/// The setting with the addresses of the lab's containers.
const SETTING: &str = "container-machines";

/// Writes down which of the lab's machines are containers.
///
/// # Errors
/// The store cannot be written.
pub(super) async fn note<'a>(
    store: &Store,
    machines: impl Iterator<Item = &'a MachineDefinition>,
) -> Result<(), ApiError> {
    let containers = machines.filter(|machine| machine.kind == MachineKind::Container);
    let nics: Vec<MacAddr> = containers.flat_map(|m| &m.nics).map(|nic| nic.mac).collect();
    store.set_setting(SETTING, &nics).await.map_err(api_error)
}

/// Whether the machine may run what is in this blob, which is known as `image`.
///
/// # Errors
/// It is a container, and the image was not built here.
pub(super) async fn check(
    store: &Store,
    node: &Node,
    image: &str,
    blob: &Digest,
) -> Result<(), ApiError> {
    let containers: Vec<MacAddr> =
        store.setting(SETTING).await.map_err(api_error)?.unwrap_or_default();
    if !node.ports.iter().any(|port| containers.contains(&port.mac)) {
        return Ok(());
    }
    let rows = store.images::<Image>().await.map_err(api_error)?;
    let is_ours = |image: &Image| image.digest == *blob && !image.is_imported();
    if rows.iter().any(|row| is_ours(&row.record)) {
        return Ok(());
    }
    Err(refused(&node.name, image))
}

/// Whether the machine may run what a cloud's machines are installed from.
///
/// # Errors
/// It is a container, and that image was not built here.
pub(super) async fn check_system(store: &Store, node: &Node) -> Result<(), ApiError> {
    let rows = store.images::<Image>().await.map_err(api_error)?;
    let system = rows.iter().find(|row| row.record.name == names::OVERCLOUD_FULL);
    match system {
        Some(row) => check(store, node, names::OVERCLOUD_FULL, &row.record.digest).await,
        None => Ok(()),
    }
}

fn refused(machine: &NodeName, image: &str) -> ApiError {
    let message = format!(
        "{machine} is a container on this host's kernel and runs no image that was not built here: \
         {image} was imported"
    );
    ApiError::new(ErrorKind::Conflict, message).hint(format!(
        "undercloud image build builds ours; for {image}, give {machine} `kind = \"qemu\"` in \
         lab.toml, and make the lab anew"
    ))
}
