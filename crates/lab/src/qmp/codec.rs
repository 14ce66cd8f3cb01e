//! The wire form of QMP. What QEMU sends is another party's: unknown members are passed over,
//! unknown events are [`Event::Other`], but a line without a known shape is an error.

use serde::Deserialize;
use serde_json::{Value, json};

/// The longest line that is taken from QEMU. Its longest answer to a command that this crate sends
/// is under 4 KiB.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A line from QEMU is not QMP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("a line from QEMU is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON.
    #[error("a line from QEMU is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON, but neither greeting, answer, error nor event.
    #[error("a line from QEMU is neither greeting, answer nor event")]
    Shape,
}

/// One message from QEMU.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line (section 2.2).
    Greeting {
        /// QEMU's version, `10.0.2`.
        version: String,
    },
    /// A command succeeded (section 2.4.1).
    Return {
        /// Which command.
        id: Option<u64>,
        /// Its answer.
        value: Value,
    },
    /// A command failed (section 2.4.2).
    Error {
        /// Which command; absent when QEMU could not read it.
        id: Option<u64>,
        /// `GenericError`, `CommandNotFound`, …
        class: String,
        /// In words.
        description: String,
    },
    /// Something happened (section 2.5).
    Event(Event),
}

/// What happened to a machine, as far as this crate cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `SHUTDOWN`: QEMU ends next.
    Shutdown {
        /// Did the guest do it?
        guest: bool,
        /// QEMU's word for why: `guest-shutdown`, `host-qmp-quit`, …
        reason: String,
    },
    /// `RESET`.
    Reset {
        /// Did the guest do it?
        guest: bool,
        /// QEMU's word for why: `guest-reset`, `host-qmp-system-reset`, …
        reason: String,
    },
    /// `POWERDOWN`: the power button was pressed for the guest.
    Powerdown,
    /// `STOP`: the CPUs stand still.
    Stop,
    /// `RESUME`: the CPUs run.
    Resume,
    /// `GUEST_PANICKED`.
    GuestPanicked,
    /// `BLOCK_IO_ERROR`: most often, the host's disk is full.
    BlockIoError {
        /// What the host said.
        reason: String,
    },
    /// Any other, by name.
    Other(String),
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    value: Option<Value>,
    error: Option<Failure>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    class: String,
    #[serde(default)]
    desc: String,
}

/// `"return": null` is an answer too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Codec {
    buffer: Vec<u8>,
    scanned: usize,
}

