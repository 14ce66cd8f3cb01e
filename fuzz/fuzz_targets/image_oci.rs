//! Manifests, configs, names and references: none panics, and what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_image::oci::{ImageName, Manifest, Reference, diff_ids};

fuzz_target!(|bytes: &[u8]| {
    let _ = diff_ids(bytes);
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(Manifest::parse(&manifest.to_bytes()).expect("our own is read"), manifest);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<ImageName>() {
        assert_eq!(name.as_str(), text);
        assert!(!text.split('/').any(|part| part.is_empty() || part.starts_with('.')));
    }
    if let Ok(Reference::Digest(digest)) = text.parse::<Reference>() {
        assert_eq!(digest.to_string(), text);
    }
});
