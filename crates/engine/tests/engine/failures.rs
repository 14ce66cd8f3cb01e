//! Each failure: its kind, its sentence, where it leaves the node, and that asking again resumes.

use undercloud_model::{
    PowerState, RootDeviceHints,
    node::{
        BootProgress, FailureKind as K, Maintenance, Node, Phase, ProvisionState as S, Verb, Work,
    },
};
use undercloud_store::{EventKind, NodeChange, Severity};

use crate::{
    lab::{HANGS, Lab, NAME},
    rack::Fault,
};

const MINUTE: i64 = 60_000;

/// What a person reads: the machine, what failed, the likely cause, what to do, which log.
fn assert_sentence(node: &Node, state: S, kind: K, parts: &[&str]) {
    let error = node.last_error.as_ref().expect("an error");
    assert_eq!((node.state, error.kind), (state, kind), "{}", error.text);
    assert!(error.text.starts_with(&format!("{NAME}: ")), "{}", error.text);
    assert!(error.text.contains("`undercloud node history compute-0`"), "{}", error.text);
    assert!(error.text.contains("logs/"), "{}", error.text);
    assert_eq!(error.text.lines().count(), 1);
    for part in parts {
        assert!(error.text.contains(part), "`{part}` is not in: {}", error.text);
    }
}

async fn assert_on_timeline(lab: &Lab, node: &Node) {
    let text = &node.last_error.as_ref().unwrap().text;
    let events = lab.timeline().await;
    let found = events.iter().find(|e| e.text == *text).expect("the sentence on the timeline");
    assert_eq!(found.severity, Severity::Error);
}

/// The fault is gone; the same command ends well.
async fn assert_resumes(lab: &Lab) -> Node {
    lab.rack.set_fault(None);
    let node = lab.install().await.unwrap();
    assert_eq!(node.state, S::Active, "{:?}", node.last_error);
    assert_eq!(node.last_error, None);
    node
}

fn is_writing(phase: &Phase) -> bool {
    matches!(phase, Phase::Ordered { work: Work::Write { .. }, .. })
}

