//! A libvirt domain's definition, which whoever may define domains writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| undercloud_libvirt::fuzz::definition(bytes));
