//! Network interfaces from `/sys/class/net`: those that are hardware, not bridges or tunnels.

use std::{thread, time::Duration, time::Instant};

use undercloud_model::{
    MacAddr,
    inventory::{Nic, is_device_name},
};

use crate::sys::Host;

/// Between two looks at the carriers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The names of the interfaces that are hardware, sorted.
pub fn physical_interfaces(host: &Host) -> Vec<String> {
    let mut names = host.names("sys/class/net");
    names.retain(|n| is_device_name(n) && host.has(format!("sys/class/net/{n}/device")));
    names
}

/// The interfaces, ordered by name. One without an Ethernet address is none that we can use.
pub fn nics(host: &Host) -> Vec<Nic> {
    physical_interfaces(host).into_iter().filter_map(|name| nic(host, name)).collect()
}

fn nic(host: &Host, name: String) -> Option<Nic> {
    let at = |file: &str| format!("sys/class/net/{name}/{file}");
    let mac: MacAddr = host.attribute(at("address"))?.parse().ok()?;
    // -1 where the driver does not know (virtio); unreadable while the interface is down.
    let speed = host.attribute(at("speed")).and_then(|s| s.parse::<u32>().ok());
    let speed_mbps = speed.filter(|s| *s > 0 && *s < u32::MAX);
    Some(Nic { link: has_carrier(host, &name), speed_mbps, mac, name })
}

fn has_carrier(host: &Host, name: &str) -> bool {
    host.number(format!("sys/class/net/{name}/carrier")) == Some(1)
}

/// Gives interfaces that were just brought up the time to find their link. Those without a cable
/// never do, hence the bound.
pub(super) fn wait_for_carriers(host: &Host) {
    let begun = Instant::now();
    let all = |host: &Host| physical_interfaces(host).iter().all(|n| has_carrier(host, n));
    while !all(host) && begun.elapsed() < host.settle() {
        thread::sleep(LOOK_EVERY);
    }
}
