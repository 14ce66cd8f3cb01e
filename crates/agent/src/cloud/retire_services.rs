//! `RetireServices`: services that the machine's role no longer has. Their data stays.

use std::fs;

use undercloud_model::agent::{StepFailure, cloud::ServiceName};

use super::{Done, OURS, Task, apply_service::places, files, system, systemd};

/// Stops and removes every service of ours that is not to stay.
pub(super) fn retire(task: &Task<'_>, keep: &[ServiceName]) -> Result<Done, StepFailure> {
    let host = task.host();
    let ours = |name: &String| {
        let path = format!("{}/{name}", places::UNITS);
        host.text(path).is_ok_and(|text| text.starts_with(OURS))
    };
    let names = host.names(places::UNITS).into_iter().filter(ours);
    let services = names.filter_map(|n| n.strip_suffix(".container")?.parse::<ServiceName>().ok());
    let leaving: Vec<ServiceName> = services.filter(|s| !keep.contains(s)).collect();
    if leaving.is_empty() {
        return Ok(Done::unchanged("no service has to go"));
    }
    systemd::stop(task, &leaving)?;
    for service in &leaving {
        for path in [places::modules, places::tmpfiles, places::pending].map(|place| place(service))
        {
            files::remove(host, &path)?;
        }
        let dir = places::files(service);
        if host.has(&dir) {
            fs::remove_dir_all(host.path(&dir))
                .map_err(|e| system(format_args!("cannot remove /{dir}: {e}")))?;
        }
        // Last: it is by this that a service is known to be there.
        files::remove(host, &places::unit(service))?;
    }
    task.cloud.reloads.reload(task)?;
    let names: Vec<&str> = leaving.iter().map(ServiceName::as_str).collect();
    Ok(Done::changed(format!("removed {}", names.join(", "))))
}
