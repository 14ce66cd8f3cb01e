//! Sensors of a machine: what it measures of itself, in percent.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    super::{
        reply::Reply,
        route::{Answer, Context, PREFIX, Route},
        service::{timestamp, unreadable},
        site::Gauges,
    },
    collection, resource,
};
use crate::machine::MachineError;

pub(super) const ROUTES: &[Route] = &[
    Route::asking("/redfish/v1/Chassis/{unit}/Sensors", list),
    Route::asking("/redfish/v1/Chassis/{unit}/Sensors/{}", show),
];

struct Sensor {
    id: &'static str,
    name: &'static str,
    context: &'static str,
    read: fn(&Gauges) -> Option<f64>,
}

const SENSORS: [Sensor; 2] = [
    Sensor {
        id: "CpuLoad",
        name: "Processor load",
        context: "CPUSubsystem",
        read: |gauges| gauges.cpu_percent,
    },
    Sensor {
        id: "MemoryInUse",
        name: "Memory in use on the host",
        context: "MemorySubsystem",
        read: |gauges| gauges.memory_percent,
    },
];

fn list<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?;
        let path = format!("{PREFIX}/Chassis/{}/Sensors", unit.id);
        // A machine that measures nothing has no sensors; one that is off has them, without values.
        let measures = !matches!(unit.gauges(context.now).await, Err(MachineError::Unsupported));
        let sensors = SENSORS.iter().filter(|_| measures);
        let members: Vec<String> = sensors.map(|sensor| format!("{path}/{}", sensor.id)).collect();
        Ok(Reply::Resource(collection("SensorCollection", &path, "Sensors", &members)))
    })
}

fn show<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?;
        let id = context.argument(1);
        let sensor = SENSORS.iter().find(|sensor| sensor.id == id);
        let sensor = sensor.ok_or_else(|| context.missing())?;
        let reading = match unit.gauges(context.now).await {
            Ok(gauges) => (sensor.read)(&gauges),
            Err(MachineError::WrongState) => None,
            Err(MachineError::Unsupported) => return Err(context.missing()),
            Err(error @ (MachineError::Busy | MachineError::Failed(_))) => {
                return Err(unreadable(&error));
            }
        };
        let path = format!("{PREFIX}/Chassis/{}/Sensors/{id}", unit.id);
        Ok(Reply::Resource(resource(
            "Sensor",
            &path,
            id,
            sensor.name,
            json!({
                "ReadingType": "Percent",
                "ReadingUnits": "%",
                "Reading": reading.map_or(Value::Null, Value::from),
                "ReadingRangeMin": 0,
                "ReadingRangeMax": 100,
                "ReadingTime": timestamp(),
                "PhysicalContext": sensor.context,
                "Status": {
                    "State": if reading.is_some() { "Enabled" } else { "StandbyOffline" },
                    "Health": "OK",
                },
            }),
        )))
    })
}
