//! `PullImage`: a container image by digest from the daemon's registry, where the machine does not
//! have it, be it in a storage of all images (`mount_images`).
//!
//! Whether it is there is read from podman's own lists; podman itself, which takes seconds on an
//! emulated machine, is started only to fetch.

use std::{
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use undercloud_model::{
    Secret,
    agent::{StepFailure, StepFailureKind, cloud::ImagePull},
};

use super::{Call, Done, Ended, Task, check, files::Wanted, mask::Mask, mount_images};
use crate::device::failure;

/// The images of podman's own storage.
const LIST: &str = "var/lib/containers/storage/overlay-images/images.json";
/// Gone after a boot.
const AUTH: &str = "run/undercloud/registry/auth.json";
const CA_DIR: &str = "run/undercloud/registry/ca";
/// How long one image may take: hundreds of MB, unpacked by an emulated processor.
const DEADLINE: Duration = Duration::from_secs(3600);
const TRIES_MAX: u32 = 5;

/// Where the registry has the image.
fn reference(task: &Task<'_>, image: &ImagePull) -> Result<String, StepFailure> {
    let name = check::name("image name", &image.name, "-_./")?;
    Ok(format!("{}/{name}@{}", task.cloud.registry(), image.digest))
}

/// Has the image, at the end.
pub(super) fn pull(task: &Task<'_>, image: &ImagePull) -> Result<Done, StepFailure> {
    let reference = reference(task, image)?;
    let there = || Done::unchanged(format!("image {} was there", image.name));
    if is_there(task, image) {
        return Ok(there());
    }
    let _one_at_a_time = task.cloud.download.lock().unwrap_or_else(PoisonError::into_inner);
    if is_there(task, image) {
        return Ok(there());
    }
    write_credentials(task)?;
    let auth = task.host().path(AUTH).display().to_string();
    let ca = task.host().path(CA_DIR).display().to_string();
    let arguments = ["pull", "--quiet", "--authfile", &auth, "--cert-dir", &ca, &reference];
    let call = Call::new("podman", DEADLINE, arguments);
    let began = Instant::now();
    let mut pause = task.host().settle() / 2;
    for tried in 1.. {
        let ended = task.run(&call)?;
        if ended.success {
            break;
        }
        let cause = Cause::of(&ended);
        let mask = Mask::of([task.cloud.identity.key.expose()]);
        for line in ended.last_lines(5) {
            task.log.say(format_args!("podman: {}", mask.apply(&line)));
        }
        if cause != Cause::Network || tried >= TRIES_MAX {
            return Err(failed(task, image, cause));
        }
        thread::sleep(pause);
        pause *= 2;
    }
    if !is_there(task, image) {
        let (name, id) = (&image.name, image.id.hex());
        let message = format!("podman fetched the image {name} and does not list {id}");
        return Err(failure(StepFailureKind::Image, message));
    }
    let seconds = began.elapsed().as_secs();
    Ok(Done::changed(format!(
        "fetched image {} ({} MB) in {seconds} s",
        image.name,
        image.bytes / 1_000_000
    )))
}

/// An image in podman's list.
#[derive(Deserialize)]
struct Listed {
    id: String,
}

/// Whether podman will find the image by its id, in its own storage or in one of all images.
fn is_there(task: &Task<'_>, image: &ImagePull) -> bool {
    let id = image.id.hex();
    let lists = [LIST.to_owned()].into_iter().chain(mount_images::lists(task.host()));
    lists.filter_map(|list| task.host().bytes(list).ok()).any(|bytes| lists_id(&bytes, &id))
}

/// Whether a list of podman's (`overlay-images/images.json`) has the id.
pub(super) fn lists_id(bytes: &[u8], id: &str) -> bool {
    let listed: Vec<Listed> = serde_json::from_slice(bytes).unwrap_or_default();
    listed.iter().any(|image| image.id == id)
}

/// Who we are for the registry, and whom we believe; for root alone.
fn write_credentials(task: &Task<'_>) -> Result<(), StepFailure> {
    let identity = &task.cloud.identity;
    let user = format!("{}:{}", identity.node, identity.key.expose());
    let auth = json!({"auths": {task.cloud.registry(): {"auth": STANDARD.encode(user)}}});
    let auth = Secret::new(auth.to_string());
    let ca = format!("{CA_DIR}/ca.crt");
    for (path, content) in [(AUTH, auth.expose()), (&ca, &identity.ca_pem)] {
        Wanted { mode: 0o600, ..Wanted::public(path, content) }.ensure(task.host())?;
    }
    Ok(())
}

/// Why podman could not fetch an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Missing,
    Denied,
    DiskFull,
    Clock,
    Certificate,
    Network,
    Unknown,
}

