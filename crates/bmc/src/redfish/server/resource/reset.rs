//! Reset of a system, and of its manager.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::super::{
    login::Role,
    patch::Body,
    reply::Reply,
    route::{Answer, Context, Handler, Needs, Route},
    site::Unit,
    tasks::Progress,
};
use crate::machine::{MachineError, PowerAction, PowerState};

pub(super) const ROUTES: &[Route] = &[
    Route::action(
        "/redfish/v1/Systems/{unit}/Actions/ComputerSystem.Reset",
        Needs::Role(Role::Operator),
        Handler::Later(system),
    ),
    Route::action(
        "/redfish/v1/Managers/{unit}/Actions/Manager.Reset",
        Needs::Role(Role::Administrator),
        Handler::Now(manager),
    ),
];

/// How long the operating system may take to shut down before a graceful restart has failed.
const SHUTDOWN_MAX: Duration = Duration::from_secs(300);
/// How often a machine that nobody observes is asked whether it is off.
const ASK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum ResetType {
    Plain(PowerAction),
    /// Soft off, then on.
    GracefulRestart,
    /// Soft off when it is on, on when it is off.
    PushPowerButton,
}

const TYPES: [(&str, ResetType); 9] = [
    ("On", ResetType::Plain(PowerAction::On)),
    ("ForceOn", ResetType::Plain(PowerAction::On)),
    ("ForceOff", ResetType::Plain(PowerAction::Off)),
    ("ForceRestart", ResetType::Plain(PowerAction::Reset)),
    ("PowerCycle", ResetType::Plain(PowerAction::Cycle)),
    ("GracefulShutdown", ResetType::Plain(PowerAction::Soft)),
    ("GracefulRestart", ResetType::GracefulRestart),
    ("Nmi", ResetType::Plain(PowerAction::Diag)),
    ("PushPowerButton", ResetType::PushPowerButton),
];

/// The types, as a system lists them.
pub(super) fn names() -> Vec<&'static str> {
    TYPES.iter().map(|(name, _)| *name).collect()
}

fn system<'a>(context: &'a Context<'a>) -> BoxFuture<'a, Answer> {
    Box::pin(async move {
        let unit = context.unit()?.clone();
        let mut body = Body::of_action(context.body, "ComputerSystem.Reset");
        let wanted = body.choice("ResetType", &TYPES)?;
        let wanted = wanted.ok_or_else(|| body.missing("ResetType"))?;
        body.finish(&serde_json::Value::Null)?;
        let id = unit.id.clone();
        let work = reset(unit, wanted);
        finish(context.service.tasks.run(&id, "ComputerSystem.Reset", work).await?)
    })
}

/// The answer of an action that a task does.
pub(super) fn finish(progress: Progress) -> Answer {
    match progress {
        Progress::Finished => Ok(Reply::Done),
        Progress::Continues(task) => Ok(Reply::Accepted(task)),
    }
}

/// Boxed: each arm would make the future of all larger.
fn reset(
    unit: std::sync::Arc<Unit>,
    wanted: ResetType,
) -> impl Future<Output = Result<(), MachineError>> + Send {
    Box::pin(async move {
        match wanted {
            // A machine that is off has nothing to interrupt or to shut down.
            ResetType::Plain(
                action @ (PowerAction::Diag | PowerAction::Reset | PowerAction::Cycle),
            ) if unit.power().await? == PowerState::Off => {
                tracing::debug!(?action, "reset of a machine that is off");
                Err(MachineError::WrongState)
            }
            ResetType::Plain(action) => unit.machine.power(action).await,
            ResetType::PushPowerButton => match unit.power().await? {
                PowerState::On => unit.machine.power(PowerAction::Soft).await,
                PowerState::Off => unit.machine.power(PowerAction::On).await,
            },
            ResetType::GracefulRestart => {
                if unit.power().await? == PowerState::Off {
                    return Err(MachineError::WrongState);
                }
                unit.machine.power(PowerAction::Soft).await?;
                let off = timeout(SHUTDOWN_MAX, until_off(&unit)).await;
                off.map_err(|_| MachineError::Failed("it did not shut down".into()))??;
                unit.machine.power(PowerAction::On).await
            }
        }
    })
}

async fn until_off(unit: &Unit) -> Result<(), MachineError> {
    if let Some(mut changes) = unit.power_changes() {
        let gone = |_| MachineError::Failed("nobody observes it any more".into());
        return changes.wait_for(|power| *power == PowerState::Off).await.map(drop).map_err(gone);
    }
    while unit.power().await? == PowerState::On {
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// A manager has nothing to restart but what it remembers: its sessions and streams end.
fn manager(context: &Context<'_>) -> Answer {
    let unit = context.unit()?;
    let mut body = Body::of_action(context.body, "Manager.Reset");
    let types = [("ForceRestart", ()), ("GracefulRestart", ())];
    // DSP2046: without a type the service chooses.
    body.choice("ResetType", &types)?;
    body.finish(&serde_json::Value::Null)?;
    let service = context.service;
    let of_unit = |digest| {
        let who = service.login.principal(digest, context.now);
        who.is_none_or(|who| !who.is_site() && who.role_at(unit).is_some())
    };
    service.sessions().close(|session| of_unit(session.login));
    for subscriber in service.events.list() {
        if of_unit(subscriber.login) {
            service.events.close(subscriber.id);
        }
    }
    Ok(Reply::Done)
}
