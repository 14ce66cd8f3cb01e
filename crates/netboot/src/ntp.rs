//! Time for the machines: an NTP server that knows no other server (RFC 5905, section 14; the
//! messages of RFC 4330). A hardware clock that is years off makes every certificate of ours look
//! expired, or not valid yet; a machine asks here, beside where it booted from.
//!
//! The time is the host's, and so is how good it is. Nothing is remembered of who asks, and an
//! answer is as long as the question: there is nothing to gain by asking in another's name.

use std::{fmt, sync::Arc, time::Duration};

use undercloud_serve::{Datagrams, Patience, receive};

/// A message without extensions and authentication (RFC 5905, section 7.3).
const MESSAGE_BYTES: usize = 48;
/// A question with both fits, and more is none.
const DATAGRAM_BYTES_MAX: usize = 1024;
/// Mode 3 asks, mode 4 answers (RFC 5905, figure 10).
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
/// From the one that first had a mode for clients.
const VERSION_MIN: u8 = 1;
const VERSION_MAX: u8 = 4;
/// From 1900, where NTP's time begins, to 1970.
const EPOCH_S: u64 = 2_208_988_800;
/// Our clock is read to the microsecond: 2^-20 s.
const PRECISION: i8 = -20;
/// Where the answer's time was taken: 10 ms, in 1/65536 s (root dispersion). Clients weigh by it.
const DISPERSION: u32 = 655;
/// "The host's own clock": who asks compares it with its own addresses, to find loops.
const REFERENCE_ID: [u8; 4] = [127, 127, 1, 1];
/// The stratum of a clock that follows no other (RFC 5905 leaves it open; chrony and ntpd say 10
/// and 5 to the same end: any real server is better).
pub const STRATUM_ALONE: u8 = 10;
/// 16 is "not synchronised" (RFC 5905, figure 11).
const STRATUM_MAX: u8 = 15;

/// The host's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostTime {
    /// Since 1970, UTC.
    pub since_epoch: Duration,
    /// What the host's own source is from a reference clock; nothing if it follows none.
    pub stratum: Option<u8>,
}

/// Reads the host's time.
#[derive(Clone)]
pub struct HostClock(Arc<dyn Fn() -> HostTime + Send + Sync>);

impl HostClock {
    /// By this function.
    pub fn new(read: impl Fn() -> HostTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads it.
    pub fn now(&self) -> HostTime {
        (self.0)()
    }
}

impl fmt::Debug for HostClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostClock({:?})", self.now())
    }
}

/// A client's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    version: u8,
    poll: u8,
    /// Its time when it asked: comes back as it was, and nobody else's answer has it.
    transmitted: [u8; 8],
}

/// What is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoQuestion {
    Short(usize),
    Version(u8),
    Mode(u8),
}

impl fmt::Display for NoQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(bytes) => write!(f, "{bytes} bytes are no message of NTP"),
            Self::Version(version) => write!(f, "version {version} of NTP is not spoken"),
            Self::Mode(mode) => write!(f, "mode {mode} asks nothing"),
        }
    }
}

