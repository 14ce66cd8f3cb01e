//! The listener: accepts connections, as many as are good for it.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection,
    service::{self, Listening, Service},
    site::Site,
};
use crate::ipmi::session::limits::culprit;

/// Connections at once; the next one waits.
const CONNECTIONS_MAX: usize = 2048;
/// Connections at once of one address; one more is closed.
const CONNECTIONS_PER_SOURCE_MAX: usize = 512;
/// How long a server that ends waits for requests and machines.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// A pause when the system has no more file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// There is no tokio runtime here.
    #[error("the Redfish listener needs a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The socket cannot be used.
    #[error("the Redfish listener cannot use its socket")]
    Socket(#[source] io::Error),
    /// Passwords do not go over a network in clear.
    #[error("Redfish without TLS is for loopback only, not for {address}")]
    PlainOutside {
        /// Where it would have listened.
        address: SocketAddr,
    },
    /// The system gives no random bytes.
    #[error("the Redfish listener gets no random bytes")]
    Random(#[source] getrandom::Error),
}

/// How connections are protected.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTPS.
    Tls(Arc<ServerConfig>),
    /// HTTP, on a loopback address only: for tests.
    Plain,
}

/// A Redfish service on a socket.
#[derive(Debug)]
pub struct Server;

/// Keeps a server running; it ends when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers on `listener` for the machines of `site`. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]; nothing runs then.
    pub fn start(
        listener: std::net::TcpListener,
        transport: Transport,
        site: Site,
    ) -> Result<ServerHandle, ServerError> {
        let runtime = Handle::try_current().map_err(ServerError::NoRuntime)?;
        let address = listener.local_addr().map_err(ServerError::Socket)?;
        if matches!(transport, Transport::Plain) && !address.ip().is_loopback() {
            return Err(ServerError::PlainOutside { address });
        }
        listener.set_nonblocking(true).map_err(ServerError::Socket)?;
        let listener = TcpListener::from_std(listener).map_err(ServerError::Socket)?;
        let service = Arc::new(Service::new(site).map_err(ServerError::Random)?);
        let tls = matches!(transport, Transport::Tls(_));
        service.listening.get_or_init(|| Listening { address, tls });
        let cancel = CancellationToken::new();
        let accept = Accept {
            listener,
            transport,
            service,
            connections: TaskTracker::new(),
            cancel: cancel.clone(),
            limit: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            sources: Sources::default(),
        };
        let task = runtime.spawn(accept.run());
        Ok(ServerHandle { address, cancel, task })
    }
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancelling this ends the server, too.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends the server and waits for what is under way, for a few seconds.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "Redfish listener ended badly");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Connections by source.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A source's connection; counts down when it ends.
struct Counted {
    sources: Sources,
    source: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Sources {
    fn count(&self, source: IpAddr, permit: OwnedSemaphorePermit) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= CONNECTIONS_PER_SOURCE_MAX {
            return None;
        }
        *count += 1;
        Some(Counted { sources: self.clone(), source, _permit: permit })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

struct Accept {
    listener: TcpListener,
    transport: Transport,
    service: Arc<Service>,
    connections: TaskTracker,
    cancel: CancellationToken,
    limit: Arc<Semaphore>,
    sources: Sources,
}

impl Accept {
    async fn run(self) {
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                () = self.accept() => {}
            }
        }
        drop(self.listener);
        self.service.events.close_all();
        self.connections.close();
        let ended = async {
            self.connections.wait().await;
            service::finish(&self.service).await;
        };
        if timeout(FINISH_MAX, ended).await.is_err() {
            tracing::warn!("Redfish listener ends before its requests");
        }
    }

    /// Takes one connection. Being cancelled between its steps loses a connection at most.
    async fn accept(&self) {
        // Never closed, so there is always a permit to come.
        let Ok(permit) = self.limit.clone().acquire_owned().await else { return };
        match self.listener.accept().await {
            Ok((stream, peer)) => {
                let Some(counted) = self.sources.count(culprit(peer.ip()), permit) else {
                    tracing::debug!(%peer, "too many Redfish connections");
                    return;
                };
                let (transport, service) = (self.transport.clone(), self.service.clone());
                let stop = self.cancel.clone();
                self.connections.spawn(async move {
                    connection::serve(stream, peer.ip(), transport, service, stop).await;
                    drop(counted);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Redfish listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
