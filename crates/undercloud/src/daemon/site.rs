//! What exists only where there are machines: the lab, a BMC for each of its machines, network
//! boot and the agents' listener inside its network, and the engine that drives all of it.
//!
//! Opened when the daemon starts and a lab is there, and when a lab is made.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    sync::Arc,
};

use camino::Utf8PathBuf;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError, Clock,
    admin::{Endpoint, LabMachine, LabPower, Reporter},
    agent, registry,
    serve::{self, Limits, Listener},
    tls::{self, Authority, ServerName},
};
use undercloud_bmc::{
    credentials::Credentials,
    guid::Guid,
    ipmi::server::{Server, ServerHandle},
    memory::MemoryFile,
    redfish::server as redfish,
};
use undercloud_engine::{AgentEndpoint, Engine, EngineDeps, EngineHandle, driver::IpmiFactory};
use undercloud_image::{
    blob::Blobs,
    catalog::{Image, names},
};
use undercloud_lab::{
    Acceleration, Lab, LabConfig, LabError, LabOptions, Machine, NetworkConfig, QemuFiles,
    instackenv::Instackenv, namespace, probe_virtualisation,
};
use undercloud_model::{ErrorKind, PowerAction, node::Policy};
use undercloud_netboot::{BootFiles, Netboot, NetbootConfig, NetbootHandle, NetbootSockets, Place};
use undercloud_store::{ProvisioningRange, Store};

use super::{
    agents::Agents, bmc_access, boots::EnrolledOnly, cloud::LabNics, registry::Machines,
    virtual_bmc::VirtualBmc,
};
use crate::{clock, state::StateDir};

/// The network that machines boot from.
const PROVISIONING: &str = "provisioning";
/// Ports on our address in it. It is a network of its own: these can be the same in every state.
const HTTP_BOOT_PORT: u16 = 8088;
const AGENTS_PORT: u16 = 8443;
/// Enrolled machines have addresses from the tenth on; those before are for what a site adds.
const FIRST_ADDRESS: u32 = 10;

/// The lab and all that hangs on it.
#[derive(Debug)]
pub(crate) struct Site {
    deps: Deps,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Deps {
    state: StateDir,
    store: Store,
    blobs: Blobs,
    authority: Arc<Authority>,
    clock: Clock,
}

#[derive(Debug)]
struct Running {
    lab: Lab,
    bmcs: Vec<ServerHandle>,
    memories: Vec<MemoryFile>,
    redfish: redfish::ServerHandle,
    netboot: Option<NetbootHandle>,
    agents: (CancellationToken, JoinHandle<()>),
    engine: EngineHandle,
    network: NetworkConfig,
}

/// The BMCs of a lab: by IPMI, what each keeps, and by Redfish.
struct Bmcs {
    bmcs: Vec<ServerHandle>,
    memories: Vec<MemoryFile>,
    redfish: redfish::ServerHandle,
}

fn refused(error: LabError) -> ApiError {
    let kind = error.kind();
    ApiError::new(kind, format_args!("{:#}", anyhow::Error::new(error)))
}

fn unavailable(what: &str, error: impl Into<anyhow::Error>) -> ApiError {
    let error: anyhow::Error = error.into();
    ApiError::new(ErrorKind::Unavailable, format_args!("{what}: {error:#}"))
}

impl Site {
    pub(crate) fn new(
        state: &StateDir,
        store: Store,
        blobs: Blobs,
        authority: Arc<Authority>,
        clock: Clock,
    ) -> Self {
        let deps = Deps { state: state.clone(), store, blobs, authority, clock };
        Self { deps, running: Mutex::new(None) }
    }

    /// Opens the lab if there is one.
    ///
    /// # Errors
    /// When something of it cannot be opened.
    pub(crate) async fn open(&self) -> Result<(), ApiError> {
        let mut running = self.running.lock().await;
        if running.is_some() || !self.deps.state.lab_definition().exists() {
            return Ok(());
        }
        let options = self.deps.options(|_| ()).await?;
        let root = self.deps.root()?;
        if let Some(lab) = Lab::open(&root, options).await.map_err(refused)? {
            *running = Some(self.deps.start(lab).await?);
        }
        Ok(())
    }

    /// Makes what is missing of the lab, and opens it.
    ///
    /// # Errors
    /// When the description is wrong, or something cannot be made.
    pub(crate) async fn create(&self, text: &str, reporter: &Reporter) -> Result<(), ApiError> {
        let config: LabConfig = text.parse().map_err(|error| {
            let text = format!("{:#}", anyhow::Error::new(error));
            ApiError::invalid(text).hint("`lab.toml` in the source tree shows every key")
        })?;
        let mut running = self.running.lock().await;
        let options = self.deps.options(|line| reporter.line(line)).await?;
        let root = self.deps.root()?;
        if running.is_some() {
            return Lab::check(&root, &config).map_err(refused);
        }
        let lab = Lab::create(&root, &config, options).await.map_err(refused)?;
        reporter.line(format_args!("{}", lab.host_access()));
        let started = self.deps.start(lab).await?;
        for machine in started.lab.machines() {
            let port = started.bmc_of(machine).map(|b| b.address().to_string());
            reporter.line(format_args!("{}: BMC {}", machine.name(), port.unwrap_or_default()));
        }
        *running = Some(started);
        Ok(())
    }

