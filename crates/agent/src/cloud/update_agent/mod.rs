//! `UpdateAgent`: this program in the daemon's build.
//!
//! ```text
//! this one   fetch ► try `--version` ► keep this one ► guard the unit ► rename ► systemd starts
//! the next   first answer of the daemon ► passed, the guard goes ► the same order: done
//!            no answer in time ► the guard, which is the kept one, takes the place back
//! ```
//! The order is not reported by the program that began it: the daemon gives it to the next one, which
//! either is the build that is wanted, or the kept one and knows that the other was [on trial](trial).

mod trial;

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::Ordering,
    time::Duration,
};

use undercloud_model::agent::{
    StepFailure,
    cloud::{AgentProgram, PROGRAM_BYTES_MAX},
};

pub(super) use self::trial::answered;
use self::trial::{NEW, PROGRAM, Stand, Trial, digest_of};
use super::{
    Call, Done, Task,
    fetch::{self, Blob},
    refused, system,
};
use crate::VERSION;

pub use self::trial::guard;

/// The new program as it is tried.
const TRIED: &str = "/usr/sbin/.undercloud-agent.new";
/// For it to say its version, on an emulated machine too.
const TRY_DEADLINE: Duration = Duration::from_secs(60);
const SYSTEMD_DEADLINE: Duration = Duration::from_secs(120);

/// Has the daemon's build run; at the end of this program where it is another one.
pub(super) fn update(task: &Task<'_>, program: Option<&AgentProgram>) -> Result<Done, StepFailure> {
    let host = task.host();
    let program = program.ok_or_else(|| refused("the order names no build of the agent"))?;
    if program.bytes > PROGRAM_BYTES_MAX {
        return Err(refused(format_args!("{} bytes are too many for an agent", program.bytes)));
    }
    let earlier = trial::read(host).filter(|trial| trial.to == program.blob);
    if trial::running(host)? == program.blob {
        answered(task)?;
        trial::forget(host)?;
        return Ok(match earlier {
            Some(trial) => Done::changed(format!("agent {VERSION} in the place of {}", trial.from)),
            None => Done::unchanged(format!("agent {VERSION} is the daemon's build")),
        });
    }
    if earlier.is_some_and(|trial| trial.stand == Stand::RolledBack) {
        // The next order of it is another try.
        trial::forget(host)?;
        return Err(system(format_args!(
            "the daemon's build of the agent did not reach the daemon, and agent {VERSION} runs \
             again in its place: `journalctl -u undercloud-agent` on the machine says why"
        )));
    }
    replace(task, program)?;
    Ok(Done::changed("the agent starts anew in the daemon's build"))
}

/// Puts the program in the place of this one, and has systemd start it.
fn replace(task: &Task<'_>, program: &AgentProgram) -> Result<(), StepFailure> {
    let host = task.host();
    let new = host.path(NEW);
    if digest_of(&new).ok() != Some(program.blob) {
        let what = "the daemon's build of the agent";
        fetch::fetch(task, &Blob { what, digest: program.blob, bytes: program.bytes }, &new)?;
    }
    let executable = || -> io::Result<()> {
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        File::open(&new)?.sync_all()
    };
    executable().map_err(|e| system(format_args!("cannot make /{NEW} a program: {e}")))?;
    // One that does not start here at all takes nobody's place.
    let said = task.must(&Call::new(TRIED, TRY_DEADLINE, ["--version"]))?.stdout;
    if !said.starts_with("undercloud-agent ") {
        return Err(system("the daemon's build of the agent does not say that it is one"));
    }
    trial::keep(host)?;
    if let Err(failure) = trial::begin(task, &Trial::of(program.blob)) {
        trial::abandon(host)?;
        return Err(failure);
    }
    trial::rename(host, NEW, PROGRAM)?;
    task.log.say(format_args!("{} takes the place of agent {VERSION}", said.trim()));
    let restart = ["restart", "--no-block", "undercloud-agent.service"];
    task.must(&Call::new("systemctl", SYSTEMD_DEADLINE, restart))?;
    task.cloud.is_ending.store(true, Ordering::SeqCst);
    Ok(())
}
