//! Writes [`NetworkData`] as files of systemd-networkd (systemd.network(5), systemd.netdev(5)).
//!
//! Interfaces are matched by MAC address, never by name: names depend on the slot and the driver.
//! The files' names come from MAC addresses and numbers, not from the drive's texts.

use std::fmt::Write as _;

use undercloud_model::network_data::{
    Interface, InterfaceKind, NetworkData, NetworkDataError, RouteOver,
};

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

/// The files for this machine, in the order of the links.
///
/// # Errors
/// The first entry of which nothing can be made.
pub fn render(data: &NetworkData) -> Result<Vec<UnitFile>, NetworkDataError> {
    let servers: String =
        data.nameservers().iter().map(|server| format!("DNS={server}\n")).collect();
    let interfaces = data.interfaces()?;
    Ok(interfaces.iter().flat_map(|interface| render_link(interface, &servers)).collect())
}

fn render_link(interface: &Interface, servers: &str) -> Vec<UnitFile> {
    let mut files = Vec::new();
    let (stem, mut text) = match interface.kind {
        InterfaceKind::Plain { mac } => {
            (mac.hyphenated(), format!("[Match]\nMACAddress={mac}\n{CARD}"))
        }
        InterfaceKind::Vlan { index, id, mac } => {
            let name = vlan_name(index, id);
            let mac = mac.map(|mac| format!("MACAddress={mac}\n")).unwrap_or_default();
            let content = format!("[NetDev]\nName={name}\nKind=vlan\n{mac}\n[VLAN]\nId={id}\n");
            files.push(UnitFile { name: format!("10-undercloud-{name}.netdev"), content });
            (name.clone(), format!("[Match]\nName={name}\n"))
        }
    };
    if let Some(mtu) = interface.mtu {
        let _ = write!(text, "\n[Link]\nMTUBytes={mtu}\n");
    }
    text.push_str(&network(interface, servers));
    files.push(UnitFile { name: format!("10-undercloud-{stem}.network"), content: text });
    files
}

/// At most 15 characters, as interfaces' names must be: `vlan` + place + `.` + number.
fn vlan_name(index: usize, id: u16) -> String {
    format!("vlan{}.{id}", index % 10_000)
}

/// `[Network]` and `[Route]` of a link.
fn network(interface: &Interface, servers: &str) -> String {
    let dhcp = match (interface.dhcp4, interface.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let ra = if interface.slaac || interface.dhcp6 { "yes" } else { "no" };
    let mut text = format!("\n[Network]\nDHCP={dhcp}\nIPv6AcceptRA={ra}\n");
    for address in &interface.addresses {
        let _ = writeln!(text, "Address={address}");
    }
    text.push_str(servers);
    for (index, id) in &interface.vlans {
        let _ = writeln!(text, "VLAN={}", vlan_name(*index, *id));
    }
    if !interface.is_used {
        // A link without addresses is for others to use; nothing waits for it.
        text.push_str("LinkLocalAddressing=no\n");
        text = text.replacen("\n[Network]", "\n[Link]\nRequiredForOnline=no\n\n[Network]", 1);
    }
    for route in &interface.routes {
        text.push_str(&route_text(route));
    }
    text
}

fn route_text(route: &RouteOver) -> String {
    let RouteOver { to, gateway, is_on_link } = route;
    let mut text = format!("\n[Route]\nDestination={to}\n");
    match gateway {
        Some(gateway) => {
            let _ = writeln!(text, "Gateway={gateway}");
        }
        None => text.push_str("Scope=link\n"),
    }
    if *is_on_link {
        text.push_str("GatewayOnLink=yes\n");
    }
    text
}
