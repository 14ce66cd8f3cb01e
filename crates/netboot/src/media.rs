//! Serves deploy CDs to BMCs, for machines that boot by virtual media.
//!
//! ```text
//! GET /media/MAC/TOKEN/bm-deploy.iso    only with the token of the machine's present boot
//! ```
//! The token in the address is all that a BMC shows of itself: it comes from another network than
//! its machine, perhaps through address translation. It is made for one boot and void when the
//! boot's secret is. Plain HTTP, as for iPXE: few BMCs can be told whom to trust.
//!
//! BMCs read as the machine does, in parts (RFC 9110, section 14). Every part is cut from the same
//! bytes: the template's, and the identity's in their place.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Extension, Path, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use undercloud_model::MacAddr;

use crate::{
    ANSWER_DEADLINE, NetbootError, Parts,
    boots::{BootEventKind as Kind, Boots, MediaTarget},
    events::{self, Events},
    http::{
        self, Peer,
        body::{self, Ending},
    },
    rate::Rate,
};

/// What the handler needs.
#[derive(Clone)]
struct Media {
    boots: Arc<dyn Boots>,
    events: Events,
}

/// Deploy CDs over HTTP.
#[derive(Debug)]
pub struct MediaServer;

impl MediaServer {
    /// Makes it, on the current runtime; and says where it listens.
    ///
    /// # Errors
    /// The listener is not usable.
    pub fn parts(
        listener: std::net::TcpListener,
        boots: Arc<dyn Boots>,
    ) -> Result<(Parts, SocketAddr), NetbootError> {
        let fail = |source| NetbootError::Socket { what: "virtual media port", source };
        listener.set_nonblocking(true).map_err(fail)?;
        let listener = TcpListener::from_std(listener).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let (events, queue) = Events::new();
        let router = router(Media { boots: Arc::clone(&boots), events: events.clone() });
        // Guesses at a token are few; a BMC that reads a CD in parts makes hundreds a second, and
        // those behind one address more.
        let rate: Rate<Ipv4Addr> = Rate::new(4096, Duration::from_millis(1), 1024);
        let stop = CancellationToken::new();
        let server = http::serve("virtual media", listener, router, events, rate, stop.clone());
        let essential = vec![
            ("virtual media", server.boxed()),
            ("virtual media events", events::carry_until(stop.clone(), queue, boots).boxed()),
        ];
        let parts = Parts { essential, helpful: Vec::new(), stop, http_port: address.port() };
        Ok((parts, address))
    }
}

fn router(media: Media) -> Router {
    Router::new().route("/media/{mac}/{token}/bm-deploy.iso", get(cd)).with_state(media)
}

async fn cd(
    State(media): State<Media>,
    Extension(peer): Extension<Peer>,
    Path((mac, token)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let found = match mac.parse::<MacAddr>() {
        Ok(mac) => timeout(ANSWER_DEADLINE, media.boots.media(mac)).await.ok().flatten(),
        Err(_) => None,
    };
    let mac = mac.parse().ok();
    let Some(target) = found.filter(|target| target.token.is(&token)) else {
        // A wrong token and no boot look the same from outside.
        let why = "no deploy CD of this boot";
        media.events.refuse(mac, peer.0, Kind::HttpRefused { from: peer.0, why });
        return StatusCode::NOT_FOUND.into_response();
    };
    let size = target.template.size;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, range) = match asked.map(|asked| parse_range(asked, size)) {
        None | Some(Asked::Whole) => (StatusCode::OK, 0..size),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Outside) => {
            let size = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, size).into_response();
        }
    };
    let bytes = range.end - range.start;
    let mut answer = HeaderMap::new();
    let mut put = |name, text: String| {
        if let Ok(value) = text.parse() {
            answer.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    put(header::CONTENT_LENGTH, bytes.to_string());
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    put(header::CACHE_CONTROL, "no-store".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        put(header::CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    if method == Method::HEAD {
        return (status, answer).into_response();
    }
    // Of a CD that is read in parts only the first one is told: there are hundreds.
    let is_told = range.start == 0;
    let content = bytes_of(target, range);
    let content: Body = if is_told {
        let served = Kind::MediaServed { bytes, of: size };
        let ending = Ending { events: media.events, mac, what: "the deploy CD", served };
        body::told(content, bytes, ending)
    } else {
        Body::from_stream(content)
    };
    (status, answer, content).into_response()
}

/// The bytes of a CD in `range`.
fn bytes_of(
    target: MediaTarget,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let MediaTarget { template, offset, identity, token: _ } = target;
    let place = offset..offset + identity.len() as u64;
    let before = range.start..range.end.min(place.start);
    let within = range.start.max(place.start)..range.end.min(place.end);
    let after = range.start.max(place.end)..range.end;
    let own = (within.start < within.end).then(|| {
        let at = |byte: u64| usize::try_from(byte - place.start).unwrap_or(usize::MAX);
        let part = identity.get(at(within.start)..at(within.end)).unwrap_or_default();
        Ok(Bytes::copy_from_slice(part))
    });
    let file = move |range: Range<u64>| {
        let source = (range.start < range.end).then(|| template.clone());
        stream::iter(source).flat_map(move |source| body::part(source, range.clone()))
    };
    file(before).chain(stream::iter(own)).chain(file(after))
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// What we do not serve in parts: RFC 9110, section 14.2 lets a server send all.
    Whole,
    Part(Range<u64>),
    Outside,
}

/// One range of bytes (RFC 9110, section 14.1.2).
fn parse_range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        (text.len() <= 19 && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
    };
    match (number(first), number(last)) {
        (Some(first), _) if first >= size => Asked::Outside,
        (Some(first), Some(last)) if last >= first => {
            let last: u64 = last;
            Asked::Part(first..last.saturating_add(1).min(size))
        }
        (Some(first), None) if last.is_empty() => Asked::Part(first..size),
        (None, Some(0)) if first.is_empty() => Asked::Outside,
        (None, Some(count)) if first.is_empty() => Asked::Part(size.saturating_sub(count)..size),
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests;
