//! Whether the cloud of this state could be reached from this host.

use camino::Utf8PathBuf;
use undercloud_lab::{HostAccess, LabNames, Network};

use super::{Finding, Needs};
use crate::state::StateDir;

/// Looks where the external network's addresses lead now.
pub(super) fn check(state: &StateDir, needs: &Needs) -> Finding {
    let cure = "ip -4 route show table all";
    match look(state, needs) {
        Ok(None) => Finding::ok("the external network's are free"),
        Ok(Some(access)) => Finding::fail(
            access.to_string(),
            "undercloud --state DIR down for a lab that is not needed; or other addresses in \
             lab.toml and cloud.toml (`up --lab FILE --cloud FILE`)",
        ),
        Err(error) => Finding::fail(format!("cannot read this host's routes: {error:#}"), cure),
    }
}

fn look(state: &StateDir, needs: &Needs) -> anyhow::Result<Option<HostAccess>> {
    // A state that is not there yet has no other name.
    let root = state.root().canonicalize().unwrap_or_else(|_| state.root().to_owned());
    let root = Utf8PathBuf::try_from(root)?;
    let network = Network::new(&LabNames::from_real_path(&root), &needs.networks);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(network.elsewhere())?)
}
