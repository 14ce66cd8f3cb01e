//! The machines' BMCs. An order and its answer are on their way for a while, so that the daemon may
//! die between what it ordered and what it knows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;
use undercloud_engine::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};
use undercloud_model::{
    BootDevice, BootMode, PowerState,
    node::{Errand, Node, Phase},
};

use crate::{
    machine::{BmcIs, Machine},
    world::World,
};

const FLAPS_EVERY_S: u64 = 150;

/// Logs in to all of them.
pub(crate) struct Bmcs(pub(crate) Arc<World>);

struct Session {
    world: Arc<World>,
    machine: Arc<Machine>,
}

impl Session {
    fn begin(world: Arc<World>, machine: Arc<Machine>) -> Self {
        assert_eq!(machine.begin_session(), 1, "{} has two sessions at once", machine.name());
        world.begin_session();
        Self { world, machine }
    }

    /// What comes before any answer.
    async fn way(&self) -> Result<(), BmcFault> {
        let Machine { random, port, .. } = &*self.machine;
        let ms = match self.machine.bmc() {
            BmcIs::Slow => random.within(500..6_000),
            _ => random.within(1..200),
        };
        sleep(Duration::from_millis(ms)).await;
        let passed = self.world.clock.passed().as_secs() + u64::from(*port) * 37;
        match self.machine.bmc() {
            BmcIs::Dead => std::future::pending().await,
            BmcIs::Flapping if (passed / FLAPS_EVERY_S) % 2 == 1 => std::future::pending().await,
            BmcIs::Unwell if random.chance(15) => Err(BmcFault::Broken("status 500".into())),
            _ => Ok(()),
        }
    }
}

/// The machine does it.
fn obey(world: &Arc<World>, machine: &Arc<Machine>, wanted: PowerState, node: Option<&Node>) {
    if !machine.switch(world, wanted) {
        return;
    }
    let mut state = machine.state();
    match node {
        None => state.changes_unread.push(wanted),
        Some(node) => state.changed(node.visit, wanted),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.machine.end_session();
        self.world.end_session();
    }
}

#[async_trait]
impl BmcFactory for Bmcs {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        let machine = self.0.machine(target.port);
        let session = Session::begin(self.0.clone(), machine);
        session.way().await?;
        Ok(Box::new(session))
    }
}

#[async_trait]
impl Bmc for Session {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        self.way().await?;
        let state = self.machine.state();
        let says = state.is_on || self.machine.bmc() == BmcIs::Lying && state.follows % 2 == 1;
        Ok(if says { PowerState::On } else { PowerState::Off })
    }

    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault> {
        self.way().await?;
        let wanted = match order {
            PowerOrder::On => PowerState::On,
            PowerOrder::Off | PowerOrder::SoftOff => PowerState::Off,
        };
        let node = self.world.node(&self.machine.name()).await;
        if let Some(node) = &node {
            assert!(is_of_phase(&node.phase, wanted), "{wanted:?} ordered while {}", node.phase);
        }
        let turn = {
            let mut state = self.machine.state();
            // Odd while it was ordered on last.
            state.follows = (state.follows + 2) | 1;
            state.follows -= u64::from(wanted == PowerState::Off);
            state.follows
        };
        match self.machine.bmc() {
            BmcIs::Lying if wanted == PowerState::On => {}
            BmcIs::Slow => {
                let after = Duration::from_millis(self.machine.random.within(0..30_000));
                let (world, machine) = (self.world.clone(), self.machine.clone());
                tokio::spawn(async move {
                    sleep(after).await;
                    if machine.state().follows == turn {
                        obey(&world, &machine, wanted, node.as_ref());
                    }
                });
            }
            _ => obey(&self.world, &self.machine, wanted, node.as_ref()),
        }
        self.way().await
    }

    async fn set_boot_device(
        &mut self,
        device: BootDevice,
        _mode: BootMode,
        persistent: bool,
    ) -> Result<(), BmcFault> {
        self.way().await?;
        {
            let mut state = self.machine.state();
            if persistent {
                (state.boot, state.next_boot) = (Some(device), None);
            } else {
                state.next_boot = Some(device);
            }
        }
        self.way().await
    }

    async fn insert_media(&mut self, _url: &str) -> Result<(), BmcFault> {
        Err(BmcFault::NotOffered("no CD".into()))
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        Ok(())
    }

    async fn close(&mut self) {}
}

/// Whether that is ordered then.
const fn is_of_phase(phase: &Phase, wanted: PowerState) -> bool {
    use Errand::{CycleOff, CycleOn, SwitchOff, SwitchOn};
    match wanted {
        PowerState::On => matches!(
            phase,
            Phase::SwitchOn | Phase::RestartOn | Phase::Errand { errand: SwitchOn | CycleOn }
        ),
        PowerState::Off => matches!(
            phase,
            Phase::SwitchOff
                | Phase::RestartOff
                | Phase::Rest
                | Phase::Errand { errand: SwitchOff | CycleOff }
        ),
    }
}
