//! What exists only where there are machines: the network that they boot from with network boot
//! and the agents' listener in it, the engine that drives them, and for a lab its machines with a
//! BMC for each.
//!
//! Opened when the daemon starts and a lab is there or an interface was named, and when a lab is
//! made.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::Arc,
};

use camino::Utf8PathBuf;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError, Clock,
    admin::{Endpoint, LabKind, LabMachine, LabPower, Reporter},
    agent, registry,
    serve::{self, Limits, Listener},
    tls::{self, Authority, ServerName},
};
use undercloud_bmc::{
    credentials::Credentials,
    governor::Governor,
    ipmi::server::{Server, ServerHandle},
    redfish::link::Trust,
};
use undercloud_engine::{
    AgentEndpoint, Engine, EngineDeps, EngineHandle,
    driver::{Drivers, ipmi},
};
use undercloud_image::{
    blob::Blobs,
    catalog::{Image, names},
};
use undercloud_lab::{
    Acceleration, Lab, LabConfig, LabError, LabOptions, Machine, QemuFiles, instackenv::Instackenv,
    probe_virtualisation,
};
use undercloud_model::{ErrorKind, PowerAction, node::Policy};
use undercloud_netboot::{BootFiles, MediaHandle, Netboot, NetbootConfig, NetbootHandle};
use undercloud_store::Store;

use super::{
    agents::Agents,
    bmc_access::{self, Bmcs},
    boots::{self, EnrolledOnly},
    cloud::LabNics,
    kinds,
    provisioning::{Interface, Provisioning},
    redfish::{Listed, Redfish},
    registry::Machines,
    virtual_bmc::VirtualBmc,
};
use crate::{clock, state::StateDir};

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
    redfish: Arc<Redfish>,
    clock: Clock,
    metal: Option<Interface>,
}

#[derive(Debug)]
struct Running {
    lab: Option<RunningLab>,
    media: MediaHandle,
    netboot: Option<NetbootHandle>,
    agents: (CancellationToken, JoinHandle<()>),
    engine: EngineHandle,
    network: Provisioning,
}

/// The lab and its machines' BMCs.
#[derive(Debug)]
struct RunningLab {
    lab: Lab,
    bmcs: Bmcs,
}

pub(super) fn refused(error: LabError) -> ApiError {
    let kind = error.kind();
    ApiError::new(kind, format_args!("{:#}", anyhow::Error::new(error)))
}

pub(super) fn unavailable(what: &str, error: impl Into<anyhow::Error>) -> ApiError {
    let error: anyhow::Error = error.into();
    ApiError::new(ErrorKind::Unavailable, format_args!("{what}: {error:#}"))
}

impl Site {
    pub(crate) fn new(
        state: &StateDir,
        store: Store,
        blobs: Blobs,
        authority: Arc<Authority>,
        redfish: Arc<Redfish>,
        clock: Clock,
        metal: Option<Interface>,
    ) -> Self {
        let state = state.clone();
        let deps = Deps { state, store, blobs, authority, redfish, clock, metal };
        Self { deps, running: Mutex::new(None) }
    }

