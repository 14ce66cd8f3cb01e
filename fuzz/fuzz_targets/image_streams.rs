//! Streams of images: frames that are unpacked, archives whose members are copied.
#![no_main]

use std::io::{Read, sink};

use libfuzzer_sys::fuzz_target;
use undercloud_image::{frames, tar};

fuzz_target!(|data: &[u8]| {
    let _ = tar::copy_members(data, sink(), |member| member.size % 2 == 0);
    if let Ok(unpacked) = frames::decompress(data) {
        let _ = std::io::copy(&mut unpacked.take(16 << 20), &mut sink());
    }
});
