//! Where the parts of a service are on the machine. No path has a leading slash.

use undercloud_model::agent::cloud::ServiceName;

/// Where Quadlet looks for units.
pub(in crate::cloud) const UNITS: &str = "etc/containers/systemd";

/// Its unit, of which Quadlet makes `NAME.service`.
pub(in crate::cloud) fn unit(service: &ServiceName) -> String {
    format!("{UNITS}/{service}.container")
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

/// There as long as something was changed and the service not restarted.
pub(in crate::cloud) fn pending(service: &ServiceName) -> String {
    format!("var/lib/undercloud/pending/{service}")
}