    /// Opens the lab if there is one, or else what the machines on the named interface need.
    ///
    /// # Errors
    /// When something of it cannot be opened, or there are both.
    pub(crate) async fn open(&self) -> Result<(), ApiError> {
        let mut running = self.running.lock().await;
        let has_lab = self.deps.state.lab_definition().exists();
        match &self.deps.metal {
            Some(interface) if has_lab => return Err(one_network(&interface.name)),
            Some(interface) => {
                let network = Provisioning::of_interface(interface).map_err(|failure| {
                    ApiError::new(failure.kind, failure.message)
                        .hint(failure.hint.unwrap_or_default())
                })?;
                *running = Some(self.deps.start(None, network).await?);
            }
            None if has_lab => {
                let options = self.deps.options(|_| ()).await?;
                let root = self.deps.root()?;
                if let Some(lab) = Lab::open(&root, options).await.map_err(refused)? {
                    *running = Some(self.deps.start_lab(lab).await?);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Makes what is missing of the lab, and opens it.
    ///
    /// # Errors
    /// When the description is wrong, or something cannot be made.
    pub(crate) async fn create(
        &self,
        text: &str,
        kind: LabKind,
        reporter: &Reporter,
    ) -> Result<(), ApiError> {
        let config: LabConfig = text.parse().map_err(|error| {
            let text = format!("{:#}", anyhow::Error::new(error));
            ApiError::invalid(text).hint("`lab.toml` in the source tree shows every key")
        })?;
        if let Some(interface) = &self.deps.metal {
            return Err(one_network(&interface.name));
        }
        let mut running = self.running.lock().await;
        let options = self.deps.options(|line| reporter.line(line)).await?;
        let root = self.deps.root()?;
        let config = kinds::decide(config, kind, &root, options.acceleration, reporter)?;
        if running.is_some() {
            return Lab::check(&root, &config).map_err(refused);
        }
        let lab = Lab::create(&root, &config, options).await.map_err(refused)?;
        reporter.line(format_args!("{}", lab.host_access()));
        let started = self.deps.start_lab(lab).await?;
        for machine in started.lab.iter().flat_map(RunningLab::views) {
            reporter.line(format_args!("{}: BMC {}", machine.name, machine.bmc));
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
        let Some(started) = running.take_if(|running| running.lab.is_some()) else { return Ok(()) };
        let Some(lab) = started.stop().await else { return Ok(()) };
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
        let lab = running.as_ref().and_then(|started| started.lab.as_ref());
        lab.map(|lab| lab.views().collect()).unwrap_or_default()
    }

    /// The machines' links by network.
    pub(crate) async fn nics(&self) -> LabNics {
        let running = self.running.lock().await;
        let lab = running.as_ref().and_then(|started| started.lab.as_ref());
        let Some(RunningLab { lab, .. }) = lab else { return LabNics::new() };
        let links = |machine: &Machine| {
            let nics = machine.definition().nics.iter();
            nics.map(|nic| (nic.network.to_string(), nic.mac)).collect()
        };
        lab.machines().map(|m| (m.name().clone(), links(m))).collect()
    }

    /// What is listened on.
    pub(crate) async fn endpoints(&self) -> Vec<Endpoint> {
        let running = self.running.lock().await;
        let Some(started) = running.as_ref() else { return Vec::new() };
        let network = &started.network;
        let mut endpoints = vec![Endpoint {
            name: "agents".into(),
            address: format!("{}{}", network.agents_url(), network.place()),
        }];
        if started.netboot.is_some() {
            endpoints.push(Endpoint { name: "network boot".into(), address: network.boot_place() });
        }
        if let Some(RunningLab { lab, .. }) = &started.lab {
            let address = lab.host_access().to_string();
            endpoints.push(Endpoint { name: "external network".into(), address });
        }
        let address = format!("http://{}/media", started.media.address());
        endpoints.push(Endpoint { name: "virtual media".into(), address });
        endpoints
    }

    /// Presses a machine's power button.
    ///
    /// # Errors
    /// When there is no such machine, or it does not obey.
    pub(crate) async fn power(&self, name: &str, power: LabPower) -> Result<LabMachine, ApiError> {
        let running = self.running.lock().await;
        let nothing = || ApiError::not_found("there is no lab").hint("undercloud lab create");
        let lab = running.as_ref().and_then(|started| started.lab.as_ref()).ok_or_else(nothing)?;
        let machine = lab.lab.machine(name).map_err(refused)?;
        let action = match power {
            LabPower::Start => PowerAction::On,
            LabPower::Stop => PowerAction::Off,
        };
        machine.power(action).await.map_err(refused)?;
        Ok(lab.view(machine))
    }

    /// Starts network boot once the images that it needs are there.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub(crate) async fn images_changed(&self) -> Result<(), ApiError> {
        let mut running = self.running.lock().await;
        let Some(started) = running.as_mut() else { return Ok(()) };
        if started.netboot.is_none() {
            started.netboot = self.deps.netboot(&started.network).await?;
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
        let program = std::env::current_exe()
            .map_err(|error| unavailable("cannot find this program", error))?;
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known: Option<(String, Acceleration)> =
            self.store.setting("acceleration").await.map_err(super::agents::api_error)?;
        if let Some((boot, acceleration)) = known
            && boot == boot_id
        {
            return Ok(LabOptions { files, acceleration, program });
        }
        let found = probe_virtualisation(&files.qemu).await.map_err(refused)?;
        say(&format!("virtualisation: {}: {}", found.acceleration, found.reason));
        let acceleration = found.acceleration;
        let kept = self.store.set_setting("acceleration", &(boot_id, acceleration)).await;
        kept.map_err(super::agents::api_error)?;
        Ok(LabOptions { files, acceleration, program })
    }

    async fn start_lab(&self, lab: Lab) -> Result<Running, ApiError> {
        let network = Provisioning::of_lab(&lab)?;
        let redfish = Listed::new(self.redfish.site().await?);
        let bmcs = self.bmcs(&lab, redfish)?;
        self.start(Some(RunningLab { lab, bmcs }), network).await
    }

    async fn start(
        &self,
        lab: Option<RunningLab>,
        network: Provisioning,
    ) -> Result<Running, ApiError> {
        self.store
            .set_provisioning_range(network.range())
            .await
            .map_err(super::agents::api_error)?;
        let agents = self.agents(&network)?;
        // The BMCs of the lab are on the host's loopback; those of metal reach the host as its
        // machines do.
        let host = if lab.is_some() { Ipv4Addr::LOCALHOST } else { network.host() };
        let address = SocketAddrV4::new(host, self.state.media_port());
        let media = boots::serve_media(address, self.boots(&network))?;
        let netboot = self.netboot(&network).await?;
        let governor = Arc::new(Governor::default().with_free_loopback());
        let engine = Engine::start(EngineDeps {
            store: self.store.clone(),
            clock: Arc::new(clock::now_ms),
            bmc: Arc::new(Drivers::new(governor, ipmi::options(), self.authority.pem())),
            blobs: self.blobs.clone(),
            media: format!("http://{}/media", media.address()),
            agents: AgentEndpoint {
                api: network.agents_url(),
                ca_pem: self.authority.pem().to_owned(),
            },
            policy: Policy::default(),
            limits: undercloud_engine::Limits::default(),
        });
        Ok(Running { lab, media, netboot, agents, engine, network })
    }

    /// A BMC for each machine, on the host's loopback, which no guest can reach: IPMI on a port of
    /// its own, Redfish on one for all. Both know the same users, which are kept with all else
    /// that a BMC keeps.
    fn bmcs(&self, lab: &Lab, mut redfish: Listed) -> Result<Bmcs, ApiError> {
        let machines: Vec<&Machine> = lab.machines().collect();
        let access = bmc_access::ensure(&self.state, &machines)
            .map_err(|error| unavailable("cannot keep the BMCs' credentials", error))?;
        let (mut ipmi, mut memories) = (Vec::new(), Vec::new());
        let trust = Trust::authorities([self.authority.pem().as_bytes()]);
        let trust = trust.ok_or_else(|| ApiError::invalid("our CA is no certificate"))?;
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
            let (machine_of, trust) = ((*machine).clone(), trust.clone());
            let bmc = Arc::new(VirtualBmc::new(machine_of, lab.acceleration(), trust));
            let server = Server::start_kept(socket, memory.clone(), bmc.clone())
                .map_err(|error| unavailable("a BMC does not start", error))?;
            ipmi.push(server);
            redfish
                .add(machine.name().to_string(), bmc, memory)
                .map_err(|error| unavailable("a machine cannot be served by Redfish", error))?;
        }
        let file = Instackenv::of(machines.iter().map(|m| m.definition()).zip(&access));
        let path = self.root()?.join("instackenv.json");
        file.write(&path).map_err(refused)?;
        Ok(Bmcs { ipmi, memories, redfish })
    }

    fn agents(
        &self,
        network: &Provisioning,
    ) -> Result<(CancellationToken, JoinHandle<()>), ApiError> {
        let listener = network.agents_listener()?;
        let certificate = self.root()?.join("pki/agents.pem");
        let names = vec![ServerName::Ip(IpAddr::V4(network.host()))];
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

    fn boots(&self, network: &Provisioning) -> EnrolledOnly {
        EnrolledOnly {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            agents_url: network.agents_url(),
            ca_pem: self.authority.pem().to_owned(),
        }
    }

    /// Network boot, if the programs that it serves are built.
    async fn netboot(&self, network: &Provisioning) -> Result<Option<NetbootHandle>, ApiError> {
        let (Some(undionly_kpxe), Some(snponly_efi)) =
            (self.program(names::IPXE_BIOS).await, self.program(names::IPXE_UEFI).await)
        else {
            return Ok(None);
        };
        let (server, sockets) = (network.host(), network.boot_sockets()?);
        let files = BootFiles { undionly_kpxe, snponly_efi };
        let boots = Arc::new(self.boots(network));
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

/// Machines boot from one network: the engine gives them addresses of that one.
fn one_network(interface: &str) -> ApiError {
    let message = format!(
        "this state has a network for machines already: a lab boots from its own, not from {interface}"
    );
    ApiError::new(ErrorKind::Conflict, message).hint(
        "give one of them a state directory of its own (--state), or take the lab away: \
         undercloud lab delete",
    )
}

impl RunningLab {
    /// The machines, ordered by name.
    fn views(&self) -> impl Iterator<Item = LabMachine> {
        self.lab.machines().map(|machine| self.view(machine))
    }

    fn bmc_of(&self, machine: &Machine) -> Option<&ServerHandle> {
        let index = self.lab.machines().position(|m| m.name() == machine.name())?;
        self.bmcs.ipmi.get(index)
    }

    fn view(&self, machine: &Machine) -> LabMachine {
        let (status, definition) = (machine.status(), machine.definition());
        LabMachine {
            name: status.name.to_string(),
            kind: kinds::shown(status.kind),
            memory_bytes: machine.readings().map(|readings| readings.memory_bytes),
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
}

impl Running {
    /// Ends all that runs here; the machines run on.
    async fn stop(self) -> Option<Lab> {
        let Self { lab, media, netboot, agents: (stop, task), engine, network: _ } = self;
        if let Err(error) = engine.stop().await {
            tracing::error!(%error, "the engine had ended");
        }
        drop(netboot);
        media.shutdown().await;
        stop.cancel();
        let _ended = task.await;
        let RunningLab { lab, bmcs } = lab?;
        bmcs.shutdown().await;
        Some(lab)
    }
}
