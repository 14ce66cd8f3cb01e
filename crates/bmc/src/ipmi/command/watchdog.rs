//! The watchdog (section 27): a timer that somebody has to keep from running out.
//!
//! ```text
//!             Set                 Reset
//! (not set) ──────▶ stopped ───────────────▶ running ──┐ Reset: from the start again
//!                      ▲ ▲                     │ │  ▲   │
//!                      │ └─ Set, machine off ──┘ │  └───┘
//!                      └── ran out: event, action┘
//! ```

use std::time::Duration;

use super::{Answer, Controller, chassis::Restart, read, reply, sensors::WATCHDOG};
use crate::{
    ipmi::{
        completion::Completion,
        msg::{get_watchdog, reset_watchdog, set_watchdog},
        session::{Reply, Request},
        wire::Command,
    },
    machine::PowerAction,
};

const STEP: Duration = Duration::from_millis(100);
/// Reset of a watchdog that was never set (section 27.5).
const NOT_SET: Completion = Completion(0x80);
const WITHOUT_EVENT: u8 = 0x80;
const RUNNING: u8 = 0x40;
const GOES_ON: u8 = 0x40;
/// The diagnostic interrupt, before the end.
const INTERRUPT_NMI: u8 = 2;
/// The event's offset for what came before the end (table 42-3, type 0x23).
const EVENT_BEFORE: u8 = 8;

/// The timer.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    set: Option<set_watchdog::Request>,
    /// For which uses it ran out.
    expired: u8,
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    ends: Duration,
    /// When the interrupt before the end is due; `None` when there is none, or it was.
    warns: Option<Duration>,
}

/// What a watchdog does next.
#[derive(Debug, PartialEq, Eq)]
struct Bite {
    offset: u8,
    actions: u8,
    usage: u8,
    power: Option<PowerAction>,
}

impl Watchdog {
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let running = self.running?;
        Some(running.warns.unwrap_or(running.ends))
    }

    fn start(&mut self, now: Duration) -> Answer<()> {
        let set = self.set.as_ref().ok_or(NOT_SET)?;
        let length = STEP * u32::from(set.initial);
        let before = Duration::from_secs(set.pretimeout_s.into());
        let warns = (set.actions >> 4 & 0x07 == INTERRUPT_NMI).then(|| now + (length - before));
        self.running = Some(Running { ends: now + length, warns });
        Ok(())
    }

    fn set(&mut self, request: set_watchdog::Request, now: Duration) -> Answer<()> {
        let (interrupt, action) = (request.actions >> 4 & 0x07, request.actions & 0x07);
        let known = matches!(request.usage & 0x07, 1..=5)
            && request.usage & 0x38 == 0
            && request.actions & 0x88 == 0
            && matches!(interrupt, 0 | INTERRUPT_NMI)
            && action <= 3;
        let before = Duration::from_secs(request.pretimeout_s.into());
        if !known || before > STEP * u32::from(request.initial) {
            return Err(Completion::INVALID_FIELD);
        }
        self.expired &= !request.clear;
        let goes_on = request.usage & GOES_ON != 0 && self.running.is_some();
        self.set = Some(request);
        if goes_on {
            return self.start(now);
        }
        self.stop();
        Ok(())
    }

    fn show(&self, now: Duration) -> get_watchdog::Response {
        let Some(set) = &self.set else {
            return get_watchdog::Response {
                usage: 0,
                actions: 0,
                pretimeout_s: 0,
                expired: self.expired,
                initial: 0,
                present: 0,
            };
        };
        let left = self.running.map_or(Duration::ZERO, |it| it.ends.saturating_sub(now));
        let present = u16::try_from(left.as_millis() / STEP.as_millis()).unwrap_or(u16::MAX);
        get_watchdog::Response {
            usage: set.usage & !GOES_ON | if self.running.is_some() { RUNNING } else { 0 },
            actions: set.actions,
            pretimeout_s: set.pretimeout_s,
            expired: self.expired,
            initial: set.initial,
            present,
        }
    }

    /// What is due; it is done then.
    fn due(&mut self, now: Duration) -> Option<Bite> {
        let set = self.set.as_ref()?;
        let running = self.running.as_mut()?;
        let bite = |offset, power| Bite { offset, actions: set.actions, usage: set.usage, power };
        if running.ends <= now {
            self.running = None;
            self.expired |= 1 << (set.usage & 0x07);
            let action = set.actions & 0x07;
            let power = match action {
                1 => Some(PowerAction::Reset),
                2 => Some(PowerAction::Off),
                3 => Some(PowerAction::Cycle),
                _ => None,
            };
            return Some(bite(action, power));
        }
        let warned = running.warns.take_if(|at| *at <= now);
        warned.map(|_| bite(EVENT_BEFORE, Some(PowerAction::Diag)))
    }
}

