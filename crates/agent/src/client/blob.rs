//! A blob as a stream that survives a connection: when one breaks, the rest is asked for by range.
//!
//! What was received stays received, so a daemon that restarts in the middle of an image does not
//! make a disk be written twice. Whether all pieces belong together is decided by the digest, not
//! here. A daemon that answers a range with the whole is read again up to where it broke.

use std::{
    io::{self, Read},
    thread,
    time::{Duration, Instant},
};

use undercloud_model::Digest;
use ureq::{
    Body, BodyReader,
    http::{Response, StatusCode, header},
};

use super::{Client, ClientError};
use crate::log::{Log, chain};

/// How long a broken stream is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two tries.
    pub pause: Duration,
    /// In all, counted from when it broke.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(2), total: Duration::from_secs(300) }
    }
}

/// A blob that is being read.
pub struct BlobReader {
    client: Client,
    digest: Digest,
    patience: Patience,
    log: Log,
    body: Option<BodyReader<'static>>,
    position: u64,
    length: Option<u64>,
    broken_since: Option<Instant>,
    gave_up: bool,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("digest", &self.digest)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    /// A reader of the blob; the first read connects.
    pub fn new(client: Client, digest: Digest, patience: Patience, log: Log) -> Self {
        Self {
            client,
            digest,
            patience,
            log,
            body: None,
            position: 0,
            length: None,
            broken_since: None,
            gave_up: false,
        }
    }

    /// Whether reading ended because the daemon could not be read from.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The blob's length, as the daemon says. Connects if need be.
    pub fn length(&mut self) -> io::Result<u64> {
        self.patiently(|reader| {
            reader.connected()?;
            reader.length.ok_or_else(|| reader.wrong("a blob without a length"))
        })
    }

    /// Does `attempt` until it succeeds, cannot succeed, or patience ends.
    fn patiently<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let error = match attempt(self) {
                Ok(done) => {
                    self.broken_since = None;
                    return Ok(done);
                }
                Err(e) => e,
            };
            self.body = None;
            let since = *self.broken_since.get_or_insert_with(Instant::now);
            if is_final(&error) || since.elapsed() + self.patience.pause > self.patience.total {
                self.gave_up = true;
                return Err(error);
            }
            self.log.say(format_args!(
                "the image's stream broke after {} bytes ({}), trying again",
                self.position,
                reason(&error)
            ));
            thread::sleep(self.patience.pause);
        }
    }

    fn connected(&mut self) -> io::Result<&mut BodyReader<'static>> {
        let body = match self.body.take() {
            Some(body) => body,
            None => self.open()?,
        };
        Ok(self.body.insert(body))
    }

    fn open(&mut self) -> io::Result<BodyReader<'static>> {
        let response =
            self.client.get_blob(&self.digest, self.position).map_err(io::Error::other)?;
        let skip = self.begins_at(&response)?;
        let mut body = response.into_body().into_reader();
        io::copy(&mut body.by_ref().take(skip), &mut io::sink())?;
        Ok(body)
    }

    /// How many bytes of the answer were received before, and whether it is the same blob's.
    fn begins_at(&mut self, response: &Response<Body>) -> io::Result<u64> {
        let (first, length) = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(header::CONTENT_RANGE);
                range.and_then(|v| parse_range(v.to_str().ok()?)).ok_or_else(|| {
                    self.wrong("an answer to a range without a range that can be read")
                })?
            }
            _ => (0, response.body().content_length()),
        };
        if first > self.position || (self.length.is_some() && length != self.length) {
            return Err(self.wrong("a part of something else"));
        }
        self.length = length;
        Ok(self.position - first)
    }

    fn wrong(&self, reason: &str) -> io::Error {
        let url = format!("/agent/v1/blobs/{}", self.digest);
        io::Error::other(ClientError::Answer { url, reason: reason.to_owned() })
    }

    fn read_once(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.length == Some(self.position) && self.position > 0 {
            return Ok(0);
        }
        let n = self.connected()?.read(buf)?;
        if n == 0 && self.length.is_some_and(|length| self.position < length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += n as u64;
        Ok(n)
    }
}

/// `bytes FIRST-LAST/LENGTH` (RFC 9110, section 14.4).
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, Some(length.parse().ok()?)))
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.patiently(|reader| reader.read_once(buf))
    }
}

fn is_final(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<ClientError>());
    inner.is_some_and(|e| !e.is_retryable())
}

fn reason(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.to_string(), |inner| chain(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_refused() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        for bad in ["", "bytes", "bytes 5/10", "bytes 5-9/*", "bytes -1-9/10", "items 5-9/10"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
