//! One libvirt: who its domains are and which of them run, known from its events.
//!
//! ```text
//!          ┌──────────── back-off ◀─────────────┐
//!          ▼                                    │ it ended (killed, libvirt away)
//!  listener starts ─▶ it has registered ─▶ list ─▶ up: events, and a list when names change
//! ```
//! The list comes after the listener has registered, so that nothing happens unseen in between. An
//! event that was on its way while the list was taken is read after it and says the same again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::ChildStderr,
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use undercloud_bmc::machine::PowerState;
use undercloud_model::nearest;
use undercloud_serve::Ended;
use uuid::Uuid;

use crate::{
    ConnectUri, LibvirtError,
    domain::{Domain, Images, Shared},
    virsh::{Virsh, event::Event, list::Domains},
};

/// For the listener to say that it has registered; one that says nothing is believed to have.
const REGISTERED_MAX: Duration = Duration::from_secs(5);
/// As many names are given for one that nobody has.
const NEAREST_MAX: usize = 3;
/// As many domains are read at once.
const READERS_MAX: usize = 4;
/// Between a listener that ended and the next one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether libvirt is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not yet, or not at the moment: why.
    Down(String),
    /// What is known is what is.
    Up,
}

/// A domain that a name was found to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A libvirt that is listened to. It ends when this is dropped.
#[derive(Debug)]
pub struct Connection {
    heard: Arc<Heard>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    ended: Ended,
}

/// What was heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) virsh: Virsh,
    state: Mutex<State>,
    link: watch::Sender<Link>,
    /// Rung to have the list taken again.
    pub(crate) list: Notify,
    /// Held by whoever reads a definition because of an event: after a list, all domains do.
    pub(crate) readers: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    domains: Domains,
    followed: HashMap<Uuid, Weak<Shared>>,
}

impl State {
    fn followed(&self, uuid: Uuid) -> Option<Arc<Shared>> {
        self.followed.get(&uuid).and_then(Weak::upgrade)
    }

    fn all(&mut self) -> Vec<Arc<Shared>> {
        self.followed.retain(|_, domain| domain.strong_count() > 0);
        self.followed.values().filter_map(Weak::upgrade).collect()
    }

    fn tell(&self, domain: &Shared) {
        let there = self.domains.named.values().any(|uuid| *uuid == domain.uuid());
        let running = self.domains.running.contains(&domain.uuid());
        domain.on_listed(there, if running { PowerState::On } else { PowerState::Off });
    }
}

impl Connection {
    /// Begins to listen. Call it inside a tokio runtime.
    #[must_use]
    pub fn start(uri: ConnectUri) -> Self {
        let heard = Arc::new(Heard {
            virsh: Virsh::new(uri),
            state: Mutex::default(),
            link: watch::Sender::new(Link::Down("not connected yet".to_owned())),
            list: Notify::new(),
            readers: Semaphore::new(READERS_MAX),
        });
        let stop = CancellationToken::new();
        let (ended, listen) = Ended::of(listen(heard.clone(), stop.clone()));
        Self { heard, stop, task: tokio::spawn(listen), ended }
    }

    /// The domain that `name` (or a UUID) means, as libvirt has it now.
    ///
    /// # Errors
    /// When libvirt is away, or has no such domain.
    pub async fn find(uri: &ConnectUri, name: &str) -> Result<Found, LibvirtError> {
        let domains = Virsh::new(uri.clone()).list().await?;
        let uuid: Option<Uuid> = name.parse().ok();
        let mut named = domains.named.iter();
        let found = named.find(|(other, other_uuid)| *other == name || Some(**other_uuid) == uuid);
        match found {
            Some((name, uuid)) => Ok(Found { name: name.clone(), uuid: *uuid }),
            None => Err(LibvirtError::NoDomain {
                uri: uri.clone(),
                name: name.to_owned(),
                nearest: nearest(name, domains.named.keys().map(String::as_str))
                    .into_iter()
                    .take(NEAREST_MAX)
                    .map(str::to_owned)
                    .collect(),
            }),
        }
    }

    /// A domain of this libvirt, whether or not it is there at the moment; its CD drive gets its
    /// images by `images`.
    #[must_use]
    pub fn domain(&self, found: Found, images: Images) -> Domain {
        let link = self.heard.link.subscribe();
        let domain = Domain::new(found, self.heard.clone(), link, images);
        let mut state = self.heard.state();
        state.followed.insert(domain.shared().uuid(), Arc::downgrade(domain.shared()));
        if *self.heard.link.borrow() == Link::Up {
            state.tell(domain.shared());
        }
        drop(state);
        domain
    }

