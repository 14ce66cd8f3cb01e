//! The event service: a stream, and the list of those who listen.

use serde_json::{Value, json};

use super::{
    super::{
        events::{self, Subscriber},
        login::Role,
        message::{self, Message, Refusal},
        reply::Reply,
        route::{Answer, Context, Handler, Needs, Route},
    },
    collection, enabled, link, resource,
};

const SERVICE: &str = "/redfish/v1/EventService";
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, show),
    Route::new(events::STREAM, listen),
    Route::new(SUBSCRIPTIONS, list),
    Route::new("/redfish/v1/EventService/Subscriptions/{}", subscription)
        .delete(Needs::Role(Role::ReadOnly), Handler::Now(close)),
];

fn show(_: &Context<'_>) -> Answer {
    Ok(Reply::Resource(resource(
        "EventService",
        SERVICE,
        "EventService",
        "Events",
        json!({
            "ServiceEnabled": true,
            "ServerSentEventUri": events::STREAM,
            "EventFormatTypes": ["Event"],
            "RegistryPrefixes": ["ResourceEvent"],
            "ResourceTypes": ["ComputerSystem"],
            "SSEFilterPropertiesSupported": {
                "EventFormatType": false,
                "MessageId": false,
                "MetricReportDefinition": false,
                "OriginResource": false,
                "RegistryPrefix": false,
                "ResourceType": false,
            },
            "Subscriptions": link(SUBSCRIPTIONS),
            "Status": enabled(),
        }),
    )))
}

fn listen(context: &Context<'_>) -> Answer {
    let service = context.service;
    let events = service.events.open(context.who()?, &service.site, &service.login);
    events.map(Reply::Events).ok_or_else(|| {
        let message = Message::new(message::LIMIT_EXCEEDED, &[]);
        Refusal::new(http::StatusCode::TOO_MANY_REQUESTS, message)
    })
}

/// The streams of the caller's own login, and all for who administers everything.
fn visible(context: &Context<'_>) -> Result<Vec<Subscriber>, Refusal> {
    let who = context.who()?;
    let all = who.administers_all(&context.service.site);
    let mut subscribers = context.service.events.list();
    subscribers.retain(|subscriber| all || subscriber.login == who.digest);
    Ok(subscribers)
}

fn path(id: u64) -> String {
    format!("{SUBSCRIPTIONS}/{id}")
}

fn list(context: &Context<'_>) -> Answer {
    let members: Vec<String> = visible(context)?.iter().map(|s| path(s.id)).collect();
    let (schema, name) = ("EventDestinationCollection", "Subscriptions");
    Ok(Reply::Resource(collection(schema, SUBSCRIPTIONS, name, &members)))
}

fn find(context: &Context<'_>) -> Result<Subscriber, Refusal> {
    let id = context.argument(0);
    let found = visible(context)?.into_iter().find(|s| s.id.to_string() == id);
    found.ok_or_else(|| context.missing())
}

fn subscription(context: &Context<'_>) -> Answer {
    let subscriber = find(context)?;
    let (id, path) = (subscriber.id.to_string(), path(subscriber.id));
    Ok(Reply::Resource(resource(
        "EventDestination",
        &path,
        &id,
        "Stream",
        json!({
            "Destination": Value::Null,
            "Context": subscriber.user,
            "Protocol": "Redfish",
            "SubscriptionType": "SSE",
            "EventFormatType": "Event",
            "RegistryPrefixes": ["ResourceEvent"],
            "Status": enabled(),
        }),
    )))
}

fn close(context: &Context<'_>) -> Answer {
    context.service.events.close(find(context)?.id);
    Ok(Reply::Done)
}
