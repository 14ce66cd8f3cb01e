//! The client of the administrator's API: typed requests on the daemon's unix socket.
//!
//! One connection for each request, each with a deadline. Nothing is retried: the daemon is a
//! process on this host, it answers or it is gone.

mod bmcs;
mod disks;
mod images;
mod lab;
mod tasks;

use std::{io, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::Instant};
use undercloud_model::{ErrorKind, agent::InstalledIdentity};

use crate::{
    ApiError, ErrorBody,
    admin::{
        Accepted, CloudAccess, CloudRequest, DeploymentView, EnrolOutcome, Event, EventPage,
        FollowQuery, MaintenanceRequest, NodeView, PlanView, SPEAKS_FOR, Status, VerbRequest,
        WAIT_MS_MAX, instackenv::Instackenv,
    },
    escape::segment,
};

/// For an answer, beside what the request itself waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("the daemon does not run (nobody answers on {socket})")]
    NotRunning {
        /// Which socket.
        socket: Utf8PathBuf,
    },
    /// The socket cannot be used.
    #[error("cannot reach the daemon on {socket}")]
    Connect {
        /// Which socket.
        socket: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon went away while it was asked.
    #[error("the daemon ended while it was asked to {method} {path}")]
    Cut {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// What was seen.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no answer in time.
    #[error("the daemon did not answer {method} {path} within {seconds} s")]
    Slow {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// How long was waited.
        seconds: u64,
    },
    /// What was waited for did not happen in time; it goes on.
    #[error("{what} is not over after {seconds} s; it goes on, and can be waited for again")]
    Deadline {
        /// What.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The answer is not what this version understands.
    #[error("the daemon's answer to {method} {path} cannot be read")]
    Garbled {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(ApiError),
}

impl ClientError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotRunning { .. } | Self::Cut { .. } | Self::Slow { .. } => {
                ErrorKind::Unavailable
            }
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Self::Deadline { .. } => ErrorKind::Busy,
            Self::Garbled { .. } => ErrorKind::Bug,
            Self::Refused(error) => error.kind,
        }
    }

    /// What the caller can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotRunning { .. } | Self::Cut { .. } => {
                Some("start it with `./up` or `undercloud serve`; its log tells why it ended")
            }
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the daemon answers its owner alone: use sudo")
            }
            Self::Garbled { .. } => {
                Some("command and daemon have different versions: restart the daemon")
            }
            Self::Refused(error) => error.hint.as_deref(),
            Self::Deadline { .. } => Some("undercloud status, undercloud events say how far it is"),
            Self::Connect { .. } | Self::Slow { .. } => None,
        }
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Utf8PathBuf,
    speaks_for: Option<String>,
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    /// A client of the daemon on this socket, which must answer.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn connect(socket: &Utf8Path) -> Answer<Self> {
        let client = Self { socket: socket.to_owned(), speaks_for: None };
        client.dial().await?;
        Ok(client)
    }

    /// The same client, who says who types: what is written down names that.
    #[must_use]
    pub fn speaking_for(self, name: String) -> Self {
        Self { speaks_for: Some(name), ..self }
    }

    /// What runs.
    ///
    /// # Errors
    /// As every method here: when the daemon is away or refuses.
    pub async fn status(&self) -> Answer<Status> {
        self.get("/v1/status").await
    }

    /// Ends the daemon.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn shutdown(&self) -> Answer<()> {
        self.nothing(Method::POST, "/v1/shutdown", None::<&()>).await
    }

    /// All nodes.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn nodes(&self) -> Answer<Vec<NodeView>> {
        self.get("/v1/nodes").await
    }

    /// One node, by name or id.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn node(&self, node: &str) -> Answer<NodeView> {
        self.get(&format!("/v1/nodes/{}", segment(node))).await
    }

    /// Enrols the machines of an `instackenv.json`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn enrol(&self, file: &Instackenv) -> Answer<Vec<EnrolOutcome>> {
        self.json(Method::POST, "/v1/nodes", Some(file)).await
    }

    /// Forgets a node; by `force`, also if it is a machine of a cloud.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn forget(&self, node: &str, force: bool) -> Answer<()> {
        let path = format!("/v1/nodes/{}?force={force}", segment(node));
        self.nothing(Method::DELETE, &path, None::<&()>).await
    }

    /// Asks a node for something; it is under way when this returns.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn request(&self, node: &str, verb: &VerbRequest) -> Answer<Accepted> {
        self.request_by(node, verb, false).await
    }

    /// The same; by `force`, also if the node is a machine of a cloud.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn request_by(
        &self,
        node: &str,
        verb: &VerbRequest,
        force: bool,
    ) -> Answer<Accepted> {
        let path = format!("/v1/nodes/{}/verbs?force={force}", segment(node));
        self.json(Method::POST, &path, Some(verb)).await
    }

    /// An identity for an installed machine's agent, with a new key in the place of the one that it has.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn renew_identity(&self, node: &str) -> Answer<InstalledIdentity> {
        let path = format!("/v1/nodes/{}/identity", segment(node));
        self.json(Method::POST, &path, None::<&()>).await
    }

    /// Begins a node's maintenance.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn maintain(&self, node: &str, request: &MaintenanceRequest) -> Answer<NodeView> {
        let path = format!("/v1/nodes/{}/maintenance", segment(node));
        self.json(Method::PUT, &path, Some(request)).await
    }

    /// Ends a node's maintenance.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn end_maintenance(&self, node: &str) -> Answer<NodeView> {
        let path = format!("/v1/nodes/{}/maintenance", segment(node));
        self.json(Method::DELETE, &path, None::<&()>).await
    }

    /// Events after a cursor.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn events(&self, query: &FollowQuery) -> Answer<EventPage> {
        let mut path = format!("/v1/events?after={}&wait_ms={}", query.after, query.wait_ms);
        if let Some(node) = &query.node {
            path += &format!("&node={}", segment(node));
        }
        if let Some(number) = query.deployment {
            path += &format!("&deployment={number}");
        }
        if let Some(limit) = query.limit {
            path += &format!("&limit={limit}");
        }
        self.get(&path).await
    }

    /// Follows a node from a cursor until nothing is under way, and says each event on the way.
    ///
    /// # Errors
    /// As [`Client::status`], when it is not over within `timeout`, and when the request was not
    /// taken up.
    pub async fn settled(
        &self,
        accepted: &Accepted,
        timeout: Duration,
        mut on_event: impl FnMut(&Event),
    ) -> Answer<NodeView> {
        let until = Instant::now() + timeout;
        let node = accepted.node.to_string();
        let mut query = FollowQuery {
            after: accepted.cursor,
            node: Some(node.clone()),
            ..FollowQuery::default()
        };
        let mut settled = None;
        loop {
            // The node first: an event that comes after the look ends the wait at once.
            let view = match settled {
                Some(view) => view,
                None => self.node(&node).await?,
            };
            let left = until.saturating_duration_since(Instant::now());
            let over = view.is_settled();
            query.wait_ms = if over { 0 } else { wait_ms(left) };
            let page = self.events(&query).await?;
            page.events.iter().for_each(&mut on_event);
            query.after = page.next;
            if let Some(why) = page.events.iter().find_map(|event| accepted.not_taken(event)) {
                return Err(not_taken_up(&view, why));
            }
            // What was written before the look may fill several pages.
            if over && page.events.is_empty() {
                return Ok(view);
            }
            if over {
                settled = Some(view);
            } else if left.is_zero() {
                let what = format!("work on node {}", view.node.name);
                return Err(ClientError::Deadline { what, seconds: timeout.as_secs() });
            } else {
                settled = None;
            }
        }
    }

    /// What would be installed.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn cloud_plan(&self, request: &CloudRequest) -> Answer<PlanView> {
        self.json(Method::POST, "/v1/cloud/plan", Some(request)).await
    }

    /// How to reach the cloud.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn cloud_access(&self) -> Answer<CloudAccess> {
        self.get("/v1/cloud/access").await
    }

    /// All deployments, the newest first.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn deployments(&self) -> Answer<Vec<DeploymentView>> {
        self.get("/v1/cloud/deployments").await
    }

    /// One deployment, with its plan and its steps.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn deployment(&self, number: i64) -> Answer<DeploymentView> {
        self.get(&format!("/v1/cloud/deployments/{number}")).await
    }

    /// Keeps what a verification found.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn set_verification(&self, number: i64, report: &impl Serialize) -> Answer<()> {
        let path = format!("/v1/cloud/deployments/{number}/verification");
        self.nothing(Method::PUT, &path, Some(report)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        self.json(Method::GET, path, None::<&()>).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Answer<T> {
        let bytes = self.send(method.clone(), path, body).await?;
        let path = path.to_owned();
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Garbled {
            method,
            path,
            source,
        })
    }

    async fn nothing(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Answer<()> {
        self.send(method, path, body).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Answer<Bytes> {
        let garbled =
            |source| ClientError::Garbled { method: method.clone(), path: path.to_owned(), source };
        let body = body.map(serde_json::to_vec).transpose().map_err(garbled)?.unwrap_or_default();
        let timeout = ANSWER_TIMEOUT + Duration::from_millis(WAIT_MS_MAX);
        let exchange = self.exchange(&method, path, body);
        let slow = |_| ClientError::Slow {
            method: method.clone(),
            path: path.to_owned(),
            seconds: timeout.as_secs(),
        };
        let (status, bytes) = tokio::time::timeout(timeout, exchange).await.map_err(slow)??;
        if status.is_success() {
            return Ok(bytes);
        }
        let refused: ErrorBody = serde_json::from_slice(&bytes).map_err(garbled)?;
        Err(ClientError::Refused(refused.error))
    }

    async fn dial(&self) -> Answer<UnixStream> {
        UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: self.socket.clone() }
            }
            _ => ClientError::Connect { socket: self.socket.clone(), source },
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
    ) -> Answer<(http::StatusCode, Bytes)> {
        type Source = Box<dyn std::error::Error + Send + Sync>;
        let cut = |source: Source| ClientError::Cut {
            method: method.clone(),
            path: path.to_owned(),
            source,
        };
        let stream = TokioIo::new(self.dial().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|e| cut(e.into()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "undercloud")
            .header(header::CONTENT_TYPE, "application/json");
        let request = match &self.speaks_for {
            Some(name) => request.header(SPEAKS_FOR, name),
            None => request,
        };
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| cut(e.into()))?;
        let cut = &cut;
        // The block takes the sender along: the connection ends when that is dropped.
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|e| cut(e.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
            Ok((status, body.await.map_err(cut)?.to_bytes()))
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }
}

fn not_taken_up(view: &NodeView, why: &str) -> ClientError {
    let name = &view.node.name;
    let error = ApiError::new(ErrorKind::Conflict, format_args!("{name}: {why}"));
    ClientError::Refused(error.hint(format_args!("undercloud node show {name}")))
}

fn wait_ms(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX)
}
