//! What lets the ordinary `openstack` client in: our entry in the user's clouds.yaml, and stackrc.

use std::fs;

use anyhow::{Context as _, Result};
use undercloud_api::{
    clouds::{CloudEntry, CloudsError, Owner, install, uninstall, write_stackrc},
    openstack::{DOMAIN_NAME, PROJECT_NAME, REGION, USER_NAME},
};

use crate::{daemon, failure::Failure, lab_host, state::StateDir};

/// The name for `--os-cloud`.
const CLOUD: &str = "undercloud";

/// Writes the entry and the file to source. Other entries stay as they are.
///
/// # Errors
/// When one of the files cannot be written, or the user has a cloud of that name.
pub(crate) fn grant(state: &StateDir) -> Result<String> {
    let ca = state.pki().join("ca.pem");
    let entry = CloudEntry {
        name: CLOUD.to_owned(),
        auth_url: format!("https://127.0.0.1:{}/identity/v3", state.api_port()),
        username: USER_NAME.to_owned(),
        password: daemon::openstack::password(state)?,
        project: PROJECT_NAME.to_owned(),
        domain: DOMAIN_NAME.to_owned(),
        region: REGION.to_owned(),
        ca_pem: fs::read_to_string(&ca).with_context(|| ca.display().to_string())?,
    };
    let owner = Owner::invoking().map_err(readable)?;
    let stackrc = lab_host::root(state)?.join("stackrc");
    write_stackrc(&owner, &stackrc, &entry).map_err(readable)?;
    let installed = install(&owner, &tag(state), std::slice::from_ref(&entry)).map_err(readable)?;
    Ok(installed.clouds.into_string())
}

/// Takes our entry away, if there is one.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn revoke(state: &StateDir) -> Result<()> {
    let owner = Owner::invoking().map_err(readable)?;
    uninstall(&owner, &tag(state), &[CLOUD]).map(drop).map_err(readable)
}

fn tag(state: &StateDir) -> String {
    state.root().display().to_string()
}

fn readable(error: CloudsError) -> anyhow::Error {
    let (kind, hint) = (error.kind(), error.hint().to_owned());
    Failure::new(kind, format!("{:#}", anyhow::Error::new(error))).hint(hint).into()
}
