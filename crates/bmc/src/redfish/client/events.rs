//! The stream of events of a service (server-sent events).

use std::fmt;

use http::{HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::{Client, ClientError, link_error, link_of};
use crate::{
    machine::PowerState,
    redfish::link::{Link, LinkError},
};

/// Longest event.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// A change of power, as the service tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerEvent {
    /// The address of the system.
    pub system: String,
    /// What it is now.
    pub power: PowerState,
}

/// Events as they come; over a connection of their own.
pub struct EventStream {
    link: Link,
    body: Incoming,
    text: Vec<u8>,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl Client {
    /// Listens. After a stream has ended, read the state before opening the next: what happened
    /// in between is not told.
    ///
    /// # Errors
    /// [`ClientError`]; of kind `NotFound` when the service has no stream.
    pub async fn events(&self) -> Result<EventStream, ClientError> {
        let none = || ClientError::NotOffered { what: "event stream".into() };
        let service = link_of(&self.root["EventService"]).ok_or_else(none)?;
        let service = self.get(&service).await?.body;
        let path = service["ServerSentEventUri"].as_str().ok_or_else(none)?;
        let mut request = self.request(&Method::GET, path, None, None)?;
        let accept = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, accept);
        self.authorize(&mut request).await;
        let _turn = self.gate.turn().await;
        let broken = |source| link_error("listen", source);
        let mut link = self.open().await.map_err(broken)?;
        let answer = link.begin(request, self.config.deadline).await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(ClientError::Refused {
                operation: "listen".into(),
                status: answer.status().as_u16(),
                message: "no stream".into(),
                message_id: String::new(),
            });
        }
        Ok(EventStream { link, body: answer.into_body(), text: Vec::new() })
    }
}

impl EventStream {
    /// The next change of power; `None` when the stream has ended. May be dropped between events
    /// without losing one.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<PowerEvent>, ClientError> {
        loop {
            while let Some(event) = self.take() {
                if let Some(event) = power(&event) {
                    return Ok(Some(event));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let malformed = || ClientError::Malformed { operation: "listen".into(), field: "data" };
            let frame = frame.map_err(|_| malformed())?;
            if let Ok(data) = frame.into_data() {
                if self.text.len() + data.len() > EVENT_BYTES_MAX {
                    let endpoint = self.link.endpoint().clone();
                    return Err(link_error("listen", LinkError::TooLarge { endpoint }));
                }
                // Lines may end either way.
                self.text.extend(data.iter().filter(|byte| **byte != b'\r'));
            }
        }
    }

    /// Takes one whole event out of the text: all up to an empty line, its `data` lines joined.
    fn take(&mut self) -> Option<Value> {
        let end = self.text.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.text.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block).into_owned();
        let data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        Some(serde_json::from_str(&data.join("\n")).unwrap_or_default())
    }
}

fn power(event: &Value) -> Option<PowerEvent> {
    event["Events"].as_array()?.iter().find_map(|record| {
        let power = match record["MessageId"].as_str()?.rsplit('.').next()? {
            "ResourcePoweredOn" => PowerState::On,
            "ResourcePoweredOff" => PowerState::Off,
            _ => return None,
        };
        Some(PowerEvent { system: link_of(&record["OriginOfCondition"])?, power })
    })
}
