//! Virtual media: an image from http or https as a CD or a USB stick.
//!
//! A drive has two addresses, below its system and below its manager, since clients of both
//! generations of the standard look in either. Whether and when the image is fetched is the
//! machine's business; that an image is accepted here means that the machine accepted it. A machine
//! has the drives that it says it has, which may be none.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    super::{
        login::Role,
        message::{self, Refusal},
        patch::Body,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, PREFIX, Route},
        service::unreadable,
    },
    collection, reset, resource,
};
use crate::machine::{Media, MediaSlot};

const OPERATOR: Needs = Needs::Role(Role::Operator);

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems/{unit}/VirtualMedia", list),
    Route::asking("/redfish/v1/Systems/{unit}/VirtualMedia/{}", show)
        .patch(OPERATOR, Handler::Later(change)),
    Route::action(
        "/redfish/v1/Systems/{unit}/VirtualMedia/{}/Actions/VirtualMedia.InsertMedia",
        OPERATOR,
        Handler::Later(insert),
    ),
    Route::action(
        "/redfish/v1/Systems/{unit}/VirtualMedia/{}/Actions/VirtualMedia.EjectMedia",
        OPERATOR,
        Handler::Later(eject),
    ),
    Route::new("/redfish/v1/Managers/{unit}/VirtualMedia", list),
    Route::asking("/redfish/v1/Managers/{unit}/VirtualMedia/{}", show)
        .patch(OPERATOR, Handler::Later(change)),
    Route::action(
        "/redfish/v1/Managers/{unit}/VirtualMedia/{}/Actions/VirtualMedia.InsertMedia",
        OPERATOR,
        Handler::Later(insert),
    ),
    Route::action(
        "/redfish/v1/Managers/{unit}/VirtualMedia/{}/Actions/VirtualMedia.EjectMedia",
        OPERATOR,
        Handler::Later(eject),
    ),
];

/// Longest address of an image.
const IMAGE_BYTES_MAX: usize = 2048;

fn facts(slot: MediaSlot) -> (&'static str, &'static str, &'static [&'static str]) {
    match slot {
        MediaSlot::Cd => ("Cd", "Virtual CD", &["CD", "DVD"]),
        MediaSlot::UsbStick => ("UsbStick", "Virtual USB stick", &["USBStick"]),
    }
}

/// `Systems` or `Managers`: where the request came in.
fn branch(context: &Context<'_>) -> &'static str {
    if context.path.starts_with("/redfish/v1/Systems/") { "Systems" } else { "Managers" }
}

fn list(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let path = format!("{PREFIX}/{}/{}/VirtualMedia", branch(context), unit.id);
    let slots = unit.machine.media_slots();
    if slots.is_empty() {
        return Err(context.missing());
    }
    let members: Vec<String> =
        slots.iter().map(|slot| format!("{path}/{}", facts(*slot).0)).collect();
    let (schema, name) = ("VirtualMediaCollection", "Virtual media");
    Ok(Reply::Resource(collection(schema, &path, name, &members)))
}

fn slot(context: &Context<'_>) -> Result<MediaSlot, Refusal> {
    let slots = context.unit()?.machine.media_slots();
    let found = slots.iter().copied().find(|slot| facts(*slot).0 == context.argument(1));
    found.ok_or_else(|| context.missing())
}

fn show<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let (unit, slot) = (context.unit()?, slot(context)?);
        let media = unit.machine.media(slot).await.map_err(|error| unreadable(&error))?;
        let (id, name, types) = facts(slot);
        let path = format!("{PREFIX}/{}/{}/VirtualMedia/{id}", branch(context), unit.id);
        let image = media.as_ref().map(|media| media.image.as_str());
        let file = image.and_then(|image| image.rsplit('/').next());
        let actions = format!("{path}/Actions/VirtualMedia");
        Ok(Reply::Resource(resource(
            "VirtualMedia",
            &path,
            id,
            name,
            json!({
                "MediaTypes": types,
                "Image": image,
                "ImageName": file.filter(|file| !file.is_empty()),
                "Inserted": media.is_some(),
                "WriteProtected": media.as_ref().map(|media| media.write_protected),
                "ConnectedVia": if media.is_some() { "URI" } else { "NotConnected" },
                "TransferMethod": media.as_ref().map(|_| "Stream"),
                "TransferProtocolType": image.map(protocol),
                "Actions": {
                    "#VirtualMedia.InsertMedia": {
                        "target": format!("{actions}.InsertMedia"),
                        "TransferMethod@Redfish.AllowableValues": ["Stream"],
                        "TransferProtocolType@Redfish.AllowableValues": ["HTTP", "HTTPS"],
                    },
                    "#VirtualMedia.EjectMedia": { "target": format!("{actions}.EjectMedia") },
                },
            }),
        )))
    })
}

