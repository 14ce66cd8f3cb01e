//! A daemon around the rack: store, engine, and an installer that resumes.

use std::{sync::Arc, time::Duration};

use camino::Utf8PathBuf;
use tempfile::TempDir;
use undercloud_engine::{AgentEndpoint, Engine, EngineDeps, EngineHandle, Limits};
use undercloud_image::{
    blob::Blobs,
    catalog::{Content, Encoding, Image, ImageKind},
};
use undercloud_model::{
    MacAddr,
    consent::WipeScope,
    node::{DeployRequest, NewNode, Node, Phase, Policy, ProvisionState as S, RawNode, Verb},
};
use undercloud_store::{
    Halt, Open, ProvisioningRange, Requested, Scope, Store, StoreError, TimelineEvent,
};

use crate::rack::{FakeBmcs, FakeClock, MEDIA, Rack, password};

pub(crate) const NAME: &str = "compute-0";
pub(crate) const MAC: &str = "52:54:00:00:00:01";
/// Real time that nothing here comes near, unless it hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) rack: Arc<Rack>,
    pub(crate) clock: FakeClock,
    pub(crate) policy: Policy,
    pub(crate) store: Store,
    pub(crate) engine: Option<EngineHandle>,
    by_media: bool,
    /// Whether the undercloud made the machine itself.
    is_own: bool,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(Policy::default(), None).await
    }

    pub(crate) async fn with(policy: Policy, halt: Option<Halt>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = FakeClock::new();
        let mac: MacAddr = MAC.parse().unwrap();
        let rack = Rack::new(mac, clock.clone());
        let store = open(&dir, &clock, halt).await;
        let mut lab =
            Self { dir, rack, clock, policy, store, engine: None, by_media: false, is_own: true };
        lab.start();
        lab
    }

    /// Its machine boots by virtual media.
    pub(crate) fn by_media(self) -> Self {
        Self { by_media: true, ..self }
    }

    /// Its machine is somebody's metal.
    pub(crate) fn of_metal(self) -> Self {
        Self { is_own: false, ..self }
    }

    fn start(&mut self) {
        let clock = self.clock.clone();
        let deps = EngineDeps {
            store: self.store.clone(),
            clock: Arc::new(move || clock.now()),
            bmc: Arc::new(FakeBmcs(self.rack.clone())),
            blobs: self.blobs(),
            media: MEDIA.into(),
            agents: AgentEndpoint {
                api: "https://192.168.24.1:8443".into(),
                ca_pem: "-----BEGIN CERTIFICATE-----".into(),
            },
            policy: self.policy.clone(),
            limits: Limits {
                bmc_retry_wait: Duration::from_millis(1),
                bmc_unwell_max: Duration::from_secs(5),
                power_follows_max: Duration::from_millis(20),
                power_look_every: Duration::from_millis(1),
                ..Limits::default()
            },
        };
        self.engine = Some(Engine::start(deps));
        self.rack.daemon(Some(self.store.clone()));
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::open(path(&self.dir).join("blobs")).unwrap()
    }

    /// The daemon is killed and started again, on the same files.
    pub(crate) async fn restart(&mut self) {
        self.rack.daemon(None);
        self.engine = None;
        self.store.close().await;
        self.store = open(&self.dir, &self.clock, None).await;
        self.start();
    }

    /// Time passes.
    pub(crate) fn advance(&self, ms: i64) {
        self.clock.advance(ms);
        self.engine.as_ref().unwrap().wake();
    }

    pub(crate) async fn node(&self) -> Node {
        self.store.node(NAME).await.unwrap()
    }

    pub(crate) async fn timeline(&self) -> Vec<TimelineEvent> {
        self.store.events_since(Scope::All, 0, 1000).await.unwrap()
    }

    /// Waits until the node is at something.
    pub(crate) async fn until(&self, is: impl Fn(&Node) -> bool) -> Node {
        let found = self.store.wait_for(NAME, HANGS, |n| is(n).then(|| n.clone())).await.unwrap();
        match found {
            Some(node) => node,
            None => {
                let node = self.node().await;
                panic!("it hangs in {} [{}]: {:?}", node.state, node.phase, node.last_error)
            }
        }
    }

    pub(crate) async fn ask(&self, verb: Verb) -> Requested {
        self.store.request(NAME, verb, self.clock.now()).await.unwrap()
    }

    /// Asks, and waits until nothing is under way.
    pub(crate) async fn do_it(&self, verb: Verb) -> Node {
        let asked = self.ask(verb).await;
        self.store.wait_settled(&asked, HANGS).await.unwrap().expect("it hangs")
    }

    /// What the installer does, whatever was done before.
    pub(crate) async fn install(&self) -> Result<Node, StoreError> {
        self.prepare().await?;
        loop {
            let node = self.store.node(NAME).await?;
            let verb = match node.state {
                S::Active => return Ok(node),
                S::Enroll => Verb::Manage,
                S::Manageable if node.inventory.is_none() => Verb::Inspect,
                S::InspectFailed => Verb::Inspect,
                S::Manageable | S::CleanFailed => provide(),
                S::Available | S::DeployFailed | S::Error => {
                    Verb::Deploy(Box::new(self.request().await?))
                }
                _ => {
                    let idle = |n: &Node| (!n.is_busy()).then_some(());
                    self.store.wait_for(NAME, HANGS, idle).await?.expect("it hangs");
                    continue;
                }
            };
            let mut changes = self.store.changes();
            let now = self.clock.now();
            match self.store.request(NAME, verb, now).await {
                Ok(asked) => {
                    let node = self.store.wait_settled(&asked, HANGS).await?.expect("it hangs");
                    if node.last_error.is_some() {
                        return Ok(node);
                    }
                }
                // What was asked for before the crash waits to be taken up, or was just now.
                Err(StoreError::Pending(_) | StoreError::Refused(_)) => {
                    tokio::time::timeout(HANGS, changes.changed())
                        .await
                        .expect("it hangs")
                        .unwrap();
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn prepare(&self) -> Result<(), StoreError> {
        let range = ProvisioningRange {
            network: "192.168.24.0/24".parse().unwrap(),
            first: "192.168.24.10".parse().unwrap(),
            last: "192.168.24.20".parse().unwrap(),
        };
        self.store.set_provisioning_range(&range).await?;
        let own: &[MacAddr] = if self.is_own { &[MAC.parse().unwrap()] } else { &[] };
        self.store.set_own_machines(own).await?;
        if self.store.deployable_image("overcloud-full").await.is_err() {
            let stored = self.blobs().put(&b"an image"[..]).unwrap();
            let image = Image {
                name: "overcloud-full".into(),
                kind: ImageKind::Disk,
                digest: stored.digest,
                size: stored.size,
                encoding: Encoding::Zstd,
                content: Content { digest: stored.digest, size: 4 << 30 },
                os: None,
                min_disk_bytes: 8 << 30,
                has_agent: true,
                built_at: 0,
                inputs: stored.digest,
            };
            self.store.put_image(&image.name, &image.digest, &image, self.clock.now()).await?;
        }
        self.store.import_node(new_node(self.by_media), self.clock.now()).await?;
        Ok(())
    }

    pub(crate) async fn request(&self) -> Result<DeployRequest, StoreError> {
        Ok(DeployRequest {
            image: self.store.deployable_image("overcloud-full").await?,
            hostname: None,
            ssh_keys: vec!["ssh-ed25519 AAAA somebody".into()],
            user_data: None,
            network_data: None,
        })
    }

    /// Goes as far as `state`.
    pub(crate) async fn up_to(&self, state: S) {
        self.prepare().await.unwrap();
        for verb in [Verb::Manage, Verb::Inspect, provide()] {
            if self.node().await.state == state && !(verb == Verb::Inspect) {
                return;
            }
            let node = self.do_it(verb).await;
            assert_eq!(node.last_error, None);
        }
        assert_eq!(self.node().await.state, state);
    }

    /// Deploys until the agent is at this phase.
    pub(crate) async fn deploy_until(&self, is: impl Fn(&Phase) -> bool) -> Node {
        let request = self.request().await.unwrap();
        self.ask(Verb::Deploy(Box::new(request))).await;
        self.until(|n| is(&n.phase)).await
    }
}

pub(crate) fn provide() -> Verb {
    Verb::Provide { wipe: WipeScope::default() }
}

pub(crate) fn new_node(by_media: bool) -> NewNode {
    NewNode::try_from(RawNode {
        name: NAME.into(),
        bmc_address: "127.0.0.1".into(),
        bmc_port: Some(6230),
        bmc_user: "admin".into(),
        bmc_password: password(),
        macs: vec![MAC.into()],
        driver: if by_media { "redfish-ipmi".into() } else { String::new() },
        boot_interface: if by_media { "redfish-virtual-media".into() } else { String::new() },
        ..RawNode::default()
    })
    .unwrap()
}

fn path(dir: &TempDir) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap()
}

async fn open(dir: &TempDir, clock: &FakeClock, halt: Option<Halt>) -> Store {
    let open = Open { halt, ..Open::at(clock.now()) };
    Store::open(path(dir).join("undercloud.sqlite"), open).await.unwrap()
}
