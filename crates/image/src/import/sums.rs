//! Lists of SHA-256 digests, as publishers write them. Pure.
//!
//! Read are: `DIGEST  NAME` and `DIGEST *NAME` (sha256sum(1)), with tabs too; `SHA256 (NAME) = DIGEST`
//! (BSD, `sha256sum --tag`) and `SHA2-256(NAME)= DIGEST` (openssl-dgst(1)); comments; lines of other
//! digests beside them; and all of that in a clear-signed message (RFC 9580, section 7). The
//! signature is not checked: nobody says whose it should be. Anything else is no list: a page that says
//! "not found" must not pass for one.

use undercloud_model::Digest;

/// Lengths of digests in hexadecimal: MD5, SHA-1, and SHA-2 of 224, 384 and 512 bits.
const OTHER_HEX: [usize; 5] = [32, 40, 56, 96, 128];
const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const SIGNATURE_ENDS: &str = "-----END PGP SIGNATURE-----";

/// Why a list cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SumsError {
    /// A line is something else.
    #[error("line {0} is no digest with a name")]
    Line(usize),
    /// It has digests, and none of them is of this algorithm.
    #[error("it has other digests than SHA-256")]
    Other,
    /// Named twice with two digests: neither can be believed.
    #[error("lines {0} and {1} give it two digests")]
    Two(usize, usize),
}

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Sum(Digest, String),
    /// A digest without a name.
    Bare(Digest),
    /// A digest of another algorithm.
    Other,
    /// Nothing that is one.
    Wrong,
}

/// Finds a file that may be called by any of `names`. A name in the list may have directories before
/// it; one that is the very name comes first. `is_its_own` tells that the list is of this file alone:
/// then a digest without a name is its.
pub(super) fn find(
    text: &str,
    names: &[&str],
    is_its_own: bool,
) -> Result<Option<Digest>, SumsError> {
    let (mut whole, mut last_part) = (Vec::new(), Vec::new());
    let (mut sums, mut others) = (0, 0);
    for (number, line) in content(text) {
        match parse(&line) {
            Line::Sum(digest, listed) => {
                sums += 1;
                let listed = listed.strip_prefix("./").unwrap_or(&listed);
                let file = listed.rsplit(['/', '\\']).next().unwrap_or(listed);
                if names.contains(&listed) {
                    whole.push((number, digest));
                } else if names.contains(&file) {
                    last_part.push((number, digest));
                }
            }
            Line::Bare(digest) if is_its_own => {
                sums += 1;
                whole.push((number, digest));
            }
            Line::Other => others += 1,
            Line::Bare(_) | Line::Wrong => return Err(SumsError::Line(number)),
        }
    }
    if sums == 0 && others > 0 {
        return Err(SumsError::Other);
    }
    one(&whole).transpose().or_else(|| one(&last_part).transpose()).transpose()
}

fn one(found: &[(usize, Digest)]) -> Result<Option<Digest>, SumsError> {
    let Some((first, digest)) = found.first() else { return Ok(None) };
    match found.iter().find(|(_, other)| other != digest) {
        Some((second, _)) => Err(SumsError::Two(*first, *second)),
        None => Ok(Some(*digest)),
    }
}

/// The lines that say something, with their numbers: without comments, and without what signs them.
fn content(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut is_signed, mut in_head, mut in_signature) = (false, false, false);
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line == SIGNED {
            (is_signed, in_head) = (true, true);
        } else if line == SIGNATURE {
            in_signature = true;
        } else if in_signature {
            in_signature = line != SIGNATURE_ENDS;
        } else if in_head {
            in_head = !line.is_empty();
        } else {
            // Lines of a signed text that begin with a hyphen are told apart by `- ` before it.
            let line = if is_signed { line.strip_prefix("- ").unwrap_or(line) } else { line };
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                lines.push((index + 1, line.to_owned()));
            }
        }
    }
    lines
}

