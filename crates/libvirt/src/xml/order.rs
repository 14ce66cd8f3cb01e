//! From what a domain boots: `<boot dev='…'/>` in `<os>`, or `<boot order='…'/>` in its devices.
//!
//! A domain has the one or the other, never both (libvirt's documentation, "BIOS bootloader").
//! Beside it there may be a `<bootmenu>`, which stops the firmware for a while.

use roxmltree::Node;

use super::{DeviceClass, XmlError, child, class, devices, edit::Edits};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Pxe,
    Disk,
    Cdrom,
    /// The firmware's own menu.
    Menu,
}

impl Target {
    pub(crate) const ALL: [Self; 4] = [Self::Pxe, Self::Disk, Self::Cdrom, Self::Menu];

    /// Its name, in our record and in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pxe => "pxe",
            Self::Disk => "disk",
            Self::Cdrom => "cdrom",
            Self::Menu => "menu",
        }
    }

    /// What `<os>` calls it, and which devices it means.
    fn device(self) -> Option<(&'static str, DeviceClass)> {
        match self {
            Self::Pxe => Some(("network", DeviceClass::Network)),
            Self::Disk => Some(("hd", DeviceClass::Disk)),
            Self::Cdrom => Some(("cdrom", DeviceClass::Cdrom)),
            Self::Menu => None,
        }
    }
}

/// How long the firmware waits at its menu: the longest that QEMU knows, in milliseconds.
const MENU_MS: &str = "65535";

/// A device that is booted from, by what tells it from the domain's other devices.
type Key = String;

/// The order, and the menu. Every text in it [is plain](is_plain).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Order {
    /// `<os>`'s devices.
    pub(super) os: Vec<String>,
    /// Devices with their places, in the order of the definition.
    pub(super) devices: Vec<(Key, u32)>,
    /// `enable` and `timeout` of the menu.
    pub(super) menu: Option<(String, Option<String>)>,
}

fn key(index: usize, device: Node<'_, '_>) -> Key {
    let tag = device.tag_name().name();
    let named = match tag {
        "disk" => child(device, "target").and_then(|target| target.attribute("dev")),
        "interface" => child(device, "mac").and_then(|mac| mac.attribute("address")),
        _ => None,
    };
    match named {
        Some(name) => format!("{tag}/{}", escape(name)),
        None => format!("{tag}#{index}"),
    }
}

/// What names are usually made of: it stands in a record and in XML as it is.
fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":._-".contains(&byte)
}

/// Whether a device of `<os>` or a value of the menu can be one: libvirt knows only such.
fn is_plain(text: &str) -> bool {
    text.bytes().all(is_plain_byte)
}

/// Percent-encoding of all but what names are usually made of.
fn escape(text: &str) -> String {
    let escaped =
        |c: u8| if is_plain_byte(c) { char::from(c).to_string() } else { format!("%{c:02X}") };
    text.bytes().map(escaped).collect()
}

/// Its devices with their keys. Two with one key are told apart by their place.
fn keyed<'a, 'i: 'a>(domain: Node<'a, 'i>) -> Vec<(Key, Node<'a, 'i>)> {
    let mut found: Vec<(Key, Node<'a, 'i>)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (index, device) in devices(domain).enumerate() {
        let mut key = key(index, device);
        if !seen.insert(key.clone()) {
            key = format!("{key}#{index}");
            seen.insert(key.clone());
        }
        found.push((key, device));
    }
    found
}

impl Order {
    /// The order that a definition has; an error where it names what libvirt does not know, which we
    /// could not write again.
    pub(super) fn read(domain: Node<'_, '_>) -> Result<Self, XmlError> {
        let os = child(domain, "os").ok_or(XmlError::Missing { element: "os" })?;
        let boots = os.children().filter(|node| node.has_tag_name("boot"));
        let menu = child(os, "bootmenu").map(|menu| {
            let enable = menu.attribute("enable").unwrap_or("no").to_owned();
            (enable, menu.attribute("timeout").map(str::to_owned))
        });
        let order = |device: Node<'_, '_>| {
            let boot = child(device, "boot")?;
            boot.attribute("order")?.parse().ok()
        };
        let devices = keyed(domain);
        let read = Self {
            os: boots.filter_map(|boot| boot.attribute("dev")).map(str::to_owned).collect(),
            devices: devices.into_iter().filter_map(|(k, node)| Some((k, order(node)?))).collect(),
            menu,
        };
        read.is_known().then_some(read).ok_or(XmlError::UnknownOrder)
    }