    /// Switches the machines off and removes them with their disks and networks.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) async fn delete(&self) -> Result<(), ApiError> {
        let mut running = self.running.lock().await;
        let Some(started) = running.take() else { return Ok(()) };
        let lab = started.stop().await;
        lab.delete().await.map_err(refused)?;
        bmc_access::remove(&self.deps.state)
            .map_err(|error| unavailable("cannot remove the BMCs' credentials", error))
    }

    /// Ends what runs in this process. The machines run on.
    pub(crate) async fn close(&self) {
        if let Some(started) = self.running.lock().await.take() {
            started.stop().await;
        }
    }

    /// The machines, ordered by name.
    pub(crate) async fn machines(&self) -> Vec<LabMachine> {
        let running = self.running.lock().await;
        let Some(started) = running.as_ref() else { return Vec::new() };
        started.lab.machines().map(|machine| started.view(machine)).collect()
    }

    /// The machines' links by network.
    pub(crate) async fn nics(&self) -> LabNics {
        let running = self.running.lock().await;
        let Some(started) = running.as_ref() else { return LabNics::new() };
        let links = |machine: &Machine| {
            let nics = machine.definition().nics.iter();
            nics.map(|nic| (nic.network.to_string(), nic.mac)).collect()
        };
        started.lab.machines().map(|m| (m.name().clone(), links(m))).collect()
    }

    /// What is listened on.
    pub(crate) async fn endpoints(&self) -> Vec<Endpoint> {
        let running = self.running.lock().await;
        let Some(started) = running.as_ref() else { return Vec::new() };
        let inside = format!(" inside {}", started.lab.network().namespace());
        let host = started.network.host_address();
        let mut endpoints = vec![Endpoint {
            name: "agents".into(),
            address: format!("https://{host}:{AGENTS_PORT}{inside}"),
        }];
        if started.netboot.is_some() {
            let address = format!("http://{host}:{HTTP_BOOT_PORT}, dhcp, tftp{inside}");
            endpoints.push(Endpoint { name: "network boot".into(), address });
        }
        let address = format!("https://{}/redfish/v1", started.redfish.address());
        endpoints.push(Endpoint { name: "redfish".into(), address });
        let address = started.lab.host_access().to_string();
        endpoints.push(Endpoint { name: "external network".into(), address });
        endpoints
    }

    /// Presses a machine's power button.
    ///
    /// # Errors
    /// When there is no such machine, or it does not obey.
    pub(crate) async fn power(&self, name: &str, power: LabPower) -> Result<LabMachine, ApiError> {
        let running = self.running.lock().await;
        let nothing = || ApiError::not_found("there is no lab").hint("undercloud lab create");
        let started = running.as_ref().ok_or_else(nothing)?;
        let machine = started.lab.machine(name).map_err(refused)?;
        let action = match power {
            LabPower::Start => PowerAction::On,
            LabPower::Stop => PowerAction::Off,
        };
        machine.power(action).await.map_err(refused)?;
        Ok(started.view(machine))
    }

    /// Starts network boot once the images that it needs are there.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub(crate) async fn images_changed(&self) -> Result<(), ApiError> {
        let mut running = self.running.lock().await;
        let Some(started) = running.as_mut() else { return Ok(()) };
        if started.netboot.is_none() {
            started.netboot = self.deps.netboot(&started.lab, &started.network).await?;
        }
        Ok(())
    }
}

impl Deps {
    fn root(&self) -> Result<Utf8PathBuf, ApiError> {
        Utf8PathBuf::from_path_buf(self.state.root().to_owned())
            .map_err(|_| ApiError::invalid("the state directory's path is no UTF-8"))
    }

    /// How guests run on this host: found out once for each boot of the host.
    async fn options(&self, say: impl Fn(&str)) -> Result<LabOptions, ApiError> {
        let files = QemuFiles::find().map_err(refused)?;
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known: Option<(String, Acceleration)> =
            self.store.setting("acceleration").await.map_err(super::agents::api_error)?;
        if let Some((boot, acceleration)) = known
            && boot == boot_id
        {
            return Ok(LabOptions { files, acceleration });
        }
        let found = probe_virtualisation(&files.qemu).await.map_err(refused)?;
        say(&format!("virtualisation: {}: {}", found.acceleration, found.reason));
        let acceleration = found.acceleration;
        let kept = self.store.set_setting("acceleration", &(boot_id, acceleration)).await;
        kept.map_err(super::agents::api_error)?;
        Ok(LabOptions { files, acceleration })
    }

