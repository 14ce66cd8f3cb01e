//! Events of the system event log (section 32).

use super::sensor_type;
use crate::ipmi::wire::{Reader, WireError};

const NAME: &str = "SEL record";
/// Bytes of a record.
pub const RECORD_BYTES: usize = 16;
/// Below this a time counts from the controller's own start (section 37.1).
const CLOCK_SET_MIN: u32 = 0x2000_0000;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number of the record.
    pub record: u16,
    /// When, in seconds since 1970, or since the controller's start where nobody had told it the
    /// time; `None` when the record has no time.
    pub time: Option<u32>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A sensor saw something.
    Sensor {
        /// Who wrote it: an address or a software's number, and a channel.
        generator: u16,
        /// What the sensor watches.
        kind: u8,
        /// The sensor.
        number: u8,
        /// What the state means.
        event_type: u8,
        /// Whether the state began; otherwise it ended.
        asserted: bool,
        /// The state, then what the type says of it.
        data: [u8; 3],
    },
    /// A maker's own.
    Oem {
        /// The type of the record.
        kind: u8,
        /// Its bytes.
        data: Vec<u8>,
    },
}

impl Event {
    /// Reads a record.
    ///
    /// # Errors
    /// [`WireError`] when it is short.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let (record, kind) = (reader.u16()?, reader.u8()?);
        if kind >= 0xe0 {
            let data = reader.take(13)?.to_vec();
            return Ok(Self { record, time: None, what: What::Oem { kind, data } });
        }
        let time = Some(reader.u32()?);
        if kind >= 0xc0 {
            let data = reader.take(9)?.to_vec();
            return Ok(Self { record, time, what: What::Oem { kind, data } });
        }
        let generator = reader.u16()?;
        let [_, kind, number, event] = reader.array()?;
        let (event_type, asserted) = (event & 0x7f, event & 0x80 == 0);
        let data = reader.array()?;
        let what = What::Sensor { generator, kind, number, event_type, asserted, data };
        Ok(Self { record, time, what })
    }

    /// Whether the time is one of the calendar.
    #[must_use]
    pub fn has_calendar_time(&self) -> bool {
        self.time.is_some_and(|time| (CLOCK_SET_MIN..u32::MAX).contains(&time))
    }
}

impl What {
    /// What the sensor watches, in words.
    #[must_use]
    pub fn sensor(&self) -> String {
        match self {
            Self::Sensor { kind, number, .. } => {
                format!("{} #{number:#04x}", sensor_type::name(*kind))
            }
            Self::Oem { kind, .. } => format!("OEM record {kind:#04x}"),
        }
    }

    /// What happened, in words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Sensor { kind, event_type, asserted, data, .. } => {
                let offset = data[0] & 0x0f;
                let state = sensor_type::state(*kind, *event_type, offset);
                let state = state.map_or_else(
                    || format!("event type {event_type:#04x}, data {}", hex::encode(data)),
                    str::to_owned,
                );
                if *asserted { state } else { format!("{state} (ended)") }
            }
            Self::Oem { data, .. } => hex::encode(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_of_each_kind() {
        let bytes = [1, 0, 2, 0x80, 0xe2, 0x5f, 0x69, 0x20, 0, 4, 0x22, 1, 0x6f, 0x05, 0xff, 0xff];
        let event = Event::decode(&bytes).expect("event");
        assert_eq!((event.record, event.time), (1, Some(0x695f_e280)));
        assert!(event.has_calendar_time());
        assert_eq!(event.what.sensor(), "System ACPI Power State #0x01");
        assert_eq!(event.what.text(), "S5/G2: soft off");
        let hot = [2, 0, 2, 9, 0, 0, 0, 0x20, 0, 4, 1, 0x30, 0x81, 0x59, 0x60, 0x5a];
        let event = Event::decode(&hot).expect("event");
        assert!(!event.has_calendar_time(), "nine seconds after its start");
        assert_eq!(event.what.text(), "Upper Critical going high (ended)");
        let with_time = [3, 0, 0xc1, 0, 0, 0, 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let event = Event::decode(&with_time).expect("event");
        assert_eq!(
            (event.time, event.what.text()),
            (Some(0x6000_0000), "010203040506070809".into())
        );
        let without = [4, 0, 0xe1, 0, 0, 0, 0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(Event::decode(&without).expect("event").time, None);
        let unknown = [5, 0, 2, 0, 0, 0, 0x60, 0x20, 0, 4, 0xc8, 0x30, 0x72, 1, 2, 3];
        let event = Event::decode(&unknown).expect("event");
        assert_eq!(event.what.text(), "event type 0x72, data 010203");
        assert!(Event::decode(&bytes[..15]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            match Event::decode(&bytes) {
                Ok(event) => {
                    prop_assert!(bytes.len() >= RECORD_BYTES);
                    prop_assert!(!event.what.text().is_empty() && !event.what.sensor().is_empty());
                }
                Err(_) => prop_assert!(bytes.len() < RECORD_BYTES),
            }
        }
    }
}
