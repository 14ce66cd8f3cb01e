//! `undercloud node manage|inspect|provide|…`: asks nodes for something, follows each to its end and
//! says what came of it. One that refuses or fails takes nothing from the others.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde::Serialize;
use undercloud_api::{
    admin::{Accepted, Event, NodeView, VerbRequest},
    client::Client,
};
use undercloud_model::{
    ErrorKind,
    node::{FailureKind, ProvisionState},
};

use super::{Context, node::power};
use crate::{
    cli::Nodes,
    daemon_client::{Daemon, readable},
    failure::{self, Failure},
    out::Format,
    typed,
    waiting::Work,
};

/// What came of one node's request, for programs.
#[derive(Debug, Serialize)]
struct Answer {
    name: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<failure::Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Asked,
    Done,
    Failed,
}

/// How one node's request ended.
struct Ended {
    name: String,
    view: Option<NodeView>,
    result: Result<Outcome>,
}

/// Asks all of them, by force if so, and waits unless that is not wanted.
///
/// # Errors
/// The first that refused or failed; of the others a line was printed.
pub(super) fn ask(
    context: &Context,
    daemon: &Daemon,
    nodes: &Nodes,
    request: &VerbRequest,
    force: bool,
) -> Result<()> {
    let asked = daemon.ask_for(async |client| {
        let each = nodes.nodes.iter().map(async |name| {
            (name, client.request_by(name, request, force).await.map_err(readable))
        });
        Ok(join_all(each).await)
    })?;
    let say = transitions(context);
    let ended = daemon.wait(&work(&asked), async |client| {
        let each = asked.into_iter().map(async |(name, accepted)| {
            let mut view = None;
            let result = match accepted {
                Ok(accepted) => follow(client, nodes, &accepted, request, say, &mut view).await,
                Err(refused) => Err(refused),
            };
            Ended { name: name.clone(), view, result }
        });
        Ok(join_all(each).await)
    })?;
    tell(context, request, ended)
}

/// What goes on when nobody waits for it: of the nodes that did not refuse.
fn work(asked: &[(&String, Result<Accepted>)]) -> Work {
    let took_up = asked.iter().filter(|(_, accepted)| accepted.is_ok());
    let names: Vec<&str> = took_up.map(|(name, _)| name.as_str()).collect();
    let look = match names.as_slice() {
        [name] => format!("undercloud node show {name}, undercloud node history {name}"),
        _ => "undercloud node list, undercloud events --follow".to_owned(),
    };
    Work::new(format!("what was asked of {}", names.join(", ")), look)
}

async fn follow(
    client: &Client,
    nodes: &Nodes,
    accepted: &Accepted,
    request: &VerbRequest,
    say: impl FnMut(&Event),
    view: &mut Option<NodeView>,
) -> Result<Outcome> {
    if nodes.no_wait {
        *view = Some(client.node(&accepted.node.to_string()).await.map_err(readable)?);
        return Ok(Outcome::Asked);
    }
    let timeout = Duration::from_secs(nodes.timeout.saturating_mul(60));
    let settled = client.settled(accepted, timeout, say).await.map_err(readable)?;
    came_about(request, accepted, view.insert(settled)).map(|()| Outcome::Done)
}

/// Prints what came of each; returns the first failure.
fn tell(context: &Context, request: &VerbRequest, ended: Vec<Ended>) -> Result<()> {
    let state = typed::state_to_give(&context.common);
    let mut first = None;
    let mut answers = Vec::new();
    for Ended { name, view, result } in ended {
        let error = result.as_ref().err().map(|error| failure::shown(error, state));
        let outcome = *result.as_ref().unwrap_or(&Outcome::Failed);
        match (&result, &view) {
            (Ok(outcome), Some(view)) => context.out.line(line(request, *outcome, view))?,
            // The first is told of at the end, with what to do.
            (Err(error), _) if first.is_some() => {
                context.out.line(context.typed(&failure::describe(error)))?;
            }
            (Ok(_) | Err(_), _) => {}
        }
        answers.push(Answer { name, outcome, error, node: view });
        first = first.or(result.err());
    }
    if context.out.format() == Format::Json {
        context.out.json(&answers)?;
    }
    first.map_or(Ok(()), Err)
}

fn line(request: &VerbRequest, outcome: Outcome, view: &NodeView) -> String {
    let (name, state) = (&view.node.name, view.node.state);
    match (outcome, request) {
        (Outcome::Asked, _) => format!("{name}: asked; it is {state} now"),
        (_, VerbRequest::Abort) => format!("{name}: given up, as asked; it is {state} now"),
        (_, VerbRequest::BootDevice { .. }) => format!("{name}: boot device is set"),
        _ => format!("{name}: {state}, {}", power(view)),
    }
}

