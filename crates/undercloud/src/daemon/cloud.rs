//! The cloud on the machines: plans it from what is known of them, installs it, and remembers every
//! deployment.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde_json::Value;
use undercloud_api::{
    ApiError,
    admin::{
        CloudAccess, CloudRequest, DeploymentRun, DeploymentStep, DeploymentView, InstallationView,
        PlanView, PublicNetwork, SiteView, StepWait, system_need_bytes,
    },
    tls::{Authority, Issued, ServerName},
};
use undercloud_cloud::{
    CertificateRequest, CloudConfig, Definitions, Plan, Reference, certificate_requests,
    definition::ADMIN_PASSWORD,
    generate,
    plan::{self, Facts, Images, MachineAddresses, MachineFacts},
    references,
    rollout::{self, OpenStep},
};
use undercloud_image::{
    catalog::{Image, names},
    oci::ContainerImage,
};
use undercloud_lab::Acceleration;
use undercloud_model::{
    Digest, ErrorKind, MacAddr, NodeId, NodeName, Secret,
    agent::cloud::{ImagePull, ImageStore},
    consent::{DiskPlan, Fate, WipeScope, outlook},
    inventory::Disk,
    node::{Node, ProvisionState},
};
use undercloud_store::{DeploymentRow, Kept, RunRow, Store};

use super::{
    agents::api_error, cloud_watch::Explainer, consent, kept_plan, own_images,
    site_definitions::SiteDefinitions,
};
use crate::{clock, state::StateDir};

/// Under which names certificates of machines are kept.
pub(super) const CERTIFICATES: &str = "certificate/";
/// A certificate with less than this left is replaced by the next installation.
const RENEW_BEFORE_MS: i64 = 200 * 24 * 3600 * 1000;

/// A machine's links by the names of the lab's networks.
pub(crate) type LabNics = BTreeMap<NodeName, BTreeMap<String, MacAddr>>;

/// Plans and installs clouds.
#[derive(Debug)]
pub(crate) struct Clouds {
    pub(super) state: StateDir,
    pub(super) store: Store,
    authority: Arc<Authority>,
    definitions: SiteDefinitions,
}

/// A plan and what it was made of.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) digest: Digest,
    /// What a site's own files change in it.
    pub(super) site: Option<SiteView>,
    /// Of machines that are not the lab's: those whose disks nobody knows.
    pub(super) uninspected: Vec<NodeName>,
    /// And what a person would agree to who has seen the plan: the disks that are erased, of
    /// machines where somebody has to.
    pub(super) erases: Vec<(NodeId, NodeName, Vec<Disk>)>,
}

fn invalid(error: impl Into<anyhow::Error>) -> ApiError {
    ApiError::invalid(format!("{:#}", error.into()))
}

fn bug(error: impl Into<anyhow::Error>) -> ApiError {
    ApiError::new(ErrorKind::Bug, format_args!("{:#}", error.into()))
}

fn no_deployment(number: i64) -> ApiError {
    ApiError::not_found(format!("there is no deployment {number}")).hint("undercloud cloud list")
}

impl Clouds {
    pub(crate) fn new(state: &StateDir, store: Store, authority: Arc<Authority>) -> Self {
        let definitions = SiteDefinitions::default();
        Self { state: state.clone(), store, authority, definitions }
    }

    /// With a site's own definitions.
    pub(crate) fn with(self, definitions: SiteDefinitions) -> Self {
        Self { definitions, ..self }
    }

    /// Knows the causes of failures, of services that ship and of a site's own.
    pub(super) fn explainer(&self) -> Explainer {
        Explainer::new(self.definitions.clone())
    }

    /// Where a site's own definitions are.
    pub(crate) fn definitions(&self) -> String {
        self.definitions.directory()
    }

    /// What would be installed.
    ///
    /// # Errors
    /// The description is wrong, or a machine or an image is missing.
    pub(crate) async fn plan(
        &self,
        request: &CloudRequest,
        nics: &LabNics,
    ) -> Result<PlanView, ApiError> {
        let planned = self.make(&request.description, nics).await?;
        let digest = planned.digest;
        let deployments = self.rows().await?;
        let newest = deployments.first().filter(|row| row.digest == digest);
        Ok(PlanView {
            digest,
            deployment: newest.map(|row| row.number),
            needs_approval: !planned.erases.is_empty() || !planned.uninspected.is_empty(),
            uninspected: planned.uninspected,
            site: planned.site,
            plan: serde_json::to_value(&planned.plan).map_err(bug)?,
        })
    }

