//! What a domain's CD drive holds, in its own definition: the file, and beside it, in `<metadata>`,
//! where the image came from.
//!
//! Both are one `virsh define`. A drive that holds another file than the record says was filled by
//! somebody else: that is no image of ours, and is left alone.

use roxmltree::Node;

use super::{
    DeviceClass, XmlError, child, class, devices, edit::Edits, metadata, parse, put_metadata,
};

/// Of our element in `<metadata>`; libvirt wants one for each application.
const NAMESPACE: &str = "urn:undercloud:libvirt:media:1";

/// An image in the drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Where it came from.
    pub(crate) image: String,
    /// The file that QEMU reads.
    pub(crate) file: String,
}

/// A domain's first CD drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drive {
    /// What the domain calls it: `hdc`.
    pub(crate) target: String,
    /// The file in it, whoever put it there.
    pub(crate) holds: Option<String>,
    /// Our image in it.
    pub(crate) inserted: Option<Inserted>,
}

impl Drive {
    /// Whether this file is in it.
    pub(crate) fn holds(&self, file: &str) -> bool {
        self.holds.as_deref() == Some(file)
    }
}

/// The drive that images are put into, if the domain has one.
pub(crate) fn read(text: &str) -> Result<Option<Drive>, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let Some(disk) = drive(domain) else { return Ok(None) };
    let target = child(disk, "target").and_then(|target| target.attribute("dev"));
    let Some(target) = target else { return Ok(None) };
    let inserted = record(domain).filter(|record| Some(record.file.as_str()) == source(disk));
    let holds = source(disk).map(str::to_owned);
    Ok(Some(Drive { target: target.to_owned(), holds, inserted }))
}

/// The definition with `image` in the drive, or with nothing of ours in it; `None` when that
/// changes nothing.
pub(crate) fn set(text: &str, image: Option<&Inserted>) -> Result<Option<String>, XmlError> {
    let document = parse(text)?;
    let domain = document.root_element();
    let disk = drive(domain);
    let mut edits = Edits::default();
    let ours = record(domain).map(|record| record.file);
    let had_record = elements(domain).map(|element| edits.remove(element)).count() > 0;
    let holds = disk.and_then(source);
    if let Some(disk) = disk.filter(|_| holds.is_some() && holds == ours.as_deref()) {
        let sources = disk.children().filter(|node| node.has_tag_name("source"));
        sources.for_each(|node| edits.remove(node));
    }
    let Some(image) = image else {
        return Ok(had_record.then(|| edits.apply(text)));
    };
    let cannot = |why| XmlError::CannotInsert { why };
    let disk = disk.ok_or_else(|| cannot("it has no CD drive"))?;
    if disk.attribute("type") != Some("file") {
        return Err(cannot("its CD drive is not one for files"));
    }
    let is_ours = holds.is_some() && holds == ours.as_deref();
    if !is_ours && child(disk, "source").is_some() {
        return Err(cannot("somebody else put something into its CD drive; take that out first"));
    }
    let Inserted { image, file } = image;
    let (image, file) = (escape(image), escape(file));
    edits.append(disk, &format!("\n      <source file='{file}'/>"));
    let record =
        format!("<undercloud:media xmlns:undercloud='{NAMESPACE}' image='{image}' file='{file}'/>");
    put_metadata(domain, &record, &mut edits);
    Ok(Some(edits.apply(text)))
}

fn drive<'a, 'i: 'a>(domain: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    devices(domain).find(|device| class(*device) == DeviceClass::Cdrom)
}

fn source<'a>(disk: Node<'a, '_>) -> Option<&'a str> {
    child(disk, "source")?.attribute("file")
}

fn elements<'a, 'i: 'a>(domain: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    metadata(domain, NAMESPACE, "media")
}

fn record(domain: Node<'_, '_>) -> Option<Inserted> {
    let element = elements(domain).next()?;
    let word = |name: &str| element.attribute(name).map(str::to_owned);
    Some(Inserted { image: word("image")?, file: word("file")? })
}

/// For an attribute between single quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
