//! `POST /agent/v1/hello`: a boot secret for a session key. The one route without a credential.

use axum::{Json, body::Body, extract::State};
use undercloud_model::{
    ErrorKind,
    agent::{Hello, Welcome},
};

use super::{AgentApi, AnyVersion, Context, understood};
use crate::{ApiError, body, serve::Peer};

pub(super) async fn hello<A: AgentApi>(
    State(context): State<Context<A>>,
    peer: Peer,
    body: Body,
) -> Result<Json<Welcome>, ApiError> {
    let shared = &context.0;
    shared.refused.check(peer.address, shared.clock.now())?;
    let hello = parse(&body::read(body).await?)?;
    let node = hello.node;
    let answer = shared.api.hello(hello, peer).await;
    if let Err(error) = &answer {
        tracing::warn!(%node, peer = ?peer.address, %error, "hello refused");
        if error.kind == ErrorKind::Denied {
            shared.refused.note(peer.address, shared.clock.now());
        }
    }
    answer.map(Json)
}

/// The version is looked at first: another version's hello may have another shape.
fn parse(bytes: &[u8]) -> Result<Hello, ApiError> {
    understood(body::parse::<AnyVersion>(bytes)?.protocol)?;
    body::parse(bytes)
}
