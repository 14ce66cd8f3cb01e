//! Disks of a system: as Storage with drives, and as the older SimpleStorage.
//!
//! A virtual machine's disks hang on one controller without RAID; each disk is a volume of its
//! own, and no others can be made.

use serde_json::{Value, json};

use super::{
    super::{
        login::Role,
        message::{self, Refusal},
        reply::Reply,
        route::{Answer, Context, Handler, Needs, PREFIX, Route},
    },
    collection, enabled, index, known, link, numbered, resource,
};
use crate::machine::inventory::Drive;

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Systems/{unit}/Storage", list),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}", show),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}/Controllers", controllers),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}/Controllers/{}", controller),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}/Drives/{}", drive),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}/Volumes", volumes)
        .post(Needs::Role(Role::Operator), Handler::Now(no_volume)),
    Route::new("/redfish/v1/Systems/{unit}/Storage/{}/Volumes/{}", volume),
    Route::new("/redfish/v1/Systems/{unit}/SimpleStorage", simple_list),
    Route::new("/redfish/v1/Systems/{unit}/SimpleStorage/{}", simple),
];

/// The address of the only storage, when that is what the request is about.
fn storage(context: &Context<'_>, kind: &str) -> Result<(String, Vec<Drive>), Refusal> {
    let unit = context.unit()?;
    let drives = unit.machine.inventory().drives;
    if context.argument(1) != "1" || drives.is_empty() {
        return Err(context.missing());
    }
    Ok((format!("{PREFIX}/Systems/{}/{kind}/1", unit.id), drives))
}

fn collection_of(context: &Context<'_>, kind: &str, name: &str) -> Answer {
    let unit = context.unit()?;
    let path = format!("{PREFIX}/Systems/{}/{kind}", unit.id);
    let count = usize::from(!unit.machine.inventory().drives.is_empty());
    let schema = format!("{kind}Collection");
    Ok(Reply::Resource(collection(&schema, &path, name, &numbered(&path, count))))
}

fn list(context: &Context<'_>) -> Answer {
    collection_of(context, "Storage", "Storage")
}

fn show(context: &Context<'_>) -> Answer {
    let (path, drives) = storage(context, "Storage")?;
    let links: Vec<Value> =
        numbered(&format!("{path}/Drives"), drives.len()).iter().map(|path| link(path)).collect();
    Ok(Reply::Resource(resource(
        "Storage",
        &path,
        "1",
        "Disks",
        json!({
            "Drives@odata.count": links.len(),
            "Drives": links,
            "Controllers": link(&format!("{path}/Controllers")),
        "Volumes": link(&format!("{path}/Volumes")),
            "Status": enabled(),
        }),
    )))
}

fn controllers(context: &Context<'_>) -> Answer {
    let (path, _) = storage(context, "Storage")?;
    let path = format!("{path}/Controllers");
    let (schema, name) = ("StorageControllerCollection", "Storage controllers");
    Ok(Reply::Resource(collection(schema, &path, name, &numbered(&path, 1))))
}

fn controller(context: &Context<'_>) -> Answer {
    let (path, _) = storage(context, "Storage")?;
    if context.argument(2) != "1" {
        return Err(context.missing());
    }
    let path = format!("{path}/Controllers/1");
    Ok(Reply::Resource(resource(
        "StorageController",
        &path,
        "1",
        "Disk controller",
        json!({
            "SupportedRAIDTypes": ["None"],
            "Status": enabled(),
        }),
    )))
}

fn drive(context: &Context<'_>) -> Answer {
    let (path, drives) = storage(context, "Storage")?;
    let id = context.argument(2);
    let drive = index(id).and_then(|at| drives.get(at)).ok_or_else(|| context.missing())?;
    let path = format!("{path}/Drives/{id}");
    Ok(Reply::Resource(resource(
        "Drive",
        &path,
        id,
        &drive.name,
        json!({
            "Model": known(&drive.model),
            "SerialNumber": known(&drive.serial_number),
            "CapacityBytes": drive.capacity_bytes,
            // Neither is known of a file on a host.
            "MediaType": Value::Null,
            "Protocol": Value::Null,
            "Status": enabled(),
        }),
    )))
}

fn volumes(context: &Context<'_>) -> Answer {
    let (path, drives) = storage(context, "Storage")?;
    let path = format!("{path}/Volumes");
    let members = numbered(&path, drives.len());
    let mut body = collection("VolumeCollection", &path, "Volumes", &members);
    body["@Redfish.OperationApplyTimeSupport"] = json!({
        "@odata.type": "#Settings.v1_3_5.OperationApplyTimeSupport",
        "SupportedValues": ["Immediate"],
    });
    Ok(Reply::Resource(body))
}

/// The profiles of OpenStack want a way to make volumes wherever there are drives; what it says is
/// true: a machine's disks are what its definition says.
fn no_volume(_: &Context<'_>) -> Answer {
    Err(Refusal::bad(message::ACTION_UNSUPPORTED, &["create volume"]))
}

fn volume(context: &Context<'_>) -> Answer {
    let (storage, drives) = storage(context, "Storage")?;
    let id = context.argument(2);
    let drive = index(id).and_then(|at| drives.get(at)).ok_or_else(|| context.missing())?;
    let path = format!("{storage}/Volumes/{id}");
    Ok(Reply::Resource(resource(
        "Volume",
        &path,
        id,
        &drive.name,
        json!({
            "CapacityBytes": drive.capacity_bytes,
            "RAIDType": "None",
            "Links": { "Drives": [link(&format!("{storage}/Drives/{id}"))] },
            "Status": enabled(),
        }),
    )))
}

fn simple_list(context: &Context<'_>) -> Answer {
    collection_of(context, "SimpleStorage", "Disks")
}

fn simple(context: &Context<'_>) -> Answer {
    let (path, drives) = storage(context, "SimpleStorage")?;
    let devices: Vec<Value> = drives
        .iter()
        .map(|drive| {
            json!({
                "Name": drive.name,
                "Model": known(&drive.model),
                "CapacityBytes": drive.capacity_bytes,
                "Status": enabled(),
            })
        })
        .collect();
    let rest = json!({ "Devices": devices, "Status": enabled() });
    Ok(Reply::Resource(resource("SimpleStorage", &path, "1", "Disks", rest)))
}
