//! The administrator's API from client to what answers, over a real unix socket.

use std::{sync::Mutex, time::Duration};

use axum::body::Body;
use camino::{Utf8Path, Utf8PathBuf};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;
use undercloud_image::{
    catalog::{Content, Encoding, Image, ImageKind},
    oci::{ContainerImage, Manifest, Piece},
};
use undercloud_model::{
    BootMode, Caller, Digest, NodeId, NodeName, PowerState, Secret,
    agent::{InstalledIdentity, PROTOCOL_VERSION},
    consent::WipeScope,
    node::{
        BmcAddress, BootInterface, Driver, FailureKind, LastError, Maintenance, NewNode, Node,
        Phase, Properties, ProvisionState, Verb,
    },
};
use uuid::Uuid;

use super::*;
use crate::{
    Clock,
    client::{Client, ClientError},
    serve::{self, Limits, Listener},
};

/// Keeps its things in memory and does at once what it is asked.
struct Memory {
    nodes: Mutex<Vec<NodeView>>,
    images: Mutex<Vec<Image>>,
    containers: Mutex<Vec<ContainerImage>>,
    events: Mutex<Vec<Event>>,
    verbs: Mutex<Vec<Verb>>,
    approvals: Mutex<Vec<(ApprovalRequest, String)>>,
    forces: Mutex<Vec<bool>>,
    news: watch::Sender<u64>,
}

fn local_peer() -> Peer {
    Peer { address: None, process: Some(Process { uid: 0, pid: Some(7) }) }
}

fn digest_of(wipe: &WipeScope) -> Digest {
    Digest::from_bytes([u8::from(*wipe == WipeScope::All); 32])
}

fn node(name: &str, id: u128) -> NodeView {
    let node = Node {
        id: NodeId::from_uuid(Uuid::from_u128(id)),
        name: name.parse().unwrap(),
        version: 1,
        visit: 0,
        driver: Driver::Ipmi,
        boot_interface: BootInterface::Ipxe,
        bmc: BmcAddress {
            address: [127, 0, 0, 1].into(),
            port: 6230,
            user: "admin".into(),
            redfish: None,
        },
        ports: Vec::new(),
        boot_mode: BootMode::Bios,
        properties: Properties::default(),
        root_device: Default::default(),
        wipe: WipeScope::default(),
        booted_again: false,
        resource_class: "baremetal".into(),
        inventory: None,
        state: ProvisionState::Enroll,
        target: None,
        state_since: 1000,
        phase: Phase::Idle,
        deadline: None,
        power: Some(PowerState::Off),
        power_seen_at: Some(1000),
        target_power: None,
        maintenance: None,
        last_error: None,
        instance: None,
        created_at: 1000,
        updated_at: 1000,
    };
    NodeView { node, pending: 0, ssh_host_key: None }
}

#[test]
fn a_failure_is_its_requests_also_where_the_state_does_not_tell() {
    // A verification that failed leads back to `enroll`, an errand that failed to where it was.
    let mut view = node("controller-0", 1);
    let accepted = Accepted { node: view.node.id, cursor: 0, at: 1000, request: 7 };
    assert_eq!(accepted.failure(&view), None);
    let error = |at| LastError { kind: FailureKind::BmcPassword, text: "refused".into(), at };
    view.node.last_error = Some(error(999));
    assert_eq!(accepted.failure(&view), None, "an earlier one");
    view.node.last_error = Some(error(1000));
    assert_eq!(accepted.failure(&view), Some(&error(1000)));
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            images: Mutex::default(),
            containers: Mutex::default(),
            events: Mutex::default(),
            verbs: Mutex::default(),
            approvals: Mutex::default(),
            forces: Mutex::default(),
            news: watch::channel(0).0,
        })
    }

    fn happens(&self, node: Option<NodeId>, text: &str) -> i64 {
        self.happens_with(node, text, Value::Null)
    }

    fn happens_with(&self, node: Option<NodeId>, text: &str, data: Value) -> i64 {
        let mut events = self.events.lock().unwrap();
        let cursor = i64::try_from(events.len()).unwrap() + 1;
        let (topic, severity) = ("transition".to_owned(), Severity::Info);
        let text = text.to_owned();
        events.push(Event {
            cursor,
            at: 1000,
            node,
            name: None,
            topic,
            severity,
            text,
            data,
            deployment: None,
            run: None,
            visit: None,
            request: None,
            cause: None,
            times: 1,
        });
        self.news.send_modify(|n| *n += 1);
        cursor
    }

    fn change(&self, id: NodeId, change: impl FnOnce(&mut NodeView)) -> NodeView {
        let mut nodes = self.nodes.lock().unwrap();
        let view = nodes.iter_mut().find(|v| v.node.id == id).unwrap();
        change(view);
        view.clone()
    }
}

