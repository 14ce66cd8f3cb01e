//! Virtual BMCs of libvirt's domains: what VirtualBMC was for.
//!
//! The *book* says which there are and which are to run; it is opened when the daemon starts, and
//! what is to run runs then, whether or not libvirt can be reached yet. One connection listens to
//! each libvirt that has such a domain, and ends with the last of them.

mod book;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::DirBuilderExt as _,
    sync::{Arc, Mutex as Shortly, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError,
    admin::{BmcQuery, BmcRequest, BmcStatus, BmcSwitch, BmcView},
};
use undercloud_bmc::{
    credentials::Credentials, ipmi::server::Server, memory::MemoryFile, redfish::link::Trust,
};
use undercloud_libvirt::{ConnectUri, Connection, Domain, Found, Images, LibvirtError};
use undercloud_model::ErrorKind;

use self::book::{Book, Entry};
use super::{
    bmc_access::{self, Bmc},
    redfish::{Listed, Redfish},
    tasks::{Group, Tasks},
};
use crate::state::StateDir;

/// Longest name that a person may have meant as a domain's.
const NAME_BYTES_MAX: usize = 4096;
/// For requests and power actions under way when a BMC ends.
const END_MAX: Duration = Duration::from_secs(12);
/// For libvirt to be heard and the domain read, before a BMC that was just started is shown.
const READY_MAX: Duration = Duration::from_secs(5);

/// The BMCs.
#[derive(Debug)]
pub(crate) struct Domains {
    state: StateDir,
    redfish: Arc<Redfish>,
    /// Which servers of images are believed.
    trust: Trust,
    book: Book,
    tasks: Tasks,
    /// Held by whoever adds, removes, starts or stops: one after the other, from the first look at
    /// the book to the last word in it, and however long libvirt takes. Who only looks never waits.
    changing: Mutex<()>,
    running: Shortly<Running>,
}

#[derive(Debug, Default)]
struct Running {
    connections: BTreeMap<ConnectUri, (Connection, Group)>,
    served: BTreeMap<String, Served>,
    /// Why one that is to run does not.
    failed: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Served {
    uri: ConnectUri,
    domain: Arc<Domain>,
    /// Its BMC.
    group: Group,
}

fn refused(error: LibvirtError) -> ApiError {
    let (kind, hint) = (error.kind(), error.hint());
    let refusal = ApiError::new(kind, format_args!("{:#}", anyhow::Error::new(error)));
    match hint {
        Some(hint) => refusal.hint(hint),
        None => refusal,
    }
}

fn failed(what: &str, error: impl Into<anyhow::Error>) -> ApiError {
    let error: anyhow::Error = error.into();
    ApiError::new(ErrorKind::Unavailable, format_args!("{what}: {error:#}"))
}

/// The socket of a BMC, if nobody else has its port.
fn bind(address: SocketAddr) -> Result<UdpSocket, ApiError> {
    UdpSocket::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            ApiError::new(ErrorKind::Conflict, format_args!("udp {address} is taken"))
                .hint(format!("ss -lunp 'sport = {}' shows by whom", address.port()))
        }
        _ => ApiError::invalid(format!("cannot listen on udp {address}: {error}")),
    })
}

