//! What a system is made of, and what its chassis measures.

use serde_json::Value;

use super::{Client, ClientError, link_of};
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
    /// The members of a collection that a resource links to; none without the link.
    async fn parts(&self, of: &Value, name: &str) -> Result<Vec<Value>, ClientError> {
        let Some(collection) = link_of(&of[name]) else { return Ok(Vec::new()) };
        let mut parts = Vec::new();
        for path in self.members(&collection).await? {
            parts.push(self.get(&path).await?.body);
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
            Some(path) => self.get(&path).await?.body["SecureBootEnable"].as_bool(),
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
                let drive = self.get(&path).await?.body;
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

    /// What the chassis of the system measures: sensors, and the older thermometers and fans.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sensors(&self) -> Result<Vec<Sensor>, ClientError> {
        let system = self.get(self.system_path()).await?.body;
        let chassis = system["Links"]["Chassis"].as_array().cloned().unwrap_or_default();
        let mut sensors = Vec::new();
        for path in chassis.iter().filter_map(link_of) {
            let chassis = self.get(&path).await?.body;
            for part in self.parts(&chassis, "Sensors").await? {
                let units = part["ReadingUnits"].as_str().map(str::to_owned);
                let reading = part["Reading"].as_f64();
                sensors.push(Sensor { name: text(&part["Name"]), reading, units });
            }
            let Some(path) = link_of(&chassis["Thermal"]) else { continue };
            let thermal = self.get(&path).await?.body;
            for (list, field, fixed) in
                [("Temperatures", "ReadingCelsius", Some("Cel")), ("Fans", "Reading", None)]
            {
                for part in thermal[list].as_array().into_iter().flatten() {
                    let units = fixed.or_else(|| part["ReadingUnits"].as_str());
                    sensors.push(Sensor {
                        name: text(&part["Name"]),
                        reading: part[field].as_f64(),
                        units: units.map(str::to_owned),
                    });
                }
            }
        }
        Ok(sensors)
    }
}
