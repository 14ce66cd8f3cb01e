//! Streams a blob: whole, or the one range that is asked for (RFC 9110, section 14).

use std::io::SeekFrom;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use undercloud_image::blob::{BlobError, Blobs};
use undercloud_model::Digest;

use crate::ApiError;

/// Bytes read at a time, and the memory a download costs.
const CHUNK_BYTES: usize = 256 * 1024;

/// What the header `Range` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part { first: u64, last: u64 },
    Nothing,
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The answer that carries the blob. The caller has decided that it may be read.
pub(crate) async fn blob(
    blobs: &Blobs,
    digest: &Digest,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (store, digest) = (blobs.clone(), *digest);
    let opened = tokio::task::spawn_blocking(move || {
        let file = store.open_blob(&digest)?;
        Ok::<_, BlobError>((file, store.stat(&digest)?.unwrap_or(0)))
    });
    let (file, size) = opened.await.map_err(|e| {
        ApiError::new(undercloud_model::ErrorKind::Bug, format!("opening a blob ended: {e}"))
    })??;
    let mut file = tokio::fs::File::from_std(file);
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let (status, first, length) = match wanted(range, size) {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Nothing => {
            let all = format!("bytes */{size}");
            return Ok(
                (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, all)]).into_response()
            );
        }
    };
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await.map_err(|e| {
            ApiError::new(
                undercloud_model::ErrorKind::Unavailable,
                format!("cannot read {digest}: {e}"),
            )
        })?;
    }
    let stream = ReaderStream::with_capacity(file.take(length), CHUNK_BYTES);
    let mut response = (status, Body::from_stream(stream)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {first}-{}/{size}", first + length - 1);
        headers.extend(HeaderValue::from_str(&part).map(|v| (header::CONTENT_RANGE, v)));
    }
    Ok(response)
}

/// A header that is no single range of bytes is ignored, as RFC 9110 wants it.
fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Ok(0) => Wanted::Nothing,
            Ok(_) if size == 0 => Wanted::Nothing,
            Ok(n) => Wanted::Part { first: size.saturating_sub(n), last: size - 1 },
            Err(_) => Wanted::Whole,
        },
        (first, last) => match (
            number(first),
            last.is_empty().then_some(u64::MAX).map_or_else(|| number(last), Ok),
        ) {
            (Ok(first), Ok(last)) if first > last => Wanted::Whole,
            (Ok(first), Ok(_)) if first >= size => Wanted::Nothing,
            (Ok(first), Ok(last)) => Wanted::Part { first, last: last.min(size - 1) },
            _ => Wanted::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, size, expected) in [
            ("bytes=2-4", 8, part(2, 4)),
            ("bytes=2-", 8, part(2, 7)),
            ("bytes=-3", 8, part(5, 7)),
            ("bytes=-30", 8, part(0, 7)),
            ("bytes=0-100", 8, part(0, 7)),
            ("bytes=8-", 8, Wanted::Nothing),
            ("bytes=-0", 8, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-1", 0, Wanted::Nothing),
            ("bytes=4-2", 8, Wanted::Whole),
            ("bytes=0-1,3-4", 8, Wanted::Whole),
            ("lines=0-1", 8, Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_blob(header in "bytes=[0-9]{0,3}-[0-9]{0,3}", size in 0u64..500) {
            if let Wanted::Part { first, last } = wanted(Some(&header), size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
