//! NTP datagrams, as the network boot server takes them from anybody.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| undercloud_netboot::fuzz::ntp(bytes));
