//! The socket on port 69, and one socket of its own for each transfer (RFC 1350, section 4).

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use undercloud_serve::{Connections, Datagrams, Patience, culprit, is_passing, receive};

use super::{
    packet::{self, ErrorCode, ReadRequest},
    transfer::{State, Transfer},
};
use crate::{
    DRAIN, boots::BootEventKind as Kind, events::Events, rate::Rate, sockets::TransferSockets,
};

/// Transfers at the same time, in all and for one address.
const TRANSFERS_MAX: usize = 64;
const TRANSFERS_PER_ADDRESS_MAX: usize = 4;
/// No boot program takes longer.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(300);
/// Requests of one address at once, and then one in each of this time: firmware that boots makes
/// about four.
const REQUESTS: (u32, Duration) = (32, Duration::from_millis(500));
/// Addresses whose requests are counted.
const REQUEST_SOURCES_MAX: usize = 1024;
/// What may stand behind a file's name that we know.
const NAME_REST_CHARS_MAX: usize = 4;
/// What clients send is short.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// What the server needs.
#[derive(Clone)]
pub(crate) struct Tftp {
    pub(crate) files: Arc<BTreeMap<String, Arc<[u8]>>>,
    pub(crate) sockets: TransferSockets,
    pub(crate) events: Events,
    running: Arc<Mutex<HashSet<SocketAddr>>>,
    rate: Arc<Mutex<Rate<IpAddr>>>,
}

impl Tftp {
    pub(crate) fn new(
        files: BTreeMap<String, Arc<[u8]>>,
        sockets: TransferSockets,
        events: Events,
    ) -> Self {
        let rate = Rate::new(REQUESTS.0, REQUESTS.1, REQUEST_SOURCES_MAX);
        let (files, rate) = (Arc::new(files), Arc::new(Mutex::new(rate)));
        Self { files, sockets, events, running: Arc::default(), rate }
    }

