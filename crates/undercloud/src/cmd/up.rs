//! `undercloud up`: every step from a bare host to installed machines. Each step looks first and
//! does only what is still to be done, so that running it again resumes or changes nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_api::{
    admin::{Accepted, LabKind, LabMachine, NodeView, VerbRequest},
    client::Client,
};
use undercloud_model::{
    ErrorKind, PowerAction, PowerState, UnixMillis,
    node::{Node, ProvisionState},
};

use super::{Context, lab, node};
use crate::{
    cli::UpArgs,
    containers,
    daemon::lock,
    daemon_client::{Daemon, readable},
    failure::Failure,
    images,
    out::{self, Format, Out},
    preflight::{self, Needs},
    verify,
};

/// Requests that bring one node from enrolment to `active`, and some for a second try: more means
/// that it goes in circles.
const REQUESTS_MAX: usize = 12;

pub(super) fn run(context: &Context, args: &UpArgs) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout * 60);
    let description = match &args.lab {
        None => lab::DEFAULT_LAB.to_owned(),
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
    };
    let mut table = Table::new(context.out);
    table.step("preflight", || prepare(context, &description))?;
    table.step("daemon", || Ok(format!("process {}", super::serve::ensure(context)?)))?;
    let daemon = &Daemon::connect(&context.state)?;
    table.step("images", || Ok(format!("{} registered", images::build(context)?.len())))?;
    table.step("containers", || {
        let built = containers::build(context)?;
        Ok(format!("{} registered", built.len()))
    })?;
    table.step("lab", || {
        lab::create(context, daemon, args.lab.as_deref(), args.machines)?;
        Ok(format!("{} machines", daemon.ask(async |c| c.lab().await)?.len()))
    })?;
    table.step("enrolment", || {
        let file = node::read_instackenv(&context.state.instackenv())?;
        Ok(format!("{} nodes", daemon.ask(async |c| c.enrol(&file).await)?.len()))
    })?;
    table.step("access", || crate::access::grant(&context.state))?;
    let cloud = args.cloud.as_deref();
    table.step("machines", || {
        let names = super::cloud::machine_names(&super::cloud::description(cloud)?)?;
        Ok(format!("{} active", install_machines(context, daemon, &names, deadline)?))
    })?;
    let mut deployment = 0;
    table.step("cloud", || {
        let installed = super::cloud::install(context, daemon, cloud, None, deadline)?;
        deployment = installed.deployment;
        Ok(super::cloud::describe(&installed))
    })?;
    table.step("verification", || verify(context, daemon, deployment))?;
    table.print(context, daemon)
}

/// Checks the cloud once for each deployment; one that was checked shows what was found.
fn verify(context: &Context, daemon: &Daemon, deployment: i64) -> Result<String> {
    let found = async |c: &Client| {
        let view = c.deployment(deployment).await?;
        Ok(verify::passed(view.verification.as_ref()))
    };
    if let Some(earlier) = daemon.ask(found)? {
        return Ok(format!("{earlier} (an earlier run)"));
    }
    let report = super::cloud::verify_newest(context, daemon, false)?;
    // One command prints one JSON value: the table of its steps.
    if context.out.format() == Format::Table {
        verify::print(context, &report)?;
    }
    Ok(daemon.ask(found)?.unwrap_or_default())
}

/// Installs packages that are missing and looks whether the host can carry the machines.
fn prepare(context: &Context, description: &str) -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return preflight::verdict(&[preflight::not_root()]).map(|()| String::new());
    }
    let installed = preflight::ensure_packages()?;
    let needs = Needs::of(description)?;
    let daemon_runs = lock::holder(&context.state).is_some();
    let found = preflight::run(&context.state, &context.common.cache, &needs, daemon_runs);
    preflight::verdict(&found)?;
    let note = match installed.len() {
        0 => String::new(),
        count => format!(", {count} packages installed"),
    };
    Ok(format!("{} checks passed{note}", found.len()))
}

/// How far machines are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Their disks are known.
    Inspected,
    /// They run, installed.
    Active,
}

/// Has the machines of these names inspected that never were, all at once. Erases nothing.
///
/// # Errors
/// One sentence, of the first machine that failed.
pub(crate) fn inspect_machines(
    context: &Context,
    daemon: &Daemon,
    names: &[String],
    deadline: Instant,
) -> Result<usize> {
    bring(context, daemon, names, Goal::Inspected, deadline)
}

/// Brings the machines of these names to `active` and switched on, all at once.
///
/// # Errors
/// One sentence, of the first machine that failed.
pub(crate) fn install_machines(
    context: &Context,
    daemon: &Daemon,
    names: &[String],
    deadline: Instant,
) -> Result<usize> {
    bring(context, daemon, names, Goal::Active, deadline)
}

