//! Links of a machine: its cards, and what is made of them, bonds and VLANs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{MacAddr, ParseIdError};

/// The kernel's bound on an interface's name, without the zero at its end (`IFNAMSIZ`).
const NAME_CHARS_MAX: usize = 15;

/// A name that an interface which we make can have: it becomes the name of a file too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LinkName(String);

impl LinkName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The VLAN's interface: of the number alone, so a machine has each VLAN once.
    pub fn of_vlan(id: VlanId) -> Self {
        Self(format!("vlan{id}"))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LinkName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if starts && text.len() <= NAME_CHARS_MAX && text.bytes().all(inner) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "use letters, digits, -, _ and ., a letter first, 15 characters at most";
        Err(ParseIdError::new("name of a link", rule, text))
    }
}

impl<'de> Deserialize<'de> for LinkName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A link of the machine, written as its address or its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkRef {
    /// A card, found by its address: its name depends on slot and driver.
    Card(MacAddr),
    /// A bond or VLAN of the same description.
    Made(LinkName),
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(mac) => mac.fmt(f),
            Self::Made(name) => name.fmt(f),
        }
    }
}

impl FromStr for LinkRef {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No name has colons, so no text is both.
        text.parse().map(Self::Card).or_else(|_| text.parse().map(Self::Made))
    }
}

impl Serialize for LinkRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LinkRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl From<MacAddr> for LinkRef {
    fn from(mac: MacAddr) -> Self {
        Self::Card(mac)
    }
}

/// The number of a VLAN: 1 to 4094 (IEEE 802.1Q, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct VlanId(u16);

impl VlanId {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u16> for VlanId {
    type Error = ParseIdError;

    fn try_from(id: u16) -> Result<Self, Self::Error> {
        if (1..=4094).contains(&id) {
            return Ok(Self(id));
        }
        Err(ParseIdError::new("VLAN number", "write a number from 1 to 4094", &id.to_string()))
    }
}

impl<'de> Deserialize<'de> for VlanId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Several cards as one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Its name.
    pub name: LinkName,
    /// How it spreads packets.
    pub mode: BondMode,
    /// Its cards.
    pub members: Vec<MacAddr>,
}

/// How a bond spreads packets over its cards (Linux, Documentation/networking/bonding.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One card carries all, another when that fails; the switch knows nothing of it.
    #[default]
    ActiveBackup,
    /// Packets in turn; the switch has the ports as one.
    BalanceRr,
    /// By addresses; the switch has the ports as one.
    BalanceXor,
    /// Each packet on every card.
    Broadcast,
    /// LACP: the switch is asked which ports belong together (IEEE 802.1AX).
    #[serde(rename = "802.3ad")]
    Lacp,
    /// What leaves is spread by load; the switch knows nothing of it.
    BalanceTlb,
    /// What leaves and comes is spread by load; the switch knows nothing of it.
    BalanceAlb,
}

impl BondMode {
    /// The kernel's word, which is systemd's too (systemd.netdev(5), `Mode=`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::BalanceRr => "balance-rr",
            Self::BalanceXor => "balance-xor",
            Self::Broadcast => "broadcast",
            Self::Lacp => "802.3ad",
            Self::BalanceTlb => "balance-tlb",
            Self::BalanceAlb => "balance-alb",
        }
    }

    /// Whether packets are spread by a hash of their addresses, which can take ports into account.
    pub fn hashes(self) -> bool {
        matches!(self, Self::BalanceXor | Self::Lacp | Self::BalanceTlb)
    }
}

/// A VLAN on a card or a bond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// Its number.
    pub id: VlanId,
    /// What carries it.
    pub on: LinkRef,
}

/// The largest packet of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkMtu {
    /// The link.
    pub link: LinkRef,
    /// In bytes, without the link layer's head.
    pub bytes: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_link_is_an_address_or_a_name() {
        let mac: MacAddr = "52:54:00:00:00:02".parse().unwrap();
        assert_eq!("52:54:00:00:00:02".parse(), Ok(LinkRef::Card(mac)));
        assert_eq!("bond0".parse(), Ok(LinkRef::Made("bond0".parse().unwrap())));
        assert_eq!(serde_json::to_string(&LinkRef::Card(mac)).unwrap(), "\"52:54:00:00:00:02\"");
        for bad in ["", "0bond", "a name", "../x", "sixteen-letters0", "vlan\n30"] {
            assert!(bad.parse::<LinkRef>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_vlan_has_a_number_that_switches_know() {
        let parse = |text: &str| serde_json::from_str::<VlanId>(text);
        assert_eq!(LinkName::of_vlan(parse("30").unwrap()).as_str(), "vlan30");
        for bad in ["0", "4095", "65536", "-1", "\"30\""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mode_is_written_as_the_kernel_writes_it() {
        for mode in [
            BondMode::ActiveBackup,
            BondMode::BalanceRr,
            BondMode::BalanceXor,
            BondMode::Broadcast,
            BondMode::Lacp,
            BondMode::BalanceTlb,
            BondMode::BalanceAlb,
        ] {
            let text = serde_json::to_value(mode).unwrap();
            assert_eq!(text, mode.as_str());
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text: String) {
            if let Ok(link) = text.parse::<LinkRef>() {
                prop_assert_eq!(link.to_string().parse(), Ok(link));
            }
        }
    }
}
