//! `undercloud ssh`: the host's ssh, inside the lab's network, with this state's key.
//!
//! A machine is known by the key that its own agent told the daemon over its authenticated line;
//! whoever answers with another one gets nothing, not even the first time.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use undercloud_model::{ErrorKind, NodeId, SshHostKey, node::ProvisionState};

use super::Context;
use crate::{daemon_client::Daemon, failure::Failure, state::StateDir, whole_file};

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
    let key = view.ssh_host_key.ok_or_else(|| {
        let message = format!(
            "{node} has not said by which key its ssh server is known: its agent has not called \
             yet, or is of an earlier version"
        );
        let hint = format!("undercloud node history {node}");
        Failure::new(ErrorKind::Unavailable, message).hint(hint)
    })?;
    let folder = context.state.ssh();
    let known_hosts = known_hosts(&folder, view.node.id, &key)?;
    let mut ssh = Command::new("ip");
    ssh.args(["netns", "exec", &crate::lab_host::names(&context.state)?.namespace()])
        .args(["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .arg("-o")
        .arg(format!("HostKeyAlias={}", view.node.id))
        .arg("-i")
        .arg(folder.join("id_ed25519"))
        .arg(format!("{USER}@{}", port.address.addr()))
        .args(if command.is_empty() { &[] } else { &["--"][..] })
        .args(command);
    Ok(ssh)
}

/// The file by which ssh knows this machine alone.
fn known_hosts(folder: &Path, node: NodeId, key: &SshHostKey) -> Result<PathBuf> {
    let path = folder.join(format!("known_hosts.{node}"));
    let line = format!("{node} {key}\n");
    if fs::read_to_string(&path).is_ok_and(|known| known == line) {
        return Ok(path);
    }
    // In one step: somebody else may be logging in.
    whole_file::write(&path, line.as_bytes())?;
    Ok(path)
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
