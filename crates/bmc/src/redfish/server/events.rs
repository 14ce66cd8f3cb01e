//! Events: changes of power, sent to whoever listens (DSP0266, 12): as a stream, or by a POST to
//! an address that a client gave.
//!
//! Nobody listening costs nothing: a subscription watches its machines itself. It lives as long
//! as the login it was made with, and can be deleted.

mod post;

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
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Down the connection that asked for them.
    Stream,
    /// To an address, with a text that the client chose.
    Post { address: String, context: Option<String> },
}

/// Who listens.
#[derive(Clone)]
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) login: Digest,
    pub(super) target: Target,
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
    posts: TaskTracker,
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
        let (_, stop, events) = self.subscribe(who, site, login, Target::Stream)?;
        let opened = stream::once(std::future::ready(Bytes::from_static(b":\n\n")));
        let lines = events.map(|event| match event {
            None => Bytes::from_static(b":\n\n"),
            Some((number, event)) => {
                format!("id: {number}\ndata: {}\n\n", event.to_json(number, None)).into()
            }
        });
        Some(opened.chain(lines).take_until(stop.cancelled_owned()).boxed())
    }

    /// Sends what happens to `address` until the subscription is deleted; `None` when there are
    /// too many.
    pub(super) fn post(
        &self,
        who: &Principal,
        site: &Site,
        login: &Arc<Login>,
        address: String,
        context: Option<String>,
    ) -> Option<Subscriber> {
        let target = Target::Post { address: address.clone(), context: context.clone() };
        let (id, stop, events) = self.subscribe(who, site, login, target)?;
        let bodies = events.filter_map(move |event| {
            let body = event.map(|(number, event)| event.to_json(number, context.as_deref()));
            std::future::ready(body)
        });
        let bodies = bodies.take_until(stop.cancelled_owned()).boxed();
        self.posts.spawn(post::deliver(address, bodies));
        self.list().into_iter().find(|subscriber| subscriber.id == id)
    }

    /// Puts a subscription on the list. It is off the list when its stream is dropped.
    fn subscribe(
        &self,
        who: &Principal,
        site: &Site,
        login: &Arc<Login>,
        target: Target,
    ) -> Option<(u64, CancellationToken, BoxStream<'static, Numbered>)> {
        let stop = CancellationToken::new();
        let id = self.with(|subscribers| {
            let own = subscribers.open.values().filter(|s| s.login == who.digest).count();
            if subscribers.open.len() >= STREAMS_MAX || own >= STREAMS_PER_LOGIN_MAX {
                return None;
            }
            subscribers.next += 1;
            let (id, user, login) = (subscribers.next, who.user.clone(), who.digest);
            let subscriber = Subscriber { id, user, login, target, stop: stop.clone() };
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
            *count += u64::from(event.is_some());
            let number = *count;
            std::future::ready(Some(event.map(|event| (number, event))))
        });
        Some((id, stop, numbered.boxed()))
    }
}

/// An event with its number in the subscription, or a sign of life.
type Numbered = Option<(u64, Change)>;

/// A machine was switched.
struct Change {
    unit: String,
    power: PowerState,
}

impl Change {
    fn to_json(&self, number: u64, context: Option<&str>) -> Value {
        let (id, text) = match self.power {
            PowerState::On => ("ResourcePoweredOn", "powered on"),
            PowerState::Off => ("ResourcePoweredOff", "powered off"),
        };
        let path = format!("/redfish/v1/Systems/{}", self.unit);
        let mut event = json!({
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
        if let Some(context) = context {
            event["Context"] = context.into();
        }
        event
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
