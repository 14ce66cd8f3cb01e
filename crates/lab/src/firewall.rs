//! The rules of the lab's namespace: who may talk to the daemon, and what is passed on.
//!
//! Linux answers on any of its addresses whichever link a packet came by (the weak host model), so
//! without rules a server of the cloud could reach the daemon's listeners on the provisioning
//! network by way of the external one. Nothing here touches the host's own rules.

use std::{collections::BTreeSet, fmt::Write as _, net::Ipv4Addr};

use crate::{LabError, command, namespace};

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Firewall<'a> {
    /// All bridges, each with our address there.
    pub(crate) bridges: Vec<(&'a str, Ipv4Addr)>,
    /// Those that machines boot from: here the daemon serves.
    pub(crate) boot: BTreeSet<&'a str>,
    /// The link to the host, where there is one.
    pub(crate) link: Option<Link<'a>>,
}

/// The link to the host, and what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    /// Its end in the namespace.
    pub(crate) name: &'a str,
    /// The host's address.
    pub(crate) host: Ipv4Addr,
    /// The bridge that the host may reach.
    pub(crate) bridge: &'a str,
    /// Our address there: machines answer to it.
    pub(crate) address: Ipv4Addr,
}

impl Firewall<'_> {
    /// Replaces the rules in the namespace, all at once.
    ///
    /// # Errors
    /// When `nft` fails.
    pub(crate) async fn apply(&self, namespace: &str) -> Result<(), LabError> {
        let inside = format!("--net={}", namespace::path(namespace));
        let args = [inside.as_str(), "nft", "-f", "-"];
        command::run_with_input("nsenter", &args, &self.rules()).await.map(drop)
    }

    fn rules(&self) -> String {
        // Added first, so that removing it works the first time too.
        let mut rules = String::from(
            "add table inet undercloud\n\
             delete table inet undercloud\n\
             table inet undercloud {\n\
             chain input {\n\
             type filter hook input priority filter; policy drop;\n\
             ct state established,related accept\n\
             iifname \"lo\" accept\n",
        );
        for bridge in &self.boot {
            let _ = writeln!(rules, "iifname \"{bridge}\" accept");
        }
        // Each network sees our address in it, and none of the others.
        let link = self.link.map(|link| (link.name, link.address));
        for (name, address) in self.bridges.iter().copied().chain(link) {
            let echo = "icmp type echo-request accept";
            let _ = writeln!(rules, "iifname \"{name}\" ip daddr {address} {echo}");
        }
        rules.push_str(
            "}\nchain forward {\ntype filter hook forward priority filter; policy drop;\n",
        );
        // Frames from machine to machine come here too on hosts with br_netfilter (Docker's).
        for (bridge, _) in &self.bridges {
            let _ = writeln!(rules, "iifname \"{bridge}\" oifname \"{bridge}\" accept");
        }
        rules.push_str("ct state established,related accept\n");
        if let Some(Link { name, host, bridge, .. }) = self.link {
            let _ =
                writeln!(rules, "iifname \"{name}\" ip saddr {host} oifname \"{bridge}\" accept");
        }
        rules.push_str("}\n");
        if let Some(Link { host, bridge, address, .. }) = self.link {
            let _ = writeln!(
                rules,
                "chain postrouting {{\ntype nat hook postrouting priority srcnat;\n\
                 ip saddr {host} oifname \"{bridge}\" snat ip to {address}\n}}"
            );
        }
        rules.push_str("}\n");
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_the_built_in_lab() {
        let firewall = Firewall {
            bridges: vec![
                ("br-provisioning", [192, 168, 24, 1].into()),
                ("br-external", [10, 0, 0, 1].into()),
            ],
            boot: BTreeSet::from(["br-provisioning"]),
            link: Some(Link {
                name: "uplink",
                host: [169, 254, 64, 2].into(),
                bridge: "br-external",
                address: [10, 0, 0, 1].into(),
            }),
        };
        insta::assert_snapshot!(firewall.rules());
        let alone = Firewall { link: None, ..firewall };
        assert!(!alone.rules().contains("nat"));
    }
}
