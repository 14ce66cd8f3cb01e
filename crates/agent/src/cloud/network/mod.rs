//! `Network`: bonds, VLANs and addresses on links, `/etc/hosts`, name servers, the firewall.
//!
//! networkd's files match cards by MAC address, as those of the first boot do. Where the first boot
//! wrote one for the same card, ours is a drop-in beside it: networkd takes the first file that
//! matches, and the card keeps its address on the provisioning network.
//!
//! A change of links that cuts the machine off from the daemon is taken back ([`change`]).

mod change;
mod firewall;
mod hosts;
mod kernel;
mod links;
mod news;
mod servers;

use std::{
    thread,
    time::{Duration, Instant},
};

use undercloud_model::agent::{
    StepFailure,
    cloud::{LinkAddress, NetworkSetup},
    link::{LinkName, LinkRef},
};

use self::kernel::Kernel;
use super::{Call, Done, Task, system};
use crate::inspect::physical_interfaces;

pub(super) use change::recover;

/// How long networkd may take to set an address.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long `networkctl` may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Makes the machine's network as described.
pub(super) fn apply(task: &Task<'_>, setup: &NetworkSetup) -> Result<Done, StepFailure> {
    let mut changed = Vec::new();
    let cards = setup.bonds.iter().flat_map(|bond| &bond.members).map(|mac| LinkRef::Card(*mac));
    let carriers = setup.vlans.iter().map(|vlan| vlan.on.clone());
    let bridged = setup.bridge.iter().map(|bridge| bridge.link.clone());
    for link in cards.chain(carriers).chain(bridged) {
        name_of(task, &link)?;
    }
    let links = setup.links.iter().map(|link| Ok((name_of(task, &link.link)?, link)));
    let links = links.collect::<Result<Vec<_>, StepFailure>>()?;
    let below = setup.tunnel.as_ref().map(|tunnel| name_of(task, &tunnel.below)).transpose()?;
    let wanted = links::render(task.host(), setup)?;
    if change::is_needed(task.host(), &wanted) {
        changed.push("links");
        change::make(task, &wanted, || await_links(task, setup, &links))?;
    } else {
        let kernel = Kernel::read(task.host());
        for (name, _) in links.iter().filter(|(n, l)| !kernel.has(n, l)) {
            // Somebody took it away: networkd sets it again when it is told to.
            changed.push("addresses");
            task.must(&Call::new("networkctl", DEADLINE, ["reconfigure", name]))?;
        }
        if let (Some(tunnel), Some(below)) = (&setup.tunnel, &below)
            && !has_link(task, &tunnel.name)
        {
            // The same, of a card that networkd made: it has forgotten it, and reads its file again.
            changed.push("the tunnels' card");
            task.must(&Call::new("networkctl", DEADLINE, ["reload"]))?;
            task.must(&Call::new("networkctl", DEADLINE, ["reconfigure", below]))?;
        }
        let made = made(setup);
        if made.iter().any(|name| !has_link(task, name.as_str())) {
            changed.push("bonds and VLANs");
            task.must(&Call::new("networkctl", DEADLINE, ["reload"]))?;
            for carrier in carriers_of(task, setup)? {
                task.must(&Call::new("networkctl", DEADLINE, ["reconfigure", &carrier]))?;
            }
        }
        await_links(task, setup, &links)?;
    }
    if hosts::write(task, &setup.hosts)? {
        changed.push("host names");
    }
    changed.extend(servers::write(task, setup)?);
    if firewall::apply(task, &setup.firewall)? {
        changed.push("firewall");
    }
    if changed.is_empty() {
        return Ok(Done::unchanged("network, names and firewall are as they should be"));
    }
    Ok(Done::changed(format!("changed: {}", changed.join(", "))))
}

/// The bonds and VLANs of the description.
fn made(setup: &NetworkSetup) -> Vec<LinkName> {
    let bonds = setup.bonds.iter().map(|bond| bond.name.clone());
    bonds.chain(setup.vlans.iter().map(|vlan| LinkName::of_vlan(vlan.id))).collect()
}

/// The cards that carry bonds and VLANs, by name.
fn carriers_of(task: &Task<'_>, setup: &NetworkSetup) -> Result<Vec<String>, StepFailure> {
    let members = setup.bonds.iter().flat_map(|bond| &bond.members).map(|mac| LinkRef::Card(*mac));
    let below = setup.vlans.iter().map(|vlan| vlan.on.clone());
    members.chain(below).map(|link| name_of(task, &link)).collect()
}

fn await_links(
    task: &Task<'_>,
    setup: &NetworkSetup,
    links: &[(String, &LinkAddress)],
) -> Result<(), StepFailure> {
    for name in made(setup) {
        await_link(task, "link", name.as_str())?;
    }
    await_addresses(task, links)?;
    match &setup.tunnel {
        Some(tunnel) => await_link(task, "card", &tunnel.name),
        None => Ok(()),
    }
}

/// The name of a link: of a card, by its address.
fn name_of(task: &Task<'_>, link: &LinkRef) -> Result<String, StepFailure> {
    let mac = match link {
        LinkRef::Card(mac) => mac.to_string(),
        LinkRef::Made(name) => return Ok(name.to_string()),
    };
    let names = physical_interfaces(task.host());
    // A card in a bond has the bond's address, and its own beside it.
    let of = |name: &String| {
        let at = |file: &str| task.host().attribute(format!("sys/class/net/{name}/{file}"));
        at("bonding_slave/perm_hwaddr").or_else(|| at("address"))
    };
    if let Some(name) = names.iter().find(|n| of(n).is_some_and(|a| a.eq_ignore_ascii_case(&mac))) {
        return Ok(name.clone());
    }
    let there: Vec<String> =
        names.iter().map(|n| format!("{n} ({})", of(n).unwrap_or_default())).collect();
    Err(system(format_args!(
        "no link has the address {mac}, was the card replaced? The machine has {}",
        if there.is_empty() { "none".to_owned() } else { there.join(", ") }
    )))
}

/// Whether there is a link that networkd makes. `/sys/class/net` may show cards only.
fn has_link(task: &Task<'_>, name: &str) -> bool {
    let table = task.host().text("proc/net/dev").unwrap_or_default();
    table.lines().any(|line| line.split_once(':').is_some_and(|(n, _)| n.trim() == name))
}

/// Waits until networkd has made a link.
fn await_link(task: &Task<'_>, what: &str, name: &str) -> Result<(), StepFailure> {
    let began = Instant::now();
    while !has_link(task, name) {
        if began.elapsed() > ADDRESS_DEADLINE.min(task.host().settle() * 12) {
            return Err(system(format_args!(
                "networkd did not make the {what} {name}: see `journalctl -u systemd-networkd`"
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
