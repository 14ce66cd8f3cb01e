//! `/v1/bmcs`: virtual BMCs of libvirt's domains, where VirtualBMC had them.

use std::net::IpAddr;

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use undercloud_model::{Caller, Secret, expose_on_the_wire};

use super::Context;
use crate::{ApiError, body::JsonBody};

/// A virtual BMC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcView {
    /// The domain behind it.
    pub domain_name: String,
    /// The domain's UUID: the machine's GUID.
    pub domain_uuid: String,
    /// Whether it answers.
    pub status: BmcStatus,
    /// Where it listens.
    pub address: IpAddr,
    /// The port (UDP) of IPMI.
    pub port: u16,
    /// Which libvirt has the domain.
    pub libvirt_uri: String,
    /// Its first user.
    pub username: String,
    /// That user's password, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    pub password: Option<Secret>,
    /// Where Redfish has the machine, while the BMC runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

fn expose_some<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose_on_the_wire(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Whether a BMC answers; VirtualBMC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BmcStatus {
    /// It does.
    Running,
    /// It was not started, or was stopped.
    Down,
    /// It should, and does not, or has no domain to answer for.
    Error,
}

impl BmcStatus {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Down => "down",
            Self::Error => "error",
        }
    }
}

/// A BMC that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcRequest {
    /// The domain, by name or UUID.
    pub domain_name: String,
    /// Which libvirt has it.
    pub libvirt_uri: String,
    /// Where to listen.
    pub address: IpAddr,
    /// The port (UDP); a free one of this state if none is given.
    pub port: Option<u16>,
    /// Its first user.
    pub username: String,
}

/// What to do with a BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcOrder {
    /// Its switch.
    pub switch: BmcSwitch,
}

/// Whether a BMC is to answer, now and after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BmcSwitch {
    /// It is.
    Start,
    /// It is not.
    Stop,
}

/// What else is wanted of a BMC's view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmcQuery {
    /// The password too.
    #[serde(default)]
    pub password: bool,
}

/// Virtual BMCs of libvirt's domains.
///
/// Implemented by the binary.
pub trait BmcsApi: Send + Sync + 'static {
    /// The virtual BMCs of libvirt's domains, ordered by domain.
    fn bmcs(&self) -> impl Future<Output = Result<Vec<BmcView>, ApiError>> + Send;

    /// One of them.
    fn bmc(
        &self,
        domain: &str,
        query: BmcQuery,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Makes one, not started; the view has its password.
    fn add_bmc(
        &self,
        caller: &Caller,
        request: BmcRequest,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Starts or stops one, now and for after a restart.
    fn switch_bmc(
        &self,
        caller: &Caller,
        domain: &str,
        switch: BmcSwitch,
    ) -> impl Future<Output = Result<BmcView, ApiError>> + Send;

    /// Takes one away; the domain stays.
    fn remove_bmc(
        &self,
        caller: &Caller,
        domain: &str,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;
}

pub(super) async fn list<A: BmcsApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<BmcView>>, ApiError> {
    context.0.api.bmcs().await.map(Json)
}

pub(super) async fn add<A: BmcsApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    JsonBody(request): JsonBody<BmcRequest>,
) -> Result<(StatusCode, Json<BmcView>), ApiError> {
    let view = context.0.api.add_bmc(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn show<A: BmcsApi>(
    State(context): State<Context<A>>,
    Path(domain): Path<String>,
    Query(query): Query<BmcQuery>,
) -> Result<Json<BmcView>, ApiError> {
    context.0.api.bmc(&domain, query).await.map(Json)
}

pub(super) async fn switch<A: BmcsApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(domain): Path<String>,
    JsonBody(order): JsonBody<BmcOrder>,
) -> Result<Json<BmcView>, ApiError> {
    context.0.api.switch_bmc(&caller, &domain, order.switch).await.map(Json)
}

pub(super) async fn remove<A: BmcsApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(domain): Path<String>,
) -> Result<StatusCode, ApiError> {
    context.0.api.remove_bmc(&caller, &domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
