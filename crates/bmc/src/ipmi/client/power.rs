//! A power action that is done at most once, or as often as it takes where that is the same.
//!
//! ```text
//!            answered                        unanswered
//! order ────────────────▶ done   order ────────────────────▶ look
//!                                  ▲                          │ on, off: in the wanted state
//!                                  │ on, off: not yet,        ├──────────────────────────▶ done
//!                                  └──────────────────────────┤ anything else
//!                                    and fewer than 3 orders  └─────────────────────▶ unknown
//! ```

use super::{
    ClientError,
    dialogue::{Ask, Twice},
};
use crate::ipmi::{
    completion::Completion,
    machine::{PowerAction, PowerState},
    msg::{chassis_control, get_chassis_status, lan::LanResponse},
    wire::{Command as _, Decode as _},
};

/// Orders of the same state that go unanswered.
const ORDERS_MAX: u32 = 3;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Ask this, and come back with the answer.
    Ask(Ask),
    /// This is the end of it.
    Done(Result<LanResponse, ClientError>),
}

/// A power action under way.
#[derive(Debug)]
pub(super) struct Power {
    action: PowerAction,
    orders: u32,
    /// The order's own silence, while its effect is looked for.
    unknown: Option<ClientError>,
}

/// The state that an action leads to for certain; ordering it twice is ordering it once.
fn wanted(action: PowerAction) -> Option<PowerState> {
    match action {
        PowerAction::On => Some(PowerState::On),
        PowerAction::Off => Some(PowerState::Off),
        PowerAction::Cycle | PowerAction::Reset | PowerAction::Soft | PowerAction::Diag => None,
    }
}

impl Power {
    /// With the first order.
    pub(super) fn new(action: PowerAction) -> (Self, Ask) {
        let mut power = Self { action, orders: 0, unknown: None };
        let order = power.order();
        (power, order)
    }

    fn order(&mut self) -> Ask {
        self.orders += 1;
        Ask::new(&chassis_control::Request { action: self.action }, Twice::Harmful)
    }

    pub(super) fn on_answer(&mut self, answer: Result<LanResponse, ClientError>) -> Next {
        match (self.unknown.take(), answer) {
            (None, Err(unknown @ ClientError::OutcomeUnknown { .. })) => {
                // A soft "off" that has happened already can be seen, too.
                if wanted(self.action).is_none() && self.action != PowerAction::Soft {
                    return Next::Done(Err(unknown));
                }
                self.unknown = Some(unknown);
                Next::Ask(Ask::new(&get_chassis_status::Request, Twice::Harmless))
            }
            (None, answer) => Next::Done(answer),
            (Some(unknown), Ok(status)) => self.on_status(status, unknown),
            (Some(unknown), Err(_)) => Next::Done(Err(unknown)),
        }
    }

    fn on_status(&mut self, status: LanResponse, unknown: ClientError) -> Next {
        let read = (status.completion == Completion::OK)
            .then(|| get_chassis_status::Response::decode(&status.data).ok());
        let Some(read) = read.flatten() else { return Next::Done(Err(unknown)) };
        match (self.action, wanted(self.action)) {
            (PowerAction::Soft, _) if read.power_state() == PowerState::Off => self.done(status),
            (_, Some(state)) if read.power_state() == state => self.done(status),
            (_, Some(_)) if self.orders < ORDERS_MAX => Next::Ask(self.order()),
            _ => Next::Done(Err(unknown)),
        }
    }

    /// As if the order itself had been answered.
    fn done(&self, status: LanResponse) -> Next {
        let (netfn, command) =
            (chassis_control::Request::NETFN | 1, chassis_control::Request::CODE);
        Next::Done(Ok(LanResponse { netfn, command, data: Vec::new(), ..status }))
    }
}
