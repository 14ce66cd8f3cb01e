//! What a system is made of, and what its chassis measures.

use serde_json::Value;

use super::{Client, ClientError, ErrorKind, link_of};
use crate::machine::{
    Inventory,
    inventory::{Drive, Nic, Processor},
};

/// A sensor, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Its name.
    pub name: String,
    /// What it shows; `None` when it shows nothing.
    pub reading: Option<f64>,
    /// Of what.
    pub units: Option<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().trim().to_owned()
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

/// `52:54:00:…` or `5254.00…`; `None` for a port without an address.
fn mac(value: &Value) -> Option<[u8; 6]> {
    let digits: String = value.as_str()?.chars().filter(char::is_ascii_hexdigit).collect();
    let mut mac = [0; 6];
    hex::decode_to_slice(digits, &mut mac).ok()?;
    Some(mac)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float outside the range becomes its nearest end"
)]
fn mebibytes(gibibytes: &Value) -> u64 {
    (gibibytes.as_f64().unwrap_or_default() * 1024.0).round() as u64
}

impl Client {
    /// A part of something larger: one that the service does not give is left out, as real
    /// services link to parts that they have not.
    async fn part(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.get(path).await {
            Ok(part) => Ok(Some(part.body)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Broken) => {
                tracing::debug!(%error, "left out");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The members of a collection that a resource links to; none without the link.
    async fn parts(&self, of: &Value, name: &str) -> Result<Vec<Value>, ClientError> {
        let Some(collection) = link_of(&of[name]) else { return Ok(Vec::new()) };
        let paths = match self.members(&collection).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Broken) => {
                tracing::debug!(%error, "left out");
                return Ok(Vec::new());
            }
            other => other?,
        };
        let mut parts = Vec::new();
        for path in paths {
            parts.extend(self.part(&path).await?);
        }
        Ok(parts)
    }

    /// What the system is made of.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn inventory(&self) -> Result<Inventory, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        let processors = self.parts(&system, "Processors").await?;
        let nics = self.parts(&system, "EthernetInterfaces").await?;
        let secure_boot = match link_of(&system["SecureBoot"]) {
            Some(path) => self.part(&path).await?.and_then(|it| it["SecureBootEnable"].as_bool()),
            None => None,
        };
        let processor = |part: &Value| Processor {
            model: text(&part["Model"]),
            cores: number(&part["TotalCores"]),
            threads: number(&part["TotalThreads"]),
        };
        let nic = |part: &Value| {
            Some(Nic {
                name: text(&part["Name"]),
                mac: mac(&part["PermanentMACAddress"]).or_else(|| mac(&part["MACAddress"]))?,
                speed_mbps: part["SpeedMbps"].as_u64().and_then(|mbps| u32::try_from(mbps).ok()),
            })
        };
        Ok(Inventory {
            manufacturer: text(&system["Manufacturer"]),
            model: text(&system["Model"]),
            serial_number: text(&system["SerialNumber"]),
            asset_tag: text(&system["AssetTag"]),
            firmware_version: text(&system["BiosVersion"]),
            uefi: system["Boot"]["BootSourceOverrideMode"] == "UEFI",
            secure_boot,
            processors: processors.iter().map(processor).collect(),
            memory_mib: mebibytes(&system["MemorySummary"]["TotalSystemMemoryGiB"]),
            nics: nics.iter().filter_map(nic).collect(),
            drives: self.drives(&system).await?,
        })
    }

    async fn drives(&self, system: &Value) -> Result<Vec<Drive>, ClientError> {
        let mut drives = Vec::new();
        for storage in self.parts(system, "Storage").await? {
            let links = storage["Drives"].as_array().cloned().unwrap_or_default();
            for path in links.iter().filter_map(link_of) {
                let Some(drive) = self.part(&path).await? else { continue };
                drives.push(Drive {
                    name: text(&drive["Name"]),
                    serial_number: text(&drive["SerialNumber"]),
                    model: text(&drive["Model"]),
                    capacity_bytes: drive["CapacityBytes"].as_u64().unwrap_or_default(),
                });
            }
        }
        Ok(drives)
    }

    /// What the chassis of the system measures: its sensors, or in an older service its
    /// thermometers, fans, voltages and power meters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sensors(&self) -> Result<Vec<Sensor>, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        let chassis = system["Links"]["Chassis"].as_array().cloned().unwrap_or_default();
        let mut sensors = Vec::new();
        for path in chassis.iter().filter_map(link_of) {
            let Some(chassis) = self.part(&path).await? else { continue };
            let found = self.parts(&chassis, "Sensors").await?;
            if !found.is_empty() {
                // Whoever has them shows the same in the older places, too.
                sensors.extend(found.iter().map(|part| sensor(part, "Reading", None)));
                continue;
            }
            for (place, list, field, units) in OLDER_PLACES {
                let Some(path) = link_of(&chassis[place]) else { continue };
                let Some(place) = self.part(&path).await? else { continue };
                let list = place[list].as_array().into_iter().flatten();
                sensors.extend(list.map(|part| sensor(part, field, units)));
            }
        }
        Ok(sensors)
    }
}

/// Resource of the chassis, list in it, field with the reading, and what that is measured in.
const OLDER_PLACES: [(&str, &str, &str, Option<&str>); 5] = [
    ("Thermal", "Temperatures", "ReadingCelsius", Some("Cel")),
    ("Thermal", "Fans", "Reading", None),
    ("Power", "Voltages", "ReadingVolts", Some("V")),
    ("Power", "PowerControl", "PowerConsumedWatts", Some("W")),
    ("Power", "PowerSupplies", "PowerOutputWatts", Some("W")),
];

fn sensor(part: &Value, field: &str, units: Option<&str>) -> Sensor {
    let units = units.or_else(|| part["ReadingUnits"].as_str());
    // Fans of old services have a name of their own.
    let name = [&part["Name"], &part["FanName"]].map(text).into_iter().find(|it| !it.is_empty());
    Sensor {
        name: name.unwrap_or_default(),
        reading: part[field].as_f64(),
        units: units.map(str::to_owned),
    }
}
