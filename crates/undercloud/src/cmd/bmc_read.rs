//! `undercloud bmc sensors|sel|fru`: what a BMC keeps for its readers.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;
use undercloud_bmc::ipmi::{
    client::{Client, ClientError, Health, OWN_FRU, Options, Reading},
    record::{
        fru::{Board, Chassis, Fru, Product},
        sel::Event,
    },
};

use super::{
    Context,
    bmc::{credentials, readable, resolve, runtime},
};
use crate::{
    cli::BmcReadArgs,
    clock,
    out::{Format, Out},
};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Sensors,
    Events,
    Inventory,
}

pub(super) fn run(context: &Context, args: &BmcReadArgs, what: What) -> Result<()> {
    let address = resolve(&args.address)?;
    let credentials = credentials(&args.user, &args.password_file)?;
    let out = &context.out;
    runtime()?.block_on(async {
        let mut client = connect(address, credentials).await.map_err(readable)?;
        let printed = match what {
            What::Sensors => print_sensors(out, &client.sensors().await.map_err(readable)?),
            What::Events => print_events(out, &client.events().await.map_err(readable)?),
            What::Inventory => print_inventory(out, &client.fru(OWN_FRU).await.map_err(readable)?),
        };
        client.close().await;
        printed
    })
}

/// As a user who may only read, if that is all that there is.
async fn connect(
    address: SocketAddr,
    credentials: undercloud_bmc::credentials::Credentials,
) -> Result<Client, ClientError> {
    use undercloud_bmc::privilege::Privilege;
    let options = Options { privilege: Privilege::User, ..Options::default() };
    Client::connect(address, credentials, options).await
}

#[derive(Debug, Serialize)]
struct ShownSensor {
    number: u8,
    name: String,
    kind: &'static str,
    value: Option<f64>,
    units: String,
    status: &'static str,
    states: Vec<String>,
}

fn shown_sensor(reading: &Reading) -> ShownSensor {
    ShownSensor {
        number: reading.number,
        name: reading.name.clone(),
        kind: reading.kind,
        value: reading.value,
        units: reading.units.clone(),
        status: match reading.health {
            _ if !reading.available => "not available",
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Critical => "critical",
            Health::Fatal => "non-recoverable",
        },
        states: reading.states.clone(),
    }
}

/// Three digits behind the point at most, and no zeros at the end.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn sensor_row(sensor: &ShownSensor) -> Vec<String> {
    let value = sensor.value.map(|value| format!("{} {}", number(value), sensor.units));
    let value = value.map(|text| text.trim_end().to_owned());
    let value = value.unwrap_or_else(|| match sensor.states.as_slice() {
        [] => "-".to_owned(),
        states => states.join(", "),
    });
    vec![sensor.name.clone(), sensor.kind.to_owned(), value, sensor.status.to_owned()]
}

fn print_sensors(out: &Out, readings: &[Reading]) -> Result<()> {
    let shown: Vec<ShownSensor> = readings.iter().map(shown_sensor).collect();
    out.rows(&["name", "kind", "reading", "status"], &shown, sensor_row)
}

#[derive(Debug, Serialize)]
struct ShownEvent {
    record: u16,
    time: Option<String>,
    sensor: String,
    event: String,
}

fn shown_event(event: &Event) -> ShownEvent {
    let time = event.time.map(|time| {
        if event.has_calendar_time() {
            clock::rfc3339(i64::from(time) * 1000)
        } else {
            format!("{time} s after its start")
        }
    });
    let (sensor, text) = (event.what.sensor(), event.what.text());
    ShownEvent { record: event.record, time, sensor, event: text }
}

fn event_row(event: &ShownEvent) -> Vec<String> {
    let time = event.time.clone().unwrap_or_else(|| "-".to_owned());
    vec![event.record.to_string(), time, event.sensor.clone(), event.event.clone()]
}

fn print_events(out: &Out, events: &[Event]) -> Result<()> {
    let shown: Vec<ShownEvent> = events.iter().map(shown_event).collect();
    out.rows(&["record", "time", "sensor", "event"], &shown, event_row)
}