    pub(super) async fn make(
        &self,
        description: &str,
        nics: &LabNics,
    ) -> Result<Planned, ApiError> {
        let (definitions, overlay) = self.definitions.read()?;
        let config: CloudConfig = description.parse().map_err(|error| {
            invalid(anyhow::Error::new(error))
                .hint("`cloud.toml` in the source tree shows every key")
        })?;
        let facts = self.facts(nics).await?;
        let images = self.images().await?;
        let plan = |definitions: &Definitions| {
            undercloud_cloud::plan(definitions, &config, &facts, &images)
        };
        let planned = plan(&definitions).map_err(|error| invalid(anyhow::Error::new(error)))?;
        let site = self.definitions.changes(&overlay, &planned, plan)?;
        let plan = planned;
        let digest = plan.digest().map_err(bug)?;
        let (mut uninspected, mut erases) = (Vec::new(), Vec::new());
        for machine in plan.machines.iter().filter(|machine| machine.install) {
            let node = self.store.node(machine.node).await.map_err(api_error)?;
            own_images::check_system(&self.store, &node).await?;
            if node.inventory.is_none() {
                if !self.store.is_own(&node).await.map_err(api_error)? {
                    uninspected.push(node.name);
                }
            } else if consent::needs_approval(&self.store, &node, &machine.disks).await? {
                erases.push((node.id, node.name, consent::erased(&machine.disks)));
            }
        }
        Ok(Planned { plan, digest, site, uninspected, erases })
    }

    async fn facts(&self, nics: &LabNics) -> Result<Facts, ApiError> {
        let nodes = self.store.nodes().await.map_err(api_error)?;
        let earlier = self.rows().await?.into_iter().next();
        let earlier = earlier.map(|row| kept_plan::machines(&row.plan)).unwrap_or_default();
        let had = |name: &NodeName| earlier.iter().find(|m| m.name == *name)?.addresses.clone();
        let acceleration: Option<(String, Acceleration)> =
            self.store.setting("acceleration").await.map_err(api_error)?;
        let emulated = acceleration.is_some_and(|(_, how)| how == Acceleration::Tcg);
        let images = self.store.images::<Image>().await.map_err(api_error)?;
        let images: Vec<Image> = images.into_iter().map(|row| row.record).collect();
        let scope = WipeScope::Root { need_bytes: system_need_bytes(&images) };
        let machines = nodes.iter().map(|node| {
            let (nics, had) = (nics.get(&node.name), had(&node.name));
            (node.name.clone(), machine_facts(node, &scope, nics, had))
        });
        let store = images.iter().find(|image| image.name == names::CONTAINER_STORE);
        Ok(Facts {
            machines: machines.collect(),
            emulated: emulated && !nics.is_empty(),
            image_store: store.map(|i| ImageStore { blob: i.digest, bytes: i.size }),
        })
    }

    async fn images(&self) -> Result<Images, ApiError> {
        let images = super::registry::current(&self.store).await?;
        let pull = |image: ContainerImage| ImagePull {
            bytes: image.size,
            digest: image.manifest.digest,
            id: image.config.digest,
            name: image.name,
        };
        Ok(images.into_iter().map(|image| (image.name.clone(), pull(image))).collect())
    }

    pub(super) async fn rows(&self) -> Result<Vec<DeploymentRow<Value>>, ApiError> {
        self.store.deployments().await.map_err(api_error)
    }

