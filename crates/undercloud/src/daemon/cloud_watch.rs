//! Watches the cloud after it was installed: what machines say of themselves in every heartbeat,
//! whether they call at all, whether Keystone takes the password that we have, which certificates
//! end. What is an ailment is decided in `model`; each is one event when it begins and one when it
//! is over, and in `undercloud status` in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use undercloud_api::{
    admin::{LabMachine, Trouble},
    tls::Issued,
};
use undercloud_cloud::{definition::Fault, rollout::RolloutError};
use undercloud_model::{
    NodeId, NodeName, PowerState, UnixMillis,
    agent::{
        PROTOCOL,
        cloud::ServiceName,
        health::{MachineHealth, telling},
    },
    ailment::{Ailment, Subject, Verdict, judge},
    node::{Node, ProvisionState},
};
use undercloud_store::{Diagnosis, Store, StoreError};

use super::{
    cloud::{CERTIFICATES, Clouds},
    site::Site,
    site_definitions::SiteDefinitions,
    tasks::Group,
};
use crate::{
    clock,
    verify::{self, Login},
};

/// Between two looks at the machines' agents and their power.
const MACHINES_EVERY: Duration = Duration::from_secs(10);
/// An agent polls every 20 s; one that missed two is silent.
const SILENT_MS: i64 = 45_000;
/// So much longer a BMC is given to say first whether its machine is on: the engine asks each of them
/// once a minute.
const BMC_MS: i64 = 75_000;
/// Between two logins at Keystone.
const LOGIN_EVERY: Duration = Duration::from_secs(20);
/// For one of them.
const LOGIN_MAX: Duration = Duration::from_secs(15);
/// A login that failed once may have met a restart.
const FAILED_LOGINS: u32 = 2;
/// A certificate is said to end this long before.
const CERTIFICATE_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What the lab sees of its machines' power, by name.
pub(super) type LabPowers = BTreeMap<String, PowerState>;

/// As it is now.
pub(super) fn lab_powers(machines: &[LabMachine]) -> LabPowers {
    machines.iter().map(|machine| (machine.name.clone(), machine.power)).collect()
}

/// What is in trouble where no machine is.
pub(super) const CLOUD: &str = "cloud";

/// Makes sentences of what is wrong, with the causes that are known.
#[derive(Debug, Default)]
pub(crate) struct Explainer(SiteDefinitions);

impl Explainer {
    /// Knows what services say: those that ship, features' too, and a site's own.
    pub(super) const fn new(definitions: SiteDefinitions) -> Self {
        Self(definitions)
    }

    fn fault(&self, service: &ServiceName, said: &[String]) -> Option<Fault> {
        if said.is_empty() {
            return None;
        }
        self.0.known()?.fault(service, said).cloned()
    }

    fn diagnosis(&self, machine: Option<&NodeName>, verdict: Verdict) -> Diagnosis {
        let (ailment, said) = match verdict {
            Verdict::Well(subject) => return Diagnosis::Well(subject),
            Verdict::Ill { ailment, said } => (ailment, said),
        };
        let fault = ailment.service().and_then(|service| self.fault(service, &said));
        let (text, hint) = match &fault {
            Some(fault) => (
                format!("{}: {}", ailment.sentence(), fault.cause),
                remedy(fault, machine.map_or("MACHINE", NodeName::as_str)),
            ),
            None => {
                let why = telling(&said).map(|why| format!(": it said: {why}")).unwrap_or_default();
                (format!("{}{why}", ailment.sentence()), ailment.remedy(machine))
            }
        };
        Diagnosis::Ill { ailment, text, hint: Some(hint), said }
    }