#[derive(Debug, Serialize)]
struct ShownField {
    area: &'static str,
    name: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct ShownInventory {
    fields: Vec<ShownField>,
    faults: Vec<String>,
}

fn shown_inventory(fru: &Fru) -> ShownInventory {
    let mut fields = Vec::new();
    let mut add = |area, name, value: &str| {
        if !value.is_empty() {
            fields.push(ShownField { area, name, value: value.to_owned() });
        }
    };
    if let Some(Chassis { part, serial, more, .. }) = &fru.chassis {
        add("chassis", "part number", part);
        add("chassis", "serial number", serial);
        more.iter().for_each(|text| add("chassis", "more", text));
    }
    if let Some(Board { made, manufacturer, product, serial, part, more }) = &fru.board {
        let made = made.and_then(|made| i64::try_from(made).ok());
        let made = made.map(|made| clock::rfc3339(made * 1000)).unwrap_or_default();
        add("board", "made", &made);
        add("board", "manufacturer", manufacturer);
        add("board", "product", product);
        add("board", "serial number", serial);
        add("board", "part number", part);
        more.iter().for_each(|text| add("board", "more", text));
    }
    if let Some(product) = &fru.product {
        let Product { manufacturer, name, part, version, serial, asset_tag, more } = product;
        add("product", "manufacturer", manufacturer);
        add("product", "name", name);
        add("product", "part number", part);
        add("product", "version", version);
        add("product", "serial number", serial);
        add("product", "asset tag", asset_tag);
        more.iter().for_each(|text| add("product", "more", text));
    }
    ShownInventory { fields, faults: fru.faults.clone() }
}

fn field_row(field: &ShownField) -> Vec<String> {
    vec![field.area.to_owned(), field.name.to_owned(), field.value.clone()]
}

fn print_inventory(out: &Out, fru: &Fru) -> Result<()> {
    let shown = shown_inventory(fru);
    if out.format() == Format::Json {
        return out.json(&shown);
    }
    out.rows(&["area", "field", "value"], &shown.fields, field_row)?;
    shown.faults.iter().try_for_each(|fault| out.line(format_args!("wrong: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_with_a_value_one_with_states_and_one_without_either() {
        let reading = Reading {
            number: 0x41,
            name: "12V".into(),
            kind: "Voltage",
            value: Some(12.096),
            units: "V".into(),
            available: true,
            health: Health::Warning,
            states: Vec::new(),
        };
        let shown = shown_sensor(&reading);
        assert_eq!(sensor_row(&shown), ["12V", "Voltage", "12.096 V", "warning"]);
        let json = serde_json::to_value(&shown).expect("JSON");
        assert_eq!((&json["value"], &json["status"]), (&12.096.into(), &"warning".into()));
        let states = vec!["Presence detected".to_owned()];
        let shown = shown_sensor(&Reading { value: None, states, ..reading.clone() });
        assert_eq!(sensor_row(&shown)[2], "Presence detected");
        let shown = shown_sensor(&Reading { value: None, available: false, ..reading });
        assert_eq!(sensor_row(&shown)[2..], ["-", "not available"]);
        assert_eq!([number(50.0), number(0.125), number(-5.0)], ["50", "0.125", "-5"]);
    }

    #[test]
    fn an_event_before_anybody_set_the_clock() {
        let mut bytes = [1, 0, 2, 9, 0, 0, 0, 0x20, 0, 4, 0x22, 1, 0x6f, 0x05, 0xff, 0xff];
        let shown = shown_event(&Event::decode(&bytes).expect("event"));
        let row = event_row(&shown);
        assert_eq!(
            row,
            ["1", "9 s after its start", "System ACPI Power State #0x01", "S5/G2: soft off"]
        );
        bytes[3..7].copy_from_slice(&1_767_225_600u32.to_le_bytes());
        let shown = shown_event(&Event::decode(&bytes).expect("event"));
        assert_eq!(shown.time.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn an_inventory_shows_what_there_is() {
        let product = Product { name: "Model 1".into(), ..Product::default() };
        let board = Board { made: Some(820_540_800), ..Board::default() };
        let faults = vec!["the board area has a wrong checksum".to_owned()];
        let fru = Fru { product: Some(product), board: Some(board), faults, ..Fru::default() };
        let shown = shown_inventory(&fru);
        let rows: Vec<Vec<String>> = shown.fields.iter().map(field_row).collect();
        assert_eq!(
            rows,
            [["board", "made", "1996-01-02T00:00:00Z"], ["product", "name", "Model 1"]]
        );
        assert_eq!(shown.faults.len(), 1);
    }
}
