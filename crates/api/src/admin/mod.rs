//! The administrator's API on the unix socket: what the command line speaks.
//!
//! One resource per file: its wire types, which `-o json` prints, and its handlers. The socket's
//! mode is the credential, so a request that came from the network is refused whatever it says.

mod bmcs;
mod cloud;
mod containers;
mod desk;
mod disks;
mod events;
mod images;
pub mod instackenv;
mod lab;
mod nodes;
mod status;
mod tasks;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tokio_util::sync::CancellationToken;
use undercloud_image::blob::Blobs;
use undercloud_model::ErrorKind;

use crate::{ApiError, serve::Peer};

pub use bmcs::{BmcOrder, BmcQuery, BmcRequest, BmcStatus, BmcSwitch, BmcView};
pub use cloud::{
    CloudAccess, CloudRequest, DeploymentRun, DeploymentStep, DeploymentView, InstallationView,
    PlanView, PublicNetwork, SiteFile, SiteView,
};
pub use desk::AdminDesk;
pub use disks::{ApprovalRequest, CloudApproval, DisksQuery, DisksView, system_need_bytes};
pub use events::{Event, EventPage, EventQuery, FollowQuery, Severity, WAIT_MS_MAX};
pub use images::Removed;
pub use lab::{LabKind, LabMachine, LabPower, LabRequest};
pub use nodes::{
    Accepted, DeployOrder, EnrolOutcome, Enrolled, ForceQuery, MaintenanceRequest, NodeRef,
    NodeView, VerbRequest,
};
pub use status::{
    BackgroundState, BackgroundTask, CloudStatus, Descriptors, Endpoint, LastFailure, Room, Status,
    Trouble,
};
pub use tasks::{Reporter, TaskLine, TaskProgress, TaskRequest, TaskState, TaskView, Tasks};

/// The routes, for the test that none is open to the network.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/status"),
    ("POST", "/v1/shutdown"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/nodes"),
    ("GET", "/v1/nodes/{node}"),
    ("DELETE", "/v1/nodes/{node}"),
    ("POST", "/v1/nodes/{node}/verbs"),
    ("GET", "/v1/nodes/{node}/disks"),
    ("PUT", "/v1/nodes/{node}/approval"),
    ("DELETE", "/v1/nodes/{node}/approval"),
    ("PUT", "/v1/nodes/{node}/maintenance"),
    ("DELETE", "/v1/nodes/{node}/maintenance"),
    ("GET", "/v1/events"),
    ("GET", "/v1/images"),
    ("GET", "/v1/images/{name}"),
    ("PUT", "/v1/images/{name}"),
    ("DELETE", "/v1/images/{name}"),
    ("GET", "/v1/containers"),
    ("PUT", "/v1/containers"),
    ("GET", "/v1/containers/{name}"),
    ("GET", "/v1/lab"),
    ("POST", "/v1/lab/{machine}"),
    ("GET", "/v1/bmcs"),
    ("POST", "/v1/bmcs"),
    ("GET", "/v1/bmcs/{domain}"),
    ("POST", "/v1/bmcs/{domain}"),
    ("DELETE", "/v1/bmcs/{domain}"),
    ("POST", "/v1/cloud/plan"),
    ("POST", "/v1/cloud/approval"),
    ("GET", "/v1/cloud/access"),
    ("GET", "/v1/cloud/deployments"),
    ("GET", "/v1/cloud/deployments/{number}"),
    ("PUT", "/v1/cloud/deployments/{number}/verification"),
    ("GET", "/v1/tasks"),
    ("POST", "/v1/tasks"),
    ("GET", "/v1/tasks/{task}"),
];

struct Shared<D> {
    desk: Arc<D>,
    blobs: Blobs,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What handlers share.
struct Office<D>(Arc<Shared<D>>);

impl<D> Clone for Office<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The administrator's routes. `POST /v1/shutdown` cancels `stop`.
pub fn router<D: AdminDesk>(
    desk: Arc<D>,
    blobs: Blobs,
    tasks: Tasks,
    stop: CancellationToken,
) -> Router {
    let office = Office(Arc::new(Shared { desk, blobs, tasks, stop }));
    let node = get(nodes::show::<D>).delete(nodes::remove::<D>);
    let maintenance =
        axum::routing::put(nodes::maintenance::<D>).delete(nodes::end_maintenance::<D>);
    let approval = axum::routing::put(disks::approve::<D>).delete(disks::withdraw::<D>);
    let image = get(images::show::<D>).put(images::register::<D>).delete(images::remove::<D>);
    let bmc = get(bmcs::show::<D>).post(bmcs::switch::<D>).delete(bmcs::remove::<D>);
    Router::new()
        .route("/v1/status", get(status::show::<D>))
        .route("/v1/shutdown", post(status::shutdown::<D>))
        .route("/v1/nodes", get(nodes::list::<D>).post(nodes::enrol::<D>))
        .route("/v1/nodes/{node}", node)
        .route("/v1/nodes/{node}/verbs", post(nodes::request::<D>))
        .route("/v1/nodes/{node}/disks", get(disks::show::<D>))
        .route("/v1/nodes/{node}/approval", approval)
        .route("/v1/nodes/{node}/maintenance", maintenance)
        .route("/v1/events", get(events::list::<D>))
        .route("/v1/images", get(images::list::<D>))
        .route("/v1/images/{name}", image)
        .route("/v1/containers", get(containers::list::<D>).put(containers::register::<D>))
        .route("/v1/containers/{name}", get(containers::show::<D>))
        .route("/v1/lab", get(lab::list::<D>))
        .route("/v1/lab/{machine}", post(lab::request::<D>))
        .route("/v1/bmcs", get(bmcs::list::<D>).post(bmcs::add::<D>))
        .route("/v1/bmcs/{domain}", bmc)
        .route("/v1/cloud/plan", post(cloud::plan::<D>))
        .route("/v1/cloud/approval", post(disks::approve_cloud::<D>))
        .route("/v1/cloud/access", get(cloud::access::<D>))
        .route("/v1/cloud/deployments", get(cloud::list::<D>))
        .route("/v1/cloud/deployments/{number}", get(cloud::show::<D>))
        .route(
            "/v1/cloud/deployments/{number}/verification",
            axum::routing::put(cloud::verified::<D>),
        )
        .route("/v1/tasks", get(tasks::list::<D>).post(tasks::start::<D>))
        .route("/v1/tasks/{task}", get(tasks::show::<D>))
        .fallback(no_route)
        .layer(middleware::from_fn(local_only))
        .with_state(office)
}

async fn no_route(request: Request) -> ApiError {
    if request.uri().path().ends_with('/') {
        return ApiError::invalid("the name is empty");
    }
    ApiError::not_found("there is no such route")
}

/// Refuses what did not come through the unix socket.
async fn local_only(peer: Peer, request: Request, next: Next) -> Result<Response, ApiError> {
    if peer.address.is_some() || request.extensions().get::<Peer>().is_none() {
        return Err(ApiError::new(ErrorKind::Denied, "this is served on the unix socket alone"));
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests;