    /// Whether libvirt could have such devices in `<os>`, and such a menu.
    pub(super) fn is_known(&self) -> bool {
        let menu =
            self.menu.iter().flat_map(|(enable, timeout)| Some(enable).into_iter().chain(timeout));
        self.os.iter().chain(menu).all(|text| is_plain(text))
    }

    /// The same with `target` before everything else.
    pub(super) fn with(&self, domain: Node<'_, '_>, target: Target) -> Result<Self, XmlError> {
        let device = target.name();
        let cannot = |why| XmlError::CannotBoot { device, why };
        if child(domain, "os").is_some_and(|os| child(os, "kernel").is_some()) {
            return Err(cannot("its definition gives it a kernel"));
        }
        let Some((name, wanted)) = target.device() else {
            let menu = Some(("yes".to_owned(), Some(MENU_MS.to_owned())));
            return Ok(Self { menu, ..self.clone() });
        };
        let all = keyed(domain);
        let of_class = |key: &Key| all.iter().any(|(k, node)| k == key && class(*node) == wanted);
        let first = all.iter().find(|(key, _)| of_class(key)).map(|(key, _)| key.clone());
        let first = first.ok_or_else(|| cannot("it has no such device"))?;
        if self.devices.is_empty() {
            let others = self.os.iter().filter(|other| *other != name).cloned();
            let os = std::iter::once(name.to_owned()).chain(others).collect();
            return Ok(Self { os, ..self.clone() });
        }
        let mut places = self.devices.clone();
        if !places.iter().any(|(key, _)| of_class(key)) {
            places.push((first, 0));
        }
        places.sort_by_key(|(key, place)| (!of_class(key), *place));
        for ((_, place), new) in places.iter_mut().zip(1..) {
            *place = new;
        }
        // As a definition would give it back.
        places.sort_by_key(|(key, _)| all.iter().position(|(other, _)| other == key));
        Ok(Self { devices: places, ..self.clone() })
    }

    /// Changes a definition so that it has this order. A device that is no longer there is left out.
    pub(super) fn write(&self, domain: Node<'_, '_>, edits: &mut Edits) -> Result<(), XmlError> {
        let os = child(domain, "os").ok_or(XmlError::Missing { element: "os" })?;
        let old = |node: &Node<'_, '_>| node.has_tag_name("boot") || node.has_tag_name("bootmenu");
        os.children().filter(old).for_each(|node| edits.remove(node));
        let mut text: String =
            self.os.iter().map(|dev| format!("\n    <boot dev='{dev}'/>")).collect();
        if let Some((enable, timeout)) = &self.menu {
            let timeout = timeout.as_ref().map(|ms| format!(" timeout='{ms}'"));
            text += &format!("\n    <bootmenu enable='{enable}'{}/>", timeout.unwrap_or_default());
        }
        if !text.is_empty() {
            edits.append(os, &text);
        }
        for (key, device) in keyed(domain) {
            device
                .children()
                .filter(|node| node.has_tag_name("boot"))
                .for_each(|node| edits.remove(node));
            if let Some((_, place)) = self.devices.iter().find(|(other, _)| *other == key) {
                edits.append(device, &format!("\n      <boot order='{place}'/>"));
            }
        }
        Ok(())
    }

    /// Whether a `<boot>` says more than we would write again (`loadparm`, on s390x).
    pub(super) fn says_more(domain: Node<'_, '_>) -> bool {
        let os = child(domain, "os").into_iter();
        let places = os.chain(devices(domain)).flat_map(|place| place.children());
        let boots = places.filter(|node| node.has_tag_name("boot"));
        boots.flat_map(|boot| boot.attributes()).any(|a| !matches!(a.name(), "dev" | "order"))
    }
}