impl Domains {
    /// Reads the book.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn new(
        state: &StateDir,
        redfish: Arc<Redfish>,
        trust: Trust,
        tasks: Tasks,
    ) -> anyhow::Result<Self> {
        let (state, book) = (state.clone(), Book::open(state.domain_bmcs())?);
        let (changing, running) = (Mutex::default(), Shortly::default());
        Ok(Self { state, redfish, trust, book, tasks, changing, running })
    }

    /// For a moment, never across an await.
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is to run. What cannot be started is shown as such, and stops nothing else.
    pub(crate) async fn open(&self) {
        let _alone = self.changing.lock().await;
        for (name, entry) in self.book.entries() {
            if !entry.active {
                continue;
            }
            if let Err(error) = self.serve(&name, &entry).await {
                tracing::error!(domain = name, %error, "a BMC does not start");
                self.running().failed.insert(name, error.to_string());
            }
        }
    }

    /// Ends what runs here; it starts again with the daemon.
    pub(crate) async fn close(&self) {
        let _alone = self.changing.lock().await;
        let Running { connections, served, .. } = std::mem::take(&mut *self.running());
        join_all(served.into_values().map(|served| served.group.stop(END_MAX))).await;
        join_all(connections.into_values().map(close)).await;
    }

    /// All of them, ordered by domain.
    pub(crate) fn list(&self) -> Vec<BmcView> {
        let (running, redfish) = (self.running(), self.redfish.address());
        let entries = self.book.entries();
        entries.iter().map(|(name, entry)| running.view(name, entry, redfish)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn show(&self, name: &str, query: BmcQuery) -> Result<BmcView, ApiError> {
        let (name, entry) = self.entry(name)?;
        let mut view = self.running().view(&name, &entry, self.redfish.address());
        view.password = query.password.then(|| entry.password.clone());
        Ok(view)
    }

    /// Makes one, not started.
    ///
    /// # Errors
    /// When libvirt does not know the domain, or the port is taken.
    pub(crate) async fn add(&self, request: BmcRequest) -> Result<BmcView, ApiError> {
        let uri: ConnectUri = request.libvirt_uri.parse().map_err(refused)?;
        if request.domain_name.is_empty() || request.domain_name.len() > NAME_BYTES_MAX {
            return Err(ApiError::invalid("this cannot be a domain's name"));
        }
        let _alone = self.changing.lock().await;
        let found = Connection::find(&uri, &request.domain_name).await.map_err(refused)?;
        let entries = self.book.entries();
        let same = |(name, entry): &(&String, &Entry)| {
            **name == found.name || (entry.uuid == found.uuid && entry.libvirt_uri == uri.as_str())
        };
        if let Some((name, _)) = entries.iter().find(same) {
            let message = format!("domain `{name}` has a BMC already");
            return Err(ApiError::new(ErrorKind::Conflict, message)
                .hint(format!("undercloud bmc show {}", quoted(name))));
        }
        let password = bmc_access::password().map_err(|e| failed("cannot make a password", e))?;
        Credentials::new(&request.username, password.expose())
            .map_err(|error| ApiError::invalid(error).hint("--username NAME"))?;
        let entry = Entry {
            uuid: found.uuid,
            libvirt_uri: uri.as_str().to_owned(),
            address: request.address,
            port: self.port(&request, &entries)?,
            active: false,
            user: request.username,
            password: password.clone(),
        };
        let name = found.name;
        self.keep(|entries| drop(entries.insert(name.clone(), entry.clone())))?;
        let view = self.running().view(&name, &entry, self.redfish.address());
        Ok(BmcView { password: Some(password), ..view })
    }

    /// Takes one away; the domain stays.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), ApiError> {
        let _alone = self.changing.lock().await;
        let (name, entry) = self.entry(name)?;
        self.keep(|entries| drop(entries.remove(&name)))?;
        self.end(&name).await;
        self.forget(&entry)
    }

    /// Starts or stops one, now and for after a restart.
    ///
    /// # Errors
    /// When it cannot be started; it is not to run then either.
    pub(crate) async fn switch(&self, name: &str, switch: BmcSwitch) -> Result<BmcView, ApiError> {
        let _alone = self.changing.lock().await;
        let (name, mut entry) = self.entry(name)?;
        match switch {
            BmcSwitch::Start if self.running().served.contains_key(&name) => {}
            BmcSwitch::Start => {
                let uri: ConnectUri = entry.libvirt_uri.parse().map_err(refused)?;
                // A domain that was made anew has the old name and another UUID.
                entry.uuid = Connection::find(&uri, &name).await.map_err(refused)?.uuid;
                self.serve(&name, &entry).await?.ready(READY_MAX).await;
            }
            BmcSwitch::Stop => self.end(&name).await,
        }
        entry.active = switch == BmcSwitch::Start;
        self.keep(|entries| drop(entries.insert(name.clone(), entry.clone())))?;
        Ok(self.running().view(&name, &entry, self.redfish.address()))
    }

    async fn serve(&self, name: &str, entry: &Entry) -> Result<Arc<Domain>, ApiError> {
        let uri: ConnectUri = entry.libvirt_uri.parse().map_err(refused)?;
        let socket = bind(SocketAddr::new(entry.address, entry.port))?;
        let credentials = Credentials::new(&entry.user, entry.password.expose())
            .map_err(|error| failed("the credentials of a BMC", error))?;
        let memory = self
            .memory(entry, credentials)
            .map_err(|error| failed("cannot keep what a BMC has to keep", error))?;
        let mut listed = Listed::new(self.redfish.site().await?);
        let found = Found { name: name.to_owned(), uuid: entry.uuid };
        let folder = self.state.domain_bmc_memories();
        let images = Images { folder, trust: self.trust.clone() };
        let domain = Arc::new(self.domain(&uri, found, images));
        let id = entry.uuid.to_string();
        listed
            .add(id, domain.clone(), memory.memory().clone())
            .map_err(|error| failed("a domain cannot be served by Redfish", error))?;
        let server = Server::start_kept(socket, memory.memory().clone(), domain.clone())
            .map_err(|error| failed("a BMC does not start", error))?;
        let stop = CancellationToken::new();
        let mut group = self.tasks.group(stop.clone());
        let bmc = Bmc { server, memory, listed };
        group.essential(format!("BMC of domain {name}"), bmc.run(domain.ended(), stop));
        let served = Served { uri, domain: domain.clone(), group };
        let mut running = self.running();
        running.failed.remove(name);
        running.served.insert(name.to_owned(), served);
        Ok(domain)
    }

    /// The domain, of a connection that is begun with the first.
    fn domain(&self, uri: &ConnectUri, found: Found, images: Images) -> Domain {
        let mut running = self.running();
        let (connection, _) = running.connections.entry(uri.clone()).or_insert_with(|| {
            let connection = Connection::start(uri.clone());
            let mut group = self.tasks.group(CancellationToken::new());
            let over = connection.ended();
            let stop = group.stopped();
            group.essential_part(format!("events of {uri}"), async move {
                let _ended = stop.run_until_cancelled_owned(over).await;
            });
            (connection, group)
        });
        connection.domain(found, images)
    }

    /// What the BMC keeps: its users, beginning with `credentials`, its events, its settings.
    fn memory(&self, entry: &Entry, credentials: Credentials) -> anyhow::Result<MemoryFile> {
        let folder = self.state.domain_bmc_memories();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(MemoryFile::open(folder.join(format!("{}.json", entry.uuid)), credentials)?)
    }

    /// Forgets what the BMC kept.
    fn forget(&self, entry: &Entry) -> Result<(), ApiError> {
        for kind in ["json", "cycle"] {
            let path = self.state.domain_bmc_memories().join(format!("{}.{kind}", entry.uuid));
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("cannot forget what the BMC kept", error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn end(&self, name: &str) {
        let served = {
            let mut running = self.running();
            running.failed.remove(name);
            running.served.remove(name)
        };
        let Some(Served { uri, domain, group }) = served else { return };
        group.stop(END_MAX).await;
        drop(domain);
        let unneeded = {
            let mut running = self.running();
            let needed = running.served.values().any(|other| other.uri == uri);
            if needed { None } else { running.connections.remove(&uri) }
        };
        if let Some(connection) = unneeded {
            close(connection).await;
        }
    }

    /// The port that is asked for, or one of this state that nobody has.
    fn port(&self, request: &BmcRequest, entries: &book::Entries) -> Result<u16, ApiError> {
        let ours = |port: u16| entries.values().any(|entry| entry.port == port);
        match request.port {
            Some(0) => Err(ApiError::invalid("port 0 is none")),
            Some(port) => {
                let address = SocketAddr::new(request.address, port);
                let twin = entries.iter().find(|(_, entry)| {
                    entry.port == port && overlap(entry.address, request.address)
                });
                if let Some((name, _)) = twin {
                    let message = format!("udp {address} is that of `{name}`'s BMC");
                    return Err(ApiError::new(ErrorKind::Conflict, message)
                        .hint("choose another --port, or none"));
                }
                bind(address).map(|_| port)
            }
            None => {
                let mut ports = self.state.domain_bmc_ports();
                let free = ports.find(|port| {
                    !ours(*port) && bind(SocketAddr::new(request.address, *port)).is_ok()
                });
                let taken = || {
                    ApiError::new(ErrorKind::Conflict, "this state's ports for BMCs are all taken")
                        .hint("choose one with --port")
                };
                free.ok_or_else(taken)
            }
        }
    }

    fn entry(&self, name: &str) -> Result<(String, Entry), ApiError> {
        let mut entries = self.book.entries();
        let by_uuid = entries.iter().find(|(_, entry)| entry.uuid.to_string() == name);
        let by_uuid = by_uuid.map(|(name, _)| name.clone());
        let found = entries.remove_entry(name).or_else(|| entries.remove_entry(&by_uuid?));
        found.ok_or_else(|| {
            ApiError::not_found(format!("no BMC was added for a domain `{name}`"))
                .hint("undercloud bmc list")
        })
    }

    fn keep(&self, change: impl FnOnce(&mut book::Entries)) -> Result<(), ApiError> {
        self.book.change(change).map_err(|error| failed("cannot keep the BMCs", error))
    }
}

/// Whether both would hear the same datagrams.
fn overlap(one: std::net::IpAddr, other: std::net::IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// As a shell takes it.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "'\\''"))
}

async fn close((connection, group): (Connection, Group)) {
    group.stop(END_MAX).await;
    connection.close().await;
}

impl Running {
    fn view(&self, name: &str, entry: &Entry, redfish: Option<SocketAddr>) -> BmcView {
        let served = self.served.get(name);
        let trouble = match served {
            Some(served) => served.domain.trouble(),
            None => self.failed.get(name).cloned(),
        };
        let status = match (served, &trouble) {
            (Some(_), None) => BmcStatus::Running,
            (None, None) => BmcStatus::Down,
            (_, Some(_)) => BmcStatus::Error,
        };
        let redfish = redfish.filter(|_| served.is_some());
        BmcView {
            domain_name: name.to_owned(),
            domain_uuid: entry.uuid.to_string(),
            status,
            address: entry.address,
            port: entry.port,
            libvirt_uri: entry.libvirt_uri.clone(),
            username: entry.user.clone(),
            password: None,
            redfish: redfish.map(|at| format!("https://{at}/redfish/v1/Systems/{}", entry.uuid)),
            trouble,
        }
    }
}
