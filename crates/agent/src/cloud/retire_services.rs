//! `RetireServices`: services that the machine's role no longer has. Their data stays.
//!
//! ```text
//! stop ─► remove its files ─► mark ─► remove its unit ─► daemon-reload ─► reset-failed ─► unmark
//! ```
//! The mark outlives a crash: what systemd still knows of a removed unit it is told the next time. A
//! service that ended badly when it was stopped stays "failed" without its unit until that is reset.

use std::{collections::BTreeSet, fs};

use undercloud_model::agent::{StepFailure, cloud::ServiceName};

use super::{
    Done, OURS, Task,
    apply_service::places,
    files::{self, Wanted},
    system, systemd,
};

/// Stops and removes every service of ours that is not to stay.
pub(super) fn retire(task: &Task<'_>, keep: &[ServiceName]) -> Result<Done, StepFailure> {
    let host = task.host();
    let ours = |name: &String| {
        let path = format!("{}/{name}", places::UNITS);
        host.text(path).is_ok_and(|text| text.starts_with(OURS))
    };
    let names = host.names(places::UNITS).into_iter().filter(ours);
    let services = names.filter_map(|n| n.strip_suffix(".container")?.parse::<ServiceName>().ok());
    let there: Vec<ServiceName> = services.filter(|s| !keep.contains(s)).collect();
    // Those whose unit was removed before the agent ended.
    let marked = host.names(places::PENDING).into_iter().filter_map(|n| n.parse().ok());
    let mut leaving: BTreeSet<ServiceName> = marked.filter(|s| !keep.contains(s)).collect();
    leaving.extend(there.iter().cloned());
    if leaving.is_empty() {
        return Ok(Done::unchanged("no service has to go"));
    }
    if !there.is_empty() {
        systemd::stop(task, &there)?;
    }
    for service in &leaving {
        for path in [places::modules, places::tmpfiles].map(|place| place(service)) {
            files::remove(host, &path)?;
        }
        let dir = places::files(service);
        if host.has(&dir) {
            fs::remove_dir_all(host.path(&dir))
                .map_err(|e| system(format_args!("cannot remove /{dir}: {e}")))?;
        }
        Wanted::public(&places::pending(service), "").ensure(host)?;
        // Last: it is by this that a service is known to be there.
        files::remove(host, &places::unit(service))?;
    }
    task.cloud.reloads.reload(task)?;
    for service in &leaving {
        if systemd::show(task, service)?.is_failed() {
            systemd::reset_failed(task, service)?;
        }
        files::remove(host, &places::pending(service))?;
    }
    let names: Vec<&str> = leaving.iter().map(ServiceName::as_str).collect();
    Ok(Done::changed(format!("removed {}", names.join(", "))))
}