    /// All deployments, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn deployments(&self) -> Result<Vec<DeploymentView>, ApiError> {
        let rows = self.rows().await?;
        Ok(rows.into_iter().map(|row| view(row, false)).collect())
    }

    /// Whether there is a deployment of this number.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn exists(&self, number: i64) -> Result<(), ApiError> {
        let rows = self.rows().await?;
        let found = rows.iter().any(|row| row.number == number);
        found.then_some(()).ok_or_else(|| no_deployment(number))
    }

    /// One deployment with its plan and steps.
    ///
    /// # Errors
    /// There is none of that number.
    pub(crate) async fn deployment(&self, number: i64) -> Result<DeploymentView, ApiError> {
        let row = self.store.deployment::<Value>(number).await.map_err(api_error)?;
        let mut view = view(row.ok_or_else(|| no_deployment(number))?, true);
        let steps = self.store.deployment_steps(number).await.map_err(api_error)?;
        view.steps = steps
            .into_iter()
            .map(|step| DeploymentStep {
                key: step.key,
                attempt: step.attempt,
                ended_at: step.ended_at,
                outcome: step.outcome,
            })
            .collect();
        let runs = self.store.deployment_runs(number).await.map_err(api_error)?;
        let run = |RunRow { attempt, started_at, ended_at, failure }| DeploymentRun {
            attempt,
            started_at,
            ended_at,
            failure,
        };
        view.runs = runs.into_iter().map(run).collect();
        let newest = self.newest_installation().await?;
        view.installation = newest.filter(|newest| newest.deployment == Some(number));
        view.waits = self.waits(&view).await?;
        Ok(view)
    }

    /// What a deployment's run waits for, if one is under way and this version can read its plan.
    async fn waits(&self, view: &DeploymentView) -> Result<Vec<StepWait>, ApiError> {
        let plan = view.plan.as_ref().filter(|_| view.ended_at.is_none());
        let Some(Ok(plan)) = plan.map(Plan::read) else { return Ok(Vec::new()) };
        let run = (view.number, view.attempt);
        let orders = self.store.orders_under(&rollout::orders_of(run.0, run.1)).await;
        let open = rollout::open_steps(&plan, run, &orders.map_err(api_error)?);
        let wait = |OpenStep { machine, title, since, deadline }| StepWait {
            machine,
            title,
            since,
            deadline,
        };
        Ok(open.into_iter().map(wait).collect())
    }

    /// The newest installation, if this version can read it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn newest_installation(&self) -> Result<Option<InstallationView>, ApiError> {
        let newest = self.store.newest_installation().await.map_err(api_error)?;
        Ok(newest.and_then(|newest| match newest {
            Kept::Known(installation) => Some(InstallationView::from(&*installation)),
            Kept::Other { .. } => None,
        }))
    }

    /// Keeps what a verification found.
    ///
    /// # Errors
    /// There is no deployment of that number.
    pub(crate) async fn set_verification(
        &self,
        number: i64,
        report: Value,
    ) -> Result<(), ApiError> {
        self.store.set_verification(number, &report).await.map_err(api_error)
    }

    /// How to reach the cloud that was installed last.
    ///
    /// # Errors
    /// None was.
    pub(crate) async fn access(&self) -> Result<CloudAccess, ApiError> {
        let row = kept_plan::complete(self.rows().await?.into_iter().next())?;
        self.access_of(&row).await
    }

    /// How to reach the cloud of a deployment.
    pub(super) async fn access_of(
        &self,
        row: &DeploymentRow<Value>,
    ) -> Result<CloudAccess, ApiError> {
        let cloud = kept_plan::cloud(row)?;
        let password = self.secret(ADMIN_PASSWORD).await?;
        let network = &cloud.public_network;
        let machines = kept_plan::machines(&row.plan).into_iter();
        Ok(CloudAccess {
            deployment: row.number,
            auth_url: cloud.auth_url.clone(),
            ca_file: self.state.pki().join("ca.pem").display().to_string(),
            user: "admin".to_owned(),
            password,
            project: "admin".to_owned(),
            region: cloud.region.clone(),
            public_address: cloud.public_address,
            dashboard: cloud.dashboard.clone(),
            public_network: PublicNetwork {
                cidr: network.cidr,
                gateway: network.gateway,
                floating_first: network.floating_start,
                floating_last: network.floating_end,
            },
            machines: machines.map(|m| (m.name.to_string(), m.role)).collect(),
        })
    }

    async fn secret(&self, name: &str) -> Result<Secret, ApiError> {
        let found = self.store.cloud_secret(&secret_key(name)).await.map_err(api_error)?;
        found.ok_or_else(|| ApiError::not_found(format!("the cloud's secret {name} is not there")))
    }

    /// Every value that the plan refers to; those that are not there yet are made.
    pub(super) async fn values(
        &self,
        plan: &Plan,
    ) -> Result<BTreeMap<Reference, Secret>, ApiError> {
        let wanted: BTreeSet<Reference> = references(plan).map_err(bug)?;
        let mut values = BTreeMap::from([(Reference::Ca, Secret::new(self.authority.pem()))]);
        for reference in &wanted {
            let Reference::Secret(name) = reference else { continue };
            let unknown = || ApiError::invalid(format!("the plan has no secret `{name}`"));
            let kind = plan.secrets.get(name).ok_or_else(unknown)?;
            let fresh = generate(*kind).map_err(bug)?;
            let (key, now) = (secret_key(name), clock::now_ms());
            let kept = self.store.keep_cloud_secret(&key, &fresh, now).await;
            values.insert(reference.clone(), kept.map_err(api_error)?);
        }
        for request in certificate_requests(plan).map_err(bug)? {
            let issued = self.certificate(&request).await?;
            let (machine, kind) = (request.machine, request.kind);
            let certificate = Secret::new(issued.certificate_pem);
            values.insert(Reference::Certificate(machine.clone(), kind), certificate);
            values.insert(Reference::Key(machine, kind), issued.key_pem);
        }
        Ok(values)
    }

    /// The certificate that was issued for these names, or a new one when it nears its end or the
    /// names are others.
    async fn certificate(&self, request: &CertificateRequest) -> Result<Issued, ApiError> {
        let addresses = request.addresses.iter().map(|a| ServerName::Ip(IpAddr::V4(*a)));
        let names = request.names.iter().map(|n| ServerName::from(n.as_str()));
        let names: Vec<ServerName> = names.chain(addresses).collect();
        let names: Vec<ServerName> = BTreeSet::from_iter(names).into_iter().collect();
        let key = format!("{CERTIFICATES}{}/{}", request.machine, request.kind);
        let kept = self.store.cloud_secret(&key).await.map_err(api_error)?;
        let now = clock::now_ms();
        if let Some(kept) = kept
            && let Ok((issued_for, issued)) =
                serde_json::from_str::<(Vec<ServerName>, Issued)>(kept.expose())
            && issued_for == names
            && issued.not_after_ms > now + RENEW_BEFORE_MS
        {
            return Ok(issued);
        }
        let issued = self.authority.issue_peer(&names, now).map_err(bug)?;
        let text = serde_json::to_string(&(names, &issued)).map_err(bug)?;
        let text = Secret::new(text);
        self.store.replace_cloud_secret(&key, &text, now).await.map_err(api_error)?;
        Ok(issued)
    }
}