    /// Waits until nothing is heard any more, which does not come by itself: a libvirt that is
    /// away is waited for.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.wait()
    }

    /// Stops listening.
    pub async fn close(self) {
        self.stop.cancel();
        let Self { task, .. } = self;
        if let Err(error) = task.await {
            tracing::error!(%error, "libvirt's listener ended badly");
        }
    }
}

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can stop half-way: a poisoned value is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the list, and tells every domain what it says.
    async fn take_list(&self) -> Result<(), LibvirtError> {
        let domains = self.virsh.list().await?;
        let mut state = self.state();
        state.domains = domains;
        for domain in state.all() {
            state.tell(&domain);
        }
        Ok(())
    }

    fn on_event(&self, event: &Event<'_>) {
        let (Event::Started { name, .. }
        | Event::Stopped { name }
        | Event::Rebooted { name }
        | Event::Redefined { name, .. }) = event;
        let mut state = self.state();
        let Some(uuid) = state.domains.named.get(*name).copied() else {
            self.list.notify_one();
            return;
        };
        let domain = state.followed(uuid);
        match event {
            Event::Started { booted, .. } => {
                state.domains.running.insert(uuid);
                if let Some(domain) = domain {
                    domain.on_started(*booted);
                }
            }
            Event::Stopped { .. } => {
                state.domains.running.remove(&uuid);
                if let Some(domain) = domain {
                    domain.on_stopped();
                }
            }
            Event::Rebooted { .. } => {
                if let Some(domain) = domain {
                    domain.on_rebooted();
                }
            }
            Event::Redefined { new_name, .. } => {
                if let Some(domain) = domain {
                    domain.on_redefined();
                }
                if *new_name {
                    self.list.notify_one();
                }
            }
        }
    }
}

/// Listens until it is told to end.
async fn listen(heard: Arc<Heard>, stop: CancellationToken) {
    let mut pause = PAUSE_MIN;
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = session(&heard) => ended,
        };
        let was_up = *heard.link.borrow() == Link::Up;
        let why = format!("{ended}");
        if was_up {
            pause = PAUSE_MIN;
            tracing::warn!(uri = %heard.virsh.uri(), error = why, "libvirt is not heard any more");
        } else {
            tracing::debug!(uri = %heard.virsh.uri(), error = why, "libvirt is still not heard");
        }
        heard.link.send_replace(Link::Down(why));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One listener, from its start to its end.
async fn session(heard: &Heard) -> LibvirtError {
    match heard_until_it_ends(heard).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn heard_until_it_ends(heard: &Heard) -> Result<std::convert::Infallible, LibvirtError> {
    let mut child = heard.virsh.listen()?;
    let garbled = || LibvirtError::Garbled { command: "event" };
    let mut events = BufReader::new(child.stdout.take().ok_or_else(garbled)?).lines();
    let mut complaints = Complaints {
        lines: BufReader::new(child.stderr.take().ok_or_else(garbled)?).lines(),
        said: String::new(),
    };
    complaints.until_registered(heard).await?;
    heard.take_list().await?;
    heard.link.send_replace(Link::Up);
    tracing::info!(uri = %heard.virsh.uri(), "libvirt is heard");
    loop {
        tokio::select! {
            biased;
            line = events.next_line() => match next(line) {
                Some(line) => if let Some(event) = Event::read(&line) { heard.on_event(&event) },
                None => return Err(complaints.ended(heard).await),
            },
            () = heard.list.notified() => heard.take_list().await?,
            more = complaints.next() => if !more { return Err(complaints.ended(heard).await) },
        }
    }
}

/// The next line of a pipe; none when it is closed or broken, which is the same here.
fn next(line: std::io::Result<Option<String>>) -> Option<String> {
    line.unwrap_or_default()
}

/// The listener's standard error: its log, and what it complains of.
struct Complaints {
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

/// That the third kind of event is registered for means that the first two are: each is asked for
/// when the one before has been answered.
fn is_registration(line: &str) -> bool {
    line.contains("virConnectDomainEventRegisterAny") && line.contains("eventID=2,")
}

impl Complaints {
    /// Reads a line. Returns whether there was one.
    async fn next(&mut self) -> bool {
        self.line().await.is_some()
    }

    async fn line(&mut self) -> Option<String> {
        let line = next(self.lines.next_line().await)?;
        if line.starts_with("error: ") && self.said.len() + line.len() < 4096 {
            self.said += &line;
            self.said += "\n";
        }
        Some(line)
    }

    async fn until_registered(&mut self, heard: &Heard) -> Result<(), LibvirtError> {
        let until = Instant::now() + REGISTERED_MAX;
        loop {
            match timeout_at(until, self.line()).await {
                Ok(Some(line)) if is_registration(&line) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => return Err(heard.virsh.refusal("event", &self.said)),
                Err(_) => return Ok(()),
            }
        }
    }

    /// What ended the listener, once it has said all it had to say.
    async fn ended(&mut self, heard: &Heard) -> LibvirtError {
        let all = async { while self.next().await {} };
        let _said = tokio::time::timeout(PAUSE_MIN, all).await;
        if self.said.is_empty() {
            let said = "the listener ended".to_owned();
            return LibvirtError::Unreachable { uri: heard.virsh.uri().clone(), said };
        }
        heard.virsh.refusal("event", &self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listeners_log_says_when_it_listens() {
        let log = |id: u8| {
            format!(
                "2026-11-25 09:44:07.998+0000: 27281: debug : virConnectDomainEventRegisterAny:9933 \
                 : dom=(nil), (VM: name=<null>, uuid=), conn=0x5637bb45d070, eventID={id}, \
                 cb=0x56377ca2d9e0, opaque=0x5637bb465da0, freecb=(nil)"
            )
        };
        assert!(
            !is_registration(&log(1)) && is_registration(&log(2)) && !is_registration(&log(21))
        );
    }
}
