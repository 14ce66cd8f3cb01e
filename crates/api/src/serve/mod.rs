//! Serves a router on a listener that is handed in: TCP with TLS, or a unix socket.
//!
//! ```text
//! accept ── slot free? source within its share? ── TLS handshake ── requests … ── close
//!              no: closed at once                    deadline         deadline for each head
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
    time::Duration,
};

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::limits::Slots;
use crate::{Clock, tls};

pub use limits::Limits;
pub use unix::{BindError, bind_unix};

/// Who sent a request: an extension of every request that is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address; a unix socket has none.
    pub address: Option<IpAddr>,
}

/// Where requests come from.
#[derive(Debug)]
pub enum Listener {
    /// TLS on TCP.
    Tls(TcpListener, Arc<tls::Server>),
    /// A unix socket.
    Unix(UnixListener),
}

/// How long a listener that cannot accept waits (no file descriptors are left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

enum Ready {
    Tls(tokio::net::TcpListener, Arc<tls::Server>),
    Unix(tokio::net::UnixListener),
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
    let ready = match listener {
        Listener::Tls(tcp, server) => {
            tcp.set_nonblocking(true)?;
            Ready::Tls(tokio::net::TcpListener::from_std(tcp)?, server)
        }
        Listener::Unix(unix) => {
            unix.set_nonblocking(true)?;
            Ready::Unix(tokio::net::UnixListener::from_std(unix)?)
        }
    };
    let slots = Slots::new(&limits);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&ready) => match accepted {
                Ok((stream, peer)) => {
                    let Some(slot) = slots.take(peer.address) else { continue };
                    let service = connection::Service { router: router.clone(), peer };
                    let tls = match &ready {
                        Ready::Tls(_, server) => Some(server.config(clock.now())),
                        Ready::Unix(_) => None,
                    };
                    let (limits, stop) = (limits.clone(), stop.clone());
                    connections.spawn(async move {
                        connection::serve(stream, tls, service, &limits, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(ready);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, all).await.is_err() {
        tracing::info!("connections cut off at the end");
    }
    Ok(())
}

async fn accept(listener: &Ready) -> io::Result<(connection::Stream, Peer)> {
    match listener {
        Ready::Tls(tcp, _) => {
            let (stream, from) = tcp.accept().await?;
            let peer = Peer { address: Some(from.ip().to_canonical()) };
            Ok((connection::Stream::Tcp(stream), peer))
        }
        Ready::Unix(unix) => {
            let (stream, _) = unix.accept().await?;
            Ok((connection::Stream::Unix(stream), Peer { address: None }))
        }
    }
}

#[cfg(test)]
mod tests;