async fn until_written_to(lab: &Lab, writes: u32) {
    let mut changes = lab.store.changes();
    while lab.rack.counts().writes < writes {
        tokio::time::timeout(HANGS, changes.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn wrong_bmc_password() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.rack.set_fault(Some(Fault::WrongPassword));
    let node = lab.do_it(Verb::Manage).await;
    let parts = [
        "its BMC refused the login",
        "127.0.0.1 port 6230",
        "`admin`",
        "password given at enrolment is probably wrong",
        "correct it in the enrolment file",
    ];
    assert_sentence(&node, S::Enroll, K::BmcPassword, &parts);
    assert_on_timeline(&lab, &node).await;
    assert!(!node.last_error.unwrap().text.contains(crate::rack::password().expose()));
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn bmc_unreachable() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.rack.set_fault(Some(Fault::Unreachable));
    let node = lab.do_it(Verb::Manage).await;
    let parts = ["its BMC does not answer", "127.0.0.1 port 6230", "down or not connected"];
    assert_sentence(&node, S::Enroll, K::BmcUnreachable, &parts);
    assert_on_timeline(&lab, &node).await;
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn bmc_refuses() {
    let lab = Lab::new().await;
    lab.up_to(S::Manageable).await;
    lab.do_it(Verb::Power { action: undercloud_model::PowerAction::Off }).await;
    lab.rack.set_fault(Some(Fault::RefusesBootDevice));
    let node = lab.do_it(Verb::Inspect).await;
    let parts =
        ["its BMC does not let the user do that", "insufficient privilege", "operator rights"];
    assert_sentence(&node, S::InspectFailed, K::BmcDenied, &parts);
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn a_bmc_that_is_unwell_for_a_while_fails_nothing() {
    let lab = Lab::new().await;
    lab.up_to(S::Manageable).await;
    lab.do_it(Verb::Power { action: undercloud_model::PowerAction::Off }).await;
    // More answers than a silent one is asked again, in the middle of an order.
    lab.rack.set_fault(Some(Fault::Unwell(8)));
    let node = lab.do_it(Verb::Inspect).await;
    assert_eq!((node.state, node.last_error), (S::Manageable, None));
}

#[tokio::test]
async fn power_does_not_follow() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    lab.rack.set_fault(Some(Fault::PowerStuck));
    let node = lab.do_it(Verb::Inspect).await;
    let parts = ["its power did not change", "the order to switch it on", "BMC's own log"];
    assert_sentence(&node, S::InspectFailed, K::PowerStuck, &parts);
    assert_resumes(&lab).await;
}

impl Lab {
    /// Until its node is known to have fetched its ramdisk.
    async fn fetched(&self) {
        let soon = self.clock.now() + 5 * MINUTE;
        self.until(|n| n.phase == Phase::AgentBoots && n.deadline.is_some_and(|d| d < soon)).await;
    }
}

#[tokio::test]
async fn never_network_boots() {
    let cases = [
        (BootProgress::Silent, "not one DHCP request"),
        (BootProgress::Dhcp, "got an address by DHCP and fetched no boot program"),
        (BootProgress::Ramdisk, "fetched kernel and ramdisk and its agent never called"),
    ];
    for (progress, part) in cases {
        let lab = Lab::new().await;
        lab.prepare().await.unwrap();
        lab.do_it(Verb::Manage).await;
        lab.rack.set_fault(Some(Fault::NeverBoots(progress)));
        lab.ask(Verb::Inspect).await;
        lab.until(|n| n.phase == Phase::AgentBoots).await;
        if progress > BootProgress::Silent {
            let told = format!("{progress:?}");
            let mut changes = lab.store.changes();
            while !lab.timeline().await.iter().any(|e| e.text == told) {
                changes.changed().await.unwrap();
            }
        }
        if progress == BootProgress::Ramdisk {
            // Everything but its kernel's start is known to work: that is tried once more.
            lab.fetched().await;
            lab.advance(5 * MINUTE);
            lab.until(|n| n.booted_again && n.phase == Phase::AgentBoots).await;
            lab.fetched().await;
        }
        lab.advance(9 * MINUTE);
        lab.advance(2 * MINUTE);
        let node = lab.until(|n| !n.is_busy()).await;
        assert_sentence(&node, S::InspectFailed, K::NeverBooted, &["never booted", part]);
        assert_on_timeline(&lab, &node).await;
        assert_eq!(lab.rack.power(), PowerState::On, "power stays, for a look at the console");
        assert_resumes(&lab).await;
    }
}

#[tokio::test]
async fn a_kernel_that_crashed_as_it_started_is_started_once_more() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    lab.rack.set_fault(Some(Fault::NeverBoots(BootProgress::Ramdisk)));
    lab.ask(Verb::Inspect).await;
    lab.fetched().await;
    lab.rack.set_fault(None);
    lab.advance(5 * MINUTE);
    let node = lab.until(|n| !n.is_busy()).await;
    assert_eq!((node.state, node.last_error), (S::Manageable, None));
    assert_eq!((lab.rack.counts().power_ons, lab.rack.counts().hellos), (2, 1));
    let said = "its agent did not call: it boots once more";
    assert!(lab.timeline().await.iter().any(|e| e.text.ends_with(said)), "nobody was told");
}

#[tokio::test]
async fn a_boot_that_nobody_answered_while_the_daemon_was_away_is_done_again() {
    let mut lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    lab.rack.set_fault(Some(Fault::NeverBoots(BootProgress::Silent)));
    lab.ask(Verb::Inspect).await;
    lab.until(|n| n.phase == Phase::AgentBoots).await;
    lab.advance(MINUTE);
    lab.restart().await;
    // The machine stands where its firmware gave up.
    lab.rack.set_fault(None);
    lab.advance(11 * MINUTE);
    let node = lab.until(|n| !n.is_busy()).await;
    assert_eq!((node.state, node.last_error), (S::Manageable, None));
    let counts = lab.rack.counts();
    assert_eq!((counts.power_ons, counts.hellos), (2, 1));
}

#[tokio::test]
async fn silent_in_mid_write() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_fault(Some(Fault::DiesInWrite));
    lab.deploy_until(is_writing).await;
    until_written_to(&lab, 1).await;
    lab.advance(MINUTE);
    lab.advance(2 * MINUTE);
    let node = lab.until(|n| !n.is_busy()).await;
    let parts = ["its agent fell silent", "while writing its disk", "boots it afresh"];
    assert_sentence(&node, S::DeployFailed, K::AgentSilent, &parts);
    assert_on_timeline(&lab, &node).await;
    assert_resumes(&lab).await;
    assert_eq!(lab.rack.counts().writes, 2, "half a write is done again");
}

#[tokio::test]
async fn switched_off_by_hand() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_fault(Some(Fault::SwitchedOffInWrite));
    lab.deploy_until(is_writing).await;
    until_written_to(&lab, 1).await;
    lab.advance(6_000);
    let node = lab.until(|n| !n.is_busy()).await;
    let parts = ["switched off while it was needed", "while it was writing its disk"];
    assert_sentence(&node, S::DeployFailed, K::SwitchedOff, &parts);
    assert_eq!(node.power, Some(PowerState::Off));
    assert_on_timeline(&lab, &node).await;
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn wrong_digest() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_fault(Some(Fault::WrongDigest));
    let request = lab.request().await.unwrap();
    let node = lab.do_it(Verb::Deploy(Box::new(request))).await;
    let parts =
        ["the image has the wrong digest", "expected sha256:good", "import the image again"];
    assert_sentence(&node, S::DeployFailed, K::WrongDigest, &parts);
    assert_on_timeline(&lab, &node).await;
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn image_was_removed() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    let request = lab.request().await.unwrap();
    lab.blobs().delete(&request.image.source.blob).unwrap();
    let node = lab.do_it(Verb::Deploy(Box::new(request))).await;
    let parts = ["the image is missing", "overcloud-full", "build or import it again"];
    assert_sentence(&node, S::DeployFailed, K::ImageMissing, &parts);
    assert_eq!(lab.rack.counts().writes, 0);
    lab.blobs().put(&b"an image"[..]).unwrap();
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn disk_smaller_than_the_image() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_disk(6 << 30);
    let request = lab.request().await.unwrap();
    let node = lab.do_it(Verb::Deploy(Box::new(request))).await;
    let parts = ["too small for the image", "needs 8589934592 bytes", "disk-0", "larger disk"];
    assert_sentence(&node, S::DeployFailed, K::DiskTooSmall, &parts);
    assert_eq!(lab.rack.counts().writes, 0);
    assert_on_timeline(&lab, &node).await;
    lab.rack.set_disk(40 << 30);
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn hint_matches_nothing() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    let hint = |serial: Option<&str>| NodeChange {
        root_device: Some(RootDeviceHints {
            serial: serial.map(str::to_owned),
            ..RootDeviceHints::default()
        }),
        ..NodeChange::default()
    };
    lab.store.change_node(NAME, hint(Some("disk-9")), lab.clock.now()).await.unwrap();
    let request = lab.request().await.unwrap();
    let node = lab.do_it(Verb::Deploy(Box::new(request.clone()))).await;
    let parts = ["no single disk can be chosen", "disk-9", "vda (disk-0, 20 GiB)", "`root_device`"];
    assert_sentence(&node, S::DeployFailed, K::NoDiskMatches, &parts);
    assert_eq!(lab.rack.counts().writes, 0);
    assert_on_timeline(&lab, &node).await;
    lab.store.change_node(NAME, hint(None), lab.clock.now()).await.unwrap();
    let node = lab.do_it(Verb::Deploy(Box::new(request))).await;
    assert_eq!((node.state, node.last_error), (S::Active, None));
}

