//! Where this machine has its time from: the daemon, which serves it beside network boot (NTP, RFC
//! 5905). A hardware clock that is years off would make every certificate look expired, or not valid
//! yet, and a cloud whose machines disagree by minutes refuses its own tokens.
//!
//! `systemd-timesyncd` asks. In a container it does not start: the clock is the host's.

use std::time::Duration;

use undercloud_model::agent::StepFailure;

use super::{
    Call, OURS, Task,
    files::{self, Wanted},
};

const SETTINGS: &str = "etc/systemd/timesyncd.conf.d/10-undercloud.conf";
/// Read after the other, so that it has the last word.
const SITE: &str = "etc/systemd/timesyncd.conf.d/20-undercloud-site.conf";
/// There as long as the service was not told of changed settings.
const PENDING: &str = "var/lib/undercloud/pending/timesyncd";
const DEADLINE: Duration = Duration::from_secs(120);

/// Has `systemd-timesyncd` ask the daemon, and nobody out on the Internet, whom it would ask
/// otherwise. Servers that a network's DHCP names are asked first, as ever.
pub(super) fn configure(task: &Task<'_>) -> Result<(), StepFailure> {
    let server = daemon(task);
    let text = format!("{OURS}\n[Time]\nNTP={server}\nFallbackNTP=\n");
    if settings(task, SETTINGS, Some(&text))? {
        task.log.say(format_args!("the time is that of {server}"));
    }
    Ok(())
}

/// Has it ask the site's own servers, and the daemon where none of them answers; without servers, the
/// daemon alone. Says whether that is new.
pub(super) fn follow(task: &Task<'_>, servers: &[String]) -> Result<bool, StepFailure> {
    if servers.is_empty() {
        return settings(task, SITE, None);
    }
    // An empty value forgets what the file before named.
    let (list, last) = (servers.join(" "), daemon(task));
    let text = format!("{OURS}\n[Time]\nNTP=\nNTP={list}\nFallbackNTP={last}\n");
    settings(task, SITE, Some(&text))
}

fn daemon<'a>(task: &Task<'a>) -> &'a str {
    let registry = task.cloud.registry();
    let server = registry.rsplit_once(':').map_or(registry, |(host, _port)| host);
    server.trim_matches(['[', ']'])
}

/// Writes or removes a file of settings and has the service read it; says whether it had to.
fn settings(task: &Task<'_>, path: &str, text: Option<&str>) -> Result<bool, StepFailure> {
    let host = task.host();
    let wanted = text.map(|text| Wanted::public(path, text));
    let right = wanted.map_or_else(|| !host.has(path), |wanted| wanted.is_there(host));
    if !right {
        Wanted::public(PENDING, "").write(host)?;
        match wanted {
            Some(wanted) => wanted.write(host)?,
            None => drop(files::remove(host, path)?),
        }
    }
    if host.has(PENDING) {
        // One that does not run reads it when it starts.
        let restart = ["--no-block", "try-restart", "systemd-timesyncd.service"];
        task.must(&Call::new("systemctl", DEADLINE, restart))?;
        files::remove(host, PENDING)?;
    }
    Ok(!right)
}
