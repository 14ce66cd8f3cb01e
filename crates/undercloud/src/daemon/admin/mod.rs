//! Answers the administrator from the store, the lab and the blobs: one file per resource, with the
//! trait of that resource (`undercloud_api::admin`).

mod bmcs;
mod cloud;
mod containers;
mod disks;
mod events;
mod images;
mod lab;
mod nodes;
mod status;
mod tasks;

use std::sync::Arc;

use undercloud_api::admin::Endpoint;
use undercloud_image::blob::Blobs;
use undercloud_model::UnixMillis;
use undercloud_store::Store;

use super::{
    cloud::Clouds, domains::Domains, installation::Installer, redfish::Redfish, site::Site,
    tasks::Tasks, troubles::Troubles,
};
use crate::state::StateDir;

/// What the administrator's routes need.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) state: StateDir,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) site: Arc<Site>,
    pub(crate) domains: Domains,
    pub(crate) redfish: Arc<Redfish>,
    pub(crate) clouds: Arc<Clouds>,
    pub(crate) installer: Arc<Installer>,
    pub(crate) tasks: Tasks,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) started_at: UnixMillis,
    pub(crate) endpoints: Vec<Endpoint>,
}
