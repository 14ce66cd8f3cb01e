//! What runs for the machines of a site: the engine that drives them, network boot and the agents'
//! listener in the network that they boot from, and for a lab its machines with a BMC for each.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};

use camino::Utf8PathBuf;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError, Clock,
    admin::LabMachine,
    agent, registry,
    serve::{self, Limits, Listener},
    tls::{self, Authority, ServerName},
};
use undercloud_bmc::governor::Governor;
use undercloud_engine::{
    AgentEndpoint, Engine, EngineDeps,
    driver::{Drivers, ipmi},
};
use undercloud_image::{
    blob::Blobs,
    catalog::{Image, names},
};
use undercloud_lab::{Acceleration, Lab, LabOptions, Machine, QemuFiles, probe_virtualisation};
use undercloud_model::{Digest, ErrorKind, MacAddr, node::Policy};
use undercloud_netboot::{BootFiles, Netboot, NetbootConfig, OpenError, ROUTERS, TIME, WATCH};
use undercloud_store::{Store, StoreError};

use super::{
    agents::{Agents, api_error},
    boots::{self, EnrolledOnly},
    cloud_watch::Explainer,
    kinds,
    lab_bmcs::LabBmcs,
    own_images,
    provisioning::Provisioning,
    redfish::Redfish,
    registry::Machines,
    site::{refused, unavailable},
    site_definitions::SiteDefinitions,
    tasks::{Group, Tasks},
    time_source::TimeSource,
    troubles::Troubles,
};
use crate::{clock, state::StateDir};

/// For the engine to end its sessions with BMCs.
const ENGINE_END_MAX: Duration = Duration::from_secs(15);
/// For connections, transfers and power actions under way.
pub(super) const REST_END_MAX: Duration = Duration::from_secs(12);
/// The setting that says where agents called last: what an engine without a network writes on disks.
pub(super) const AGENTS_SETTING: &str = "agents-url";

/// A part that may be in trouble, as people see it.
pub(super) const NETWORK_BOOT: &str = "network boot";

const WITHOUT_IPV6: &str = "this host has no IPv6, so nobody tells iPXE that there is no router of \
                            IPv6: each network boot takes some seconds longer, and nothing else";

/// What it is made with.
#[derive(Debug)]
pub(super) struct Deps {
    pub(super) state: StateDir,
    pub(super) store: Store,
    pub(super) blobs: Blobs,
    pub(super) authority: Arc<Authority>,
    pub(super) redfish: Arc<Redfish>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) troubles: Arc<Troubles>,
    pub(super) time: Arc<TimeSource>,
    pub(super) definitions: SiteDefinitions,
}

/// What runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) network: Option<MachinesNetwork>,
    engine: Mutex<Option<Group>>,
}

/// The network that machines boot from, and what hangs on it.
#[derive(Debug)]
pub(super) struct MachinesNetwork {
    pub(super) lab: Option<RunningLab>,
    pub(super) place: Provisioning,
    pub(super) media: SocketAddr,
    netboot: Mutex<Option<(Group, Programs)>>,
    others: Mutex<Vec<Group>>,
}

/// The lab as it is now, and its machines' BMCs.
#[derive(Debug)]
pub(super) struct RunningLab {
    lab: Mutex<Lab>,
    pub(super) bmcs: LabBmcs,
}

/// Which boot programs are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Programs {
    bios: Digest,
    uefi: Digest,
}

