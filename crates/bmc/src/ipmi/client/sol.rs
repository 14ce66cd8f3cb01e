//! The console's end of a Serial over LAN line (section 15).
//!
//! [`SolLine::offer`] takes characters, [`SolLine::next`] does what is due and waits for what
//! comes; giving up its wait loses nothing. While nobody types, a question now and then keeps the
//! session alive and finds out when the controller is gone.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::{Client, ClientError, dialogue::Twice};
use crate::ipmi::{
    msg::{
        activate_payload::{self, refusal},
        deactivate_payload, get_device_id,
        session_header::PayloadType,
        sol_packet::{HEADER_BYTES, SolPacket, operation, status},
    },
    packet::DATAGRAM_BYTES_MAX,
    sol::{INSTANCE, PAYLOAD_SOL, endpoint::Endpoint},
    wire::{Command, Decode, Encode},
};

/// Encrypted and authenticated.
const PROTECTED: [u8; 4] = [0xc0, 0, 0, 0];
/// How often the controller is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Not a word for so long: the controller is gone. Shorter than its own 60 s.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// What to do about a console that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steal {
    /// Leave it alone: the error is of kind `Conflict`.
    No,
    /// End it.
    Yes,
}

/// What comes of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SolEvent {
    /// The machine said this.
    Characters(Vec<u8>),
    /// Something that was offered has arrived: there may be room for more.
    Room,
    /// The controller ended the line, or gave it to somebody else.
    Ended,
}

/// A machine's serial port, held by one session.
#[derive(Debug)]
pub struct SolLine {
    client: Client,
    endpoint: Endpoint,
    epoch: Instant,
    heard_at: Duration,
    asked_at: Duration,
    ended: bool,
}

impl Client {
    /// Takes the machine's serial port; the session serves nothing else from now on.
    ///
    /// # Errors
    /// [`ClientError`]; of kind `Conflict` when another console has the port and may keep it.
    pub async fn open_sol(mut self, steal: Steal) -> Result<SolLine, ClientError> {
        let (payload, instance) = (PAYLOAD_SOL, INSTANCE);
        let request = activate_payload::Request { payload, instance, auxiliary: PROTECTED };
        let response = match self.call(&request, Twice::Harmful).await {
            Err(ClientError::Completion { code: refusal::ALREADY_ACTIVE, .. })
                if steal == Steal::Yes =>
            {
                self.close_payload().await?;
                self.call(&request, Twice::Harmful).await?
            }
            Err(ClientError::Completion { code: refusal::ALREADY_ACTIVE, .. }) => {
                return Err(ClientError::ConsoleTaken { address: self.address() });
            }
            other => other?,
        };
        // The port of the answer is not looked at: several vendors swap its bytes, and behind a
        // forwarded port it is not the one that reaches the controller.
        let characters_max = usize::from(response.inbound_bytes).saturating_sub(HEADER_BYTES);
        Ok(SolLine {
            client: self,
            endpoint: Endpoint::with_characters_max(characters_max),
            epoch: Instant::now(),
            heard_at: Duration::ZERO,
            asked_at: Duration::ZERO,
            ended: false,
        })
    }

