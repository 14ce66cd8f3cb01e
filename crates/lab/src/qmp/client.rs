//! A connection to one QEMU: commands with a deadline, events in a bounded queue.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Codec, CodecError, Event, Message, encode};

/// How long QEMU may take for the greeting and its first answer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long QEMU may take to read one short line.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
const COMMANDS_QUEUED_MAX: usize = 16;
const EVENTS_QUEUED_MAX: usize = 256;

/// A command was not carried out, or the connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The socket.
    #[error("cannot {operation} QEMU's control socket")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU sent something that is not QMP.
    #[error("QEMU does not speak QMP")]
    Codec(#[source] CodecError),
    /// The connection is closed: QEMU ended, or another program holds its control socket.
    #[error("QEMU closed its control socket")]
    Closed,
    /// No answer.
    #[error("QEMU did not answer `{command}` within {} s", deadline.as_secs())]
    Timeout {
        /// Which command.
        command: String,
        /// How long it had.
        deadline: Duration,
    },
    /// QEMU says no.
    #[error("QEMU refused `{command}`: {description} ({class})")]
    Refused {
        /// Which command.
        command: String,
        /// QEMU's class of error.
        class: String,
        /// In words.
        description: String,
    },
}

type Answer = Result<Value, (String, String)>;

struct Request {
    command: String,
    arguments: Value,
    answer: oneshot::Sender<Answer>,
}

/// A connection to QEMU after the handshake. It ends when this is dropped.
#[derive(Debug)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    version: String,
}

impl Qmp {
    /// Shakes hands on a connected socket. Events come out of the second value, which ends when
    /// the connection does.
    ///
    /// # Errors
    /// When the other side is no QEMU, or does not answer.
    pub async fn start(stream: UnixStream) -> Result<(Self, mpsc::Receiver<Event>), QmpError> {
        let mut wire = Wire { stream, codec: Codec::default() };
        let greeting = async {
            let version = match wire.receive().await? {
                Some(Message::Greeting { version }) => version,
                Some(_) => return Err(QmpError::Codec(CodecError::Shape)),
                None => return Err(QmpError::Closed),
            };
            wire.send(&encode(0, "qmp_capabilities", &Value::Null)).await?;
            loop {
                match wire.receive().await? {
                    Some(Message::Return { .. }) => return Ok(version),
                    Some(Message::Error { class, description, .. }) => {
                        let command = "qmp_capabilities".to_owned();
                        return Err(QmpError::Refused { command, class, description });
                    }
                    Some(Message::Event(_) | Message::Greeting { .. }) => {}
                    None => return Err(QmpError::Closed),
                }
            }
        };
        let version = timeout(HANDSHAKE_DEADLINE, greeting).await.map_err(|_| {
            let command = "qmp_capabilities".to_owned();
            QmpError::Timeout { command, deadline: HANDSHAKE_DEADLINE }
        })??;
        let (requests, requests_in) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (events_out, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        tokio::spawn(run(wire, requests_in, events_out));
        Ok((Self { requests, version }, events))
    }

    /// QEMU's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Has one command carried out.
    ///
    /// # Errors
    /// When QEMU refuses, does not answer in time, or is gone.
    pub async fn execute(
        &self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { command: command.to_owned(), arguments, answer };
        let started = Instant::now();
        let late = || QmpError::Timeout { command: command.to_owned(), deadline };
        timeout(deadline, self.requests.send(request))
            .await
            .map_err(|_| late())?
            .map_err(|_| QmpError::Closed)?;
        let left = deadline.saturating_sub(started.elapsed());
        let answer = timeout(left, answered).await.map_err(|_| late())?;
        answer.map_err(|_| QmpError::Closed)?.map_err(|(class, description)| QmpError::Refused {
            command: command.to_owned(),
            class,
            description,
        })
    }
}

struct Wire {
    stream: UnixStream,
    codec: Codec,
}

impl Wire {
    async fn send(&mut self, line: &[u8]) -> Result<(), QmpError> {
        let io = |source| QmpError::Io { operation: "write to", source };
        timeout(WRITE_DEADLINE, self.stream.write_all(line))
            .await
            .map_err(|_| io(io::ErrorKind::TimedOut.into()))?
            .map_err(io)
    }

    /// The next message, or nothing at the end. Safe to cancel: what was read is in the codec.
    async fn receive(&mut self) -> Result<Option<Message>, QmpError> {
        let io = |source| QmpError::Io { operation: "read from", source };
        let mut buffer = [0u8; 4096];
        loop {
            if let Some(message) = self.codec.next_message().map_err(QmpError::Codec)? {
                return Ok(Some(message));
            }
            self.stream.readable().await.map_err(io)?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.codec.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(io(error)),
            }
        }
    }
}

