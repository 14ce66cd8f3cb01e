//! A config drive's network_data.json: whatever it holds, the files made of it have the names and
//! the keys that we write, and no line of the drive's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_agent::first_boot::{NetworkData, render};

const KEYS: [&str; 18] = [
    "MACAddress", "Type", "Kind", "Name", "MTUBytes", "RequiredForOnline", "DHCP", "IPv6AcceptRA",
    "LinkLocalAddressing", "Address", "DNS", "VLAN", "Destination", "Gateway", "GatewayOnLink",
    "Scope", "Id", "",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    let Ok(data) = NetworkData::parse(&value) else { return };
    for file in render(&data).unwrap_or_default() {
        assert!(file.name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c)));
        for line in file.content.lines().filter(|l| !l.starts_with('[')) {
            let key = line.split('=').next().unwrap_or_default();
            assert!(KEYS.contains(&key), "{line}");
        }
    }
});
