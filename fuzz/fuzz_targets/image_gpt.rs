//! Partition tables as they come with images and lie on disks: parse, fit, grow, append, write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undercloud_image::gpt::{Guid, HEAD_BYTES, TYPE_LINUX, Table};

fuzz_target!(|data: (Vec<u8>, u64, u64)| {
    let (mut head, disk, reserve) = data;
    let _ = Table::parse(&head);
    // With right checksums the fields behind them are reached.
    if head.len() < 1024 + 16384 {
        return;
    }
    let entries = crc32fast::hash(&head[1024..1024 + 16384]);
    head[600..604].copy_from_slice(&entries.to_le_bytes());
    head[528..532].fill(0);
    let crc = crc32fast::hash(&head[512..604]);
    head[528..532].copy_from_slice(&crc.to_le_bytes());
    let Ok(mut table) = Table::parse(&head) else { return };
    if table.fit_to(disk).is_ok() {
        let _ = table.grow_last(reserve);
        let _ = table.push_at_end(TYPE_LINUX, Guid::ZERO, "config-2", reserve);
        let mut out = vec![0u8; usize::try_from(HEAD_BYTES).unwrap_or_default()];
        table.write_head(&mut out).expect("the head is long enough");
        let (at, tail) = table.tail();
        assert!(at + tail.len() as u64 <= disk);
    }
});
