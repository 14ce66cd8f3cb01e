//! Boot flags in a domain's own definition: the order that they ask for, and beside it, in
//! `<metadata>`, what they are and which order was there before.
//!
//! ```text
//! no record ──set──▶ record + new order ──cleared, or used by a boot──▶ no record + old order
//!                     │            ▲
//!                     └──set again─┘  (the old order stays the first one)
//! ```
//! Both are one `virsh define`, so there is no instant at which they do not fit together, and a
//! domain that starts takes the record along into its live definition: if that has the same record
//! as the definition for the next start, the flags have been used. Whoever edits the order by hand
//! ends what we asked for: the record no longer fits the order, and then counts for nothing.

use roxmltree::Node;

use super::{
    XmlError,
    edit::Edits,
    metadata,
    order::{Order, Target},
    parse, put_metadata,
};

/// Of our element in `<metadata>`; libvirt wants one for each application.
const NAMESPACE: &str = "urn:undercloud:libvirt:boot:1";

/// Flags as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Tells one request from the next.
    pub(crate) id: String,
    pub(crate) target: Target,
    pub(crate) efi: bool,
    pub(crate) persistent: bool,
}

/// What a definition says that was asked for; `None` when nothing is in force.
pub(crate) fn read(text: &str) -> Result<Option<Asked>, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let Some((asked, before)) = record(domain) else { return Ok(None) };
    Ok(is_in_force(domain, &asked, &before).then_some(asked))
}

/// The definition with `asked` in force, or with nothing; `None` when that changes nothing.
pub(crate) fn set(text: &str, asked: Option<&Asked>) -> Result<Option<String>, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let old = record(domain).filter(|(old, before)| is_in_force(domain, old, before));
    if old.is_none() && asked.is_none() && element(domain).is_none() {
        return Ok(None);
    }
    let before = match old {
        Some((_, before)) => before,
        None => Order::read(domain)?,
    };
    let mut edits = Edits::default();
    if let Some(element) = element(domain) {
        edits.remove(element);
    }
    match asked {
        None => before.write(domain, &mut edits)?,
        Some(asked) => {
            if Order::says_more(domain) {
                let why = "its boot order has parameters for a loader";
                return Err(XmlError::CannotBoot { device: asked.target.name(), why });
            }
            before.with(domain, asked.target)?.write(domain, &mut edits)?;
            put_metadata(domain, &write(asked, &before), &mut edits);
        }
    }
    Ok(Some(edits.apply(text)))
}

fn is_in_force(domain: Node<'_, '_>, asked: &Asked, before: &Order) -> bool {
    let wanted = before.with(domain, asked.target);
    matches!((wanted, Order::read(domain)), (Ok(wanted), Ok(now)) if wanted == now)
}

fn element<'a, 'i>(domain: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    metadata(domain, NAMESPACE, "boot").next()
}

fn record(domain: Node<'_, '_>) -> Option<(Asked, Order)> {
    let element = element(domain)?;
    let word = |name: &str| element.attribute(name);
    let yes = |name: &str| word(name).is_some_and(|word| word == "yes");
    let asked = Asked {
        id: word("id")?.to_owned(),
        target: Target::ALL.into_iter().find(|target| Some(target.name()) == word("device"))?,
        efi: yes("efi"),
        persistent: yes("persistent"),
    };
    let place = |text: &str| {
        let (key, place) = text.split_once('=')?;
        Some((key.to_owned(), place.parse().ok()?))
    };
    let devices = word("devices").unwrap_or_default().split_ascii_whitespace();
    let menu = word("menu").map(|menu| match menu.split_once('=') {
        Some((enable, timeout)) => (enable.to_owned(), Some(timeout.to_owned())),
        None => (menu.to_owned(), None),
    });
    let os = word("os").unwrap_or_default().split_ascii_whitespace();
    let order = Order {
        os: os.map(str::to_owned).collect(),
        devices: devices.map(place).collect::<Option<_>>()?,
        menu,
    };
    // Somebody else may have written there what is not to be put into XML.
    order.is_known().then_some((asked, order))
}

fn write(asked: &Asked, before: &Order) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let Asked { id, target, efi, persistent } = asked;
    let mut text = format!(
        "<undercloud:boot xmlns:undercloud='{NAMESPACE}' id='{id}' device='{}' efi='{}' \
         persistent='{}'",
        target.name(),
        yes(*efi),
        yes(*persistent)
    );
    if !before.os.is_empty() {
        text += &format!(" os='{}'", before.os.join(" "));
    }
    if !before.devices.is_empty() {
        let places = before.devices.iter().map(|(key, place)| format!("{key}={place}"));
        text += &format!(" devices='{}'", places.collect::<Vec<_>>().join(" "));
    }
    if let Some((enable, timeout)) = &before.menu {
        let timeout = timeout.as_ref().map(|ms| format!("={ms}"));
        text += &format!(" menu='{enable}{}'", timeout.unwrap_or_default());
    }
    text + "/>"
}
