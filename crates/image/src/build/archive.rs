//! The state of the package archive: fetched and verified by the host's own APT, reduced to a digest
//! that changes when, and only when, the packages do.

use std::{collections::BTreeSet, fs, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use undercloud_model::Digest;

use super::{
    BuildError, at,
    child::{Log, Run},
    sources::{SUITE, SourceFile, derive, to_deb822},
};
use crate::digest_of;

/// Debian's archive keys: where Debian 12 and 13 have them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// The host's settings that decide how packages are fetched.
const KEPT_SETTINGS: [&str; 10] = [
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::ForceIPv4",
    "Acquire::ForceIPv6",
    "Acquire::Max-ValidTime",
    "Acquire::Min-ValidTime",
    "Acquire::Retries",
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::tor::",
];

/// The archive as it is now.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Sources of Debian 13, deb822.
    pub(crate) sources: Utf8PathBuf,
    /// APT settings: proxies, authentication.
    pub(crate) settings: Utf8PathBuf,
    /// Digest of the packages' state.
    pub(crate) state: Digest,
    /// The main suite's own date, in seconds: what is built from the same packages has the same.
    pub(crate) date: u64,
}

/// Looks at the archive; `dir` takes the files.
pub(crate) fn look(dir: &Utf8Path, log: &Log<'_>) -> Result<Archive, BuildError> {
    let keyring = KEYRINGS.iter().find(|k| Utf8Path::new(k).exists());
    let keyring = keyring.ok_or(BuildError::NoKeyring)?;
    let texts = host_sources()?;
    let files: Vec<SourceFile<'_>> =
        texts.iter().map(|(name, text)| SourceFile { name, text }).collect();
    let mut derived = derive(&files);
    expand_mirror_files(&mut derived)?;
    if !derived.iter().any(|s| s.suite == SUITE) {
        return Err(BuildError::NoSource);
    }
    let (sources, settings) = (dir.join("archive.sources"), dir.join("apt.conf"));
    write(&sources, &to_deb822(&derived, keyring))?;
    write(&settings, &host_settings(log)?)?;
    let lists = dir.join("lists");
    for sub in ["lists/partial", "cache/archives/partial", "empty"] {
        let path = dir.join(sub);
        fs::create_dir_all(&path).map_err(at("make the directory", &path))?;
    }
    update(dir, &sources, &settings, log)?;
    let (state, date) = read_state(&lists)?;
    Ok(Archive { sources, settings, state, date })
}

fn write(path: &Utf8Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).map_err(at("write", path))
}

fn host_sources() -> Result<Vec<(String, String)>, BuildError> {
    let mut paths = vec![Utf8PathBuf::from("/etc/apt/sources.list")];
    let parts = Utf8Path::new("/etc/apt/sources.list.d");
    if let Ok(entries) = parts.read_dir_utf8() {
        let mut more: Vec<Utf8PathBuf> = entries.flatten().map(|e| e.into_path()).collect();
        more.retain(|p| matches!(p.extension(), Some("list" | "sources")));
        more.sort();
        paths.extend(more);
    }
    let mut texts = Vec::new();
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => texts.push((path.into_string(), text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(at("read", &path)(e)),
        }
    }
    Ok(texts)
}

/// `mirror+file:/PATH` names a file with one mirror a line (apt-transport-mirror(1)). The mirrors are
/// written out, so that nothing depends on that file inside another root directory.
fn expand_mirror_files(sources: &mut Vec<super::sources::Source>) -> Result<(), BuildError> {
    let mut expanded = Vec::new();
    for source in sources.drain(..) {
        let Some(path) = source.uri.strip_prefix("mirror+file:") else {
            expanded.push(source);
            continue;
        };
        let path = Utf8PathBuf::from(format!("/{}", path.trim_start_matches('/')));
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        let mirrors = text.lines().filter_map(|l| l.split_whitespace().next());
        for uri in mirrors.filter(|uri| !uri.starts_with('#')) {
            let uri = uri.trim_end_matches('/').to_owned();
            expanded.push(super::sources::Source { uri, ..source.clone() });
        }
    }
    *sources = expanded;
    Ok(())
}

