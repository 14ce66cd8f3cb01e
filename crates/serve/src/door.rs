//! Accepts connections until it is dropped.

use std::{future::Future, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{Patience, Share, Slot, Slots};

/// What connections come to. A trait, so that a test can hand in one that fails.
pub trait Listen: Send + Sync {
    /// A connection.
    type Stream: Send;

    /// The next connection, and who is at the other end; a unix socket does not know.
    fn accept(&self)
    -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        TcpListener::accept(self).await.map(|(stream, from)| (stream, Some(from)))
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        UnixListener::accept(self).await.map(|(stream, _)| (stream, None))
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Guest<S> {
    /// The connection.
    pub stream: S,
    /// Who is at the other end.
    pub from: Option<SocketAddr>,
    /// Its place; drop it with the connection.
    pub slot: Slot,
}

/// A listener whose loop does not end.
#[derive(Debug)]
pub struct Door<L> {
    what: &'static str,
    listener: L,
    slots: Slots,
    patience: Patience,
}

impl<L: Listen> Door<L> {
    /// Of `listener`, which serves `what`, as the log names it.
    pub fn new(what: &'static str, listener: L, share: Share) -> Self {
        Self { what, listener, slots: Slots::new(share), patience: Patience::new(what) }
    }

    /// The next connection that is within its source's share, however long that takes. Giving up
    /// loses none.
    pub async fn next(&mut self) -> Guest<L::Stream> {
        loop {
            self.patience.wait().await;
            let Some(free) = self.slots.free().await else { std::future::pending().await };
            let accepted = self.listener.accept().await;
            let Some((stream, from)) = self.patience.heed(accepted) else { continue };
            match self.slots.take(free, from.map(|from| from.ip())) {
                Some(slot) => return Guest { stream, from, slot },
                None => {
                    let what = self.what;
                    tracing::debug!(what, ?from, "too many connections of one source");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::{io::AsyncReadExt as _, time::timeout};

    use super::*;

    /// Fails so often before each connection.
    struct Failing {
        listener: TcpListener,
        failures: AtomicU32,
        error: i32,
    }

    impl Listen for Failing {
        type Stream = TcpStream;

        async fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
            if self.failures.load(Ordering::Relaxed) > 0 {
                self.failures.fetch_sub(1, Ordering::Relaxed);
                return Err(io::Error::from_raw_os_error(self.error));
            }
            Listen::accept(&self.listener).await
        }
    }

    const SHARE: Share = Share { all: 8, per_source: 2 };

    #[tokio::test]
    async fn accepting_goes_on_after_any_error() {
        // No descriptors in the process, none in the system, no memory, an invalid argument.
        for error in [24, 23, 12, 22] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let failures = AtomicU32::new(3);
            let mut door = Door::new("test", Failing { listener, failures, error }, SHARE);
            let _client = TcpStream::connect(address).await.unwrap();
            let waited = timeout(std::time::Duration::from_secs(10), door.next()).await;
            assert!(waited.is_ok(), "errno {error}");
        }
    }

    #[tokio::test]
    async fn who_has_its_share_is_closed_and_the_next_source_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Door::new("test", listener, SHARE);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let _held = (door.next().await, door.next().await);
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let _other = other.connect(address).await.unwrap();
        let guest = door.next().await;
        assert_eq!(guest.from.unwrap().ip().to_string(), "127.0.0.2");
        let closed = clients[2].read(&mut [0; 1]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "the third is closed");
    }
}
