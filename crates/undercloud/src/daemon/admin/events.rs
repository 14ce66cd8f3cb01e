//! The timeline, as the store has it.

use std::collections::BTreeSet;

use tokio::sync::watch;
use undercloud_api::{
    ApiError,
    admin::{Event, EventPage, EventQuery, EventsApi, Severity},
};
use undercloud_model::NodeId;
use undercloud_store::{self as store, EventKind, Scope};

use super::Admin;
use crate::daemon::agents::api_error;

impl EventsApi for Admin {
    async fn events(&self, query: EventQuery) -> Result<EventPage, ApiError> {
        let scope = match (query.node, query.deployment) {
            (Some(node), _) => Scope::Node(node),
            (None, Some(number)) => {
                self.clouds.exists(number).await?;
                Scope::Deployment(number)
            }
            (None, None) => Scope::All,
        };
        let found = self.store.events_since(scope, query.after, query.limit).await;
        let found = found.map_err(api_error)?;
        let whose: BTreeSet<NodeId> = found.iter().filter_map(|event| event.node).collect();
        let names = self.store.names_of(&whose).await.map_err(api_error)?;
        let events: Vec<Event> = found
            .into_iter()
            .map(|e| {
                let name = e.node.and_then(|id| names.get(&id)).map(ToString::to_string);
                event(e, name)
            })
            .collect();
        let next = events.last().map_or(query.after, |e| e.cursor);
        Ok(EventPage { events, next })
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }
}

fn event(event: store::TimelineEvent, name: Option<String>) -> Event {
    Event {
        cursor: event.id,
        at: event.at_ms,
        node: event.node,
        name,
        topic: topic(event.kind).to_owned(),
        severity: match event.severity {
            store::Severity::Info => Severity::Info,
            store::Severity::Warning => Severity::Warning,
            store::Severity::Error => Severity::Error,
        },
        text: match event.times {
            1 => event.text,
            times => format!("{} ({times} times)", event.text),
        },
        data: event.data.unwrap_or_default(),
        deployment: event.run.map(|run| run.deployment),
        run: event.run.map(|run| run.attempt),
        visit: event.visit,
        request: event.request,
        cause: event.cause,
        times: event.times,
    }
}

fn topic(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Request => "request",
        EventKind::Node => "node",
        EventKind::State => "transition",
        EventKind::Action => "action",
        EventKind::Power => "power",
        EventKind::Netboot => "netboot",
        EventKind::Agent => "agent",
        EventKind::Security => "security",
        EventKind::Failure => "failure",
        EventKind::Cloud => "cloud",
    }
}