    /// Takes a place for this client; `None` when it has one already (its request came twice).
    fn enter(&self, client: SocketAddr) -> Option<Result<Place, &'static str>> {
        // Only a place that was taken becomes a `Place`, and only when the lock is free again:
        // dropping one takes this very lock.
        match self.take(client) {
            Taken::Yes => Some(Ok(Place { client, running: Arc::clone(&self.running) })),
            Taken::Before => None,
            Taken::Full => Some(Err("too many transfers")),
        }
    }

    fn take(&self, client: SocketAddr) -> Taken {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains(&client) {
            return Taken::Before;
        }
        let same = running.iter().filter(|other| other.ip() == client.ip()).count();
        if running.len() >= TRANSFERS_MAX || same >= TRANSFERS_PER_ADDRESS_MAX {
            return Taken::Full;
        }
        running.insert(client);
        Taken::Yes
    }

    fn tell(&self, client: SocketAddr, kind: Kind) {
        match client.ip().to_canonical() {
            IpAddr::V4(from) => {
                let owner = self.events.owner(from);
                match kind {
                    Kind::TftpFailed { .. } => self.events.refuse(owner, from, kind),
                    kind => self.events.tell(owner, kind),
                }
            }
            IpAddr::V6(_) => self.events.tell(None, kind),
        }
    }

    /// Whether this client may ask now.
    fn may_ask(&self, client: SocketAddr) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.allow(culprit(client.ip()), Instant::now())
    }

    /// The file that is meant. Some firmware takes the byte or two behind the name in DHCP's option
    /// for a part of it.
    fn find(&self, name: &str) -> Option<(&str, &Arc<[u8]>)> {
        let exact = self.files.get_key_value(name);
        let begun = || {
            let begins = |(known, _): &(&String, _)| {
                let rest = name.strip_prefix(known.as_str());
                rest.is_some_and(|rest| rest.chars().count() <= NAME_REST_CHARS_MAX)
            };
            self.files.iter().filter(begins).max_by_key(|(known, _)| known.len())
        };
        exact.or_else(begun).map(|(known, file)| (known.as_str(), file))
    }

    async fn transfer(&self, client: SocketAddr, request: ReadRequest) {
        let name = request.file.clone();
        let failed = |why: String| Kind::TftpFailed { file: name.clone(), why };
        let socket = match self.socket(client).await {
            Ok(socket) => socket,
            Err(error) => return self.tell(client, failed(format!("no socket: {error}"))),
        };
        let Some((known, file)) = self.find(&request.file) else {
            let _ = socket.send(&packet::error(ErrorCode::NotFound, "no such file")).await;
            return self.tell(client, failed("no such file".to_owned()));
        };
        let transfer = Transfer::new(Arc::clone(file), request.options);
        let end = timeout(TRANSFER_DEADLINE, self.run(client, &socket, transfer, known));
        let bytes = file.len() as u64;
        match end.await.unwrap_or_else(|_| State::Failed("it took too long".to_owned())) {
            State::Done => self.tell(client, Kind::TftpDone { file: known.to_owned(), bytes }),
            State::Failed(why) => self.tell(client, failed(why)),
            State::SizeAsked | State::Running => {}
        }
    }

    async fn socket(&self, client: SocketAddr) -> io::Result<UdpSocket> {
        let socket = (self.sockets)()?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        // From now on the kernel lets nobody else's packets in.
        socket.connect(client).await?;
        Ok(socket)
    }

    async fn run(
        &self,
        client: SocketAddr,
        socket: &UdpSocket,
        mut transfer: Transfer,
        name: &str,
    ) -> State {
        let mut buffer = [0u8; DATAGRAM_BYTES_MAX];
        let mut send = true;
        let mut told = false;
        let mut deadline = tokio::time::Instant::now();
        loop {
            if transfer.is_sending() && !told {
                told = true;
                let bytes = self.files.get(name).map_or(0, |file| file.len() as u64);
                self.tell(client, Kind::TftpStart { file: name.to_owned(), bytes });
            }
            if send {
                for packet in transfer.packets() {
                    if let Err(error) = socket.send(&packet).await
                        && !is_passing(&error)
                    {
                        return State::Failed(error.to_string());
                    }
                }
                deadline = tokio::time::Instant::now() + transfer.timeout();
            }
            send = match timeout_at(deadline, socket.recv(&mut buffer)).await {
                Err(_) => transfer.on_timeout(),
                Ok(Ok(len)) => match packet::read_from_client(&buffer[..len]) {
                    Some(packet) => transfer.on_packet(packet),
                    None => false,
                },
                // Its port is closed: it went away without a word.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return if transfer.is_sending() {
                        State::Failed("it went away".to_owned())
                    } else {
                        State::SizeAsked
                    };
                }
                Ok(Err(error)) if is_passing(&error) => false,
                Ok(Err(error)) => return State::Failed(error.to_string()),
            };
            if *transfer.state() != State::Running {
                return transfer.state().clone();
            }
        }
    }
}

/// Whether a client has a place now.
enum Taken {
    Yes,
    /// It had one before.
    Before,
    Full,
}

/// A transfer's place; leaving it frees it. It locks when it is dropped: make none under the lock.
struct Place {
    client: SocketAddr,
    running: Arc<Mutex<HashSet<SocketAddr>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.client);
    }
}

/// Serves until `stop` is cancelled and the transfers have ended.
pub(crate) async fn serve(socket: impl Datagrams, tftp: Tftp, stop: CancellationToken) {
    let mut transfers = Connections::default();
    let mut buffer = [0u8; DATAGRAM_BYTES_MAX];
    let mut patience = Patience::new("TFTP");
    loop {
        let (len, client) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = receive(&socket, &mut buffer, &mut patience) => received,
        };
        if !tftp.may_ask(client) {
            let why = "too many requests".to_owned();
            tftp.tell(client, Kind::TftpFailed { file: "a request".to_owned(), why });
            continue;
        }
        let refusal = match packet::read_request(&buffer[..len]) {
            None => continue,
            Some(Err(refusal)) => packet::error(refusal.code, refusal.why),
            Some(Ok(request)) => match tftp.enter(client) {
                None => continue,
                Some(Err(why)) => packet::error(ErrorCode::NotDefined, why),
                Some(Ok(place)) => {
                    let tftp = tftp.clone();
                    transfers.spawn(async move {
                        tftp.transfer(client, request).await;
                        drop(place);
                    });
                    continue;
                }
            },
        };
        if let Err(error) = socket.send_to(&refusal, client).await {
            tracing::debug!(%client, %error, "TFTP refusal not sent");
        }
    }
    let cut = transfers.drain(DRAIN).await;
    if cut > 0 {
        tracing::info!(cut, "TFTP transfers cut off at the end");
    }
}

#[cfg(test)]
mod tests;
