//! `undercloud up`: every step from a bare host to installed machines. Each step looks first and
//! does only what is still to be done, so that running it again resumes or changes nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use undercloud_api::{
    admin::{Accepted, NodeView, VerbRequest},
    client::Client,
};
use undercloud_lab::LabConfig;
use undercloud_model::{
    ErrorKind, PowerAction, PowerState,
    node::{Node, ProvisionState},
};

use super::{Context, lab, node};
use crate::{
    cli::UpArgs,
    daemon::lock,
    daemon_client::{Daemon, readable},
    failure::Failure,
    images, out,
    preflight::{self, Needs},
};

/// Room for images and the disks' first contents, beside what the cache takes.
const DISK_BYTES: u64 = 12 << 30;
/// Requests that bring one node from enrolment to `active`, and some for a second try: more means
/// that it goes in circles.
const REQUESTS_MAX: usize = 12;

pub(super) fn run(context: &Context, args: &UpArgs) -> Result<()> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs(args.timeout * 60);
    let out = context.out;
    let description = match &args.lab {
        None => lab::DEFAULT_LAB.to_owned(),
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
    };
    let mut table = Table::default();
    table.add("preflight", out.step("preflight", || prepare(context, &description))?);
    table.add(
        "daemon",
        out.step("daemon", || {
            let begun = Instant::now();
            let pid = super::serve::ensure(context)?;
            Ok((begun.elapsed(), format!("process {pid}")))
        })?,
    );
    let daemon = Daemon::connect(&context.state)?;
    table.add(
        "images",
        out.step("images", || {
            let begun = Instant::now();
            let built = images::build(context)?;
            Ok((begun.elapsed(), format!("{} registered", built.len())))
        })?,
    );
    table.add(
        "lab",
        out.step("lab", || {
            let begun = Instant::now();
            lab::create(context, &daemon, args.lab.as_deref())?;
            let machines = daemon.ask(async |c| c.lab().await)?.len();
            Ok((begun.elapsed(), format!("{machines} machines")))
        })?,
    );
    table.add(
        "enrolment",
        out.step("enrolment", || {
            let begun = Instant::now();
            let file = node::read_instackenv(&context.state.instackenv())?;
            let outcomes = daemon.ask(async |c| c.enrol(&file).await)?;
            Ok((begun.elapsed(), format!("{} nodes", outcomes.len())))
        })?,
    );
    table.add(
        "access",
        out.step("access", || {
            let begun = Instant::now();
            Ok((begun.elapsed(), crate::access::grant(&context.state)?))
        })?,
    );
    table.add(
        "machines",
        out.step("machines", || {
            let begun = Instant::now();
            let nodes = install(context, &daemon, deadline)?;
            Ok((begun.elapsed(), format!("{nodes} active")))
        })?,
    );
    table.print(context, started.elapsed(), &daemon)
}

/// Installs packages that are missing and looks whether the host can carry the machines.
fn prepare(context: &Context, description: &str) -> Result<(Duration, String)> {
    let begun = Instant::now();
    if !rustix::process::geteuid().is_root() {
        return preflight::verdict(&[preflight::not_root()])
            .map(|()| (begun.elapsed(), String::new()));
    }
    let installed = preflight::ensure_packages()?;
    let memory_mib: u64 = description
        .parse::<LabConfig>()
        .map_err(|error| {
            Failure::new(ErrorKind::Invalid, format!("the lab's description: {error}"))
        })?
        .machines
        .iter()
        .map(|machine| u64::from(machine.memory_mib))
        .sum();
    let needs = Needs { memory_bytes: memory_mib << 20, disk_bytes: DISK_BYTES };
    let daemon_runs = lock::holder(&context.state).is_some();
    let found = preflight::run(&context.state, &context.common.cache, needs, daemon_runs);
    preflight::verdict(&found)?;
    let note = match installed.len() {
        0 => String::new(),
        count => format!(", {count} packages installed"),
    };
    Ok((begun.elapsed(), format!("{} checks passed{note}", found.len())))
}

/// Brings every node to `active` and switched on, all at once.
fn install(context: &Context, daemon: &Daemon, deadline: Instant) -> Result<usize> {
    let deploy = node::deploy_request(context, "overcloud-full".to_owned())?;
    let say = node::transitions(context);
    daemon.block_on(async |client| {
        let nodes = client.nodes().await.map_err(readable)?;
        let cursor = client.status().await.map_err(readable)?.cursor;
        let each = nodes.iter().map(|view| {
            let accepted = Accepted { node: view.node.id, cursor };
            advance(client, accepted, &deploy, deadline, say)
        });
        // All of them to their end: what went well is not cut off by what did not.
        for outcome in futures_util::future::join_all(each).await {
            outcome?;
        }
        Ok(nodes.len())
    })
}

async fn advance(
    client: &Client,
    mut accepted: Accepted,
    deploy: &VerbRequest,
    deadline: Instant,
    say: impl FnMut(&undercloud_api::admin::Event) + Copy,
) -> Result<()> {
    let mut asked = false;
    for _ in 0..REQUESTS_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let view = client.settled(&accepted, left, say).await.map_err(readable)?;
        // A failure of an earlier run is tried again; one of this run is the answer.
        if asked && view.node.state.is_failure() {
            return node::verdict(&[view]);
        }
        let Some(request) = next_request(&view.node, deploy) else { return Ok(()) };
        accepted = client.request(&accepted.node.to_string(), &request).await.map_err(readable)?;
        asked = true;
    }
    let message = "a node does not become active, whatever is asked of it";
    Err(Failure::new(ErrorKind::Bug, message).hint("undercloud node list").into())
}

/// What to ask a settled node for, on the way to `active` and switched on.
fn next_request(node: &Node, deploy: &VerbRequest) -> Option<VerbRequest> {
    use ProvisionState as S;
    match node.state {
        S::Enroll | S::CleanFailed => Some(VerbRequest::Manage),
        S::InspectFailed => Some(VerbRequest::Inspect),
        S::Manageable if node.inventory.is_none() => Some(VerbRequest::Inspect),
        S::Manageable => Some(VerbRequest::Provide),
        S::Available | S::DeployFailed => Some(deploy.clone()),
        S::Error => Some(VerbRequest::Undeploy),
        S::Active => match node.power {
            Some(PowerState::Off) => Some(VerbRequest::Power { action: PowerAction::On }),
            Some(PowerState::On) | None => None,
        },
        S::Verifying
        | S::Inspecting
        | S::InspectWait
        | S::Cleaning
        | S::CleanWait
        | S::Deploying
        | S::WaitCallBack
        | S::Deleting => None,
    }
}

/// How long each step took.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<(&'static str, Duration)>,
}

impl Table {
    fn add(&mut self, step: &'static str, took: Duration) {
        self.rows.push((step, took));
    }

    fn print(&self, context: &Context, total: Duration, daemon: &Daemon) -> Result<()> {
        let out = context.out;
        out.line("")?;
        for (step, took) in self.rows.iter().copied().chain([("all", total)]) {
            out.line(format_args!("  {step:12}{}", out::seconds(took)))?;
        }
        let status = daemon.status()?;
        out.line(format_args!("  {:12}{}", "daemon's RSS", out::bytes(status.rss_bytes)))?;
        out.line("")?;
        let views: Vec<NodeView> = daemon.ask(async |c| c.nodes().await)?;
        for view in &views {
            out.line(format_args!("  undercloud ssh {}", view.node.name))?;
        }
        out.line(format_args!("  . {}; openstack image list", context.state.stackrc().display()))
    }
}
