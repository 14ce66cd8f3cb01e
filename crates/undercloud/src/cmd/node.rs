//! `undercloud node …`: machines, through their BMCs.

use std::{fs, io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_api::admin::{
    DeployOrder, Enrolled, FollowQuery, MaintenanceRequest, NodeView, VerbRequest,
    instackenv::Instackenv,
};
use undercloud_model::{BootDevice, ErrorKind, PowerAction};

use super::{Context, node_disks};
use crate::{
    cli::{
        AgentCommand, ApproveArgs, BootDeviceArg, DeleteArgs, DisksArgs, NodeCommand, Nodes,
        PowerArg, PowerArgs, ProvideArgs, UndeployArgs,
    },
    clock,
    daemon_client::Daemon,
    failure::Failure,
};

/// Greatest file of machines: a thousand take half of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn run(context: &Context, command: NodeCommand) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    let ask = |nodes: &Nodes, request: VerbRequest| {
        super::node_verb::ask(context, &daemon, nodes, &request, false)
    };
    match command {
        NodeCommand::Import { file } => import(context, &daemon, &file),
        NodeCommand::List => list(context, &daemon),
        NodeCommand::Show { node } => show(context, &daemon, &node),
        NodeCommand::Manage(nodes) => ask(&nodes, VerbRequest::Manage),
        NodeCommand::Inspect(nodes) => ask(&nodes, VerbRequest::Inspect),
        NodeCommand::Disks(DisksArgs { node, all_disks }) => {
            node_disks::show(context, &daemon, &node, all_disks)
        }
        NodeCommand::Approve(ApproveArgs { node, digest, withdraw: _ }) => {
            node_disks::approve(context, &daemon, &node, digest)
        }
        NodeCommand::Provide(ProvideArgs { nodes, all_disks }) => {
            ask(&nodes, VerbRequest::Provide { all_disks })
        }
        NodeCommand::Deploy { nodes, image } => ask(&nodes, deploy_request(context, image)?),
        NodeCommand::Undeploy(UndeployArgs { nodes, force }) => {
            super::node_verb::ask(context, &daemon, &nodes, &VerbRequest::Undeploy, force.force)
        }
        NodeCommand::Abort(nodes) => ask(&nodes, VerbRequest::Abort),
        NodeCommand::Power(PowerArgs { action, nodes, force }) => {
            let action = match action {
                PowerArg::On => PowerAction::On,
                PowerArg::Off => PowerAction::Off,
                PowerArg::Soft => PowerAction::SoftOff,
                PowerArg::Cycle => PowerAction::Cycle,
                PowerArg::Reset => PowerAction::Reset,
            };
            let request = VerbRequest::Power { action };
            super::node_verb::ask(context, &daemon, &nodes, &request, force.force)
        }
        NodeCommand::BootDevice { device, nodes, persistent } => {
            let device = match device {
                BootDeviceArg::Pxe => BootDevice::Pxe,
                BootDeviceArg::Disk => BootDevice::Disk,
                BootDeviceArg::Cdrom => BootDevice::Cdrom,
                BootDeviceArg::Usb => BootDevice::Usb,
            };
            ask(&nodes, VerbRequest::BootDevice { device, persistent })
        }
        NodeCommand::Maintenance { node, reason, unset } => {
            let request = (!unset).then_some(MaintenanceRequest { reason });
            maintenance(context, &daemon, &node, request.as_ref())
        }
        NodeCommand::Agent(AgentCommand::Restore { node }) => {
            super::node_agent::restore(context, &daemon, &node)
        }
        NodeCommand::History { node } => history(context, &daemon, &node),
        NodeCommand::Delete(DeleteArgs { node, force }) => {
            daemon.ask(async |c| c.forget(&node, force.force).await)?;
            let value = json!({ "name": node, "outcome": "deleted" });
            context.out.result(&value, format_args!("{node} is forgotten"))
        }
    }
}

fn maintenance(
    context: &Context,
    daemon: &Daemon,
    node: &str,
    request: Option<&MaintenanceRequest>,
) -> Result<()> {
    let view = daemon.ask(async |c| match request {
        Some(request) => c.maintain(node, request).await,
        None => c.end_maintenance(node).await,
    })?;
    let is = if view.node.maintenance.is_some() { "is" } else { "is not" };
    context.out.result(&view, format_args!("{} {is} in maintenance", view.node.name))
}