    /// The cause of a rollout's failure and what to do, where the service's words are known ones.
    pub(super) fn of_rollout(&self, error: &RolloutError) -> Option<(String, Option<String>)> {
        let RolloutError::Step { machine, service: Some(service), failure, .. } = error else {
            return None;
        };
        match self.fault(service, &failure.said) {
            Some(fault) => {
                let remedy = remedy(&fault, machine.as_str());
                Some((fault.cause, Some(remedy)))
            }
            None => telling(&failure.said).map(|why| (format!("it said: {why}"), None)),
        }
    }
}

fn remedy(fault: &Fault, machine: &str) -> String {
    fault.remedy.replace("MACHINE", machine)
}

/// Takes in what machines say of themselves.
#[derive(Debug)]
pub(crate) struct Ward {
    store: Store,
    explainer: Explainer,
}

impl Ward {
    pub(crate) const fn new(store: Store, explainer: Explainer) -> Self {
        Self { store, explainer }
    }

    /// A machine said how it is.
    pub(crate) async fn heard(
        &self,
        node: NodeId,
        health: &MachineHealth,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let known = self.store.ailments_of(Some(node)).await?;
        let open: BTreeSet<Subject> = known.iter().map(|row| row.ailment.subject()).collect();
        let found = judge(health, &open, now);
        let is_ill = |verdict: &Verdict| matches!(verdict, Verdict::Ill { .. });
        if open.is_empty() && !found.iter().any(is_ill) {
            return Ok(());
        }
        let name = self.store.node(node).await?.name;
        let found: Vec<Diagnosis> =
            found.into_iter().map(|v| self.explainer.diagnosis(Some(&name), v)).collect();
        self.store.diagnose(Some(node), &found, now).await
    }

    /// A machine's agent speaks a version of the protocol that we do not understand.
    pub(crate) async fn not_understood(
        &self,
        node: NodeId,
        theirs: u32,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let name = self.store.node(node).await?.name;
        let ailment = Ailment::OtherVersion { theirs, ours: PROTOCOL.to_string() };
        let found = self.explainer.diagnosis(Some(&name), Verdict::ill(ailment));
        self.store.diagnose(Some(node), &[found], now).await
    }

    /// Which machines do not call, and which are off. `lab` is what the lab knows of its machines.
    async fn look(&self, lab: &LabPowers, now: UnixMillis) -> anyhow::Result<String> {
        self.store.forget_ailments_of_others().await?;
        let mut watched = 0;
        for node in self.store.nodes_in(ProvisionState::Active).await? {
            watched += 1;
            let Some(seen) = self.store.installed_seen_at(node.id).await? else { continue };
            let last = seen.max(self.store.opened_at());
            let lab = lab.get(node.name.as_str()).copied();
            let Some(ailment) = absent(&node, lab, last, now) else { continue };
            let known = self.store.ailments_of(Some(node.id)).await?;
            // It was told that it is not understood, and asks again in a while.
            if known.iter().any(|row| matches!(row.ailment, Ailment::OtherVersion { .. })) {
                continue;
            }
            let found = self.explainer.diagnosis(Some(&node.name), Verdict::ill(ailment));
            self.store.diagnose(Some(node.id), &[found], now).await?;
        }
        Ok(format!("{watched} machines are watched"))
    }
}

/// Why a machine does not call, in the words of whoever knows best: the lab sees its machines, a BMC
/// was asked after the last call or before it. That a machine is silent is said last.
fn absent(
    node: &Node,
    lab: Option<PowerState>,
    last: UnixMillis,
    now: UnixMillis,
) -> Option<Ailment> {
    let silent_ms = now.saturating_sub(last);
    let seen = node.power_seen_at.filter(|seen| *seen > last).and(node.power);
    match lab.or(seen) {
        Some(PowerState::Off) => Some(Ailment::Off),
        Some(PowerState::On) if silent_ms < SILENT_MS => None,
        None if silent_ms < SILENT_MS + BMC_MS => None,
        // What was seen of its power is older than its last call.
        Some(PowerState::On) | None => Some(Ailment::Silent { seconds: silent_ms / 1000 }),
    }
}

