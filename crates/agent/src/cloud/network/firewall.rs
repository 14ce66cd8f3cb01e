//! The machine's firewall: one table of nftables that is ours, replaced in one transaction, loaded
//! at boot by `undercloud-firewall.service`. That also has connections tracked from the first boot on,
//! before there is a firewall: its first load would otherwise drop what the daemon still answers.
//!
//! It filters what the kernel delivers to this machine and what it routes. What the switch carries
//! for servers never passes here; Neutron's security groups are for that.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use undercloud_model::agent::{
    StepFailure,
    cloud::{Firewall, FirewallHole, PortProtocol},
};

use super::kernel::Kernel;
use crate::cloud::{Call, OURS, Task, check, files, files::Wanted, refused, system};

const RULES: &str = "etc/undercloud/firewall.nft";
/// The table as `nft` listed it after it was loaded: another listing means that somebody changed it.
const LISTING: &str = "var/lib/undercloud/firewall.listing";
const DEADLINE: Duration = Duration::from_secs(60);

/// Loads the rules where they are not in the kernel; says whether it had to.
pub(super) fn apply(task: &Task<'_>, firewall: &Firewall) -> Result<bool, StepFailure> {
    let host = task.host();
    let rules = render(&provisioning_link(task)?, firewall)?;
    let rules = Wanted { mode: 0o600, ..Wanted::public(RULES, &rules) };
    if rules.is_there(host) {
        let listing = list(task)?;
        if listing.is_some() && listing == host.text(LISTING).ok() {
            return Ok(false);
        }
    }
    // Without it, a crash between the next lines is seen as a change.
    files::remove(host, LISTING)?;
    rules.write(host)?;
    let path = host.path(RULES).display().to_string();
    task.must(&Call::new("nft", DEADLINE, ["-f", &path]))?;
    let listing =
        list(task)?.ok_or_else(|| system("the firewall was loaded and is not in the kernel"))?;
    Wanted { mode: 0o600, ..Wanted::public(LISTING, &listing) }.write(host)?;
    Ok(true)
}

/// The table in the kernel, if it is there.
fn list(task: &Task<'_>) -> Result<Option<String>, StepFailure> {
    let call = Call::new("nft", DEADLINE, ["--stateless", "list", "table", "inet", "undercloud"]);
    let ended = task.run(&call)?;
    Ok(ended.success.then_some(ended.stdout))
}

/// The link by which the daemon is reached.
fn provisioning_link(task: &Task<'_>) -> Result<String, StepFailure> {
    let registry = task.cloud.registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let Ok(IpAddr::V4(daemon)) = host.parse() else {
        return Err(refused(format_args!("the daemon's address {host} is not IPv4")));
    };
    let kernel = Kernel::read(task.host());
    let link = kernel.link_to(daemon).ok_or_else(|| {
        system(format_args!("no route leads to the daemon at {daemon}, see `ip route`"))
    })?;
    // It becomes a word of a rule.
    check::name("link", link, "-_.@").map(str::to_owned)
}

fn render(provisioning: &str, firewall: &Firewall) -> Result<String, StepFailure> {
    let holes: BTreeSet<&FirewallHole> = firewall.allow.iter().collect();
    let holes = holes.into_iter().map(hole).collect::<Result<String, _>>()?;
    Ok(format!(
        "{OURS}
table inet undercloud
delete table inet undercloud
table inet undercloud {{
	chain input {{
		type filter hook input priority filter; policy drop;
		iifname \"lo\" accept
		ct state established,related accept
		ct state invalid drop
		icmp type echo-request accept
		icmpv6 type {{ echo-request, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} accept
		iifname \"{provisioning}\" tcp dport 22 accept
		iifname \"{provisioning}\" udp sport 67 udp dport 68 accept
{holes}	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
	}}
}}
"
    ))
}

fn hole(hole: &FirewallHole) -> Result<String, StepFailure> {
    let from = hole.from.map(|net| format!("ip saddr {} ", net.trunc())).unwrap_or_default();
    let protocol = match hole.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
    };
    let ports = match hole.last_port {
        Some(last) if last < hole.port => {
            let first = hole.port;
            return Err(refused(format_args!("the ports {first} to {last} are no range")));
        }
        Some(last) if last > hole.port => format!("{}-{last}", hole.port),
        _ => hole.port.to_string(),
    };
    Ok(format!("\t\tip daddr {} {from}{protocol} dport {ports} accept\n", hole.to))
}