/// For a moment, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deps {
    pub(super) fn root(&self) -> Result<Utf8PathBuf, ApiError> {
        Utf8PathBuf::from_path_buf(self.state.root().to_owned())
            .map_err(|_| ApiError::invalid("the state directory's path is no UTF-8"))
    }

    /// How guests run on this host: found out once for each boot of the host.
    pub(super) async fn options(&self, say: impl Fn(&str)) -> Result<LabOptions, ApiError> {
        let files = QemuFiles::find().map_err(refused)?;
        let program = std::env::current_exe()
            .map_err(|error| unavailable("cannot find this program", error))?;
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known: Option<(String, Acceleration)> =
            self.store.setting("acceleration").await.map_err(api_error)?;
        if let Some((boot, acceleration)) = known
            && boot == boot_id
        {
            return Ok(LabOptions { files, acceleration, program });
        }
        let found = probe_virtualisation(&files.qemu).await.map_err(refused)?;
        say(&format!("virtualisation: {}: {}", found.acceleration, found.reason));
        let acceleration = found.acceleration;
        let kept = self.store.set_setting("acceleration", &(boot_id, acceleration)).await;
        kept.map_err(api_error)?;
        Ok(LabOptions { files, acceleration, program })
    }

    /// The engine, for machines in this network; in none, for what needs only their BMCs.
    pub(super) async fn engine(
        &self,
        network: Option<MachinesNetwork>,
    ) -> Result<Running, ApiError> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, self.state.media_port()));
        let (media, api) = match &network {
            Some(network) => {
                let api = network.place.agents_url();
                self.store.set_setting(AGENTS_SETTING, &api).await.map_err(api_error)?;
                (network.media, api)
            }
            None => {
                let last = self.store.setting(AGENTS_SETTING).await.map_err(api_error)?;
                (loopback, last.unwrap_or_default())
            }
        };
        let governor = Arc::new(Governor::default().with_free_loopback());
        let mut engine = Engine::start(EngineDeps {
            store: self.store.clone(),
            clock: Arc::new(clock::now_ms),
            bmc: Arc::new(Drivers::new(governor, ipmi::options(), self.authority.pem())),
            blobs: self.blobs.clone(),
            media: format!("http://{media}/media"),
            agents: AgentEndpoint { api, ca_pem: self.authority.pem().to_owned() },
            policy: Policy::default(),
            limits: undercloud_engine::Limits::default(),
        });
        let stop = CancellationToken::new();
        let mut group = self.tasks.group(stop.clone());
        group.essential("engine", async move {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => engine.stop().await,
                ended = engine.ended() => ended,
            };
            ended.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
        });
        Ok(Running { network, engine: Mutex::new(Some(group)) })
    }

    /// What machines of a lab need.
    pub(super) async fn lab_network(&self, lab: Lab) -> Result<MachinesNetwork, ApiError> {
        let place = Provisioning::of_lab(&lab)?;
        self.note_machines(&lab).await?;
        let bmcs = LabBmcs::default();
        if let Err(error) = self.start_bmcs(&lab, &bmcs).await {
            bmcs.stop(|_| true).await;
            return Err(error);
        }
        self.network(Some(RunningLab { lab: Mutex::new(lab), bmcs }), place, Vec::new()).await
    }

    /// Writes down which machines are the lab's, and what they are made of.
    pub(super) async fn note_machines(&self, lab: &Lab) -> Result<(), ApiError> {
        // Before their disks are erased nobody has to be asked: we made them.
        let nics = lab.machines().flat_map(|machine| &machine.definition().nics);
        let interfaces: Vec<MacAddr> = nics.map(|nic| nic.mac).collect();
        self.store.set_own_machines(&interfaces).await.map_err(api_error)?;
        own_images::note(&self.store, lab.machines().map(Machine::definition)).await
    }

    /// What machines on an interface of this host need.
    pub(super) async fn metal_network(
        &self,
        place: Provisioning,
    ) -> Result<MachinesNetwork, ApiError> {
        self.network(None, place, Vec::new()).await
    }

    async fn network(
        &self,
        lab: Option<RunningLab>,
        place: Provisioning,
        mut others: Vec<Group>,
    ) -> Result<MachinesNetwork, ApiError> {
        match self.listen(lab.is_some(), &place, &mut others).await {
            Ok(media) => {
                let network = MachinesNetwork {
                    lab,
                    place,
                    media,
                    netboot: Mutex::new(None),
                    others: Mutex::new(others),
                };
                self.open_netboot(&network).await;
                Ok(network)
            }
            Err(error) => {
                join_all(others.into_iter().map(|group| group.stop(REST_END_MAX))).await;
                if let Some(lab) = lab {
                    lab.bmcs.stop(|_| true).await;
                }
                Err(error)
            }
        }
    }

    /// Opens what agents and BMCs call; says where BMCs fetch.
    async fn listen(
        &self,
        is_lab: bool,
        place: &Provisioning,
        groups: &mut Vec<Group>,
    ) -> Result<SocketAddr, ApiError> {
        self.store.set_provisioning_range(place.range()).await.map_err(api_error)?;
        groups.push(self.agents(place)?);
        // The BMCs of the lab are on the host's loopback; those of metal reach the host as its
        // machines do.
        let host = if is_lab { Ipv4Addr::LOCALHOST } else { place.host() };
        let address = SocketAddrV4::new(host, self.state.media_port());
        let (parts, media) = boots::media_parts(address, self.boots(place))?;
        let mut group = self.tasks.group(parts.stop.clone());
        group.parts(parts);
        groups.push(group);
        Ok(media)
    }

    fn agents(&self, place: &Provisioning) -> Result<Group, ApiError> {
        let listener = place.agents_listener()?;
        let certificate = self.root()?.join("pki/agents.pem");
        let names = vec![ServerName::Ip(IpAddr::V4(place.host()))];
        let server = tls::Server::open(self.authority.clone(), certificate, names, clock::now_ms())
            .map_err(|error| unavailable("the agents' certificate", error))?;
        let stop = CancellationToken::new();
        let explainer = Explainer::new(self.definitions.clone());
        let api = Agents::new(self.store.clone(), explainer, self.state.logs(), stop.clone());
        let pulls = Machines(self.store.clone());
        let registry = registry::router(pulls, self.blobs.clone(), self.clock.clone());
        let router = agent::router(api, self.blobs.clone(), self.clock.clone()).merge(registry);
        let listener = Listener::Tls(listener, Arc::new(server));
        let served =
            serve::run(listener, router, Limits::default(), self.clock.clone(), stop.clone());
        let mut group = self.tasks.group(stop);
        group.essential("agents' API", served);
        Ok(group)
    }

    fn boots(&self, place: &Provisioning) -> EnrolledOnly {
        EnrolledOnly {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            agents_url: place.agents_url(),
            ca_pem: self.authority.pem().to_owned(),
        }
    }

    /// Opens network boot, or opens it anew when its programs are others than before. What does not
    /// open is a trouble, and no more.
    pub(super) async fn open_netboot(&self, network: &MachinesNetwork) {
        let opened = self.netboot(network).await;
        self.troubles.note(NETWORK_BOOT, opened.as_ref().map(|_| ())).await;
    }

    async fn netboot(&self, network: &MachinesNetwork) -> Result<(), ApiError> {
        let (files, programs) = self.programs().await?;
        let is_served = |open: &(Group, Programs)| open.1 == programs;
        if lock(&network.netboot).as_ref().is_some_and(is_served) {
            return Ok(());
        }
        let before = lock(&network.netboot).take();
        if let Some((group, _)) = before {
            group.stop(REST_END_MAX).await;
        }
        let (server, opened) = (network.place.host(), network.place.boot_sockets()?);
        for part in [WATCH, ROUTERS, TIME] {
            let missing = opened.missing.iter().find(|(missing, _)| *missing == part);
            let trouble = missing.and_then(|(_, error)| trouble(error));
            self.troubles.note(part, trouble.as_ref().map_or(Ok(()), Err)).await;
        }
        let boots = Arc::new(self.boots(&network.place));
        let clock = self.time.clock();
        let config = NetbootConfig { server, sockets: opened.sockets, files, clock };
        let parts = Netboot::parts(config, boots)
            .map_err(|error| unavailable("network boot cannot be opened", error))?;
        let mut group = self.tasks.group(parts.stop.clone());
        group.parts(parts);
        *lock(&network.netboot) = Some((group, programs));
        Ok(())
    }

    /// The programs that network boot serves, if they are built.
    async fn programs(&self) -> Result<(BootFiles, Programs), ApiError> {
        let (undionly_kpxe, bios) = self.program(names::IPXE_BIOS).await?;
        let (snponly_efi, uefi) = self.program(names::IPXE_UEFI).await?;
        Ok((BootFiles { undionly_kpxe, snponly_efi }, Programs { bios, uefi }))
    }

    async fn program(&self, name: &str) -> Result<(Arc<[u8]>, Digest), ApiError> {
        let row = match self.store.image::<Image>(name).await {
            Err(StoreError::NoImage(_)) => {
                let message = format!("machines cannot boot: the image {name} is not built");
                return Err(
                    ApiError::new(ErrorKind::Unavailable, message).hint("undercloud image build")
                );
            }
            found => found.map_err(api_error)?,
        };
        let read = tokio::fs::read(self.blobs.path(&row.digest)).await;
        let bytes = read.map_err(|error| {
            unavailable(&format!("machines cannot boot: the image {name} cannot be read"), error)
                .hint("undercloud image build")
        })?;
        Ok((Arc::from(bytes), row.digest))
    }
}

