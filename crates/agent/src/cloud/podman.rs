//! Podman's settings for this machine (containers.conf(5)).

use undercloud_model::agent::StepFailure;

use super::{OURS, Task, files, files::Wanted};
use crate::container::is_container;

const SETTINGS: &str = "etc/containers/containers.conf.d/10-undercloud.conf";

/// Where the machine is a container, its control groups may be without the controller `pids`, and a
/// limit, which podman sets by itself, would let no container start. Only 0 is no limit: -1 is one.
pub(super) fn configure(task: &Task<'_>) -> Result<(), StepFailure> {
    let host = task.host();
    if !is_container(host) {
        return files::remove(host, SETTINGS).map(drop);
    }
    let text = format!("{OURS}\n[containers]\npids_limit = 0\n");
    Wanted::public(SETTINGS, &text).ensure(host).map(drop)
}
