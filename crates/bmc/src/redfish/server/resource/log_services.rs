//! The event log of each machine's manager: the same that IPMI calls SEL (DSP0268, `LogEntry`).

use serde_json::{Value, json};

use super::{
    super::{
        login::Role,
        message::Refusal,
        patch::Body,
        reply::Reply,
        route::{Answer, Context, Handler, Needs, PREFIX, Route},
        service::timestamp,
    },
    collection, enabled, link, resource,
};
use crate::ipmi::command::nvram::{EVENTS_MAX, Nvram, NvramCell, record_number};

pub(super) const ROUTES: &[Route] = &[
    Route::new("/redfish/v1/Managers/{unit}/LogServices", list),
    Route::new("/redfish/v1/Managers/{unit}/LogServices/SEL", show),
    Route::new("/redfish/v1/Managers/{unit}/LogServices/SEL/Entries", entries),
    Route::new("/redfish/v1/Managers/{unit}/LogServices/SEL/Entries/{}", entry),
    Route::action(
        "/redfish/v1/Managers/{unit}/LogServices/SEL/Actions/LogService.ClearLog",
        Needs::Role(Role::Administrator),
        Handler::Now(clear),
    ),
];

fn services(context: &Context<'_>) -> Result<String, Refusal> {
    Ok(format!("{PREFIX}/Managers/{}/LogServices", context.unit()?.id))
}

/// The log; there is none where nobody keeps one.
fn log<'a>(context: &'a Context<'_>) -> Result<&'a NvramCell, Refusal> {
    context.unit()?.nvram.as_ref().ok_or_else(|| context.missing())
}

fn list(context: &Context<'_>) -> Answer {
    let path = services(context)?;
    let members: Vec<String> = log(context).iter().map(|_| format!("{path}/SEL")).collect();
    Ok(Reply::Resource(collection("LogServiceCollection", &path, "Logs", &members)))
}

fn show(context: &Context<'_>) -> Answer {
    let path = format!("{}/SEL", services(context)?);
    let logs = log(context)?.read(|it| it.log_events);
    Ok(Reply::Resource(resource(
        "LogService",
        &path,
        "SEL",
        "System event log",
        json!({
            "ServiceEnabled": logs,
            "LogEntryType": "SEL",
            "MaxNumberOfRecords": EVENTS_MAX,
            "OverWritePolicy": "NeverOverWrites",
            "DateTime": timestamp(),
            "DateTimeLocalOffset": "+00:00",
            "Status": enabled(),
            "Entries": link(&format!("{path}/Entries")),
            "Actions": { "#LogService.ClearLog": {
                "target": format!("{path}/Actions/LogService.ClearLog"),
            }},
        }),
    )))
}

fn entries(context: &Context<'_>) -> Answer {
    let path = format!("{}/SEL/Entries", services(context)?);
    let all = log(context)?.read(|it| it.events.clone());
    let members: Vec<Value> = all.iter().map(|record| body_of(&path, record)).collect();
    let mut entries = collection("LogEntryCollection", &path, "System events", &[]);
    // Whole, since that is how clients read a log.
    entries["Members@odata.count"] = members.len().into();
    entries["Members"] = members.into();
    Ok(Reply::Resource(entries))
}

fn entry(context: &Context<'_>) -> Answer {
    let path = format!("{}/SEL/Entries", services(context)?);
    let id = context.argument(1);
    let is_it = |record: &&[u8; 16]| record_number(record).to_string() == id;
    let found = log(context)?.read(|it| it.events.iter().find(is_it).copied());
    Ok(Reply::Resource(body_of(&path, &found.ok_or_else(|| context.missing())?)))
}

fn clear(context: &Context<'_>) -> Answer {
    let body = Body::of_action(context.body, "LogService.ClearLog");
    body.finish(&Value::Null)?;
    log(context)?.change(Nvram::clear);
    Ok(Reply::Done)
}

/// A record (section 32.1 of IPMI) as a log entry.
fn body_of(entries: &str, record: &[u8; 16]) -> Value {
    let id = record_number(record).to_string();
    let [_, _, kind, a, b, c, d, _, _, _, sensor_type, sensor, event, first, second, third] =
        *record;
    let mut rest = json!({ "EntryType": "SEL", "Severity": "OK" });
    // Records of a maker's own have another form; those from 0xe0 on have no time either.
    let is_event = kind == 0x02;
    if kind < 0xe0 {
        let seconds = i64::from(u32::from_le_bytes([a, b, c, d]));
        let created = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        rest["Created"] = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    if is_event {
        let (severity, text) = meaning(sensor_type, first & 0x0f);
        let left = event & 0x80 != 0;
        rest["Severity"] = severity.into();
        rest["Message"] = text.into();
        rest["EntryCode"] = if left { "Deassert" } else { "Assert" }.into();
        rest["SensorNumber"] = sensor.into();
        rest["MessageId"] =
            format!("0x{sensor_type:02x}{event:02x}{first:02x}{second:02x}{third:02x}").into();
    } else {
        let digits: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        rest["Message"] = format!("record of type 0x{kind:02x}: {digits}").into();
    }
    resource("LogEntry", &format!("{entries}/{id}"), &id, &format!("Event {id}"), rest)
}

/// What the controller's own events mean (table 42-3); others are told by their numbers.
fn meaning(sensor_type: u8, offset: u8) -> (&'static str, String) {
    match (sensor_type, offset) {
        (0x22, 0) => ("OK", "The machine is on.".into()),
        (0x22, 5) => ("OK", "The machine is off.".into()),
        (0x23, 0) => ("Warning", "The watchdog ran out.".into()),
        (0x23, 1) => ("Critical", "The watchdog ran out: hard reset.".into()),
        (0x23, 2) => ("Critical", "The watchdog ran out: power off.".into()),
        (0x23, 3) => ("Critical", "The watchdog ran out: power cycle.".into()),
        (0x23, 8) => ("Warning", "The watchdog is about to run out.".into()),
        (0x2a, 2) => ("Warning", "Somebody gave a wrong name or password.".into()),
        _ => ("OK", format!("Sensor of type 0x{sensor_type:02x}: event {offset}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_in_words() {
        let mut record = [0; 16];
        record[..7].copy_from_slice(&[7, 0, 0x02, 0x00, 0xe1, 0x0b, 0x5e]);
        record[9..].copy_from_slice(&[0x04, 0x22, 1, 0x6f, 0x05, 0xff, 0xff]);
        let entry = body_of("/e", &record);
        assert_eq!(entry["@odata.id"], "/e/7");
        assert_eq!(entry["Created"], "2020-01-01T00:00:00Z");
        assert_eq!(entry["Message"], "The machine is off.");
        assert_eq!(entry["EntryCode"], "Assert");
        record[2] = 0xe0;
        let entry = body_of("/e", &record);
        assert!(entry["Created"].is_null() && entry["EntryCode"].is_null());
    }
}
