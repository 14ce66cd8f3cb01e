//! Serves a router on a listener that is handed in: TCP with TLS, or a unix socket.
//!
//! ```text
//! Door ── source within its share? ── TLS handshake ── requests … ── close
//!            no: closed at once        deadline         deadline for each head
//! ```
//! Sockets come from the caller, since some are opened inside a network namespace. Every request
//! carries a [`Peer`]. At the end connections finish their request, within a deadline.

mod connection;
mod limits;
mod unix;

use std::{
    io,
    net::{IpAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
};

use axum::Router;
use tokio_util::sync::CancellationToken;
use undercloud_serve::{Connections, Door, Guest, Listen, Share};

use self::connection::Stream;
use crate::{Clock, tls};

pub use limits::Limits;
pub use unix::{BindError, bind_unix};

/// Who sent a request: an extension of every request that is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address; a unix socket has none.
    pub address: Option<IpAddr>,
    /// The process at the other end of a unix socket, as the kernel tells.
    pub process: Option<Process>,
}

/// A process on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its user.
    pub uid: u32,
    /// Its number, if that is known.
    pub pid: Option<i32>,
}

/// Where requests come from.
#[derive(Debug)]
pub enum Listener {
    /// TLS on TCP.
    Tls(TcpListener, Arc<tls::Server>),
    /// A unix socket.
    Unix(UnixListener),
}

/// Serves until `stop` is cancelled and the connections have ended.
///
/// # Errors
/// When the listener cannot be used by the runtime.
pub async fn run(
    listener: Listener,
    router: Router,
    limits: Limits,
    clock: Clock,
    stop: CancellationToken,
) -> io::Result<()> {
    match listener {
        Listener::Tls(tcp, server) => {
            tcp.set_nonblocking(true)?;
            let tcp = tokio::net::TcpListener::from_std(tcp)?;
            let tls = move || Some(server.config(clock.now()));
            accept_all(tcp, Stream::Tcp, tls, router, limits, stop).await;
        }
        Listener::Unix(unix) => {
            unix.set_nonblocking(true)?;
            let unix = tokio::net::UnixListener::from_std(unix)?;
            accept_all(unix, Stream::Unix, || None, router, limits, stop).await;
        }
    }
    Ok(())
}

async fn accept_all<L: Listen>(
    listener: L,
    stream_of: impl Fn(L::Stream) -> Stream,
    tls: impl Fn() -> Option<Arc<rustls::ServerConfig>>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let share =
        Share { all: limits.connections_max, per_source: limits.connections_per_source_max };
    let mut door = Door::new("API", listener, share);
    let mut connections = Connections::default();
    loop {
        let Guest { stream, from, slot } = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            guest = door.next() => guest,
        };
        let stream = stream_of(stream);
        let address = from.map(|from| from.ip().to_canonical());
        let peer = Peer { address, process: stream.process() };
        let service = connection::Service { router: router.clone(), peer };
        let (tls, limits, stop) = (tls(), limits.clone(), stop.clone());
        connections.spawn(async move {
            connection::serve(stream, tls, service, &limits, stop).await;
            drop(slot);
        });
    }
    drop(door);
    let cut = connections.drain(limits.drain).await;
    if cut > 0 {
        tracing::info!(cut, "connections cut off at the end");
    }
}

#[cfg(test)]
mod tests;