impl StatusApi for Memory {
    async fn status(&self) -> Result<Status, ApiError> {
        Ok(Status {
            version: "0.1.0".into(),
            pid: 7,
            state_dir: "/state".into(),
            definitions: String::new(),
            started_at: 1000,
            rss_bytes: 1,
            endpoints: Vec::new(),
            nodes: Default::default(),
            lab_running: (0, 0),
            cloud: None,
            installation: None,
            last_failure: None,
            cursor: 0,
            tasks: Vec::new(),
            background: Vec::new(),
            troubles: Vec::new(),
            room: Vec::new(),
            descriptors: Descriptors::default(),
            next: vec!["undercloud node list".into()],
        })
    }
}

impl NodesApi for Memory {
    async fn nodes(&self) -> Result<Vec<NodeView>, ApiError> {
        Ok(self.nodes.lock().unwrap().clone())
    }

    async fn node(&self, wanted: &NodeRef) -> Result<NodeView, ApiError> {
        let nodes = self.nodes.lock().unwrap();
        let found = nodes.iter().find(|v| match wanted {
            NodeRef::Id(id) => v.node.id == *id,
            NodeRef::Name(name) => v.node.name.as_str() == name,
        });
        found.cloned().ok_or_else(|| ApiError::not_found("there is no such node"))
    }

    async fn enrol(&self, _: &Caller, new: Vec<NewNode>) -> Result<Vec<EnrolOutcome>, ApiError> {
        let mut outcomes = Vec::new();
        for (id, new) in (1..).zip(new) {
            let view = node(new.name.as_str(), id);
            let name = new.name;
            outcomes.push(EnrolOutcome { node: view.node.id, name, outcome: Enrolled::Created });
            self.nodes.lock().unwrap().push(view);
        }
        Ok(outcomes)
    }

    async fn forget(&self, _: &Caller, id: NodeId, force: bool) -> Result<(), ApiError> {
        self.forces.lock().unwrap().push(force);
        self.nodes.lock().unwrap().retain(|v| v.node.id != id);
        Ok(())
    }

    async fn request(
        &self,
        _: &Caller,
        id: NodeId,
        verb: Verb,
        force: bool,
    ) -> Result<Accepted, ApiError> {
        self.forces.lock().unwrap().push(force);
        let cursor = self.happens(Some(id), "asked");
        self.verbs.lock().unwrap().push(verb);
        self.change(id, |view| view.pending = 1);
        Ok(Accepted { node: id, cursor, at: 5, request: 7 })
    }

    async fn renew_identity(&self, _: &Caller, id: NodeId) -> Result<InstalledIdentity, ApiError> {
        let view = self.node(&NodeRef::Id(id)).await?;
        Ok(InstalledIdentity {
            protocol: PROTOCOL_VERSION,
            api: "https://192.168.24.1:8443".into(),
            node: id,
            name: view.node.name,
            key: Secret::new("new"),
            ca_pem: "CA".into(),
        })
    }

    async fn maintain(
        &self,
        _: &Caller,
        id: NodeId,
        maintenance: Option<Maintenance>,
    ) -> Result<NodeView, ApiError> {
        Ok(self.change(id, |view| view.node.maintenance = maintenance))
    }
}

impl DisksApi for Memory {
    async fn disks(&self, id: NodeId, wipe: WipeScope) -> Result<DisksView, ApiError> {
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.iter().find(|v| v.node.id == id).unwrap().node.clone();
        Ok(DisksView {
            node: id,
            name: node.name,
            disks: Vec::new(),
            digest: digest_of(&wipe),
            needs_approval: true,
            is_own: false,
            approvals: Vec::new(),
        })
    }

    async fn approve(
        &self,
        caller: &Caller,
        id: NodeId,
        wipe: WipeScope,
        request: ApprovalRequest,
    ) -> Result<DisksView, ApiError> {
        self.approvals.lock().unwrap().push((request, caller.to_string()));
        self.disks(id, wipe).await
    }

