//! `undercloud ssh`: the host's ssh, inside the lab's network if there is one, with this state's key.
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
    let mut ssh = program(&context.state)?;
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"])
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

/// ssh where the machines are: inside the lab's network, or from this host where they are of metal.
fn program(state: &StateDir) -> Result<Command> {
    if !state.lab_definition().exists() {
        return Ok(Command::new("ssh"));
    }
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", &crate::lab_host::names(state)?.namespace(), "ssh"]);
    Ok(inside)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lab_has_a_network_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("s")).unwrap();
        let metal = program(&state).unwrap();
        assert_eq!((metal.get_program().to_str(), metal.get_args().count()), (Some("ssh"), 0));
        fs::create_dir_all(state.lab()).unwrap();
        fs::write(state.lab_definition(), "{}").unwrap();
        let lab = program(&state).unwrap();
        let arguments: Vec<_> = lab.get_args().filter_map(|a| a.to_str()).collect();
        assert_eq!(lab.get_program().to_str(), Some("ip"));
        assert_eq!((&arguments[..2], arguments[3]), (&["netns", "exec"][..], "ssh"));
    }
}