fn parse(line: &str) -> Line {
    let line = line.trim_start();
    let (line, is_escaped) = match line.strip_prefix('\\') {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let (first, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let is_hex = first.bytes().all(|c| c.is_ascii_hexdigit());
    if is_hex && OTHER_HEX.contains(&first.len()) {
        return Line::Other;
    }
    let Ok(digest) = first.parse() else { return tagged(line) };
    // One mark tells text from binary: a blank or an asterisk.
    let name = rest.trim_start_matches([' ', '\t']);
    let name = name.strip_prefix('*').unwrap_or(name);
    match name {
        "" => Line::Bare(digest),
        name if is_escaped => Line::Sum(digest, name.replace("\\n", "\n").replace("\\\\", "\\")),
        name => Line::Sum(digest, name.to_owned()),
    }
}

/// `SHA256 (NAME) = DIGEST`.
fn tagged(line: &str) -> Line {
    let parts = || {
        let (algorithm, rest) = line.split_once('(')?;
        let (name, digest) = rest.rsplit_once(')')?;
        Some((algorithm.trim().to_ascii_uppercase(), name, digest.trim().strip_prefix('=')?.trim()))
    };
    let Some((algorithm, name, digest)) = parts() else { return Line::Wrong };
    let is_hex = !digest.is_empty() && digest.bytes().all(|c| c.is_ascii_hexdigit());
    match (algorithm.as_str(), digest.parse()) {
        ("SHA256" | "SHA-256" | "SHA2-256", Ok(digest)) => Line::Sum(digest, name.to_owned()),
        ("SHA256" | "SHA-256" | "SHA2-256", Err(_)) => Line::Wrong,
        _ if is_hex && OTHER_HEX.contains(&digest.len()) => Line::Other,
        _ => Line::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest_of;

    const NAME: &str = "disk.raw";

    fn hex() -> String {
        digest_of(b"disk").hex()
    }

    fn found(text: &str) -> Result<Option<Digest>, SumsError> {
        find(text, &[NAME], false)
    }

    #[test]
    fn every_form_that_publishers_use() {
        let (hex, other) = (hex(), digest_of(b"other").hex());
        let sha512 = "ab".repeat(64);
        for text in [
            format!("{hex}  disk.raw\n"),
            format!("{hex} *disk.raw"),
            format!("{hex} disk.raw\n"),
            format!("{hex}\tdisk.raw\n"),
            format!("{hex} \t disk.raw  \n"),
            format!("{hex}  ./disk.raw\r\n{other}  other\r\n"),
            format!("{}  disk.raw", hex.to_uppercase()),
            format!("sha256:{hex}  disk.raw"),
            format!("\u{feff}{hex}  disk.raw\n"),
            format!("# today's\n\n{other}  other\n{hex}  disk.raw\n"),
            format!("SHA256 (disk.raw) = {hex}\n"),
            format!("SHA256(disk.raw)= {hex}\n"),
            format!("SHA2-256(disk.raw)= {hex}\n"),
            format!("MD5 (disk.raw) = {}\nSHA256 (disk.raw) = {hex}\n", "0".repeat(32)),
            format!("{sha512}  disk.raw\n{hex}  disk.raw\n"),
            format!("{hex}  /home/ci/out/disk.raw\n"),
            format!("{hex}  out/disk.raw\n{other}  out/disk.raw.old\n"),
            format!("{other}  old/disk.raw\n{hex}  disk.raw\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.raw: 16 bytes\n\
                 SHA256 (disk.raw) = {hex}\n-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=x\n\
                 -----END PGP SIGNATURE-----\n"
            ),
        ] {
            assert_eq!(found(&text), Ok(Some(digest_of(b"disk"))), "{text}");
        }
    }

    #[test]
    fn names_with_blanks_and_brackets() {
        let hex = hex();
        for (name, text) in [
            ("my disk.raw", format!("{hex}  my disk.raw\n")),
            ("my disk.raw", format!("SHA256 (my disk.raw) = {hex}\n")),
            ("disk (1).raw", format!("SHA256 (disk (1).raw) = {hex}\n")),
            ("disk (1).raw", format!("{hex} *disk (1).raw\n")),
            ("a\nb", format!("\\{hex}  a\\nb\n")),
        ] {
            assert_eq!(find(&text, &[name], false), Ok(Some(digest_of(b"disk"))), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_and_its_line_named() {
        let (hex, other) = (hex(), digest_of(b"other").hex());
        for (text, error) in [
            ("what is this".to_owned(), SumsError::Line(1)),
            (format!("{hex}  disk.raw\n<html>\n"), SumsError::Line(2)),
            (format!("{hex}\n"), SumsError::Line(1)),
            (format!("{hex}x  disk.raw\n"), SumsError::Line(1)),
            ("SHA256 (disk.raw) = abc\n".to_owned(), SumsError::Line(1)),
            (format!("SHA256 (disk.raw) {hex}\n"), SumsError::Line(1)),
            (format!("{}  disk.raw\n", "ab".repeat(64)), SumsError::Other),
            (format!("{hex}  disk.raw\n\n{other}  disk.raw\n"), SumsError::Two(1, 3)),
            (format!("{hex}  a/disk.raw\n{other}  b/disk.raw\n"), SumsError::Two(1, 2)),
        ] {
            assert_eq!(found(&text), Err(error), "{text}");
        }
        for text in [String::new(), format!("{hex}  other.raw\n"), "# nothing\n".to_owned()] {
            assert_eq!(found(&text), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_digest_alone_is_the_one_files_whose_list_it_is() {
        let text = format!("{}\n", hex());
        assert_eq!(find(&text, &[NAME], true), Ok(Some(digest_of(b"disk"))));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, name: String) {
            let _ = find(&text, &[&name], true);
        }

        #[test]
        fn a_listed_file_is_found_whatever_else_is_listed(names in prop::collection::vec("[a-z]{1,8}", 0..5)) {
            let others = names.iter().map(|n| format!("{}  {n}x\n", digest_of(n.as_bytes()).hex()));
            let text = others.collect::<String>() + &format!("{}  disk.raw\n", hex());
            prop_assert_eq!(found(&text), Ok(Some(digest_of(b"disk"))));
        }
    }
}
