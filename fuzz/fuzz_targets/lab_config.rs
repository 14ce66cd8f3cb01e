//! `lab.toml`: what is taken has machines with names and addresses of their own.
#![no_main]

use std::collections::BTreeSet;

use undercloud_lab::{LabConfig, LabNames, definitions};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(config) = text.parse::<LabConfig>() else { return };
    let names = LabNames::from_real_path("/state".into());
    let machines = definitions(&names, &config);
    let unique: BTreeSet<_> = machines.iter().map(|machine| &machine.name).collect();
    assert_eq!(unique.len(), machines.len());
    let macs: Vec<_> = machines.iter().flat_map(|m| &m.nics).map(|nic| nic.mac).collect();
    assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), macs.len());
});
