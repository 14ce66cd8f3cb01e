//! networkd's files (systemd.network(5), systemd.netdev(5)) for a machine's links.
//!
//! Everything that is said of one link, wherever in the description, is gathered first, and then
//! written as one file; bonds, VLANs and the tunnels' card have a second one that makes them.

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr};

use ipnet::Ipv4Net;
use undercloud_model::agent::{
    StepFailure,
    cloud::{NetworkSetup, TunnelAddress},
    link::{Bond, BondMode, LinkName, LinkRef, Vlan},
};

use crate::{
    cloud::{OURS, Task, check, files, files::Wanted, refused},
    first_boot::CARD,
    sys::Host,
};

pub(super) const DIR: &str = "etc/systemd/network";
/// What every link of ours begins with: nothing comes from the network.
const FIXED: &str = "DHCP=no\nIPv6AcceptRA=no\n";
/// How often a bond looks at its cards: the kernel's own advice.
const BOND_LOOKS: &str = "MIIMonitorSec=100ms\n";

/// The files as they must be, by path.
pub(super) type Files = BTreeMap<String, String>;

/// Whether a file of networkd's directory is one that this step writes. The first boot's own begin
/// with 10; a card in a bond has a file before that one, the others after it.
pub(super) fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("20-undercloud") || name.starts_with("05-undercloud")
}

/// Writes what is missing or different and removes what is not asked for any more.
pub(super) fn write(task: &Task<'_>, wanted: &Files) -> Result<(), StepFailure> {
    let host = task.host();
    for (path, text) in wanted {
        Wanted::public(path, text).ensure(host)?;
    }
    for path in files::below(host, DIR) {
        if is_ours(&path) && !wanted.contains_key(&path) {
            files::remove(host, &path)?;
        }
    }
    Ok(())
}

/// Whether networkd's directory is as it must be.
pub(super) fn are_there(host: &Host, wanted: &Files) -> bool {
    let others = |path: &String| is_ours(path) && !wanted.contains_key(path);
    wanted.iter().all(|(path, text)| Wanted::public(path, text).is_there(host))
        && !files::below(host, DIR).iter().any(others)
}

/// What is said of one link.
#[derive(Debug, Default)]
struct Link {
    /// Lines of `[Network]`.
    lines: String,
    mtu: Option<u16>,
    gateway: Option<Ipv4Addr>,
    has_address: bool,
    /// The bond that has taken it.
    bond: Option<LinkName>,
    /// The switch's bridge that has taken it.
    bridged: bool,
}

type Links = BTreeMap<LinkRef, Link>;

/// The files of the description.
///
/// # Errors
/// A description that contradicts itself.
pub(super) fn render(host: &Host, setup: &NetworkSetup) -> Result<Files, StepFailure> {
    let mut links = Links::new();
    let mut wanted = Files::new();
    for bond in &setup.bonds {
        wanted.extend([bond_file(bond)?]);
        links.entry(LinkRef::Made(bond.name.clone())).or_default();
        for mac in &bond.members {
            let member = links.entry((*mac).into()).or_default();
            if let Some(other) = member.bond.replace(bond.name.clone()) {
                return Err(refused(format_args!(
                    "{mac} is in the bonds {other} and {}",
                    bond.name
                )));
            }
        }
    }
    for vlan in &setup.vlans {
        let name = LinkName::of_vlan(vlan.id);
        wanted.extend([vlan_file(&name, vlan)]);
        let _ = writeln!(links.entry(vlan.on.clone()).or_default().lines, "VLAN={name}");
        links.entry(LinkRef::Made(name)).or_default();
    }
    for address in &setup.links {
        let link = links.entry(address.link.clone()).or_default();
        let _ = writeln!(link.lines, "Address={}", address.address);
        link.has_address = true;
        link.gateway = link.gateway.or(address.gateway);
    }
    if let Some(tunnel) = &setup.tunnel {
        let name = link_name("card", &tunnel.name)?;
        let _ = writeln!(links.entry(tunnel.below.clone()).or_default().lines, "MACVLAN={name}");
        wanted.extend(tunnel_files(name, tunnel)?);
    }
    if let Some(bridge) = &setup.bridge {
        let name = link_name("bridge", &bridge.name)?;
        wanted.extend([bridge_file(name, bridge.address, bridge.gateway)]);
        let link = links.entry(bridge.link.clone()).or_default();
        if link.has_address {
            let link = &bridge.link;
            return Err(refused(format_args!(
                "{link} is given an address and to the bridge {name}"
            )));
        }
        link.bridged = true;
    }
    for mtu in &setup.mtus {
        links.entry(mtu.link.clone()).or_default().mtu = Some(mtu.bytes);
    }
    check_links(setup, &links)?;
    wanted.extend(links.iter().filter_map(|(name, link)| link_file(host, name, link)));
    Ok(wanted)
}

/// Every link that is named is a card, or made by the same description; and a card in a bond is
/// nothing else.
fn check_links(setup: &NetworkSetup, links: &Links) -> Result<(), StepFailure> {
    let made = |name: &LinkName| {
        setup.bonds.iter().any(|bond| bond.name == *name)
            || setup.vlans.iter().any(|vlan| LinkName::of_vlan(vlan.id) == *name)
    };
    for (name, link) in links {
        if let LinkRef::Made(name) = name
            && !made(name)
        {
            return Err(refused(format_args!("the link {name} is no bond and no VLAN of it")));
        }
        if let Some(bond) = &link.bond
            && (link.bridged || !link.lines.is_empty())
        {
            return Err(refused(format_args!("{name} is in the bond {bond} and used by itself")));
        }
    }
    Ok(())
}

