//! `undercloud status`: for the second person, on the second day.

use anyhow::Result;
use undercloud_api::admin::{CloudStatus, TaskState};

use super::Context;
use crate::{clock, daemon_client::Daemon, out};

pub(super) fn run(context: &Context) -> Result<()> {
    let status = Daemon::connect(&context.state)?.status()?;
    let nodes: Vec<String> =
        status.nodes.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let running = status.tasks.iter().filter(|task| task.state == TaskState::Running);
    let tasks: Vec<&str> = running.map(|task| task.name.as_str()).collect();
    let (running, machines) = status.lab_running;
    let mut properties = vec![
        ("undercloud", format!("{}, process {}", status.version, status.pid)),
        ("state", status.state_dir.clone()),
        ("since", clock::rfc3339(status.started_at)),
        ("memory", out::bytes(status.rss_bytes)),
        ("lab", format!("{running} of {machines} machines run")),
        ("nodes", if nodes.is_empty() { "none".into() } else { nodes.join(", ") }),
    ];
    if let Some(cloud) = &status.cloud {
        properties.push(("cloud", describe(cloud)));
    }
    if !tasks.is_empty() {
        properties.push(("work", tasks.join(", ")));
    }
    for endpoint in &status.endpoints {
        properties.push(("listens", format!("{} ({})", endpoint.address, endpoint.name)));
    }
    if let Some(failure) = &status.last_failure {
        let at = clock::rfc3339(failure.at);
        properties.push(("last failure", format!("{at}: {}", failure.message)));
    }
    for next in &status.next {
        properties.push(("next", next.clone()));
    }
    context.out.properties(&status, &properties)
}

fn describe(cloud: &CloudStatus) -> String {
    let outcome = match (&cloud.failure, cloud.is_over, cloud.is_verified) {
        (Some(failure), ..) => format!("failed: {failure}"),
        (None, false, _) => "under way, or broken off".to_owned(),
        (None, true, false) => "complete, not verified".to_owned(),
        (None, true, true) => "complete, verified".to_owned(),
    };
    let since = clock::rfc3339(cloud.started_at);
    format!("deployment {}, {outcome} (begun {since})", cloud.deployment)
}
