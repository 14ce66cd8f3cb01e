//! The event log (section 31), and what the controller writes into it.

use super::{
    Answer, Controller,
    nvram::{EVENTS_MAX, Nvram, record_number},
    read, reply, sensors,
    sensors::{EventOf, POWER, SESSIONS},
};
use crate::{
    ipmi::{
        completion::Completion,
        msg::{
            add_sel_entry, clear_sel, delete_sel_entry, get_sel_allocation_info, get_sel_entry,
            get_sel_info, get_sel_time, platform_event, reserve_sel, set_sel_time,
        },
        session::{LAN_CHANNEL, Reply, Request},
        wire::Command,
    },
    machine::PowerState,
};

/// Revision of the log, BCD with the digits exchanged (section 31.2).
const VERSION: u8 = 0x51;
const RECORD_BYTES: u16 = 16;
/// "System event".
const TYPE_SYSTEM_EVENT: u8 = 0x02;
const EVENT_REVISION: u8 = 0x04;
/// Software of a remote console, as generator (table 32-1).
const GENERATOR_CONSOLE: u8 = 0x81;
const CLEAR_START: u8 = 0xaa;
const CLEAR_STATUS: u8 = 0x00;
const CLEARED: u8 = 1;

impl Controller {
    /// The machine's power, as observed now. Where nobody watches it, this look is what finds a
    /// change; otherwise [`Controller::on_power`] has it as it happens.
    pub(super) async fn observed_power(&self) -> Answer<PowerState> {
        let state = self.ask(self.machine.power_state()).await?;
        if !self.is_watched {
            self.on_power(state);
        }
        Ok(state)
    }

    /// The machine is on, or off: an event, when that is news.
    pub fn on_power(&self, state: PowerState) {
        let on = state == PowerState::On;
        let before = self.nvram.read(|it| it.was_on);
        if before == Some(on) {
            return;
        }
        if !on {
            self.volatile().watchdog.stop();
        }
        self.nvram.change(|it| {
            it.was_on = Some(on);
            if it.log_events && before.is_some() {
                it.add_event(event(POWER, sensors::acpi_offset(state), [0xff, 0xff]));
            }
        });
    }

    /// Somebody gave a wrong name or password (sensor type 0x2a, table 42-3).
    pub fn on_failed_login(&self) {
        // Which name it was is nobody's business: "unspecified user", by the LAN channel.
        let audit = event(SESSIONS, 0x02, [0x00, LAN_CHANNEL]);
        // Somebody who goes on and on changes nothing any more, so that nothing is written down.
        let news = |it: &Nvram| it.log_events && (it.has_room_for_failed_login() || !it.overflow);
        if self.nvram.read(news) {
            self.nvram.change(|it| it.add_failed_login(audit));
        }
    }

    /// Logs an event of the controller's own.
    pub(super) fn log(&self, sensor: EventOf, offset: u8, data: [u8; 2]) {
        if self.nvram.read(|it| it.log_events) {
            self.nvram.change(|it| it.add_event(event(sensor, offset, data)));
        }
    }

