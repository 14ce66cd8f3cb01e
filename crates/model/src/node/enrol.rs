//! How a machine is enrolled: what a person wrote, and what it means.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::Deserialize;

use super::{
    BmcAddress, BootInterface, Driver, Properties, RedfishAddress, VerifyCa,
    same_bmc::{IPMI_PORT, REDFISH_PORT},
};
use crate::{BootMode, MacAddr, NodeName, RootDeviceHints, Secret};

/// Longest path of a system, and of a file with a CA.
const PATH_MAX: usize = 255;
/// IPMI's longest user name (IPMI 2.0, section 22.28) and 2.0's longest password (22.30).
const IPMI_USER_MAX: usize = 16;
const IPMI_PASSWORD_MAX: usize = 20;
/// Redfish has no bound (DSP0268, `ManagerAccount`); no service is known that takes more.
const REDFISH_LOGIN_MAX: usize = 255;
/// Interfaces of one machine on the provisioning network.
const PORTS_MAX: usize = 16;

/// A machine as a person writes it down, nothing checked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RawNode {
    /// Its name.
    pub name: String,
    /// `ipmi`, `redfish` or `redfish-ipmi`; empty is `ipmi`.
    pub driver: String,
    /// The BMC's IP address.
    pub bmc_address: String,
    /// IPMI's UDP port, 623 if absent; with the driver `redfish`, the TCP port, 443 if absent.
    pub bmc_port: Option<u32>,
    /// With the driver `redfish-ipmi`, Redfish's TCP port; 443 if absent.
    pub redfish_port: Option<u32>,
    /// The system's path or its last part; empty is the only system that the login shows.
    pub redfish_system: String,
    /// `true`, `false`, a path, or a certificate's SHA-256; empty is `true`.
    pub redfish_verify_ca: String,
    /// The BMC's user.
    pub bmc_user: String,
    /// The BMC's password.
    pub bmc_password: Secret,
    /// Its interfaces, the one that it boots from first.
    pub macs: Vec<String>,
    /// `bios` or `uefi`; empty is `bios`, unless the capability `boot_mode` says otherwise.
    pub boot_mode: String,
    /// `ipxe` or `redfish-virtual-media`; empty is `ipxe`.
    pub boot_interface: String,
    /// What the person says about it.
    pub properties: Properties,
    /// Which disk gets the operating system.
    pub root_device: RootDeviceHints,
    /// `baremetal` if empty.
    pub resource_class: String,
}

/// A machine that can be enrolled.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Its name.
    pub name: NodeName,
    /// How it is driven.
    pub driver: Driver,
    /// Where its BMC answers.
    pub bmc: BmcAddress,
    /// The BMC's password.
    pub bmc_password: Secret,
    /// Its interfaces, the one that it boots from first. At least one.
    pub macs: Vec<MacAddr>,
    /// Which firmware it has.
    pub boot_mode: BootMode,
    /// How its ramdisk gets to it.
    pub boot_interface: BootInterface,
    /// What the person says about it.
    pub properties: Properties,
    /// Which disk gets the operating system.
    pub root_device: RootDeviceHints,
    /// Ironic's `resource_class`.
    pub resource_class: String,
}

/// A field that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub why: String,
}

fn wrong(field: &'static str, why: impl fmt::Display) -> FieldError {
    FieldError { field, why: why.to_string() }
}

impl TryFrom<RawNode> for NewNode {
    type Error = FieldError;

    fn try_from(raw: RawNode) -> Result<Self, FieldError> {
        let name = NodeName::from_str(&raw.name).map_err(|e| wrong("name", e))?;
        let driver = driver(&raw.driver)?;
        let bmc = bmc_address(&raw, driver)?;
        let boot_interface = boot_interface(&raw.boot_interface, driver)?;
        let mode = match raw.boot_mode.as_str() {
            "" => raw.properties.capabilities.get("boot_mode").map_or("bios", String::as_str),
            given => given,
        };
        let boot_mode = match mode {
            "bios" => BootMode::Bios,
            "uefi" => BootMode::Uefi,
            other => {
                let why = format!("`{other}` is not known; write `bios` or `uefi`");
                return Err(wrong("boot_mode", why));
            }
        };
        let resource_class = match raw.resource_class.as_str() {
            "" => "baremetal".to_owned(),
            given if given.len() <= 80 => given.to_owned(),
            _ => return Err(wrong("resource_class", "it is longer than 80 bytes")),
        };
        check_properties(&raw.properties)?;
        Ok(Self {
            name,
            driver,
            bmc,
            macs: macs(&raw.macs)?,
            boot_mode,
            boot_interface,
            resource_class,
            bmc_password: raw.bmc_password,
            properties: raw.properties,
            root_device: raw.root_device,
        })
    }
}