fn bring(
    context: &Context,
    daemon: &Daemon,
    names: &[String],
    goal: Goal,
    deadline: Instant,
) -> Result<usize> {
    let deploy = node::deploy_request(context, "overcloud-full".to_owned())?;
    let say = node::transitions(context);
    daemon.block_on(async |client| {
        let mut nodes = client.nodes().await.map_err(readable)?;
        nodes.retain(|view| names.iter().any(|name| name == view.node.name.as_str()));
        let cursor = client.status().await.map_err(readable)?.cursor;
        let each = nodes.iter().map(|view| {
            // What failed before now is tried again; what fails from now on is the answer.
            let accepted = Accepted { node: view.node.id, cursor, at: UnixMillis::MAX, request: 0 };
            advance(client, accepted, goal, &deploy, deadline, say)
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
    goal: Goal,
    deploy: &VerbRequest,
    deadline: Instant,
    say: impl FnMut(&undercloud_api::admin::Event) + Copy,
) -> Result<()> {
    for _ in 0..REQUESTS_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let view = client.settled(&accepted, left, say).await.map_err(readable)?;
        node::verdict(&accepted, &view)?;
        let Some(request) = next_request(&view.node, goal, deploy) else { return Ok(()) };
        accepted = client.request(&accepted.node.to_string(), &request).await.map_err(readable)?;
    }
    let message = "a node does not become active, whatever is asked of it";
    Err(Failure::new(ErrorKind::Bug, message).hint("undercloud node list").into())
}

/// What to ask a settled node for, on the way to the goal.
fn next_request(node: &Node, goal: Goal, deploy: &VerbRequest) -> Option<VerbRequest> {
    use ProvisionState as S;
    if goal == Goal::Inspected && node.inventory.is_some() {
        return None;
    }
    match node.state {
        S::Enroll => Some(VerbRequest::Manage),
        S::InspectFailed => Some(VerbRequest::Inspect),
        S::Manageable if node.inventory.is_none() => Some(VerbRequest::Inspect),
        _ if goal == Goal::Inspected => None,
        // Not `manage`, which would end what somebody agreed to.
        S::Manageable | S::CleanFailed => Some(VerbRequest::Provide { all_disks: false }),
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
#[derive(Debug)]
struct Table {
    out: Out,
    begun: Instant,
    rows: Vec<(&'static str, Duration)>,
}

impl Table {
    fn new(out: Out) -> Self {
        Self { out, begun: Instant::now(), rows: Vec::new() }
    }

    /// Runs a step, which says in a few words what came out.
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<String>) -> Result<()> {
        let begun = Instant::now();
        self.out.step(name, || Ok(((), work()?)))?;
        self.rows.push((name, begun.elapsed()));
        Ok(())
    }

    fn print(&self, context: &Context, daemon: &Daemon) -> Result<()> {
        let out = self.out;
        if out.format() == Format::Json {
            let step = |(step, took): &(&str, Duration)| json!({ "step": step, "took_ms": took.as_millis() });
            return out.json(&self.rows.iter().map(step).collect::<Vec<_>>());
        }
        out.line("")?;
        for (step, took) in self.rows.iter().copied().chain([("all", self.begun.elapsed())]) {
            out.line(format_args!("  {step:14}{}", out::seconds(took)))?;
        }
        let status = daemon.status()?;
        out.line(format_args!("  {:14}{}", "daemon's RSS", out::bytes(status.rss_bytes)))?;
        let machines = daemon.ask(async |c| c.lab().await)?;
        let resident: u64 = machines.iter().filter_map(memory_bytes).sum();
        out.line(format_args!("  {:14}{}", "machines' RSS", out::bytes(resident)))?;
        out.line("")?;
        let more = "  undercloud status; undercloud logs; undercloud containers controller-0";
        out.line(context.typed(more))?;
        let views: Vec<NodeView> = daemon.ask(async |c| c.nodes().await)?;
        for view in &views {
            out.line(context.typed(&format!("  undercloud ssh {}", view.node.name)))?;
        }
        let file = |name: &str| out::shell_word(&context.state.root().join(name));
        out.line(format_args!("  . {}; openstack image list", file("stackrc")))?;
        out.line(format_args!("  . {}; openstack server list", file("overcloudrc")))?;
        out.line("  openstack --os-cloud undercloud …; openstack --os-cloud overcloud …")
    }
}

/// What a machine takes of the host's memory: a container now, a virtual machine at most.
fn memory_bytes(machine: &LabMachine) -> Option<u64> {
    match machine.kind {
        LabKind::Container => machine.memory_bytes,
        LabKind::Qemu | LabKind::Auto => peak_bytes(machine.pid?),
    }
}

/// The most memory that a process ever had (`VmHWM`, proc_pid_status(5)).
fn peak_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
