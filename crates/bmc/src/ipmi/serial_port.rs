//! The shell's hold on the machine's serial port: one wait for both ways.

use std::{future::poll_fn, io, pin::Pin, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{machine::SerialLine, msg::sol_packet::CHARACTERS_MAX};

/// What happened on the port.
#[derive(Debug)]
pub(super) enum PortEvent {
    /// The machine said this.
    Said(Vec<u8>),
    /// The machine took so many of the characters that wait for it.
    Took(usize),
    /// The machine took the port back.
    Ended,
}

/// The port.
#[derive(Debug)]
pub(super) struct SerialPort {
    line: SerialLine,
}

impl SerialPort {
    pub(super) fn new(line: SerialLine) -> Self {
        Self { line }
    }

    /// A break, if the line can.
    pub(super) fn send_break(&mut self) {
        match &mut self.line.send_break {
            Some(send_break) => send_break(),
            None => tracing::debug!("this serial port cannot send a break"),
        }
    }

    /// The next event; without a port there is none. Reads no more than there is `room` for,
    /// writes what is `waiting`, and that first: a machine that never stops talking must still
    /// hear. Nothing is lost when the wait is given up.
    pub(super) async fn next(port: Option<&mut Self>, room: usize, waiting: &[u8]) -> PortEvent {
        let Some(port) = port else { return std::future::pending().await };
        poll_fn(|context| {
            let mut stream = Pin::new(&mut port.line.stream);
            if !waiting.is_empty()
                && let Poll::Ready(outcome) = stream.as_mut().poll_write(context, waiting)
            {
                return Poll::Ready(match outcome {
                    Ok(0) => PortEvent::Ended,
                    Ok(characters) => PortEvent::Took(characters),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => PortEvent::Took(0),
                    Err(_) => PortEvent::Ended,
                });
            }
            if room > 0 {
                let mut buffer = [0; CHARACTERS_MAX];
                let length = room.min(buffer.len());
                let mut read = ReadBuf::new(buffer.get_mut(..length).unwrap_or_default());
                if let Poll::Ready(outcome) = stream.poll_read(context, &mut read) {
                    let said = outcome.ok().map(|()| read.filled().to_vec());
                    return Poll::Ready(match said {
                        Some(said) if !said.is_empty() => PortEvent::Said(said),
                        Some(_) | None => PortEvent::Ended,
                    });
                }
            }
            Poll::Pending
        })
        .await
    }
}
