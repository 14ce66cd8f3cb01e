//! Fetches the image of a virtual medium: of bounded size, in bounded time, from http and https
//! alone.
//!
//! Who may use a machine's virtual media makes this process open connections. So nothing of an
//! answer is passed on but an image's bytes, and only of a plain 200: redirections are not followed,
//! since they would lead anywhere.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use thiserror::Error;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{Endpoint, Link, LinkError, Trust};

/// Bounds of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Most bytes.
    pub bytes_max: u64,
    /// For the whole transfer.
    pub total: Duration,
    /// For the connection, for the answer's head, and between two parts of its body.
    pub pause: Duration,
}

impl Default for FetchLimits {
    /// A DVD of one layer, at 8 MB/s.
    fn default() -> Self {
        Self {
            bytes_max: 4_700_000_000,
            total: Duration::from_secs(600),
            pause: Duration::from_secs(15),
        }
    }
}

/// Why an image could not be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No answer.
    #[error("cannot fetch the image")]
    Link(#[source] LinkError),
    /// Another answer than the image.
    #[error("the server of the image answers with status {0}")]
    Status(u16),
    /// The address holds what no request can.
    #[error("the image's address cannot be asked for")]
    Request,
    /// The answer broke off.
    #[error("the image broke off after {bytes} bytes")]
    Broken {
        /// How much had come.
        bytes: u64,
    },
    /// Too much.
    #[error("the image has more than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// Not within the time.
    #[error("the image took too long: {bytes} bytes had come")]
    Slow {
        /// How much had come.
        bytes: u64,
    },
    /// It cannot be kept.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
}

/// Fetches `image` and writes it to `to`; says how many bytes it has.
///
/// # Errors
/// [`FetchError`]; what was written until then is no image.
pub async fn fetch(
    image: &str,
    trust: &Trust,
    limits: FetchLimits,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<u64, FetchError> {
    let mut bytes = 0;
    let all = timeout(limits.total, transfer(image, trust, limits, to, &mut bytes)).await;
    match all {
        Ok(done) => done.map(|()| bytes),
        Err(_) => Err(FetchError::Slow { bytes }),
    }
}

async fn transfer(
    image: &str,
    trust: &Trust,
    limits: FetchLimits,
    to: &mut (impl AsyncWrite + Unpin + Send),
    bytes: &mut u64,
) -> Result<(), FetchError> {
    let FetchLimits { bytes_max, pause, .. } = limits;
    let (endpoint, path) = Endpoint::split(image).map_err(FetchError::Link)?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::ACCEPT, "*/*")
        .body(Full::new(Bytes::new()))
        .map_err(|_| FetchError::Request)?;
    let mut link = Link::open(&endpoint, trust, pause).await.map_err(FetchError::Link)?;
    let answer = link.begin(request, pause).await.map_err(FetchError::Link)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let length = answer.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(FetchError::TooLarge { bytes_max });
    }
    let mut body = answer.into_body();
    loop {
        let next = timeout(pause, body.frame()).await;
        let Some(frame) = next.map_err(|_| FetchError::Slow { bytes: *bytes })? else { break };
        let frame = frame.map_err(|_| FetchError::Broken { bytes: *bytes })?;
        // Trailers are not of the image.
        let Ok(data) = frame.into_data() else { continue };
        *bytes += data.len() as u64;
        if *bytes > bytes_max {
            return Err(FetchError::TooLarge { bytes_max });
        }
        to.write_all(&data).await.map_err(FetchError::Write)?;
    }
    if *bytes == 0 {
        return Err(FetchError::Broken { bytes: 0 });
    }
    to.flush().await.map_err(FetchError::Write)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers one request with `answer`, and hangs up or stays.
    async fn serve(answer: Vec<u8>, stays: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            stream.write_all(&answer).await.expect("answer");
            if stays {
                std::future::pending::<()>().await;
            }
        });
        format!("http://{address}/cd.iso")
    }

    async fn get(answer: &[u8], stays: bool) -> (Result<u64, FetchError>, Vec<u8>) {
        let image = serve(answer.to_vec(), stays).await;
        let mut kept = Vec::new();
        let pause = Duration::from_millis(200);
        let limits = FetchLimits { bytes_max: 8, total: Duration::from_secs(5), pause };
        (fetch(&image, &Trust::Anybody, limits, &mut kept).await, kept)
    }

    #[tokio::test]
    async fn an_image_comes_whole() {
        let (done, kept) =
            get(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n12345678", false).await;
        assert_eq!((done.expect("image"), &kept[..]), (8, &b"12345678"[..]));
        // Without a length its end is the connection's.
        let (done, kept) = get(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n123", false).await;
        assert_eq!((done.expect("image"), &kept[..]), (3, &b"123"[..]));
    }

    #[tokio::test]
    async fn what_is_no_image_is_refused() {
        type Judge = fn(&FetchError) -> bool;
        let cases: [(&[u8], bool, Judge); 7] = [
            (
                b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
                false,
                |e| matches!(e, FetchError::Status(302)),
            ),
            (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", false, |e| {
                matches!(e, FetchError::Status(404))
            }),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789", false, |e| {
                matches!(e, FetchError::TooLarge { bytes_max: 8 })
            }),
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n123456789", false, |e| {
                matches!(e, FetchError::TooLarge { bytes_max: 8 })
            }),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234", false, |e| {
                matches!(e, FetchError::Broken { bytes: 4 })
            }),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234", true, |e| {
                matches!(e, FetchError::Slow { bytes: 4 })
            }),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, |e| {
                matches!(e, FetchError::Broken { bytes: 0 })
            }),
        ];
        for (answer, stays, judge) in cases {
            let (done, _) = get(answer, stays).await;
            let error = done.expect_err("no image");
            assert!(judge(&error), "{}: {error}", String::from_utf8_lossy(answer));
        }
        for image in ["file:///etc/passwd", "ftp://127.0.0.1/a", "http:///a", "http://u:p@h/a"] {
            let limits = FetchLimits::default();
            let done = fetch(image, &Trust::Anybody, limits, &mut Vec::new()).await;
            assert!(matches!(done, Err(FetchError::Link(LinkError::Address { .. }))), "{image}");
        }
    }
}
