//! The sensors: what can be read of a machine truly, as sensor records and readings.
//!
//! A virtual machine has no thermometer, so there is no sensor of that kind. Rates are made of
//! two readings a moment apart; until the machine can be read they are "unavailable".

use std::time::Duration;

use super::{ANSWER_MAX, Answer, Controller, read, reply, sel::part};
use crate::{
    ipmi::{
        completion::Completion,
        msg::{
            get_sdr, get_sdr_repository_info, get_sensor_event_enable, get_sensor_event_status,
            get_sensor_factors, get_sensor_hysteresis, get_sensor_reading, get_sensor_thresholds,
            get_sensor_type, platform_event, reserve_sdr_repository,
        },
        session::{Reply, Request},
        wire::Command,
    },
    machine::{PowerState, Readings},
};

/// What events are of: a sensor's number and type (table 42-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventOf {
    pub(super) number: u8,
    pub(super) kind: u8,
}

/// The machine's power.
pub(super) const POWER: EventOf = EventOf { number: 1, kind: 0x22 };
/// The watchdog; a sensor without a reading.
pub(super) const WATCHDOG: EventOf = EventOf { number: 9, kind: 0x23 };
/// Who logs in; a sensor without a reading.
pub(super) const SESSIONS: EventOf = EventOf { number: 10, kind: 0x2a };
/// Those that there is nothing to read of, and their names.
const EVENT_ONLY: [(EventOf, &str); 2] = [(WATCHDOG, "Watchdog"), (SESSIONS, "Sessions")];
/// Shortest time over which a rate is measured.
const RATE_MIN: Duration = Duration::from_millis(100);
/// A reading older than this says nothing about now.
const RATE_MAX: Duration = Duration::from_secs(60);
/// Event and reading type: thresholds.
const THRESHOLD: u8 = 0x01;
/// Event and reading type: states of its own for each sensor type.
const SPECIFIC: u8 = 0x6f;
/// The log's flag "scanning is on".
const SCANNING: u8 = 0x40;
const UNAVAILABLE: u8 = 0x20;
const VERSION: u8 = 0x51;

/// What an analog sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Power,
    Cpu,
    Memory,
    DiskRead,
    DiskWrite,
    NicReceive,
    NicSend,
    Uptime,
}

/// A sensor, as its record has it.
struct Sensor {
    number: u8,
    name: &'static str,
    quantity: Quantity,
    /// Sensor type (table 42-3).
    kind: u8,
    /// Entity (table 43-13).
    entity: u8,
    /// First byte of the units: bits 5 to 3 the rate, bit 0 per cent.
    rate: u8,
    /// Base unit (table 43-15).
    unit: u8,
    /// What one step of the reading is worth.
    m: u8,
    /// Upper non-critical and critical thresholds.
    upper: Option<(u8, u8)>,
}

const fn rate(number: u8, name: &'static str, quantity: Quantity, entity: u8) -> Sensor {
    // Megabytes per second, four a step: up to 1020.
    Sensor { number, name, quantity, kind: 0x0b, entity, rate: 0x18, unit: 72, m: 4, upper: None }
}

const SENSORS: [Sensor; 8] = [
    Sensor {
        number: POWER.number,
        name: "Power State",
        quantity: Quantity::Power,
        kind: POWER.kind,
        entity: 0x17,
        rate: 0xc0,
        unit: 0,
        m: 0,
        upper: None,
    },
    Sensor {
        number: 2,
        name: "CPU Usage",
        quantity: Quantity::Cpu,
        kind: 0x07,
        entity: 0x03,
        rate: 0x01,
        unit: 0,
        m: 1,
        upper: Some((95, 99)),
    },
    Sensor {
        number: 3,
        name: "Memory Usage",
        quantity: Quantity::Memory,
        kind: 0x0c,
        entity: 0x20,
        rate: 0x01,
        unit: 0,
        m: 1,
        upper: None,
    },
    rate(4, "Disk Read", Quantity::DiskRead, 0x04),
    rate(5, "Disk Write", Quantity::DiskWrite, 0x04),
    rate(6, "NIC Receive", Quantity::NicReceive, 0x2c),
    rate(7, "NIC Send", Quantity::NicSend, 0x2c),
    Sensor {
        number: 8,
        name: "Power On Days",
        quantity: Quantity::Uptime,
        kind: 0x0b,
        entity: 0x17,
        rate: 0x00,
        unit: 25,
        m: 1,
        upper: None,
    },
];

