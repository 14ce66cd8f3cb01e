//! One connection, from handshake to close: deadlines and sizes, nothing of Redfish.

use std::{convert::Infallible, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    listen::Transport,
    message::{self, Message, Refusal},
    reply::{self, ReplyBody},
    service::{BODY_BYTES_MAX, Service},
};

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// How long a request's body may take.
const BODY_MAX: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    transport: Transport,
    service: Arc<Service>,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "socket options not set");
    }
    match transport.tls() {
        None => requests(stream, peer, service, stop).await,
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            match timeout(HANDSHAKE_MAX, handshake).await {
                Ok(Ok(stream)) => requests(stream, peer, service, stop).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake too slow"),
            }
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: IpAddr,
    service: Arc<Service>,
    stop: CancellationToken,
) {
    let answer = hyper::service::service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(answer(&service, request, peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
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
        tracing::debug!(%peer, %error, "Redfish connection ended early");
    }
}

async fn answer(
    service: &Service,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let collected = timeout(BODY_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let (status, kind) = match collected {
        Ok(Ok(body)) => {
            let request: Request<Bytes> = Request::from_parts(parts, body.to_bytes());
            return service.answer(request, peer).await;
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            (http::StatusCode::PAYLOAD_TOO_LARGE, message::TOO_LARGE)
        }
        Ok(Err(_)) => (http::StatusCode::BAD_REQUEST, message::UNRECOGNIZED_BODY),
        Err(_) => (http::StatusCode::REQUEST_TIMEOUT, message::UNRECOGNIZED_BODY),
    };
    let mut response = reply::refusal(&Refusal::new(status, Message::new(kind, &[])));
    let close = http::HeaderValue::from_static("close");
    response.headers_mut().insert(http::header::CONNECTION, close);
    reply::finish(&mut response, None, false);
    response
}
