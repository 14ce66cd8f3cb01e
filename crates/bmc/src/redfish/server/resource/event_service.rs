//! The event service: a stream, and the list of those who listen.

use serde_json::{Value, json};

use super::{
    super::{
        events::{self, Subscriber, Target},
        login::Role,
        message::{self, Message, Refusal},
        patch::Body,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, Route},
    },
    collection, enabled, link, resource,
};
use crate::redfish::link::Endpoint;

const SERVICE: &str = "/redfish/v1/EventService";
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";

pub(super) const ROUTES: &[Route] = &[
    Route::new(SERVICE, show),
    Route::new(events::STREAM, listen),
    Route::new(SUBSCRIPTIONS, list).post(Needs::Role(Role::Operator), Handler::Now(subscribe)),
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
        // None; sushy wants to be told so.
        "Actions": {},
            "Status": enabled(),
        }),
    )))
}

fn listen(context: &Context<'_>) -> Answer {
    let service = context.service;
    let events = service.events.open(context.who()?, &service.site, &service.login);
    events.map(Reply::Events).ok_or_else(too_many)
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

fn body_of(subscriber: &Subscriber) -> Value {
    let (id, path) = (subscriber.id.to_string(), path(subscriber.id));
    let (kind, destination, text) = match &subscriber.target {
        Target::Stream => ("SSE", None, Some(subscriber.user.as_str())),
        Target::Post { address, context } => {
            ("RedfishEvent", Some(address.as_str()), context.as_deref())
        }
    };
    resource(
        "EventDestination",
        &path,
        &id,
        "Subscription",
        json!({
            "Destination": destination,
            "Context": text,
            "Protocol": "Redfish",
            "SubscriptionType": kind,
            "EventFormatType": "Event",
            "RegistryPrefixes": ["ResourceEvent"],
            "DeliveryRetryPolicy": "RetryForever",
            "VerifyCertificate": false,
            "Status": enabled(),
        }),
    )
}

fn subscription(context: &Context<'_>) -> Answer {
    Ok(Reply::Resource(body_of(&find(context)?)))
}

/// Longest address and longest text of a subscription.
const TEXT_BYTES_MAX: usize = 2048;

/// A list of texts, each of which must be one of `offered`; an empty one means all.
fn offered(body: &mut Body<'_>, name: &'static str, offered: &[&str]) -> Result<(), Refusal> {
    let Some(list) = body.list(name)? else { return Ok(()) };
    for item in list {
        let text = item.as_str().ok_or_else(|| body.wrong_type(name, item))?;
        if !offered.contains(&text) {
            return Err(body.not_in_list(name, text));
        }
    }
    Ok(())
}

fn subscribe(context: &Context<'_>) -> Answer {
    let mut body = Body::of_resource(context.body);
    let address = body.text("Destination")?;
    let address = address.ok_or_else(|| body.missing("Destination"))?;
    if address.len() > TEXT_BYTES_MAX || Endpoint::split(address).is_err() {
        return Err(body.bad_format("Destination", address));
    }
    body.choice("Protocol", &[("Redfish", ())])?.ok_or_else(|| body.missing("Protocol"))?;
    body.choice("SubscriptionType", &[("RedfishEvent", ())])?;
    body.choice("EventFormatType", &[("Event", ())])?;
    body.choice("DeliveryRetryPolicy", &[("RetryForever", ())])?;
    if body.truth("VerifyCertificate")? == Some(true) {
        return Err(body.not_in_list("VerifyCertificate", "true"));
    }
    let text = body.nullable("Context")?.flatten();
    if let Some(long) = text.filter(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(body.bad_format("Context", long));
    }
    // Every event is of these kinds, so that whoever wants one of them gets what there is.
    offered(&mut body, "EventTypes", &["StatusChange", "Alert", "ResourceUpdated"])?;
    offered(&mut body, "RegistryPrefixes", &["ResourceEvent"])?;
    offered(&mut body, "ResourceTypes", &["ComputerSystem"])?;
    body.finish(&Value::Null)?;
    let service = context.service;
    let (address, text) = (address.to_owned(), text.map(str::to_owned));
    let who = context.who()?;
    let made = service.events.post(who, &service.site, &service.login, address, text);
    let subscriber = made.ok_or_else(too_many)?;
    Ok(Reply::Created { path: path(subscriber.id), body: body_of(&subscriber), token: None })
}

fn too_many() -> Refusal {
    let message = Message::new(message::LIMIT_EXCEEDED, &[]);
    Refusal::new(http::StatusCode::TOO_MANY_REQUESTS, message)
}

fn close(context: &Context<'_>) -> Answer {
    context.service.events.close(find(context)?.id);
    Ok(Reply::Done)
}
