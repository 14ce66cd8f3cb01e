//! `POST /agent/v1/poll|progress|report`: heartbeats, orders and their outcomes.

use axum::{Json, extract::State};
use http::StatusCode;
use undercloud_model::agent::{Poll, PollReply, Progress, Report};

use super::{AgentDesk, Caller, Office, same_version};
use crate::{ApiError, body::JsonBody};

pub(super) async fn poll<D: AgentDesk>(
    State(office): State<Office<D>>,
    caller: Caller,
    JsonBody(poll): JsonBody<Poll>,
) -> Result<Json<PollReply>, ApiError> {
    same_version(poll.protocol)?;
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
