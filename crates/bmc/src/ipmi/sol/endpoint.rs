//! One end of a Serial over LAN line: stop-and-wait both ways, nothing lost, nothing twice.
//!
//! ```text
//!          offer                  packet n                    all taken: ack n
//! (idle) ────────▶ in flight ◀──────────────┐   (received) ──────────────────────▶ (idle)
//!    ▲              │ │  │   no word for     │      │ part taken: nack n, how many
//!    │ ack n, all   │ │  └── 0.4 s … 3.2 s ──┘      │ none taken: nothing at all; the ack follows
//!    ├──────────────┘ │                             ▼          as soon as somebody drains
//!    └─ ack n, part: the rest is a packet of its own, after a nack a pause later
//! ```
//! One packet is in flight each way (section 15.11); what is offered meanwhile gathers, so that
//! the next packet is full. A packet that cannot be taken at all is not answered: every client
//! sends it again, while most of them take an answer of "none" for an error or lose the
//! characters.

use std::time::Duration;

use crate::ipmi::msg::sol_packet::{CHARACTERS_MAX, NACK, SEQUENCE_MAX, SolPacket};

/// Characters that wait for the other end; then nothing more is taken from this one.
pub const OUTBOUND_MAX: usize = 4096;
/// Characters from the other end that wait to be drained.
pub const INBOUND_MAX: usize = 4096;
/// First pause before a packet is sent again; it doubles each time.
pub const RETRY_MIN: Duration = Duration::from_millis(400);
/// Longest of these pauses. A packet is sent until it is answered, or the session ends.
pub const RETRY_MAX: Duration = Duration::from_millis(3200);
/// Pause after a NACK before the rest is sent.
pub const NACK_PAUSE: Duration = Duration::from_millis(100);

/// One end.
#[derive(Debug)]
pub struct Endpoint {
    /// Most characters of a packet.
    characters_max: usize,
    /// Not acknowledged yet; what is in flight is at the front.
    outbound: Vec<u8>,
    /// Operation or status bits for the next packet.
    flags: u8,
    sequence: u8,
    in_flight: Option<InFlight>,
    /// After a NACK: nothing is sent before.
    rests_until: Option<Duration>,
    inbound: Vec<u8>,
    /// The last packet that was taken, and how much of it: the answer to its copies.
    taken: Option<(u8, u8, u8)>,
    /// A packet of which nothing could be taken.
    untaken: Option<SolPacket>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    sequence: u8,
    characters: usize,
    flags: u8,
    pause: Duration,
    again_at: Duration,
}

/// What a packet brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Received {
    /// To be sent back, in this order.
    pub answers: Vec<SolPacket>,
    /// Operation or status bits of a packet that was not seen before, without NACK.
    pub flags: u8,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::with_characters_max(CHARACTERS_MAX)
    }
}

impl Endpoint {
    /// One whose other end takes so many characters in a packet. Nonsense of vendors is brought
    /// into the bounds of the specification.
    #[must_use]
    pub fn with_characters_max(characters_max: usize) -> Self {
        Self {
            characters_max: characters_max.clamp(1, CHARACTERS_MAX),
            outbound: Vec::new(),
            flags: 0,
            sequence: 0,
            in_flight: None,
            rests_until: None,
            inbound: Vec::new(),
            taken: None,
            untaken: None,
        }
    }

    /// How many characters [`Endpoint::offer`] would take.
    #[must_use]
    pub fn room(&self) -> usize {
        OUTBOUND_MAX.saturating_sub(self.outbound.len())
    }

    /// Takes characters for the other end, as many as there is room for; says how many.
    pub fn offer(&mut self, characters: &[u8]) -> usize {
        let taken = characters.get(..self.room()).unwrap_or(characters);
        self.outbound.extend_from_slice(taken);
        taken.len()
    }

    /// Sends these bits with the next packet, which goes out even without characters.
    pub fn signal(&mut self, flags: u8) {
        self.flags |= flags & !NACK;
    }

