//! `undercloud containers`: what runs on a machine, in podman's own words.

use anyhow::{Context as _, Result};
use undercloud_model::ErrorKind;

use super::{Context, ssh};
use crate::{failure::Failure, out::Format};

pub(super) fn run(context: &Context, node: &str) -> Result<()> {
    let format = match context.out.format() {
        Format::Table => "'table {{.Names}}  {{.Status}}  {{.Image}}'",
        Format::Json => "json",
    };
    let command = ["podman", "ps", "--all", "--sort", "names", "--format", format];
    let command = command.map(str::to_owned);
    let status = ssh::login(context, node, &command)?.status().context("cannot start ssh")?;
    if status.success() {
        return Ok(());
    }
    let message = format!("{node} did not list its containers ({status})");
    Err(Failure::new(ErrorKind::Unavailable, message)
        .hint(format!("undercloud node show {node}; undercloud ssh {node}"))
        .into())
}
