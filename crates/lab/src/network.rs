//! The lab's network: a namespace of its own, in it a bridge for each network and a tap for each
//! NIC.
//!
//! It does not forward between its networks, and its rules keep servers of the cloud from the
//! daemon; the one way in is the host's, to the external network ([`crate::uplink`]). Taps are
//! persistent and belong to their machine's user. Made by `ip` child processes; what is there
//! already stays as it is, so that making it again changes nothing.

use std::collections::BTreeSet;

use serde::Deserialize;
use undercloud_model::MacAddr;

use crate::{
    HostAccess, LabError, LabNames, MachineDefinition, MachineKind, NetworkConfig, command,
    firewall::{Firewall, Link},
    namespace::{self, enter_and},
    uplink::Uplink,
};

/// The largest packet, in bytes, that passes between machines: as much as a switch for storage networks
/// carries. What a machine sends is its own to say.
const CABLE_MTU: u16 = undercloud_machine::CABLE_MTU;

/// A lab's network.
#[derive(Debug, Clone)]
pub struct Network {
    namespace: String,
    bridges: Vec<Bridge>,
    uplink: Option<Uplink>,
}

#[derive(Debug, Clone)]
struct Bridge {
    config: NetworkConfig,
    name: String,
    mac: MacAddr,
}

impl Network {
    /// The network with these names; does no I/O.
    pub fn new(names: &LabNames, networks: &[NetworkConfig]) -> Self {
        let bridge = |config: &NetworkConfig| Bridge {
            name: names.bridge(&config.name),
            mac: names.bridge_mac(&config.name),
            config: config.clone(),
        };
        Self {
            namespace: names.namespace(),
            bridges: networks.iter().map(bridge).collect(),
            uplink: Uplink::new(names, networks),
        }
    }

    /// The namespace, as `ip netns` names it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The bridge and the configuration of each network, in the order of `lab.toml`.
    pub fn bridges(&self) -> impl Iterator<Item = (&str, &NetworkConfig)> {
        self.bridges.iter().map(|bridge| (bridge.name.as_str(), &bridge.config))
    }

    /// Whether the host can have a link to the external network, before anything is made.
    ///
    /// # Errors
    /// When the host uses that network's addresses for something else.
    pub async fn check(&self) -> Result<(), LabError> {
        match &self.uplink {
            Some(uplink) => uplink.check().await,
            None => Ok(()),
        }
    }

    /// Where the external network's addresses lead on this host, if not into this lab: then its cloud
    /// would not be reached from here.
    ///
    /// # Errors
    /// When `ip` fails.
    pub async fn elsewhere(&self) -> Result<Option<HostAccess>, LabError> {
        match &self.uplink {
            Some(uplink) => uplink.elsewhere().await,
            None => Ok(None),
        }
    }

    /// Makes what is missing of the namespace, the bridges, the machines' taps and the host's link.
    ///
    /// # Errors
    /// When a command of `ip` or `nft` fails.
    pub async fn ensure(&self, machines: &[&MachineDefinition]) -> Result<HostAccess, LabError> {
        self.ensure_namespace().await?;
        let links = self.links().await?;
        self.ip(&["link", "set", "lo", "up"]).await?;
        for bridge in &self.bridges {
            self.ensure_bridge(bridge, &links).await?;
        }
        // A container's links are made at each start, and end with it.
        for machine in machines.iter().filter(|machine| machine.kind == MachineKind::Qemu) {
            self.ensure_taps(machine, &links).await?;
        }
        let access = match &self.uplink {
            Some(uplink) => {
                uplink.ensure(async |link| self.protect(machines, Some(link)).await).await?
            }
            None => HostAccess::NoNetwork,
        };
        if !matches!(access, HostAccess::Through { .. }) {
            self.protect(machines, None).await?;
        }
        Ok(access)
    }

    async fn protect(
        &self,
        machines: &[&MachineDefinition],
        link: Option<Link<'_>>,
    ) -> Result<(), LabError> {
        let boots = |bridge: &&Bridge| {
            let first = machines.iter().filter_map(|machine| machine.nics.first());
            first.into_iter().any(|nic| nic.network == bridge.config.name)
        };
        let firewall = Firewall {
            bridges: self
                .bridges
                .iter()
                .map(|b| (b.name.as_str(), b.config.host_address()))
                .collect(),
            boot: self.bridges.iter().filter(boots).map(|bridge| bridge.name.as_str()).collect(),
            link,
        };
        firewall.apply(&self.namespace).await
    }

    /// Removes one machine's taps.
    ///
    /// # Errors
    /// When one of `ip`'s commands fails.
    pub async fn remove_taps(&self, machine: &MachineDefinition) -> Result<(), LabError> {
        if !self.exists() {
            return Ok(());
        }
        let links = self.links().await?;
        for nic in &machine.nics {
            let tap = LabNames::tap(nic.mac);
            if links.contains(&tap) {
                self.ip(&["link", "delete", &tap]).await?;
            }
        }
        Ok(())
    }

