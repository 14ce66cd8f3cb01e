//! One connection, from handshake to close.

use std::{convert::Infallible, pin::pin, sync::Arc};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Limits, Peer, Process};

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 32 * 1024;

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Who is at the other end (`SO_PEERCRED`), of a unix socket.
    pub(super) fn process(&self) -> Option<Process> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(unix) => {
                let told = unix.peer_cred();
                let refused =
                    |error: &_| tracing::warn!(%error, "the kernel does not tell who asks");
                let told = told.inspect_err(refused).ok()?;
                Some(Process { uid: told.uid(), pid: told.pid() })
            }
        }
    }
}

/// The router, with the peer put in each request.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) peer: Peer,
}

impl Service {
    async fn call(self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        request.extensions_mut().insert(self.peer);
        self.router.oneshot(request.map(Body::new)).await
    }
}

pub(super) async fn serve(
    stream: Stream,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: Service,
    limits: &Limits,
    stop: CancellationToken,
) {
    match (stream, tls) {
        (Stream::Tcp(tcp), Some(tls)) => {
            // Without these a machine that was switched off holds its connection for 15 minutes.
            let socket = SockRef::from(&tcp);
            let alive = TcpKeepalive::new().with_time(limits.head).with_interval(limits.handshake);
            let set = socket
                .set_tcp_keepalive(&alive)
                .and_then(|()| socket.set_tcp_user_timeout(Some(limits.unacknowledged)))
                .and_then(|()| tcp.set_nodelay(true));
            if let Err(error) = set {
                tracing::debug!(%error, "socket options not set");
            }
            let handshake = TlsAcceptor::from(tls).accept(tcp);
            match tokio::time::timeout(limits.handshake, handshake).await {
                Ok(Ok(stream)) => requests(stream, service, limits, stop).await,
                Ok(Err(error)) => {
                    tracing::debug!(peer = ?service.peer.address, %error, "TLS handshake failed");
                }
                Err(_) => tracing::debug!(peer = ?service.peer.address, "TLS handshake too slow"),
            }
        }
        (Stream::Unix(unix), _) => requests(unix, service, limits, stop).await,
        // Never served without TLS; the listener gives both.
        (Stream::Tcp(_), None) => {}
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: Service,
    limits: &Limits,
    stop: CancellationToken,
) {
    let peer = service.peer;
    let answer = hyper::service::service_fn(move |request| service.clone().call(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = ?peer.address, %error, "connection ended early");
    }
}
