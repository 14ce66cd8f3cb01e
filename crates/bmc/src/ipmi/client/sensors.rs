//! The sensors of a machine: their records, and what they read now (sections 33 and 35).

use super::{
    Client, ClientError,
    dialogue::Twice,
    walk::{SdrWalk, Want},
};
use crate::ipmi::{
    completion::Completion,
    msg::{
        get_sdr, get_sensor_factors, get_sensor_reading, lan::CONTROLLER, reserve_sdr_repository,
    },
    record::{
        linear::{Factors, Linearization},
        sdr::{Record, Sensor},
        sensor_type::{self, THRESHOLD},
    },
    wire::Command as _,
};

const UNAVAILABLE: u8 = 0x20;
const SCANNING: u8 = 0x40;

/// How bad it is, as the sensor's thresholds say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is passed, or there are no thresholds.
    Ok,
    /// A non-critical threshold is passed.
    Warning,
    /// A critical one is.
    Critical,
    /// A non-recoverable one is.
    Fatal,
}

/// What a sensor shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// What it watches, in words.
    pub kind: &'static str,
    /// Its value; `None` when it has none, or none now.
    pub value: Option<f64>,
    /// What the value is measured in.
    pub units: String,
    /// Whether it shows anything at all now.
    pub available: bool,
    /// How bad it is.
    pub health: Health,
    /// The states that hold, of a sensor that has states.
    pub states: Vec<String>,
}

impl Client {
    /// Every record of the repository, decoded; one that is broken is left out and logged.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sensor_records(&mut self) -> Result<Vec<Record>, ClientError> {
        let mut walk = SdrWalk::new();
        loop {
            match walk.want() {
                Want::End => break,
                Want::Reservation => {
                    let request = reserve_sdr_repository::Request;
                    walk.on_reservation(self.call(&request, Twice::Harmless).await?.reservation);
                }
                Want::Part(request) => {
                    let answer = match self.call(&request, Twice::Harmless).await {
                        Ok(part) => Ok(part),
                        Err(ClientError::Completion { code, .. }) => Err(code),
                        Err(error) => return Err(error),
                    };
                    let address = self.address();
                    walk.on_part(answer).map_err(|code| ClientError::Completion {
                        address,
                        command: get_sdr::Request::NAME,
                        code,
                    })?;
                }
            }
        }
        let mut records = Vec::new();
        for bytes in walk.into_records() {
            match Record::decode(&bytes) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::debug!(bmc = %self.address(), %error, "sensor record left out");
                }
            }
        }
        Ok(records)
    }

    /// What every sensor of the controller shows now. Sensors of satellite controllers are behind
    /// bridges, and left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sensors(&mut self) -> Result<Vec<Reading>, ClientError> {
        let records = self.sensor_records().await?;
        self.readings(&records).await
    }

    /// What the sensors of these records show now: the records change seldom, and can be kept.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn readings(&mut self, records: &[Record]) -> Result<Vec<Reading>, ClientError> {
        let mut readings = Vec::new();
        for record in records {
            let Record::Sensor(sensor) = record else { continue };
            if sensor.owner != (CONTROLLER, 0) {
                continue;
            }
            for place in 0..sensor.count {
                readings.push(self.reading(sensor, place).await?);
            }
        }
        Ok(readings)
    }

    /// What the sensor at this place of a record shows.
    async fn reading(&mut self, sensor: &Sensor, place: u8) -> Result<Reading, ClientError> {
        let number = sensor.number.wrapping_add(place);
        let request = get_sensor_reading::Request { sensor: number };
        let answer = match self.call(&request, Twice::Harmless).await {
            Ok(answer) => Some(answer),
            // A sensor of something that is not plugged in, or not read in this state.
            Err(ClientError::Completion { code, .. }) if code != Completion::INVALID_COMMAND => {
                None
            }
            Err(error) => return Err(error),
        };
        let answer = answer.filter(|it| it.flags & UNAVAILABLE == 0 && it.flags & SCANNING != 0);
        let name = match sensor.count {
            1 => sensor.name.clone(),
            _ => format!("{} {}", sensor.name, place + 1),
        };
        let mut reading = Reading {
            number,
            name,
            kind: sensor_type::name(sensor.kind),
            value: None,
            units: sensor.units.to_string(),
            available: answer.is_some(),
            health: Health::Ok,
            states: Vec::new(),
        };
        let Some(answer) = answer else { return Ok(reading) };
        reading.value = self.value(sensor, number, answer.reading).await?;
        let [low, high] = answer.states;
        if sensor.event_type == THRESHOLD {
            reading.health = health(low);
        } else {
            let states = u16::from_le_bytes([low, high & 0x7f]);
            reading.states = (0..15)
                .filter(|bit| states >> bit & 1 != 0)
                .map(|bit| {
                    let words = sensor_type::state(sensor.kind, sensor.event_type, bit);
                    words.map_or_else(|| format!("state {bit}"), str::to_owned)
                })
                .collect();
        }
        Ok(reading)
    }

    async fn value(
        &mut self,
        sensor: &Sensor,
        number: u8,
        raw: u8,
    ) -> Result<Option<f64>, ClientError> {
        let Some(conversion) = sensor.conversion else { return Ok(None) };
        if conversion.linearization != Linearization::ByReading {
            return Ok(conversion.value(raw));
        }
        let request = get_sensor_factors::Request { sensor: number, reading: raw };
        match self.call(&request, Twice::Harmless).await {
            Ok(answer) => Ok(conversion.value_by(Factors::from_bytes(answer.factors), raw)),
            Err(ClientError::Completion { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The worst of the thresholds that are passed: bits 0 to 2 lower, 3 to 5 upper.
fn health(passed: u8) -> Health {
    match passed & 0x3f {
        it if it & 0x24 != 0 => Health::Fatal,
        it if it & 0x12 != 0 => Health::Critical,
        it if it & 0x09 != 0 => Health::Warning,
        _ => Health::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_threshold_counts() {
        for (passed, wanted) in [
            (0x00, Health::Ok),
            (0xc0, Health::Ok),
            (0x08, Health::Warning),
            (0x18, Health::Critical),
            (0x38, Health::Fatal),
            (0x01, Health::Warning),
            (0x03, Health::Critical),
            (0x07, Health::Fatal),
        ] {
            assert_eq!(health(passed), wanted, "{passed:#04x}");
        }
    }
}