#[tokio::test]
async fn installed_system_never_calls_and_the_disk_is_not_written_again() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_fault(Some(Fault::InstalledSilent));
    lab.deploy_until(|p| *p == Phase::InstalledBoots).await;
    lab.advance(21 * MINUTE);
    let node = lab.until(|n| !n.is_busy()).await;
    let parts = ["never reported", "restarts it without writing again, or undeploy it"];
    assert_sentence(&node, S::DeployFailed, K::InstalledSilent, &parts);
    assert_resumes(&lab).await;
    assert_eq!(lab.rack.counts().writes, 1);
}

#[tokio::test]
async fn an_answer_to_another_question() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    lab.rack.set_fault(Some(Fault::AnswersNonsense));
    let node = lab.do_it(Verb::Inspect).await;
    let parts = ["something else than was asked", "while taking its inventory"];
    assert_sentence(&node, S::InspectFailed, K::AgentConfused, &parts);
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn aborted() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.set_fault(Some(Fault::DiesInWrite));
    lab.deploy_until(is_writing).await;
    let node = lab.do_it(Verb::Abort).await;
    let parts = ["it was aborted", "while it was writing its disk", "to start again"];
    assert_sentence(&node, S::DeployFailed, K::Aborted, &parts);
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn a_bmc_that_falls_silent_in_peace_is_noticed_and_fails_nothing() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.advance(MINUTE + 1);
    lab.until(|n| n.power == Some(PowerState::On)).await;
    lab.rack.set_fault(Some(Fault::Unreachable));
    lab.advance(MINUTE + 1);
    let node = lab.until(|n| n.power.is_none()).await;
    assert_eq!((node.state, node.last_error), (S::Available, None));
    let events = lab.timeline().await;
    let lost = events.iter().rfind(|e| e.kind == EventKind::Power).unwrap();
    assert!(lost.text.contains("not known any more"), "{}", lost.text);
}

#[tokio::test]
async fn in_maintenance_nothing_is_deployed() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    let reason = Some("fan".to_owned());
    let now = lab.clock.now();
    lab.store.set_maintenance(NAME, Some(Maintenance { reason }), now).await.unwrap();
    let deploy = Verb::Deploy(Box::new(lab.request().await.unwrap()));
    let refused = lab.store.request(NAME, deploy, now).await.unwrap_err();
    assert!(refused.to_string().contains("is in maintenance"), "{refused}");
    lab.store.set_maintenance(NAME, None, now).await.unwrap();
    assert_resumes(&lab).await;
}

#[tokio::test]
async fn a_request_that_is_not_taken_up_says_so_under_its_number() {
    let mut lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.engine = None;
    let asked = lab.ask(Verb::Deploy(Box::new(lab.request().await.unwrap()))).await;
    let reason = Some("fan".to_owned());
    lab.store.set_maintenance(NAME, Some(Maintenance { reason }), lab.clock.now()).await.unwrap();
    lab.restart().await;
    let node = lab.store.wait_settled(&asked, HANGS).await.unwrap().expect("it hangs");
    assert_eq!((node.state, node.last_error), (S::Available, None));
    let events = lab.timeline().await;
    let refused = events.iter().rfind(|e| e.text.contains("was not taken up")).unwrap();
    let data = refused.data.as_ref().unwrap();
    assert_eq!(data[Verb::NOT_TAKEN], asked.intent, "{}", refused.text);
}