    async fn start(&self, lab: Lab) -> Result<Running, ApiError> {
        let network = lab.network().bridges().find(|(_, n)| n.name.as_str() == PROVISIONING);
        let missing = || ApiError::invalid(format!("the lab has no network `{PROVISIONING}`"));
        let network = network.map(|(_, n)| n.clone()).ok_or_else(missing)?;
        self.store
            .set_provisioning_range(&range(&network))
            .await
            .map_err(super::agents::api_error)?;
        let Bmcs { bmcs, memories, redfish } = self.bmcs(&lab)?;
        let agents = self.agents(&lab, network.host_address())?;
        let netboot = self.netboot(&lab, &network).await?;
        let engine = Engine::start(EngineDeps {
            store: self.store.clone(),
            clock: Arc::new(clock::now_ms),
            bmc: Arc::new(IpmiFactory::default()),
            blobs: self.blobs.clone(),
            agents: AgentEndpoint {
                api: agents_url(&network),
                ca_pem: self.authority.pem().to_owned(),
            },
            policy: Policy::default(),
            limits: undercloud_engine::Limits::default(),
        });
        Ok(Running { lab, bmcs, memories, redfish, netboot, agents, engine, network })
    }

    /// A BMC for each machine, on the host's loopback, which no guest can reach: IPMI on a port of
    /// its own, Redfish on one for all. Both know the same users, which are kept with all else
    /// that a BMC keeps.
    fn bmcs(&self, lab: &Lab) -> Result<Bmcs, ApiError> {
        let machines: Vec<&Machine> = lab.machines().collect();
        let access = bmc_access::ensure(&self.state, &machines)
            .map_err(|error| unavailable("cannot keep the BMCs' credentials", error))?;
        let (mut bmcs, mut memories) = (Vec::new(), Vec::new());
        let first = machines.first().map_or(0, |m| m.definition().system_guid.as_u128());
        let site = redfish::Site::new(Guid((first ^ 2).to_be_bytes()), None);
        for (machine, access) in machines.iter().zip(&access) {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, access.port);
            let socket = UdpSocket::bind(address).map_err(|error| {
                let message = format!("the BMC of {} cannot use udp {address}", machine.name());
                unavailable(&message, error)
                    .hint(format!("ss -lunp 'sport = {}' shows who does", access.port))
            })?;
            let credentials = Credentials::new(&access.user, access.password.expose())
                .map_err(|error| unavailable("a BMC's credentials", error))?;
            let file = bmc_access::memory(&self.state, machine, credentials)
                .map_err(|error| unavailable("cannot keep what a BMC has to keep", error))?;
            let memory = file.memory().clone();
            memories.push(file);
            let bmc = Arc::new(VirtualBmc::new((*machine).clone(), lab.acceleration()));
            let server = Server::start_kept(socket, memory.clone(), bmc.clone())
                .map_err(|error| unavailable("a BMC does not start", error))?;
            bmcs.push(server);
            let (id, accounts) = (machine.name().to_string(), memory.accounts);
            site.add_logged(redfish::Entry { id, machine: bmc, accounts }, memory.nvram)
                .map_err(|error| unavailable("a machine cannot be served by Redfish", error))?;
        }
        let file = Instackenv::of(machines.iter().map(|m| m.definition()).zip(&access));
        let path = self.root()?.join("instackenv.json");
        file.write(&path).map_err(refused)?;
        Ok(Bmcs { bmcs, memories, redfish: self.redfish(site)? })
    }

    fn redfish(&self, site: redfish::Site) -> Result<redfish::ServerHandle, ApiError> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.state.redfish_port());
        let listener = TcpListener::bind(address).map_err(|error| {
            unavailable(&format!("Redfish cannot use tcp {address}"), error)
                .hint(format!("ss -ltnp 'sport = {}' shows who does", address.port()))
        })?;
        let certificate = self.root()?.join("pki/redfish.pem");
        let names =
            vec![ServerName::Ip(IpAddr::V4(*address.ip())), ServerName::Dns("localhost".into())];
        let now = clock::now_ms();
        let tls = tls::Server::open(self.authority.clone(), certificate, names, now)
            .map_err(|error| unavailable("Redfish's certificate", error))?;
        let renewed = redfish::Renewed::new(move || tls.config(clock::now_ms()));
        redfish::Server::start(listener, redfish::Transport::Renewed(renewed), site)
            .map_err(|error| unavailable("Redfish does not start", error))
    }

    fn agents(
        &self,
        lab: &Lab,
        host: Ipv4Addr,
    ) -> Result<(CancellationToken, JoinHandle<()>), ApiError> {
        let address = SocketAddrV4::new(host, AGENTS_PORT);
        let listener = namespace::open_tcp_listener(lab.network().namespace(), address);
        let listener = listener.map_err(refused)?;
        let certificate = self.root()?.join("pki/agents.pem");
        let names = vec![ServerName::Ip(IpAddr::V4(host))];
        let server = tls::Server::open(self.authority.clone(), certificate, names, clock::now_ms())
            .map_err(|error| unavailable("the agents' certificate", error))?;
        let desk = Agents::new(self.store.clone(), self.state.logs());
        let pulls = Machines(self.store.clone());
        let registry = registry::router(pulls, self.blobs.clone(), self.clock.clone());
        let router = agent::router(desk, self.blobs.clone(), self.clock.clone()).merge(registry);
        let stop = CancellationToken::new();
        let listener = Listener::Tls(listener, Arc::new(server));
        let served =
            serve::run(listener, router, Limits::default(), self.clock.clone(), stop.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the agents' listener ended");
            }
        });
        Ok((stop, task))
    }

    /// Network boot, if the programs that it serves are built.
    async fn netboot(
        &self,
        lab: &Lab,
        network: &NetworkConfig,
    ) -> Result<Option<NetbootHandle>, ApiError> {
        let (Some(undionly_kpxe), Some(snponly_efi)) =
            (self.program(names::IPXE_BIOS).await, self.program(names::IPXE_UEFI).await)
        else {
            return Ok(None);
        };
        let bridge = lab.network().bridges().find(|(_, n)| n.name == network.name);
        let interface = bridge.map(|(bridge, _)| bridge).unwrap_or_default();
        let inside = std::fs::File::open(namespace::path(lab.network().namespace()))
            .map_err(|error| unavailable("cannot open the lab's namespace", error))?;
        let server = network.host_address();
        let sockets = NetbootSockets::open(Place {
            namespace: Some(inside.into()),
            interface,
            server,
            http_port: HTTP_BOOT_PORT,
        })
        .map_err(|error| unavailable("network boot", error))?;
        let files = BootFiles { undionly_kpxe, snponly_efi };
        let boots = Arc::new(EnrolledOnly {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            agents_url: agents_url(network),
            ca_pem: self.authority.pem().to_owned(),
        });
        Netboot::start(NetbootConfig { server, sockets, files }, boots)
            .map(Some)
            .map_err(|error| unavailable("network boot", error))
    }

    async fn program(&self, name: &str) -> Option<Arc<[u8]>> {
        let row = self.store.image::<Image>(name).await.ok()?;
        let path = self.blobs.path(&row.digest);
        tokio::fs::read(path).await.ok().map(Arc::from)
    }
}

