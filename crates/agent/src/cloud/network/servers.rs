//! Whom the machine asks for names and for the time.

use std::fmt::Write as _;

use undercloud_model::agent::{StepFailure, cloud::NetworkSetup};

use crate::cloud::{OURS, Task, check, clock, files::Wanted};

const RESOLV_CONF: &str = "etc/resolv.conf";
/// resolv.conf(5): what comes after is not asked.
const NAME_SERVERS_MAX: usize = 3;

/// Writes what differs; says what that was.
pub(super) fn write(
    task: &Task<'_>,
    setup: &NetworkSetup,
) -> Result<Vec<&'static str>, StepFailure> {
    let mut changed = Vec::new();
    if !setup.name_servers.is_empty() {
        let mut text = format!("{OURS}\n");
        for server in setup.name_servers.iter().take(NAME_SERVERS_MAX) {
            let _ = writeln!(text, "nameserver {server}");
        }
        if Wanted::public(RESOLV_CONF, &text).ensure(task.host())? {
            changed.push("name servers");
        }
    }
    for server in &setup.time_servers {
        check::name("time server", server, "-.:")?;
    }
    if clock::follow(task, &setup.time_servers)? {
        changed.push("time servers");
    }
    Ok(changed)
}
