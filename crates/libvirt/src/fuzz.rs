//! Entry points for the fuzz targets: everything here takes bytes that somebody else wrote.

use crate::{
    virsh,
    xml::{
        self,
        boot::{self, Asked},
        inventory,
        media::{self, Inserted},
        order::Target,
    },
};

/// A domain's definition: read it, and edit it when it can be edited. An edited one is XML again
/// and says what was asked for.
///
/// # Panics
/// When it is not.
pub fn definition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _inventory = inventory::read(text, &[]);
    let _console = xml::console(text);
    let _record = boot::read(text);
    let _drive = media::read(text);
    let image = Inserted { image: "http://h/?a='<&\">".to_owned(), file: "/a & 'b'".to_owned() };
    if let Ok(Some(changed)) = media::set(text, Some(&image)) {
        let read = media::read(&changed).ok().flatten().and_then(|drive| drive.inserted);
        assert!(read.is_none() || read == Some(image), "{changed}");
    }
    let _cleared = boot::set(text, None);
    for target in Target::ALL {
        let asked = Asked { id: "0".to_owned(), target, efi: false, persistent: true };
        if let Ok(Some(changed)) = boot::set(text, Some(&asked)) {
            assert_eq!(boot::read(&changed).ok().flatten(), Some(asked), "{changed}");
        }
    }
}

/// What `virsh` prints.
pub fn output(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let _event = virsh::event::Event::read(line);
    }
    let _list = virsh::list::read(&text, "mark");
    let _stats = virsh::stats::read(&text);
    let _sizes = inventory::capacities(&text);
}
