//! Two ends of a Serial over LAN line over a network that loses and doubles packets as the script
//! says: every character arrives once and in order. Then packets of nobody we know: no panic,
//! bounded memory.
#![no_main]

use std::{collections::VecDeque, time::Duration};

use undercloud_bmc::ipmi::{
    msg::sol_packet::SolPacket,
    sol::endpoint::{Endpoint, INBOUND_MAX, OUTBOUND_MAX},
    wire::{Decode, Encode},
};

/// An end, what was offered to it, and what the other end has drained of that.
#[derive(Default)]
struct End {
    endpoint: Endpoint,
    sent: Vec<u8>,
    arrived: usize,
    wire: VecDeque<SolPacket>,
}

fn send(end: &mut End, now: Duration) {
    end.wire.extend(end.endpoint.send(now));
}

/// The oldest packet of `from` reaches `to`; what comes back is on the wire of `to`.
fn deliver(from: &mut End, to: &mut End, now: Duration, twice: bool) {
    let Some(packet) = from.wire.pop_front() else { return };
    let packet = SolPacket::decode(&packet.to_bytes()).expect("what we write can be read");
    for _ in 0..=u8::from(twice) {
        to.wire.extend(to.endpoint.on_packet(packet.clone(), now).answers);
    }
    send(to, now);
}

/// `to` gives so many characters to its reader, which knows what they have to be.
fn drain(from: &mut End, to: &mut End, count: usize, now: Duration) {
    let waiting = to.endpoint.waiting();
    let taken = waiting.len().min(count);
    let expected = from.sent.get(from.arrived..from.arrived + taken).expect("not more than sent");
    assert_eq!(&waiting[..taken], expected);
    from.arrived += taken;
    to.wire.extend(to.endpoint.drain(taken));
    send(to, now);
}

fn check(end: &End) {
    assert!(end.endpoint.waiting().len() <= INBOUND_MAX);
    assert!(end.endpoint.room() <= OUTBOUND_MAX);
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let mut now = Duration::from_secs(1);
    let (mut left, mut right) = (End::default(), End::default());
    let mut hostile = Endpoint::default();
    let mut rest = script;
    while let [step, length, tail @ ..] = rest {
        let (bytes, next) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = next;
        let (one, other) =
            if step & 0x80 == 0 { (&mut left, &mut right) } else { (&mut right, &mut left) };
        match step & 0x07 {
            0 => {
                // More than a packet holds, many times over.
                let characters: Vec<u8> = bytes.iter().copied().cycle().take(bytes.len() * 7).collect();
                let taken = one.endpoint.offer(&characters);
                one.sent.extend_from_slice(&characters[..taken]);
                send(one, now);
            }
            1 => deliver(one, other, now, false),
            2 => deliver(one, other, now, true),
            3 => drop(one.wire.pop_front()),
            4 => drain(one, other, usize::from(*length) * 8, now),
            5 => now += Duration::from_millis(u64::from(*length) * 20),
            6 => send(one, now),
            _ => {
                let Ok(packet) = SolPacket::decode(bytes) else { continue };
                hostile.offer(bytes);
                hostile.on_packet(packet, now);
                hostile.send(now);
                hostile.drain(usize::from(*length));
                assert!(hostile.waiting().len() <= INBOUND_MAX);
            }
        }
        check(&left);
        check(&right);
    }
    // The network mends: all that was offered arrives, in bounded time.
    for _ in 0..4 * (OUTBOUND_MAX + INBOUND_MAX) {
        if left.endpoint.is_settled() && right.endpoint.is_settled() {
            break;
        }
        now += Duration::from_secs(4);
        send(&mut left, now);
        send(&mut right, now);
        while !left.wire.is_empty() || !right.wire.is_empty() {
            deliver(&mut left, &mut right, now, false);
            deliver(&mut right, &mut left, now, false);
            drain(&mut left, &mut right, usize::MAX, now);
            drain(&mut right, &mut left, usize::MAX, now);
        }
    }
    drain(&mut left, &mut right, usize::MAX, now);
    drain(&mut right, &mut left, usize::MAX, now);
    assert_eq!((left.arrived, right.arrived), (left.sent.len(), right.sent.len()));
});
