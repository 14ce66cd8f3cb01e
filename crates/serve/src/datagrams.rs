//! Datagram sockets, and receiving from one without end.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use tokio::net::UdpSocket;

use crate::Patience;

/// A socket of datagrams. A trait, so that a test can hand in one that fails.
pub trait Datagrams: Send + Sync + 'static {
    /// The next datagram's length, and who sent it.
    fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;

    /// Sends one.
    fn send_to(
        &self,
        bytes: &[u8],
        to: SocketAddr,
    ) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Datagrams for UdpSocket {
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        UdpSocket::recv_from(self, buffer).await
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        UdpSocket::send_to(self, bytes, to).await
    }
}

impl<S: Datagrams> Datagrams for Arc<S> {
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        S::recv_from(self, buffer).await
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        S::send_to(self, bytes, to).await
    }
}

/// The next datagram, however long that takes. Giving up loses nothing.
pub async fn receive(
    socket: &impl Datagrams,
    buffer: &mut [u8],
    patience: &mut Patience,
) -> (usize, SocketAddr) {
    loop {
        patience.wait().await;
        if let Some(received) = patience.heed(socket.recv_from(buffer).await) {
            return received;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Fails so often, then one byte comes.
    struct Failing(AtomicU32, i32);

    impl Datagrams for Failing {
        async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            if self.0.load(Ordering::Relaxed) == 0 {
                buffer[0] = 7;
                return Ok((1, ([127, 0, 0, 1], 9).into()));
            }
            self.0.fetch_sub(1, Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(self.1))
        }

        async fn send_to(&self, bytes: &[u8], _: SocketAddr) -> io::Result<usize> {
            Ok(bytes.len())
        }
    }

    #[tokio::test]
    async fn receiving_goes_on_after_any_error() {
        // No descriptors, no buffers, no memory, no such device, a broken pipe.
        for error in [24, 105, 12, 19, 32] {
            let socket = Failing(AtomicU32::new(3), error);
            let mut buffer = [0; 4];
            let (length, _) = receive(&socket, &mut buffer, &mut Patience::new("test")).await;
            assert_eq!((length, buffer[0]), (1, 7), "errno {error}");
        }
    }
}
