//! The lab without its daemon: where it is, and taking it away when nobody minds it.

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use undercloud_lab::{Acceleration, Lab, LabNames, LabOptions, QemuFiles};

use crate::state::StateDir;

/// The state directory as the lab wants it.
///
/// # Errors
/// When its path is no UTF-8.
pub(crate) fn root(state: &StateDir) -> Result<Utf8PathBuf> {
    let root = state.root().to_owned();
    Utf8PathBuf::from_path_buf(root).ok().context("the state directory's path is no UTF-8")
}

/// The names of the state's lab.
///
/// # Errors
/// When there is no state.
pub(crate) fn names(state: &StateDir) -> Result<LabNames> {
    Ok(LabNames::for_state(&root(state)?)?)
}

/// Switches the machines off and removes them, their disks and their networks.
///
/// # Errors
/// When a machine does not end or something cannot be removed.
pub(crate) fn delete(state: &StateDir) -> Result<()> {
    if !state.lab_definition().exists() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(lab) = open(state).await? {
            lab.delete().await?;
        }
        Ok(())
    })
}

/// The lab of a state whose daemon does not run, if there is one. Not for starting machines: how they
/// would run is not looked at.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open(state: &StateDir) -> Result<Option<Lab>> {
    let (files, acceleration) = (QemuFiles::find()?, Acceleration::Tcg);
    let program = std::env::current_exe().context("cannot find this program")?;
    Ok(Lab::open(&root(state)?, LabOptions { files, acceleration, program }).await?)
}
