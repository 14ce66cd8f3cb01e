//! `undercloud cloud …`: plan, install, verify; what was deployed, and how it went.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use undercloud_api::admin::{
    CloudApproval, CloudRequest, DeploymentView, InstallationView, PlanView, StepWait, TaskRequest,
};
use undercloud_cloud::{CloudConfig, Plan};
use undercloud_model::{
    Digest, ErrorKind,
    agent::{Outcome, StepResult, cloud::Converged},
    installation::Until,
};

use super::{Context, follow::Following};
use crate::{
    cli::{CloudCommand, InstallArgs},
    clock,
    daemon::installation::Installed,
    daemon_client::Daemon,
    failure::Failure,
    out::{self, Format},
    verify::{self, Said, VerifyReport},
};

pub(super) fn run(context: &Context, command: CloudCommand) -> Result<()> {
    let daemon = Daemon::connect(&context.state)?;
    super::serve::same_definitions(context, &daemon)?;
    match command {
        CloudCommand::Plan { file } => plan(context, &daemon, file.as_deref()),
        CloudCommand::Install(args) => install(context, &daemon, args),
        CloudCommand::Verify { keep } => {
            verify::print(context, &verify_newest(context, &daemon, keep)?)
        }
        CloudCommand::List => list(context, &daemon),
        CloudCommand::Show { number } => show(context, &daemon, number),
    }
}

/// The text that describes the cloud.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn description(file: Option<&Path>) -> Result<String> {
    match file {
        None => Ok(CloudConfig::shipped_text().to_owned()),
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
    }
}

/// Asks for the cloud on its machines, and has it followed. What somebody approves is written down
/// before.
///
/// # Errors
/// One sentence: the description is wrong, or the plan is another than was approved.
pub(crate) fn ask_for<'a>(
    context: &'a Context,
    daemon: &'a Daemon,
    description: String,
    (approve, until): (Option<Digest>, Until),
    deadline: Instant,
) -> Result<Following<'a>> {
    if let Some(digest) = approve {
        agree(daemon, &description, digest)?;
    }
    let ssh_keys = vec![super::ssh::public_key(&context.state)?];
    let request = TaskRequest::CloudInstall { description, ssh_keys, until };
    Following::ask(context, daemon, &request, deadline)
}

/// Gives this host access to the cloud that was installed.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn grant(context: &Context, daemon: &Daemon) -> Result<()> {
    let access = daemon.ask(async |client| client.cloud_access().await)?;
    crate::access::grant_overcloud(&context.state, &access).map(drop)
}

fn install(context: &Context, daemon: &Daemon, args: InstallArgs) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout * 60);
    let description = description(args.file.as_deref())?;
    let how = (args.approve, Until::Installed);
    let mut following = ask_for(context, daemon, description, how, deadline)?;
    let result = following.until_its_end()?;
    grant(context, daemon)?;
    let installed: Installed =
        serde_json::from_value(result).context("the daemon's answer is of another version")?;
    context.out.result(&installed, installed)
}

/// Where the plan erases disks that nobody agreed to, somebody has to: to this plan, as he saw it.
/// The daemon compares it with what it would do now, and writes that down disk by disk.
fn agree(daemon: &Daemon, description: &str, digest: Digest) -> Result<()> {
    if !ask_plan(daemon, description)?.needs_approval {
        return Ok(());
    }
    let request = CloudApproval { description: description.to_owned(), digest };
    daemon.ask(async |client| client.approve_cloud(&request).await).map(drop)
}

fn ask_plan(daemon: &Daemon, description: &str) -> Result<PlanView> {
    let request = CloudRequest { description: description.to_owned() };
    daemon.ask(async |client| client.cloud_plan(&request).await)
}

fn read(view: &PlanView) -> Result<Plan> {
    Plan::deserialize(&view.plan).context("the plan is of another version: restart the daemon")
}