fn driver(text: &str) -> Result<Driver, FieldError> {
    match text {
        "" | "ipmi" => Ok(Driver::Ipmi),
        "redfish" => Ok(Driver::Redfish),
        "redfish-ipmi" => Ok(Driver::RedfishIpmi),
        other => {
            let why = "is not known; use `ipmi`, `redfish` or `redfish-ipmi`";
            Err(wrong("driver", format_args!("`{other}` {why}")))
        }
    }
}

fn boot_interface(text: &str, driver: Driver) -> Result<BootInterface, FieldError> {
    match (text, driver) {
        ("" | "ipxe", _) => Ok(BootInterface::Ipxe),
        ("redfish-virtual-media", Driver::Redfish | Driver::RedfishIpmi) => {
            Ok(BootInterface::RedfishVirtualMedia)
        }
        ("redfish-virtual-media", Driver::Ipmi) => {
            let why = "`redfish-virtual-media` needs a BMC that is driven by Redfish";
            Err(wrong("boot_interface", why))
        }
        (other, _) => {
            let why = "is not known; use `ipxe` or `redfish-virtual-media`";
            Err(wrong("boot_interface", format_args!("`{other}` {why}")))
        }
    }
}

/// A port, or what stands for it when none is given.
fn port(field: &'static str, given: Option<u32>, usual: u16) -> Result<u16, FieldError> {
    let Some(port) = given else { return Ok(usual) };
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(wrong(field, format_args!("{port} is not in 1 to 65535"))),
    }
}

/// The BMC's port and its Redfish.
fn ports(raw: &RawNode, driver: Driver) -> Result<(u16, Option<RedfishAddress>), FieldError> {
    let redfish = |port| -> Result<_, FieldError> {
        let system = redfish_system(&raw.redfish_system)?;
        Ok(Some(RedfishAddress { port, system, verify_ca: verify_ca(&raw.redfish_verify_ca)? }))
    };
    match driver {
        Driver::Ipmi => Ok((port("bmc_port", raw.bmc_port, IPMI_PORT)?, None)),
        Driver::Redfish => {
            let port = port("bmc_port", raw.bmc_port, REDFISH_PORT)?;
            Ok((port, redfish(port)?))
        }
        Driver::RedfishIpmi => {
            let ipmi = port("bmc_port", raw.bmc_port, IPMI_PORT)?;
            Ok((ipmi, redfish(port("redfish_port", raw.redfish_port, REDFISH_PORT)?)?))
        }
    }
}

fn is_path(text: &str) -> bool {
    text.len() <= PATH_MAX && text.starts_with('/') && text.bytes().all(|c| c.is_ascii_graphic())
}

/// `/redfish/v1/Systems/1`, or its last part alone.
fn redfish_system(text: &str) -> Result<Option<String>, FieldError> {
    const SYSTEMS: &str = "/redfish/v1/Systems/";
    let path = match text {
        "" => return Ok(None),
        path if path.starts_with('/') => path.trim_end_matches('/').to_owned(),
        id => format!("{SYSTEMS}{id}"),
    };
    let id = path.strip_prefix(SYSTEMS).unwrap_or_default();
    if id.is_empty() || id.contains(['/', '?', '#']) || !is_path(&path) {
        return Err(wrong("redfish_system", format_args!("write a path such as `{SYSTEMS}1`")));
    }
    Ok(Some(path))
}

fn verify_ca(text: &str) -> Result<VerifyCa, FieldError> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    match text {
        "" | "true" | "True" => Ok(VerifyCa::Trusted),
        "false" | "False" => Ok(VerifyCa::Any),
        path if is_path(path) => Ok(VerifyCa::File(path.to_owned())),
        _ if digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
            Ok(VerifyCa::Fingerprint(digits.to_ascii_lowercase()))
        }
        _ => {
            let why = "write `true`, `false`, the path of a PEM file, or a certificate's SHA-256";
            Err(wrong("redfish_verify_ca", why))
        }
    }
}

fn bmc_address(raw: &RawNode, driver: Driver) -> Result<BmcAddress, FieldError> {
    let address = IpAddr::from_str(&raw.bmc_address).map_err(|_| {
        wrong("bmc_address", format_args!("`{}` is not an IP address", raw.bmc_address))
    })?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(wrong("bmc_address", format_args!("{address} is no machine's address")));
    }
    let (port, redfish) = ports(raw, driver)?;
    check_login(&raw.bmc_user, raw.bmc_password.expose(), driver)?;
    // An IPv4 address is one, in whatever clothes it came: `::ffff:192.0.2.1`.
    let address = address.to_canonical();
    Ok(BmcAddress { address, port, user: raw.bmc_user.clone(), redfish })
}

