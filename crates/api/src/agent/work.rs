//! `POST /agent/v1/poll|progress|report`: heartbeats, orders and their outcomes.

use axum::{Json, body::Body, extract::State};
use http::StatusCode;
use undercloud_model::agent::{Poll, PollReply, Progress, Report};

use super::{AgentApi, AnyVersion, CallingAgent, Context, understood};
use crate::{
    ApiError,
    body::{self, JsonBody},
};

pub(super) async fn poll<A: AgentApi>(
    State(context): State<Context<A>>,
    caller: CallingAgent,
    body: Body,
) -> Result<Json<PollReply>, ApiError> {
    let bytes = body::read(body).await?;
    // The version first: another version's poll may have another shape.
    let theirs = body::parse::<AnyVersion>(&bytes)?.protocol;
    if let Err(refused) = understood(theirs) {
        context.0.api.not_understood(caller, theirs).await;
        return Err(refused);
    }
    let poll: Poll = body::parse(&bytes)?;
    context.0.api.poll(caller, poll).await.map(Json)
}

pub(super) async fn progress<A: AgentApi>(
    State(context): State<Context<A>>,
    caller: CallingAgent,
    JsonBody(progress): JsonBody<Progress>,
) -> Result<StatusCode, ApiError> {
    context.0.api.progress(caller, progress).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn report<A: AgentApi>(
    State(context): State<Context<A>>,
    caller: CallingAgent,
    JsonBody(report): JsonBody<Report>,
) -> Result<StatusCode, ApiError> {
    context.0.api.report(caller, report).await?;
    Ok(StatusCode::NO_CONTENT)
}
