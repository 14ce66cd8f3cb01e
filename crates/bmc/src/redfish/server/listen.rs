//! The listener: accepts connections, as many as are good for it.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use undercloud_serve::{Connections, Door, Guest, Share};

use super::{
    connection,
    service::{self, Listening, Service},
    site::Site,
};
pub use crate::handle::ServerHandle;

/// Connections at once.
const SHARE: Share = Share { all: 2048, per_source: 512 };
/// How long a server that ends waits for requests and machines.
const FINISH_MAX: Duration = Duration::from_secs(5);

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
            door: Door::new("Redfish", listener, SHARE),
            transport,
            service,
            connections: Connections::default(),
            cancel: cancel.clone(),
        };
        Ok(ServerHandle::run(&runtime, address, cancel, accept.run()))
    }
}

struct Accept {
    door: Door<TcpListener>,
    transport: Transport,
    service: Arc<Service>,
    connections: Connections,
    cancel: CancellationToken,
}

impl Accept {
    async fn run(mut self) {
        loop {
            let Guest { stream, from, slot } = tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                guest = self.door.next() => guest,
            };
            // A TCP connection has an address.
            let Some(peer) = from.map(|from| from.ip()) else { continue };
            let (transport, service) = (self.transport.clone(), self.service.clone());
            let stop = self.cancel.clone();
            self.connections.spawn(async move {
                connection::serve(stream, peer, transport, service, stop).await;
                drop(slot);
            });
        }
        drop(self.door);
        self.service.events.close_all();
        let end = Instant::now() + FINISH_MAX;
        let cut = self.connections.drain(FINISH_MAX).await;
        if cut > 0 || timeout_at(end, service::finish(&self.service)).await.is_err() {
            tracing::warn!(cut, "Redfish listener ends before its requests");
        }
    }
}
