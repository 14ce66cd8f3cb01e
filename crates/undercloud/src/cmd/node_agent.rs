//! `undercloud node agent restore`: the agent of an installed machine, put back over ssh.
//!
//! The machine is known by the ssh key that its agent told while it called. What is secret goes to the
//! standard input of the shell there, and is on no command line.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use undercloud_image::digest_of;
use undercloud_model::{ErrorKind, agent::InstalledIdentity};

use super::{Context, ssh};
use crate::{agent_program, daemon_client::Daemon, failure::Failure};

/// Reads the identity as a line, and the program after it. Each file is there whole or not at all; the
/// program takes its place only if it is what was sent, and starts.
const SCRIPT: &str = r#"
set -eu
umask 077
IFS= read -r identity
new=$root/usr/sbin/.undercloud-agent.new
cat > "$new"
if ! echo "$digest  $new" | sha256sum --check --status
then
    echo "the agent's program came damaged" >&2
    exit 1
fi
chmod 755 "$new"
"$new" --version > /dev/null
mkdir -p "$root/etc/undercloud"
printf '%s\n' "$identity" > "$root/etc/undercloud/.agent.json.new"
sync
mv "$new" "$root/usr/sbin/undercloud-agent"
mv "$root/etc/undercloud/.agent.json.new" "$root/etc/undercloud/agent.json"
rm -f "$root/var/lib/undercloud/agent-trial.json" \
    "$root/etc/systemd/system/undercloud-agent.service.d/trial.conf"
sync
systemctl daemon-reload
systemctl restart undercloud-agent.service
"#;

pub(super) fn restore(context: &Context, daemon: &Daemon, node: &str) -> Result<()> {
    let mut program = Vec::new();
    agent_program::open()?.read_to_end(&mut program).context("cannot read the agent")?;
    // A machine that cannot be reached keeps the key that it has.
    run(ssh::login(context, node, &["true".to_owned()])?, node, &[])?;
    let identity = daemon.ask(async |c| c.renew_identity(node).await)?;
    let script = script(&program, "");
    run(ssh::login(context, node, &[script])?, node, &stdin(&identity, &program)?)?;
    let value = json!({ "name": identity.name, "outcome": "restored" });
    let text = format!("{}: its agent is started, with a new key", identity.name);
    context.out.result(&value, text)
}

/// The script for a machine whose files are below `root`.
fn script(program: &[u8], root: &str) -> String {
    format!("root='{root}'\ndigest={}\n{SCRIPT}", digest_of(program).hex())
}

fn stdin(identity: &InstalledIdentity, program: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(identity).context("the identity cannot be written down")?;
    bytes.push(b'\n');
    bytes.extend_from_slice(program);
    Ok(bytes)
}

/// Runs it with this standard input.
fn run(mut command: Command, node: &str, stdin: &[u8]) -> Result<()> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start ssh")?;
    // Who reads no more says why at its end.
    let sent = child.stdin.take().map(|mut to| to.write_all(stdin));
    let ended = child.wait_with_output().context("ssh cannot be waited for")?;
    if ended.status.success() && matches!(sent, None | Some(Ok(()))) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    let message = format!("{node}: the agent cannot be put back over ssh: {}", last.trim());
    let hint =
        format!("undercloud ssh {node} true shows whether it can be reached; then the same again");
    Err(Failure::new(ErrorKind::Unavailable, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use undercloud_model::agent::PROTOCOL_VERSION;

    use super::*;

    const PROGRAM: &[u8] = b"#!/bin/sh\necho undercloud-agent 1\n";

    fn identity() -> InstalledIdentity {
        let identity = json!({
            "protocol": PROTOCOL_VERSION, "api": "https://192.168.24.1:8443",
            "node": "6f1b2d3c-0000-4000-8000-000000000001", "name": "controller-0",
            "key": "it's \\ a $KEY", "ca_pem": "-----BEGIN\nPEM\n",
        });
        serde_json::from_value(identity).unwrap()
    }

    /// The script on a machine that is a directory, with a systemctl that says what it was asked.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["usr/sbin", "bin", "etc/systemd/system/undercloud-agent.service.d"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let systemctl = dir.path().join("bin/systemctl");
        let said = dir.path().join("systemctl.log");
        fs::write(&systemctl, format!("#!/bin/sh\necho \"$*\" >> '{}'\n", said.display())).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("usr/sbin/undercloud-agent"), "old").unwrap();
        dir
    }

    fn shell(dir: &Path, script: &str) -> Command {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{path}", dir.join("bin").display())).args(["-c", script]);
        shell
    }

    #[test]
    fn an_agent_is_put_back_as_often_as_one_likes() {
        let dir = machine();
        let root = dir.path().to_str().unwrap();
        let guard = dir.path().join("etc/systemd/system/undercloud-agent.service.d/trial.conf");
        fs::write(&guard, "of a trial that is void").unwrap();
        for _ in 0..2 {
            let stdin = stdin(&identity(), PROGRAM).unwrap();
            run(shell(dir.path(), &script(PROGRAM, root)), "controller-0", &stdin).unwrap();
            let path = dir.path().join("etc/undercloud/agent.json");
            let kept: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(kept, serde_json::to_value(identity()).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let program = dir.path().join("usr/sbin/undercloud-agent");
            assert_eq!(fs::read(&program).unwrap(), PROGRAM);
            assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
            assert!(!guard.exists());
            let said = dir.path().join("systemctl.log");
            let asked = fs::read_to_string(&said).unwrap();
            assert_eq!(asked, "daemon-reload\nrestart undercloud-agent.service\n");
            fs::remove_file(said).unwrap();
        }
    }

    #[test]
    fn a_program_that_came_damaged_or_does_not_start_changes_nothing() {
        let (cut, none) = (&PROGRAM[..9], &b"no program"[..]);
        for (sent, named, why) in
            [(cut, PROGRAM, "program came damaged"), (none, none, "not found")]
        {
            let dir = machine();
            let script = script(named, dir.path().to_str().unwrap());
            let stdin = stdin(&identity(), sent).unwrap();
            let error = run(shell(dir.path(), &script), "controller-0", &stdin).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("controller-0: the agent cannot be put back over ssh: "));
            assert!(error.contains(why), "{error}");
            let program = fs::read(dir.path().join("usr/sbin/undercloud-agent")).unwrap();
            assert_eq!(program, b"old");
            assert!(!dir.path().join("etc/undercloud/agent.json").exists());
            assert!(!dir.path().join("systemctl.log").exists());
        }
    }
}