/// What the protocol can carry. Where both are spoken, the narrower of the two.
fn check_login(user: &str, password: &str, driver: Driver) -> Result<(), FieldError> {
    if password.is_empty() {
        return Err(wrong("bmc_password", "it is missing"));
    }
    if driver == Driver::Redfish {
        let fits =
            |text: &str| text.len() <= REDFISH_LOGIN_MAX && !text.chars().any(char::is_control);
        if user.is_empty() || !fits(user) || user.contains(':') {
            let why = "Redfish wants 1 to 255 printable bytes without a colon";
            return Err(wrong("bmc_user", why));
        }
        if !fits(password) {
            return Err(wrong("bmc_password", "at most 255 printable bytes are taken"));
        }
        return Ok(());
    }
    let printable = |text: &str| text.bytes().all(|c| (0x20..0x7f).contains(&c));
    if !(1..=IPMI_USER_MAX).contains(&user.len()) || !printable(user) {
        return Err(wrong("bmc_user", "IPMI wants 1 to 16 ASCII characters"));
    }
    if password.len() > IPMI_PASSWORD_MAX || password.bytes().any(|c| c == 0) {
        return Err(wrong("bmc_password", "IPMI 2.0 allows at most 20 bytes, none of them zero"));
    }
    Ok(())
}

fn macs(texts: &[String]) -> Result<Vec<MacAddr>, FieldError> {
    if texts.is_empty() {
        return Err(wrong("mac", "give at least the interface that it boots from"));
    }
    if texts.len() > PORTS_MAX {
        return Err(wrong("mac", format_args!("more than {PORTS_MAX} are given")));
    }
    let mut macs = Vec::with_capacity(texts.len());
    for text in texts {
        let mac = MacAddr::from_str(text).map_err(|e| wrong("mac", e))?;
        if macs.contains(&mac) {
            return Err(wrong("mac", format_args!("{mac} is given twice")));
        }
        macs.push(mac);
    }
    Ok(macs)
}

fn check_properties(properties: &Properties) -> Result<(), FieldError> {
    let text_fits = |t: &str| t.len() <= 255 && !t.chars().any(char::is_control);
    let Properties { cpus: _, memory_mb: _, local_gb: _, cpu_arch, capabilities } = properties;
    if cpu_arch.as_deref().is_some_and(|a| !text_fits(a)) {
        return Err(wrong("properties.cpu_arch", "it is longer than 255 bytes or not printable"));
    }
    if capabilities.len() > 64 || capabilities.iter().any(|(k, v)| !text_fits(k) || !text_fits(v)) {
        let why = "there are more than 64, or one is longer than 255 bytes or not printable";
        return Err(wrong("properties.capabilities", why));
    }
    Ok(())
}

