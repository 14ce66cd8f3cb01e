//! Sensor data records (section 43): full, compact, event-only; locators of devices.

use super::{
    linear::{Conversion, Factors, Format, Linearization},
    sensor_type::THRESHOLD,
    text,
    units::Units,
};
use crate::ipmi::wire::{Reader, WireError};

const NAME: &str = "sensor record";
/// Bytes before the body of a record.
pub const HEADER_BYTES: usize = 5;

/// A record of the repository.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A sensor that can be read.
    Sensor(Box<Sensor>),
    /// A device with an inventory, or a controller.
    Device(Device),
    /// Something else: its type.
    Other(u8),
}

/// A sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Who owns it: an address, and a unit of it.
    pub owner: (u8, u8),
    /// Its number.
    pub number: u8,
    /// Sensors of following numbers that share the record, this one included.
    pub count: u8,
    /// Its name.
    pub name: String,
    /// What it watches (table 42-3).
    pub kind: u8,
    /// What its states mean (table 42-1).
    pub event_type: u8,
    /// What it belongs to: entity and instance (table 43-13).
    pub entity: (u8, u8),
    /// What its value is measured in.
    pub units: Units,
    /// How its reading becomes a value; `None` when it has none.
    pub conversion: Option<Conversion>,
}

/// A device of the management bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The number of its inventory; `None` for a controller.
    pub fru: Option<u8>,
    /// What it belongs to: entity and instance.
    pub entity: (u8, u8),
}

/// The length of the whole record, by its header.
///
/// # Errors
/// [`WireError`] when the header is too short.
pub fn length(header: &[u8]) -> Result<usize, WireError> {
    let mut reader = Reader::new(NAME, header);
    reader.take(4)?;
    Ok(HEADER_BYTES + usize::from(reader.u8()?))
}

impl Record {
    /// Reads a whole record.
    ///
    /// # Errors
    /// [`WireError`] when it is shorter than its kind needs.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let [_, _, _, kind, _] = reader.array()?;
        match kind {
            0x01 | 0x02 => Ok(Self::Sensor(Box::new(sensor(&mut reader, kind)?))),
            0x11 => {
                let [_, fru, ..] = reader.array::<7>()?;
                device(&mut reader, Some(fru))
            }
            0x12 => {
                reader.take(7)?;
                device(&mut reader, None)
            }
            other => Ok(Self::Other(other)),
        }
    }
}

fn device(reader: &mut Reader<'_>, fru: Option<u8>) -> Result<Record, WireError> {
    let [entity, instance, _] = reader.array()?;
    Ok(Record::Device(Device { name: name(reader)?, fru, entity: (entity, instance) }))
}

/// Makers write lengths that go past the record's end: what is there is taken.
fn name(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let kind = reader.u8()?;
    let rest = reader.rest();
    let length = usize::from(kind & 0x1f).min(rest.len());
    Ok(text::decode(kind, rest.get(..length).unwrap_or_default()))
}

fn sensor(reader: &mut Reader<'_>, kind: u8) -> Result<Sensor, WireError> {
    let [owner, unit, number, entity, instance, _, _, watches, event_type] = reader.array()?;
    reader.take(6)?;
    let [flags, base, modifier] = reader.array()?;
    let (conversion, count) = if kind == 0x01 {
        let linearization = Linearization::from_byte(reader.u8()?);
        let factors = Factors::from_bytes(reader.array()?);
        reader.take(17)?;
        let format = Format::of_units(flags).filter(|_| event_type == THRESHOLD);
        let conversion = format.zip(linearization).map(|(format, linearization)| Conversion {
            format,
            linearization,
            factors,
        });
        (conversion, 1)
    } else {
        let [share, ..] = reader.array::<8>()?;
        (None, (share & 0x0f).max(1))
    };
    Ok(Sensor {
        owner: (owner, unit & 0x03),
        number,
        count,
        name: name(reader)?,
        kind: watches,
        event_type,
        entity: (entity, instance),
        units: Units { flags, base, modifier },
        conversion,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A fan of 75 revolutions a step, as a controller of the common kind writes it.
    const FAN: &[u8] = &[
        0x04, 0x00, 0x51, 0x01, 0x36, 0x20, 0x00, 0x41, 0x1d, 0x01, 0x7f, 0x68, 0x04, 0x01, 0x15,
        0x7a, 0x15, 0x7a, 0x3f, 0x3f, 0x00, 0x12, 0x00, 0x00, 0x4b, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0xff, 0x00, 0xff, 0xfe, 0xfd, 0x04, 0x06, 0x08, 0x02, 0x02, 0x00,
        0x00, 0x00, 0xcb, 0x46, 0x41, 0x4e, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];
    /// A drive slot, one of four that share a record.
    const SLOTS: &[u8] = &[
        0x10, 0x00, 0x51, 0x02, 0x1f, 0x20, 0x00, 0x60, 0x04, 0x01, 0x67, 0x40, 0x0d, 0x6f, 0x01,
        0x00, 0x01, 0x00, 0xff, 0x01, 0xc0, 0x00, 0x00, 0x04, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0xc4, 0x44, 0x49, 0x53, 0x4b,
    ];
    const FRU: &[u8] = &[
        0x20, 0x00, 0x51, 0x11, 0x0e, 0x20, 0x03, 0x80, 0x00, 0x00, 0x10, 0x00, 0x0a, 0x01, 0x00,
        0xc3, 0x50, 0x53, 0x31,
    ];

    #[test]
    fn records_of_each_kind() {
        let Ok(Record::Sensor(fan)) = Record::decode(FAN) else { panic!("a fan") };
        assert_eq!((fan.number, fan.name.as_str(), fan.kind), (0x41, "FAN1", 4));
        assert_eq!((fan.units.to_string(), fan.entity), ("RPM".to_owned(), (0x1d, 1)));
        assert_eq!(fan.conversion.expect("analog").value(100), Some(7500.0));
        assert_eq!(length(FAN), Ok(FAN.len()));
        let Ok(Record::Sensor(slot)) = Record::decode(SLOTS) else { panic!("a slot") };
        assert_eq!((slot.number, slot.count, slot.name.as_str()), (0x60, 4, "DISK"));
        assert_eq!((slot.conversion, slot.event_type), (None, 0x6f));
        let device = Device { name: "PS1".into(), fru: Some(3), entity: (0x0a, 1) };
        assert_eq!(Record::decode(FRU), Ok(Record::Device(device)));
        assert_eq!(Record::decode(&[0, 0, 0x51, 0xc0, 0]), Ok(Record::Other(0xc0)));
        for record in [FAN, SLOTS, FRU] {
            for end in 0..record.len() - 7 {
                let _ = Record::decode(&record[..end]);
            }
        }
        assert!(Record::decode(&FAN[..40]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0u8..0x14) {
            if let Some(byte) = bytes.get_mut(3) {
                *byte = kind;
            }
            let _ = (Record::decode(&bytes), length(&bytes));
        }
    }
}
