//! Nodes that tests of the daemon's parts have enrolled.

#![allow(clippy::unwrap_used, reason = "all of it is for tests: a failure is a panic")]

use undercloud_model::{
    Secret, UnixMillis,
    node::{NewNode, Next, Node, ProvisionState, RawNode},
};
use undercloud_store::{ProvisioningRange, Store, TurnCommit};

/// Enrols a machine of this name in a network of its own.
pub(super) async fn enrolled(store: &Store, name: &str, now: UnixMillis) -> Node {
    let [node] = all(store, [name], now).await;
    node
}

/// Enrols machines of these names in one network.
pub(super) async fn all<const N: usize>(
    store: &Store,
    names: [&str; N],
    now: UnixMillis,
) -> [Node; N] {
    let range = ProvisioningRange {
        network: "192.168.24.0/24".parse().unwrap(),
        first: "192.168.24.10".parse().unwrap(),
        last: "192.168.24.13".parse().unwrap(),
    };
    store.set_provisioning_range(&range).await.unwrap();
    let mut nodes = Vec::new();
    for (number, name) in (1..).zip(names) {
        let new = NewNode::try_from(RawNode {
            name: name.into(),
            bmc_address: format!("127.0.0.{number}"),
            bmc_user: "admin".into(),
            bmc_password: Secret::new("correct horse 16"),
            macs: vec![format!("52:54:00:00:00:{number:02}")],
            ..RawNode::default()
        });
        nodes.push(store.enrol_node(new.unwrap(), now).await.unwrap());
    }
    nodes.try_into().unwrap()
}

/// Brings a node to this state, as the engine would.
pub(super) async fn brought_to(
    store: &Store,
    node: &Node,
    state: ProvisionState,
    now: UnixMillis,
) -> Node {
    let next = Next::to(node, state, now);
    let commit = TurnCommit {
        node,
        next: Some(&next),
        taken: None,
        done: None,
        power: None,
        due_at: None,
        events: Vec::new(),
    };
    store.commit(commit, now).await.unwrap()
}
