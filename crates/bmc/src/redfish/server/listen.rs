//! The listener: accepts connections, as many as are good for it.

use std::{
    collections::HashMap,
    fmt, io,
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
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection,
    service::{self, Listening, Service},
    site::Site,
};
use crate::failures::culprit;
pub use crate::handle::ServerHandle;

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

/// Says what the next connection is to use.
#[derive(Clone)]
pub struct Renewed(Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>);

impl Renewed {
    /// Asks `source` at each connection; it must not take long.
    pub fn new(source: impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").finish_non_exhaustive()
    }
}

/// How connections are protected.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTPS.
    Tls(Arc<ServerConfig>),
    /// HTTPS, with what each new connection is to use: a certificate that is renewed meanwhile is
    /// shown from then on.
    Renewed(Renewed),
    /// HTTP, on a loopback address only: for tests.
    Plain,
}

/// A Redfish service on a socket.
#[derive(Debug)]
pub struct Server;

impl Transport {
    /// What the next connection is to use; `None` for none.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::Tls(config) => Some(config.clone()),
            Self::Renewed(Renewed(source)) => Some(source()),
            Self::Plain => None,
        }
    }
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
        let tls = transport.tls().is_some();
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
        Ok(ServerHandle::new(address, cancel, task))
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