impl Question {
    /// Reads a datagram. What follows the message (extensions, a digest that needs a key) is not
    /// asked for by anybody who was given no key.
    ///
    /// # Errors
    /// It is no client's question.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoQuestion> {
        let Some((message, _)) = bytes.split_first_chunk::<MESSAGE_BYTES>() else {
            return Err(NoQuestion::Short(bytes.len()));
        };
        let (version, mode) = (message[0] >> 3 & 7, message[0] & 7);
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(NoQuestion::Version(version));
        }
        if mode != MODE_CLIENT {
            return Err(NoQuestion::Mode(mode));
        }
        let mut transmitted = [0; 8];
        transmitted.copy_from_slice(&message[40..]);
        Ok(Self { version, poll: message[2], transmitted })
    }

    /// The answer to what came at `received` and leaves at `now`.
    pub(crate) fn answer(&self, received: HostTime, now: HostTime) -> [u8; MESSAGE_BYTES] {
        let stratum = match now.stratum {
            Some(stratum) => stratum.saturating_add(1).clamp(1, STRATUM_MAX),
            None => STRATUM_ALONE,
        };
        let (received, left) = (timestamp(received.since_epoch), timestamp(now.since_epoch));
        let mut message = [0; MESSAGE_BYTES];
        message[0] = self.version << 3 | MODE_SERVER; // no leap second is announced
        message[1] = stratum;
        message[2] = self.poll; // RFC 4330, section 5: as it came
        message[3] = PRECISION.to_be_bytes()[0];
        // Root delay: none to the host's own clock.
        message[8..12].copy_from_slice(&DISPERSION.to_be_bytes());
        message[12..16].copy_from_slice(&REFERENCE_ID);
        message[16..24].copy_from_slice(&received); // when the clock was right last
        message[24..32].copy_from_slice(&self.transmitted);
        message[32..40].copy_from_slice(&received);
        message[40..48].copy_from_slice(&left);
        message
    }
}

/// Seconds of the era and their fraction (RFC 5905, section 6). The era ends in 2036, and the next
/// begins at zero.
#[expect(clippy::cast_possible_truncation, reason = "an era is 2^32 s; a fraction is below 2^32")]
fn timestamp(since_epoch: Duration) -> [u8; 8] {
    let seconds = since_epoch.as_secs().wrapping_add(EPOCH_S) as u32;
    let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
    let (seconds, fraction) = (u64::from(seconds), u64::from(fraction as u32));
    (seconds << 32 | fraction).to_be_bytes()
}

