//! One transfer as a value: packets and time-outs in, packets out. No socket, no clock.
//!
//! ```text
//! start ─ options? ─ OACK ─ ack 0 ─┐
//!   └───── none ───────────────────┴→ window of blocks ─ ack n → next window … ─ last ack → done
//!                                        └ time-out → the same again, at most ATTEMPTS_MAX times
//! ```

use std::{sync::Arc, time::Duration};

use super::packet::{Agreed, FromClient, data};

/// Sendings of the same thing before giving up.
const ATTEMPTS_MAX: u32 = 6;
/// First time-out, unless the client chose one; doubled each time up to [`TIMEOUT_MAX`].
const TIMEOUT_FIRST: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(8);

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    file: Arc<[u8]>,
    agreed: Agreed,
    /// Waiting for the answer to the option acknowledgement.
    oack: Option<Vec<u8>>,
    /// Number of the first block that is not acknowledged; blocks count from 1.
    base: u64,
    /// Whether the window from `base` was already repeated because of an acknowledgement.
    repeated: bool,
    attempts: u32,
    state: State,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Under way.
    Running,
    /// The client has everything.
    Done,
    /// It asked for the size only: firmware does so before it allocates memory.
    SizeAsked,
    /// It will not end well.
    Failed(String),
}

impl Transfer {
    /// The transfer of `file`.
    pub(crate) fn new(file: Arc<[u8]>, agreed: Agreed) -> Self {
        let oack = agreed.oack(file.len());
        Self { file, agreed, oack, base: 1, repeated: false, attempts: 1, state: State::Running }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Whether data went out.
    pub(crate) fn is_sending(&self) -> bool {
        self.oack.is_none()
    }

    /// What to send now: at the start, and whenever an event says so.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        if self.state != State::Running {
            return Vec::new();
        }
        match &self.oack {
            Some(oack) => vec![oack.clone()],
            None => {
                let end = (self.base + u64::from(self.agreed.window)).min(self.last() + 1);
                (self.base..end).map(|block| self.block(block)).collect()
            }
        }
    }

    /// How long to wait for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        let first = self.agreed.timeout.unwrap_or(TIMEOUT_FIRST);
        (first * 2u32.saturating_pow(self.attempts - 1)).min(TIMEOUT_MAX.max(first))
    }

    /// Something came; whether [`Transfer::packets`] shall be sent.
    pub(crate) fn on_packet(&mut self, packet: FromClient) -> bool {
        match packet {
            FromClient::Error(_) if !self.is_sending() => self.state = State::SizeAsked,
            FromClient::Error(text) => self.state = State::Failed(format!("it gave up: {text}")),
            FromClient::Ack(0) if self.oack.is_some() => {
                self.oack = None;
                self.attempts = 1;
                return true;
            }
            FromClient::Ack(_) if self.oack.is_some() => {}
            FromClient::Ack(number) => return self.on_ack(number),
        }
        false
    }

    /// Nothing came in time; whether [`Transfer::packets`] shall be sent again.
    pub(crate) fn on_timeout(&mut self) -> bool {
        if self.attempts >= ATTEMPTS_MAX {
            self.state = State::Failed("it stopped answering".to_owned());
            return false;
        }
        self.attempts += 1;
        true
    }

    fn on_ack(&mut self, number: u16) -> bool {
        let sent = (self.base + u64::from(self.agreed.window) - 1).min(self.last());
        // Numbers wrap at 65536: the one meant lies from base - 1 to the last block in flight.
        #[expect(clippy::cast_possible_truncation, reason = "block numbers are modulo 65536")]
        let ahead = number.wrapping_sub((self.base - 1) as u16);
        let block = self.base - 1 + u64::from(ahead);
        if block > sent {
            return false; // of long ago, or invented
        }
        if ahead == 0 {
            // The client missed the window's first block (RFC 7440, section 4), or its answer came
            // twice. Answering each of those in kind would double every block (RFC 1123, section
            // 4.2.3.1), so lock-step transfers wait and windows are repeated once.
            let repeat = self.agreed.window > 1 && !self.repeated;
            self.repeated = true;
            return repeat;
        }
        self.base = block + 1;
        self.attempts = 1;
        self.repeated = false;
        if block == self.last() {
            self.state = State::Done;
            return false;
        }
        true
    }

    /// The last block, which is shorter than the others, perhaps empty.
    fn last(&self) -> u64 {
        self.file.len() as u64 / u64::from(self.agreed.block_bytes) + 1
    }

    fn block(&self, block: u64) -> Vec<u8> {
        let size = usize::from(self.agreed.block_bytes);
        let start = usize::try_from(block - 1).unwrap_or(usize::MAX).saturating_mul(size);
        let end = start.saturating_add(size).min(self.file.len());
        #[expect(clippy::cast_possible_truncation, reason = "block numbers are modulo 65536")]
        data(block as u16, self.file.get(start..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::read_request, *};
    use proptest::prelude::*;

    fn agreed(options: &str) -> Agreed {
        let packet = format!("\0\x01f\0octet\0{options}");
        read_request(packet.as_bytes()).unwrap().unwrap().options
    }

    fn file(len: usize) -> Arc<[u8]> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    /// A client after RFC 7440, on a line that loses and doubles packets as `dice` says.
    struct Client {
        bytes: Vec<u8>,
        next: u16,
        window: u16,
        unacked: u16,
        block: usize,
        done: bool,
    }

    impl Client {
        fn receive(&mut self, packet: &[u8]) -> Option<u16> {
            if packet[1] == 6 {
                return Some(0);
            }
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            if number != self.next {
                self.unacked = 0;
                return Some(self.next.wrapping_sub(1));
            }
            self.bytes.extend(&packet[4..]);
            self.next = self.next.wrapping_add(1);
            self.unacked += 1;
            self.done = packet.len() - 4 < self.block;
            if self.done || self.unacked == self.window {
                self.unacked = 0;
                return Some(number);
            }
            None
        }
    }

    fn run(len: usize, options: &str, mut lost: impl FnMut() -> bool) -> (State, Vec<u8>, usize) {
        let agreed = agreed(options);
        let (block, window) = (usize::from(agreed.block_bytes), agreed.window);
        let mut client = Client { bytes: vec![], next: 1, window, unacked: 0, block, done: false };
        let mut transfer = Transfer::new(file(len), agreed);
        let mut flight = transfer.packets();
        let mut sent = flight.len();
        for _ in 0..200_000 {
            let mut acks = Vec::new();
            for packet in flight.drain(..) {
                let ack = if lost() { None } else { client.receive(&packet) };
                acks.extend(ack.filter(|_| !lost()));
            }
            let mut again = false;
            for ack in &acks {
                again |= transfer.on_packet(FromClient::Ack(*ack));
            }
            if *transfer.state() != State::Running {
                break;
            }
            if again || transfer.on_timeout() {
                flight = transfer.packets();
                sent += flight.len();
            }
        }
        (transfer.state().clone(), client.bytes, sent)
    }

    #[test]
    fn a_clean_line_sends_each_block_once() {
        for (len, options, blocks) in [
            (0, "", 1),
            (511, "", 1),
            (512, "", 2),
            (100_000, "blksize\x001468\0windowsize\x008\0tsize\x000\0", 70),
        ] {
            let (state, bytes, sent) = run(len, options, || false);
            assert_eq!((state, bytes.len()), (State::Done, len), "{len}");
            assert_eq!(sent, blocks, "{len}");
            assert_eq!(bytes, *file(len));
        }
    }

    #[test]
    fn block_numbers_wrap() {
        let len = 70_000 * 8 + 3;
        let (state, bytes, _) = run(len, "blksize\x008\0windowsize\x0032\0", || false);
        assert_eq!((state, bytes == *file(len)), (State::Done, true));
    }

    proptest! {
        #[test]
        fn losses_are_made_good(dice in proptest::collection::vec(0u8..100, 997), window in 1u16..40) {
            let mut at = 0;
            let lost = || { at += 1; dice[at % dice.len()] < 10 };
            let (state, bytes, _) = run(60_000, &format!("windowsize\0{window}\0"), lost);
            // One in ten lost: six attempts fail once in thousands of windows; then it says so.
            match state {
                State::Done => prop_assert_eq!(&bytes[..], &file(60_000)[..]),
                State::Failed(why) => prop_assert_eq!(why, "it stopped answering"),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn any_answers_end_or_go_on(acks: Vec<u16>, window in 1u16..40) {
            let mut transfer = Transfer::new(file(5000), agreed(&format!("windowsize\0{window}\0")));
            for ack in acks {
                transfer.on_packet(FromClient::Ack(ack));
                prop_assert!(transfer.packets().len() <= 32);
            }
        }
    }

    #[test]
    fn silence_ends_it() {
        let mut transfer = Transfer::new(file(1000), agreed(""));
        let mut waited = Duration::ZERO;
        while transfer.on_timeout() {
            waited += transfer.timeout();
        }
        assert_eq!(*transfer.state(), State::Failed("it stopped answering".to_owned()));
        assert!(waited < Duration::from_secs(60), "{waited:?}");
    }

    #[test]
    fn a_doubled_answer_does_not_double_the_blocks() {
        let mut transfer = Transfer::new(file(5000), agreed(""));
        assert!(transfer.on_packet(FromClient::Ack(1)));
        assert!(!transfer.on_packet(FromClient::Ack(1)));
        assert!(!transfer.on_packet(FromClient::Ack(9)));
        assert!(transfer.on_packet(FromClient::Ack(2)));
    }

    #[test]
    fn asking_for_the_size_is_no_failure() {
        let mut transfer = Transfer::new(file(5000), agreed("tsize\x000\0"));
        assert!(!transfer.on_packet(FromClient::Error("aborted".to_owned())));
        assert_eq!(*transfer.state(), State::SizeAsked);
    }
}
