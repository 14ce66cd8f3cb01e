//! What QEMU sends is another party's: the codec must take any bytes, in any pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_lab::qmp::Codec;

fuzz_target!(|data: &[u8]| {
    let mut whole = Codec::default();
    whole.push(data);
    let mut messages = Vec::new();
    while let Ok(Some(message)) = whole.next_message() {
        messages.push(message);
    }
    // The same bytes in two pieces are the same messages.
    let (a, b) = data.split_at(data.len() / 2);
    let mut pieces = Codec::default();
    let mut again = Vec::new();
    for piece in [a, b] {
        pieces.push(piece);
        while let Ok(Some(message)) = pieces.next_message() {
            again.push(message);
        }
    }
    assert!(messages.len() <= again.len() && messages == again[..messages.len()]);
});