/// The state of the power sensor: S0 working, S5 soft off (table 42-3, type 0x22).
pub(super) fn acpi_offset(power: PowerState) -> u8 {
    match power {
        PowerState::On => 0,
        PowerState::Off => 5,
    }
}

fn sensor(number: u8) -> Answer<&'static Sensor> {
    SENSORS.iter().find(|sensor| sensor.number == number).ok_or(Completion::NOT_PRESENT)
}

impl Sensor {
    fn reading_type(&self) -> u8 {
        if self.quantity == Quantity::Power { SPECIFIC } else { THRESHOLD }
    }

    /// Bits of the thresholds that hold: 3 upper non-critical, 4 upper critical.
    fn readable(&self) -> u8 {
        if self.upper.is_some() { 0x18 } else { 0 }
    }

    /// The six bytes of M, B, accuracy and exponents (section 43.1).
    fn factors(&self) -> [u8; 6] {
        [self.m, 0, 0, 0, 0, 0]
    }

    /// A full sensor record (section 43.1).
    fn record(&self) -> Vec<u8> {
        let discrete = self.quantity == Quantity::Power;
        let readable = self.readable();
        // Owner: this controller, on the system interface's unit. Scanning is on from the start.
        let mut body = vec![super::super::msg::lan::CONTROLLER, 0, self.number];
        body.extend([self.entity, 1, 0x40 | u8::from(!discrete)]);
        // Thresholds can be read and are compared with; events come of the power sensor alone.
        body.push(if readable == 0 { 0x03 } else { 0x07 });
        body.extend([self.kind, self.reading_type()]);
        let masks: [u8; 6] = if discrete {
            [0x21, 0, 0, 0, 0x21, 0]
        } else if readable == 0 {
            [0; 6]
        } else {
            [0, 0x30, 0, 0x30, readable, 0]
        };
        body.extend(masks);
        body.extend([self.rate, self.unit, 0, 0]);
        body.extend(self.factors());
        // No nominal reading, then its limits: the largest and smallest reading.
        body.extend([0, 0, 0, 0, 0xff, 0]);
        let (warn, critical) = self.upper.unwrap_or_default();
        body.extend([0, critical, warn, 0, 0, 0]);
        // Hysteresis, reserved, OEM; then the name.
        body.extend([0, 0, 0, 0, 0]);
        body.push(0xc0 | u8::try_from(self.name.len()).unwrap_or(16));
        body.extend(self.name.as_bytes());
        sdr(self.number.into(), 0x01, &body)
    }
}

/// The record of a sensor without a reading (section 43.3).
fn event_only(id: u16, of: EventOf, name: &str) -> Vec<u8> {
    let mut body = vec![super::super::msg::lan::CONTROLLER, 0, of.number];
    // Entity: the controller. Not shared, nothing reserved or of the maker.
    body.extend([0x06, 1, of.kind, SPECIFIC, 0, 0, 0, 0]);
    body.push(0xc0 | u8::try_from(name.len()).unwrap_or(16));
    body.extend(name.as_bytes());
    sdr(id, 0x03, &body)
}

/// A record with its header.
fn sdr(id: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let [low, high] = id.to_le_bytes();
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut record = vec![low, high, VERSION, kind, length];
    record.extend_from_slice(body);
    record
}

fn record_count() -> u16 {
    u16::try_from(SENSORS.len() + EVENT_ONLY.len() + 1).unwrap_or(u16::MAX)
}