/// Begins to watch.
pub(super) fn begin(base: &mut Group, store: &Store, clouds: &Arc<Clouds>, site: &Arc<Site>) {
    let ward = Arc::new(Ward::new(store.clone(), clouds.explainer()));
    let machines = (ward.clone(), site.clone());
    base.periodic("watch over machines", MACHINES_EVERY, move || {
        let (ward, site) = machines.clone();
        async move { ward.look(&lab_powers(&site.machines()), clock::now_ms()).await }
    });
    let failed = Arc::new(AtomicU32::new(0));
    let clouds = clouds.clone();
    base.periodic("watch over the cloud", LOGIN_EVERY, move || {
        let (ward, clouds, failed) = (ward.clone(), clouds.clone(), failed.clone());
        async move { look_at_cloud(&ward, &clouds, &failed).await }
    });
}

/// Logs in as the daemon's steps would, and looks at the certificates.
async fn look_at_cloud(ward: &Ward, clouds: &Clouds, failed: &AtomicU32) -> anyhow::Result<String> {
    let Some(row) = clouds.rows().await?.into_iter().next().filter(|row| row.ended_at.is_some())
    else {
        return Ok("no cloud is installed now".to_owned());
    };
    let now = clock::now_ms();
    let mut found = certificates(&ward.store, now).await?;
    let access = clouds.access_of(&row).await?;
    let ca = tokio::fs::read_to_string(&access.ca_file).await;
    let ca = ca.with_context(|| format!("cannot read {}", access.ca_file))?;
    let login = tokio::task::spawn_blocking(move || verify::login(&access, &ca, LOGIN_MAX)).await?;
    let said = match &login {
        Login::Good => "Keystone takes our password",
        Login::Refused(_) => "Keystone refuses our password",
        Login::NoAnswer(_) => "Keystone does not answer",
    };
    let ailment = match login {
        Login::Good => None,
        Login::Refused(answer) => Some(Ailment::PasswordRefused { answer }),
        // A run that failed may have left none.
        Login::NoAnswer(_) if !row.is_complete() => return Ok(said.to_owned()),
        Login::NoAnswer(reason) => Some(Ailment::NoAnswer { reason }),
    };
    match ailment {
        None => {
            failed.store(0, Ordering::Relaxed);
            found.push(Verdict::Well(Subject::Keystone));
        }
        Some(ailment) if failed.fetch_add(1, Ordering::Relaxed) + 1 >= FAILED_LOGINS => {
            found.push(Verdict::ill(ailment));
        }
        Some(_) => {}
    }
    let found: Vec<Diagnosis> =
        found.into_iter().map(|verdict| ward.explainer.diagnosis(None, verdict)).collect();
    ward.store.diagnose(None, &found, now).await?;
    Ok(said.to_owned())
}

/// What was issued to machines, by what is kept of it.
async fn certificates(store: &Store, now: UnixMillis) -> Result<Vec<Verdict>, StoreError> {
    let kept = store.cloud_secrets_under(CERTIFICATES).await?;
    let verdict = |(name, text): &(String, undercloud_model::Secret)| {
        let purpose = name.strip_prefix(CERTIFICATES)?.replace('/', ", ");
        let (_, issued): (serde_json::Value, Issued) = serde_json::from_str(text.expose()).ok()?;
        Some(certificate(purpose, issued.not_after_ms, now))
    };
    Ok(kept.iter().filter_map(verdict).collect())
}

fn certificate(purpose: String, not_after: UnixMillis, now: UnixMillis) -> Verdict {
    let days = not_after.saturating_sub(now).div_euclid(DAY_MS);
    if days < CERTIFICATE_DAYS {
        return Verdict::ill(Ailment::CertificateEnds { purpose, days: days.max(0) });
    }
    Verdict::Well(Subject::Certificate(purpose))
}

