//! Bodies that agents and administrators send: none panics, and what is taken can be sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_api::admin::{TaskRequest, VerbRequest, instackenv::Instackenv};
use undercloud_model::{
    agent::{Hello, Poll, Progress, Report},
    node::NewNode,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<Hello>(bytes);
    let _ = serde_json::from_slice::<Poll>(bytes);
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
