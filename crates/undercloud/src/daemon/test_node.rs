//! A node that tests of the daemon's parts have enrolled.

#![allow(clippy::unwrap_used, reason = "all of it is for tests: a failure is a panic")]

use undercloud_model::{
    Secret, UnixMillis,
    node::{NewNode, Node, RawNode},
};
use undercloud_store::{ProvisioningRange, Store};

/// Enrols a machine of this name in a network of four addresses.
pub(super) async fn enrolled(store: &Store, name: &str, now: UnixMillis) -> Node {
    let range = ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: "192.168.24.10".parse().unwrap(),
        last: "192.168.24.13".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    let new = NewNode::try_from(RawNode {
        name: name.into(),
        bmc_address: "127.0.0.1".into(),
        bmc_user: "admin".into(),
        bmc_password: Secret::new("correct horse 16"),
        macs: vec!["52:54:00:00:00:01".into()],
        ..RawNode::default()
    });
    store.enrol_node(new.unwrap(), now).await.unwrap()
}
