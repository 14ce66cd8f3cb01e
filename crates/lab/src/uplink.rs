//! The link between the host and the lab's external network: from the host's shell the cloud's
//! public addresses and floating addresses answer. ADR 0011.
//!
//! ```text
//!   host                         │ the lab's namespace
//!   10.0.0.0/24 via ─► uc1a2b3c4d ═══ uplink ─► (rules, source becomes 10.0.0.1) ─► br-external
//! ```
//! On the host it is one link and one route, which go with the link; the host forwards nothing and
//! its own rules stay as they are. Nobody in the lab can begin a conversation with the host. IPv6
//! is off on both ends.

use std::{fmt, io, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::Deserialize;

use crate::{LabError, LabNames, NetworkConfig, command, firewall, namespace::enter_and};

/// The network that the host reaches; a lab without one has no link.
pub const EXTERNAL: &str = "external";
/// The link's end in the namespace.
const INSIDE: &str = "uplink";
/// Prefixes this short are other ways of writing "everything", as VPNs do.
const EVERYTHING: u8 = 1;
/// Pairs of addresses that are tried; one is taken where another state has it.
const PAIRS: u32 = 16;
/// A link's alias has fewer than 256 bytes (`IFALIASZ`), a character at most 4.
const ALIAS_CHARS_MAX: usize = 63;

/// Whether the host reaches the lab's external network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAccess {
    /// The lab has no network of that name.
    NoNetwork,
    /// It does.
    Through {
        /// The link's end on the host.
        link: String,
        /// The host's address on it.
        host: Ipv4Addr,
        /// What is reached through it.
        cidr: Ipv4Net,
    },
    /// It does not: these addresses lead elsewhere.
    Taken {
        /// The link that they lead through.
        device: String,
        /// The route that overlaps.
        route: Ipv4Net,
    },
}

impl fmt::Display for HostAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => {
                write!(f, "the lab has no network `{EXTERNAL}` for this host to reach")
            }
            Self::Through { link, cidr, .. } => {
                write!(f, "this host reaches {cidr} through {link}")
            }
            Self::Taken { device, route } => {
                write!(
                    f,
                    "this host does not reach the network `{EXTERNAL}`: {route} leads through {device}"
                )?;
                if let Some(state) = owner(device) {
                    write!(f, ", the link of the lab in {state}")?;
                }
                f.write_str("; another `cidr` in lab.toml would help")
            }
        }
    }
}

/// The link, which may not be there yet.
#[derive(Debug, Clone)]
pub(crate) struct Uplink {
    names: LabNames,
    namespace: String,
    link: String,
    bridge: String,
    network: NetworkConfig,
}

/// One of the host's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    to: Ipv4Net,
    device: String,
}

impl Uplink {
    /// The link of the lab with these names, if its networks have an external one.
    pub(crate) fn new(names: &LabNames, networks: &[NetworkConfig]) -> Option<Self> {
        let network = networks.iter().find(|network| network.name.as_str() == EXTERNAL)?.clone();
        Some(Self {
            namespace: names.namespace(),
            link: names.host_link(),
            bridge: names.bridge(&network.name),
            names: names.clone(),
            network,
        })
    }

