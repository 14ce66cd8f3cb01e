//! On somebody's metal no disk is wiped or written that nobody agreed to, with what is on it; on the
//! machines that the undercloud made itself nobody is asked.

use undercloud_model::{
    Caller, Content, Digest, Signature,
    consent::{WipeScope, erased},
    node::{FailureKind as K, Node, ProvisionState as S, Verb},
};
use undercloud_store::{Agreement, StoreError};

use crate::{
    lab::{Lab, NAME, provide},
    rack::holding,
};

/// Metal, inspected; its first disk holds an old system and its second somebody's data.
async fn inspected() -> Lab {
    let lab = Lab::new().await.of_metal();
    lab.rack.fill("vda", Signature::Ext);
    lab.rack.fill("vdb", Signature::Lvm);
    lab.up_to(S::Manageable).await;
    let node = lab.do_it(Verb::Inspect).await;
    assert_eq!((node.state, node.last_error), (S::Manageable, None), "inspection needs no consent");
    lab
}

async fn agree(lab: &Lab, wipe: &WipeScope) -> Result<(), StoreError> {
    let node = lab.node().await;
    let disks = erased(&node.inventory.unwrap().disks, &node.root_device, wipe).unwrap();
    let plan = Digest::from_bytes([7; 32]);
    let agreement =
        Agreement { node: node.id, disks, plan, by: Caller::at_socket(0, None, None).unwrap() };
    lab.store.approve(&[agreement], lab.clock.now()).await
}

async fn refused(lab: &Lab, verb: Verb) -> String {
    lab.store.request(NAME, verb, lab.clock.now()).await.unwrap_err().to_string()
}

async fn deploy(lab: &Lab) -> Node {
    let request = lab.request().await.unwrap();
    lab.do_it(Verb::Deploy(Box::new(request))).await
}

fn content(lab: &Lab, name: &str) -> Content {
    lab.rack.disks().into_iter().find(|d| d.name == name).unwrap().content
}

#[tokio::test]
async fn nothing_is_erased_before_somebody_agreed() {
    let lab = inspected().await;
    assert_eq!(
        refused(&lab, provide()).await,
        "no disk of compute-0 is erased: nobody agreed that vda (disk-0, 20 GiB) is erased, which \
         holds: ext; look with `undercloud node disks compute-0`, then agree with `undercloud node \
         approve compute-0 DIGEST`"
    );
    agree(&lab, &WipeScope::default()).await.unwrap();
    let node = lab.do_it(provide()).await;
    assert_eq!((node.state, node.last_error), (S::Available, None));
    assert_eq!(content(&lab, "vda"), Content::EMPTY);
    assert_eq!(content(&lab, "vdb"), holding(Signature::Lvm), "the data disk is left alone");
    assert_eq!(deploy(&lab).await.state, S::Active);
    assert_eq!(lab.rack.counts().writes, 1);
    assert_eq!(content(&lab, "vdb"), holding(Signature::Lvm));
    // What we wrote is ours to take away, and again to be written.
    let node = lab.do_it(Verb::Undeploy).await;
    assert_eq!((node.state, node.last_error), (S::Available, None));
    assert_eq!(deploy(&lab).await.state, S::Active);
    assert_eq!(content(&lab, "vdb"), holding(Signature::Lvm));
    let timeline = lab.timeline().await;
    let word = "root agreed that vda (disk-0, 20 GiB) is erased, which holds: ext";
    assert!(timeline.iter().any(|e| e.text == word));
}

#[tokio::test]
async fn a_machine_that_nobody_looked_at_is_not_erased() {
    let lab = Lab::new().await.of_metal();
    lab.prepare().await.unwrap();
    lab.do_it(Verb::Manage).await;
    let text = refused(&lab, provide()).await;
    assert!(
        text.contains("was not inspected") && text.contains("node inspect compute-0"),
        "{text}"
    );
}

#[tokio::test]
async fn what_changed_since_is_not_wiped() {
    let lab = inspected().await;
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.rack.fill("vda", Signature::Zfs);
    let node = lab.do_it(provide()).await;
    let error = node.last_error.unwrap();
    assert_eq!((node.state, error.kind), (S::CleanFailed, K::NotApproved));
    let why = "vda (disk-0, 20 GiB) changed since somebody agreed that it is erased: then `ext`, \
               now `ZFS`";
    assert!(error.text.contains(why), "{}", error.text);
    assert!(error.text.contains("undercloud node approve compute-0 DIGEST"), "{}", error.text);
    assert_eq!((lab.rack.counts().wipes, content(&lab, "vda")), (0, holding(Signature::Zfs)));
    agree(&lab, &WipeScope::default()).await.unwrap();
    assert_eq!(lab.do_it(provide()).await.state, S::Available, "it was looked at again");
}

