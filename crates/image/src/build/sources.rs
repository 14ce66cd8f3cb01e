//! Debian 13's package sources, derived from the host's own: same mirrors, another suite.
//!
//! Pure. Both of APT's formats are read (sources.list(5)): one line a source, and deb822. A source
//! counts as Debian's when its suite is a Debian release and it is signed by Debian's archive keys,
//! or does not say by whom and its path is Debian's. What would weaken the check of signatures
//! (`trusted`, `allow-insecure`, …) is dropped.

use std::collections::BTreeSet;

/// The release that everything is built from.
pub const SUITE: &str = "trixie";

/// Releases whose sources are taken over.
const RELEASES: [&str; 4] = ["bookworm", "trixie", "stable", "oldstable"];
/// What is kept of a release's suites, as their endings.
const POCKETS: [&str; 3] = ["", "-updates", "-security"];
/// Options that are kept: in deb822's spelling and in the one-line format's.
const KEPT_OPTIONS: [(&str, &str); 7] = [
    ("By-Hash", "by-hash"),
    ("Check-Date", "check-date"),
    ("Check-Valid-Until", "check-valid-until"),
    ("Date-Max-Future", "date-max-future"),
    ("PDiffs", "pdiffs"),
    ("Valid-Until-Max", "valid-until-max"),
    ("Valid-Until-Min", "valid-until-min"),
];

/// One source of Debian 13.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Where.
    pub uri: String,
    /// `trixie`, `trixie-updates` or `trixie-security`.
    pub suite: String,
    /// Options in deb822's spelling.
    pub options: Vec<(String, String)>,
}

/// A file of the host's APT configuration.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// Its name; the ending tells the format.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What a source says, whatever the format.
#[derive(Debug, Default)]
struct Raw {
    types: Vec<String>,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    options: Vec<(String, String)>,
}