    /// Ends whatever console there is.
    async fn close_payload(&mut self) -> Result<(), ClientError> {
        let (payload, instance) = (PAYLOAD_SOL, INSTANCE);
        let request = deactivate_payload::Request { payload, instance, auxiliary: [0; 4] };
        match self.call(&request, Twice::Harmless).await {
            Err(ClientError::Completion { code: deactivate_payload::ALREADY_INACTIVE, .. }) => {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }
}

impl SolLine {
    /// Takes characters for the machine, as many as there is room for; says how many.
    /// [`SolLine::next`] sends them.
    pub fn offer(&mut self, characters: &[u8]) -> usize {
        self.endpoint.offer(characters)
    }

    /// A break, with the next packet.
    pub fn send_break(&mut self) {
        self.endpoint.signal(operation::BREAK);
    }

    /// Whether everything that was offered has arrived.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.endpoint.is_settled()
    }

    /// Sends what is due, and waits for what comes.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] when the controller does not say a word any more.
    pub async fn next(&mut self) -> Result<SolEvent, ClientError> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            if let Some(characters) = self.take_characters() {
                return Ok(SolEvent::Characters(characters));
            }
            if self.ended {
                return Ok(SolEvent::Ended);
            }
            let deadline = self.epoch + self.do_what_is_due()?;
            let before = (self.endpoint.room(), self.endpoint.is_settled());
            let received = timeout_at(deadline.into(), self.client.link.receive(&mut buffer)).await;
            if let Ok(Some(length)) = received {
                self.on_datagram(buffer.get(..length).unwrap_or_default());
            }
            let after = (self.endpoint.room(), self.endpoint.is_settled());
            if after > before && self.endpoint.waiting().is_empty() && !self.ended {
                return Ok(SolEvent::Room);
            }
        }
    }

    /// Gives the port back and ends the session.
    pub async fn close(mut self) {
        if let Err(error) = self.client.close_payload().await {
            tracing::debug!(%error, "serial line not closed, it ends with its session");
        }
        self.client.close().await;
    }

    fn take_characters(&mut self) -> Option<Vec<u8>> {
        let characters = self.endpoint.waiting().to_vec();
        if characters.is_empty() {
            return None;
        }
        if let Some(answer) = self.endpoint.drain(characters.len()) {
            self.tell(&answer);
        }
        Some(characters)
    }

    /// Sends, asks, and says when the next of that is due.
    fn do_what_is_due(&mut self) -> Result<Duration, ClientError> {
        let now = self.epoch.elapsed();
        if now >= self.heard_at + SILENCE_MAX {
            let operation = "Serial over LAN";
            let (address, attempts) = (self.client.address(), self.client.link.attempts_max);
            return Err(ClientError::Timeout { address, operation, attempts });
        }
        if let Some(packet) = self.endpoint.send(now) {
            self.tell(&packet);
        }
        if now >= self.asked_at.max(self.heard_at) + KEEP_ALIVE {
            self.asked_at = now;
            self.ask_for_life();
        }
        let quiet = self.asked_at.max(self.heard_at) + KEEP_ALIVE;
        let deadlines = [Some(quiet), Some(self.heard_at + SILENCE_MAX)];
        let deadlines = deadlines.into_iter().chain([self.endpoint.next_deadline()]).flatten();
        Ok(deadlines.min().unwrap_or(quiet))
    }

    fn ask_for_life(&mut self) {
        let Client { dialogue, link, .. } = &mut self.client;
        let Some(session) = &mut dialogue.session else { return };
        let random = &mut dialogue.random;
        let (netfn, code) = (get_device_id::Request::NETFN, get_device_id::Request::CODE);
        link.tell(&session.ask(netfn, code, get_device_id::Request.to_bytes(), random).datagram);
    }

    fn tell(&mut self, packet: &SolPacket) {
        let Client { dialogue, link, .. } = &mut self.client;
        let Some(session) = &mut dialogue.session else { return };
        let random = &mut dialogue.random;
        link.tell(&session.seal(PayloadType::Sol, &packet.to_bytes(), random));
    }

    fn on_datagram(&mut self, bytes: &[u8]) {
        let Some(session) = &mut self.client.dialogue.session else { return };
        let Some((kind, payload)) = session.open(bytes) else { return };
        let now = self.epoch.elapsed();
        self.heard_at = now;
        if kind != PayloadType::Sol {
            return;
        }
        let Ok(packet) = SolPacket::decode(&payload) else { return };
        let received = self.endpoint.on_packet(packet, now);
        for answer in received.answers {
            self.tell(&answer);
        }
        self.ended |= received.flags & status::DEACTIVATED != 0;
    }
}
