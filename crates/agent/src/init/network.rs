//! The one interface that the ramdisk talks over, with the address that DHCP gave to the firmware.
//! The others are only brought up, so that the inventory can say whether they have a link.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use undercloud_model::{MacAddr, agent::BootNetwork};

use super::netlink::Netlink;
use crate::{
    inspect::{nics, physical_interfaces},
    log::Log,
    sys::Host,
};

/// How long drivers may take to show the interface.
const APPEAR_WITHIN: Duration = Duration::from_secs(30);
/// How long the link may take: a switch with spanning tree blocks a new port for 30 s.
const LINK_WITHIN: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No interface has the MAC address that the machine was enrolled with.
    #[error("no interface has the address {wanted}; there are: {present}")]
    Missing {
        /// The address.
        wanted: MacAddr,
        /// Those that are there.
        present: String,
    },
    /// The kernel refused.
    #[error("cannot {what} {name}")]
    Kernel {
        /// What.
        what: &'static str,
        /// Which interface.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Brings the network up.
pub(super) fn bring_up(host: &Host, network: &BootNetwork, log: &Log) -> Result<(), NetworkError> {
    let name = find(host, network.mac)?;
    let failed = |what| {
        let name = name.clone();
        move |source| NetworkError::Kernel { what, name, source }
    };
    let mut netlink = Netlink::open().map_err(failed("ask the kernel about"))?;
    for other in physical_interfaces(host).iter().filter(|other| **other != name) {
        if let Err(error) = index(host, other).and_then(|i| netlink.up(i)) {
            log.say(format_args!("cannot bring {other} up: {error}"));
        }
    }
    let index = index(host, &name).map_err(failed("find the index of"))?;
    netlink.up(index).map_err(failed("bring up"))?;
    netlink.add_address(index, network.address).map_err(failed("give an address to"))?;
    if let Some(gateway) = network.gateway {
        netlink.default_route(index, gateway).map_err(failed("set the default route over"))?;
    }
    let carrier = format!("sys/class/net/{name}/carrier");
    let link = until(LINK_WITHIN, || (host.number(&carrier) == Some(1)).then_some(()));
    let state = if link.is_some() { "has a link" } else { "has no link" };
    log.say(format_args!("{name} ({}) is {} and {state}", network.mac, network.address));
    Ok(())
}

fn index(host: &Host, name: &str) -> io::Result<u32> {
    let number = host.number(format!("sys/class/net/{name}/ifindex"));
    number.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn find(host: &Host, mac: MacAddr) -> Result<String, NetworkError> {
    let found = || nics(host).into_iter().find(|nic| nic.mac == mac).map(|nic| nic.name);
    until(APPEAR_WITHIN.min(host.settle() * 6), found).ok_or_else(|| {
        let present: Vec<String> =
            nics(host).iter().map(|n| format!("{} {}", n.name, n.mac)).collect();
        let present = if present.is_empty() { "none".into() } else { present.join(", ") };
        NetworkError::Missing { wanted: mac, present }
    })
}

/// Looks until there is something to see, or the time is over.
fn until<T>(within: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        match look() {
            Some(seen) => return Some(seen),
            None if began.elapsed() >= within => return None,
            None => thread::sleep(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_interface_is_found_by_address_and_its_absence_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let nic = dir.path().join("sys/class/net/eth1");
        fs::create_dir_all(nic.join("device")).unwrap();
        fs::write(nic.join("address"), "52:54:00:00:00:01\n").unwrap();
        let host = Host::below(dir.path());
        assert_eq!(find(&host, "52:54:00:00:00:01".parse().unwrap()).unwrap(), "eth1");
        assert_eq!(
            find(&host, "52:54:00:00:00:02".parse().unwrap()).unwrap_err().to_string(),
            "no interface has the address 52:54:00:00:00:02; there are: eth1 52:54:00:00:00:01"
        );
    }
}
