//! `RunOnce`: a command of a service's bootstrap inside its running container, once.
//!
//! Secrets travel as environment: podman is told the variables' names and takes their values from
//! its own environment. The marker is written last, so a command that was interrupted is run again;
//! each is safe to repeat.

use std::time::Duration;

use undercloud_model::agent::{StepFailure, StepFailureKind, cloud::RunOnce};

use super::{Call, Done, Task, check, files::Wanted, mask::Mask, refused};
use crate::device::failure;

/// Keystone's bootstrap was seen to take four minutes on an emulated machine.
const DEADLINE: Duration = Duration::from_secs(3600);
/// How much of its output is reported.
const LINES: usize = 30;
/// Variables that mean something to podman itself, by their beginnings.
const PODMAN_S_OWN: [&str; 10] =
    ["PATH", "HOME", "TMPDIR", "LD_", "XDG_", "CONTAINER", "PODMAN", "REGISTRY", "GO", "DBUS"];

/// Runs the command, unless it was run.
pub(super) fn run(task: &Task<'_>, once: &RunOnce) -> Result<Done, StepFailure> {
    let what = format!("{} of {}", check::name("bootstrap name", &once.name, "-_")?, once.service);
    let marker = format!("var/lib/undercloud/bootstrap/{}.{}", once.service, once.name);
    if task.host().has(&marker) {
        return Ok(Done::unchanged(format!("{what} was done before")));
    }
    if once.command.is_empty() {
        return Err(refused(format_args!("{what} has no command")));
    }
    let mut arguments = vec!["exec".to_owned()];
    for variable in &once.environment {
        let name = check::name("variable", &variable.name, "_")?;
        if PODMAN_S_OWN.iter().any(|own| name.starts_with(own)) {
            return Err(refused(format_args!("the variable {name} of {what} is podman's own")));
        }
        arguments.extend(["--env".to_owned(), name.to_owned()]);
    }
    arguments.push(once.service.to_string());
    arguments.extend(once.command.iter().cloned());
    let mut call = Call::new("podman", DEADLINE, arguments);
    call.environment = once.environment.iter().map(|v| (v.name.clone(), v.value.clone())).collect();
    let ended = task.run(&call)?;
    let values: Vec<&str> = once.environment.iter().map(|v| v.value.expose()).collect();
    let lines = ended.last_lines(LINES);
    let masks = [Mask::of(values), Mask::of_service(task.host(), &once.service)];
    let lines: Vec<String> =
        lines.iter().map(|l| masks.iter().fold(l.clone(), |l, m| m.apply(&l))).collect();
    for line in &lines {
        task.log.say(format_args!("{}: {line}", once.service));
    }
    if !ended.success {
        let last = lines.last().map_or("it said nothing", String::as_str);
        let message = format!("{what} (`{}`) failed: {last}", once.command.join(" "));
        return Err(failure(StepFailureKind::Command, message));
    }
    Wanted::public(&marker, "").write(task.host())?;
    Ok(Done::changed(format!("{what} is done")))
}