#[tokio::test]
async fn another_disk_is_not_written() {
    let lab = inspected().await;
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.do_it(provide()).await;
    // The disk that was agreed to is too small now, so that the other one would be chosen.
    lab.rack.set_disk(6 << 30);
    let node = deploy(&lab).await;
    let error = node.last_error.unwrap();
    assert_eq!((node.state, error.kind), (S::DeployFailed, K::NotApproved));
    let why = "vda (disk-0, 20 GiB) may be erased, and not vdb (data, 1024 GiB), which holds: LVM";
    assert!(error.text.contains(why), "{}", error.text);
    assert_eq!((lab.rack.counts().writes, content(&lab, "vdb")), (0, holding(Signature::Lvm)));
}

#[tokio::test]
async fn what_somebody_put_on_a_clean_disk_is_not_written_over() {
    let lab = inspected().await;
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.do_it(provide()).await;
    lab.rack.fill("vda", Signature::Xfs);
    let node = deploy(&lab).await;
    assert_eq!(node.last_error.unwrap().kind, K::NotApproved);
    assert_eq!((lab.rack.counts().writes, content(&lab, "vda")), (0, holding(Signature::Xfs)));
}

#[tokio::test]
async fn all_disks_are_wiped_where_that_was_agreed_to() {
    let lab = inspected().await;
    let all = Verb::Provide { wipe: WipeScope::All };
    agree(&lab, &WipeScope::default()).await.unwrap();
    let text = refused(&lab, all.clone()).await;
    assert!(text.contains("and not vdb (data, 1024 GiB), which holds: LVM"), "{text}");
    agree(&lab, &WipeScope::All).await.unwrap();
    assert_eq!(lab.do_it(all).await.state, S::Available);
    assert_eq!((content(&lab, "vda"), content(&lab, "vdb")), (Content::EMPTY, Content::EMPTY));
}

#[tokio::test]
async fn a_machine_that_is_taken_back_is_agreed_on_anew() {
    let lab = inspected().await;
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.do_it(provide()).await;
    lab.do_it(Verb::Manage).await;
    assert!(refused(&lab, provide()).await.contains("nobody agreed"));
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.store.withdraw_approvals(NAME, lab.clock.now()).await.unwrap();
    assert!(refused(&lab, provide()).await.contains("nobody agreed"));
}

#[tokio::test]
async fn nobody_agrees_to_what_he_did_not_see() {
    let lab = inspected().await;
    let node = lab.node().await;
    let plan = Digest::from_bytes([7; 32]);
    let agree = async |disks| {
        let agreement =
            Agreement { node: node.id, disks, plan, by: Caller::at_socket(0, None, None).unwrap() };
        lab.store.approve(&[agreement], lab.clock.now()).await.unwrap_err()
    };
    let mut disks = node.inventory.clone().unwrap().disks;
    disks[0].content = holding(Signature::Zfs);
    assert!(matches!(agree(disks).await, StoreError::NotApproved { .. }));
    assert!(refused(&lab, provide()).await.contains("nobody agreed"), "all or none");
}

#[tokio::test]
async fn an_approval_survives_a_restart_of_the_daemon() {
    let mut lab = inspected().await;
    agree(&lab, &WipeScope::default()).await.unwrap();
    lab.restart().await;
    assert_eq!(lab.do_it(provide()).await.state, S::Available);
    let approvals = lab.store.approvals(lab.node().await.id).await.unwrap();
    assert_eq!(approvals.len(), 1);
    assert_eq!((approvals[0].by.as_str(), &approvals[0].content), ("root", &Some(Content::EMPTY)));
}

#[tokio::test]
async fn on_a_machine_of_our_own_nobody_is_asked_and_the_data_disk_is_left_alone() {
    let lab = Lab::new().await;
    lab.rack.fill("vda", Signature::Ext);
    lab.rack.fill("vdb", Signature::Lvm);
    assert_eq!(lab.install().await.unwrap().state, S::Active);
    assert_eq!(content(&lab, "vdb"), holding(Signature::Lvm));
}