impl Controller {
    pub(super) fn answer_watchdog(&self, request: &Request, now: Duration) -> Answer<Reply> {
        let data = &request.data;
        let watchdog = &mut self.volatile().watchdog;
        match request.command {
            get_watchdog::Request::CODE => {
                read::<get_watchdog::Request>(data)?;
                reply(watchdog.show(now))
            }
            set_watchdog::Request::CODE => {
                watchdog.set(read(data)?, now)?;
                reply(set_watchdog::Response)
            }
            reset_watchdog::Request::CODE => {
                read::<reset_watchdog::Request>(data)?;
                watchdog.start(now)?;
                reply(reset_watchdog::Response)
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    /// Does what the watchdog has to do now.
    pub(super) async fn watch(&self, now: Duration) {
        let Some(bite) = self.volatile().watchdog.due(now) else { return };
        let machine = &self.identity.name;
        tracing::warn!(machine, action = ?bite.power, "watchdog ran out");
        if bite.usage & WITHOUT_EVENT == 0 {
            // Byte 2: the interrupt that was set, and for what (table 42-3).
            let interrupt = if bite.actions >> 4 & 0x07 == INTERRUPT_NMI { 0x20 } else { 0 };
            self.log(WATCHDOG, bite.offset, [interrupt | bite.usage & 0x07, 0xff]);
        }
        let Some(power) = bite.power else { return };
        match self.act(power).await {
            Ok(_) if power.boots() => self.volatile().chassis.restart = Restart::Watchdog,
            Ok(_) => {}
            Err(code) => tracing::warn!(machine, action = ?power, ?code, "watchdog failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn request(actions: u8, pretimeout_s: u8, initial: u16) -> set_watchdog::Request {
        set_watchdog::Request { usage: 4, actions, pretimeout_s, clear: 0, initial }
    }

    #[test]
    fn it_is_set_started_kept_from_running_out_and_bites_once() {
        let mut dog = Watchdog::default();
        assert_eq!(dog.start(NOW), Err(NOT_SET));
        dog.set(request(1, 0, 50), NOW).expect("set");
        assert_eq!((dog.next_deadline(), dog.show(NOW).usage), (None, 4));
        dog.start(NOW).expect("start");
        let later = NOW + Duration::from_secs(4);
        assert_eq!((dog.show(later).present, dog.show(later).usage), (10, 4 | RUNNING));
        dog.start(later).expect("again");
        let end = later + Duration::from_secs(5);
        assert_eq!((dog.next_deadline(), dog.due(NOW + Duration::from_secs(5))), (Some(end), None));
        let bite = dog.due(end).expect("it ran out");
        assert_eq!((bite.offset, bite.power), (1, Some(PowerAction::Reset)));
        assert_eq!((dog.due(end), dog.show(end).expired), (None, 1 << 4));
        dog.set(set_watchdog::Request { clear: 1 << 4, ..request(1, 0, 50) }, end).expect("set");
        assert_eq!(dog.show(end).expired, 0);
    }

    #[test]
    fn it_warns_before() {
        let mut dog = Watchdog::default();
        dog.set(request(0x20, 2, 50), NOW).expect("set");
        dog.start(NOW).expect("start");
        let warning = NOW + Duration::from_secs(3);
        assert_eq!(dog.next_deadline(), Some(warning));
        let bite = dog.due(warning).expect("warns");
        assert_eq!((bite.offset, bite.power), (EVENT_BEFORE, Some(PowerAction::Diag)));
        assert_eq!(dog.due(warning), None);
        let bite = dog.due(NOW + Duration::from_secs(5)).expect("ran out");
        assert_eq!((bite.offset, bite.power), (0, None));
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let mut dog = Watchdog::default();
        let refused = [
            request(0x10, 0, 50),
            request(0x30, 0, 50),
            request(0x04, 0, 50),
            request(0x20, 6, 50),
            set_watchdog::Request { usage: 0, ..request(1, 0, 50) },
            set_watchdog::Request { usage: 6, ..request(1, 0, 50) },
        ];
        for request in refused {
            assert_eq!(
                dog.set(request.clone(), NOW),
                Err(Completion::INVALID_FIELD),
                "{request:?}"
            );
        }
    }
}