/// The host's settings, in APT's own words: `apt-config dump` prints what it can read again.
fn host_settings(log: &Log<'_>) -> Result<String, BuildError> {
    let dump = Run::host("apt-config").arg("dump").quiet().output(log)?;
    let mut text = String::new();
    for line in dump.lines() {
        // Quotes and backslashes cannot be escaped in this format.
        if KEPT_SETTINGS.iter().any(|k| line.starts_with(k)) && line.ends_with("\";") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("Acquire::AllowInsecureRepositories \"false\";\n");
    text.push_str("Acquire::AllowDowngradeToInsecureRepositories \"false\";\n");
    text.push_str("Acquire::AllowWeakRepositories \"false\";\n");
    text.push_str("Acquire::Languages \"none\";\n");
    // Our directories are closed to APT's own user; what is fetched is verified before it is used.
    text.push_str("APT::Sandbox::User \"root\";\n");
    text.push_str("Dir::Etc::netrc \"/etc/apt/auth.conf\";\n");
    text.push_str("Dir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n");
    Ok(text)
}

/// Fetches and verifies the InRelease files, and nothing else.
fn update(
    dir: &Utf8Path,
    sources: &Utf8Path,
    settings: &Utf8Path,
    log: &Log<'_>,
) -> Result<(), BuildError> {
    let config = dir.join("update.conf");
    let own = fs::read_to_string(settings).map_err(at("read", settings))?;
    let empty = dir.join("empty");
    let options = [
        format!("Dir::Etc::parts \"{empty}\";"),
        "Dir::Etc::main \"/dev/null\";".to_owned(),
        format!("Dir::Etc::sourcelist \"{sources}\";"),
        format!("Dir::Etc::sourceparts \"{empty}\";"),
        format!("Dir::State::lists \"{dir}/lists/\";"),
        format!("Dir::Cache \"{dir}/cache/\";"),
        "APT::Architecture \"amd64\";".to_owned(),
        "APT::Update::Error-Mode \"any\";".to_owned(),
        "Acquire::IndexTargets::deb::Packages::DefaultEnabled \"false\";".to_owned(),
        "Acquire::IndexTargets::deb::Translations::DefaultEnabled \"false\";".to_owned(),
    ];
    write(&config, &format!("{own}{}\n", options.join("\n")))?;
    Run::alone("apt-get")
        .env("APT_CONFIG", config.as_str())
        .args(["update", "--error-on=any"])
        .deadline(Duration::from_secs(180))
        .run(log)
        .map_err(|source| BuildError::Archive(Box::new(source)))
}

fn read_state(lists: &Utf8Path) -> Result<(Digest, u64), BuildError> {
    let mut indexes = BTreeSet::new();
    let mut date = None;
    for entry in lists.read_dir_utf8().map_err(at("list", lists))? {
        let path = entry.map_err(at("list", lists))?.into_path();
        if !path.as_str().ends_with("_InRelease") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        let release = parse_release(&text);
        indexes.extend(release.indexes.into_iter().map(|i| format!("{} {i}", release.codename)));
        if release.codename == SUITE {
            date = date.max(release.date);
        }
    }
    let date = date.ok_or(BuildError::NoSource)?;
    if indexes.is_empty() {
        return Err(BuildError::NoSource);
    }
    let text: Vec<String> = indexes.into_iter().collect();
    Ok((digest_of(text.join("\n").as_bytes()), date))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Release {
    codename: String,
    date: Option<u64>,
    indexes: Vec<String>,
}

/// Reads what matters of an InRelease file whose signature APT has verified: the digests of the
/// package indexes. Its own dates change several times a day while the packages stay the same.
fn parse_release(text: &str) -> Release {
    let mut release = Release::default();
    let mut in_sha256 = false;
    for line in text.lines() {
        if let Some(entry) = line.strip_prefix(' ') {
            let words: Vec<&str> = entry.split_whitespace().collect();
            if let [digest, _size, name] = words[..]
                && in_sha256
                && matches!(name, "main/binary-amd64/Packages" | "main/binary-all/Packages")
            {
                release.indexes.push(format!("{name} {digest}"));
            }
            continue;
        }
        in_sha256 = line.trim_end() == "SHA256:";
        if let Some(name) = line.strip_prefix("Codename:") {
            name.trim().clone_into(&mut release.codename);
        } else if let Some(date) = line.strip_prefix("Date:") {
            release.date = parse_date(date.trim());
        }
    }
    release
}

/// `Sat, 15 Nov 2025 09:57:48 UTC` as seconds since 1970.
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "UTC"] = words[..] else { return None };
    let day: u64 = day.parse().ok().filter(|d| (1..=31).contains(d))?;
    let month = MONTHS.find(month).filter(|i| month.len() == 3 && i % 3 == 0)? as u64 / 3 + 1;
    let year: u64 = year.parse().ok().filter(|y| (1970..10_000).contains(y))?;
    let time: Vec<u64> = time.split(':').map(|t| t.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = time[..] else { return None };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RELEASE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n\
        Origin: Debian\nCodename: trixie\nDate: Sat, 15 Nov 2025 09:57:48 UTC\nMD5Sum:\n \
        aa 12 main/binary-amd64/Packages\nSHA256:\n bb 12 main/binary-amd64/Packages\n \
        cc 13 main/binary-arm64/Packages\n dd 14 main/binary-amd64/Packages.xz\n \
        ee 15 contrib/binary-amd64/Packages\n";

    #[test]
    fn the_state_is_the_package_indexes_and_not_the_date() {
        let release = parse_release(RELEASE);
        assert_eq!(release.codename, "trixie");
        assert_eq!(release.indexes, ["main/binary-amd64/Packages bb"]);
        let later = parse_release(&RELEASE.replace("15 Nov", "16 Nov"));
        assert_eq!(later.indexes, release.indexes);
        assert_eq!(later.date, release.date.map(|d| d + 86_400));
    }

    #[test]
    fn dates_as_date_prints_them() {
        assert_eq!(parse_date("Sat, 15 Nov 2025 09:57:48 UTC"), Some(1_763_200_668));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 23:59:59 UTC"), Some(1_709_251_199));
        for bad in ["", "Sat, 15 ovD 2025 09:57:48 UTC", "Sat, 15 Nov 2025 09:57 UTC", "x"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_release_file_is_read(text: String, date: String) {
            parse_release(&text);
            parse_date(&date);
        }
    }
}
