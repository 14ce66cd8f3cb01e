//! The machines of this state: a lab's, or those that boot from an interface that was named. What
//! runs for them is [`Running`].
//!
//! What cannot be opened stops nothing else: it is a trouble, and is tried again. There is always an
//! engine: without a network that machines boot from it drives what only needs their BMCs.

mod resize;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex as Shortly, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex, sync::watch, time::timeout};
use undercloud_api::{
    ApiError, Clock,
    admin::{Endpoint, LabKind, LabMachine, LabPower, Reporter},
    tls::Authority,
};
use undercloud_image::blob::Blobs;
use undercloud_lab::{Lab, LabConfig, LabError, Machine};
use undercloud_model::{ErrorKind, PowerAction, node::Verb};
use undercloud_netboot::{ROUTERS, TIME, WATCH};
use undercloud_store::Store;

use super::{
    agents::api_error,
    bmc_access,
    cloud::LabNics,
    kinds, log_files, own_images,
    provisioning::{Interface, Provisioning},
    redfish::Redfish,
    running::{Deps, MachinesNetwork, NETWORK_BOOT, Running, RunningLab},
    site_definitions::SiteDefinitions,
    tasks::Tasks,
    time_source::TimeSource,
    troubles::Troubles,
};
use crate::state::StateDir;

/// The part that opens a lab, or the named interface.
const MACHINES: &str = "machines";

/// The lab and all that hangs on it.
#[derive(Debug)]
pub(crate) struct Site {
    deps: Deps,
    metal: Option<Interface>,
    /// Held by whoever opens, makes or deletes: one after the other, however long that takes. Those
    /// who only look never wait for it.
    changing: Mutex<IsOver>,
    running: Shortly<Option<Arc<Running>>>,
    attempted: watch::Sender<bool>,
}

/// Nothing is opened any more: the daemon ends.
type IsOver = bool;

pub(super) fn refused(error: LabError) -> ApiError {
    let (kind, hint) = (error.kind(), error.hint());
    let refused = ApiError::new(kind, format_args!("{:#}", anyhow::Error::new(error)));
    match hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

pub(super) fn unavailable(what: &str, error: impl Into<anyhow::Error>) -> ApiError {
    let error: anyhow::Error = error.into();
    ApiError::new(ErrorKind::Unavailable, format_args!("{what}: {error:#}"))
}

/// What a site is made with.
#[derive(Debug)]
pub(crate) struct SiteDeps {
    pub(crate) state: StateDir,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) authority: Arc<Authority>,
    pub(crate) redfish: Arc<Redfish>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) time: Arc<TimeSource>,
    pub(crate) definitions: SiteDefinitions,
}

impl Site {
    pub(crate) fn new(deps: SiteDeps, metal: Option<Interface>) -> Self {
        let SiteDeps { state, store, blobs, authority, redfish, clock, tasks, troubles, .. } = deps;
        let SiteDeps { time, definitions, .. } = deps;
        let deps = Deps {
            state,
            store,
            blobs,
            authority,
            redfish,
            clock,
            tasks,
            troubles,
            time,
            definitions,
        };
        let (running, attempted) = (Shortly::default(), watch::Sender::new(false));
        Self { deps, metal, changing: Mutex::new(false), running, attempted }
    }

    /// Opens what should be open and is not: the lab if there is one, or else what the machines on
    /// the named interface need; network boot; and an engine in any case.
    ///
    /// # Errors
    /// Why something stays closed; it is among the troubles, too.
    pub(crate) async fn open_what_is_missing(&self) -> Result<String, ApiError> {
        let is_over = self.changing.lock().await;
        if *is_over {
            return Ok("the daemon ends".to_owned());
        }
        let opened = self.open().await;
        self.deps.troubles.note(MACHINES, opened.as_ref().map(|_| ())).await;
        self.attempted.send_replace(true);
        opened?;
        match self.deps.troubles.of(NETWORK_BOOT) {
            Some(trouble) => Err(ApiError::new(ErrorKind::Unavailable, trouble.message)),
            None => Ok("nothing is missing".to_owned()),
        }
    }

    /// Waits until that was tried once, but not for longer than `at_most`.
    pub(crate) async fn attempted(&self, at_most: Duration) {
        let mut attempted = self.attempted.subscribe();
        let _late = timeout(at_most, attempted.wait_for(|attempted| *attempted)).await;
    }