fn plan(context: &Context, daemon: &Daemon, file: Option<&Path>) -> Result<()> {
    let view = ask_plan(daemon, &description(file)?)?;
    let out = context.out;
    if out.format() == Format::Json {
        return out.json(&view);
    }
    let plan = read(&view)?;
    out.line(super::cloud_plan::show(&plan))?;
    out.line(format_args!("digest   {}", view.digest))?;
    for line in view.site.iter().flat_map(super::cloud_plan::show_site) {
        out.line(line)?;
    }
    let standing = match view.deployment {
        Some(number) => {
            format!("deployment {number} has this plan: an installation would check it")
        }
        None => "this would be a new deployment".to_owned(),
    };
    out.line(format_args!("standing {standing}"))?;
    let next = match (view.uninspected.first(), view.needs_approval) {
        (Some(machine), _) => format!("undercloud node inspect {machine}: its disks are not known"),
        (None, true) => format!("undercloud cloud install --approve {}", view.digest),
        (None, false) => "undercloud cloud install".to_owned(),
    };
    out.line(format_args!("next     {}", context.typed(&next)))
}

/// Checks the newest deployment and keeps what was found with it.
///
/// # Errors
/// One sentence: which check failed, why, what to do.
pub(crate) fn verify_newest(
    context: &Context,
    daemon: &Daemon,
    keep: bool,
) -> Result<VerifyReport> {
    let access = daemon.ask(async |client| client.cloud_access().await)?;
    let number = access.deployment;
    let report = verify::run(&context.state, Said::Out(context.out), &access, keep);
    let kept = verify::kept(&report);
    daemon.ask(async |client| client.set_verification(number, &kept).await)?;
    report
}

fn list(context: &Context, daemon: &Daemon) -> Result<()> {
    let deployments = daemon.ask(async |client| client.deployments().await)?;
    let header = ["number", "begun", "runs", "outcome", "took", "verified", "plan"];
    context.out.rows(&header, &deployments, |row| {
        vec![
            row.number.to_string(),
            clock::rfc3339(row.created_at),
            row.attempt.to_string(),
            outcome(row),
            took(row),
            verify::summary(row.verification.as_ref()),
            row.digest.short(),
        ]
    })
}

fn outcome(row: &DeploymentView) -> String {
    match (&row.ended_at, &row.failure) {
        (None, _) => "under way, or broken off: run it again".to_owned(),
        (Some(_), None) => "complete".to_owned(),
        (Some(_), Some(failure)) => format!("failed: {failure}"),
    }
}

fn took(row: &DeploymentView) -> String {
    let ms = row.ended_at.map(|end| end.saturating_sub(row.started_at));
    let ms = ms.and_then(|ms| u64::try_from(ms).ok());
    ms.map_or_else(|| "-".to_owned(), |ms| out::seconds(Duration::from_millis(ms)))
}

/// A step that is done. Some notes say themselves that something was changed.
fn describe_step(done: &Converged) -> String {
    let what = if done.changed { "changed" } else { "as it was" };
    let note = done.note.strip_prefix("changed: ").unwrap_or(&done.note);
    let colon = if note.is_empty() { "" } else { ": " };
    format!("{what}{colon}{note} ({} s)", done.took_ms / 1000)
}

/// Where an installation is, since when, and when that has failed.
pub(super) fn standing(installation: &InstallationView) -> String {
    let InstallationView { number, text, .. } = installation;
    let since = clock::rfc3339(installation.since);
    let deadline = installation.deadline.filter(|_| !installation.is_over);
    let deadline = deadline.map(|at| format!(", given up at {}", clock::rfc3339(at)));
    format!("{number} {text}, since {since}{}", deadline.unwrap_or_default())
}

/// A step that a run waits for.
fn waits_for(wait: &StepWait) -> Vec<String> {
    let StepWait { machine, title, since, deadline } = wait;
    let at = |ms: &i64| clock::rfc3339(*ms);
    vec![machine.to_string(), title.clone(), at(since), at(deadline)]
}

