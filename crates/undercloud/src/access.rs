//! What lets the ordinary `openstack` client in: our entries in the user's clouds.yaml, and files to
//! source. One of each for the undercloud's own APIs, and for the cloud once it is installed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use undercloud_api::{
    admin::CloudAccess,
    clouds::{CloudEntry, CloudsError, Owner, install, uninstall, write_stackrc},
    openstack::{DOMAIN_NAME, PROJECT_NAME, REGION, USER_NAME},
};

use crate::{daemon, failure::Failure, lab_host, state::StateDir};

/// The names for `--os-cloud`.
const UNDERCLOUD: &str = "undercloud";
const OVERCLOUD: &str = "overcloud";

/// Writes the undercloud's entry and the file to source. Other entries stay as they are.
///
/// # Errors
/// When one of the files cannot be written, or the user has a cloud of that name.
pub(crate) fn grant(state: &StateDir) -> Result<String> {
    let ca = state.pki().join("ca.pem");
    let entry = CloudEntry {
        name: UNDERCLOUD.to_owned(),
        auth_url: format!("https://127.0.0.1:{}/identity/v3", state.api_port()),
        username: USER_NAME.to_owned(),
        password: daemon::openstack::password(state)?,
        project: PROJECT_NAME.to_owned(),
        domain: DOMAIN_NAME.to_owned(),
        region: REGION.to_owned(),
        ca_pem: read(&ca)?,
    };
    write(state, &entry, &ca)
}

/// The same for the cloud on the machines, as its administrator.
///
/// # Errors
/// As [`grant`].
pub(crate) fn grant_overcloud(state: &StateDir, access: &CloudAccess) -> Result<String> {
    let ca = Path::new(&access.ca_file);
    let entry = CloudEntry {
        name: OVERCLOUD.to_owned(),
        auth_url: access.auth_url.clone(),
        username: access.user.clone(),
        password: access.password.clone(),
        project: access.project.clone(),
        domain: DOMAIN_NAME.to_owned(),
        region: access.region.clone(),
        ca_pem: read(ca)?,
    };
    write(state, &entry, ca)
}

/// Takes our entries away, if there are any.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn revoke(state: &StateDir) -> Result<()> {
    let owner = Owner::invoking().map_err(readable)?;
    for cloud in [UNDERCLOUD, OVERCLOUD] {
        uninstall(&owner, &tag(state, cloud), &[cloud]).map_err(readable)?;
    }
    Ok(())
}

fn write(state: &StateDir, entry: &CloudEntry, ca: &Path) -> Result<String> {
    let owner = Owner::invoking().map_err(readable)?;
    let name = if entry.name == UNDERCLOUD { "stackrc" } else { "overcloudrc" };
    let file = lab_host::root(state)?.join(name);
    let ca = ca.to_str().context("the state directory's path is no UTF-8")?;
    write_stackrc(&owner, &file, entry, ca.into()).map_err(readable)?;
    let tag = tag(state, &entry.name);
    let installed = install(&owner, &tag, std::slice::from_ref(entry)).map_err(readable)?;
    Ok(installed.clouds.into_string())
}

/// What tells our lines in clouds.yaml from those of other states, and of the other cloud: each
/// comes and goes by itself.
fn tag(state: &StateDir, cloud: &str) -> String {
    let root = state.root().display();
    if cloud == UNDERCLOUD { root.to_string() } else { format!("{root} ({cloud})") }
}

fn read(ca: &Path) -> Result<String> {
    fs::read_to_string(ca).with_context(|| ca.display().to_string())
}

fn readable(error: CloudsError) -> anyhow::Error {
    let (kind, hint) = (error.kind(), error.hint().to_owned());
    Failure::new(kind, format!("{:#}", anyhow::Error::new(error))).hint(hint).into()
}
