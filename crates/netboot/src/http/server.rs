//! Accepts connections, with a bound on their number, on requests of one source, and on time.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use undercloud_serve::{Connections, Door, Guest, Listen, Share};

use super::Peer;
use crate::{DRAIN, boots::BootEventKind, events::Events, rate::Rate};

/// Connections at the same time. A machine that boots has one or two, a BMC that reads a CD in parts
/// some more; those behind one address share.
const SHARE: Share = Share { all: 256, per_source: 32 };
/// A request's head comes in one packet.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// An initrd of 60 MB at 1 Mbit/s.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(600);

/// What every connection of a listener shares.
#[derive(Clone)]
struct Service {
    router: Router,
    events: Events,
    rate: Arc<Mutex<Rate<Ipv4Addr>>>,
}

/// Serves until `stop` is cancelled and the connections have ended.
pub(crate) async fn serve(
    what: &'static str,
    listener: impl Listen<Stream = TcpStream>,
    router: Router,
    events: Events,
    rate: Rate<Ipv4Addr>,
    stop: CancellationToken,
) {
    let service = Service { router, events, rate: Arc::new(Mutex::new(rate)) };
    let mut connections = Connections::default();
    let mut door = Door::new(what, listener, SHARE);
    loop {
        let Guest { stream, from, slot } = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            guest = door.next() => guest,
        };
        let peer = Peer::of(from.map_or(Ipv4Addr::UNSPECIFIED.into(), |from| from.ip()));
        let (service, stop) = (service.clone(), stop.clone());
        connections.spawn(async move {
            let served = timeout(CONNECTION_DEADLINE, service.serve(stream, peer, stop)).await;
            if served.is_err() {
                tracing::debug!(?peer, "HTTP connection took too long");
            }
            drop(slot);
        });
    }
    drop(door);
    let cut = connections.drain(DRAIN).await;
    if cut > 0 {
        tracing::info!(what, cut, "connections cut off at the end");
    }
}

impl Service {
    async fn serve(self, stream: TcpStream, peer: Peer, stop: CancellationToken) {
        let answer = service_fn(move |request| self.clone().answer(request, peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
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
            tracing::debug!(?peer, %error, "HTTP connection");
        }
    }

    async fn answer(self, request: Request<Incoming>, peer: Peer) -> Result<Response, Infallible> {
        if !self.allow(peer) {
            let why = "too many requests";
            let event = BootEventKind::HttpRefused { from: peer.0, why };
            self.events.refuse(self.events.owner(peer.0), peer.0, event);
            return Ok(StatusCode::TOO_MANY_REQUESTS.into_response());
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        self.router.oneshot(request).await
    }

    fn allow(&self, peer: Peer) -> bool {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).allow(peer.0, Instant::now())
    }
}
