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
/// There as long as the service was not told of changed settings.
const PENDING: &str = "var/lib/undercloud/pending/timesyncd";
const DEADLINE: Duration = Duration::from_secs(120);

/// Has `systemd-timesyncd` ask the daemon, and nobody out on the Internet, whom it would ask
/// otherwise. Servers that a network's DHCP names are asked first, as ever.
pub(super) fn configure(task: &Task<'_>) -> Result<(), StepFailure> {
    let registry = task.cloud.registry();
    let server = registry.rsplit_once(':').map_or(registry, |(host, _port)| host);
    let server = server.trim_matches(['[', ']']);
    let text = format!("{OURS}\n[Time]\nNTP={server}\nFallbackNTP=\n");
    let settings = Wanted::public(SETTINGS, &text);
    if !settings.is_there(task.host()) {
        Wanted::public(PENDING, "").write(task.host())?;
        settings.write(task.host())?;
    }
    if task.host().has(PENDING) {
        // One that does not run reads it when it starts.
        let restart = ["--no-block", "try-restart", "systemd-timesyncd.service"];
        task.must(&Call::new("systemctl", DEADLINE, restart))?;
        files::remove(task.host(), PENDING)?;
        task.log.say(format_args!("the time is that of {server}"));
    }
    Ok(())
}