    /// Forgets what waits for the other end.
    pub fn flush_outbound(&mut self) {
        self.outbound.clear();
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.characters = 0;
        }
    }

    /// Forgets what waits to be drained.
    pub fn flush_inbound(&mut self) {
        self.inbound.clear();
    }

    /// Whether everything offered has arrived.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outbound.is_empty() && self.in_flight.is_none() && self.flags == 0
    }

    /// What came from the other end and waits to be drained.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        &self.inbound
    }

    /// The first so many characters are where they belong. May owe the other end an answer.
    pub fn drain(&mut self, characters: usize) -> Option<SolPacket> {
        self.inbound.drain(..characters.min(self.inbound.len()));
        let untaken = self.untaken.take()?;
        self.take(untaken)
    }

    /// The packet to be sent now, if any: the next one, or one that got no answer.
    pub fn send(&mut self, now: Duration) -> Option<SolPacket> {
        if self.in_flight.is_some() {
            return self.send_again(now);
        }
        if self.rests_until.is_some_and(|until| until > now) {
            return None;
        }
        self.rests_until = None;
        if self.outbound.is_empty() && self.flags == 0 {
            return None;
        }
        self.sequence = self.sequence % SEQUENCE_MAX + 1;
        let in_flight = InFlight {
            sequence: self.sequence,
            characters: self.outbound.len().min(self.characters_max),
            flags: std::mem::take(&mut self.flags),
            pause: RETRY_MIN,
            again_at: now + RETRY_MIN,
        };
        self.in_flight = Some(in_flight);
        Some(self.packet(in_flight))
    }

    fn send_again(&mut self, now: Duration) -> Option<SolPacket> {
        let in_flight = self.in_flight.as_mut().filter(|it| it.again_at <= now)?;
        in_flight.pause = (in_flight.pause * 2).min(RETRY_MAX);
        in_flight.again_at = now + in_flight.pause;
        let in_flight = *in_flight;
        Some(self.packet(in_flight))
    }

    fn packet(&self, in_flight: InFlight) -> SolPacket {
        let characters = self.outbound.get(..in_flight.characters).unwrap_or_default().to_vec();
        let InFlight { sequence, flags, .. } = in_flight;
        SolPacket { sequence, acknowledged: 0, accepted: 0, flags, characters }
    }

    /// When [`Endpoint::send`] has something to do that time alone brings.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let waits = !self.outbound.is_empty() || self.flags != 0;
        let rest = self.rests_until.filter(|_| waits && self.in_flight.is_none());
        self.in_flight.map(|it| it.again_at).or(rest)
    }

    /// Takes a packet of the other end. Call [`Endpoint::send`] afterwards.
    pub fn on_packet(&mut self, packet: SolPacket, now: Duration) -> Received {
        self.on_acknowledgement(&packet, now);
        let SolPacket { sequence, flags, .. } = packet;
        if sequence == 0 {
            // Characters without a number cannot be acknowledged: there are none.
            return Received { answers: Vec::new(), flags: flags & !NACK };
        }
        if let Some((_, accepted, nack)) = self.taken.filter(|(last, ..)| *last == sequence) {
            return Received { answers: vec![answer(sequence, accepted, nack)], flags: 0 };
        }
        if self.untaken.as_ref().is_some_and(|it| it.sequence == sequence) {
            return Received::default();
        }
        let answers = self.take(packet).into_iter().collect();
        Received { answers, flags: flags & !NACK }
    }

    fn on_acknowledgement(&mut self, packet: &SolPacket, now: Duration) {
        let Some(in_flight) = self.in_flight.filter(|it| it.sequence == packet.acknowledged) else {
            return;
        };
        let accepted = usize::from(packet.accepted).min(in_flight.characters);
        self.outbound.drain(..accepted.min(self.outbound.len()));
        self.in_flight = None;
        if packet.flags & NACK != 0 && accepted < in_flight.characters {
            self.rests_until = Some(now + NACK_PAUSE);
        }
    }

    /// Takes what there is room for; the answer, or nothing when there is no room at all.
    fn take(&mut self, packet: SolPacket) -> Option<SolPacket> {
        let room = INBOUND_MAX.saturating_sub(self.inbound.len());
        if room == 0 && !packet.characters.is_empty() {
            self.untaken = Some(packet);
            return None;
        }
        self.untaken = None;
        let some = room.min(packet.characters.len()).min(usize::from(u8::MAX));
        self.inbound.extend_from_slice(packet.characters.get(..some).unwrap_or_default());
        let nack = if some < packet.characters.len() { NACK } else { 0 };
        let accepted = u8::try_from(some).unwrap_or(u8::MAX);
        self.taken = Some((packet.sequence, accepted, nack));
        Some(answer(packet.sequence, accepted, nack))
    }
}