impl Codec {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if one is there. After an error the stream is of no more use.
    ///
    /// # Errors
    /// When the next line is not QMP or has no end.
    pub fn next_message(&mut self) -> Result<Option<Message>, CodecError> {
        loop {
            let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n')
            else {
                self.scanned = self.buffer.len();
                return if self.scanned > LINE_BYTES_MAX {
                    Err(CodecError::TooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.scanned + end;
            self.scanned = 0;
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.len() > LINE_BYTES_MAX {
                return Err(CodecError::TooLong);
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                return decode(line).map(Some);
            }
        }
    }
}

/// One line with a command.
pub fn encode(id: u64, command: &str, arguments: &Value) -> Vec<u8> {
    let mut message = json!({ "execute": command, "id": id });
    if !arguments.is_null() {
        message["arguments"] = arguments.clone();
    }
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn decode(line: &[u8]) -> Result<Message, CodecError> {
    let line: Line = serde_json::from_slice(line).map_err(CodecError::Json)?;
    let id = line.id.as_u64();
    if let Some(name) = line.event {
        return Ok(Message::Event(event(name, &line.data)));
    }
    if let Some(error) = line.error {
        return Ok(Message::Error { id, class: error.class, description: error.desc });
    }
    if let Some(value) = line.value {
        return Ok(Message::Return { id, value });
    }
    if let Some(greeting) = line.greeting {
        let part = |name: &str| greeting["version"]["qemu"][name].as_u64().unwrap_or(0);
        let version = format!("{}.{}.{}", part("major"), part("minor"), part("micro"));
        return Ok(Message::Greeting { version });
    }
    Err(CodecError::Shape)
}

fn event(name: String, data: &Value) -> Event {
    let guest = data["guest"].as_bool().unwrap_or(false);
    let reason = || data["reason"].as_str().unwrap_or("unknown").to_owned();
    match name.as_str() {
        "SHUTDOWN" => Event::Shutdown { guest, reason: reason() },
        "RESET" => Event::Reset { guest, reason: reason() },
        "POWERDOWN" => Event::Powerdown,
        "STOP" => Event::Stop,
        "RESUME" => Event::Resume,
        "GUEST_PANICKED" => Event::GuestPanicked,
        "BLOCK_IO_ERROR" => Event::BlockIoError { reason: reason() },
        _ => Event::Other(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As QEMU 10.0.2 sent them, byte for byte.
    const VECTORS: &[u8] = b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, \"package\": \"Debian 1:10.0.2+ds-2+deb13u1~bpo12+1\"}, \"capabilities\": [\"oob\"]}}\r\n\
{\"return\": {}, \"id\": 1}\r\n\
{\"timestamp\": {\"seconds\": 1795431385, \"microseconds\": 956957}, \"event\": \"RESET\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-system-reset\"}}\r\n\
{\"timestamp\": {\"seconds\": 1795431386, \"microseconds\": 12159}, \"event\": \"RESET\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n\
{\"timestamp\": {\"seconds\": 1795431365, \"microseconds\": 949229}, \"event\": \"RESUME\"}\r\n\
{\"id\": 7, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command nonsense has not been found\"}}\r\n\
{\"timestamp\": {\"seconds\": 1795431405, \"microseconds\": 973129}, \"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": \"host-qmp-quit\"}}\r\n";

    fn expected() -> Vec<Message> {
        let reset =
            |guest, reason: &str| Message::Event(Event::Reset { guest, reason: reason.to_owned() });
        vec![
            Message::Greeting { version: "10.0.2".to_owned() },
            Message::Return { id: Some(1), value: json!({}) },
            reset(false, "host-qmp-system-reset"),
            reset(true, "guest-reset"),
            Message::Event(Event::Resume),
            Message::Error {
                id: Some(7),
                class: "CommandNotFound".to_owned(),
                description: "The command nonsense has not been found".to_owned(),
            },
            Message::Event(Event::Shutdown { guest: false, reason: "host-qmp-quit".to_owned() }),
        ]
    }

    fn all(codec: &mut Codec) -> Vec<Message> {
        std::iter::from_fn(|| codec.next_message().unwrap()).collect()
    }

    #[test]
    fn what_qemu_sent_is_understood() {
        let mut codec = Codec::default();
        codec.push(VECTORS);
        assert_eq!(all(&mut codec), expected());
    }

    #[test]
    fn a_command_is_one_line() {
        let line = encode(3, "qom-set", &json!({"path": "/a\nb", "value": 1}));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(encode(1, "quit", &Value::Null), b"{\"execute\":\"quit\",\"id\":1}\n");
    }

    #[test]
    fn a_null_answer_is_an_answer() {
        let mut codec = Codec::default();
        codec.push(b"{\"return\": null, \"id\": 4}\n");
        let answer = codec.next_message().unwrap();
        assert_eq!(answer, Some(Message::Return { id: Some(4), value: Value::Null }));
    }

    #[test]
    fn what_is_not_qmp_is_refused() {
        for (bytes, words) in [("nonsense\n", "not JSON"), ("{}\n", "neither"), ("[]\n", "")] {
            let mut codec = Codec::default();
            codec.push(bytes.as_bytes());
            assert!(codec.next_message().unwrap_err().to_string().contains(words));
        }
        let mut codec = Codec::default();
        codec.push(&vec![b' '; LINE_BYTES_MAX + 1]);
        assert!(matches!(codec.next_message(), Err(CodecError::TooLong)));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cuts in proptest::collection::vec(0..VECTORS.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.extend([0, VECTORS.len()]);
            cuts.sort_unstable();
            let mut codec = Codec::default();
            let mut seen = Vec::new();
            for pair in cuts.windows(2) {
                codec.push(&VECTORS[pair[0]..pair[1]]);
                seen.extend(all(&mut codec));
            }
            prop_assert_eq!(seen, expected());
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let mut codec = Codec::default();
            codec.push(&bytes);
            while let Ok(Some(_)) = codec.next_message() {}
        }
    }
}