    async fn withdraw(&self, _: &Caller, _: NodeId) -> Result<(), ApiError> {
        self.approvals.lock().unwrap().clear();
        Ok(())
    }

    async fn approve_cloud(
        &self,
        caller: &Caller,
        request: CloudApproval,
    ) -> Result<Vec<NodeName>, ApiError> {
        let digest = request.digest;
        self.approvals.lock().unwrap().push((ApprovalRequest { digest }, caller.to_string()));
        Ok(vec!["compute-0".parse().unwrap()])
    }
}

impl EventsApi for Memory {
    async fn events(&self, query: EventQuery) -> Result<EventPage, ApiError> {
        let events = self.events.lock().unwrap();
        let wanted =
            |e: &&Event| e.cursor > query.after && (query.node.is_none() || e.node == query.node);
        let events: Vec<Event> =
            events.iter().filter(wanted).take(query.limit as usize).cloned().collect();
        let next = events.last().map_or(query.after, |e| e.cursor);
        Ok(EventPage { events, next })
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

impl ImagesApi for Memory {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        Ok(self.images.lock().unwrap().clone())
    }

    async fn register(&self, _: &Caller, image: Image) -> Result<(), ApiError> {
        self.images.lock().unwrap().push(image);
        Ok(())
    }

    async fn unregister(&self, _: &Caller, name: &str, force: bool) -> Result<Removed, ApiError> {
        self.forces.lock().unwrap().push(force);
        self.images.lock().unwrap().retain(|i| i.name != name);
        Ok(Removed { name: name.to_owned(), freed_bytes: 3, needed_by: Vec::new() })
    }
}

impl ContainersApi for Memory {
    async fn containers(&self) -> Result<Vec<ContainerImage>, ApiError> {
        Ok(self.containers.lock().unwrap().clone())
    }

    async fn register_containers(
        &self,
        _: &Caller,
        images: Vec<ContainerImage>,
    ) -> Result<(), ApiError> {
        *self.containers.lock().unwrap() = images;
        Ok(())
    }
}

impl LabApi for Memory {
    async fn lab(&self) -> Result<Vec<LabMachine>, ApiError> {
        Ok(Vec::new())
    }

    async fn lab_power(
        &self,
        _: &Caller,
        machine: &str,
        _: LabPower,
    ) -> Result<LabMachine, ApiError> {
        Err(ApiError::not_found(format!("the lab has no machine {machine}")))
    }
}

impl BmcsApi for Memory {
    async fn bmcs(&self) -> Result<Vec<BmcView>, ApiError> {
        Ok(vec![bmc("web")])
    }

    async fn bmc(&self, domain: &str, query: BmcQuery) -> Result<BmcView, ApiError> {
        let password = query.password.then(|| Secret::new("secret"));
        Ok(BmcView { password, ..bmc(domain) })
    }

    async fn add_bmc(&self, _: &Caller, request: BmcRequest) -> Result<BmcView, ApiError> {
        let password = Some(Secret::new("secret"));
        Ok(BmcView { password, ..bmc(&request.domain_name) })
    }

    async fn switch_bmc(
        &self,
        _: &Caller,
        domain: &str,
        switch: BmcSwitch,
    ) -> Result<BmcView, ApiError> {
        let status = match switch {
            BmcSwitch::Start => BmcStatus::Running,
            BmcSwitch::Stop => BmcStatus::Down,
        };
        Ok(BmcView { status, ..bmc(domain) })
    }

    async fn remove_bmc(&self, _: &Caller, domain: &str) -> Result<(), ApiError> {
        Err(ApiError::not_found(format!("there is no BMC of `{domain}`")))
    }
}

impl CloudApi for Memory {
    async fn cloud_plan(&self, request: CloudRequest) -> Result<PlanView, ApiError> {
        let digest = undercloud_model::Digest::from_bytes([7; 32]);
        let plan = json!({ "of": request.description });
        let uninspected = Vec::new();
        let site = None;
        Ok(PlanView { digest, deployment: None, needs_approval: true, uninspected, site, plan })
    }

    async fn deployments(&self) -> Result<Vec<DeploymentView>, ApiError> {
        Ok(Vec::new())
    }

    async fn deployment(&self, number: i64) -> Result<DeploymentView, ApiError> {
        Err(ApiError::not_found(format!("there is no deployment {number}")))
    }

    async fn set_verification(&self, _: &Caller, number: i64, _: Value) -> Result<(), ApiError> {
        Err(ApiError::not_found(format!("there is no deployment {number}")))
    }

