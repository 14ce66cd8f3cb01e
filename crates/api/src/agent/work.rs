//! `POST /agent/v1/poll|progress|report`: heartbeats, orders and their outcomes.

use axum::{Json, body::Body, extract::State};
use http::StatusCode;
use undercloud_model::agent::{Poll, PollReply, Progress, Report};

use super::{AgentDesk, AnyVersion, Caller, Office, understood};
use crate::{
    ApiError,
    body::{self, JsonBody},
};

pub(super) async fn poll<D: AgentDesk>(
    State(office): State<Office<D>>,
    caller: Caller,
    body: Body,
) -> Result<Json<PollReply>, ApiError> {
    let bytes = body::read(body).await?;
    // The version first: another version's poll may have another shape.
    let theirs = body::parse::<AnyVersion>(&bytes)?.protocol;
    if let Err(refused) = understood(theirs) {
        office.0.desk.not_understood(caller, theirs).await;
        return Err(refused);
    }
    let poll: Poll = body::parse(&bytes)?;
    office.0.desk.poll(caller, poll).await.map(Json)
}

pub(super) async fn progress<D: AgentDesk>(
    State(office): State<Office<D>>,
    caller: Caller,
    JsonBody(progress): JsonBody<Progress>,
) -> Result<StatusCode, ApiError> {
    office.0.desk.progress(caller, progress).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn report<D: AgentDesk>(
    State(office): State<Office<D>>,
    caller: Caller,
    JsonBody(report): JsonBody<Report>,
) -> Result<StatusCode, ApiError> {
    office.0.desk.report(caller, report).await?;
    Ok(StatusCode::NO_CONTENT)
}
