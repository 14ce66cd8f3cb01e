//! `Network`: addresses on links, `/etc/hosts`, the firewall.
//!
//! networkd's files match links by MAC address, as those of the first boot do. Where the first boot
//! wrote one for the same link, ours is a drop-in beside it: networkd takes the first file that
//! matches, and the link keeps its address on the provisioning network.

mod firewall;
mod hosts;
mod kernel;
mod links;

use std::{
    thread,
    time::{Duration, Instant},
};

use undercloud_model::agent::{
    StepFailure,
    cloud::{LinkAddress, NetworkSetup},
};

use self::kernel::Kernel;
use super::{Call, Done, Task, files, system};
use crate::inspect::physical_interfaces;

/// How long networkd may take to set an address.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// There as long as networkd was not told of a changed file.
const PENDING: &str = "var/lib/undercloud/pending/network.links";
/// How long `networkctl` may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Makes the machine's network as described.
pub(super) fn apply(task: &Task<'_>, setup: &NetworkSetup) -> Result<Done, StepFailure> {
    let mut changed = Vec::new();
    let links = setup.links.iter().map(|l| Ok((name_of(task, &l.mac.to_string())?, l)));
    let links = links.collect::<Result<Vec<_>, StepFailure>>()?;
    if let Some(bridge) = &setup.bridge {
        name_of(task, &bridge.mac.to_string())?;
    }
    let below = setup.tunnel.as_ref().map(|tunnel| name_of(task, &tunnel.below.to_string()));
    let below = below.transpose()?;
    if links::write(task, setup)? || task.host().has(PENDING) {
        changed.push("links");
        task.must(&Call::new("networkctl", DEADLINE, ["reload"]))?;
        files::remove(task.host(), PENDING)?;
    } else {
        let kernel = Kernel::read(task.host());
        for (name, _) in links.iter().filter(|(n, l)| !kernel.has(n, l)) {
            // Somebody took it away: networkd sets it again when it is told to.
            changed.push("addresses");
            task.must(&Call::new("networkctl", DEADLINE, ["reconfigure", name]))?;
        }
        if let (Some(tunnel), Some(below)) = (&setup.tunnel, &below)
            && !has_card(task, &tunnel.name)
        {
            // The same, of a card that networkd made: it has forgotten it, and reads its file again.
            changed.push("the tunnels' card");
            task.must(&Call::new("networkctl", DEADLINE, ["reload"]))?;
            task.must(&Call::new("networkctl", DEADLINE, ["reconfigure", below]))?;
        }
    }
    if hosts::write(task, &setup.hosts)? {
        changed.push("host names");
    }
    await_addresses(task, &links)?;
    if let Some(tunnel) = &setup.tunnel {
        await_card(task, &tunnel.name)?;
    }
    if firewall::apply(task, &setup.firewall)? {
        changed.push("firewall");
    }
    if changed.is_empty() {
        return Ok(Done::unchanged("network, names and firewall are as they should be"));
    }
    Ok(Done::changed(format!("changed: {}", changed.join(", "))))
}

/// The link with this MAC address.
fn name_of(task: &Task<'_>, mac: &str) -> Result<String, StepFailure> {
    let names = physical_interfaces(task.host());
    let of = |n: &String| task.host().attribute(format!("sys/class/net/{n}/address"));
    if let Some(name) = names.iter().find(|n| of(n).is_some_and(|a| a.eq_ignore_ascii_case(mac))) {
        return Ok(name.clone());
    }
    let there: Vec<String> =
        names.iter().map(|n| format!("{n} ({})", of(n).unwrap_or_default())).collect();
    Err(system(format_args!(
        "no link has the address {mac}, was the card replaced? The machine has {}",
        if there.is_empty() { "none".to_owned() } else { there.join(", ") }
    )))
}

/// Whether there is a card that networkd makes. `/sys/class/net` may show real ones only.
fn has_card(task: &Task<'_>, name: &str) -> bool {
    let table = task.host().text("proc/net/dev").unwrap_or_default();
    table.lines().any(|line| line.split_once(':').is_some_and(|(n, _)| n.trim() == name))
}

/// Waits until networkd has made a card of its own.
fn await_card(task: &Task<'_>, name: &str) -> Result<(), StepFailure> {
    let began = Instant::now();
    while !has_card(task, name) {
        if began.elapsed() > ADDRESS_DEADLINE.min(task.host().settle() * 12) {
            return Err(system(format_args!(
                "networkd did not make the card {name}: see `journalctl -u systemd-networkd`"
            )));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Waits until the kernel has every address.
fn await_addresses(task: &Task<'_>, links: &[(String, &LinkAddress)]) -> Result<(), StepFailure> {
    let began = Instant::now();
    loop {
        let kernel = Kernel::read(task.host());
        let Some((name, link)) = links.iter().find(|(n, l)| !kernel.has(n, l)) else {
            return Ok(());
        };
        if began.elapsed() > ADDRESS_DEADLINE.min(task.host().settle() * 12) {
            let carrier = task.host().number(format!("sys/class/net/{name}/carrier"));
            let cause = if carrier == Some(1) {
                format!("see `networkctl status {name}`")
            } else {
                "it has no carrier: look at its cable".to_owned()
            };
            return Err(system(format_args!("{name} did not get {}: {cause}", link.address)));
        }
        thread::sleep(LOOK_EVERY);
    }
}
