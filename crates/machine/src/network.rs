//! The machine's cards: pairs of virtual Ethernet links, one end a port of a bridge of the lab, the
//! other in a network namespace that lives as long as one boot.

use rustix::thread::{UnshareFlags, gettid};

use crate::{Card, MachineError, error::command};

/// The largest packet, in bytes, that passes between machines: as much as a switch for storage networks
/// carries. A card begins with 1500, as every card does.
pub const CABLE_MTU: u16 = 9216;

/// The card at this place in the list is called so inside.
pub(crate) fn card_name(index: usize) -> String {
    format!("eth{index}")
}

/// Takes the calling thread into a new network namespace and gives it the cards. What an earlier
/// boot had is gone: the kernel deletes both ends of a pair together.
pub(crate) fn enter_new(lab: &str, cards: &[Card]) -> Result<(), MachineError> {
    leave_network_namespace()
        .map_err(MachineError::io("take a network namespace for the machine"))?;
    let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid().as_raw_nonzero());
    remove_ports(lab, cards)?;
    let mut lines = String::new();
    for (index, card) in cards.iter().enumerate() {
        let (port, mac, bridge, name) = (&card.port, card.mac, &card.bridge, card_name(index));
        lines.push_str(&format!(
            "link add {port} mtu {CABLE_MTU} type veth peer name {name} mtu 1500 address {mac} netns {here}\n\
             link set {port} master {bridge} up\n"
        ));
    }
    command("ip", &["-n", lab, "-batch", "-"], &lines)?;
    // Loopback is the guest's own to raise; a card that is down has no carrier to show.
    let up: String =
        (0..cards.len()).map(|index| format!("link set {} up\n", card_name(index))).collect();
    command("ip", &["-batch", "-"], &up).map(drop)
}

/// Removes the lab's ends, and with them the machine's.
pub(crate) fn remove_ports(lab: &str, cards: &[Card]) -> Result<(), MachineError> {
    for card in cards {
        let deleted = command("ip", &["-n", lab, "link", "delete", &card.port], "");
        // The kernel may be quicker: with a boot's namespace, its links go.
        if deleted.is_err() && is_there(lab, &card.port)? {
            return deleted.map(drop);
        }
    }
    Ok(())
}

fn is_there(lab: &str, port: &str) -> Result<bool, MachineError> {
    let links = command("ip", &["-n", lab, "-oneline", "link", "show"], "")?;
    Ok(links.contains(&format!(" {port}@")) || links.contains(&format!(" {port}:")))
}

#[expect(
    deprecated,
    reason = "deprecated for what UnshareFlags::FILES does to file descriptors; this is NEWNET"
)]
fn leave_network_namespace() -> std::io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNET)?)
}
