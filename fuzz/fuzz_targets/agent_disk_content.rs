//! What is on a disk that anybody may have written: each signature, and that a wiped disk has none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_agent::inspect::content::signature::{Area, recognise};

fuzz_target!(|data: (Vec<u8>, Vec<u8>, u64, bool)| {
    let (mut head, mut tail, length, is_disk) = data;
    let found = recognise(&Area { head: &head, tail: &tail, length, is_disk });
    let is_empty = head.iter().chain(&tail).all(|byte| *byte == 0);
    assert_eq!(found.is_empty(), is_empty);
    for text in found.iter().flat_map(|found| [&found.label, &found.id]).flatten() {
        assert!(text.len() <= 256 && !text.chars().any(char::is_control));
    }
    head.fill(0);
    tail.fill(0);
    assert!(recognise(&Area { head: &head, tail: &tail, length, is_disk }).is_empty());
});