fn protocol(image: &str) -> &'static str {
    if image.starts_with("https:") { "HTTPS" } else { "HTTP" }
}

/// An address that a machine could fetch: http or https, a host, nothing invisible.
fn is_image(image: &str) -> bool {
    let rest = image.strip_prefix("http://").or_else(|| image.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let visible = image.chars().all(|c| c.is_ascii_graphic());
    image.len() <= IMAGE_BYTES_MAX && !host.is_empty() && !host.starts_with(':') && visible
}

/// What InsertMedia asks for.
fn parse(context: &Context<'_>, slot: MediaSlot) -> Result<Media, Refusal> {
    let mut body = Body::of_action(context.body, "VirtualMedia.InsertMedia");
    let image = body.text("Image")?;
    let image = image.ok_or_else(|| body.missing("Image"))?;
    if !is_image(image) {
        return Err(body.bad_format("Image", image));
    }
    let inserted = body.truth("Inserted")?.unwrap_or(true);
    if !inserted {
        return Err(body.not_in_list("Inserted", "false"));
    }
    let write_protected = body.truth("WriteProtected")?.unwrap_or(true);
    if slot == MediaSlot::Cd && !write_protected {
        return Err(body.not_in_list("WriteProtected", "false"));
    }
    body.choice("TransferMethod", &[("Stream", ())])?;
    let protocols = [("HTTP", "HTTP"), ("HTTPS", "HTTPS")];
    if let Some(named) = body.choice("TransferProtocolType", &protocols)?
        && named != protocol(image)
    {
        return Err(body.not_in_list("TransferProtocolType", named));
    }
    // A machine's owner fetches the image, without credentials: silence would be a lie.
    for name in ["UserName", "Password"] {
        if body.nullable(name)?.flatten().is_some_and(|text| !text.is_empty()) {
            let action = "VirtualMedia.InsertMedia";
            return Err(Refusal::bad(message::PARAMETER_UNSUPPORTED, &[name, action]));
        }
    }
    body.finish(&Value::Null)?;
    Ok(Media { image: image.to_owned(), write_protected })
}

fn insert<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let slot = slot(context)?;
        let media = parse(context, slot)?;
        let there = context.unit()?.machine.media(slot).await;
        if there.map_err(|error| unreadable(&error))?.is_some_and(|there| there != media) {
            return Err(Refusal::conflict(message::IN_USE, &[]));
        }
        set(context, slot, Some(media), "VirtualMedia.InsertMedia").await
    })
}

fn eject<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let body = Body::of_action(context.body, "VirtualMedia.EjectMedia");
        body.finish(&Value::Null)?;
        set(context, slot(context)?, None, "VirtualMedia.EjectMedia").await
    })
}

async fn set(
    context: &Context<'_>,
    slot: MediaSlot,
    media: Option<Media>,
    action: &'static str,
) -> Answer {
    let unit = context.unit()?.clone();
    let id = unit.id.clone();
    let work = async move { unit.machine.set_media(slot, media).await };
    reset::finish(context.service.tasks.run(&id, action, work).await?)
}

/// PATCH, the older way: an image inserts, `null` ejects.
fn change<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let slot = slot(context)?;
        let mut body = Body::of_resource(context.body);
        let image = body.nullable("Image")?;
        let inserted = body.truth("Inserted")?;
        let write_protected = body.truth("WriteProtected")?.unwrap_or(true);
        body.finish(&json!({ "Id": "", "Name": "", "MediaTypes": "", "ImageName": "",
            "ConnectedVia": "", "TransferMethod": "", "TransferProtocolType": "", "Actions": "" }))?;
        let image = image.ok_or_else(|| body.missing("Image"))?;
        let media = match image {
            Some(image) if !is_image(image) => return Err(body.bad_format("Image", image)),
            Some(_) if inserted == Some(false) => {
                return Err(body.not_in_list("Inserted", "false"));
            }
            Some(_) if slot == MediaSlot::Cd && !write_protected => {
                return Err(body.not_in_list("WriteProtected", "false"));
            }
            Some(image) => Some(Media { image: image.to_owned(), write_protected }),
            None if inserted == Some(true) => return Err(body.not_in_list("Inserted", "true")),
            None => None,
        };
        match set(context, slot, media, "VirtualMedia").await? {
            Reply::Done => Ok(Reply::Changed),
            other => Ok(other),
        }
    })
}
