//! `undercloud up`: every step from a bare host to a verified cloud. Each step looks first and does
//! only what is still to be done, so that running it again resumes or changes nothing. From enrolled
//! machines on the daemon does it: this asks, and follows.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_api::admin::{LabKind, LabMachine, NodeView};
use undercloud_model::installation::Until;

use super::{Context, lab, node};
use crate::{
    cli::UpArgs,
    containers,
    daemon::{installation, lock},
    daemon_client::Daemon,
    images,
    out::{self, Format, Out},
    preflight::{self, Needs},
};

pub(super) fn run(context: &Context, args: &UpArgs) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout * 60);
    let lab_description = match &args.lab {
        None => lab::DEFAULT_LAB.to_owned(),
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
    };
    let mut table = Table::new(context.out);
    table.step("preflight", || prepare(context, &lab_description))?;
    table.step("daemon", || Ok(format!("process {}", super::serve::ensure(context)?)))?;
    let daemon = &Daemon::connect(&context.state)?;
    super::serve::same_definitions(context, daemon)?;
    table.step("images", || Ok(format!("{} registered", images::build(context)?.len())))?;
    table.step("containers", || {
        let built = containers::build(context, args.cloud.as_deref())?;
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
    let description = super::cloud::description(args.cloud.as_deref())?;
    let mut following = None;
    table.step(installation::MACHINES, || {
        let how = (None, Until::Verified);
        let asked = super::cloud::ask_for(context, daemon, description, how, deadline)?;
        following.insert(asked).part(installation::MACHINES)
    })?;
    let following = &mut following.context("the installation is followed")?;
    table.step(installation::CLOUD, || {
        let came_of = following.part(installation::CLOUD)?;
        super::cloud::grant(context, daemon)?;
        Ok(came_of)
    })?;
    table.step(installation::VERIFICATION, || following.part(installation::VERIFICATION))?;
    following.until_its_end()?;
    table.print(context, daemon)
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
