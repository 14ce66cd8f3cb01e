//! `/v1/bmcs`: virtual BMCs of libvirt's domains, where VirtualBMC had them.

use std::net::IpAddr;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use undercloud_model::{Secret, expose_on_the_wire};

use super::{AdminDesk, Office};
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

pub(super) async fn list<D: AdminDesk>(
    State(office): State<Office<D>>,
) -> Result<Json<Vec<BmcView>>, ApiError> {
    office.0.desk.bmcs().await.map(Json)
}

pub(super) async fn add<D: AdminDesk>(
    State(office): State<Office<D>>,
    JsonBody(request): JsonBody<BmcRequest>,
) -> Result<(StatusCode, Json<BmcView>), ApiError> {
    let view = office.0.desk.add_bmc(request).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn show<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(domain): Path<String>,
    Query(query): Query<BmcQuery>,
) -> Result<Json<BmcView>, ApiError> {
    office.0.desk.bmc(&domain, query).await.map(Json)
}

pub(super) async fn switch<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(domain): Path<String>,
    JsonBody(order): JsonBody<BmcOrder>,
) -> Result<Json<BmcView>, ApiError> {
    office.0.desk.switch_bmc(&domain, order.switch).await.map(Json)
}

pub(super) async fn remove<D: AdminDesk>(
    State(office): State<Office<D>>,
    Path(domain): Path<String>,
) -> Result<StatusCode, ApiError> {
    office.0.desk.remove_bmc(&domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
