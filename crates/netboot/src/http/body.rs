//! Bodies that are streamed from memory and disk at constant memory, and say how they ended.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;
use undercloud_model::MacAddr;

use crate::{
    boots::{BlobSource, BootEventKind, Segment},
    events::Events,
};

/// Read from disk at once.
const READ_BYTES: usize = 128 * 1024;

/// How long the initrd is: parts are padded to four bytes.
pub(super) fn initrd_bytes(parts: &[Segment]) -> u64 {
    parts.iter().map(|part| part.len().next_multiple_of(4)).sum()
}

/// The parts, one after the other.
pub(super) fn initrd(parts: Vec<Segment>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::iter(parts).flat_map(|part| {
        let padding = part.len().next_multiple_of(4) - part.len();
        let padding = Bytes::from_static(&[0; 3]).split_to(usize::try_from(padding).unwrap_or(0));
        let content = match part {
            Segment::Bytes(bytes) => {
                stream::once(async move { Ok(Bytes::copy_from_slice(&bytes)) }).left_stream()
            }
            Segment::File(source) => file(source).right_stream(),
        };
        content.chain(stream::iter((!padding.is_empty()).then_some(Ok(padding))))
    })
}

/// A file; one that is shorter than it should be breaks the body off, a longer one is cut.
pub(super) fn file(source: BlobSource) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let whole = 0..source.size;
    part(source, whole)
}

/// The bytes of a file in `range`.
pub(crate) fn part(
    source: BlobSource,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let open = async move {
        let mut file = File::open(&source.path).await?;
        let size = file.metadata().await?.len();
        if size < range.end {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is too short"));
        }
        if range.start > 0 {
            file.seek(io::SeekFrom::Start(range.start)).await?;
        }
        let bytes = range.end.saturating_sub(range.start);
        Ok(ReaderStream::with_capacity(file.take(bytes), READ_BYTES))
    };
    Box::pin(stream::once(open).flat_map(|opened| match opened {
        Ok(chunks) => chunks.left_stream(),
        Err(error) => stream::once(async { Err(error) }).right_stream(),
    }))
}

/// What a body's end is told as.
pub(crate) struct Ending {
    pub(crate) events: Events,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) what: &'static str,
    pub(crate) served: BootEventKind,
}

/// A body of `of` bytes that tells how it ended.
pub(crate) fn told(
    content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    of: u64,
    ending: Ending,
) -> Body {
    Body::from_stream(Told { content: Box::pin(content), sent: 0, of, ending: Some(ending) })
}

struct Told {
    content: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    sent: u64,
    of: u64,
    ending: Option<Ending>,
}

impl Stream for Told {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.content.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            self.sent += bytes.len() as u64;
        }
        if let Poll::Ready(Some(Err(error))) = &next {
            tracing::warn!(%error, "boot file not read");
        }
        next
    }
}

impl Drop for Told {
    /// The server drops a body when it is out, and when the client went away. It stops asking once
    /// it has as many bytes as it announced, so the count decides, not the stream's end.
    fn drop(&mut self) {
        if let Some(Ending { events, mac, what, served }) = self.ending.take() {
            let (bytes, of) = (self.sent, self.of);
            let cut = BootEventKind::TransferCut { what, bytes, of };
            events.tell(mac, if bytes == of { served } else { cut });
        }
    }
}
