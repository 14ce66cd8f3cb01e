//! The one Redfish listener, for the lab's machines and for libvirt's domains. It is opened with the
//! first machine that needs it, and stays.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError,
    tls::{self, Authority, ServerName},
};
use undercloud_bmc::{
    guid::Guid,
    machine::Machine,
    memory::Memory,
    redfish::server::{Entry, Renewed, Server, ServerHandle, Site, SiteError, Transport},
};
use undercloud_model::ErrorKind;
use undercloud_store::Store;
use uuid::Uuid;

use super::{
    agents::api_error,
    tasks::{Group, Tasks},
    utf8,
};
use crate::{clock, state::StateDir};

/// The setting that names the service for ever.
const UUID_SETTING: &str = "redfish-uuid";

/// For requests and machines under way.
const END_MAX: Duration = Duration::from_secs(12);

/// The listener, and the machines behind it.
#[derive(Debug)]
pub(crate) struct Redfish {
    state: StateDir,
    store: Store,
    authority: Arc<Authority>,
    tasks: Tasks,
    /// Held while it is opened; who only wants to know where it is looks at `address`.
    open: Mutex<Option<(Site, Group)>>,
    address: OnceLock<SocketAddr>,
}

/// Machines that Redfish has for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listed {
    site: Site,
    ids: Vec<String>,
}

impl Listed {
    /// None yet.
    pub(crate) fn new(site: Site) -> Self {
        Self { site, ids: Vec::new() }
    }

    /// One more.
    ///
    /// # Errors
    /// When its id cannot be used.
    pub(crate) fn add(
        &mut self,
        id: String,
        machine: Arc<dyn Machine>,
        memory: Memory,
    ) -> Result<(), SiteError> {
        let entry = Entry { id: id.clone(), machine, accounts: memory.accounts };
        self.site.add_logged(entry, memory.nvram)?;
        self.ids.push(id);
        Ok(())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        for id in &self.ids {
            let _was_there = self.site.remove(id);
        }
    }
}

fn unavailable(what: &str, error: impl Into<anyhow::Error>) -> ApiError {
    let error: anyhow::Error = error.into();
    ApiError::new(ErrorKind::Unavailable, format_args!("{what}: {error:#}"))
}

impl Redfish {
    pub(crate) fn new(
        state: &StateDir,
        store: Store,
        authority: Arc<Authority>,
        tasks: Tasks,
    ) -> Self {
        let (open, address) = (Mutex::new(None), OnceLock::new());
        Self { state: state.clone(), store, authority, tasks, open, address }
    }

    /// Where machines are added and removed; opens the listener if that is not done.
    ///
    /// # Errors
    /// When its port is taken, or its certificate cannot be kept.
    pub(crate) async fn site(&self) -> Result<Site, ApiError> {
        let mut open = self.open.lock().await;
        if let Some((site, _)) = &*open {
            return Ok(site.clone());
        }
        let site = Site::new(Guid(*self.uuid().await?.as_bytes()), None);
        let server = self.listen(site.clone())?;
        let _first = self.address.set(server.address());
        let stop = CancellationToken::new();
        let mut group = self.tasks.group(stop.clone());
        group.essential_part("Redfish", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => server.shutdown().await,
                () = server.ended() => {}
            }
        });
        *open = Some((site.clone(), group));
        Ok(site)
    }

    /// Where it listens, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// Ends it.
    pub(crate) async fn close(&self) {
        if let Some((_, group)) = self.open.lock().await.take() {
            group.stop(END_MAX).await;
        }
    }

    async fn uuid(&self) -> Result<Uuid, ApiError> {
        if let Some(uuid) = self.store.setting(UUID_SETTING).await.map_err(api_error)? {
            return Ok(uuid);
        }
        let uuid = Uuid::new_v4();
        self.store.set_setting(UUID_SETTING, &uuid).await.map_err(api_error)?;
        Ok(uuid)
    }

    fn listen(&self, site: Site) -> Result<ServerHandle, ApiError> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.state.redfish_port());
        let listener = TcpListener::bind(address).map_err(|error| {
            unavailable(&format!("Redfish cannot use tcp {address}"), error)
                .hint(format!("ss -ltnp 'sport = {}' shows who does", address.port()))
        })?;
        let certificate = utf8(&self.state.pki().join("redfish.pem"))
            .map_err(|error| unavailable("Redfish's certificate", error))?;
        let names =
            vec![ServerName::Ip(IpAddr::V4(*address.ip())), ServerName::Dns("localhost".into())];
        let now = clock::now_ms();
        let tls = tls::Server::open(self.authority.clone(), certificate, names, now)
            .map_err(|error| unavailable("Redfish's certificate", error))?;
        let renewed = Renewed::new(move || tls.config(clock::now_ms()));
        Server::start(listener, Transport::Renewed(renewed), site)
            .map_err(|error| unavailable("Redfish does not start", error))
    }
}
