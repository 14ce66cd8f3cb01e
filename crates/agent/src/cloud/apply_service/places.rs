//! Where the parts of a service are on the machine. No path has a leading slash.

use undercloud_model::agent::cloud::ServiceName;

/// Where Quadlet looks for units.
pub(in crate::cloud) const UNITS: &str = "etc/containers/systemd";

/// Its unit, of which Quadlet makes `NAME.service`.
pub(in crate::cloud) fn unit(service: &ServiceName) -> String {
    format!("{UNITS}/{service}.container")
}

/// Where an administrator's changes of it would be, before ours: `systemctl edit`, with `--runtime`
/// and with `--full`, `systemctl set-property` and `mask`, and Quadlet's own.
pub(in crate::cloud) fn overrides(service: &ServiceName) -> [String; 11] {
    let unit = format!("{service}.service");
    let container = format!("{service}.container");
    [
        format!("etc/systemd/system/{unit}.d"),
        format!("etc/systemd/system/{unit}"),
        format!("run/systemd/system/{unit}.d"),
        format!("run/systemd/system/{unit}"),
        format!("etc/systemd/system.control/{unit}.d"),
        format!("etc/systemd/system.control/{unit}"),
        format!("run/systemd/system.control/{unit}.d"),
        format!("run/systemd/system.control/{unit}"),
        format!("{UNITS}/{container}.d"),
        format!("run/containers/systemd/{container}.d"),
        format!("run/containers/systemd/{container}"),
    ]
}

/// Its files, below their paths in the container.
pub(in crate::cloud) fn files(service: &ServiceName) -> String {
    format!("etc/undercloud/services/{service}")
}

/// Its kernel modules, for the boot.
pub(in crate::cloud) fn modules(service: &ServiceName) -> String {
    format!("etc/modules-load.d/undercloud-{service}.conf")
}

/// Its directories below `/run`, for the boot.
pub(in crate::cloud) fn tmpfiles(service: &ServiceName) -> String {
    format!("etc/tmpfiles.d/undercloud-{service}.conf")
}

/// Marks of services that were changed and not restarted, or removed and not forgotten by systemd.
pub(in crate::cloud) const PENDING: &str = "var/lib/undercloud/pending";

/// There as long as something was changed and the service not restarted.
pub(in crate::cloud) fn pending(service: &ServiceName) -> String {
    format!("{PENDING}/{service}")
}