/// What is wrong with the cloud, as `undercloud status` shows it.
pub(super) async fn troubles(store: &Store, lab: &LabPowers) -> Result<Vec<Trouble>, StoreError> {
    let rows = store.ailments().await?;
    let ill: BTreeSet<NodeId> = rows.iter().filter_map(|row| row.node).collect();
    let nodes = store.nodes_of(&ill).await?;
    let trouble = |row: undercloud_store::AilmentRow| {
        let machine = row.node.and_then(|id| nodes.iter().find(|node| node.id == id));
        // One that was switched on again and does not call yet is not off any more.
        let power = machine.and_then(|node| lab.get(node.name.as_str()).copied().or(node.power));
        let is_absent = row.ailment == Ailment::Off && power != Some(PowerState::On);
        let machine = machine.map(|node| node.name.to_string());
        Trouble {
            part: machine.clone().unwrap_or_else(|| CLOUD.to_owned()),
            since: row.since,
            message: row.text,
            hint: row.hint,
            machine,
            service: row.ailment.service().map(ToString::to_string),
            is_absent,
            said: row.said,
        }
    };
    Ok(rows.into_iter().map(trouble).collect())
}

#[cfg(test)]
mod tests {
    use undercloud_cloud::Definitions;
    use undercloud_model::agent::{
        Poll, Step,
        health::{ServiceHealth, UnitState},
    };
    use undercloud_store::{AgentKind, Open, Principal, Scope};

    use super::*;
    use crate::daemon::test_node;

    const NOW: i64 = 1_700_000_000_000;

    async fn ward() -> (tempfile::TempDir, Ward, Node) {
        let dir = tempfile::tempdir().unwrap();
        let file = camino::Utf8PathBuf::from_path_buf(dir.path().join("db")).unwrap();
        let store = Store::open(file, Open::at(NOW)).await.unwrap();
        let node = test_node::enrolled(&store, "controller-0", NOW).await;
        let definitions = SiteDefinitions::at(dir.path().join("definitions"));
        (dir, Ward::new(store, Explainer::new(definitions)), node)
    }

    async fn troubles_with(store: &Store, lab: &LabPowers) -> Vec<Trouble> {
        troubles(store, lab).await.unwrap()
    }

    async fn troubles_now(store: &Store) -> Vec<Trouble> {
        troubles_with(store, &LabPowers::new()).await
    }

    fn mariadb(state: UnitState, restarts: u32, active_s: u64, said: &[&str]) -> MachineHealth {
        let service = ServiceHealth {
            name: "mariadb".parse().unwrap(),
            state,
            restarts,
            active_s,
            said: said.iter().map(|&line| line.to_owned()).collect(),
        };
        MachineHealth { clock_ms: NOW, services: vec![service], disks: Vec::new(), memory: None }
    }

    #[tokio::test]
    async fn a_service_that_loops_is_shown_with_cause_and_remedy_and_so_is_its_end() {
        let (_dir, ward, node) = ward().await;
        let said = ["[ERROR] Can't init tc log", "[ERROR] Aborting"];
        for _ in 0..5 {
            let ill = mariadb(UnitState::Activating, 4, 0, &said);
            ward.heard(node.id, &ill, NOW).await.unwrap();
        }
        let shown = troubles_now(&ward.store).await;
        assert_eq!(shown.len(), 1);
        let trouble = &shown[0];
        assert_eq!(
            trouble.message,
            "mariadb ends again and again: it was started 4 times in 120 s: its transaction log is \
             empty or damaged"
        );
        let hint = trouble.hint.as_deref().unwrap();
        assert!(hint.starts_with("undercloud ssh controller-0 rm /var/lib/overcloud/"), "{hint}");
        assert_eq!(
            (trouble.machine.as_deref(), trouble.service.as_deref()),
            (Some("controller-0"), Some("mariadb"))
        );
        assert_eq!(trouble.said, said);
        ward.heard(node.id, &mariadb(UnitState::Active, 4, 31, &[]), NOW + 9000).await.unwrap();
        assert!(troubles_now(&ward.store).await.is_empty());
        let events = ward.store.events_since(Scope::Node(node.id), 0, 100).await.unwrap();
        let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        let told: Vec<_> = texts.iter().filter(|text| text.contains("mariadb")).collect();
        assert_eq!(told.len(), 2, "{texts:?}");
        assert_eq!(*told[1], "mariadb runs again, after 9 s");
    }

