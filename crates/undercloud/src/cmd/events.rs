//! `undercloud events`: what happened, to all machines and to none of them.

use std::collections::VecDeque;

use anyhow::Result;
use undercloud_api::admin::{Event, FollowQuery, Severity};

use super::Context;
use crate::{
    cli::EventsArgs,
    clock,
    daemon_client::{Daemon, readable},
    out::Format,
};

/// Cursors have gaps where events were removed: so many more are looked at.
const GAPS: i64 = 10;
/// How long one answer is waited for.
const WAIT_MS: u64 = 20_000;

pub(super) fn run(context: &Context, args: &EventsArgs) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    let (node, limit) = (args.node.clone(), usize::try_from(args.limit).unwrap_or(usize::MAX));
    let deployment = args.deployment;
    let after = match (&node, deployment) {
        // Of one machine, or one deployment, there are few.
        (Some(_), _) | (_, Some(_)) => 0,
        (None, None) => daemon.status()?.cursor - i64::from(args.limit).saturating_mul(GAPS),
    };
    let mut query = FollowQuery { after: after.max(0), node, deployment, ..FollowQuery::default() };
    let mut events = VecDeque::new();
    loop {
        let page = daemon.ask(async |c| c.events(&query).await)?;
        query.after = page.next;
        if page.events.is_empty() {
            break;
        }
        events.extend(page.events);
        while events.len() > limit {
            events.pop_front();
        }
    }
    let events: Vec<Event> = events.into();
    if !args.follow {
        return context.out.rows(&["at", "", "who", "what", "text"], &events, row);
    }
    query.wait_ms = WAIT_MS;
    let mut news = events;
    loop {
        for event in &news {
            print(context, event)?;
        }
        let page = daemon.until_interrupted(async |c| c.events(&query).await.map_err(readable))?;
        // Ctrl-C is how it is stopped.
        let Some(page) = page else { return Ok(()) };
        query.after = page.next;
        news = page.events;
    }
}

/// One line for each, whatever comes after it.
fn print(context: &Context, event: &Event) -> Result<()> {
    match context.out.format() {
        Format::Json => context.out.value_line(event),
        Format::Table => {
            let cells = row(event);
            let cells = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty());
            context.out.line(cells.collect::<Vec<_>>().join("  "))
        }
    }
}

fn row(event: &Event) -> Vec<String> {
    vec![
        clock::rfc3339(event.at),
        mark(event.severity).to_owned(),
        who(event),
        event.topic.clone(),
        event.text.clone(),
    ]
}

/// A machine, or a deployment of the cloud; some events are nobody's.
fn who(event: &Event) -> String {
    let machine = event.name.clone().or_else(|| event.node.map(|id| id.to_string()));
    let deployment = || event.deployment.map(|number| format!("deployment {number}"));
    machine.or_else(deployment).unwrap_or_default()
}

/// How bad it is, at a glance.
pub(super) fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warning => "!",
        Severity::Error => "!!",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_no_machine_has_a_row_too() {
        let event = Event {
            cursor: 7,
            at: 0,
            node: None,
            name: None,
            topic: "netboot".into(),
            severity: Severity::Warning,
            text: "52:54:00:00:00:09: DHCP: nobody enrolled this interface".into(),
            data: serde_json::Value::Null,
            deployment: None,
            run: None,
            visit: None,
            request: None,
            cause: None,
            times: 1,
        };
        let text = event.text.clone();
        assert_eq!(row(&event), ["1970-01-01T00:00:00Z", "!", "", "netboot", text.as_str()]);
        let of_cloud = Event { deployment: Some(3), ..event };
        assert_eq!(row(&of_cloud)[2], "deployment 3");
    }
}