/// The sources of Debian 13 that `files` lead to, sorted, each once.
pub fn derive(files: &[SourceFile<'_>]) -> Vec<Source> {
    let mut found = BTreeSet::new();
    for file in files {
        let raw = if file.name.ends_with(".sources") {
            deb822(file.text)
        } else {
            file.text.lines().filter_map(one_line).collect()
        };
        found.extend(raw.iter().flat_map(of_debian));
    }
    let mut seen = BTreeSet::new();
    found.into_iter().filter(|s| seen.insert((s.uri.clone(), s.suite.clone()))).collect()
}

/// The sources as a deb822 file, all checked against `keyring`.
pub fn to_deb822(sources: &[Source], keyring: &str) -> String {
    let mut text = String::new();
    for source in sources {
        let Source { uri, suite, options } = source;
        text.push_str(&format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n"));
        text.push_str("Architectures: amd64\n");
        for (key, value) in options {
            text.push_str(&format!("{key}: {value}\n"));
        }
        text.push_str(&format!("Signed-By: {keyring}\n\n"));
    }
    text
}

fn of_debian(raw: &Raw) -> Vec<Source> {
    let mut sources = Vec::new();
    if !raw.types.iter().any(|t| t == "deb") || !raw.components.iter().any(|c| c == "main") {
        return sources;
    }
    let signed = raw.signed_by.as_deref();
    if signed.is_some_and(|s| !s.contains("debian-archive")) {
        return sources;
    }
    for uri in &raw.uris {
        if signed.is_none() && !is_debian_path(uri) {
            continue;
        }
        for suite in raw.suites.iter().filter_map(|s| new_suite(s)) {
            let options = raw.options.clone();
            sources.push(Source { uri: uri.trim_end_matches('/').to_owned(), suite, options });
        }
    }
    sources
}

/// Mirrors may put anything before it, but end in the archive's own name.
fn is_debian_path(uri: &str) -> bool {
    let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    matches!(last, "debian" | "debian-security" | "security.debian.org")
        || uri.starts_with("mirror+file:")
}

fn new_suite(suite: &str) -> Option<String> {
    for release in RELEASES {
        if let Some(pocket) = suite.strip_prefix(release)
            && POCKETS.contains(&pocket)
        {
            return Some(format!("{SUITE}{pocket}"));
        }
    }
    None
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `deb [option=value …] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Raw> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let mut raw = Raw { types: vec![kind.to_owned()], ..Raw::default() };
    let mut rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('[') {
        let (options, after) = inner.split_once(']')?;
        rest = after;
        for option in options.split_whitespace() {
            let Some((key, value)) = option.split_once('=') else { continue };
            let key = key.trim_end_matches(['+', '-']);
            if key.eq_ignore_ascii_case("signed-by") {
                raw.signed_by = Some(value.to_owned());
            } else if let Some((name, _)) = KEPT_OPTIONS.iter().find(|(_, k)| *k == key) {
                raw.options.push(((*name).to_owned(), value.to_owned()));
            }
        }
    }
    let mut rest = rest.split_whitespace().map(str::to_owned);
    raw.uris = vec![rest.next()?];
    raw.suites = vec![rest.next()?];
    raw.components = rest.collect();
    Some(raw)
}

/// Stanzas of `Field: value` with continuation lines, between empty lines.
fn deb822(text: &str) -> Vec<Raw> {
    let mut stanzas = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanzas.extend(stanza(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

fn stanza(fields: &[(String, String)]) -> Option<Raw> {
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let enabled = field("Enabled").unwrap_or("yes").to_ascii_lowercase();
    if matches!(enabled.as_str(), "no" | "false" | "without" | "off" | "disable" | "0") {
        return None;
    }
    let mut options = Vec::new();
    for (name, _) in KEPT_OPTIONS {
        if let Some(value) = field(name).filter(|v| !v.contains('\n')) {
            options.push((name.to_owned(), value.to_owned()));
        }
    }
    Some(Raw {
        types: words(field("Types")?),
        uris: words(field("URIs")?),
        suites: words(field("Suites")?),
        components: words(field("Components")?),
        signed_by: field("Signed-By").map(str::to_owned),
        options,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(name: &str, text: &str) -> Vec<String> {
        let found = derive(&[SourceFile { name, text }]);
        found.into_iter().map(|s| format!("{} {} {:?}", s.uri, s.suite, s.options)).collect()
    }

    #[test]
    fn debian_12_in_deb822() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
            Suites: bookworm bookworm-updates bookworm-backports\nComponents: main contrib\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            Types: deb\nURIs: http://mirror.example/debian-security/\nSuites: bookworm-security\n\
            Components: main\nCheck-Valid-Until: no\nTrusted: yes\n\n\
            Enabled: no\nTypes: deb\nURIs: http://other.example/debian\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            lines("debian.sources", text),
            [
                "http://mirror.example/debian trixie []",
                "http://mirror.example/debian trixie-updates []",
                "http://mirror.example/debian-security trixie-security [(\"Check-Valid-Until\", \"no\")]",
            ]
        );
    }

    #[test]
    fn one_line_sources_with_options() {
        let text = "# deb http://a.example/debian bookworm main\n\
            deb http://a.example/debian bookworm main non-free-firmware # why\n\
            deb-src http://a.example/debian bookworm main\n\
            deb [ arch=amd64 by-hash=force trusted=yes ] https://b.example/x/debian trixie main\n";
        assert_eq!(
            lines("sources.list", text),
            [
                "http://a.example/debian trixie []",
                "https://b.example/x/debian trixie [(\"By-Hash\", \"force\")]",
            ]
        );
    }

    #[test]
    fn sources_of_others_are_passed_over() {
        let text = "deb [signed-by=/etc/apt/keyrings/other.gpg] https://o.example/debian bookworm main\n\
            deb https://o.example/linux/debian bookworm stable\n\
            deb https://o.example/repository bookworm main\n\
            deb https://o.example/debian bookworm-pgdg main\n\
            deb https://o.example/debian ./\n";
        assert_eq!(lines("other.list", text), Vec::<String>::new());
        let key = "Types: deb\nURIs: https://o.example/debian\nSuites: trixie\nComponents: main\n\
            Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n";
        assert_eq!(lines("other.sources", key), Vec::<String>::new());
    }

    #[test]
    fn what_is_written_is_derived_again_as_it_is() {
        let text = "deb [check-date=no] http://a.example/debian bookworm main\n";
        let first = derive(&[SourceFile { name: "sources.list", text }]);
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let written = to_deb822(&first, keyring);
        assert!(written.contains("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"));
        let second = derive(&[SourceFile { name: "x.sources", text: &written }]);
        assert_eq!(first, second);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, list: bool) {
            let name = if list { "a.list" } else { "a.sources" };
            derive(&[SourceFile { name, text: &text }]);
        }
    }
}