/// Every record: the sensors, then the controller itself (section 43.9).
fn record(id: u16) -> Answer<(u16, Vec<u8>)> {
    let last = record_count();
    let id = match id {
        0 => 1,
        0xffff => last,
        id => id,
    };
    let next = if id == last { 0xffff } else { id + 1 };
    if id == last {
        // Event generation, sensors, SDR repository, SEL, FRU, chassis: as in Get Device ID.
        let mut body = vec![super::super::msg::lan::CONTROLLER, 0, 0, 0x8f, 0, 0, 0];
        body.extend([0x06, 1, 0, 0xc0 | 3]);
        body.extend(b"BMC");
        return Ok((next, sdr(id, 0x12, &body)));
    }
    let at = usize::from(id - 1);
    if let Some((of, name)) = at.checked_sub(SENSORS.len()).and_then(|at| EVENT_ONLY.get(at)) {
        return Ok((next, event_only(id, *of, name)));
    }
    let found = SENSORS.get(at).ok_or(Completion::NOT_PRESENT)?;
    Ok((next, found.record()))
}

/// Two readings of a machine, a moment apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Duration,
    readings: Readings,
}

fn per_second(before: u64, after: u64, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "eight bits of it are shown")]
    let bytes = after.saturating_sub(before) as f64;
    bytes / elapsed.as_secs_f64()
}

/// The nearest step of a reading, at most 255.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn step(value: f64, m: u8) -> u8 {
    (value / f64::from(m.max(1))).round().clamp(0.0, 255.0) as u8
}

fn raw(sensor: &Sensor, before: Sample, after: Sample) -> Option<u8> {
    let elapsed = after.at.saturating_sub(before.at);
    let (old, new) = (before.readings, after.readings);
    let megabytes = |old, new| per_second(old, new, elapsed) / 1_048_576.0;
    let value = match sensor.quantity {
        Quantity::Cpu => {
            let used = new.cpu_time.saturating_sub(old.cpu_time).as_secs_f64();
            100.0 * used / elapsed.as_secs_f64() / f64::from(new.cpu_count.max(1))
        }
        Quantity::Memory if new.memory_max_bytes == 0 => return None,
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        Quantity::Memory => 100.0 * new.memory_bytes as f64 / new.memory_max_bytes as f64,
        Quantity::DiskRead => megabytes(old.disk_read_bytes, new.disk_read_bytes),
        Quantity::DiskWrite => megabytes(old.disk_written_bytes, new.disk_written_bytes),
        Quantity::NicReceive => megabytes(old.nic_received_bytes, new.nic_received_bytes),
        Quantity::NicSend => megabytes(old.nic_sent_bytes, new.nic_sent_bytes),
        Quantity::Power | Quantity::Uptime => return None,
    };
    Some(step(value, sensor.m))
}

impl Controller {
    pub(super) fn answer_sdr(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_sdr_repository_info::Request::CODE => {
                read::<get_sdr_repository_info::Request>(data)?;
                reply(get_sdr_repository_info::Response {
                    version: VERSION,
                    records: record_count(),
                    free_bytes: 0,
                    last_add: 0,
                    last_erase: 0,
                    flags: 0x02,
                })
            }
            reserve_sdr_repository::Request::CODE => {
                read::<reserve_sdr_repository::Request>(data)?;
                let reservation = self.volatile().sdr.take();
                reply(reserve_sdr_repository::Response { reservation })
            }
            get_sdr::Request::CODE => {
                let request: get_sdr::Request = read(data)?;
                if request.offset != 0 {
                    self.volatile().sdr.check(request.reservation)?;
                }
                let (next, record) = record(request.record)?;
                reply(get_sdr::Response {
                    next,
                    data: part(&record, request.offset, request.count)?,
                })
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    pub(super) async fn answer_sensor(&self, request: &Request, now: Duration) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            platform_event::Request::CODE => reply(self.platform_event(&read(data)?)?),
            get_sensor_factors::Request::CODE => {
                let request: get_sensor_factors::Request = read(data)?;
                let sensor = analog(request.sensor)?;
                reply(get_sensor_factors::Response { next: 0, factors: sensor.factors() })
            }
            get_sensor_hysteresis::Request::CODE => {
                let request: get_sensor_hysteresis::Request = read(data)?;
                analog(request.sensor)?;
                reply(get_sensor_hysteresis::Response { positive: 0, negative: 0 })
            }
            get_sensor_thresholds::Request::CODE => {
                let request: get_sensor_thresholds::Request = read(data)?;
                let sensor = analog(request.sensor)?;
                let (warn, critical) = sensor.upper.unwrap_or_default();
                let thresholds = [0, 0, 0, warn, critical, 0];
                reply(get_sensor_thresholds::Response { readable: sensor.readable(), thresholds })
            }
            get_sensor_event_enable::Request::CODE => {
                let request: get_sensor_event_enable::Request = read(data)?;
                let events = sensor(request.sensor)?.quantity == Quantity::Power;
                let (flags, masks) =
                    if events { (0xc0, vec![0x21, 0, 0, 0]) } else { (SCANNING, Vec::new()) };
                reply(get_sensor_event_enable::Response { flags, masks })
            }
            get_sensor_event_status::Request::CODE => {
                let request: get_sensor_event_status::Request = read(data)?;
                let reading = self.sensor_reading(request.sensor, now).await?;
                let states = vec![reading.states[0] & 0x3f, 0, 0, 0];
                reply(get_sensor_event_status::Response { flags: reading.flags, states })
            }
            get_sensor_reading::Request::CODE => {
                let request: get_sensor_reading::Request = read(data)?;
                reply(self.sensor_reading(request.sensor, now).await?)
            }
            get_sensor_type::Request::CODE => {
                let request: get_sensor_type::Request = read(data)?;
                let sensor = sensor(request.sensor)?;
                let (kind, reading) = (sensor.kind, sensor.reading_type());
                reply(get_sensor_type::Response { kind, reading })
            }
            _ => self.answer_pef(request),
        }
    }