/// Reads TripleO's capabilities, `profile:control,boot_mode:uefi`.
///
/// # Errors
/// A part without a colon.
pub fn parse_capabilities(text: &str) -> Result<BTreeMap<String, String>, FieldError> {
    let mut found = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((key, value)) = part.split_once(':') else {
            let why = format!("`{part}` has no colon; write `profile:control,boot_mode:uefi`");
            return Err(wrong("capabilities", why));
        };
        found.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawNode {
        RawNode {
            name: "controller-0".into(),
            bmc_address: "127.0.0.1".into(),
            bmc_user: "admin".into(),
            bmc_password: Secret::new("correct horse 16"),
            macs: vec!["52:54:00:00:00:01".into()],
            ..RawNode::default()
        }
    }

    #[test]
    fn defaults_are_ipmi_its_port_and_bios() {
        let node = NewNode::try_from(raw()).unwrap();
        assert_eq!(
            (node.bmc.port, node.boot_mode, node.driver),
            (623, BootMode::Bios, Driver::Ipmi)
        );
        assert_eq!(node.resource_class, "baremetal");
    }

    #[test]
    fn redfish_has_a_port_a_system_and_a_certificate() {
        let raw = |driver: &str| RawNode { driver: driver.into(), ..raw() };
        let plain = NewNode::try_from(raw("redfish")).unwrap();
        let expected = RedfishAddress { port: 443, system: None, verify_ca: VerifyCa::Trusted };
        assert_eq!((plain.bmc.port, plain.bmc.redfish), (443, Some(expected)));
        let both = NewNode::try_from(RawNode {
            redfish_port: Some(8443),
            redfish_system: "1".into(),
            redfish_verify_ca: "AA:".repeat(31) + "aa",
            boot_interface: "redfish-virtual-media".into(),
            ..raw("redfish-ipmi")
        })
        .unwrap();
        let redfish = both.bmc.redfish.unwrap();
        assert_eq!((both.bmc.port, redfish.port), (623, 8443));
        assert_eq!(redfish.system.as_deref(), Some("/redfish/v1/Systems/1"));
        assert_eq!(redfish.verify_ca, VerifyCa::Fingerprint("aa".repeat(32)));
        assert_eq!(both.boot_interface, BootInterface::RedfishVirtualMedia);
        for (text, expected) in [
            ("true", VerifyCa::Trusted),
            ("False", VerifyCa::Any),
            ("/etc/ssl/bmc.pem", VerifyCa::File("/etc/ssl/bmc.pem".into())),
        ] {
            assert_eq!(verify_ca(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_login_is_bounded_by_what_its_protocol_carries() {
        let try_it = |driver: &str, user: &str, password: &str| {
            let (driver, bmc_user) = (driver.to_owned(), user.to_owned());
            let bmc_password = Secret::new(password);
            NewNode::try_from(RawNode { driver, bmc_user, bmc_password, ..raw() })
                .map(drop)
                .map_err(|error| error.field)
        };
        let (user, password) = ("svc-openstack-provision", "a-24-character-password!");
        assert_eq!(try_it("redfish", user, password), Ok(()));
        assert_eq!(try_it("redfish", "ü", "pässwörd"), Ok(()));
        for driver in ["ipmi", "redfish-ipmi"] {
            assert_eq!(try_it(driver, user, "x"), Err("bmc_user"));
            assert_eq!(try_it(driver, "admin", password), Err("bmc_password"));
        }
        assert_eq!(try_it("redfish", "a:b", "x"), Err("bmc_user"));
        assert_eq!(try_it("redfish", &"x".repeat(256), "x"), Err("bmc_user"));
        assert_eq!(try_it("redfish", "a", "x\ny"), Err("bmc_password"));
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for text in ["192.0.2.7", "::ffff:192.0.2.7", "::FFFF:c000:207"] {
            let node = NewNode::try_from(RawNode { bmc_address: text.into(), ..raw() }).unwrap();
            assert_eq!(node.bmc.address.to_string(), "192.0.2.7", "{text}");
        }
    }

    #[test]
    fn the_boot_mode_may_be_a_capability() {
        let mut raw = raw();
        raw.properties.capabilities =
            parse_capabilities("profile:control, boot_mode:uefi").unwrap();
        let node = NewNode::try_from(raw).unwrap();
        assert_eq!(node.boot_mode, BootMode::Uefi);
        assert_eq!(node.properties.profile(), Some("control"));
        assert!(parse_capabilities("profile").is_err());
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Spoil = fn(&mut RawNode);
        let cases: &[(&str, Spoil)] = &[
            ("name", |r| r.name = "Controller 0".into()),
            ("driver", |r| r.driver = "ilo5".into()),
            ("boot_interface", |r| r.boot_interface = "redfish-virtual-media".into()),
            ("boot_interface", |r| r.boot_interface = "pxe".into()),
            ("redfish_port", |r| {
                (r.driver, r.redfish_port) = ("redfish-ipmi".into(), Some(0));
            }),
            ("redfish_system", |r| {
                (r.driver, r.redfish_system) = ("redfish".into(), "/etc/passwd".into());
            }),
            ("redfish_system", |r| {
                (r.driver, r.redfish_system) = ("redfish".into(), "1/../2".into());
            }),
            ("redfish_verify_ca", |r| {
                (r.driver, r.redfish_verify_ca) = ("redfish".into(), "yes".into());
            }),
            ("bmc_address", |r| r.bmc_address = "bmc.example".into()),
            ("bmc_address", |r| r.bmc_address = "0.0.0.0".into()),
            ("bmc_port", |r| r.bmc_port = Some(0)),
            ("bmc_port", |r| r.bmc_port = Some(65_536)),
            ("bmc_user", |r| r.bmc_user = "x".repeat(17)),
            ("bmc_user", |r| r.bmc_user.clear()),
            ("bmc_password", |r| r.bmc_password = Secret::new("")),
            ("bmc_password", |r| r.bmc_password = Secret::new("x".repeat(21))),
            ("mac", |r| r.macs.clear()),
            ("mac", |r| r.macs = vec!["nonsense".into()]),
            ("mac", |r| r.macs = vec!["52:54:00:00:00:01".into(), "52-54-00-00-00-01".into()]),
            ("boot_mode", |r| r.boot_mode = "coreboot".into()),
            ("resource_class", |r| r.resource_class = "x".repeat(81)),
            ("properties.cpu_arch", |r| r.properties.cpu_arch = Some("x\n".into())),
        ];
        for (field, spoil) in cases {
            let mut raw = raw();
            spoil(&mut raw);
            assert_eq!(NewNode::try_from(raw).unwrap_err().field, *field);
        }
    }
}