    #[tokio::test]
    async fn what_is_unknown_is_said_without_a_cause() {
        let (_dir, ward, node) = ward().await;
        let ill = mariadb(UnitState::Failed, 0, 0, &["segmentation fault"]);
        ward.heard(node.id, &ill, NOW).await.unwrap();
        let trouble = troubles_now(&ward.store).await.remove(0);
        assert_eq!(trouble.message, "mariadb failed and is not started again");
        let said = ["2026-11-29 0 [Note] Starting", "2026-11-29 0 [ERROR] Plugin 'x' is wrong"];
        ward.heard(node.id, &mariadb(UnitState::Failed, 0, 0, &[]), NOW + 1).await.unwrap();
        ward.heard(node.id, &mariadb(UnitState::Active, 0, 60, &[]), NOW + 2).await.unwrap();
        ward.heard(node.id, &mariadb(UnitState::Failed, 0, 0, &said), NOW + 3).await.unwrap();
        let lifted = troubles_now(&ward.store).await.remove(0);
        assert_eq!(
            lifted.message,
            "mariadb failed and is not started again: it said: Plugin 'x' is wrong"
        );
        assert!(trouble.hint.unwrap().contains("journalctl -u mariadb"));
    }

    const SITES_FAULT: &str = r#"
[[faults]]
says = "no such device"
cause = "the machine has no such card"
remedy = "put the card in: undercloud node show MACHINE"
"#;

    /// Features' services are in the same place.
    #[tokio::test]
    async fn the_cause_of_a_site_s_own_service_is_known_from_its_file() {
        let (dir, ward, node) = ward().await;
        let services = dir.path().join("definitions/services");
        std::fs::create_dir_all(&services).unwrap();
        let shipped = Definitions::shipped_files().iter();
        let mut shipped = shipped.filter(|(path, _)| *path == "services/memcached.toml");
        let text = format!("{}{SITES_FAULT}", shipped.next().unwrap().1);
        std::fs::write(services.join("memcached.toml"), text).unwrap();
        let mut ill = mariadb(UnitState::Failed, 0, 0, &["open: no such device"]);
        ill.services[0].name = "memcached".parse().unwrap();
        ward.heard(node.id, &ill, NOW).await.unwrap();
        let trouble = troubles_now(&ward.store).await.remove(0);
        assert!(trouble.message.ends_with(": the machine has no such card"), "{trouble:?}");
        let hint = "put the card in: undercloud node show controller-0";
        assert_eq!(trouble.hint.as_deref(), Some(hint));
    }

    /// A slip in a site's file hides no cause that is known without it.
    #[tokio::test]
    async fn a_site_s_wrong_file_leaves_the_causes_that_ship() {
        let (dir, ward, node) = ward().await;
        let services = dir.path().join("definitions/services");
        std::fs::create_dir_all(&services).unwrap();
        std::fs::write(services.join("card.toml"), "summary = ").unwrap();
        let ill = mariadb(UnitState::Failed, 0, 0, &["[ERROR] Can't init tc log"]);
        ward.heard(node.id, &ill, NOW).await.unwrap();
        let trouble = troubles_now(&ward.store).await.remove(0);
        assert!(
            trouble.message.ends_with("its transaction log is empty or damaged"),
            "{trouble:?}"
        );
    }

