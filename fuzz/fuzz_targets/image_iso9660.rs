//! ISO 9660 file systems as somebody's config drive may hold them: every path gives a file that is
//! not too large, nothing, or an error.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use undercloud_image::iso9660::Volume;

const SYSTEM_AREA: usize = 16 * 2048;
const BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|data: (Vec<u8>, String)| {
    let (descriptors, path) = data;
    let _ = Volume::open(Cursor::new(&descriptors));
    // Behind the system's area, and with the one field that all readers ask for, the rest is reached.
    let mut image = vec![0; SYSTEM_AREA];
    image.extend(descriptors);
    for at in [SYSTEM_AREA, SYSTEM_AREA + 2048] {
        if let Some(id) = image.get_mut(at + 1..at + 6) {
            id.copy_from_slice(b"CD001");
        }
        if let Some(block) = image.get_mut(at + 128..at + 130) {
            block.copy_from_slice(&2048u16.to_le_bytes());
        }
    }
    let Ok(mut volume) = Volume::open(Cursor::new(&image)) else { return };
    for path in [path.as_str(), "openstack/latest/meta_data.json"] {
        if let Ok(Some(file)) = volume.file(path, BYTES_MAX) {
            assert!(file.len() as u64 <= BYTES_MAX);
        }
    }
});