/// What is known of a machine. The lab knows its links.
fn machine_facts(
    node: &Node,
    scope: &WipeScope,
    nics: Option<&BTreeMap<String, MacAddr>>,
    addresses: Option<MachineAddresses>,
) -> MachineFacts {
    // The lab's name for where users come from is of old.
    let of_cloud = |name: &str| if name == "external" { "public" } else { name }.to_owned();
    let links = nics.into_iter().flatten().map(|(name, mac)| (of_cloud(name), *mac));
    let cards = node.inventory.iter().flat_map(|inventory| &inventory.nics);
    let cards = cards.map(|nic| plan::Card { name: nic.name.clone(), mac: nic.mac });
    let memory_mib = node.inventory.as_ref().map(|i| i.memory_bytes >> 20);
    let (disks, no_disk) = match outlook(node, scope) {
        _ if node.inventory.is_none() => (Vec::new(), None),
        Ok(disks) => (disks, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    MachineFacts {
        node: node.id,
        nics: links.collect(),
        cards: cards.collect(),
        boot_card: node.boot_port().map(|port| port.mac),
        cpus: node.properties.cpus.or(node.inventory.as_ref().map(|i| i.cpu.count)),
        memory_mib: node.properties.memory_mb.or(memory_mib),
        disk: disk_of(&disks),
        disks,
        no_disk,
        active: node.state == ProvisionState::Active,
        datapath: node.inventory.as_ref().map(|i| i.datapath).unwrap_or_default(),
        provisioning_address: node.boot_port().map(|port| port.address.addr()),
        addresses,
    }
}

/// The disk that the machine is installed on, or would be.
fn disk_of(disks: &[DiskPlan]) -> Option<plan::Disk> {
    let chosen = disks.iter().find(|plan| matches!(plan.fate, Fate::Erased | Fate::Installed))?;
    let disk = chosen.disk.identity();
    Some(plan::Disk { name: disk.name, serial: disk.serial, size_bytes: disk.size_bytes })
}

fn secret_key(name: &str) -> String {
    format!("secret/{name}")
}

fn view(row: DeploymentRow<Value>, with_plan: bool) -> DeploymentView {
    DeploymentView {
        number: row.number,
        digest: row.digest,
        created_at: row.created_at,
        attempt: row.attempt,
        started_at: row.started_at,
        ended_at: row.ended_at,
        failure: row.failure,
        verification: row.verification,
        plan: with_plan.then_some(row.plan),
        steps: Vec::new(),
        waits: Vec::new(),
        runs: Vec::new(),
        installation: None,
    }
}