    /// Whether the lab's external addresses are free on this host. Those of another lab are no
    /// error: that one has the host's link, this one works without.
    ///
    /// # Errors
    /// When the host uses them for something else.
    pub(crate) async fn check(&self) -> Result<(), LabError> {
        match self.taken(&host_routes().await?) {
            Some(route) if !is_ours(&route.device) => Err(LabError::AddressesTaken {
                network: self.network.name.clone(),
                cidr: self.network.cidr,
                route: route.to,
                device: route.device.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Where the external addresses lead now, if not into this lab.
    ///
    /// # Errors
    /// When `ip` fails.
    pub(crate) async fn elsewhere(&self) -> Result<Option<HostAccess>, LabError> {
        let taken = self.taken(&host_routes().await?).cloned();
        Ok(taken.map(|Route { to, device }| HostAccess::Taken { device, route: to }))
    }

    /// Makes what is missing of the link, or finds why it cannot be. The rules must be there
    /// before it; [`Self::allow`] is called with what they need.
    ///
    /// # Errors
    /// When one of `ip`'s commands fails.
    pub(crate) async fn ensure(
        &self,
        allow: impl AsyncFnOnce(firewall::Link<'_>) -> Result<(), LabError>,
    ) -> Result<HostAccess, LabError> {
        let routes = host_routes().await?;
        if let Some(Route { to, device }) = self.taken(&routes).cloned() {
            self.remove().await?;
            tracing::warn!(cidr = %self.network.cidr, route = %to, device, "no link to the host");
            return Ok(HostAccess::Taken { device, route: to });
        }
        let (host, inside) = self.addresses(&routes);
        allow(firewall::Link {
            name: INSIDE,
            host,
            bridge: &self.bridge,
            address: self.network.host_address(),
        })
        .await?;
        self.ensure_pair().await?;
        // Who finds the link on the host learns whose it is; the kernel keeps 255 bytes.
        let owner: String = self.names.state().as_str().chars().take(ALIAS_CHARS_MAX).collect();
        command::run("ip", &["link", "set", &self.link, "alias", &owner]).await?;
        self.dress(&[], &self.link, host).await?;
        self.dress(&["-n", &self.namespace], INSIDE, inside).await?;
        enter_and(&self.namespace, || pass_on(&[INSIDE, &self.bridge]))??;
        let cidr = self.network.cidr;
        if !routes.iter().any(|route| route.device == self.link && route.to == cidr) {
            // Never "replace": that would take the route from whoever was quicker.
            let (cidr, inside, host) = (cidr.to_string(), inside.to_string(), host.to_string());
            let args = ["route", "add", &cidr, "via", &inside, "dev", &self.link, "src", &host];
            command::run("ip", &args).await?;
        }
        Ok(HostAccess::Through { link: self.link.clone(), host, cidr })
    }

    /// Removes the link, and with it its route and addresses. Works without the namespace.
    ///
    /// # Errors
    /// When `ip` fails.
    pub(crate) async fn remove(&self) -> Result<(), LabError> {
        if on_host(&self.link) {
            command::run("ip", &["link", "delete", &self.link]).await?;
        }
        Ok(())
    }

    /// The route that overlaps ours, unless it is ours or one to everything.
    fn taken<'a>(&self, routes: &'a [Route]) -> Option<&'a Route> {
        routes.iter().find(|Route { to, device }| {
            let cidr = self.network.cidr;
            let overlaps = to.contains(&cidr) || cidr.contains(to);
            overlaps && to.prefix_len() > EVERYTHING && *device != self.link
        })
    }

    /// The first pair that no other link of the host has.
    fn addresses(&self, routes: &[Route]) -> (Ipv4Addr, Ipv4Addr) {
        let free = |(host, inside): &(Ipv4Addr, Ipv4Addr)| {
            let is_it = |route: &&Route| route.to.contains(host) || route.to.contains(inside);
            // The whole of 169.254/16 may be on a link; our two addresses are closer.
            let elsewhere = |route: &Route| route.device != self.link && route.to.prefix_len() > 16;
            !routes.iter().filter(is_it).any(elsewhere)
        };
        let mut pairs = (0..PAIRS).map(|attempt| self.names.link_addresses(attempt));
        pairs.find(free).unwrap_or_else(|| self.names.link_addresses(0))
    }

    async fn ensure_pair(&self) -> Result<(), LabError> {
        let inside = enter_and(&self.namespace, || setting("ipv4", INSIDE, "forwarding").is_ok())?;
        if on_host(&self.link) && inside {
            return Ok(());
        }
        // One end without the other: its partner went with an earlier namespace.
        self.remove().await?;
        let args = ["link", "add", &self.link, "type", "veth"];
        let peer = ["peer", "name", INSIDE, "netns", &self.namespace];
        command::run("ip", &[&args[..], &peer[..]].concat()).await.map(drop)
    }

    /// Gives one end its address and switches it on. `place` is where: `ip`'s first arguments.
    async fn dress(&self, place: &[&str], link: &str, address: Ipv4Addr) -> Result<(), LabError> {
        if place.is_empty() {
            no_ipv6(link)?;
        } else {
            enter_and(&self.namespace, || no_ipv6(link))??;
        }
        let address = format!("{address}/31");
        // With this scope the host never takes it as its own address towards anybody else.
        let args = ["address", "replace", &address, "scope", "link", "dev", link];
        command::run("ip", &[place, &args[..]].concat()).await?;
        command::run("ip", &[place, &["link", "set", link, "up"][..]].concat()).await.map(drop)
    }
}

/// Whether the link is one of a lab.
fn is_ours(device: &str) -> bool {
    let tag = device.strip_prefix("uc").filter(|tag| tag.len() == 8);
    tag.is_some_and(|tag| tag.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// The state directory of the lab that made this link.
fn owner(device: &str) -> Option<String> {
    if !is_ours(device) {
        return None;
    }
    let alias = std::fs::read_to_string(format!("/sys/class/net/{device}/ifalias")).ok()?;
    Some(alias.trim_end().to_owned()).filter(|state| !state.is_empty())
}

fn on_host(link: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(link).exists()
}

async fn host_routes() -> Result<Vec<Route>, LabError> {
    let args = ["-json", "-4", "route", "show", "table", "all"];
    let output = command::run("ip", &args).await?;
    routes(&output).map_err(|source| LabError::CommandOutput {
        command: format!("ip {}", args.join(" ")),
        source,
    })
}

fn routes(json: &[u8]) -> Result<Vec<Route>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Line {
        dst: String,
        #[serde(default)]
        dev: Option<String>,
        #[serde(default, rename = "type")]
        kind: Option<String>,
    }
    let lines: Vec<Line> = serde_json::from_slice(json)?;
    let route = |line: Line| {
        let kind = line.kind.unwrap_or_default();
        if kind == "broadcast" || kind == "multicast" {
            return None;
        }
        let to = line.dst.parse().ok();
        let to = to.or_else(|| line.dst.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))?;
        // Without a device there are several, or the route refuses.
        Some(Route { to, device: line.dev.unwrap_or_else(|| "another route".to_owned()) })
    };
    Ok(lines.into_iter().filter_map(route).collect())
}

/// Where the kernel keeps a link's setting, in the namespace of the thread that asks.
fn setting(family: &str, link: &str, name: &str) -> io::Result<String> {
    let path = format!("/proc/sys/net/{family}/conf/{link}/{name}");
    std::fs::metadata(&path).map(|_| path)
}

fn no_ipv6(link: &str) -> Result<(), LabError> {
    // A kernel without IPv6 has no such file.
    let Ok(path) = setting("ipv6", link, "disable_ipv6") else { return Ok(()) };
    write(&path, "1\n")
}

/// Lets packets that come in by these links be passed on: the rules say which. The other networks
/// stay as they are.
fn pass_on(links: &[&str]) -> Result<(), LabError> {
    for link in links {
        write(&format!("/proc/sys/net/ipv4/conf/{link}/forwarding"), "1\n")?;
    }
    Ok(())
}

/// Writes only what is not so already: some hosts mount these files read-only.
fn write(path: &str, value: &str) -> Result<(), LabError> {
    let now = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
    if now == value {
        return Ok(());
    }
    std::fs::write(path, value).map_err(LabError::file("write", path))
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    fn uplink(state: &str, cidr: &str) -> Uplink {
        let names = LabNames::from_real_path(Utf8Path::new(state));
        let name = EXTERNAL.parse().unwrap();
        Uplink::new(&names, &[NetworkConfig { name, cidr: cidr.parse().unwrap() }]).unwrap()
    }

    const ROUTES: &[u8] = br#"[
        {"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
        {"dst":"128.0.0.0/1","dev":"tun0"},
        {"dst":"10.8.0.0/16","dev":"tun0"},
        {"dst":"172.20.0.0/16","nexthops":[{"dev":"a"},{"dev":"b"}]},
        {"dst":"10.9.0.0/24","dev":"uc0123abcd"},
        {"type":"local","dst":"192.168.7.9","dev":"wlan0","table":"local"},
        {"type":"broadcast","dst":"10.0.0.255","dev":"eth0","table":"local"}]"#;

    #[test]
    fn what_the_host_reaches_otherwise_is_taken() {
        let routes = routes(ROUTES).unwrap();
        for (cidr, device) in [
            ("10.0.0.0/24", None),
            ("192.168.24.0/24", None),
            ("10.8.5.0/24", Some("tun0")),
            ("10.0.0.0/8", Some("tun0")),
            ("172.20.1.0/24", Some("another route")),
            ("192.168.7.0/24", Some("wlan0")),
            ("10.9.0.0/24", Some("uc0123abcd")),
        ] {
            let uplink = uplink("/state", cidr);
            let taken = uplink.taken(&routes).map(|route| route.device.as_str());
            assert_eq!(taken, device, "{cidr}");
        }
        let mut own = uplink("/state", "10.9.0.0/24");
        own.link = "uc0123abcd".into();
        assert_eq!(own.taken(&routes), None);
        assert!(is_ours("uc0123abcd") && !is_ours("ucom0") && !is_ours("eth0"));
    }

    #[test]
    fn two_states_have_different_links_and_addresses() {
        let (a, b) = (uplink("/a", "10.0.0.0/24"), uplink("/b", "10.0.1.0/24"));
        assert_ne!(a.link, b.link);
        let (host, _) = a.addresses(&[]);
        let other = Route { to: Ipv4Net::new(host, 31).unwrap(), device: "uc0123abcd".into() };
        assert_ne!(a.addresses(std::slice::from_ref(&other)).0, host);
        let all = Route { to: "169.254.0.0/16".parse().unwrap(), device: "eth0".into() };
        assert_eq!(a.addresses(&[all]).0, host);
        let mine = Route { device: a.link.clone(), ..other };
        assert_eq!(a.addresses(&[mine]).0, host);
    }
}