    pub(super) fn answer_sel(&self, request: &Request) -> Answer<Reply> {
        let data = &request.data;
        match request.command {
            get_sel_info::Request::CODE => {
                read::<get_sel_info::Request>(data)?;
                reply(self.nvram.read(sel_info))
            }
            get_sel_allocation_info::Request::CODE => {
                read::<get_sel_allocation_info::Request>(data)?;
                let free = self.nvram.read(free_records);
                let units = u16::try_from(EVENTS_MAX).unwrap_or(u16::MAX);
                reply(get_sel_allocation_info::Response {
                    units,
                    unit_bytes: RECORD_BYTES,
                    free_units: free,
                    largest_free: free,
                    largest_record: 1,
                })
            }
            reserve_sel::Request::CODE => {
                read::<reserve_sel::Request>(data)?;
                reply(reserve_sel::Response { reservation: self.volatile().sel.take() })
            }
            get_sel_entry::Request::CODE => reply(self.sel_entry(&read(data)?)?),
            add_sel_entry::Request::CODE => {
                let request: add_sel_entry::Request = read(data)?;
                let number = self.nvram.change(|it| it.add_event(request.record));
                let record = number.ok_or(Completion::OUT_OF_SPACE)?;
                reply(add_sel_entry::Response { record })
            }
            delete_sel_entry::Request::CODE => reply(self.delete_entry(&read(data)?)?),
            clear_sel::Request::CODE => reply(self.clear_sel(&read(data)?)?),
            get_sel_time::Request::CODE => {
                read::<get_sel_time::Request>(data)?;
                reply(get_sel_time::Response { time: self.nvram.read(Nvram::clock) })
            }
            set_sel_time::Request::CODE => {
                let request: set_sel_time::Request = read(data)?;
                self.nvram.change(|it| it.set_clock(request.time));
                reply(set_sel_time::Response)
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn sel_entry(&self, request: &get_sel_entry::Request) -> Answer<get_sel_entry::Response> {
        if request.offset != 0 {
            self.volatile().sel.check(request.reservation)?;
        }
        self.nvram.read(|nvram| {
            let at = find(nvram, request.record)?;
            let record = nvram.events.get(at).ok_or(Completion::NOT_PRESENT)?;
            let next = nvram.events.get(at + 1).map_or(0xffff, record_number);
            let record = part(record, request.offset, request.count)?;
            Ok(get_sel_entry::Response { next, record })
        })
    }

    fn delete_entry(
        &self,
        request: &delete_sel_entry::Request,
    ) -> Answer<delete_sel_entry::Response> {
        self.volatile().sel.check(request.reservation)?;
        let record = self.nvram.change(|nvram| {
            let at = find(nvram, request.record)?;
            nvram.last_erase = nvram.clock();
            Ok(record_number(&nvram.events.remove(at)))
        })?;
        self.volatile().sel.cancel();
        Ok(delete_sel_entry::Response { record })
    }

    fn clear_sel(&self, request: &clear_sel::Request) -> Answer<clear_sel::Response> {
        if request.letters != *b"CLR" {
            return Err(Completion::INVALID_FIELD);
        }
        match request.action {
            CLEAR_STATUS => return Ok(clear_sel::Response { progress: CLEARED }),
            CLEAR_START => self.volatile().sel.check(request.reservation)?,
            _ => return Err(Completion::INVALID_FIELD),
        }
        self.nvram.change(Nvram::clear);
        Ok(clear_sel::Response { progress: CLEARED })
    }

    /// An event that somebody else reports (section 29.3): it is logged.
    pub(super) fn platform_event(
        &self,
        request: &platform_event::Request,
    ) -> Answer<platform_event::Response> {
        let (generator, event) = match request.event.as_slice() {
            event @ &[_, _, _, _, _, _, _] => (GENERATOR_CONSOLE, event),
            [generator, event @ ..] if event.len() == 7 => (*generator, event),
            _ => return Err(Completion::LENGTH_INVALID),
        };
        if !self.nvram.read(|it| it.log_events) {
            return Err(Completion::WRONG_STATE);
        }
        let mut record = [0; 16];
        record[2] = TYPE_SYSTEM_EVENT;
        record[7] = generator;
        record[9..].copy_from_slice(event);
        let number = self.nvram.change(|it| it.add_event(record));
        number.map(|_| platform_event::Response).ok_or(Completion::OUT_OF_SPACE)
    }
}

/// An event of the controller itself, that a state was entered; number and time come with the
/// log.
fn event(sensor: EventOf, offset: u8, [second, third]: [u8; 2]) -> [u8; 16] {
    let mut record = [0; 16];
    record[2] = TYPE_SYSTEM_EVENT;
    record[7] = super::super::msg::lan::CONTROLLER;
    let specific = 0x6f;
    // Bytes that mean something are announced (table 29-6); 0xff is "unspecified".
    let announced = if second == 0xff { 0x00 } else { 0xc0 } | if third == 0xff { 0 } else { 0x30 };
    record[9..].copy_from_slice(&[
        EVENT_REVISION,
        sensor.kind,
        sensor.number,
        specific,
        announced | offset,
        second,
        third,
    ]);
    record
}

/// The number that goes with removing and with reading in parts; zero is none.
#[derive(Debug, Default)]
pub(super) struct Reservation {
    last: u16,
    valid: bool,
}

impl Reservation {
    pub(super) fn take(&mut self) -> u16 {
        self.last = self.last.wrapping_add(1).max(1);
        self.valid = true;
        self.last
    }

    pub(super) fn check(&self, number: u16) -> Answer<()> {
        let right = self.valid && number == self.last;
        right.then_some(()).ok_or(Completion::RESERVATION_INVALID)
    }

    fn cancel(&mut self) {
        self.valid = false;
    }
}

/// Bytes of a record, as a partial read asks for them.
pub(super) fn part(record: &[u8], offset: u8, count: u8) -> Answer<Vec<u8>> {
    let rest = record.get(usize::from(offset)..).ok_or(Completion::PARAMETER_OUT_OF_RANGE)?;
    let count = if count == 0xff { rest.len() } else { usize::from(count).min(rest.len()) };
    Ok(rest.iter().take(count).copied().collect())
}

fn find(nvram: &Nvram, number: u16) -> Answer<usize> {
    let at = match number {
        0 => Some(0),
        0xffff => nvram.events.len().checked_sub(1),
        number => nvram.events.iter().position(|it| record_number(it) == number),
    };
    at.filter(|at| *at < nvram.events.len()).ok_or(Completion::NOT_PRESENT)
}

fn free_records(nvram: &Nvram) -> u16 {
    u16::try_from(EVENTS_MAX.saturating_sub(nvram.events.len())).unwrap_or(u16::MAX)
}

fn sel_info(nvram: &Nvram) -> get_sel_info::Response {
    get_sel_info::Response {
        version: VERSION,
        entries: u16::try_from(nvram.events.len()).unwrap_or(u16::MAX),
        free_bytes: free_records(nvram).saturating_mul(RECORD_BYTES),
        last_add: nvram.last_add,
        last_erase: nvram.last_erase,
        flags: 0x0b | if nvram.overflow { 0x80 } else { 0 },
    }
}