    /// Removes every link that was made, then the namespace. The links go first: the namespace
    /// lives on for as long as a socket in it is open, and its networks should not.
    ///
    /// # Errors
    /// When one of `ip`'s commands fails.
    pub async fn remove(&self) -> Result<(), LabError> {
        if let Some(uplink) = &self.uplink {
            uplink.remove().await?;
        }
        if !self.exists() {
            return Ok(());
        }
        if self.is_alive() {
            for link in self.links().await? {
                let ours = self.bridges.iter().any(|bridge| bridge.name == link);
                if ours || link.starts_with("tap") {
                    self.ip(&["link", "delete", &link]).await?;
                }
            }
        }
        command::run("ip", &["netns", "delete", &self.namespace]).await.map(drop)
    }

    fn exists(&self) -> bool {
        namespace::path(&self.namespace).exists()
    }

    /// A file in `/run/netns` is a namespace only while it is mounted.
    fn is_alive(&self) -> bool {
        enter_and(&self.namespace, || ()).is_ok()
    }

    async fn ensure_namespace(&self) -> Result<(), LabError> {
        if self.exists() && !self.is_alive() {
            command::run("ip", &["netns", "delete", &self.namespace]).await?;
        }
        if !self.exists() {
            command::run("ip", &["netns", "add", &self.namespace]).await?;
        }
        enter_and(&self.namespace, || forward_nothing().and_then(|()| no_rules_for_frames()))?
    }

    async fn ensure_bridge(
        &self,
        bridge: &Bridge,
        links: &BTreeSet<String>,
    ) -> Result<(), LabError> {
        let name = bridge.name.as_str();
        if !links.contains(name) {
            let mac = bridge.mac.to_string();
            // No spanning tree and no forwarding delay: a machine's first packet must pass. No
            // multicast snooping: nobody here queries, so it would only lose packets.
            let kind = ["type", "bridge", "stp_state", "0", "forward_delay", "0"];
            let mut args = vec!["link", "add", name, "address", &mac];
            args.extend(kind);
            args.extend(["mcast_snooping", "0"]);
            self.ip(&args).await?;
        }
        let prefix = bridge.config.cidr.prefix_len();
        let address = format!("{}/{prefix}", bridge.config.host_address());
        let broadcast = bridge.config.cidr.broadcast().to_string();
        let args = ["address", "replace", &address, "broadcast", &broadcast, "dev", name];
        self.ip(&args).await?;
        // Said, because it would be what its ports can carry, which is more than this host sends.
        self.ip(&["link", "set", name, "mtu", "1500", "up"]).await
    }

    async fn ensure_taps(
        &self,
        machine: &MachineDefinition,
        links: &BTreeSet<String>,
    ) -> Result<(), LabError> {
        let uid = machine.uid.to_string();
        for nic in &machine.nics {
            let tap = LabNames::tap(nic.mac);
            if !links.contains(&tap) {
                let args = ["tuntap", "add", "dev", &tap, "mode", "tap", "user", &uid];
                self.ip(&args).await?;
            }
            let Some(bridge) = self.bridges.iter().find(|b| b.config.name == nic.network) else {
                continue;
            };
            let (bridge, mtu) = (bridge.name.as_str(), CABLE_MTU.to_string());
            self.ip(&["link", "set", &tap, "mtu", &mtu, "master", bridge, "up"]).await?;
        }
        Ok(())
    }

    async fn links(&self) -> Result<BTreeSet<String>, LabError> {
        let args = ["-n", &self.namespace, "-json", "link", "show"];
        let output = command::run("ip", &args).await?;
        link_names(&output).map_err(|source| LabError::CommandOutput {
            command: format!("ip {}", args.join(" ")),
            source,
        })
    }

    async fn ip(&self, args: &[&str]) -> Result<(), LabError> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        command::run("ip", &all).await.map(drop)
    }
}

fn link_names(json: &[u8]) -> Result<BTreeSet<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Link {
        ifname: String,
    }
    let links: Vec<Link> = serde_json::from_slice(json)?;
    Ok(links.into_iter().map(|link| link.ifname).collect())
}

/// A new namespace may inherit the host's setting; the daemon must not become a router between
/// the lab's networks. Written only when it is not so already: some hosts mount this read-only.
fn forward_nothing() -> Result<(), LabError> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let now = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
    if now.trim() == "0" {
        return Ok(());
    }
    std::fs::write(path, "0\n").map_err(LabError::file("write", path))
}

/// With br_netfilter loaded, as Docker does, frames between machines would pass through the rules
/// for packets, at a cost. The rules let them through all the same, should it be loaded later.
fn no_rules_for_frames() -> Result<(), LabError> {
    let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    match std::fs::read_to_string(path) {
        Ok(now) if now.trim() != "0" => {
            std::fs::write(path, "0\n").map_err(LabError::file("write", path))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_are_read_from_ips_json() {
        let json = br#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK"]},
                        {"ifindex":3,"ifname":"br-internal","mtu":1500}]"#;
        let names: Vec<String> = link_names(json).unwrap().into_iter().collect();
        assert_eq!(names, ["br-internal", "lo"]);
        assert!(link_names(b"[{}]").is_err());
    }
}
