//! Events: changes of power, sent to whoever listens (DSP0266, 12.5: server-sent events).
//!
//! Nobody listening costs nothing: a stream watches its machines itself. It lives as long as the
//! login it was opened with, and appears as a subscription that can be deleted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    login::{Digest, Login, Principal},
    service::timestamp,
    site::{Site, Unit},
};
use crate::machine::PowerState;

/// The address of the stream.
pub(super) const STREAM: &str = "/redfish/v1/EventService/SSE";
/// The registry of the messages in events.
pub(super) const REGISTRY: &str = "ResourceEvent.1.3";
/// Streams at once.
pub(super) const STREAMS_MAX: usize = 256;
/// Streams at once of one login.
const STREAMS_PER_LOGIN_MAX: usize = 16;
/// A line that says nothing, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// An open stream.
#[derive(Clone)]
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) login: Digest,
    stop: CancellationToken,
}

#[derive(Default)]
struct Subscribers {
    next: u64,
    open: BTreeMap<u64, Subscriber>,
}

/// The open streams.
#[derive(Clone, Default)]
pub(super) struct Events {
    subscribers: Arc<Mutex<Subscribers>>,
}

/// Takes a stream off the list when it ends, however it ends.
struct Listed {
    events: Events,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.events.with(|subscribers| subscribers.open.remove(&self.id));
    }
}

impl Events {
    fn with<T>(&self, f: impl FnOnce(&mut Subscribers) -> T) -> T {
        f(&mut self.subscribers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn list(&self) -> Vec<Subscriber> {
        self.with(|subscribers| subscribers.open.values().cloned().collect())
    }

    /// Ends a stream.
    pub(super) fn close(&self, id: u64) {
        let subscriber = self.with(|subscribers| subscribers.open.remove(&id));
        if let Some(subscriber) = subscriber {
            subscriber.stop.cancel();
        }
    }

    /// Ends all of them.
    pub(super) fn close_all(&self) {
        for subscriber in self.list() {
            subscriber.stop.cancel();
        }
    }

    /// A stream of what happens to the machines that `who` sees; `None` when too many listen.
    pub(super) fn open(
        &self,
        who: &Principal,
        site: &Site,
        login: &Arc<Login>,
    ) -> Option<BoxStream<'static, Bytes>> {
        let stop = CancellationToken::new();
        let id = self.with(|subscribers| {
            let own = subscribers.open.values().filter(|s| s.login == who.digest).count();
            if subscribers.open.len() >= STREAMS_MAX || own >= STREAMS_PER_LOGIN_MAX {
                return None;
            }
            subscribers.next += 1;
            let (id, user, login) = (subscribers.next, who.user.clone(), who.digest);
            let subscriber = Subscriber { id, user, login, stop: stop.clone() };
            subscribers.open.insert(id, subscriber);
            Some(id)
        })?;
        let listed = Listed { events: self.clone(), id };
        let (login, digest) = (login.clone(), who.digest);
        let watched = who.units(site).into_iter().filter_map(|unit| changes(&unit)).collect();
        let events = stream::select(stream::select_all::<Vec<_>>(watched), keep_alive());
        let numbered = events.scan(0u64, move |count, event| {
            let _ = &listed;
            // A login that is no more hears no more.
            if login.principal(digest, Instant::now()).is_none() {
                return std::future::ready(None);
            }
            std::future::ready(Some(event.map_or_else(
                || Bytes::from_static(b":\n\n"),
                |event| {
                    *count += 1;
                    event.to_bytes(*count)
                },
            )))
        });
        let opened = stream::once(std::future::ready(Bytes::from_static(b":\n\n")));
        Some(opened.chain(numbered).take_until(async move { stop.cancelled().await }).boxed())
    }
}

/// A machine was switched.
struct Change {
    unit: String,
    power: PowerState,
}

impl Change {
    fn to_bytes(&self, number: u64) -> Bytes {
        let (id, text) = match self.power {
            PowerState::On => ("ResourcePoweredOn", "powered on"),
            PowerState::Off => ("ResourcePoweredOff", "powered off"),
        };
        let path = format!("/redfish/v1/Systems/{}", self.unit);
        let event = json!({
            "@odata.type": "#Event.v1_9_0.Event",
            "Id": number.to_string(),
            "Name": "Power",
            "Events": [{
                "MemberId": "0",
                "EventType": "StatusChange",
                "EventId": number.to_string(),
                "EventTimestamp": timestamp(),
                "MessageId": format!("{REGISTRY}.{id}"),
                "Message": format!("The resource `{path}` has {text}."),
                "MessageArgs": [path],
                "MessageSeverity": "OK",
                "OriginOfCondition": { "@odata.id": path },
            }],
        });
        format!("id: {number}\ndata: {event}\n\n").into()
    }
}

type Happening = BoxStream<'static, Option<Change>>;

fn changes(unit: &Arc<Unit>) -> Option<Happening> {
    let mut power = unit.power_changes()?;
    let last = *power.borrow_and_update();
    let state: (watch::Receiver<PowerState>, PowerState, String) = (power, last, unit.id.clone());
    let changes = stream::unfold(state, |(mut receiver, mut last, unit)| async move {
        // A machine that is gone says nothing more. Only a change is an event: some observers
        // tell the same twice.
        loop {
            receiver.changed().await.ok()?;
            let power = *receiver.borrow_and_update();
            if power != last {
                last = power;
                let change = Change { unit: unit.clone(), power };
                return Some((Some(change), (receiver, last, unit)));
            }
        }
    });
    Some(changes.boxed())
}

fn keep_alive() -> Happening {
    stream::unfold((), |()| async {
        tokio::time::sleep(KEEP_ALIVE).await;
        Some((None, ()))
    })
    .boxed()
}