    #[tokio::test]
    async fn a_machine_that_does_not_call_is_off_or_silent() {
        let (_dir, _ward, mut node) = ward().await;
        let (on, off) = (Some(PowerState::On), Some(PowerState::Off));
        let silent = |ms: i64| Some(Ailment::Silent { seconds: ms / 1000 });
        // What the lab sees is said at once.
        assert_eq!(absent(&node, off, NOW, NOW + 1), Some(Ailment::Off));
        assert_eq!(absent(&node, on, NOW, NOW + SILENT_MS - 1), None);
        assert_eq!(absent(&node, on, NOW, NOW + SILENT_MS), silent(SILENT_MS));
        // Of others, what the BMC said after the last call.
        node.power = off;
        node.power_seen_at = Some(NOW + 2);
        assert_eq!(absent(&node, None, NOW, NOW + 3), Some(Ailment::Off));
        node.power = on;
        assert_eq!(absent(&node, None, NOW, NOW + SILENT_MS), silent(SILENT_MS));
        // What it said before that is old: a machine that called was on. It is asked again first.
        node.power = off;
        node.power_seen_at = Some(NOW - 1);
        assert_eq!(absent(&node, None, NOW, NOW + SILENT_MS), None);
        let late = SILENT_MS + BMC_MS;
        assert_eq!(absent(&node, None, NOW, NOW + late), silent(late), "it does not answer");
    }

    #[tokio::test]
    async fn the_first_word_on_a_machine_that_the_lab_sees_off_is_that() {
        let (_dir, ward, node) = ward().await;
        let key = undercloud_store::fresh_secret().unwrap();
        let (kind, step) = (AgentKind::Ramdisk, Step::Inspect);
        ward.store.put_order(node.id, kind, "k", &step, Some(&key), NOW).await.unwrap();
        test_node::brought_to(&ward.store, &node, ProvisionState::Active, NOW).await;
        let caller = Principal { node: node.id, kind: AgentKind::Installed };
        let poll = Poll {
            protocol: undercloud_model::agent::PROTOCOL_VERSION,
            boot_id: "b".into(),
            busy: Vec::new(),
            ssh_host_key: None,
            health: None,
        };
        ward.store.agent_poll(&caller, &poll, Duration::ZERO, NOW).await.unwrap();
        let lab = |power| BTreeMap::from([("controller-0".to_owned(), power)]);
        ward.look(&lab(PowerState::On), NOW + 1000).await.unwrap();
        assert!(troubles_now(&ward.store).await.is_empty());
        ward.look(&lab(PowerState::Off), NOW + 11_000).await.unwrap();
        let trouble = troubles_with(&ward.store, &lab(PowerState::Off)).await.remove(0);
        assert_eq!(trouble.message, "the machine is switched off");
        assert_eq!(trouble.hint.as_deref(), Some("undercloud node power on controller-0"));
        assert!(trouble.is_absent);
        // Switched on again, it is waited for.
        let trouble = troubles_with(&ward.store, &lab(PowerState::On)).await.remove(0);
        assert!(!trouble.is_absent, "{trouble:?}");
    }

    #[test]
    fn a_certificate_s_end_is_said_in_time() {
        let days = |days: i64| certificate("x".into(), NOW + days * DAY_MS, NOW);
        assert!(matches!(days(CERTIFICATE_DAYS), Verdict::Well(_)));
        let sentence = |verdict: Verdict| match verdict {
            Verdict::Ill { ailment, .. } => ailment.sentence(),
            Verdict::Well(_) => String::new(),
        };
        assert_eq!(sentence(days(3)), "the certificate for x ends in 3 days");
        assert_eq!(sentence(days(-3)), "the certificate for x has ended");
    }

    #[test]
    fn the_remedies_of_shipped_services_name_the_machine() {
        let all = Definitions::shipped().unwrap();
        let faults: Vec<&Fault> = all.services().values().flat_map(|s| &s.faults).collect();
        assert!(!faults.is_empty());
        for fault in faults {
            assert!(!remedy(fault, "c-0").contains("MACHINE"), "{fault:?}");
        }
    }
}
