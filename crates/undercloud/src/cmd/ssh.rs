//! `undercloud ssh`: the host's ssh, inside the lab's network, with this state's key.
//!
//! The first answer of a machine pins its host key in a file of this state; a machine that answers
//! with another one is refused until it is deployed anew.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use undercloud_model::{ErrorKind, node::ProvisionState};

use super::Context;
use crate::{daemon_client::Daemon, failure::Failure, state::StateDir};

/// As whom people log in.
const USER: &str = "root";

pub(super) fn run(context: &Context, node: &str, command: &[String]) -> Result<()> {
    let error = login(context, node, command)?.exec();
    Err(error).context("cannot start ssh")
}

/// The host's ssh with what it needs to log in to a machine and run `command` there.
///
/// # Errors
/// When the machine has no operating system of ours.
pub(super) fn login(context: &Context, node: &str, command: &[String]) -> Result<Command> {
    let view = Daemon::connect(&context.state)?.node(node)?;
    if view.node.state != ProvisionState::Active {
        let state = view.node.state.as_str();
        let message = format!("{node} has no operating system of ours: it is `{state}`");
        let hint = format!("undercloud node deploy {node}");
        return Err(Failure::new(ErrorKind::Conflict, message).hint(hint).into());
    }
    let port = view.node.boot_port().context("the node has no port")?;
    let folder = context.state.ssh();
    let mut ssh = Command::new("ip");
    ssh.args(["netns", "exec", &crate::lab_host::names(&context.state)?.namespace()])
        .args(["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"])
        .args(["-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()))
        .arg("-o")
        .arg(format!("HostKeyAlias={}", view.node.id))
        .arg("-i")
        .arg(folder.join("id_ed25519"))
        .arg(format!("{USER}@{}", port.address.addr()))
        .args(if command.is_empty() { &[] } else { &["--"][..] })
        .args(command);
    Ok(ssh)
}

/// This state's public key; the pair is made when it is asked for first.
pub(crate) fn public_key(state: &StateDir) -> Result<String> {
    let private = state.ssh().join("id_ed25519");
    let public = state.ssh().join("id_ed25519.pub");
    if !public.exists() {
        fs::create_dir_all(state.ssh()).context("cannot make the directory of ssh keys")?;
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "undercloud", "-f"])
            .arg(&private)
            .output()
            .context("cannot start ssh-keygen")?;
        anyhow::ensure!(
            output.status.success(),
            "ssh-keygen failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = fs::read_to_string(&public).context("cannot read our public ssh key")?;
    Ok(text.trim().to_owned())
}