    async fn sensor_reading(
        &self,
        number: u8,
        now: Duration,
    ) -> Answer<get_sensor_reading::Response> {
        let sensor = sensor(number)?;
        let value = match sensor.quantity {
            Quantity::Power => {
                let state = 1 << acpi_offset(self.observed_power().await?);
                let flags = 0x80 | SCANNING;
                let states = [state, 0x80];
                return Ok(get_sensor_reading::Response { reading: 0, flags, states });
            }
            Quantity::Uptime => {
                let minutes = self.machine.powered_minutes();
                let minutes = tokio::time::timeout(ANSWER_MAX, minutes).await.ok().flatten();
                minutes.map(|minutes| u8::try_from(minutes / 1440).unwrap_or(u8::MAX))
            }
            Quantity::Cpu
            | Quantity::Memory
            | Quantity::DiskRead
            | Quantity::DiskWrite
            | Quantity::NicReceive
            | Quantity::NicSend => {
                let samples = self.samples(now).await;
                samples.and_then(|(before, after)| raw(sensor, before, after))
            }
        };
        let passed = |limit: Option<u8>, bit: u8| match (value, limit) {
            (Some(value), Some(limit)) if value >= limit => bit,
            _ => 0,
        };
        let states =
            passed(sensor.upper.map(|it| it.0), 0x08) | passed(sensor.upper.map(|it| it.1), 0x10);
        let flags = SCANNING | if value.is_none() { UNAVAILABLE } else { 0 };
        let reading = value.unwrap_or_default();
        Ok(get_sensor_reading::Response { reading, flags, states: [0xc0 | states, 0] })
    }

    /// What the machine read a moment ago, and now; `None` when it cannot be read.
    async fn samples(&self, now: Duration) -> Option<(Sample, Sample)> {
        let kept = self.volatile().samples;
        if let Some((before, after)) = kept
            && now.saturating_sub(after.at) < RATE_MIN
        {
            return Some((before, after));
        }
        let last = kept.map(|(_, after)| after);
        let recent = last.filter(|it| now.saturating_sub(it.at) < RATE_MAX);
        let started = tokio::time::Instant::now();
        let before = match recent {
            Some(before) => before,
            None => {
                let readings = self.ask(self.machine.readings()).await.ok()?;
                tokio::time::sleep(RATE_MIN).await;
                Sample { at: now, readings }
            }
        };
        let readings = self.ask(self.machine.readings()).await.ok()?;
        let after = Sample { at: now + started.elapsed(), readings };
        self.volatile().samples = Some((before, after));
        Some((before, after))
    }
}

fn analog(number: u8) -> Answer<&'static Sensor> {
    let sensor = sensor(number)?;
    let analog = sensor.quantity != Quantity::Power;
    analog.then_some(sensor).ok_or(Completion::ILLEGAL_FOR_SENSOR)
}
