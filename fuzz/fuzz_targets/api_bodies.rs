//! Bodies that agents and administrators send: none panics, and what is taken can be sent again.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use undercloud_api::admin::{TaskRequest, VerbRequest, instackenv::Instackenv};
use undercloud_model::{
    agent::{
        Hello, Poll, Progress, Report,
        health::{DISKS_MAX, MachineHealth, SAID_CHARS_MAX, SERVICES_MAX},
    },
    ailment::{Verdict, judge},
    node::NewNode,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<Hello>(bytes);
    if let Ok(Poll { health: Some(health), .. }) = serde_json::from_slice::<Poll>(bytes) {
        assert!(health.services.len() <= SERVICES_MAX && health.disks.len() <= DISKS_MAX);
        let said = health.services.iter().flat_map(|service| &service.said);
        for line in said.chain(health.disks.iter().map(|disk| &disk.path)) {
            assert!(line.chars().count() <= SAID_CHARS_MAX && !line.contains(char::is_control));
        }
        // Judged at any time, no subject is both ill and well.
        let found = judge(&health, &BTreeSet::new(), 1_700_000_000_000);
        let subjects: BTreeSet<_> = found.iter().map(Verdict::subject).collect();
        assert_eq!(subjects.len(), found.len());
        let text = serde_json::to_vec(&health).expect("it can be sent");
        assert_eq!(serde_json::from_slice::<MachineHealth>(&text).expect("and read"), health);
    }
    let _ = serde_json::from_slice::<Progress>(bytes);
    let _ = serde_json::from_slice::<VerbRequest>(bytes);
    let _ = serde_json::from_slice::<TaskRequest>(bytes);
    if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
        let text = serde_json::to_vec(&report).expect("a report can be sent");
        assert_eq!(serde_json::from_slice::<Report>(&text).expect("and read"), report);
    }
    if let Ok(file) = Instackenv::parse(bytes) {
        let _ = Vec::<NewNode>::try_from(file);
    }
});
