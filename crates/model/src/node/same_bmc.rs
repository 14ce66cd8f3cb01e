//! Whether two enrolments lead to one machine: each would switch it off under the other, and a
//! deployment of one would erase the other's disk.
//!
//! A machine is found by the doors of its BMC. Of IPMI that is address and port; one Redfish may serve
//! many machines, each as a system of its own. Address and IPMI's own port lead to the same machine as
//! the same address and Redfish's own port. With other ports nobody can tell: many virtual BMCs share
//! one address.

use std::net::IpAddr;

use super::{BmcAddress, Driver};

/// The port of IPMI (IPMI 2.0, section 13.1.2).
pub(super) const IPMI_PORT: u16 = 623;
/// The port of Redfish (DSP0266, section 6.2: that of HTTPS).
pub(super) const REDFISH_PORT: u16 = 443;

impl BmcAddress {
    /// Whether this BMC, driven by `driver`, is that of the same machine as `other`.
    pub fn is_same_machine(&self, driver: Driver, other: &Self, other_driver: Driver) -> bool {
        if self.address.to_canonical() != other.address.to_canonical() {
            return false;
        }
        let (one, two) = (Doors::of(self, driver), Doors::of(other, other_driver));
        let by_ipmi = one.ipmi.is_some() && one.ipmi == two.ipmi;
        let by_redfish = match (one.redfish, two.redfish) {
            // Without a system it is the only one that the login shows.
            (Some((port, a)), Some((other, b))) => {
                port == other && (a == b || a.is_none() || b.is_none())
            }
            _ => false,
        };
        by_ipmi || by_redfish || one.is_other_door_of(&two) || two.is_other_door_of(&one)
    }
}

/// Where a machine is found at an address.
struct Doors<'a> {
    ipmi: Option<u16>,
    redfish: Option<(u16, Option<&'a str>)>,
}

impl<'a> Doors<'a> {
    fn of(bmc: &'a BmcAddress, driver: Driver) -> Self {
        let redfish = bmc.redfish.as_ref().map(|r| (r.port, r.system.as_deref()));
        match driver {
            Driver::Ipmi => Self { ipmi: Some(bmc.port), redfish: None },
            Driver::Redfish => Self { ipmi: None, redfish },
            Driver::RedfishIpmi => Self { ipmi: Some(bmc.port), redfish },
        }
    }

    fn is_other_door_of(&self, other: &Doors<'_>) -> bool {
        self.ipmi == Some(IPMI_PORT) && other.redfish.is_some_and(|(port, _)| port == REDFISH_PORT)
    }
}

/// The BMC's place, for people.
pub(super) fn place(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    }
}

impl BmcAddress {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        place(self.address, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{RedfishAddress, VerifyCa};

    /// `DRIVER ADDRESS PORT [REDFISH-PORT [SYSTEM]]`
    fn bmc(text: &str) -> (BmcAddress, Driver) {
        let words: Vec<&str> = text.split(' ').collect();
        let driver = match words[0] {
            "ipmi" => Driver::Ipmi,
            "redfish" => Driver::Redfish,
            _ => Driver::RedfishIpmi,
        };
        let port = words[2].parse().unwrap();
        let redfish = (driver != Driver::Ipmi).then(|| RedfishAddress {
            port: words.get(3).map_or(port, |port| port.parse().unwrap()),
            system: words.get(4).map(|system| format!("/redfish/v1/Systems/{system}")),
            verify_ca: VerifyCa::Any,
        });
        let address = words[1].parse().unwrap();
        (BmcAddress { address, port, user: "u".into(), redfish }, driver)
    }

    #[test]
    fn one_bmc_by_every_two_names() {
        for (one, other, is_same) in [
            ("ipmi 10.0.0.1 623", "ipmi 10.0.0.1 623", true),
            ("ipmi 10.0.0.1 6230", "ipmi 10.0.0.1 6231", false),
            ("ipmi 10.0.0.1 623", "ipmi 10.0.0.2 623", false),
            ("ipmi 10.0.0.1 623", "ipmi ::ffff:10.0.0.1 623", true),
            ("redfish 10.0.0.1 443", "ipmi 10.0.0.1 623", true),
            ("redfish 10.0.0.1 443 443 1", "ipmi 10.0.0.1 623", true),
            // Virtual BMCs of many machines on one address.
            ("redfish 127.0.0.1 8443 8443 a", "ipmi 127.0.0.1 6230", false),
            ("redfish 127.0.0.1 8443 8443 a", "redfish 127.0.0.1 8443 8443 b", false),
            ("redfish 127.0.0.1 8443 8443 a", "redfish 127.0.0.1 8443 8443 a", true),
            ("redfish 127.0.0.1 8443", "redfish 127.0.0.1 8443 8443 a", true),
            ("redfish 127.0.0.1 8443", "redfish 127.0.0.1 8444", false),
            ("redfish-ipmi 10.0.0.1 623 443", "redfish 10.0.0.1 443", true),
            ("redfish-ipmi 10.0.0.1 6230 8443 a", "ipmi 10.0.0.1 6230", true),
            ("redfish-ipmi 10.0.0.1 6230 8443 a", "redfish-ipmi 10.0.0.1 6231 8443 b", false),
        ] {
            let ((a, x), (b, y)) = (bmc(one), bmc(other));
            assert_eq!(a.is_same_machine(x, &b, y), is_same, "{one} | {other}");
            assert_eq!(b.is_same_machine(y, &a, x), is_same, "{other} | {one}");
        }
    }
}