/// The trouble that a part of network boot is in without its socket. On a host without IPv6 there is
/// none, and nothing to do: what follows of it is said, once.
fn trouble(error: &OpenError) -> Option<ApiError> {
    if error.is_without_ipv6() {
        static SAID: Once = Once::new();
        SAID.call_once(|| tracing::info!("{WITHOUT_IPV6}"));
        return None;
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    let hint = "machines boot without it; the daemon opens it when it starts anew";
    Some(ApiError::new(ErrorKind::Unavailable, message).hint(hint))
}

impl MachinesNetwork {
    /// Whether machines can boot from it.
    pub(super) fn boots(&self) -> bool {
        lock(&self.netboot).is_some()
    }

    /// Ends all that runs in it; the machines run on.
    async fn stop(&self) {
        let netboot = lock(&self.netboot).take().map(|(group, _)| group);
        let others = std::mem::take(&mut *lock(&self.others));
        let groups = netboot.into_iter().chain(others);
        let bmcs = async {
            if let Some(lab) = &self.lab {
                lab.bmcs.stop(|_| true).await;
            }
        };
        tokio::join!(join_all(groups.map(|group| group.stop(REST_END_MAX))), bmcs);
    }
}

impl Running {
    /// Ends all that runs here; the machines run on.
    pub(super) async fn stop(&self) {
        let engine = lock(&self.engine).take();
        if let Some(engine) = engine {
            engine.stop(ENGINE_END_MAX).await;
        }
        if let Some(network) = &self.network {
            network.stop().await;
        }
    }

    pub(super) fn lab(&self) -> Option<&RunningLab> {
        self.network.as_ref()?.lab.as_ref()
    }
}

impl RunningLab {
    /// As it is now.
    pub(super) fn lab(&self) -> Lab {
        lock(&self.lab).clone()
    }

    /// Machines came or went.
    pub(super) fn set(&self, lab: Lab) {
        *lock(&self.lab) = lab;
    }

    /// The machines, ordered by name.
    pub(super) fn views(&self) -> Vec<LabMachine> {
        self.lab().machines().map(|machine| self.view(machine)).collect()
    }

    pub(super) fn view(&self, machine: &Machine) -> LabMachine {
        let (status, definition) = (machine.status(), machine.definition());
        LabMachine {
            name: status.name.to_string(),
            kind: kinds::shown(status.kind),
            memory_bytes: machine.readings().map(|readings| readings.memory_bytes),
            power: status.power,
            boot_mode: definition.firmware,
            cpus: status.cpus,
            memory_mb: u64::from(status.memory_mib),
            disks: status.disks_gib.iter().map(|gib| u64::from(*gib) << 30).collect(),
            mac: status.boot_mac.unwrap_or(MacAddr::from_bytes([0; 6])),
            bmc: self.bmcs.address(machine.name()).map(|a| a.to_string()).unwrap_or_default(),
            console: machine.console_log().with_file_name("console.sock").to_string(),
            console_log: machine.console_log().to_string(),
            pid: status.pid.and_then(|pid| u32::try_from(pid).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_host_without_ipv6_is_in_no_trouble_and_any_other_cause_is_named() {
        let open = |source| OpenError { what: "ICMPv6 socket", interface: "br0".into(), source };
        // EAFNOSUPPORT, as socket(2) says it where the kernel has no IPv6.
        assert_eq!(trouble(&open(io::Error::from_raw_os_error(97))), None);
        // EPERM.
        let trouble = trouble(&open(io::Error::from_raw_os_error(1))).unwrap();
        let message = "cannot open the ICMPv6 socket on br0: Operation not permitted (os error 1)";
        assert_eq!(trouble.message, message);
        assert!(trouble.hint.is_some());
    }
}