/// For the fuzz target: every datagram is refused, or answered in its own words.
///
/// # Panics
/// It was not.
#[doc(hidden)]
pub fn decode_any(bytes: &[u8]) {
    let at = HostTime { since_epoch: Duration::from_secs(1), stratum: bytes.first().copied() };
    if let Ok(question) = Question::decode(bytes) {
        let answer = question.answer(at, at);
        assert_eq!(answer[24..32], bytes[40..48]);
        assert!((1..=STRATUM_MAX).contains(&answer[1]));
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(socket: Arc<impl Datagrams>, clock: HostClock) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    let mut patience = Patience::new("NTP");
    loop {
        let (length, from) = receive(&*socket, &mut buffer, &mut patience).await;
        let received = clock.now();
        let answer = match Question::decode(&buffer[..length]) {
            Ok(question) => question.answer(received, clock.now()),
            Err(no_question) => {
                tracing::debug!(%from, %no_question, "no answer to somebody who asks for the time");
                continue;
            }
        };
        if let Err(error) = socket.send_to(&answer, from).await {
            tracing::debug!(%from, %error, "an answer with the time is not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::{net::UdpSocket, time::timeout};

    use super::*;

    /// As systemd-timesyncd makes it: version 4, mode 3, all else zero but its time.
    const TIMESYNCD: &str = "23000000000000000000000000000000000000000000000000000000000000000000\
                             000000000000ecd6f1a012345678";
    /// As ntpd makes it: "not synchronised", a poll of 2^6 s, a precision of 2^-20 s.
    const NTPD: &str = "e30006ec00000000000000000000000000000000000000000000000000000000000000\
                           0000000000a1a2a3a4a5a6a7a8";

    fn at(ms: u64, stratum: Option<u8>) -> HostTime {
        HostTime { since_epoch: Duration::from_millis(ms), stratum }
    }

    #[test]
    fn real_questions_are_answered_field_by_field() {
        for (hex, poll, theirs) in
            [(TIMESYNCD, 0, "ecd6f1a012345678"), (NTPD, 6, "a1a2a3a4a5a6a7a8")]
        {
            let bytes = hex::decode(hex).unwrap();
            let question = Question::decode(&bytes).unwrap();
            // 2023-11-14T22:13:20.5Z
            let answer = question.answer(at(1_700_000_000_500, None), at(1_700_000_000_750, None));
            let expected = format!(
                "240a{poll:02x}ec000000000000028f7f7f0101e8fe6f8080000000{theirs}\
                 e8fe6f8080000000e8fe6f80c0000000"
            );
            assert_eq!(hex::encode(answer), expected);
        }
    }

    #[test]
    fn the_stratum_is_the_host_s_and_one() {
        let question = Question::decode(&hex::decode(TIMESYNCD).unwrap()).unwrap();
        let stratum = |host| question.answer(at(1, host), at(1, host))[1];
        assert_eq!([None, Some(1), Some(2), Some(14)].map(stratum), [10, 2, 3, 15]);
        assert_eq!([Some(15), Some(16), Some(255), Some(0)].map(stratum), [15, 15, 15, 1]);
    }

    #[test]
    fn the_next_era_begins_at_zero() {
        let last = Duration::new((1 << 32) - 1 - EPOCH_S, 999_999_999);
        assert_eq!(timestamp(last), [255, 255, 255, 255, 255, 255, 255, 251]);
        assert_eq!(timestamp(last + Duration::from_nanos(1)), [0; 8]);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let mut bytes = hex::decode(TIMESYNCD).unwrap();
        assert_eq!(Question::decode(&bytes[..47]), Err(NoQuestion::Short(47)));
        // An answer is never answered: two servers would talk for ever.
        bytes[0] = 0x24;
        assert_eq!(Question::decode(&bytes), Err(NoQuestion::Mode(4)));
        bytes[0] = 0x2b;
        assert_eq!(Question::decode(&bytes), Err(NoQuestion::Version(5)));
        bytes[0] = 0x03;
        assert_eq!(Question::decode(&bytes), Err(NoQuestion::Version(0)));
    }

    proptest! {
        #[test]
        fn any_datagram_is_refused_or_answered_in_its_words(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            decode_any(&bytes);
        }

        #[test]
        fn a_question_is_answered_with_the_time(
            version in 1u8..=4, poll: u8, transmitted: [u8; 8], seconds in 0u64..1 << 40,
            nanos in 0u32..1_000_000_000, stratum: Option<u8>,
        ) {
            let mut bytes = [0; MESSAGE_BYTES];
            bytes[0] = 0xc0 | version << 3 | MODE_CLIENT;
            bytes[2] = poll;
            bytes[40..].copy_from_slice(&transmitted);
            let now = HostTime { since_epoch: Duration::new(seconds, nanos), stratum };
            let question = Question::decode(&bytes).unwrap();
            prop_assert_eq!(question, Question { version, poll, transmitted });
            let answer = question.answer(now, now);
            prop_assert_eq!(answer[0], version << 3 | MODE_SERVER);
            let read = u64::from_be_bytes(answer[40..].try_into().unwrap());
            prop_assert_eq!(read >> 32, seconds.wrapping_add(EPOCH_S) & 0xffff_ffff);
            // No more than a nanosecond is lost.
            let back = ((read & 0xffff_ffff) * 1_000_000_000) >> 32;
            prop_assert!(u64::from(nanos) - back <= 1, "{nanos} {back}");
        }
    }

    #[tokio::test]
    async fn who_asks_is_told_and_others_stop_nothing() {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let server = socket.local_addr().unwrap();
        let clock = HostClock::new(|| at(1_700_000_000_000, Some(1)));
        let serving = tokio::spawn(serve(socket, clock));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server).await.unwrap();
        client.send(b"what time is it?").await.unwrap();
        client.send(&hex::decode(TIMESYNCD).unwrap()).await.unwrap();
        let mut answer = [0; 100];
        let length = timeout(Duration::from_secs(20), client.recv(&mut answer)).await.unwrap();
        assert_eq!(length.unwrap(), MESSAGE_BYTES);
        assert_eq!((answer[1], &answer[40..44]), (2, &[0xe8, 0xfe, 0x6f, 0x80][..]));
        serving.abort();
    }
}
