//! What a person is shown before disks of machines are erased that are not the lab's, and what is
//! written down when the person agrees; and by what a cloud loses a machine.

use serde_json::json;
use undercloud_api::{
    ApiError,
    admin::{CloudApproval, DisksView},
};
use undercloud_image::digest_of;
use undercloud_model::{
    Caller, Digest, ErrorKind, NodeId, NodeName,
    consent::{DiskPlan, Fate, WipeScope, may_erase, outlook},
    installation::Wants,
    inventory::Disk,
    node::{Node, ProvisionState},
};
use undercloud_store::{Agreement, Kept, Store};

use super::{
    agents::api_error,
    cloud::{Clouds, LabNics},
};
use crate::clock;

/// The disks of a node that was inspected, and what `wipe` would do to them.
///
/// # Errors
/// It was not inspected, or no disk can be chosen.
pub(super) async fn view(
    store: &Store,
    id: NodeId,
    wipe: &WipeScope,
) -> Result<DisksView, ApiError> {
    let node = store.node(id).await.map_err(api_error)?;
    let conflict = |message: String| ApiError::new(ErrorKind::Conflict, message);
    if node.inventory.is_none() {
        let message = format!("{} was not inspected: nobody knows its disks", node.name);
        return Err(conflict(message).hint(format!("undercloud node inspect {}", node.name)));
    }
    let disks = outlook(&node, wipe).map_err(|error| {
        conflict(format!("no disk of {} can be chosen: {error}", node.name))
            .hint("name one with `root_device` in the enrolment file, and import that again")
    })?;
    let is_own = store.is_own(&node).await.map_err(api_error)?;
    let needs_approval = needs_approval(store, &node, &disks).await?;
    let approvals = store.approvals(id).await.map_err(api_error)?;
    let digest = digest(&node, wipe, &disks)?;
    let name = node.name;
    Ok(DisksView { node: id, name, disks, digest, needs_approval, is_own, approvals })
}

/// Of what a person sees: another disk, other content or another fate is another digest.
fn digest(node: &Node, wipe: &WipeScope, disks: &[DiskPlan]) -> Result<Digest, ApiError> {
    let text = serde_json::to_vec(&(node.id, wipe, disks));
    Ok(digest_of(&text.map_err(|error| ApiError::new(ErrorKind::Bug, error))?))
}

/// Whether one of these is erased that nobody agreed to, of a machine that we did not make.
pub(super) async fn needs_approval(
    store: &Store,
    node: &Node,
    disks: &[DiskPlan],
) -> Result<bool, ApiError> {
    let erased = erased(disks);
    if erased.is_empty() || store.is_own(node).await.map_err(api_error)? {
        return Ok(false);
    }
    let approvals = store.approvals(node.id).await.map_err(api_error)?;
    Ok(erased.iter().any(|disk| may_erase(&approvals, disk).is_err()))
}

/// The disks that are erased.
pub(super) fn erased(disks: &[DiskPlan]) -> Vec<Disk> {
    let erased = disks.iter().filter(|plan| plan.fate == Fate::Erased);
    erased.map(|plan| plan.disk.clone()).collect()
}

/// Writes down that a person agrees to what is shown now, if that is what the person saw.
///
/// # Errors
/// It is not, or nothing would be erased.
pub(super) async fn approve(
    store: &Store,
    caller: &Caller,
    id: NodeId,
    wipe: &WipeScope,
    digest: Digest,
) -> Result<DisksView, ApiError> {
    let seen = view(store, id, wipe).await?;
    if seen.is_own {
        return Ok(seen);
    }
    let disks = erased(&seen.disks);
    if seen.digest != digest || disks.is_empty() {
        let what = if disks.is_empty() { "has no disk that would be erased" } else { "changed" };
        let message = format!("{} {what}", seen.name);
        return Err(ApiError::new(ErrorKind::Conflict, message)
            .hint(format!("look again: undercloud node disks {}", seen.name)));
    }
    let agreement = Agreement { node: id, disks, plan: digest, by: caller.clone() };
    store.approve(&[agreement], clock::now_ms()).await.map_err(api_error)?;
    view(store, id, wipe).await
}

