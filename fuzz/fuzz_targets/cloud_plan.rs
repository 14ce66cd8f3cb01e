//! A plan as it is kept with a deployment: one that is read is kept again as it was, with the same
//! digest.
#![no_main]

use undercloud_cloud::{Plan, Reference};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Ok(reference)) = std::str::from_utf8(bytes).map(str::parse::<Reference>) {
        assert_eq!(reference.to_string().parse::<Reference>().expect("it is read"), reference);
    }
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    let Ok(plan) = Plan::read(&value) else { return };
    let kept = serde_json::to_value(&plan).expect("a plan can be kept");
    let again = Plan::read(&kept).expect("and read");
    assert_eq!(again.digest().expect("a digest"), plan.digest().expect("a digest"));
});
