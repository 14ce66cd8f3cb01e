//! One HTTP/1.1 connection out: to a service, or to whoever subscribed to events.
//!
//! A connection carries one request at a time and has a deadline for each; nothing is pooled, so
//! that whoever uses it knows how much a baseboard controller has to bear.

mod fetch;
mod trust;

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

pub(crate) use self::trust::Judged;
pub use self::{
    fetch::{FetchError, FetchLimits, fetch},
    trust::{Fingerprint, Trust},
};

/// For a host to take a connection. A system asks at 0, 1 and 3 s; who takes none of these is not
/// there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Not an http or https address.
    #[error("`{text}` is no http or https address")]
    Address {
        /// What it is.
        text: String,
    },
    /// Nobody there.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The other end is not who it should be, or speaks no TLS.
    #[error("no TLS with {endpoint}")]
    Tls {
        /// Where.
        endpoint: Endpoint,
        /// What TLS says.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the exchange with {endpoint} broke off")]
    Exchange {
        /// Where.
        endpoint: Endpoint,
        /// What HTTP says.
        #[source]
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer in time")]
    Slow {
        /// Where.
        endpoint: Endpoint,
    },
    /// The answer is larger than anybody would send.
    #[error("the answer of {endpoint} is too large")]
    TooLarge {
        /// Where.
        endpoint: Endpoint,
    },
}

/// A host and a port, and whether to use TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// HTTPS rather than HTTP.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Endpoint {
    /// As a `Host` header has it.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// An address's endpoint, and its path with the query.
    ///
    /// # Errors
    /// [`LinkError::Address`].
    pub fn split(address: &str) -> Result<(Self, String), LinkError> {
        let bad = || LinkError::Address { text: address.chars().take(200).collect() };
        let uri = http::Uri::from_str(address).map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok((Self { tls, host, port }, path))
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Link {
    endpoint: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// [`LinkError`]; also after `limit`.
    pub async fn open(
        endpoint: &Endpoint,
        trust: &Trust,
        limit: Duration,
    ) -> Result<Self, LinkError> {
        let slow = |_| LinkError::Slow { endpoint: endpoint.clone() };
        timeout(limit, Self::connect(endpoint, trust)).await.map_err(slow)?
    }

    async fn connect(endpoint: &Endpoint, trust: &Trust) -> Result<Self, LinkError> {
        let no_connection = |source| LinkError::Connect { endpoint: endpoint.clone(), source };
        let tcp = timeout(CONNECT_MAX, Self::reach(endpoint)).await;
        let silent = || io::Error::from(io::ErrorKind::TimedOut);
        let tcp = tcp.map_err(|_| no_connection(silent()))?.map_err(no_connection)?;
        tcp.set_nodelay(true).map_err(no_connection)?;
        if !endpoint.tls {
            return Self::start(endpoint, TokioIo::new(tcp)).await;
        }
        let no_tls = |source| LinkError::Tls { endpoint: endpoint.clone(), source };
        let config = trust.config().map_err(|error| no_tls(io::Error::other(error)))?;
        let name = ServerName::try_from(endpoint.host.clone());
        let name = name.map_err(|error| no_tls(io::Error::other(error)))?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(no_tls)?;
        Self::start(endpoint, TokioIo::new(tls)).await
    }

    async fn reach(endpoint: &Endpoint) -> io::Result<TcpStream> {
        let Endpoint { host, port, .. } = endpoint.clone();
        let known = tokio::task::spawn_blocking(move || undercloud_names::addresses(&host, port));
        TcpStream::connect(&*known.await.map_err(io::Error::other)??).await
    }

    async fn start<T>(endpoint: &Endpoint, stream: T) -> Result<Self, LinkError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let broken = |source| LinkError::Exchange { endpoint: endpoint.clone(), source };
        let (sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
        Ok(Self { endpoint: endpoint.clone(), sender, driver })
    }

    /// Where it leads.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it can carry another request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and waits for the head of the answer.
    ///
    /// # Errors
    /// [`LinkError`]; also after `limit`.
    pub async fn begin(
        &mut self,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Incoming>, LinkError> {
        if let Ok(host) = http::HeaderValue::from_str(&self.endpoint.authority()) {
            request.headers_mut().insert(header::HOST, host);
        }
        let exchange = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        match timeout(limit, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(LinkError::Exchange { endpoint: self.endpoint.clone(), source }),
            Err(_) => Err(LinkError::Slow { endpoint: self.endpoint.clone() }),
        }
    }

    /// Sends a request, and waits for the whole answer, which has at most `bytes_max`.
    ///
    /// # Errors
    /// [`LinkError`]; also after `limit`.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, LinkError> {
        let endpoint = self.endpoint.clone();
        let whole = async {
            let (head, body) = self.begin(request, limit).await?.into_parts();
            match Limited::new(body, bytes_max).collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => {
                    Err(LinkError::TooLarge { endpoint: endpoint.clone() })
                }
                Err(error) => match error.downcast::<hyper::Error>() {
                    Ok(source) => {
                        Err(LinkError::Exchange { endpoint: endpoint.clone(), source: *source })
                    }
                    Err(_) => Err(LinkError::TooLarge { endpoint: endpoint.clone() }),
                },
            }
        };
        let slow = |_| LinkError::Slow { endpoint: endpoint.clone() };
        timeout(limit, whole).await.map_err(slow)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let (endpoint, path) = Endpoint::split("https://[::1]:8443/a?b=c").expect("address");
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.tls), ("::1", 8443, true));
        assert_eq!(
            (path.as_str(), endpoint.to_string().as_str()),
            ("/a?b=c", "https://[::1]:8443")
        );
        let (endpoint, path) = Endpoint::split("http://bmc.example").expect("address");
        assert_eq!((endpoint.port, path.as_str()), (80, "/"));
        for bad in ["", "bmc", "ftp://x/", "http://", "http://user:word@host/", "/redfish/v1"] {
            assert!(Endpoint::split(bad).is_err(), "{bad}");
        }
    }
}
