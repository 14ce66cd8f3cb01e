//! `undercloud node disks` and `node approve`: what would happen to a machine's disks, and a
//! person's word that it may.

use anyhow::Result;
use undercloud_api::admin::{ApprovalRequest, DisksView};
use undercloud_model::{
    Digest,
    consent::{DiskPlan, Fate},
};

use super::Context;
use crate::{clock, daemon_client::Daemon, out};

/// Shows every disk, what is on it and what would happen to it.
pub(super) fn show(context: &Context, daemon: &Daemon, node: &str, all: bool) -> Result<()> {
    let view = daemon.ask(async |client| client.disks(node, all).await)?;
    print(context, &view)
}

/// Agrees to what was shown, or takes that back.
pub(super) fn approve(
    context: &Context,
    daemon: &Daemon,
    node: &str,
    digest: Option<Digest>,
) -> Result<()> {
    let Some(digest) = digest else {
        return daemon.ask(async |client| client.withdraw_approval(node).await);
    };
    let request = ApprovalRequest { digest };
    let view = daemon.ask(async |client| client.approve(node, &request).await)?;
    print(context, &view)
}

fn print(context: &Context, view: &DisksView) -> Result<()> {
    let out = context.out;
    if out.format() == out::Format::Json {
        return out.json(view);
    }
    out.rows(&["name", "serial", "size", "what happens", "what is on it"], &view.disks, row)?;
    out.line(format_args!("digest   {}", view.digest))?;
    for approval in &view.approvals {
        let (disk, by, at) = (&approval.disk, &approval.by, clock::rfc3339(approval.at));
        out.line(format_args!("agreed   that {disk} is erased: {by}, {at}"))?;
    }
    let name = &view.name;
    let next = if view.needs_approval {
        format!("undercloud node approve {name} {}", view.digest)
    } else if view.is_own {
        format!("undercloud node provide {name} (a machine of the lab: nobody has to agree)")
    } else if view.disks.iter().any(|plan| plan.fate == Fate::Erased) {
        format!("undercloud node provide {name}")
    } else {
        "nothing: no disk would be erased".to_owned()
    };
    out.line(format_args!("next     {}", context.typed(&next)))
}

fn row(plan: &DiskPlan) -> Vec<String> {
    let disk = &plan.disk;
    let known = disk.serial.as_deref().or(disk.wwn.as_deref());
    vec![
        disk.name.clone(),
        known.unwrap_or("-").to_owned(),
        out::bytes(disk.size_bytes),
        plan.fate.to_string(),
        content(plan),
    ]
}

/// What is on a disk, as people read it.
pub(super) fn content(plan: &DiskPlan) -> String {
    match plan.fate {
        Fate::Installed => "the installed system".to_owned(),
        Fate::Erased | Fate::NotChosen | Fate::Removable | Fate::Unusable(_) => {
            plan.disk.content.to_string()
        }
    }
}