impl Cause {
    /// By what podman printed, which ends with 125 whatever the reason: the status of HTTP where it
    /// names one, else the words of its libraries. What it prints of digests, sizes and names is
    /// chance, and never looked at.
    fn of(ended: &Ended) -> Self {
        let text = format!("{}\n{}", ended.stdout, ended.stderr).to_lowercase();
        let is_said = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if is_said(&["no space left on device", "disk quota exceeded"]) {
            return Self::DiskFull;
        }
        if let Some(cause) = http_status(&text).and_then(Self::of_status) {
            return cause;
        }
        let causes: [(Self, &[&str]); 5] = [
            (Self::Missing, &["manifest unknown", "name unknown", "blob unknown"]),
            (
                Self::Denied,
                &["unauthorized", "authentication required", "access to the resource is denied"],
            ),
            (Self::Clock, &["certificate has expired or is not yet valid"]),
            (Self::Certificate, &["x509:", "failed to verify certificate"]),
            (
                Self::Network,
                &[
                    "connection refused",
                    "connection reset",
                    "timed out",
                    "i/o timeout",
                    "handshake timeout",
                    "timeout exceeded",
                    "deadline exceeded",
                    "no route to host",
                    "network is unreachable",
                    "broken pipe",
                    ": eof",
                    "unexpected eof",
                ],
            ),
        ];
        let found = causes.iter().find(|(_, phrases)| is_said(phrases));
        found.map_or(Self::Unknown, |(cause, _)| *cause)
    }

    const fn of_status(status: u16) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::Denied),
            404 | 410 => Some(Self::Missing),
            408 | 425 | 429 | 500..=599 => Some(Self::Network),
            _ => None,
        }
    }
}

/// The status of HTTP that a message names: `status code 404`, `unexpected HTTP status: 503 …`,
/// `StatusCode: 401`, `invalid status code from registry 404`.
fn http_status(text: &str) -> Option<u16> {
    const BETWEEN: [&str; 4] = ["code", "from", "registry", "http"];
    text.match_indices("status").find_map(|(at, word)| {
        let mut rest = text[at + word.len()..].trim_start_matches([' ', ':', '=']);
        while let Some(next) = BETWEEN.iter().find_map(|word| rest.strip_prefix(word)) {
            rest = next.trim_start_matches([' ', ':', '=']);
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        (digits == 3).then(|| rest[..digits].parse().ok()).flatten()
    })
}

fn failed(task: &Task<'_>, image: &ImagePull, cause: Cause) -> StepFailure {
    let name = format!("{}@sha256:{}", image.name, image.digest.short());
    let daemon = task.cloud.registry();
    let reason = match cause {
        Cause::Missing => format!("the registry at {daemon} does not have it: import it again"),
        Cause::Denied => {
            format!(
                "the registry at {daemon} does not give it to this machine, whose key it may not know any more"
            )
        }
        Cause::DiskFull => {
            "the machine's disk is full: `podman system df` there says of what".into()
        }
        Cause::Clock => format!(
            "the certificate of {daemon} is not valid at this machine's time: one of the two \
             clocks is wrong (`timedatectl` on both)"
        ),
        Cause::Certificate => {
            format!(
                "the certificate of {daemon} is not from the daemon that installed this machine"
            )
        }
        Cause::Network => format!("the registry at {daemon} did not answer, {TRIES_MAX} times"),
        Cause::Unknown => "podman failed, its words are in the log".into(),
    };
    failure(StepFailureKind::Image, format_args!("image {name} could not be had: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_s_words_have_a_cause() {
        for (text, cause) in [
            (
                "Error: initializing source docker://a/b@sha256:0: reading manifest sha256:0 in a/b: manifest unknown",
                Cause::Missing,
            ),
            (
                "pinging container registry 192.168.24.1:8443: Get \"https://…/v2/\": dial tcp 192.168.24.1:8443: connect: connection refused",
                Cause::Network,
            ),
            (
                "writing blob: storing blob to file \"/var/tmp/x\": write /var/tmp/x: no space left on device",
                Cause::DiskFull,
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Cause::Certificate,
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2011-01-01T00:00:09Z is before 2026-11-29T17:20:11Z",
                Cause::Clock,
            ),
            (
                "unable to retrieve auth token: invalid username/password: unauthorized",
                Cause::Denied,
            ),
            ("something else", Cause::Unknown),
            (
                "reading blob sha256:4044034015032ab: Get \"https://…\": read tcp: connection reset by peer",
                Cause::Network,
            ),
            (
                "copying image: writing blob sha256:403: size 404500 not as announced",
                Cause::Unknown,
            ),
            ("writing blob: open /var/lib/x: permission denied", Cause::Unknown),
            ("initializing source: file not found in /etc/containers", Cause::Unknown),
            ("received unexpected HTTP status: 503 Service Unavailable", Cause::Network),
            ("fetching blob: invalid status code from registry 404 (Not Found)", Cause::Missing),
            ("StatusCode: 401, \"\"", Cause::Denied),
            ("requested access to the resource is denied", Cause::Denied),
            ("unexpected status code 200 OK for 500 bytes: x509: unknown", Cause::Certificate),
        ] {
            assert_eq!(Cause::of(&Ended::bad(text)), cause, "{text}");
        }
    }
}