    async fn open(&self) -> Result<(), ApiError> {
        if let Some(network) = self.now().as_ref().and_then(|running| running.network.as_ref()) {
            self.deps.open_netboot(network).await;
            return Ok(());
        }
        match self.network().await {
            Ok(Some(network)) => self.run(Some(network)).await,
            Ok(None) => self.run_if_nothing_does().await,
            Err(error) => {
                self.run_if_nothing_does().await?;
                Err(error)
            }
        }
    }

    /// The network that machines boot from, opened; none if there is neither lab nor interface.
    async fn network(&self) -> Result<Option<MachinesNetwork>, ApiError> {
        let has_lab = self.deps.state.lab_definition().exists();
        match &self.metal {
            Some(interface) if has_lab => Err(one_network(&interface.name)),
            Some(interface) => {
                let place = Provisioning::of_interface(interface).map_err(|failure| {
                    ApiError::new(failure.kind, failure.message)
                        .hint(failure.hint.unwrap_or_default())
                })?;
                self.deps.metal_network(place).await.map(Some)
            }
            None if has_lab => {
                let Some(lab) = self.open_lab().await? else { return Ok(None) };
                self.deps.lab_network(lab).await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn open_lab(&self) -> Result<Option<Lab>, ApiError> {
        let options = self.deps.options(|_| ()).await?;
        Lab::open(&self.deps.root()?, options).await.map_err(refused)
    }

    /// Lets an engine run with this network, in the place of what ran before.
    async fn run(&self, network: Option<MachinesNetwork>) -> Result<(), ApiError> {
        let before = self.shortly().take();
        if let Some(before) = before {
            before.stop().await;
        }
        let running = self.deps.engine(network).await?;
        *self.shortly() = Some(Arc::new(running));
        Ok(())
    }

    async fn run_if_nothing_does(&self) -> Result<(), ApiError> {
        if self.now().is_some() { Ok(()) } else { self.run(None).await }
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
        if let Some(interface) = &self.metal {
            return Err(one_network(&interface.name));
        }
        let _alone = self.changing.lock().await;
        let options = self.deps.options(|line| reporter.line(line)).await?;
        let root = self.deps.root()?;
        let config = kinds::decide(config, kind, &root, options.acceleration, reporter)?;
        if self.now().is_some_and(|running| running.lab().is_some()) {
            return Lab::check(&root, &config).map_err(refused);
        }
        let lab = Lab::create(&root, &config, options).await.map_err(refused)?;
        reporter.line(format_args!("{}", lab.host_access()));
        let network = self.deps.lab_network(lab).await?;
        for machine in network.lab.iter().flat_map(RunningLab::views) {
            reporter.line(format_args!("{}: BMC {}", machine.name, machine.bmc));
        }
        self.run(Some(network)).await?;
        self.deps.troubles.note(MACHINES, Ok(())).await;
        Ok(())
    }

    /// Switches the machines off and removes them with their disks and networks; also those of a
    /// lab that could not be opened for use.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) async fn delete(&self) -> Result<(), ApiError> {
        let _alone = self.changing.lock().await;
        let running = self.now();
        if let Some(lab) = running.as_ref().and_then(|running| running.lab()).map(RunningLab::lab) {
            self.shortly().take();
            if let Some(running) = &running {
                running.stop().await;
            }
            lab.delete().await.map_err(refused)?;
        } else if self.metal.is_none() && self.deps.state.lab_definition().exists() {
            let Some(lab) = self.open_lab().await? else { return Ok(()) };
            lab.delete().await.map_err(refused)?;
        } else {
            return Ok(());
        }
        for part in [MACHINES, NETWORK_BOOT, WATCH, ROUTERS, TIME] {
            self.deps.troubles.forget(part);
        }
        self.deps.store.set_own_machines(&[]).await.map_err(api_error)?;
        own_images::note(&self.deps.store, std::iter::empty()).await?;
        bmc_access::remove(&self.deps.state)
            .map_err(|error| unavailable("cannot remove the BMCs' credentials", error))?;
        self.run_if_nothing_does().await
    }

    /// Ends what runs in this process. The machines run on.
    pub(crate) async fn close(&self) {
        let mut is_over = self.changing.lock().await;
        *is_over = true;
        let running = self.shortly().take();
        if let Some(running) = running {
            running.stop().await;
        }
    }

    /// What runs now, to be looked at without waiting for anybody.
    fn now(&self) -> Option<Arc<Running>> {
        self.shortly().clone()
    }

    /// For a moment, never across an await.
    fn shortly(&self) -> std::sync::MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machines, ordered by name.
    pub(crate) fn machines(&self) -> Vec<LabMachine> {
        let running = self.now();
        let lab = running.as_ref().and_then(|running| running.lab());
        lab.map(RunningLab::views).unwrap_or_default()
    }

    /// Bounds what the machines' consoles have printed, to what each of so many may have. Says how
    /// many bytes that gave back.
    pub(crate) fn bound_consoles(&self, bytes_max: impl Fn(usize) -> u64) -> io::Result<u64> {
        let running = self.now();
        let lab = running.as_ref().and_then(|running| running.lab());
        let Some(lab) = lab.map(RunningLab::lab) else { return Ok(0) };
        let bytes_max = bytes_max(lab.machines().count());
        let mut freed = 0;
        for machine in lab.machines() {
            freed += log_files::bound(machine.console_log().as_std_path(), bytes_max)?;
        }
        Ok(freed)
    }

    /// The machines' links by network.
    pub(crate) fn nics(&self) -> LabNics {
        let running = self.now();
        let lab = running.as_ref().and_then(|running| running.lab());
        let Some(lab) = lab.map(RunningLab::lab) else { return LabNics::new() };
        let links = |machine: &Machine| {
            let mut links = BTreeMap::new();
            for nic in &machine.definition().nics {
                links.entry(nic.network.to_string()).or_insert(nic.mac);
            }
            links
        };
        lab.machines().map(|m| (m.name().clone(), links(m))).collect()
    }

    /// What is listened on.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let running = self.now();
        let Some(network) = running.as_ref().and_then(|running| running.network.as_ref()) else {
            return Vec::new();
        };
        let place = &network.place;
        let mut endpoints = vec![Endpoint {
            name: "agents".into(),
            address: format!("{}{}", place.agents_url(), place.place()),
        }];
        if network.boots() {
            endpoints.push(Endpoint { name: NETWORK_BOOT.into(), address: place.boot_place() });
        }
        if let Some(lab) = &network.lab {
            let address = lab.lab().host_access().to_string();
            endpoints.push(Endpoint { name: "external network".into(), address });
        }
        let address = format!("http://{}/media", network.media);
        endpoints.push(Endpoint { name: "virtual media".into(), address });
        endpoints
    }

    /// Presses a machine's power button.
    ///
    /// # Errors
    /// When there is no such machine, or it does not obey.
    pub(crate) async fn power(&self, name: &str, power: LabPower) -> Result<LabMachine, ApiError> {
        let running = self.now();
        let nothing = || ApiError::not_found("there is no lab").hint("undercloud lab create");
        let lab = running.as_ref().and_then(|running| running.lab()).ok_or_else(nothing)?;
        let now = lab.lab();
        let machine = now.machine(name).map_err(refused)?;
        let action = match power {
            LabPower::Start => PowerAction::On,
            LabPower::Stop => PowerAction::Off,
        };
        machine.power(action).await.map_err(refused)?;
        Ok(lab.view(machine))
    }

    /// Opens network boot once the images that it needs are there, and anew when they change. What
    /// cannot be opened is a trouble of its own: the images are kept.
    pub(crate) async fn images_changed(&self) {
        let is_over = self.changing.lock().await;
        let running = self.now().filter(|_| !*is_over);
        if let Some(network) = running.as_ref().and_then(|running| running.network.as_ref()) {
            self.deps.open_netboot(network).await;
        }
    }

    /// Whether this can be asked of a node now.
    ///
    /// # Errors
    /// It needs the ramdisk, and there is no network that machines boot from: waiting is in vain.
    pub(crate) fn allows(&self, verb: &Verb) -> Result<(), ApiError> {
        let needs_ramdisk =
            matches!(verb, Verb::Inspect | Verb::Provide { .. } | Verb::Deploy(_) | Verb::Undeploy);
        if !needs_ramdisk || self.now().is_some_and(|running| running.network.is_some()) {
            return Ok(());
        }
        let hint = "undercloud serve --detach --provisioning-interface INTERFACE, \
                    or undercloud lab create";
        Err(match self.deps.troubles.of(MACHINES) {
            Some(trouble) => ApiError::new(
                ErrorKind::Unavailable,
                format_args!("no machine can boot its ramdisk now: {}", trouble.message),
            )
            .hint(trouble.hint.unwrap_or_else(|| hint.to_owned())),
            None => ApiError::new(
                ErrorKind::Unavailable,
                "no machine can boot its ramdisk: this daemon has no network for machines",
            )
            .hint(hint),
        })
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
