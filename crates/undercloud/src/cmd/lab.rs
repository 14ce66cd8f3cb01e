//! `undercloud lab …`.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use undercloud_api::admin::{LabKind, LabMachine, LabPower, TaskRequest};
use undercloud_lab::{
    LabError,
    console::{Console, ESCAPE, Ended},
};
use undercloud_model::{ErrorKind, NodeName, PowerState};

use super::{Context, lab_clone, lab_snapshot};
use crate::{
    cli::{LabCommand, MachinesArg},
    daemon_client::{Daemon, LAB_TIMEOUT},
    failure::Failure,
    out,
};

/// The lab that is made when nobody describes another.
pub(crate) const DEFAULT_LAB: &str = undercloud_lab::config::DEFAULT;

pub(super) fn run(context: &Context, command: LabCommand) -> Result<()> {
    let daemon = || Daemon::connect(&context.state);
    match command {
        LabCommand::Create { file, machines } => {
            let daemon = daemon()?;
            create(context, &daemon, file.as_deref(), machines)?;
            print(context, &daemon.ask(async |c| c.lab().await)?)
        }
        LabCommand::Snapshot { name } => lab_snapshot::make(context, &name),
        LabCommand::Restore { name } => lab_snapshot::restore(context, &name),
        LabCommand::Snapshots => lab_snapshot::list(context),
        LabCommand::Forget { name } => lab_snapshot::forget(context, &name),
        LabCommand::Clone { name, directory } => lab_clone::run(context, &name, &directory),
        LabCommand::List => print(context, &daemon()?.ask(async |c| c.lab().await)?),
        LabCommand::Start { machine } => {
            print(context, &[power(&daemon()?, &machine, LabPower::Start)?])
        }
        LabCommand::Stop { machine } => {
            print(context, &[power(&daemon()?, &machine, LabPower::Stop)?])
        }
        LabCommand::Grow { group, count } => grow(context, &daemon()?, group, count),
        LabCommand::Shrink { machines, force } => shrink(context, &daemon()?, machines, force),
        LabCommand::Delete => delete(context, &daemon()?),
        LabCommand::Console { machine } => console(context, &daemon()?, &machine),
    }
}

/// Makes what is missing of the lab that `file` describes.
pub(crate) fn create(
    context: &Context,
    daemon: &Daemon,
    file: Option<&Path>,
    machines: MachinesArg,
) -> Result<()> {
    let description = match file {
        None => DEFAULT_LAB.to_owned(),
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
    };
    let kind = match machines {
        MachinesArg::Auto => LabKind::Auto,
        MachinesArg::Qemu => LabKind::Qemu,
        MachinesArg::Container => LabKind::Container,
    };
    let request = TaskRequest::LabCreate { description, kind };
    daemon.run_task(&request, LAB_TIMEOUT, |view| super::task::show(context, view)).map(drop)
}

fn grow(context: &Context, daemon: &Daemon, group: String, count: Option<usize>) -> Result<()> {
    let begins = format!("{group}-");
    let request = TaskRequest::LabGrow { group, count };
    daemon.run_task(&request, LAB_TIMEOUT, |view| super::task::show(context, view))?;
    // All of the group, also those that an earlier try made and did not enrol.
    let mut file = super::node::read_instackenv(&context.state.instackenv())?;
    file.nodes.retain(|entry| entry.name.as_ref().is_some_and(|name| name.starts_with(&begins)));
    daemon.ask(async |c| c.enrol(&file).await)?;
    let mut machines = daemon.ask(async |c| c.lab().await)?;
    machines.retain(|machine| machine.name.starts_with(&begins));
    print(context, &machines)
}

fn shrink(context: &Context, daemon: &Daemon, machines: Vec<NodeName>, force: bool) -> Result<()> {
    let request = TaskRequest::LabShrink { machines: machines.clone(), force };
    let result = daemon.run_task(&request, LAB_TIMEOUT, |_| ())?;
    let gone = result["gone"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: Vec<String> = machines
        .iter()
        .map(|name| match gone.iter().any(|gone| gone.as_str() == Some(name.as_str())) {
            true => format!("{name} is gone"),
            false => format!("{name}: the lab has no such machine (`undercloud lab list`)"),
        })
        .collect();
    context.out.result(&result, lines.join("\n"))
}

fn delete(context: &Context, daemon: &Daemon) -> Result<()> {
    let deleted = daemon.run_task(&TaskRequest::LabDelete, LAB_TIMEOUT, |_| ())?;
    context.out.result(&deleted, "machines and networks are gone")?;
    let left = deleted["enrolled"].as_array().map(Vec::as_slice).unwrap_or_default();
    left.iter().filter_map(|name| name.as_str()).try_for_each(|name| {
        context.out.line(context.typed(&format!(
            "{name} is enrolled still, without a machine: undercloud node maintenance {name}, \
             then undercloud node delete {name}"
        )))
    })
}

fn power(daemon: &Daemon, machine: &str, power: LabPower) -> Result<LabMachine> {
    daemon.ask(async |c| c.lab_power(machine, power).await)
}

fn print(context: &Context, machines: &[LabMachine]) -> Result<()> {
    let header = ["name", "kind", "power", "firmware", "cpus", "memory", "disks", "mac", "bmc"];
    context.out.rows(&header, machines, |machine| {
        let disks: Vec<String> = machine.disks.iter().map(|d| out::bytes(*d)).collect();
        vec![
            machine.name.clone(),
            match machine.kind {
                LabKind::Container => "container".to_owned(),
                LabKind::Qemu | LabKind::Auto => "qemu".to_owned(),
            },
            match machine.power {
                PowerState::On => "on".to_owned(),
                PowerState::Off => "off".to_owned(),
            },
            format!("{:?}", machine.boot_mode).to_lowercase(),
            machine.cpus.to_string(),
            out::bytes(machine.memory_mb << 20),
            disks.join(" "),
            machine.mac.to_string(),
            machine.bmc.clone(),
        ]
    })
}

fn console(context: &Context, daemon: &Daemon, machine: &str) -> Result<()> {
    let machines = daemon.ask(async |c| c.lab().await)?;
    let Some(found) = machines.iter().find(|m| m.name == machine) else {
        let machines = machines.into_iter().map(|machine| machine.name).collect();
        let missing = LabError::NoSuchMachine { machine: machine.to_owned(), machines };
        let hint = missing.hint().unwrap_or_default();
        return Err(Failure::new(missing.kind(), missing.to_string()).hint(hint).into());
    };
    if found.power == PowerState::Off {
        let message = format!("{machine} is switched off");
        let hint = format!("undercloud lab start {machine}");
        return Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into());
    }
    let root = crate::lab_host::root(&context.state)?;
    let name = machine.parse().map_err(anyhow::Error::new)?;
    let console = Console::open(&root, &name).map_err(anyhow::Error::new)?;
    context.out.line(format_args!("{machine}'s console; Ctrl-] leaves it"))?;
    let ended = console.run(io::stdin(), io::stdout(), ESCAPE).context("the console ended")?;
    match ended {
        Ended::Detached => context.out.line(""),
        Ended::PoweredOff => context.out.line(format_args!("{machine} is switched off")),
    }
}
