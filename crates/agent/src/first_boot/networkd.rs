//! Writes [`NetworkData`] as files of systemd-networkd (systemd.network(5), systemd.netdev(5)).
//!
//! Interfaces are matched by MAC address, never by name: names depend on the slot and the driver.
//! The files' names come from MAC addresses and numbers, not from the drive's texts.

use std::{collections::HashMap, fmt::Write as _};

use super::network_data::{Link, Network, NetworkData, NetworkDataError, wrong};

/// A file in `/etc/systemd/network`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// A machine's card, in a file's `[Match]` beside its MAC address: what is made on top of a card, and
/// may have its address, is left out. A card itself has no kind, or, where the machine is a container,
/// the kind `veth`.
pub(crate) const CARD: &str = "Type=ether\nKind=!bond bridge ipvlan macsec macvlan macvtap \
                               openvswitch team tun vlan\n";

/// What Nova calls links that are plain interfaces to the machine.
const PLAIN: [&str; 8] = ["phy", "ethernet", "physical", "vif", "ovs", "bridge", "tap", "hw_veb"];

/// The files for this machine, in the order of the links.
///
/// # Errors
/// The first entry of which nothing can be made.
pub fn render(data: &NetworkData) -> Result<Vec<UnitFile>, NetworkDataError> {
    let places: HashMap<&str, usize> =
        data.links.iter().enumerate().map(|(i, link)| (link.id.as_str(), i)).collect();
    for (index, network) in data.networks.iter().enumerate() {
        if !places.contains_key(network.link.as_str()) {
            return Err(NetworkDataError::Link { what: "network", index });
        }
    }
    let mut files = Vec::new();
    for (index, link) in data.links.iter().enumerate() {
        files.extend(render_link(data, &places, index, link)?);
    }
    Ok(files)
}

fn render_link(
    data: &NetworkData,
    places: &HashMap<&str, usize>,
    index: usize,
    link: &Link,
) -> Result<Vec<UnitFile>, NetworkDataError> {
    let kind = link.kind.as_deref().unwrap_or("phy");
    let mac = link.mac(index)?;
    let mut files = Vec::new();
    let (stem, mut text) = if kind == "vlan" {
        let id = link.vlan_id.filter(|id| (1..=4094).contains(id));
        let id = id.ok_or_else(|| wrong("link", index, "vlan_id", "VLAN number"))?;
        if !link.vlan_link.as_deref().is_some_and(|l| places.contains_key(l)) {
            return Err(NetworkDataError::Link { what: "link", index });
        }
        let name = vlan_name(index, id);
        let content =
            format!("[NetDev]\nName={name}\nKind=vlan\nMACAddress={mac}\n\n[VLAN]\nId={id}\n");
        files.push(UnitFile { name: format!("10-undercloud-{name}.netdev"), content });
        (name.clone(), format!("[Match]\nName={name}\n"))
    } else if PLAIN.contains(&kind) {
        (mac.hyphenated(), format!("[Match]\nMACAddress={mac}\n{CARD}"))
    } else {
        let kind = crate::log::one_line(kind);
        return Err(NetworkDataError::Kind { link: index, kind });
    };
    if let Some(mtu) = link.mtu {
        if !(68..=65535).contains(&mtu) {
            return Err(wrong("link", index, &mtu.to_string(), "MTU"));
        }
        let _ = write!(text, "\n[Link]\nMTUBytes={mtu}\n");
    }
    text.push_str(&networks(data, link)?);
    files.push(UnitFile { name: format!("10-undercloud-{stem}.network"), content: text });
    Ok(files)
}

/// At most 15 characters, as interfaces' names must be: `vlan` + place + `.` + number.
fn vlan_name(index: usize, id: u16) -> String {
    format!("vlan{}.{id}", index % 10_000)
}

/// `[Network]` and `[Route]` of a link.
fn networks(data: &NetworkData, link: &Link) -> Result<String, NetworkDataError> {
    let here = || data.networks.iter().enumerate().filter(|(_, n)| n.link == link.id);
    let (mut addresses, mut routes) = (String::new(), String::new());
    let (mut dhcp4, mut dhcp6, mut slaac) = (false, false, false);
    for (index, network) in here() {
        match network.kind.as_str() {
            "ipv4" | "ipv6" => {
                let _ = writeln!(addresses, "Address={}", network.address(index)?);
            }
            "ipv4_dhcp" => dhcp4 = true,
            "ipv6_dhcp" | "ipv6_dhcpv6-stateful" => dhcp6 = true,
            "ipv6_slaac" | "ipv6_dhcpv6-stateless" => slaac = true,
            kind => {
                let kind = crate::log::one_line(kind);
                return Err(NetworkDataError::NetworkKind { network: index, kind });
            }
        }
        routes.push_str(&network_routes(network, index)?);
    }
    let dhcp = match (dhcp4, dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let ra = if slaac || dhcp6 { "yes" } else { "no" };
    let mut text = format!("\n[Network]\nDHCP={dhcp}\nIPv6AcceptRA={ra}\n{addresses}");
    for server in data.nameservers() {
        let _ = writeln!(text, "DNS={server}");
    }
    for (index, vlan) in data.links.iter().enumerate() {
        if let (Some(id), true) = (vlan.vlan_id, vlan.vlan_link.as_deref() == Some(&link.id)) {
            let _ = writeln!(text, "VLAN={}", vlan_name(index, id));
        }
    }
    if here().next().is_none() {
        // A link without addresses is for others to use; nothing waits for it.
        text.push_str("LinkLocalAddressing=no\n");
        text = text.replacen("\n[Network]", "\n[Link]\nRequiredForOnline=no\n\n[Network]", 1);
    }
    Ok(text + &routes)
}

fn network_routes(network: &Network, index: usize) -> Result<String, NetworkDataError> {
    let mut text = String::new();
    for route in &network.routes {
        let (to, gateway) = route.parse(index)?;
        let _ = write!(text, "\n[Route]\nDestination={}\nGateway={gateway}\n", to.trunc());
    }
    Ok(text)
}
