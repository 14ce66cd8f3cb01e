//! Credentials of this host that must not leave it in a layer: those of APT's sources, its proxy and
//! its `auth.conf`, and what the caller adds. Layers are searched on the way into the packer.
//!
//! This finds a credential that was written down as it is; it is a net under the mounts, which keep
//! the files themselves out of every layer.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Read},
};

use camino::Utf8Path;
use undercloud_model::Secret;

use crate::build::{BuildError, error::at};

/// Shorter passwords are words that packages hold anyway; they are looked for with what is beside
/// them alone.
const ALONE_BYTES_MIN: usize = 8;

/// What is looked for.
pub(super) struct Secrets(BTreeSet<Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Those of the host, and `more`. `settings` and `sources` are APT's, as derived for the build;
    /// `auth` is the directory with copies of the host's `auth.conf` files.
    pub(super) fn of_host(
        settings: &Utf8Path,
        sources: &Utf8Path,
        auth: &Utf8Path,
        more: &[Secret],
    ) -> Result<Self, BuildError> {
        let mut found = Self(BTreeSet::new());
        for path in [settings, sources] {
            found.urls(&fs::read_to_string(path).map_err(at("read", path))?);
        }
        for entry in auth.read_dir_utf8().map_err(at("list", auth))? {
            let path = entry.map_err(at("list", auth))?.into_path();
            found.netrc(&fs::read_to_string(&path).map_err(at("read", &path))?);
        }
        for (key, value) in std::env::vars() {
            if key.to_ascii_lowercase().ends_with("_proxy") {
                found.urls(&value);
            }
        }
        for secret in more {
            found.add("", secret.expose());
        }
        Ok(found)
    }

    /// Passwords within URLs: `scheme://user:password@host`.
    fn urls(&mut self, text: &str) {
        for (at, _) in text.match_indices("://") {
            let rest = &text[at + 3..];
            let end = rest.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace());
            let authority = &rest[..end.unwrap_or(rest.len())];
            let Some((who, _)) = authority.rsplit_once('@') else { continue };
            if let Some((user, password)) = who.split_once(':') {
                self.add(&format!("{user}:"), password);
                self.add("", &unescape(password));
            }
        }
    }

    /// Passwords of apt_auth.conf(5): words in pairs, the second after `password`.
    fn netrc(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let mut words = lines.flat_map(str::split_whitespace);
        while let Some(word) = words.next() {
            if word == "password" {
                self.add("password ", words.next().unwrap_or_default());
            }
        }
    }

    fn add(&mut self, before: &str, secret: &str) {
        if secret.len() >= ALONE_BYTES_MIN {
            self.0.insert(secret.as_bytes().to_vec());
        } else if !secret.is_empty() && !before.is_empty() {
            self.0.insert(format!("{before}{secret}").into_bytes());
        }
    }

    /// Whether one of them is in `bytes`.
    pub(super) fn within(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|secret| holds(bytes, secret))
    }

    /// Looks at everything that is read through it; a find is an error of the kind
    /// [`io::ErrorKind::PermissionDenied`].
    pub(super) fn guard<R: Read>(&self, inner: R) -> Guard<'_, R> {
        let overlap = self.0.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
        Guard { inner, secrets: self, overlap, tail: Vec::new() }
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return false };
    let mut places = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    places.any(|(at, _)| bytes[at + 1..].starts_with(rest))
}

/// `%40` and the like (RFC 3986, section 2.1).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// See [`Secrets::guard`].
pub(super) struct Guard<'a, R> {
    inner: R,
    secrets: &'a Secrets,
    overlap: usize,
    /// The end of what was read before: a secret may lie across.
    tail: Vec<u8>,
}

impl<R> Guard<'_, R> {
    /// What was read through it.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Guard<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let new = &buf[..n];
        if self.secrets.0.is_empty() {
            return Ok(n);
        }
        self.tail.extend_from_slice(&new[..n.min(self.overlap)]);
        if self.secrets.within(&self.tail) || self.secrets.within(new) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.tail.extend_from_slice(&new[n.min(self.overlap)..][..]);
        let drop = self.tail.len().saturating_sub(self.overlap);
        self.tail.drain(..drop);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(texts: &[&str]) -> Secrets {
        Secrets(texts.iter().map(|t| t.as_bytes().to_vec()).collect())
    }

    fn found_in(find: impl FnOnce(&mut Secrets)) -> Vec<String> {
        let mut found = secrets(&[]);
        find(&mut found);
        found.0.into_iter().map(|s| String::from_utf8(s).unwrap()).collect()
    }

    #[test]
    fn passwords_are_found_in_every_place_that_apt_knows() {
        let text = "Acquire::http::Proxy \"http://me:pass%40word1@proxy:3128/\";\n\
                    URIs: https://a:short@mirror/debian https://nobody@mirror/debian\n";
        assert_eq!(found_in(|s| s.urls(text)), ["a:short", "pass%40word1", "pass@word1"]);
        let text = "# password none\nmachine m login l\n password hunter2hunter2\nmachine n \
                    login me password tiny";
        assert_eq!(found_in(|s| s.netrc(text)), ["hunter2hunter2", "password tiny"]);
    }

    #[test]
    fn printing_shows_nothing() {
        assert_eq!(format!("{:?}", secrets(&["hunter2hunter2"])), "Secrets(1)");
    }

    #[test]
    fn everything_passes_where_there_is_nothing_to_find() {
        let mut out = Vec::new();
        secrets(&[]).guard(&b"anything"[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"anything");
    }

    /// Reads in pieces of the given sizes, over and over.
    struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::vec::IntoIter<usize>>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.1.next().unwrap().min(buf.len()).min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_found_however_it_is_cut(
            before in "[a-d]{0,40}",
            after in "[a-d]{0,40}",
            is_there: bool,
            sizes in prop::collection::vec(1usize..9, 1..5),
        ) {
            let text = format!("{before}{}{after}", if is_there { "dcbSECRETabc" } else { "" });
            let secrets = secrets(&["bSECRETa", "SECRETabc-longer"]);
            let pieces = Pieces(text.as_bytes(), sizes.into_iter().cycle());
            let mut out = Vec::new();
            let read = secrets.guard(pieces).read_to_end(&mut out);
            prop_assert_eq!(read.is_err(), is_there);
        }

        #[test]
        fn any_text_is_searched(text: String) {
            let mut found = secrets(&[]);
            found.urls(&text);
            found.netrc(&text);
        }
    }
}
