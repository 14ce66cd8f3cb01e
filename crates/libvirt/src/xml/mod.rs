//! A domain's definition: read for what the machine is made of, edited for what it boots from.
//!
//! The text comes from libvirt, but whoever may define a domain wrote most of it: nothing here
//! trusts it. There is no DTD and therefore no entity of anybody's making.

pub(crate) mod boot;
mod edit;
pub(crate) mod inventory;
pub(crate) mod media;
pub(crate) mod order;

use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;

/// Longest definition that is read.
const BYTES_MAX: usize = 4 << 20;
/// Most nodes of one.
const NODES_MAX: u32 = 200_000;

/// Why a definition cannot be used.
#[derive(Debug, Error)]
pub enum XmlError {
    /// It is too long.
    #[error("it has {bytes} bytes; at most {BYTES_MAX} are read")]
    Long {
        /// Its length.
        bytes: usize,
    },
    /// It is no XML.
    #[error("it is no XML")]
    Syntax(#[source] roxmltree::Error),
    /// Something that every domain has is not there.
    #[error("it has no <{element}>")]
    Missing {
        /// What.
        element: &'static str,
    },
    /// It says to boot from something that no libvirt has.
    #[error(
        "its <boot> or <bootmenu> has a value that libvirt does not know; change it with `virsh edit`"
    )]
    UnknownOrder,
    /// The domain has no CD drive that an image can be put into.
    #[error("the domain cannot be given a CD: {why}")]
    CannotInsert {
        /// What stands in the way.
        why: &'static str,
    },
    /// The domain has nothing of that kind to boot from, or does not choose itself.
    #[error("the domain cannot boot from {device}: {why}")]
    CannotBoot {
        /// What was asked for.
        device: &'static str,
        /// What stands in the way.
        why: &'static str,
    },
}

/// Reads a definition.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, XmlError> {
    if text.len() > BYTES_MAX {
        return Err(XmlError::Long { bytes: text.len() });
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document = Document::parse_with_options(text, options).map_err(XmlError::Syntax)?;
    if !document.root_element().has_tag_name("domain") {
        return Err(XmlError::Missing { element: "domain" });
    }
    Ok(document)
}

/// The first child element of this name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

/// The child elements of the domain's `<devices>`.
pub(crate) fn devices<'a, 'i: 'a>(domain: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    let devices = child(domain, "devices").into_iter();
    devices.flat_map(|devices| devices.children().filter(Node::is_element))
}

/// Puts an element of ours into `<metadata>`.
fn put_metadata(domain: Node<'_, '_>, element: &str, edits: &mut edit::Edits) {
    match child(domain, "metadata") {
        Some(metadata) => edits.append(metadata, &format!("\n    {element}")),
        None => edits.append(domain, &format!("  <metadata>\n    {element}\n  </metadata>\n")),
    }
}

/// The elements of ours in `<metadata>`: one, unless somebody copied it.
fn metadata<'a, 'i: 'a>(
    domain: Node<'a, 'i>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    let all = child(domain, "metadata").into_iter().flat_map(|all| all.children());
    all.filter(move |node| node.has_tag_name((namespace, name)))
}

/// What a device is, where it matters to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceClass {
    Network,
    Disk,
    Cdrom,
    Other,
}

/// What `device` is.
pub(crate) fn class(device: Node<'_, '_>) -> DeviceClass {
    match (device.tag_name().name(), device.attribute("device").unwrap_or("disk")) {
        ("interface", _) => DeviceClass::Network,
        ("disk", "disk" | "lun") => DeviceClass::Disk,
        ("disk", "cdrom") => DeviceClass::Cdrom,
        _ => DeviceClass::Other,
    }
}

/// Where the machine's serial console ends on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConsolePath {
    /// A pseudo-terminal.
    Pty(String),
    /// A socket that is listened on.
    Socket(String),
}

/// The serial console of a domain that runs, from its live definition.
pub(crate) fn console(text: &str) -> Result<Option<ConsolePath>, XmlError> {
    let document = parse(text)?;
    let lines = |name| {
        devices(document.root_element()).filter(move |device| device.tag_name().name() == name)
    };
    let path = |device: Node<'_, '_>| {
        let source = child(device, "source")?;
        let path = source.attribute("path")?.to_owned();
        match (device.attribute("type")?, source.attribute("mode")) {
            ("pty", _) => Some(ConsolePath::Pty(path)),
            ("unix", Some("bind")) => Some(ConsolePath::Socket(path)),
            _ => None,
        }
    };
    Ok(lines("serial").chain(lines("console")).find_map(path))
}

#[cfg(test)]
pub(crate) mod tests;
