//! Events as they are kept: each has a text of one line's length, and what is written again is the
//! same event.
#![no_main]

use undercloud_model::{agent::PollReply, ailment::Ailment, timeline::Happening};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(happening) = serde_json::from_slice::<Happening>(bytes) {
        let _ = (happening.to_string(), happening.kind(), happening.severity());
        let kept = serde_json::to_value(&happening).expect("an event can be kept");
        let again: Happening = serde_json::from_value(kept.clone()).expect("and read");
        assert_eq!(serde_json::to_value(&again).expect("and kept"), kept);
    }
    if let Ok(ailment) = serde_json::from_slice::<Ailment>(bytes) {
        assert!(!ailment.sentence().is_empty() && !ailment.remedy(None).is_empty());
        let kept = serde_json::to_vec(&ailment).expect("an ailment can be kept");
        assert_eq!(serde_json::from_slice::<Ailment>(&kept).expect("and read"), ailment);
    }
    if let Ok(reply) = serde_json::from_slice::<PollReply>(bytes) {
        let sent = serde_json::to_vec(&reply).expect("an order can be sent");
        let read = serde_json::from_slice::<PollReply>(&sent).expect("and read");
        assert_eq!(read.order, reply.order);
    }
});
