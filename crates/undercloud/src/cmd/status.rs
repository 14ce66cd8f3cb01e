//! `undercloud status`: for the second person, on the second day.

use anyhow::Result;
use undercloud_api::admin::{BackgroundTask, CloudStatus, TaskState};

use super::Context;
use crate::{clock, daemon_client::Daemon, out};

/// What somebody else said goes into these.
const MAY_BE_LONG: [&str; 6] =
    ["cloud", "installation", "task", "trouble", "it said", "last failure"];
/// Where the whole is of what is cut.
const WHOLE: &str = "undercloud cloud show, undercloud events, undercloud status -o json";

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
        ("open files", format!("{} of {}", status.descriptors.open, status.descriptors.max)),
        ("lab", format!("{running} of {machines} machines run")),
        ("nodes", if nodes.is_empty() { "none".into() } else { nodes.join(", ") }),
    ];
    if let Some(cloud) = &status.cloud {
        properties.push(("cloud", describe(cloud)));
    }
    if let Some(installation) = &status.installation {
        properties.push(("installation", super::cloud::standing(installation)));
    }
    if !tasks.is_empty() {
        properties.push(("work", tasks.join(", ")));
    }
    for endpoint in &status.endpoints {
        properties.push(("listens", format!("{} ({})", endpoint.address, endpoint.name)));
    }
    if !status.room.is_empty() {
        let room: Vec<String> = status
            .room
            .iter()
            .map(|room| format!("{} {}", room.what, out::bytes(room.bytes)))
            .collect();
        properties.push(("room", room.join(", ")));
    }
    properties.extend(background(&status.background));
    for trouble in &status.troubles {
        let since = clock::rfc3339(trouble.since);
        let text = format!("{since}: {}: {}", trouble.part, trouble.message);
        properties.push(("trouble", text));
        properties.extend(trouble.hint.as_ref().map(|hint| ("remedy", context.typed(hint))));
        properties.extend(trouble.said.iter().map(|line| ("it said", line.clone())));
    }
    if let Some(failure) = &status.last_failure {
        let at = clock::rfc3339(failure.at);
        properties.push(("last failure", format!("{at}: {}", failure.message)));
    }
    for next in &status.next {
        properties.push(("next", context.typed(next)));
    }
    context.out.properties(&status, &brief(properties, context.out.width()))
}

/// What may be long, as one line each that fits; what to type for the whole, if something does not.
fn brief(
    mut properties: Vec<(&'static str, String)>,
    width: Option<usize>,
) -> Vec<(&'static str, String)> {
    let names = properties.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let width = width.map(|width| width.saturating_sub(names + 2));
    let mut is_cut = false;
    for (_, text) in properties.iter_mut().filter(|(name, _)| MAY_BE_LONG.contains(name)) {
        let (line, is_this_cut) = out::one_line(text, width);
        *text = line;
        is_cut |= is_this_cut;
    }
    if is_cut {
        properties.push(("in full", WHOLE.to_owned()));
    }
    properties
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

/// What runs, on one line, and what there is to say of some of it.
fn background(tasks: &[BackgroundTask]) -> Vec<(&'static str, String)> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    let all = ("runs", format!("{}: {}", tasks.len(), names.join(", ")));
    let said = tasks.iter().filter_map(said).map(|text| ("task", text));
    std::iter::once(all).chain(said).collect()
}

/// Nothing, of one that just runs.
fn said(task: &BackgroundTask) -> Option<String> {
    let mut said = Vec::new();
    if let (Some(at), Some(result)) = (task.last_run_at, &task.last_result) {
        said.push(format!("{result} ({})", clock::rfc3339(at)));
    }
    if task.restarts > 0 {
        said.push(format!("begun again {} times", task.restarts));
    }
    if let (Some(at), Some(error)) = (task.last_error_at, &task.last_error) {
        said.push(format!("failed at {}: {error}", clock::rfc3339(at)));
    }
    (!said.is_empty()).then(|| format!("{}: {}", task.name, said.join("; ")))
}

#[cfg(test)]
mod tests {
    use undercloud_api::admin::BackgroundState;

    use super::*;

    #[test]
    fn a_long_failure_is_one_line_and_says_where_the_whole_is() {
        let failure = format!("compute-0: {}\nTraceback", "x".repeat(400));
        let long = vec![("since", "1970".to_owned()), ("last failure", failure)];
        let lines = brief(long.clone(), Some(80));
        let names = lines.iter().map(|(name, _)| *name);
        assert_eq!(names.collect::<Vec<_>>(), ["since", "last failure", "in full"]);
        let shown = out::property_lines(&lines);
        assert_eq!((shown[1].chars().count(), shown[1].ends_with('…')), (80, true), "{}", shown[1]);
        // In a pipe it is one line, too, and whole.
        let lines = brief(long, None);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].1.ends_with("x Traceback"), "{}", lines[1].1);
    }

    #[test]
    fn all_are_named_and_what_is_unusual_is_said() {
        let runs = |name: &str| BackgroundTask {
            name: name.to_owned(),
            every_ms: None,
            is_essential: true,
            state: BackgroundState::Running,
            since: 0,
            restarts: 0,
            last_run_at: None,
            last_result: None,
            last_error: None,
            last_error_at: None,
        };
        let restarted = BackgroundTask {
            restarts: 2,
            last_error: Some("it returned".into()),
            last_error_at: Some(0),
            ..runs("router advertisements")
        };
        let periodic = BackgroundTask {
            last_run_at: Some(0),
            last_result: Some("removed 3 events".into()),
            ..runs("retention")
        };
        assert_eq!(
            background(&[runs("engine"), restarted, periodic]),
            [
                ("runs", "3: engine, router advertisements, retention".to_owned()),
                (
                    "task",
                    "router advertisements: begun again 2 times; \
                     failed at 1970-01-01T00:00:00Z: it returned"
                        .to_owned()
                ),
                ("task", "retention: removed 3 events (1970-01-01T00:00:00Z)".to_owned()),
            ]
        );
        assert!(background(&[]).is_empty());
    }
}