/// What a deployment of `image` asks for: the key of this state's ssh goes with it.
fn deploy_request(context: &Context, image: String) -> Result<VerbRequest> {
    let key = super::ssh::public_key(&context.state)?;
    Ok(VerbRequest::Deploy(DeployOrder { image, ssh_keys: vec![key], ..DeployOrder::default() }))
}

/// The machines of a file in TripleO's format.
///
/// # Errors
/// When it cannot be read, or says nothing that can be enrolled.
pub(crate) fn read_instackenv(file: &Path) -> Result<Instackenv> {
    let mut text = Vec::new();
    let opened = fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.with_context(|| format!("cannot read {}", file.display()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{} is larger than {FILE_BYTES_MAX} bytes", file.display());
        return Err(Failure::new(ErrorKind::Invalid, message).into());
    }
    Instackenv::parse(&text).map_err(|error| {
        let message = format!("{}: {}", file.display(), error.message);
        Failure { kind: error.kind, message, hint: error.hint }.into()
    })
}

/// Enrols the machines of a file in TripleO's format.
pub(crate) fn import(context: &Context, daemon: &Daemon, file: &Path) -> Result<()> {
    let json = read_instackenv(file)?;
    let outcomes = daemon.ask(async |c| c.enrol(&json).await)?;
    context.out.rows(&["name", "uuid", "outcome"], &outcomes, |outcome| {
        let what = match outcome.outcome {
            Enrolled::Created => "enrolled",
            Enrolled::Unchanged => "known, unchanged",
            Enrolled::Updated => "known, BMC updated",
        };
        vec![outcome.name.to_string(), outcome.node.to_string(), what.to_owned()]
    })
}

fn list(context: &Context, daemon: &Daemon) -> Result<()> {
    let nodes = daemon.ask(async |c| c.nodes().await)?;
    let header = ["name", "provisioning state", "power state", "maintenance", "uuid"];
    context.out.rows(&header, &nodes, |view| {
        let node = &view.node;
        vec![
            node.name.to_string(),
            node.state.as_str().to_owned(),
            power(view).to_owned(),
            node.maintenance.is_some().to_string(),
            node.id.to_string(),
        ]
    })
}

pub(super) fn power(view: &NodeView) -> &'static str {
    match view.node.power {
        Some(undercloud_model::PowerState::On) => "power on",
        Some(undercloud_model::PowerState::Off) => "power off",
        None => "unknown",
    }
}

fn show(context: &Context, daemon: &Daemon, node: &str) -> Result<()> {
    let view = daemon.node(node)?;
    let node = &view.node;
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ports = node.ports.iter().map(|p| format!("{} {}", p.mac, p.address));
    let properties = [
        ("name", node.name.to_string()),
        ("uuid", node.id.to_string()),
        ("provisioning state", node.state.as_str().to_owned()),
        ("since", clock::rfc3339(node.state_since)),
        ("target", text(node.target.map(|t| t.as_str().to_owned()))),
        ("doing", node.phase.to_string()),
        ("power state", power(&view).to_owned()),
        ("driver", node.driver.as_str().to_owned()),
        ("bmc", node.bmc.place()),
        ("boot mode", format!("{:?}", node.boot_mode).to_lowercase()),
        ("boot interface", node.boot_interface.as_str().to_owned()),
        ("ports", ports.collect::<Vec<_>>().join(", ")),
        ("image", text(node.instance.as_ref().map(|i| i.request.image.name.clone()))),
        ("last error", text(node.last_error.as_ref().map(|e| e.text.clone()))),
    ];
    context.out.properties(&view, &properties)
}

fn history(context: &Context, daemon: &Daemon, node: &str) -> Result<()> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let query = FollowQuery { after, node: Some(node.to_owned()), ..FollowQuery::default() };
        let page = daemon.ask(async |c| c.events(&query).await)?;
        if page.events.is_empty() {
            break;
        }
        after = page.next;
        events.extend(page.events);
    }
    context.out.rows(&["at", "", "what", "text"], &events, |event| {
        let mark = super::events::mark(event.severity).to_owned();
        vec![clock::rfc3339(event.at), mark, event.topic.clone(), event.text.clone()]
    })
}
