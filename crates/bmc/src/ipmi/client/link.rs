//! The socket towards a controller. Outside of a session, where nothing can be executed twice, a
//! question is the same datagram until it is answered.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::ClientError;
use crate::ipmi::packet::DATAGRAM_BYTES_MAX;

/// A socket towards one controller.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) timeout: Duration,
    pub(super) attempts_max: u32,
    socket: UdpSocket,
}

impl Link {
    pub(super) async fn open(
        address: SocketAddr,
        timeout: Duration,
        attempts_max: u32,
    ) -> Result<Self, ClientError> {
        let error = |source| ClientError::Socket { address, source };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(error)?;
        socket.connect(address).await.map_err(error)?;
        Ok(Self { address, timeout, attempts_max, socket })
    }

    /// The first answer that `accept` takes, or `None` when every attempt went unanswered.
    /// What `accept` does not take is somebody else's, or late: it is dropped.
    pub(super) async fn exchange<T>(
        &self,
        datagram: &[u8],
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        for _ in 0..self.attempts_max {
            let deadline = Instant::now() + self.timeout;
            // A port that is closed shows as an error of the next call. It may open: a controller
            // that restarts is gone for a while. So it counts as no answer.
            let _ = self.socket.send(datagram).await;
            // Until the deadline; every datagram shortens what is left.
            while let Ok(received) = timeout_at(deadline, self.socket.recv(&mut buffer)).await {
                let answer = received.ok().and_then(|length| buffer.get(..length));
                if let Some(answer) = answer.and_then(&mut accept) {
                    return Some(answer);
                }
            }
        }
        None
    }

    /// The length of the next datagram; `None` when the port is closed for now.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        self.socket.recv(buffer).await.ok()
    }

    /// A port that is closed shows as an error, and counts as no answer: it may open.
    pub(super) async fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send(datagram).await;
    }

    /// Sends without waiting, if that is possible at all.
    pub(super) fn tell(&self, datagram: &[u8]) {
        let _ = self.socket.try_send(datagram);
    }
}