fn answer(acknowledged: u8, accepted: u8, flags: u8) -> SolPacket {
    SolPacket { sequence: 0, acknowledged, accepted, flags, characters: Vec::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(sequence: u8, characters: &[u8]) -> SolPacket {
        SolPacket { sequence, characters: characters.to_vec(), ..answer(0, 0, 0) }
    }

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn characters_gather_while_a_packet_is_in_flight() {
        let mut end = Endpoint::default();
        assert_eq!(end.send(START), None);
        assert_eq!(end.offer(b"l"), 1);
        assert_eq!(end.send(START), Some(packet(1, b"l")));
        end.offer(b"s");
        end.offer(b"\r");
        assert_eq!(end.send(START), None);
        assert_eq!(end.on_packet(answer(1, 1, 0), START), Received::default());
        assert_eq!(end.send(START), Some(packet(2, b"s\r")));
        assert!(!end.is_settled());
        end.on_packet(answer(2, 2, 0), START);
        assert!(end.is_settled());
        assert_eq!(end.next_deadline(), None);
    }

    #[test]
    fn sequence_numbers_go_from_fifteen_to_one() {
        let mut end = Endpoint::default();
        for round in 0..40u8 {
            end.offer(b"x");
            let sequence = round % 15 + 1;
            assert_eq!(end.send(START), Some(packet(sequence, b"x")));
            end.on_packet(answer(sequence, 1, 0), START);
        }
    }

    #[test]
    fn without_an_answer_the_same_packet_goes_out_again_and_again() {
        let mut end = Endpoint::default();
        end.offer(b"ab");
        let first = end.send(START);
        end.offer(b"c");
        let mut pauses = Vec::new();
        let mut now = START;
        for _ in 0..6 {
            let at = end.next_deadline().expect("a deadline");
            pauses.push((at - now).as_millis());
            assert_eq!(end.send(at - Duration::from_millis(1)), None);
            assert_eq!(end.send(at), first);
            now = at;
        }
        assert_eq!(pauses, [400, 800, 1600, 3200, 3200, 3200]);
        // An answer to another packet is none.
        end.on_packet(answer(2, 2, 0), now);
        assert_eq!(end.send(now), None);
        end.on_packet(answer(1, 2, 0), now);
        assert_eq!(end.send(now), Some(packet(2, b"c")));
    }

    #[test]
    fn the_rest_is_a_packet_of_its_own() {
        let mut end = Endpoint::default();
        end.offer(b"abcd");
        end.send(START);
        end.on_packet(answer(1, 1, 0), START);
        assert_eq!(end.send(START), Some(packet(2, b"bcd")));
        end.on_packet(answer(2, 1, NACK), START);
        assert_eq!(end.send(START), None, "a pause after a NACK");
        let at = end.next_deadline().expect("a deadline");
        assert_eq!(at, START + NACK_PAUSE);
        assert_eq!(end.send(at), Some(packet(3, b"cd")));
        // More than there was is not believed.
        end.on_packet(answer(3, 200, 0), at);
        assert!(end.is_settled());
    }

    #[test]
    fn a_copy_is_answered_and_not_taken() {
        let mut end = Endpoint::default();
        let received = end.on_packet(SolPacket { flags: 0x10, ..packet(1, b"ab") }, START);
        assert_eq!(received, Received { answers: vec![answer(1, 2, 0)], flags: 0x10 });
        let again = end.on_packet(SolPacket { flags: 0x10, ..packet(1, b"ab") }, START);
        assert_eq!(again, Received { answers: vec![answer(1, 2, 0)], flags: 0 }, "one break only");
        assert_eq!(end.waiting(), b"ab");
    }

    #[test]
    fn what_nobody_drains_holds_the_other_end() {
        let mut end = Endpoint::default();
        let full = vec![b'x'; INBOUND_MAX - 1];
        for (round, part) in (0u8..).zip(full.chunks(CHARACTERS_MAX)) {
            let received = end.on_packet(packet(round % 15 + 1, part), START);
            assert_eq!(received.answers.len(), 1);
        }
        let received = end.on_packet(packet(9, b"yz"), START);
        assert_eq!(received.answers, [answer(9, 1, NACK)], "one of two");
        assert_eq!(end.on_packet(packet(10, b"z!"), START), Received::default(), "no room");
        assert_eq!(end.on_packet(packet(10, b"z!"), START), Received::default(), "nor for a copy");
        assert_eq!(end.waiting().len(), INBOUND_MAX);
        assert_eq!(end.drain(1), Some(answer(10, 1, NACK)));
        assert_eq!(end.drain(INBOUND_MAX), None);
        assert_eq!(end.on_packet(packet(11, b"!"), START).answers, [answer(11, 1, 0)]);
        assert_eq!(end.waiting(), b"!");
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut end = Endpoint::default();
        assert_eq!(end.offer(&vec![b'x'; OUTBOUND_MAX + 5]), OUTBOUND_MAX);
        assert_eq!((end.room(), end.offer(b"x")), (0, 0));
        let sent = end.send(START).expect("a packet");
        assert_eq!(sent.characters.len(), CHARACTERS_MAX);
        end.flush_outbound();
        assert_eq!(end.room(), OUTBOUND_MAX);
        end.on_packet(answer(1, 251, 0), START);
        assert!(end.is_settled());
    }

    #[test]
    fn a_signal_goes_out_alone_and_until_it_is_answered() {
        let mut end = Endpoint::default();
        end.signal(0x10);
        let sent = SolPacket { flags: 0x10, ..packet(1, b"") };
        assert_eq!(end.send(START), Some(sent.clone()));
        assert_eq!(end.send(START + RETRY_MIN), Some(sent));
        end.on_packet(answer(1, 0, 0), START);
        assert!(end.is_settled());
    }

    /// Both ends with a wire between them that loses, doubles and delays; at most as long as a
    /// sequence number takes to come round again.
    fn transfer(
        text: &[u8],
        lost: &[bool],
        doubled: &[bool],
        drains: &[usize],
    ) -> Result<Vec<u8>, TestCaseError> {
        let (mut from, mut to) = (Endpoint::default(), Endpoint::default());
        let (mut offered, mut arrived) = (0, Vec::new());
        let mut now = START;
        let mut loses = lost.iter().copied().chain(std::iter::repeat(false));
        let mut doubles = doubled.iter().copied().chain(std::iter::repeat(false));
        let mut drain = drains.iter().copied().cycle();
        for _ in 0..20_000 {
            offered += from.offer(&text[offered..]);
            if let Some(packet) = from.send(now)
                && !loses.next().unwrap_or_default()
            {
                let copies = if doubles.next().unwrap_or_default() { 2 } else { 1 };
                for _ in 0..copies {
                    for answer in to.on_packet(packet.clone(), now).answers {
                        if !loses.next().unwrap_or_default() {
                            from.on_packet(answer, now);
                        }
                    }
                }
            }
            prop_assert!(to.waiting().len() <= INBOUND_MAX);
            let some = drain.next().unwrap_or(1).min(to.waiting().len());
            arrived.extend_from_slice(&to.waiting()[..some]);
            if let Some(answer) = to.drain(some) {
                from.on_packet(answer, now);
            }
            if arrived.len() == text.len() && from.is_settled() {
                return Ok(arrived);
            }
            now += Duration::from_millis(50);
        }
        Err(TestCaseError::fail("it never arrives"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn everything_arrives_once_and_in_order(
            text in proptest::collection::vec(any::<u8>(), 0..12_000),
            lost in proptest::collection::vec(any::<bool>(), 0..60),
            doubled in proptest::collection::vec(any::<bool>(), 0..60),
            drains in proptest::collection::vec(1usize..600, 1..8),
        ) {
            prop_assert_eq!(transfer(&text, &lost, &doubled, &drains)?, text);
        }

        /// Whatever the other end sends, memory stays bounded and nothing panics.
        #[test]
        fn any_packets(packets in proptest::collection::vec(
            (any::<[u8; 4]>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..100,
        )) {
            let mut end = Endpoint::default();
            let mut now = START;
            for ([sequence, acknowledged, accepted, flags], characters) in packets {
                let sequence = sequence & 15;
                let acknowledged = acknowledged & 15;
                end.offer(&characters);
                let packet = SolPacket { sequence, acknowledged, accepted, flags, characters };
                prop_assert!(end.on_packet(packet, now).answers.len() <= 1);
                end.send(now);
                prop_assert!(end.outbound.len() <= OUTBOUND_MAX);
                prop_assert!(end.waiting().len() <= INBOUND_MAX);
                now += Duration::from_millis(u64::from(accepted));
            }
        }
    }
}
