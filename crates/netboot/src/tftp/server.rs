//! The socket on port 69, and one socket of its own for each transfer (RFC 1350, section 4).

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{timeout, timeout_at},
};

use super::{
    packet::{self, ErrorCode, ReadRequest},
    transfer::{State, Transfer},
};
use crate::{boots::BootEventKind as Kind, events::Events, sockets::TransferSockets};

/// Transfers at the same time, in all and for one address.
const TRANSFERS_MAX: usize = 64;
const TRANSFERS_PER_ADDRESS_MAX: usize = 4;
/// No boot program takes longer.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(300);
/// What clients send is short.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// What the server needs.
#[derive(Clone)]
pub(crate) struct Tftp {
    pub(crate) files: Arc<BTreeMap<String, Arc<[u8]>>>,
    pub(crate) sockets: TransferSockets,
    pub(crate) events: Events,
    running: Arc<Mutex<HashSet<SocketAddr>>>,
}

impl Tftp {
    pub(crate) fn new(
        files: BTreeMap<String, Arc<[u8]>>,
        sockets: TransferSockets,
        events: Events,
    ) -> Self {
        Self { files: Arc::new(files), sockets, events, running: Arc::default() }
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
        let owner = match client.ip() {
            IpAddr::V4(address) => self.events.owner(address),
            IpAddr::V6(_) => None,
        };
        self.events.tell(owner, kind);
    }

    async fn transfer(&self, client: SocketAddr, request: ReadRequest) {
        let name = request.file.clone();
        let failed = |why: String| Kind::TftpFailed { file: name.clone(), why };
        let socket = match self.socket(client).await {
            Ok(socket) => socket,
            Err(error) => return self.tell(client, failed(format!("no socket: {error}"))),
        };
        let Some(file) = self.files.get(&request.file) else {
            let _ = socket.send(&packet::error(ErrorCode::NotFound, "no such file")).await;
            return self.tell(client, failed("no such file".to_owned()));
        };
        let transfer = Transfer::new(Arc::clone(file), request.options);
        let end = timeout(TRANSFER_DEADLINE, self.run(client, &socket, transfer, &request.file));
        let bytes = file.len() as u64;
        match end.await.unwrap_or_else(|_| State::Failed("it took too long".to_owned())) {
            State::Done => self.tell(client, Kind::TftpDone { file: request.file, bytes }),
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
                        && !crate::is_passing(&error)
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
                Ok(Err(error)) if crate::is_passing(&error) => false,
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

/// Serves until it is dropped.
///
/// # Errors
/// The socket is gone.
pub(crate) async fn serve(socket: UdpSocket, tftp: Tftp) -> io::Result<()> {
    let mut transfers = JoinSet::new();
    let mut buffer = [0u8; DATAGRAM_BYTES_MAX];
    loop {
        let received = socket.recv_from(&mut buffer).await;
        while transfers.try_join_next().is_some() {}
        let (len, client) = match received {
            Ok(received) => received,
            Err(error) if crate::is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
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
}

#[cfg(test)]
mod tests;