/// Prints a node's transitions as they happen, for people.
fn transitions(context: &Context) -> impl Fn(&Event) + Copy + use<> {
    let out = context.out;
    move |event: &Event| {
        if event.topic == "transition" && out.format() == Format::Table {
            let name = event.name.as_deref().unwrap_or("-");
            // What cannot be printed is on the timeline all the same.
            let _printed = out.line(format_args!("        {name}: {}", event.text));
        }
    }
}

/// Whether a request came to a good end.
///
/// # Errors
/// Why it did not, in the node's own sentence.
fn verdict(accepted: &Accepted, settled: &NodeView) -> Result<()> {
    let Some(error) = accepted.failure(settled) else { return Ok(()) };
    Err(Failure::new(ErrorKind::Unavailable, &error.text)
        .hint(format!("undercloud node history {}", settled.node.name))
        .into())
}

/// Whether what was asked for came about: it did not fail, and nobody led the node elsewhere.
fn came_about(request: &VerbRequest, accepted: &Accepted, settled: &NodeView) -> Result<()> {
    let is_aborted = accepted.failure(settled).is_some_and(|e| e.kind == FailureKind::Aborted);
    if *request == VerbRequest::Abort && is_aborted {
        return Ok(());
    }
    verdict(accepted, settled)?;
    let node = &settled.node;
    match goal(request) {
        Some(goal) if node.state != goal => {
            let (name, state) = (&node.name, node.state);
            let message =
                format!("{name} is `{state}` and not `{goal}`: something else was asked of it");
            let hint = format!("undercloud node history {name}");
            Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into())
        }
        _ => Ok(()),
    }
}

/// Where a request leads.
fn goal(request: &VerbRequest) -> Option<ProvisionState> {
    match request {
        VerbRequest::Manage | VerbRequest::Inspect => Some(ProvisionState::Manageable),
        VerbRequest::Provide { .. } | VerbRequest::Undeploy => Some(ProvisionState::Available),
        VerbRequest::Deploy(_) => Some(ProvisionState::Active),
        VerbRequest::Abort | VerbRequest::Power { .. } | VerbRequest::BootDevice { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use undercloud_api::admin::DeployOrder;

    use super::*;

    fn settled(state: &str, error: Option<&str>) -> NodeView {
        let error = error.map(|kind| json!({ "kind": kind, "text": "x: so and so", "at": 5 }));
        serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000001", "name": "x", "version": 1, "visit": 0,
            "driver": "ipmi", "bmc": {"address": "192.0.2.1", "port": 623, "user": "u"},
            "ports": [], "boot_mode": "bios", "boot_interface": "ipxe",
            "properties": {"cpus": null, "memory_mb": null, "local_gb": null, "cpu_arch": null,
                           "capabilities": {}},
            "root_device": {}, "resource_class": "baremetal", "inventory": null, "state": state,
            "target": null, "state_since": 1, "phase": {"phase": "idle"}, "deadline": null,
            "power": "power off", "power_seen_at": 1, "target_power": null, "maintenance": null,
            "last_error": error, "instance": null, "created_at": 1, "updated_at": 1, "pending": 0,
        }))
        .unwrap()
    }

    #[test]
    fn an_abort_that_was_asked_for_is_a_success_and_of_anything_else_a_failure() {
        let accepted =
            |view: &NodeView| Accepted { node: view.node.id, cursor: 0, at: 5, request: 1 };
        let ended = |request: &VerbRequest, state, error| {
            let view = settled(state, error);
            came_about(request, &accepted(&view), &view)
        };
        let aborted = Some("aborted");
        ended(&VerbRequest::Abort, "inspect failed", aborted).unwrap();
        ended(&VerbRequest::Abort, "inspect failed", Some("bmc_unreachable")).unwrap_err();
        ended(&VerbRequest::Inspect, "inspect failed", aborted).unwrap_err();
    }

    #[test]
    fn a_node_that_was_led_elsewhere_is_no_success() {
        let accepted =
            |view: &NodeView| Accepted { node: view.node.id, cursor: 0, at: 5, request: 1 };
        let deploy = VerbRequest::Deploy(DeployOrder::default());
        for (request, state, is_good) in [
            (VerbRequest::Manage, "manageable", true),
            (VerbRequest::Manage, "available", false),
            (VerbRequest::Inspect, "manageable", true),
            (VerbRequest::Provide { all_disks: false }, "manageable", false),
            (VerbRequest::Undeploy, "available", true),
            (deploy.clone(), "active", true),
            (deploy, "available", false),
        ] {
            let view = settled(state, None);
            let outcome = came_about(&request, &accepted(&view), &view);
            assert_eq!(outcome.is_ok(), is_good, "{request:?} {state}");
            if let Err(error) = outcome {
                assert_eq!(failure::exit_code(&error), 4, "{error}");
            }
        }
    }
}
