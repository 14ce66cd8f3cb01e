//! Power, and what the chassis tells about it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{ANSWER_MAX, Answer, Controller};
use crate::ipmi::{
    completion::Completion,
    machine::{PowerAction, PowerState},
    msg::{
        chassis_control, chassis_identify, get_chassis_capabilities, get_chassis_status,
        get_poh_counter, get_restart_cause,
    },
    session::LAN_CHANNEL,
};

const IDENTIFY_DEFAULT: Duration = Duration::from_secs(15);

/// What the chassis remembers.
#[derive(Debug, Default)]
pub(super) struct Chassis {
    identify: Identify,
    /// Why the machine started last.
    pub(super) restart: Restart,
}

/// Why the machine started (section 28.11).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    #[default]
    Unknown,
    Command,
    Watchdog,
    /// Power returned, and the policy is "always on".
    PolicyOn,
    /// Power returned, and the machine was on before.
    PolicyPrevious,
}

impl Restart {
    fn bits(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Command => 1,
            Self::Watchdog => 4,
            Self::PolicyOn => 6,
            Self::PolicyPrevious => 7,
        }
    }
}

/// Set Power Restore Policy: as it was.
const POLICY_PREVIOUS: u8 = 1;
const POLICY_ON: u8 = 2;

#[derive(Debug, Default, Clone, Copy)]
enum Identify {
    #[default]
    Off,
    Until(Duration),
    Forever,
}

impl Controller {
    pub(super) fn capabilities(
        &self,
        _: get_chassis_capabilities::Request,
    ) -> get_chassis_capabilities::Response {
        // The diagnostic interrupt is there; every device is the controller itself.
        let devices = [super::super::msg::lan::CONTROLLER; 4];
        get_chassis_capabilities::Response { flags: 0x04, devices, bridge: None }
    }

    pub(super) async fn status(
        &self,
        _: get_chassis_status::Request,
        now: Duration,
    ) -> Answer<get_chassis_status::Response> {
        let power = match self.observed_power().await? {
            PowerState::On => 0x01,
            PowerState::Off => 0x00,
        };
        let policy = self.nvram.read(|it| it.restore_policy).unwrap_or(0x03);
        let volatile = self.volatile();
        let identify = match volatile.chassis.identify {
            Identify::Until(end) if end > now => 0x10,
            Identify::Forever => 0x20,
            Identify::Off | Identify::Until(_) => 0x00,
        };
        Ok(get_chassis_status::Response {
            power: power | policy << 5,
            last_event: if volatile.chassis.restart == Restart::Command { 0x10 } else { 0x00 },
            misc: 0x40 | identify,
            front_panel: None,
        })
    }

    pub(super) fn identify(
        &self,
        request: chassis_identify::Request,
        now: Duration,
    ) -> chassis_identify::Response {
        self.volatile().chassis.identify = match (request.forever, request.seconds) {
            (true, _) => Identify::Forever,
            (false, None) => Identify::Until(now + IDENTIFY_DEFAULT),
            (false, Some(0)) => Identify::Off,
            (false, Some(seconds)) => Identify::Until(now + Duration::from_secs(seconds.into())),
        };
        chassis_identify::Response
    }

    pub(super) fn restart_cause(
        &self,
        _: get_restart_cause::Request,
    ) -> get_restart_cause::Response {
        let cause = self.volatile().chassis.restart.bits();
        get_restart_cause::Response { cause, channel: LAN_CHANNEL }
    }

    pub(super) async fn poh_counter(
        &self,
        _: get_poh_counter::Request,
    ) -> Answer<get_poh_counter::Response> {
        let minutes = tokio::time::timeout(ANSWER_MAX, self.machine.powered_minutes())
            .await
            .map_err(|_| Completion::TIMEOUT)?
            .ok_or(Completion::NOT_PRESENT)?;
        Ok(get_poh_counter::Response { minutes_per_count: 60, count: minutes / 60 })
    }

    pub(super) async fn control(
        &self,
        request: chassis_control::Request,
        now: Duration,
    ) -> Answer<chassis_control::Response> {
        let action = request.action;
        let before = self.act(action).await?;
        {
            let mut volatile = self.volatile();
            volatile.boot.on_chassis_control(action, now);
            if action.boots() && !(action == PowerAction::On && before == PowerState::On) {
                volatile.chassis.restart = Restart::Command;
            }
        }
        // What became of it is an event, as soon as it shows.
        let _ = self.observed_power().await;
        Ok(chassis_control::Response)
    }

    /// Does it, and says what the power was before. Real controllers, too, answer a power action
    /// that takes long before it is done: whoever wants to know asks for the power state. What
    /// fails after the answer is logged.
    pub(super) async fn act(&self, action: PowerAction) -> Answer<PowerState> {
        let name = &self.identity.name;
        let turn = self.power.clone().try_acquire_owned().map_err(|_| Completion::NODE_BUSY)?;
        let state = self.observed_power().await?;
        let needs_power =
            matches!(action, PowerAction::Cycle | PowerAction::Reset | PowerAction::Diag);
        if needs_power && state == PowerState::Off {
            return Err(Completion::WRONG_STATE);
        }
        let (done, answer) = oneshot::channel();
        let machine = self.machine.clone();
        let action_name = name.clone();
        self.actions.spawn(async move {
            let _turn = turn;
            let result = machine.power(action).await;
            if let Err(Err(error)) = done.send(result) {
                tracing::warn!(machine = action_name, ?action, %error, "late power failure");
            }
        });
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(result)) => result.map_err(|error| self.refusal(&error))?,
            Ok(Err(_)) => {
                tracing::error!(machine = name, ?action, "power action panicked");
                return Err(Completion::UNSPECIFIED);
            }
            Err(_) => tracing::debug!(machine = name, ?action, "power action goes on"),
        }
        Ok(state)
    }

    /// The controller starts: power has returned to it. A machine that is off is switched on when
    /// its restore policy says so; one that runs has not lost its power.
    pub async fn on_start(&self) {
        let (policy, was_on) = self.nvram.read(|it| (it.restore_policy, it.was_on));
        let name = &self.identity.name;
        let state = match self.ask(self.machine.power_state()).await {
            Ok(state) => state,
            Err(code) => {
                tracing::warn!(machine = name, ?code, "power is unknown when its BMC starts");
                return;
            }
        };
        self.on_power(state);
        let restart = match (policy, state) {
            (Some(POLICY_ON), PowerState::Off) => Restart::PolicyOn,
            (Some(POLICY_PREVIOUS), PowerState::Off) if was_on == Some(true) => {
                Restart::PolicyPrevious
            }
            _ => return,
        };
        tracing::info!(machine = name, ?restart, "power is restored");
        match self.act(PowerAction::On).await {
            Ok(_) => self.volatile().chassis.restart = restart,
            Err(code) => tracing::warn!(machine = name, ?code, "power cannot be restored"),
        }
    }
}
