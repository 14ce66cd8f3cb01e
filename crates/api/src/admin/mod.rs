//! The administrator's API on the unix socket: what the command line speaks.
//!
//! One resource per file: its wire types, which `-o json` prints, and its handlers. The socket's
//! mode is the credential, so a request that came from the network is refused whatever it says.

mod bmcs;
mod cloud;
mod containers;
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
use undercloud_model::{Caller, ErrorKind};

use crate::{
    ApiError,
    serve::{Peer, Process},
};

pub use bmcs::{BmcOrder, BmcQuery, BmcRequest, BmcStatus, BmcSwitch, BmcView, BmcsApi};
pub use cloud::{
    CloudAccess, CloudApi, CloudRequest, DeploymentRun, DeploymentStep, DeploymentView,
    InstallationView, PlanView, PublicNetwork, SiteFile, SiteView, StepWait,
};
pub use containers::ContainersApi;
pub use disks::{
    ApprovalRequest, CloudApproval, DisksApi, DisksQuery, DisksView, system_need_bytes,
};
pub use events::{Event, EventPage, EventQuery, EventsApi, FollowQuery, Severity, WAIT_MS_MAX};
pub use images::{ImagesApi, Removed};
pub use lab::{LabApi, LabKind, LabMachine, LabPower, LabRequest};
pub use nodes::{
    Accepted, DeployOrder, EnrolOutcome, Enrolled, ForceQuery, MaintenanceRequest, NodeRef,
    NodeView, NodesApi, VerbRequest,
};
pub use status::{
    BackgroundState, BackgroundTask, CloudStatus, Descriptors, Endpoint, LastFailure, Room, Status,
    StatusApi, Trouble,
};
pub use tasks::{
    Reporter, TaskLine, TaskProgress, TaskRequest, TaskState, TaskView, Tasks, TasksApi,
};

/// The header in which a client on the unix socket says for whom it speaks.
pub(crate) const SPEAKS_FOR: &str = "undercloud-speaks-for";

/// The routes, for the test that none is open to the network.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/status"),
    ("POST", "/v1/shutdown"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/nodes"),
    ("GET", "/v1/nodes/{node}"),
    ("DELETE", "/v1/nodes/{node}"),
    ("POST", "/v1/nodes/{node}/verbs"),
    ("POST", "/v1/nodes/{node}/identity"),
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

/// All that the routes ask, of one who answers all of it.
pub trait AdminApi:
    StatusApi
    + NodesApi
    + DisksApi
    + EventsApi
    + ImagesApi
    + ContainersApi
    + LabApi
    + BmcsApi
    + CloudApi
    + TasksApi
{
}

impl<T> AdminApi for T where
    T: StatusApi
        + NodesApi
        + DisksApi
        + EventsApi
        + ImagesApi
        + ContainersApi
        + LabApi
        + BmcsApi
        + CloudApi
        + TasksApi
{
}

struct Shared<A> {
    api: Arc<A>,
    blobs: Blobs,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What handlers share.
struct Context<A>(Arc<Shared<A>>);

impl<A> Clone for Context<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The administrator's routes. `POST /v1/shutdown` cancels `stop`.
pub fn router<A: AdminApi>(
    api: Arc<A>,
    blobs: Blobs,
    tasks: Tasks,
    stop: CancellationToken,
) -> Router {
    let context = Context(Arc::new(Shared { api, blobs, tasks, stop }));
    let node = get(nodes::show::<A>).delete(nodes::remove::<A>);
    let maintenance =
        axum::routing::put(nodes::maintenance::<A>).delete(nodes::end_maintenance::<A>);
    let approval = axum::routing::put(disks::approve::<A>).delete(disks::withdraw::<A>);
    let image = get(images::show::<A>).put(images::register::<A>).delete(images::remove::<A>);
    let bmc = get(bmcs::show::<A>).post(bmcs::switch::<A>).delete(bmcs::remove::<A>);
    Router::new()
        .route("/v1/status", get(status::show::<A>))
        .route("/v1/shutdown", post(status::shutdown::<A>))
        .route("/v1/nodes", get(nodes::list::<A>).post(nodes::enrol::<A>))
        .route("/v1/nodes/{node}", node)
        .route("/v1/nodes/{node}/verbs", post(nodes::request::<A>))
        .route("/v1/nodes/{node}/identity", post(nodes::identity::<A>))
        .route("/v1/nodes/{node}/disks", get(disks::show::<A>))
        .route("/v1/nodes/{node}/approval", approval)
        .route("/v1/nodes/{node}/maintenance", maintenance)
        .route("/v1/events", get(events::list::<A>))
        .route("/v1/images", get(images::list::<A>))
        .route("/v1/images/{name}", image)
        .route("/v1/containers", get(containers::list::<A>).put(containers::register::<A>))
        .route("/v1/containers/{name}", get(containers::show::<A>))
        .route("/v1/lab", get(lab::list::<A>))
        .route("/v1/lab/{machine}", post(lab::request::<A>))
        .route("/v1/bmcs", get(bmcs::list::<A>).post(bmcs::add::<A>))
        .route("/v1/bmcs/{domain}", bmc)
        .route("/v1/cloud/plan", post(cloud::plan::<A>))
        .route("/v1/cloud/approval", post(disks::approve_cloud::<A>))
        .route("/v1/cloud/access", get(cloud::access::<A>))
        .route("/v1/cloud/deployments", get(cloud::list::<A>))
        .route("/v1/cloud/deployments/{number}", get(cloud::show::<A>))
        .route(
            "/v1/cloud/deployments/{number}/verification",
            axum::routing::put(cloud::verified::<A>),
        )
        .route("/v1/tasks", get(tasks::list::<A>).post(tasks::start::<A>))
        .route("/v1/tasks/{task}", get(tasks::show::<A>))
        .fallback(no_route)
        .layer(middleware::from_fn(local_only))
        .with_state(context)
}

async fn no_route(request: Request) -> ApiError {
    if request.uri().path().ends_with('/') {
        return ApiError::invalid("the name is empty");
    }
    ApiError::not_found("there is no such route")
}

/// Refuses what did not come through the unix socket; of the rest it says who asks.
async fn local_only(peer: Peer, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let Peer { address: None, process: Some(Process { uid, pid }) } = peer else {
        return Err(ApiError::new(ErrorKind::Denied, "this is served on the unix socket alone"));
    };
    let says = request.headers().get(SPEAKS_FOR).map(|name| name.to_str().unwrap_or_default());
    let caller = Caller::at_socket(uid, pid, says).map_err(ApiError::invalid)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests;
