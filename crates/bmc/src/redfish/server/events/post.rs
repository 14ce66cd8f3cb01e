//! Delivers the events of one subscription to its address.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::redfish::link::{Endpoint, Link, LinkError, Trust};

/// How long one delivery may take.
const DELIVERY_MAX: Duration = Duration::from_secs(10);
/// The pause after a failed delivery: doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Nobody reads what the other end answers.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Events that wait for an address that does not answer; then the oldest goes.
const WAITING_MAX: usize = 256;

/// Sends one event after the other, each until it has arrived.
pub(super) async fn deliver(address: String, mut bodies: BoxStream<'static, Value>) {
    let Ok((endpoint, path)) = Endpoint::split(&address) else { return };
    let mut waiting: VecDeque<Value> = VecDeque::new();
    let mut pause = PAUSE.0;
    loop {
        let Some(body) = waiting.front() else {
            let Some(body) = bodies.next().await else { return };
            waiting.push_back(body);
            continue;
        };
        match post(&endpoint, &path, body).await {
            Ok(()) => {
                waiting.pop_front();
                pause = PAUSE.0;
            }
            Err(error) => {
                tracing::debug!(%error, "event not delivered");
                if !rest(pause, &mut bodies, &mut waiting).await {
                    return;
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Gathers events for a while; `false` when the subscription ended.
async fn rest(
    pause: Duration,
    bodies: &mut BoxStream<'static, Value>,
    waiting: &mut VecDeque<Value>,
) -> bool {
    let end = Instant::now() + pause;
    loop {
        match timeout_at(end, bodies.next()).await {
            Ok(Some(body)) => {
                if waiting.len() >= WAITING_MAX {
                    waiting.pop_front();
                }
                waiting.push_back(body);
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

async fn post(endpoint: &Endpoint, path: &str, body: &Value) -> Result<(), LinkError> {
    let mut link = Link::open(endpoint, &Trust::Anybody, DELIVERY_MAX).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header("odata-version", "4.0")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|_| LinkError::Address { text: path.to_owned() })?;
    // Whatever the other end makes of it, it has it.
    link.send(request, DELIVERY_MAX, ANSWER_BYTES_MAX).await.map(drop)
}
