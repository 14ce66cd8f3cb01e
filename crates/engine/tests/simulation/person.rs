//! Who asks: one person for each machine, who brings it to where it is to go, agrees to what is
//! erased or does not, gives up in between now and then, and asks again when something failed.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use undercloud_model::{
    Caller, Digest,
    consent::{WipeScope, erased},
    node::{DeployRequest, Node, ProvisionState as S, Verb},
};
use undercloud_store::{Agreement, Store, StoreError};

use crate::{machine::Machine, world::World};

const AGAIN: Duration = Duration::from_secs(30);
/// Who has asked so often for a machine that is not live gives up.
const ASKS_MAX: u32 = 4;
const LOOKS_EVERY: Duration = Duration::from_secs(20);
pub(crate) const IMAGE: &str = "overcloud-full";

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Its BMC obeys.
    Manageable,
    /// It runs the image.
    Active,
    /// It runs the image, is taken back, and runs it again.
    Twice,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// There.
    There,
    /// The person does not agree that its disk is erased.
    Refused,
    /// The person has given up: something is wrong with it.
    GivenUp,
}

pub(crate) struct Person {
    pub(crate) world: Arc<World>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) goal: Goal,
    pub(crate) agrees: bool,
    pub(crate) was_taken_back: bool,
    /// Requests so far.
    pub(crate) asked: u32,
}

impl Person {
    pub(crate) async fn go(mut self) -> Came {
        loop {
            let store = self.world.store().await;
            match self.step(&store).await {
                Ok(Some(came)) => return came,
                // Whatever is under way takes that long.
                Ok(None) => sleep(LOOKS_EVERY).await,
                // The daemon is away, or the request before it waits.
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    async fn step(&mut self, store: &Store) -> Result<Option<Came>, StoreError> {
        let node = store.node(self.machine.name()).await?;
        if node.is_busy() {
            if self.machine.random.chance(1) {
                self.ask(store, Verb::Abort).await?;
            }
            return Ok(None);
        }
        let wipe = WipeScope::default();
        let verb = match node.state {
            S::Enroll => Verb::Manage,
            _ if self.goal == Goal::Manageable => return Ok(Some(Came::There)),
            S::Active if self.goal == Goal::Twice && !self.was_taken_back => Verb::Undeploy,
            S::Active => return Ok(Some(Came::There)),
            S::Manageable if node.inventory.is_none() => Verb::Inspect,
            S::InspectFailed => Verb::Inspect,
            S::Manageable | S::CleanFailed => Verb::Provide { wipe },
            S::Available | S::DeployFailed | S::Error => {
                Verb::Deploy(Box::new(request(store).await?))
            }
            busy => unreachable!("{busy} is not idle"),
        };
        self.asked += 1;
        if self.asked > ASKS_MAX && !self.machine.is_live() {
            return Ok(Some(Came::GivenUp));
        }
        let was_undeploy = verb == Verb::Undeploy;
        match self.ask(store, verb.clone()).await {
            Ok(()) => self.was_taken_back |= was_undeploy,
            Err(StoreError::NotApproved { .. }) if self.agrees => {
                self.agree(store, &node, &verb).await?;
            }
            Err(StoreError::NotApproved { .. }) => return Ok(Some(Came::Refused)),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    async fn ask(&self, store: &Store, verb: Verb) -> Result<(), StoreError> {
        if verb != Verb::Abort {
            self.machine.state().request += 1;
        }
        store.request(self.machine.name(), verb, self.world.now()).await.map(|_| ())
    }

    async fn agree(&self, store: &Store, node: &Node, verb: &Verb) -> Result<(), StoreError> {
        let inventory = node.inventory.clone().expect("a refusal comes after an inspection");
        let scope = verb.erases(node).expect("it erases");
        let disks = erased(&inventory.disks, &node.root_device, &scope).expect("a disk is chosen");
        // What a person says holds from then on, whether or not the daemon lives to say so.
        self.machine.agreed_to(&disks);
        let plan = Digest::from_bytes([7; 32]);
        let agreement =
            Agreement { node: node.id, disks, plan, by: Caller::at_socket(0, None, None).unwrap() };
        store.approve(&[agreement], self.world.now()).await
    }
}

async fn request(store: &Store) -> Result<DeployRequest, StoreError> {
    Ok(DeployRequest {
        image: store.deployable_image(IMAGE).await?,
        hostname: None,
        ssh_keys: Vec::new(),
        user_data: None,
        network_data: None,
    })
}