/// The newest deployment's number.
fn newest(daemon: &Daemon) -> Result<i64> {
    let rows = daemon.ask(async |client| client.deployments().await)?;
    if let Some(newest) = rows.first() {
        return Ok(newest.number);
    }
    let installation = daemon.status()?.installation.filter(|newest| !newest.is_over);
    let message = match installation {
        None => "nothing was deployed yet".to_owned(),
        Some(newest) => {
            format!("nothing was deployed yet; installation {}", standing(&newest))
        }
    };
    Err(Failure::new(ErrorKind::NotFound, message).hint("undercloud cloud install").into())
}

fn show(context: &Context, daemon: &Daemon, number: Option<i64>) -> Result<()> {
    let newest = || newest(daemon);
    let number = number.map_or_else(newest, Ok)?;
    let view = daemon.ask(async |client| client.deployment(number).await)?;
    if context.out.format() == Format::Json {
        return context.out.json(&view);
    }
    let mut properties = vec![
        ("deployment", view.number.to_string()),
        ("begun", clock::rfc3339(view.created_at)),
        ("run", view.attempt.to_string()),
        ("outcome", outcome(&view)),
        ("took", took(&view)),
        ("verified", verify::summary(view.verification.as_ref())),
        ("plan", view.digest.to_string()),
    ];
    if let Some(installation) = &view.installation {
        properties.push(("installation", standing(installation)));
    }
    context.out.properties(&view, &properties)?;
    context.out.line("")?;
    if !view.waits.is_empty() {
        let header = ["machine", "waits for", "since", "given up at"];
        context.out.rows(&header, &view.waits, waits_for)?;
        context.out.line("")?;
    }
    context.out.rows(&["run", "began", "ended", "outcome"], &view.runs, |run| {
        let ended = run.ended_at.map(clock::rfc3339).unwrap_or_default();
        let outcome = match (&run.failure, run.ended_at) {
            (Some(failure), _) => format!("failed: {failure}"),
            (None, Some(_)) => "done".to_owned(),
            (None, None) => "under way, or broken off".to_owned(),
        };
        vec![run.attempt.to_string(), clock::rfc3339(run.started_at), ended, outcome]
    })?;
    context.out.line("")?;
    let steps: Vec<_> = view.steps.iter().filter(|s| s.attempt == view.attempt).collect();
    context.out.rows(&["ended", "step", "outcome"], &steps, |step| {
        let text = match &step.outcome {
            Outcome::Done(StepResult::Cloud(done)) => describe_step(done),
            Outcome::Done(_) => "done".to_owned(),
            Outcome::Failed(failure) => format!("failed: {}", failure.message),
        };
        vec![clock::rfc3339(step.ended_at), step.key.clone(), text]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_named_with_its_machine_and_both_times() {
        let wait = StepWait {
            machine: "compute-0".parse().unwrap(),
            title: "nova-compute is healthy".into(),
            since: 0,
            deadline: 900_000,
        };
        assert_eq!(
            waits_for(&wait),
            [
                "compute-0",
                "nova-compute is healthy",
                "1970-01-01T00:00:00Z",
                "1970-01-01T00:15:00Z"
            ]
        );
        let mut installation = InstallationView {
            number: 3,
            state: "machines".into(),
            text: "its machines are installed and started".into(),
            since: 0,
            deadline: Some(900_000),
            deployment: None,
            is_over: false,
        };
        assert_eq!(
            standing(&installation),
            "3 its machines are installed and started, since 1970-01-01T00:00:00Z, given up at \
             1970-01-01T00:15:00Z"
        );
        installation.is_over = true;
        assert!(standing(&installation).ends_with("since 1970-01-01T00:00:00Z"));
    }

    #[test]
    fn a_step_that_changed_something_says_so_once() {
        let done = |changed, note: &str| {
            describe_step(&Converged { changed, note: note.to_owned(), took_ms: 2500 })
        };
        assert_eq!(done(true, "changed: links, hosts"), "changed: links, hosts (2 s)");
        assert_eq!(done(true, "mariadb: started"), "changed: mariadb: started (2 s)");
        assert_eq!(done(false, "image x was there"), "as it was: image x was there (2 s)");
        assert_eq!(done(false, ""), "as it was (2 s)");
    }
}
