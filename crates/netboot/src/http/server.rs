//! Accepts connections, with a bound on their number, on requests of one source, and on time.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
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
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};
use tower::ServiceExt as _;

use super::Peer;
use crate::{boots::BootEventKind, events::Events, rate::Rate};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 256;
/// A request's head comes in one packet.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// An initrd of 60 MB at 1 Mbit/s.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(600);

/// Serves until it is dropped.
///
/// # Errors
/// The listener is gone.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    events: Events,
    rate: Rate<Ipv4Addr>,
) -> io::Result<()> {
    let rate = Arc::new(Mutex::new(rate));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if crate::is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
        while connections.try_join_next().is_some() {}
        let (router, rate, events) = (router.clone(), Arc::clone(&rate), events.clone());
        let peer = Peer::of(address);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (router, events, allowed) =
                    (router.clone(), events.clone(), allow(&rate, peer));
                async move {
                    if !allowed {
                        let why = "too many requests";
                        let event = BootEventKind::HttpRefused { from: peer.0, why };
                        events.tell(events.owner(peer.0), event);
                        return Ok(StatusCode::TOO_MANY_REQUESTS.into_response());
                    }
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(peer);
                    let answer: Result<Response, Infallible> = router.oneshot(request).await;
                    answer
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION_DEADLINE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%address, %error, "HTTP connection"),
                Err(_) => tracing::debug!(%address, "HTTP connection took too long"),
            }
            drop(place);
        });
    }
}

fn allow(rate: &Mutex<Rate<Ipv4Addr>>, peer: Peer) -> bool {
    rate.lock().unwrap_or_else(PoisonError::into_inner).allow(peer.0, Instant::now())
}
