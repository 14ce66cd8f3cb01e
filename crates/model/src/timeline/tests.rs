//! Every event: its text, its word, and that it is read back as what it was.

use super::*;
use crate::{Digest, MacAddr, PowerState, node::ProvisionState};

/// One of each, with its text. The compiler says nothing where one is missing: the second test does.
fn all() -> Vec<(Happening, &'static str)> {
    let name = || "compute-0".parse().unwrap();
    let step = || RunStep { key: "c/nova".into(), machine: name(), title: "Start nova".into() };
    let mac = Some(MacAddr::from_bytes([0x52, 0x54, 0, 0, 0, 9]));
    let seen = |mac| Netboot::Seen { mac, said: "TFTP: x failed".into(), is_warning: true };
    let (on, took_ms, text) = (PowerState::On, 12_345, || "why".to_owned());
    let (deployment, run, plan) = (3, 2, Digest::from_bytes([0xab; 32]));
    vec![
        (Asked::For { verb: "manage".into() }.into(), "asked for: manage"),
        (
            Asked::NotTaken { verb: "manage".into(), why: text(), not_taken: Some(7) }.into(),
            "manage was not taken up: why",
        ),
        (
            Asked::ToErase { by: "root".into(), disk: "sda".into(), holds: "ext4".into() }.into(),
            "root agreed that sda is erased, which holds: ext4",
        ),
        (Asked::NotToErase.into(), "approvals to erase disks were withdrawn"),
        (
            RecordNews::Enrolled { name: name(), bmc: "192.0.2.1".into() }.into(),
            "compute-0 was enrolled, BMC 192.0.2.1",
        ),
        (RecordNews::Changed.into(), "record changed"),
        (RecordNews::Removed { name: name() }.into(), "node compute-0 was removed"),
        (RecordNews::MaintenanceBegan { reason: None }.into(), "maintenance began"),
        (RecordNews::MaintenanceBegan { reason: Some(text()) }.into(), "maintenance began: why"),
        (RecordNews::MaintenanceEnded.into(), "maintenance ended"),
        (
            RecordNews::ClockSet { by_ms: -3_723_000 }.into(),
            "this host's clock was set back by 1 h 2 min 3 s; what is waited for moved with it",
        ),
        (
            Change { from: ProvisionState::Enroll, to: ProvisionState::Verifying, in_state_ms: 5 }
                .into(),
            "enroll → verifying",
        ),
        (Deed::BmcAnswered { power: on, took_ms }.into(), "its BMC answers: power is on"),
        (Deed::PowerIs { power: on, took_ms }.into(), "power is on"),
        (Deed::BootDevice { from: None, took_ms }.into(), "boot device is set"),
        (Deed::DeployCd { is_in: true, took_ms }.into(), "deploy CD is in"),
        (
            Deed::AgentTold { work: "writing its disk".into(), took_ms }.into(),
            "agent is told: writing its disk",
        ),
        (PowerNews::Seen { power: on }.into(), "power is on"),
        (PowerNews::Changed { power: on }.into(), "power went on, and nobody here asked for it"),
        (PowerNews::Lost { why: text() }.into(), "its power is not known any more: why"),
        (Netboot::BootWindow.into(), "boot window opened"),
        (
            Netboot::BootsAgain.into(),
            "it fetched kernel and ramdisk and its agent did not call: it boots once more",
        ),
        (seen(mac).into(), "52:54:00:00:00:09: TFTP: x failed"),
        (seen(None).into(), "TFTP: x failed"),
        (AgentCall::Hello.into(), "the agent said hello"),
        (AgentCall::Done { step: "inspect".into() }.into(), "agent: inspect is done"),
        (
            AgentCall::CouldNot { step: "inspect".into(), why: text() }.into(),
            "agent: inspect failed: why",
        ),
        (AgentCall::InstalledBooted.into(), "the installed system booted and called"),
        (AgentCall::KeyRenewed.into(), "the installed system's agent gets a new key"),
        (
            AgentCall::OtherSshHostKey.into(),
            "the installed system has another ssh host key than before",
        ),
        (Attempt::HelloDenied { why: text() }.into(), "an agent's hello was denied: why"),
        (
            Attempt::BootAfterSecret.into(),
            "the machine asked for its boot after its boot secret was used",
        ),
        (Failed { kind: FailureKind::Aborted, sentence: text() }.into(), "why"),
        (Part::Trouble { part: "machines".into(), why: text() }.into(), "machines: why"),
        (Part::TroubleOver { part: "machines".into() }.into(), "machines: it works again"),
        (
            RunNews::RunBegan { deployment, run, plan }.into(),
            "deployment 3, run 2 began, plan abababababab",
        ),
        (
            RunNews::RunEnded { deployment, run, took_ms }.into(),
            "deployment 3, run 2 is done (12 s)",
        ),
        (
            RunNews::RunFailed { deployment, run, why: text(), took_ms }.into(),
            "deployment 3, run 2 failed after 12 s: why",
        ),
        (RunNews::StepBegan(step()).into(), "compute-0: Start nova begins"),
        (
            RunNews::StepDone { step: step(), changed: true, note: "new".into(), took_ms: 2100 }
                .into(),
            "compute-0: Start nova: done, new (2 s)",
        ),
        (
            RunNews::StepFailed { step: step(), why: text() }.into(),
            "compute-0: Start nova failed: why",
        ),
        (RunNews::MachineLost { machine: name(), why: text() }.into(), "compute-0 is lost: why"),
        (
            RunNews::Installation { installation: 1, state: "machines".into(), text: text() }
                .into(),
            "installation 1: why",
        ),
        (
            RunNews::InstallationWaits { installation: 1, text: text() }.into(),
            "installation 1: why",
        ),
        (
            RunNews::InstallationFailed { installation: 1, why: text() }.into(),
            "installation 1 failed: why",
        ),
    ]
}

#[test]
fn each_has_its_text_and_is_read_back_as_what_it_was() {
    for (what, text) in all() {
        assert_eq!(what.to_string(), text);
        let value = serde_json::to_value(&what).unwrap();
        assert!(value["event"].is_string(), "{value}");
        assert_eq!(serde_json::from_value::<Happening>(value.clone()).unwrap(), what, "{value}");
    }
}

#[test]
fn each_has_a_word_of_its_own() {
    let word = |what: &Happening| serde_json::to_value(what).unwrap()["event"].clone();
    let mut words: Vec<String> = Vec::new();
    for (what, _) in all() {
        let word = word(&what).as_str().unwrap().to_owned();
        // The same one, with other parts, is no other event.
        if words.last() != Some(&word) {
            assert!(!words.contains(&word), "{word} is two events");
            words.push(word);
        }
    }
    assert_eq!(words.len(), 43, "{words:?}");
}

#[test]
fn a_secret_that_was_used_twice_is_more_than_a_failure() {
    let failed = |kind| Happening::from(Failed { kind, sentence: String::new() }).kind();
    assert_eq!(failed(FailureKind::SecretReused), EventKind::Security);
    assert_eq!(failed(FailureKind::Aborted), EventKind::Failure);
}