/// A link's settings: in a file of their own, or beside the one that the first boot wrote.
fn link_file(host: &Host, name: &LinkRef, link: &Link) -> Option<(String, String)> {
    let stem = match name {
        LinkRef::Card(mac) => mac.hyphenated(),
        LinkRef::Made(name) => name.to_string(),
    };
    let mtu = link.mtu.map(|mtu| format!("MTUBytes={mtu}\n")).unwrap_or_default();
    let rest = format!("{}{}", link.lines, route(link.gateway));
    let first = format!("{DIR}/10-undercloud-{stem}.network");
    if let (LinkRef::Card(mac), Some(bond)) = (name, &link.bond) {
        // All cards of a bond have the bond's address while they are in it.
        let text = format!(
            "{OURS}\n[Match]\nPermanentMACAddress={mac}\n{CARD}\n[Link]\n{mtu}RequiredForOnline=no\n\n\
             [Network]\nLinkLocalAddressing=no\nBond={bond}\n"
        );
        return Some((format!("{DIR}/05-undercloud-{stem}.network"), text));
    }
    if host.has(&first) {
        let mtu = if mtu.is_empty() { mtu } else { format!("[Link]\n{mtu}\n") };
        if mtu.is_empty() && rest.is_empty() {
            return None;
        }
        return Some((
            format!("{first}.d/20-undercloud.conf"),
            format!("{OURS}\n{mtu}[Network]\n{rest}"),
        ));
    }
    let head = match name {
        LinkRef::Card(mac) => format!("[Match]\nMACAddress={mac}\n{CARD}\n"),
        LinkRef::Made(name) => format!("[Match]\nName={name}\n\n"),
    };
    let (quiet, local) = if link.has_address {
        ("", "")
    } else {
        ("RequiredForOnline=no\n", "LinkLocalAddressing=no\n")
    };
    let section = if mtu.is_empty() && quiet.is_empty() {
        String::new()
    } else {
        format!("[Link]\n{mtu}{quiet}\n")
    };
    let text = format!("{OURS}\n{head}{section}[Network]\n{FIXED}{local}{rest}");
    Some((format!("{DIR}/20-undercloud-{stem}.network"), text))
}

fn route(gateway: Option<Ipv4Addr>) -> String {
    gateway.map(|gateway| format!("Gateway={gateway}\n")).unwrap_or_default()
}

fn bond_file(bond: &Bond) -> Result<(String, String), StepFailure> {
    let Bond { name, mode, members } = bond;
    let Some(first) = members.first() else {
        return Err(refused(format_args!("the bond {name} has no cards")));
    };
    let mut text = format!(
        "{OURS}\n[NetDev]\nName={name}\nKind=bond\nMACAddress={first}\n\n[Bond]\nMode={}\n{BOND_LOOKS}",
        mode.as_str()
    );
    if mode.hashes() {
        text.push_str("TransmitHashPolicy=layer3+4\n");
    }
    if *mode == BondMode::Lacp {
        text.push_str("LACPTransmitRate=fast\n");
    }
    Ok((format!("{DIR}/20-undercloud-{name}.netdev"), text))
}

fn vlan_file(name: &LinkName, vlan: &Vlan) -> (String, String) {
    let text = format!("{OURS}\n[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={}\n", vlan.id);
    (format!("{DIR}/20-undercloud-{name}.netdev"), text)
}

/// A name that a link can have.
fn link_name<'a>(what: &str, text: &'a str) -> Result<&'a str, StepFailure> {
    let name = check::name(what, text, "-_")?;
    if name.len() > 15 {
        return Err(refused(format_args!("the {what}'s name `{name}` is too long")));
    }
    Ok(name)
}

/// The address of a bridge that the switch makes later, and again after each boot.
fn bridge_file(name: &str, address: Ipv4Net, gateway: Option<Ipv4Addr>) -> (String, String) {
    let text = format!(
        "{OURS}\n[Match]\nName={name}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n{FIXED}\
         ConfigureWithoutCarrier=yes\nAddress={address}\n{}",
        route(gateway)
    );
    (format!("{DIR}/20-undercloud-{name}.network"), text)
}

/// The second card on the link, which the switch takes, and the bridge that has it.
fn tunnel_files(name: &str, tunnel: &TunnelAddress) -> Result<[(String, String); 3], StepFailure> {
    let mac = tunnel.mac;
    let card = format!(
        "{OURS}\n[NetDev]\nName={name}\nKind=macvlan\nMACAddress={mac}\n\n[MACVLAN]\nMode=bridge\n"
    );
    let bare = format!(
        "{OURS}\n[Match]\nName={name}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n{FIXED}\
         LinkLocalAddressing=no\n"
    );
    Ok([
        (format!("{DIR}/20-undercloud-{name}.netdev"), card),
        (format!("{DIR}/20-undercloud-{name}.network"), bare),
        bridge_file(link_name("bridge", &tunnel.bridge)?, tunnel.address, None),
    ])
}