/// Carries lines until either side is gone. Answers that nobody waits for any more are dropped.
async fn run(mut wire: Wire, mut requests: mpsc::Receiver<Request>, events: mpsc::Sender<Event>) {
    let mut waiting: BTreeMap<u64, oneshot::Sender<Answer>> = BTreeMap::new();
    let mut next_id = 1;
    loop {
        tokio::select! {
            biased;
            request = requests.recv() => {
                let Some(request) = request else { return };
                waiting.retain(|_, answer| !answer.is_closed());
                let line = encode(next_id, &request.command, &request.arguments);
                waiting.insert(next_id, request.answer);
                next_id += 1;
                if wire.send(&line).await.is_err() {
                    return;
                }
            }
            message = wire.receive() => match message {
                Ok(Some(message)) => deliver(message, &mut waiting, &events),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(error = %error, "QMP connection lost");
                    return;
                }
            }
        }
    }
}

fn deliver(
    message: Message,
    waiting: &mut BTreeMap<u64, oneshot::Sender<Answer>>,
    events: &mpsc::Sender<Event>,
) {
    let mut answer = |id: Option<u64>, answer: Answer| {
        if let Some(sender) = id.and_then(|id| waiting.remove(&id)) {
            // Nobody waits any more: the deadline passed.
            let _ = sender.send(answer);
        }
    };
    match message {
        Message::Return { id, value } => answer(id, Ok(value)),
        Message::Error { id, class, description } => answer(id, Err((class, description))),
        Message::Event(Event::Other(_)) | Message::Greeting { .. } => {}
        Message::Event(event) => {
            if let Err(error) = events.try_send(event) {
                tracing::warn!(error = %error, "QMP event dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    const GREETING: &[u8] =
        b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}}}}\r\n";

    /// Plays QEMU's side: the greeting, then for each line it reads what `reply` says.
    async fn play(stream: UnixStream, reply: impl Fn(&Value) -> String) {
        let (reader, mut writer) = stream.into_split();
        writer.write_all(GREETING).await.unwrap();
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            writer.write_all(reply(&line).as_bytes()).await.unwrap();
        }
    }

    fn answer(line: &Value) -> String {
        let id = &line["id"];
        match line["execute"].as_str().unwrap() {
            "silent" => String::new(),
            "bad" => {
                json!({"id": id, "error": {"class": "GenericError", "desc": "no"}}).to_string()
                    + "\n"
            }
            "loud" => format!(
                "{{\"event\": \"RESET\", \"data\": {{\"guest\": true, \"reason\": \"guest-reset\"}}}}\n\
                 {}\n",
                json!({"id": id, "return": 5})
            ),
            _ => json!({"id": id, "return": {}}).to_string() + "\n",
        }
    }

    #[tokio::test]
    async fn commands_are_answered_refused_or_late_and_events_come_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = tokio::spawn(play(theirs, answer));
        let (qmp, mut events) = Qmp::start(ours).await.unwrap();
        assert_eq!(qmp.version(), "10.0.2");
        let second = Duration::from_secs(1);
        assert_eq!(qmp.execute("loud", Value::Null, second).await.unwrap(), json!(5));
        let event = events.recv().await;
        assert_eq!(event, Some(Event::Reset { guest: true, reason: "guest-reset".to_owned() }));
        let refused = qmp.execute("bad", Value::Null, second).await.unwrap_err();
        assert!(matches!(refused, QmpError::Refused { .. }), "{refused}");
        let late = qmp.execute("silent", Value::Null, Duration::from_millis(20)).await;
        assert!(matches!(late, Err(QmpError::Timeout { .. })), "{late:?}");
        assert_eq!(qmp.execute("fine", Value::Null, second).await.unwrap(), json!({}));
        drop(qmp);
        peer.await.unwrap();
        assert_eq!(events.recv().await, None);
    }

    #[tokio::test]
    async fn an_end_in_mid_command_is_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = tokio::spawn(async move {
            let (reader, mut writer) = theirs.into_split();
            writer.write_all(GREETING).await.unwrap();
            writer.write_all(b"{\"return\": {}, \"id\": 0}\n").await.unwrap();
            let mut lines = BufReader::new(reader).lines();
            for _ in 0..2 {
                lines.next_line().await.unwrap();
            }
        });
        let (qmp, mut events) = Qmp::start(ours).await.unwrap();
        let error = qmp.execute("quit", Value::Null, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
        assert_eq!(events.recv().await, None);
        peer.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_qemu_is_said_to_be_none() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        let error = Qmp::start(ours).await.unwrap_err();
        assert!(matches!(error, QmpError::Codec(_)), "{error}");
    }
}