impl Clouds {
    /// Writes down that a person agrees to what the plan of now does to disks, if it is the one that
    /// the person saw; says of which machines.
    ///
    /// # Errors
    /// It is another plan, or a machine has to be inspected first.
    pub(crate) async fn approve(
        &self,
        caller: &Caller,
        request: CloudApproval,
        nics: &LabNics,
    ) -> Result<Vec<NodeName>, ApiError> {
        let CloudApproval { description, digest } = request;
        let planned = self.make(&description, nics).await?;
        if let Some(name) = planned.uninspected.first() {
            let message = format!("{name} was not inspected: nobody knows its disks");
            return Err(ApiError::new(ErrorKind::Conflict, message)
                .hint(format!("undercloud node inspect {name}")));
        }
        if planned.digest != digest {
            let message = format!("the plan is {} now, not {digest} as approved", planned.digest);
            return Err(ApiError::new(ErrorKind::Conflict, message).hint(
                "look at it with `undercloud cloud plan`, then give its digest with --approve",
            ));
        }
        let names = planned.erases.iter().map(|(_, name, _)| name.clone()).collect();
        let agreement =
            |(node, _, disks)| Agreement { node, disks, plan: digest, by: caller.clone() };
        let agreements: Vec<Agreement> = planned.erases.into_iter().map(agreement).collect();
        self.store.approve(&agreements, clock::now_ms()).await.map_err(api_error)?;
        Ok(names)
    }

    /// Whether a machine may be taken away from a cloud that it is a machine of, or from an
    /// installation of one that is under way.
    ///
    /// # Errors
    /// Not, unless by force.
    pub(crate) async fn may_lose(
        &self,
        node: NodeId,
        force: bool,
        what: &str,
    ) -> Result<(), ApiError> {
        let node = self.store.node(node).await.map_err(api_error)?;
        if let Some(Kept::Known(installation)) =
            self.store.newest_installation().await.map_err(api_error)?
            && !force
            && matches!(installation.wants(), Wants::MachinesAt(_) | Wants::Run | Wants::Checks)
            && installation.order.machines.contains(&node.name)
        {
            let (name, number) = (&node.name, installation.number);
            let message = format!(
                "{name} is a machine of installation {number}, which is under way, and would be {what}"
            );
            return Err(ApiError::new(ErrorKind::Conflict, message)
                .hint("give --force if the installation is to lose it: it fails then"));
        }
        if force || node.state != ProvisionState::Active {
            return Ok(());
        }
        // As JSON: the plan may be an earlier version's.
        let rows = self.rows().await?;
        let id = json!(node.id);
        let of = rows.first().filter(|row| {
            row.plan["machines"].as_array().is_some_and(|all| all.iter().any(|m| m["node"] == id))
        });
        let Some(row) = of else { return Ok(()) };
        let (name, number) = (&node.name, row.number);
        let message =
            format!("{name} is a machine of the cloud of deployment {number}, and would be {what}");
        Err(ApiError::new(ErrorKind::Conflict, message)
            .hint("give --force if the cloud is to lose it"))
    }
}

#[cfg(test)]
mod tests {
    use undercloud_cloud::CloudConfig;
    use undercloud_model::{
        MacAddr, Signature,
        node::{Next, Verb},
    };
    use undercloud_store::{StoreError, TurnCommit};

    use super::*;
    use crate::daemon::test_rack::{Rack, disk, inventory, nics, rack, root};

    impl Rack {
        async fn node(&self, name: &str) -> Node {
            self.store.node(name).await.unwrap()
        }

        async fn turn(&self, name: &str, to: ProvisionState, change: impl FnOnce(&mut Node)) {
            let node = self.node(name).await;
            let next = Next::to(&node, to, 1).with(change);
            let commit = TurnCommit {
                node: &node,
                next: Some(&next),
                taken: None,
                done: None,
                power: None,
                due_at: None,
                events: Vec::new(),
            };
            self.store.commit(commit, 1).await.unwrap();
        }

        async fn inspected(&self, name: &str) {
            let found = Some(inventory());
            self.turn(name, ProvisionState::Manageable, |n| n.inventory = found).await;
        }

        async fn plan(&self) -> undercloud_api::admin::PlanView {
            let description = CloudConfig::shipped_text().to_owned();
            let request = undercloud_api::admin::CloudRequest { description };
            self.clouds.plan(&request, &nics()).await.unwrap()
        }

        async fn agree(&self, digest: Digest) -> Result<Vec<NodeName>, ApiError> {
            let description = CloudConfig::shipped_text().to_owned();
            let request = CloudApproval { description, digest };
            self.clouds.approve(&root(), request, &nics()).await
        }

        async fn provide(&self, name: &str) -> Result<(), StoreError> {
            let verb = Verb::Provide { wipe: WipeScope::default() };
            self.store.request(name, verb, 2).await.map(drop)
        }
    }

