//! The agent as `/init` of the ramdisk, process 1.
//!
//! ```text
//! mount ─► load modules ─► identity ─► clock, interface ─► hello ─► session
//!    any failure: one line on the console ─► wait, so that it can be read ─► reboot
//! ```
//! There is no other process in the ramdisk: nothing is spawned, so nothing has to be reaped.
//! Process 1 must not end, or the kernel panics and the reason scrolls away; panics are caught.

mod identity;
mod modules;
mod mounts;
mod netlink;
mod network;

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use rustix::{
    system::{RebootCommand, reboot},
    time::{ClockId, Timespec, clock_settime},
};

use crate::{
    client::{Client, ClientError},
    cloud::Latest,
    container::is_container,
    log::{Log, chain},
    session::{Rhythm, Session, SessionError, System, common_version, hello},
    steps::{Executor, Place},
    sys::Host,
};

pub use identity::IdentityError;
pub use network::NetworkError;

/// How long the console shows why it did not work, before the machine starts anew.
const HOLD: Duration = Duration::from_secs(600);
/// The same after a silent daemon, which was tried for long enough.
const HOLD_SHORT: Duration = Duration::from_secs(10);

/// Why the ramdisk cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The daemon refused, or did not answer.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The daemon does not know this session any more.
    #[error("the daemon ended this session")]
    Ended(#[source] ClientError),
}

/// Runs the ramdisk. Does not return: it ends in a reboot, or waits for ever where even that fails.
pub fn run() -> ! {
    let problems = mounts::mount_all();
    let log = Log::console();
    log.say(format_args!("version {} in the ramdisk", crate::VERSION));
    for problem in problems {
        log.say(problem);
    }
    let result = catch_unwind(AssertUnwindSafe(|| serve(&Host::this(), &log)));
    let hold = match result {
        Ok(Err(error)) => {
            log.say(chain(&error));
            match error {
                InitError::Session(SessionError::Silent { .. }) => HOLD_SHORT,
                _ => HOLD,
            }
        }
        Err(panic) => {
            log.say(format_args!("a fault of the agent: {}", panic_text(&*panic)));
            HOLD
        }
        Ok(Ok(never)) => match never {},
    };
    log.say(format_args!("starting this machine anew in {} s", hold.as_secs()));
    thread::sleep(hold);
    rustix::fs::sync();
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            log.say(format_args!("cannot reboot: {error}"));
        }
        thread::sleep(HOLD);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

fn serve(host: &Host, log: &Log) -> Result<Infallible, InitError> {
    let is_container = is_container(host);
    if is_container {
        log.say("a container on its host's kernel: modules and clock are the host's");
    } else {
        let loaded = modules::load_all(host, log);
        log.say(format_args!("{loaded} kernel modules loaded"));
    }
    let identity = identity::take(host)?;
    if !is_container {
        set_clock(identity.now_ms, log);
    }
    network::bring_up(host, &identity.network, log)?;
    let client = Client::new(&identity.api, &identity.ca_pem).map_err(SessionError::from)?;
    let boot_id = host.boot_id();
    let rhythm = Rhythm::default();
    let protocol = common_version(identity.protocol)?;
    let key = hello(&client, &identity, &boot_id, &rhythm, log)?;
    let uptime = host.attribute("proc/uptime").unwrap_or_default();
    let uptime = uptime.split_whitespace().next().unwrap_or("?").to_owned();
    log.say(format_args!(
        "node {} was accepted by {}, {uptime} s after the kernel's start",
        identity.node, identity.api
    ));
    // The secret is used up; from here on the session key is all.
    drop(identity);
    let client = client.with_key(key);
    let executor = Executor::new(host.clone(), Place::Ramdisk, client.clone(), log.clone());
    let system = System { protocol, boot_id, ssh_host_key: None, health: Latest::default() };
    let session = Session::new(client, executor, system, rhythm, log.clone());
    Err(InitError::Ended(session.run()))
}

/// A wrong hardware clock would make every certificate look expired or not yet valid. Where it may
/// not be set, that is said, and the certificates decide.
fn set_clock(now_ms: i64, log: &Log) {
    let now =
        Timespec { tv_sec: now_ms.div_euclid(1000), tv_nsec: now_ms.rem_euclid(1000) * 1_000_000 };
    if let Err(error) = clock_settime(ClockId::Realtime, now) {
        log.say(format_args!("cannot set the clock to the daemon's: {error}"));
    }
}
