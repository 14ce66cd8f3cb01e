//! networkd's files (systemd.network(5)).

use std::collections::BTreeMap;

use undercloud_model::{
    MacAddr,
    agent::{StepFailure, cloud::NetworkSetup},
};

use crate::{
    cloud::{OURS, Task, check, files, files::Wanted, refused},
    first_boot::CARD,
    sys::Host,
};

const DIR: &str = "etc/systemd/network";

/// Writes what is missing or different and removes what is not asked for any more; says whether
/// anything was.
pub(super) fn write(task: &Task<'_>, setup: &NetworkSetup) -> Result<bool, StepFailure> {
    let host = task.host();
    let wanted = render(host, setup)?;
    let mark = Wanted::public(super::PENDING, "");
    let mut changed = false;
    for (path, text) in &wanted {
        let file = Wanted::public(path, text);
        if !file.is_there(host) {
            mark.ensure(host)?;
            file.write(host)?;
            changed = true;
        }
    }
    let ours = |p: &String| p.rsplit('/').next().is_some_and(|n| n.starts_with("20-undercloud"));
    for path in files::below(host, DIR) {
        if ours(&path) && !wanted.contains_key(&path) {
            mark.ensure(host)?;
            changed |= files::remove(host, &path)?;
        }
    }
    Ok(changed)
}

fn render(host: &Host, setup: &NetworkSetup) -> Result<BTreeMap<String, String>, StepFailure> {
    let mut addresses: BTreeMap<MacAddr, Vec<String>> = BTreeMap::new();
    for link in &setup.links {
        addresses.entry(link.mac).or_default().push(format!("Address={}\n", link.address));
    }
    let mut wanted = BTreeMap::new();
    for (mac, lines) in &addresses {
        let (path, head) = place(host, *mac);
        let head = head.map(|h| h + "DHCP=no\nIPv6AcceptRA=no\n");
        let head = head.unwrap_or_else(|| "[Network]\n".to_owned());
        wanted.insert(path, format!("{OURS}\n{head}{}", lines.concat()));
    }
    let Some(bridge) = &setup.bridge else { return Ok(wanted) };
    let name = check::name("bridge", &bridge.name, "-_")?;
    if name.len() > 15 {
        return Err(refused(format_args!("the bridge's name `{name}` is too long")));
    }
    if addresses.contains_key(&bridge.mac) {
        let mac = bridge.mac;
        return Err(refused(format_args!("{mac} is given an address and to the bridge {name}")));
    }
    // The switch makes the bridge later, and again after each boot.
    wanted.insert(
        format!("{DIR}/20-undercloud-{name}.network"),
        format!(
            "{OURS}\n[Match]\nName={name}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\n\
             IPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nAddress={}\n",
            bridge.address
        ),
    );
    if let (path, Some(head)) = place(host, bridge.mac) {
        let head = head.replace("[Network]", "[Link]\nRequiredForOnline=no\n\n[Network]");
        let rest = "DHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n";
        wanted.insert(path, format!("{OURS}\n{head}{rest}"));
    }
    Ok(wanted)
}

/// Where a link's settings go: into a file of their own, whose beginning is given too, or beside
/// the one that the first boot wrote.
fn place(host: &Host, mac: MacAddr) -> (String, Option<String>) {
    let stem = mac.hyphenated();
    let first = format!("{DIR}/10-undercloud-{stem}.network");
    if host.has(&first) {
        return (format!("{first}.d/20-undercloud.conf"), None);
    }
    let head = format!("[Match]\nMACAddress={mac}\n{CARD}\n[Network]\n");
    (format!("{DIR}/20-undercloud-{stem}.network"), Some(head))
}