    #[tokio::test]
    async fn a_plan_is_agreed_to_as_it_was_seen() {
        let rack = rack().await;
        let seen = rack.plan().await;
        assert!(seen.needs_approval);
        assert_eq!(seen.uninspected.len(), 2);
        let refused = rack.agree(seen.digest).await.unwrap_err();
        assert!(refused.message.contains("was not inspected"), "{refused}");
        rack.inspected("controller-0").await;
        rack.inspected("compute-0").await;
        let seen = rack.plan().await;
        assert!(seen.needs_approval && seen.uninspected.is_empty());
        let disks = &seen.plan["machines"][0]["disks"];
        assert_eq!(disks.as_array().unwrap().len(), 2, "every disk is in it");
        assert_eq!(
            (&disks[0]["fate"]["fate"], &disks[1]["fate"]["fate"]),
            (&json!("erased"), &json!("not_chosen"))
        );
        assert_eq!(disks[1]["disk"]["content"]["parts"][0]["what"], "ceph_blue_store");
        assert!(rack.provide("compute-0").await.is_err());
        // Somebody puts something on a disk between the look and the word.
        let mut other = inventory();
        other.disks[0] = disk("sda", 480, Signature::Zfs);
        rack.turn("compute-0", ProvisionState::Manageable, |n| n.inventory = Some(other)).await;
        let refused = rack.agree(seen.digest).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.message.contains("as approved"), "{refused}");
        assert!(rack.provide("compute-0").await.is_err());
        rack.inspected("compute-0").await;
        let names = rack.agree(seen.digest).await.unwrap();
        assert_eq!(names.len(), 2);
        let approvals = rack.store.approvals(rack.node("compute-0").await.id).await.unwrap();
        assert_eq!(approvals.len(), 1, "the data disk is nobody's to erase");
        assert_eq!((approvals[0].plan, approvals[0].disk.name.as_str()), (seen.digest, "sda"));
        assert!(!rack.plan().await.needs_approval, "it is written down");
        rack.provide("compute-0").await.unwrap();
    }

    #[tokio::test]
    async fn where_nothing_is_erased_nobody_is_asked() {
        let rack = rack().await;
        for name in ["controller-0", "compute-0"] {
            rack.inspected(name).await;
            rack.turn(name, ProvisionState::Active, |_| ()).await;
        }
        let seen = rack.plan().await;
        assert!(!seen.needs_approval);
    }

    #[tokio::test]
    async fn of_the_labs_own_machines_nobody_is_asked() {
        let rack = rack().await;
        let own: Vec<MacAddr> =
            ["52:54:00:00:00:01", "52:54:00:00:00:02"].map(|mac| mac.parse().unwrap()).into();
        rack.store.set_own_machines(&own).await.unwrap();
        assert!(!rack.plan().await.needs_approval);
    }

    #[tokio::test]
    async fn a_machines_disks_are_agreed_to_as_they_were_seen() {
        let rack = rack().await;
        let id = rack.node("compute-0").await.id;
        let scope = WipeScope::default();
        let refused = view(&rack.store, id, &scope).await.unwrap_err();
        assert_eq!(refused.hint.as_deref(), Some("undercloud node inspect compute-0"));
        rack.inspected("compute-0").await;
        let seen = view(&rack.store, id, &scope).await.unwrap();
        let all = view(&rack.store, id, &WipeScope::All).await.unwrap();
        assert!(seen.needs_approval && seen.digest != all.digest);
        let refused = approve(&rack.store, &root(), id, &scope, all.digest).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        let after = approve(&rack.store, &root(), id, &scope, seen.digest).await.unwrap();
        assert!(!after.needs_approval);
        assert_eq!(after.approvals[0].by, "root");
        rack.provide("compute-0").await.unwrap();
    }

    #[tokio::test]
    async fn a_cloud_loses_a_machine_by_force_alone() {
        let rack = rack().await;
        let id = rack.node("compute-0").await.id;
        rack.turn("compute-0", ProvisionState::Active, |_| ()).await;
        rack.clouds.may_lose(id, false, "undeployed").await.unwrap();
        let plan = json!({ "machines": [{ "node": id, "anything": "an earlier version's" }] });
        let digest = Digest::from_bytes([7; 32]);
        rack.store.begin_deployment(&plan, &digest, "x/", 1).await.unwrap();
        let refused = rack.clouds.may_lose(id, false, "undeployed").await.unwrap_err();
        assert_eq!(
            refused.message,
            "compute-0 is a machine of the cloud of deployment 1, and would be undeployed"
        );
        assert!(refused.hint.unwrap().contains("--force"));
        rack.clouds.may_lose(id, true, "undeployed").await.unwrap();
        let other = rack.node("controller-0").await.id;
        rack.clouds.may_lose(other, false, "undeployed").await.unwrap();
    }
}