fn agents_url(network: &NetworkConfig) -> String {
    format!("https://{}:{AGENTS_PORT}", network.host_address())
}

/// Addresses for enrolled machines: all of the network but the first ones and the broadcast.
fn range(network: &NetworkConfig) -> ProvisioningRange {
    let first = u32::from(network.cidr.network()).saturating_add(FIRST_ADDRESS);
    let last = u32::from(network.cidr.broadcast()).saturating_sub(1);
    ProvisioningRange { network: network.cidr, first: first.into(), last: last.into() }
}

impl Running {
    fn bmc_of(&self, machine: &Machine) -> Option<&ServerHandle> {
        let index = self.lab.machines().position(|m| m.name() == machine.name())?;
        self.bmcs.get(index)
    }

    fn view(&self, machine: &Machine) -> LabMachine {
        let (status, definition) = (machine.status(), machine.definition());
        LabMachine {
            name: status.name.to_string(),
            power: status.power,
            boot_mode: definition.firmware,
            cpus: status.cpus,
            memory_mb: u64::from(status.memory_mib),
            disks: vec![u64::from(status.disk_gib) << 30],
            mac: status.boot_mac.unwrap_or(undercloud_model::MacAddr::from_bytes([0; 6])),
            bmc: self.bmc_of(machine).map(|b| b.address().to_string()).unwrap_or_default(),
            console: machine.console_log().with_file_name("console.sock").to_string(),
            console_log: machine.console_log().to_string(),
            pid: status.pid.and_then(|pid| u32::try_from(pid).ok()),
        }
    }

    /// Ends all that runs here; the machines run on.
    async fn stop(self) -> Lab {
        let Self { lab, bmcs, memories, redfish, netboot, agents, engine, network: _ } = self;
        let (stop, task) = agents;
        if let Err(error) = engine.stop().await {
            tracing::error!(%error, "the engine had ended");
        }
        drop(netboot);
        stop.cancel();
        let _ended = task.await;
        redfish.shutdown().await;
        for bmc in bmcs {
            bmc.shutdown().await;
        }
        for memory in memories {
            memory.close().await;
        }
        lab
    }
}
