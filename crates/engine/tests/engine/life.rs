//! The life that everybody hopes for.

use undercloud_model::{
    BootDevice, PowerAction, PowerState,
    node::{Phase, Policy, ProvisionState as S, Verb},
};
use undercloud_store::EventKind;

use crate::{
    lab::{Lab, MAC, NAME},
    rack::Counts,
};

#[tokio::test]
async fn from_nothing_to_active_with_two_boots() {
    let lab = Lab::new().await;
    let node = lab.install().await.unwrap();
    assert_eq!((node.state, node.last_error), (S::Active, None));
    assert_eq!(node.power, Some(PowerState::On));
    assert_eq!(node.inventory.unwrap().disks[0].serial.as_deref(), Some("disk-0"));
    let instance = node.instance.unwrap();
    assert!(instance.written.is_some() && instance.reported_at.is_some());
    let counts = lab.rack.counts();
    assert_eq!(
        counts,
        Counts { power_ons: 2, power_offs: 1, hellos: 1, wipes: 1, writes: 1 },
        "fast track boots the ramdisk once"
    );
    let events = lab.timeline().await;
    // From the machine's first request on everything is somebody's, and came of something.
    let asked = events.iter().position(|e| e.kind == EventKind::Request).unwrap();
    for event in &events[asked..] {
        let is_whole = event.cause.is_some() && event.visit.is_some() && event.request.is_some();
        // Between two requests power is looked at.
        assert!(is_whole || event.kind == EventKind::Power, "{event:?}");
    }
    let of_text = |text: &str| events.iter().rfind(|e| e.text == text).unwrap();
    let (active, asked) =
        (of_text("wait call-back → active"), of_text("available → wait call-back"));
    assert_eq!(active.cause, Some(undercloud_store::Cause::Agent));
    assert_eq!(asked.cause, Some(undercloud_store::Cause::Person));
    assert_eq!(active.request, asked.request);
    let states: Vec<String> = lab
        .timeline()
        .await
        .into_iter()
        .filter(|e| e.kind == EventKind::State)
        .map(|e| e.text)
        .collect();
    assert_eq!(
        states,
        [
            "enroll → verifying",
            "verifying → manageable",
            "manageable → inspecting",
            "inspecting → inspect wait",
            "inspect wait → manageable",
            "manageable → clean wait",
            "clean wait → available",
            "available → wait call-back",
            "wait call-back → deploying",
            "deploying → wait call-back",
            "wait call-back → active",
        ]
    );
}

#[tokio::test]
async fn without_fast_track_each_verb_boots_and_rests() {
    let policy = Policy { fast_track: false, ..Policy::default() };
    let lab = Lab::with(policy, None).await;
    lab.up_to(S::Available).await;
    assert_eq!(lab.rack.power(), PowerState::Off);
    let node = lab.install().await.unwrap();
    assert_eq!(node.state, S::Active);
    let counts = lab.rack.counts();
    assert_eq!(counts, Counts { power_ons: 4, power_offs: 3, hellos: 3, wipes: 1, writes: 1 });
}

#[tokio::test]
async fn by_virtual_media_the_cd_is_in_for_the_boot_alone() {
    let policy = Policy { fast_track: false, ..Policy::default() };
    let lab = Lab::with(policy, None).await.by_media();
    lab.up_to(S::Available).await;
    assert_eq!(lab.rack.cd(), None);
    lab.deploy_until(|phase| *phase == Phase::AgentBoots).await;
    let node = lab.until(|n| matches!(n.phase, Phase::Ordered { .. })).await;
    assert_eq!(lab.rack.cd(), None, "the secret is used, the CD is out");
    let node = lab.until(|n| n.state == S::Active && n.version > node.version).await;
    assert_eq!(node.last_error, None);
    let counts = lab.rack.counts();
    assert_eq!(counts, Counts { power_ons: 4, power_offs: 3, hellos: 3, wipes: 1, writes: 1 });
}

#[tokio::test]
async fn undeploy_cleans_and_the_old_key_is_void() {
    let lab = Lab::new().await;
    lab.install().await.unwrap();
    assert!(lab.store.installed_seen_at(lab.node().await.id).await.unwrap().is_some());
    let node = lab.do_it(Verb::Undeploy).await;
    assert_eq!((node.state, node.instance), (S::Available, None));
    assert_eq!(lab.rack.counts().wipes, 2);
    assert_eq!(lab.store.installed_seen_at(node.id).await.unwrap(), None);
    let node = lab.install().await.unwrap();
    assert_eq!(node.state, S::Active);
    assert_eq!(lab.rack.counts().writes, 2);
}

#[tokio::test]
async fn errands_in_a_stable_state() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    let node = lab.do_it(Verb::Power { action: PowerAction::Cycle }).await;
    assert_eq!((node.state, node.power), (S::Available, Some(PowerState::On)));
    let before = lab.rack.counts();
    let node = lab.do_it(Verb::Power { action: PowerAction::On }).await;
    assert_eq!((node.last_error, lab.rack.counts()), (None, before), "it is on already");
    let node = lab.do_it(Verb::Power { action: PowerAction::SoftOff }).await;
    assert_eq!(node.power, Some(PowerState::Off));
    let (device, persistent) = (BootDevice::Disk, true);
    let node = lab.do_it(Verb::BootDevice { device, persistent }).await;
    assert_eq!((node.last_error, node.target_power), (None, None));
}

#[tokio::test]
async fn a_ramdisk_whose_power_went_is_not_used_again() {
    let lab = Lab::new().await;
    lab.up_to(S::Available).await;
    lab.rack.press_button(PowerState::Off);
    lab.advance(61_000);
    lab.until(|n| n.power == Some(PowerState::Off)).await;
    let nobody = "power went off, and nobody here asked for it";
    assert!(lab.timeline().await.iter().any(|e| e.text == nobody));
    let node = lab.install().await.unwrap();
    assert_eq!((node.state, lab.rack.counts().hellos), (S::Active, 2));
}

#[tokio::test]
async fn only_enrolled_machines_get_addresses_and_only_in_the_window_they_boot() {
    let lab = Lab::new().await;
    lab.prepare().await.unwrap();
    let mac = MAC.parse().unwrap();
    let lease = lab.store.lease_for(mac).await.unwrap().unwrap();
    assert_eq!(
        (lease.address.to_string().as_str(), lease.name.as_str()),
        ("192.168.24.10/24", NAME)
    );
    assert!(lab.store.lease_for("52:54:00:00:00:99".parse().unwrap()).await.unwrap().is_none());
    assert!(lab.store.boot_target(mac, lab.clock.now()).await.unwrap().is_none());
    lab.install().await.unwrap();
    assert!(lab.store.boot_target(mac, lab.clock.now()).await.unwrap().is_none());
}

#[tokio::test]
async fn no_secret_is_on_the_timeline() {
    let lab = Lab::new().await;
    lab.install().await.unwrap();
    let timeline = serde_json::to_string(&lab.timeline().await).unwrap();
    assert!(!timeline.contains(crate::rack::password().expose()));
    let is_secret = |w: &[u8]| w.iter().all(u8::is_ascii_hexdigit);
    assert!(!timeline.as_bytes().windows(64).any(is_secret), "64 hex digits in a row");
}

#[tokio::test]
async fn an_engine_that_is_stopped_leaves_no_session_behind() {
    let mut lab = Lab::new().await;
    let engine = lab.engine.take().unwrap();
    engine.stop().await.unwrap();
    assert_eq!(lab.rack.sessions_ended(), 1);
}
