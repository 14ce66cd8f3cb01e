//! What virsh prints: events, lists, statistics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| undercloud_libvirt::fuzz::output(bytes));