    async fn cloud_access(&self) -> Result<CloudAccess, ApiError> {
        Err(ApiError::not_found("no cloud was installed yet"))
    }
}

impl TasksApi for Memory {
    async fn run(
        self: Arc<Self>,
        _: Caller,
        task: TaskRequest,
        reporter: Reporter,
    ) -> Result<Value, ApiError> {
        reporter.line(format!("{task:?}"));
        match task {
            TaskRequest::LabCreate { .. } => Ok(json!({"machines": 2})),
            TaskRequest::LabDelete => {
                Err(ApiError::new(ErrorKind::Conflict, "in use").hint("stop"))
            }
            TaskRequest::LabGrow { .. } => Ok(json!({"new": ["compute-1"]})),
            TaskRequest::LabShrink { .. } => Ok(json!({"gone": ["compute-1"]})),
            TaskRequest::CloudInstall { .. } => Ok(json!({"deployment": 1})),
        }
    }
}

fn bmc(domain: &str) -> BmcView {
    BmcView {
        domain_name: domain.to_owned(),
        domain_uuid: Uuid::nil().to_string(),
        status: BmcStatus::Down,
        address: [127, 0, 0, 1].into(),
        port: 6230,
        libvirt_uri: "qemu:///system".into(),
        username: "admin".into(),
        password: None,
        redfish: None,
        trouble: None,
    }
}

struct Daemon {
    api: Arc<Memory>,
    blobs: Blobs,
    client: Client,
    socket: Utf8PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

async fn daemon() -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap();
    let socket = path.join("api.sock");
    let blobs = Blobs::open(path.join("blobs")).unwrap();
    let api = Memory::new();
    let (clock, stop) = (Clock::new(|| 1000), CancellationToken::new());
    let router = router(api.clone(), blobs.clone(), Tasks::new(clock.clone()), stop.clone());
    let listener = Listener::Unix(serve::bind_unix(&socket).unwrap());
    let task = tokio::spawn(serve::run(listener, router, Limits::default(), clock, stop.clone()));
    let client = Client::connect(&socket).await.unwrap();
    Daemon { api, blobs, client, socket, stop, task, _dir: dir }
}

fn one_machine() -> instackenv::Instackenv {
    serde_json::from_value(json!({"nodes": [{"name": "compute-0", "pm_addr": "127.0.0.1",
        "pm_user": "admin", "pm_password": "p", "mac": ["52:54:00:00:00:01"]}]}))
    .unwrap()
}

fn image(daemon: &Daemon, name: &str, kind: ImageKind) -> Image {
    let stored = daemon.blobs.put(&b"abc"[..]).unwrap();
    Image {
        name: name.to_owned(),
        kind,
        digest: stored.digest,
        size: stored.size,
        encoding: Encoding::Plain,
        content: Content { digest: stored.digest, size: stored.size },
        os: None,
        min_disk_bytes: 1 << 30,
        has_agent: true,
        built_at: 1000,
        inputs: stored.digest,
    }
}

#[tokio::test]
async fn a_bmc_of_any_domain_can_be_asked_for() {
    let daemon = daemon().await;
    // A libvirt domain may be called anything but what has a slash or a line break in it.
    let name = "--it's 100% a 'trap'?&#";
    let shown = daemon.client.bmc(name, false).await.unwrap();
    assert_eq!((shown.domain_name.as_str(), shown.password), (name, None));
    let shown = daemon.client.bmc(name, true).await.unwrap();
    assert_eq!(shown.password, Some(Secret::new("secret")));
    let started = daemon.client.switch_bmc(name, BmcSwitch::Start).await.unwrap();
    assert_eq!((started.domain_name.as_str(), started.status), (name, BmcStatus::Running));
    let gone = daemon.client.remove_bmc(name).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn every_route_refuses_the_network() {
    let daemon = daemon().await;
    let stop = CancellationToken::new();
    let router = router(
        daemon.api.clone(),
        daemon.blobs.clone(),
        Tasks::new(Clock::new(|| 0)),
        stop.clone(),
    );
    let network = Peer { address: Some([127, 0, 0, 1].into()), process: None };
    for (method, path) in ROUTES {
        let task = Uuid::nil().to_string();
        let path = path.replace("{task}", &task).replace(['{', '}'], "");
        for peer in [Some(network), None] {
            let mut request = Request::builder().method(*method).uri(&path);
            if let Some(peer) = peer {
                request = request.extension(peer);
            }
            let request = request.body(Body::empty()).unwrap();
            let status = router.clone().oneshot(request).await.unwrap().status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {peer:?}");
        }
        let local = Request::builder().method("PATCH").uri(&path);
        let local = local.extension(local_peer()).body(Body::empty()).unwrap();
        let status = router.clone().oneshot(local).await.unwrap().status();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path} is routed");
    }
    assert!(!stop.is_cancelled());
}

#[tokio::test]
async fn a_machine_is_enrolled_asked_and_followed() {
    let daemon = daemon().await;
    let client = &daemon.client;
    let enrolled = client.enrol(&one_machine()).await.unwrap();
    assert_eq!(enrolled[0].outcome, Enrolled::Created);
    assert_eq!(client.nodes().await.unwrap().len(), 1);
    let id = client.node("compute-0").await.unwrap().node.id;
    assert_eq!(client.node(&id.to_string()).await.unwrap().node.name.as_str(), "compute-0");

    let accepted = client.request("compute-0", &VerbRequest::Manage).await.unwrap();
    let api = daemon.api.clone();
    let mut seen = Vec::new();
    let follow = client.settled(&accepted, Duration::from_secs(10), |e| seen.push(e.text.clone()));
    let engine = async {
        api.change(id, |view| {
            view.pending = 0;
            view.node.state = ProvisionState::Verifying;
        });
        api.happens(Some(id), "verifying");
        api.change(id, |view| view.node.state = ProvisionState::Manageable);
        api.happens(Some(id), "manageable");
    };
    let (view, ()) = tokio::join!(follow, engine);
    assert_eq!(view.unwrap().node.state, ProvisionState::Manageable);
    assert_eq!(seen, ["verifying", "manageable"]);

    let accepted = client.request("compute-0", &VerbRequest::Inspect).await.unwrap();
    let late = client.settled(&accepted, Duration::from_millis(50), |_| ()).await.unwrap_err();
    assert!(matches!(late, ClientError::Deadline { .. }), "{late}");

    let accepted =
        client.request("compute-0", &VerbRequest::Provide { all_disks: false }).await.unwrap();
    api.change(id, |view| view.pending = 0);
    // Many of them: what was not taken up is told, on whatever page it stands.
    for n in 0..600 {
        api.happens(Some(id), &format!("{n}"));
    }
    let other = json!({ Verb::NOT_TAKEN: accepted.request + 1 });
    api.happens_with(Some(id), "somebody else's", other);
    client.settled(&accepted, Duration::from_secs(10), |_| ()).await.unwrap();
    let ours = json!({ Verb::NOT_TAKEN: accepted.request });
    api.happens_with(Some(id), "provide was not taken up: the node has moved on", ours);
    let refused = client.settled(&accepted, Duration::from_secs(10), |_| ()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("compute-0: provide was not taken up"), "{refused}");

    let request = MaintenanceRequest { reason: Some("fan".into()) };
    let view = client.maintain("compute-0", &request).await.unwrap();
    assert_eq!(view.node.maintenance.unwrap().reason.as_deref(), Some("fan"));
    assert_eq!(client.end_maintenance("compute-0").await.unwrap().node.maintenance, None);
    client.forget("compute-0", true).await.unwrap();
    assert!(client.nodes().await.unwrap().is_empty());
    assert_eq!(*daemon.api.forces.lock().unwrap(), [false, false, false, true]);
}

#[tokio::test]
async fn a_person_agrees_to_what_was_shown_and_to_nothing_else() {
    let daemon = daemon().await;
    let client = &daemon.client;
    client.enrol(&one_machine()).await.unwrap();
    let shown = client.disks("compute-0", false).await.unwrap().digest;
    let all = client.disks("compute-0", true).await.unwrap().digest;
    assert_ne!(shown, all);
    let request = |digest| ApprovalRequest { digest };
    for digest in [shown, all] {
        let view = client.approve("compute-0", &request(digest)).await.unwrap();
        assert_eq!(view.digest, digest);
    }
    let other = client.approve("compute-0", &request(Digest::from_bytes([9; 32]))).await;
    let other = other.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    assert_eq!(other.hint(), Some("look again: undercloud node disks compute-0"));
    assert_eq!(daemon.api.approvals.lock().unwrap().len(), 2);
    let eva = client.clone().speaking_for("root (eva)".into());
    let cloud = CloudApproval { description: "x".into(), digest: shown };
    assert_eq!(eva.approve_cloud(&cloud).await.unwrap()[0].as_str(), "compute-0");
    let uid = rustix::process::geteuid().as_raw();
    let whoever = Caller::at_socket(uid, None, None).unwrap().to_string();
    let names: Vec<String> =
        daemon.api.approvals.lock().unwrap().iter().map(|(_, by)| by.clone()).collect();
    assert_eq!(names, [&whoever, &whoever, "root (eva)"], "the kernel says who, or the client");
    let nobody = client.clone().speaking_for("x".repeat(81));
    let refused = nobody.approve("compute-0", &request(shown)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    client.withdraw_approval("compute-0").await.unwrap();
    assert!(daemon.api.approvals.lock().unwrap().is_empty());
    client.request("compute-0", &VerbRequest::Provide { all_disks: true }).await.unwrap();
    let verbs = daemon.api.verbs.lock().unwrap().clone();
    assert_eq!(verbs, [Verb::Provide { wipe: WipeScope::All }]);
}

#[tokio::test]
async fn events_are_waited_for() {
    let daemon = daemon().await;
    let query = FollowQuery { wait_ms: 20_000, ..FollowQuery::default() };
    let started = std::time::Instant::now();
    let (page, _) =
        tokio::join!(daemon.client.events(&query), async { daemon.api.happens(None, "first") });
    let page = page.unwrap();
    assert_eq!((page.events[0].text.as_str(), page.next), ("first", 1));
    let query = FollowQuery { after: page.next, wait_ms: 30, ..FollowQuery::default() };
    assert_eq!(daemon.client.events(&query).await.unwrap(), EventPage { events: vec![], next: 1 });
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn images_are_registered_and_deployed_by_name() {
    let daemon = daemon().await;
    let client = &daemon.client;
    client.enrol(&one_machine()).await.unwrap();
    let disk = image(&daemon, "overcloud-full", ImageKind::Disk);
    let kernel = image(&daemon, "bm-deploy-kernel", ImageKind::Kernel);
    client.register(&disk).await.unwrap();
    client.register(&kernel).await.unwrap();
    assert_eq!(client.image("overcloud-full").await.unwrap(), disk);

    for wrong in [
        Image { name: "../x".into(), ..disk.clone() },
        Image { name: "-x".into(), ..disk.clone() },
        Image { size: 4, ..disk.clone() },
        // What machines boot from is no disk.
        Image { name: "undionly.kpxe".into(), ..disk.clone() },
    ] {
        assert_eq!(client.register(&wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let missing = Image { digest: undercloud_model::Digest::from_bytes([0; 32]), ..disk.clone() };
    assert_eq!(client.register(&missing).await.unwrap_err().kind(), ErrorKind::NotFound);

    let deploy = |image: &str| {
        let order = DeployOrder { image: image.to_owned(), ..DeployOrder::default() };
        let client = client.clone();
        async move { client.request("compute-0", &VerbRequest::Deploy(order)).await }
    };
    deploy("overcloud-full").await.unwrap();
    assert_eq!(deploy("bm-deploy-kernel").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(deploy("nothing").await.unwrap_err().kind(), ErrorKind::NotFound);
    let links = json!([{ "id": "a", "type": "dvs", "ethernet_mac_address": "52:54:00:00:00:01" }]);
    let network_data = Some(json!({ "links": links }));
    let order = DeployOrder { image: "overcloud-full".into(), network_data, ..Default::default() };
    let refused = client.request("compute-0", &VerbRequest::Deploy(order)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("network_data: link 0 is of type `dvs`"), "{refused}");
    let verbs = daemon.api.verbs.lock().unwrap().clone();
    let [Verb::Deploy(request)] = &verbs[..] else { panic!("{verbs:?}") };
    assert_eq!(request.image.source.blob, disk.digest);
    assert_eq!(client.unregister("overcloud-full", true).await.unwrap().freed_bytes, 3);
}

#[tokio::test]
async fn container_images_are_registered_all_at_once() {
    let daemon = daemon().await;
    let client = &daemon.client;
    let put = |bytes: &[u8]| {
        let stored = daemon.blobs.put(bytes).unwrap();
        Piece { digest: stored.digest, size: stored.size }
    };
    let (config, layers) = (put(b"config"), vec![put(b"layer")]);
    let manifest = put(&Manifest { config, layers: layers.clone() }.to_bytes());
    let (name, inputs) = ("nova".to_owned(), manifest.digest);
    let nova = ContainerImage { name, manifest, config, layers, size: 9, inputs, built_at: 1 };
    client.register_containers(std::slice::from_ref(&nova)).await.unwrap();
    assert_eq!(client.containers().await.unwrap(), std::slice::from_ref(&nova));
    assert_eq!(client.container("nova").await.unwrap(), nova);
    assert_eq!(client.container("none").await.unwrap_err().kind(), ErrorKind::NotFound);

    let short = Piece { size: 1, ..nova.config };
    let other = vec![put(b"another layer")];
    for wrong in [
        ContainerImage { name: "../nova".into(), ..nova.clone() },
        ContainerImage { config: short, ..nova.clone() },
        ContainerImage { manifest: nova.config, ..nova.clone() },
        ContainerImage { layers: other, ..nova.clone() },
    ] {
        let refused = client.register_containers(&[wrong]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    let twice = client.register_containers(&[nova.clone(), nova.clone()]).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Invalid);
    daemon.blobs.delete(&nova.layers[0].digest).unwrap();
    let missing = client.register_containers(&[nova]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn tasks_are_followed_to_their_end() {
    let daemon = daemon().await;
    let client = &daemon.client;
    let create = TaskRequest::LabCreate { description: "x".into(), kind: LabKind::Auto };
    let task = client.start(&create).await.unwrap();
    let mut lines = Vec::new();
    let timeout = Duration::from_secs(10);
    let view = client.ended(task.id, timeout, |v| lines.extend(v.lines.clone())).await.unwrap();
    assert_eq!(view.result, Some(json!({"machines": 2})));
    assert_eq!(lines.len(), 1);
    let task = client.start(&TaskRequest::LabDelete).await.unwrap();
    let error = client.ended(task.id, timeout, |_| ()).await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Conflict, Some("stop")));
    assert_eq!(client.status().await.unwrap().tasks.len(), 2);
    let gone = client.ended(Uuid::nil(), timeout, |_| ()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_daemon_ends_when_asked_and_the_client_says_so() {
    let daemon = daemon().await;
    let query = FollowQuery { wait_ms: 20_000, ..FollowQuery::default() };
    let (waiting, shutdown) = tokio::join!(daemon.client.events(&query), daemon.client.shutdown());
    shutdown.unwrap();
    assert!(waiting.unwrap().events.is_empty(), "a wait ends with the daemon");
    tokio::time::timeout(Duration::from_secs(10), daemon.task).await.unwrap().unwrap().unwrap();
    assert!(daemon.stop.is_cancelled());
    let error = Client::connect(&daemon.socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn bodies_look_like_this() {
    let daemon = daemon().await;
    daemon.client.enrol(&one_machine()).await.unwrap();
    let stop = CancellationToken::new();
    let router =
        router(daemon.api.clone(), daemon.blobs.clone(), Tasks::new(Clock::new(|| 0)), stop);
    let text = async |method: &str, path: &str, body: Value| {
        let request = Request::builder().method(method).uri(path);
        let request = request.extension(local_peer()).body(Body::from(body.to_string()));
        let response = router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        format!("{status} {}", String::from_utf8(body.to_bytes().to_vec()).unwrap())
    };
    let power = json!({"verb": "power", "action": "on"});
    let answer = text("POST", "/v1/nodes/compute-0/verbs", power).await;
    insta::assert_snapshot!(answer, @r#"202 {"node":"00000000-0000-0000-0000-000000000001","cursor":1,"at":5,"request":7}"#);
    let answer = text("POST", "/v1/nodes/compute-0/verbs", json!({"verb": "x"})).await;
    insta::assert_snapshot!(answer, @r#"400 {"error":{"kind":"invalid","message":"the text is JSON, but not of the shape wanted here (line 1, column 11)"}}"#);
    let answer = text("GET", "/v1/images/x", json!(null)).await;
    insta::assert_snapshot!(answer, @r#"404 {"error":{"kind":"not_found","message":"there is no image `x`","hint":"type `undercloud image list` to see which there are"}}"#);
    let answer = text("GET", "/v1/events", json!(null)).await;
    insta::assert_snapshot!(answer, @r#"200 {"events":[{"cursor":1,"at":1000,"node":"00000000-0000-0000-0000-000000000001","name":null,"topic":"transition","severity":"info","text":"asked","times":1}],"next":1}"#);
}
