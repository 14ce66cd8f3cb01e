//! Doing one action. The result is always an event's worth: done, or a failure with its sentence.
//!
//! Power is read first and ordered only if it differs, then read until it follows; a boot device is
//! set to a value; a CD replaces the one that is in; an order is found by its key before it is made. So the same action after a
//! crash finds what the first one did. There is no power cycle: off and on are two phases.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::time::{Instant, sleep, timeout};
use undercloud_model::{
    BootDevice, BootMode, PowerState, Secret,
    agent::{DiskIdentity, Step},
    node::{Action, Done, Failure, FailureKind, Node, Work},
};
use undercloud_store::{AgentKind, PendingAction, Situation, StoreError, fresh_secret};

use crate::{Bmc, BmcFault, BmcTarget, EngineDeps, PowerOrder, config_drive};

/// Does `pending` for `node`. The outer error is the store's: then nothing is known and it is done
/// again.
pub(crate) async fn perform(
    deps: &EngineDeps,
    node: &Node,
    pending: &PendingAction,
) -> Result<Result<Done, Failure>, StoreError> {
    let target = target(node, deps.store.bmc_password(node.id).await?);
    let bmc = Reach { deps, target: &target, bears_with: deps.limits.bmc_unwell_max };
    let power = |power| Done::Power { power };
    Ok(match &pending.action {
        Action::ReadPower => bmc.read_power().await.map(power),
        Action::PowerOn => bmc.bring_to(PowerState::On, PowerOrder::On).await.map(power),
        Action::PowerOff => bmc.bring_to(PowerState::Off, PowerOrder::Off).await.map(power),
        Action::SoftOff => bmc.bring_to(PowerState::Off, PowerOrder::SoftOff).await.map(power),
        Action::SetBootDevice { device, persistent } => {
            bmc.set_boot_device(node, *device, *persistent).await.map(|()| Done::BootDevice)
        }
        Action::InsertMedia => {
            let window = match node.boot_port() {
                Some(port) => deps.store.boot_target(port.mac, (deps.clock)()).await?,
                None => None,
            };
            match window {
                Some(plan) => bmc.insert_media(&plan.media_url(&deps.media)).await,
                None => Err(Failure::new(FailureKind::TimedOut, "its boot window has ended")),
            }
            .map(|()| Done::Media)
        }
        Action::EjectMedia => bmc.eject_media().await.map(|()| Done::Media),
        Action::Order { work } => return order(deps, node, &pending.key, work).await,
    })
}

/// The power of a machine, by one look.
pub(crate) async fn look(deps: &EngineDeps, situation: &Situation) -> Result<PowerState, Failure> {
    let target = target(&situation.node, situation.bmc_password.clone());
    // The next look is soon.
    Reach { deps, target: &target, bears_with: Duration::ZERO }.read_power().await
}

fn target(node: &Node, password: Secret) -> BmcTarget {
    BmcTarget {
        driver: node.driver,
        address: node.bmc.address,
        port: node.bmc.port,
        redfish: node.bmc.redfish.clone(),
        user: node.bmc.user.clone(),
        password,
    }
}

/// A BMC, with patience.
struct Reach<'a> {
    deps: &'a EngineDeps,
    target: &'a BmcTarget,
    /// For how long one that answers that it cannot now is asked again.
    bears_with: Duration,
}

/// The wait between two tries grows up to so many times the first.
const WAITS_MAX: u32 = 4;

/// What one session is for.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Power,
    /// Order this, unless the power is so.
    Bring(PowerState, PowerOrder),
    BootDevice(BootDevice, BootMode, bool),
    /// The CD at this address, or none.
    Media(Option<&'a str>),
}

impl Reach<'_> {
    async fn read_power(&self) -> Result<PowerState, Failure> {
        self.with_patience(Ask::Power).await
    }

    async fn set_boot_device(
        &self,
        node: &Node,
        device: BootDevice,
        persistent: bool,
    ) -> Result<(), Failure> {
        let ask = Ask::BootDevice(device, node.boot_mode, persistent);
        self.with_patience(ask).await.map(|_| ())
    }

    async fn insert_media(&self, url: &str) -> Result<(), Failure> {
        self.with_patience(Ask::Media(Some(url))).await.map(|_| ())
    }

    async fn eject_media(&self) -> Result<(), Failure> {
        self.with_patience(Ask::Media(None)).await.map(|_| ())
    }

    /// Orders the power to be `wanted`, unless it is, and waits until it is.
    async fn bring_to(&self, wanted: PowerState, order: PowerOrder) -> Result<PowerState, Failure> {
        if self.with_patience(Ask::Bring(wanted, order)).await? == wanted {
            return Ok(wanted);
        }
        let limits = &self.deps.limits;
        let patience = match order {
            PowerOrder::On | PowerOrder::Off => limits.power_follows_max,
            PowerOrder::SoftOff => {
                let ms = u64::try_from(self.deps.policy.soft_off_ms).unwrap_or(0);
                Duration::from_millis(ms)
            }
        };
        let deadline = Instant::now() + patience;
        while self.read_power().await? != wanted {
            if Instant::now() >= deadline {
                return Err(stuck(order, patience));
            }
            // An operating system takes its time, and its BMC is not to be busy with us alone.
            let pause = if order == PowerOrder::SoftOff { 4 } else { 1 };
            sleep(limits.power_look_every * pause).await;
        }
        Ok(wanted)
    }

    /// Logs in, does it, logs out; again a few times while the BMC is silent, and for a while while
    /// it answers that it cannot now.
    async fn with_patience(&self, ask: Ask<'_>) -> Result<PowerState, Failure> {
        let limits = &self.deps.limits;
        let (began, mut attempt) = (Instant::now(), 1);
        loop {
            let tried =
                timeout(limits.try_max(matches!(ask, Ask::Media(Some(_)))), self.once(ask)).await;
            let fault = match tried {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(fault)) => fault,
                Err(_) => BmcFault::Silent("no answer in time".into()),
            };
            let is_there = matches!(fault, BmcFault::Busy(_) | BmcFault::Broken(_));
            let may_go_on =
                attempt < limits.bmc_attempts_max || is_there && began.elapsed() < self.bears_with;
            if !fault.is_passing() || !may_go_on {
                return Err(fault.failure(self.target));
            }
            tracing::warn!(address = %self.target.address, port = self.target.port, attempt,
                error = %fault, "BMC did not do it");
            sleep(limits.bmc_retry_wait * attempt.min(WAITS_MAX)).await;
            attempt += 1;
        }
    }

    async fn once(&self, ask: Ask<'_>) -> Result<PowerState, BmcFault> {
        let mut bmc = self.deps.bmc.connect(self.target).await?;
        let done = put(&mut *bmc, ask).await;
        bmc.close().await;
        done
    }
}

/// Says the power as it was before anything was ordered.
async fn put(bmc: &mut dyn Bmc, ask: Ask<'_>) -> Result<PowerState, BmcFault> {
    match ask {
        Ask::Power => bmc.power().await,
        Ask::Bring(wanted, order) => {
            let power = bmc.power().await?;
            if power != wanted {
                bmc.order_power(order).await?;
            }
            Ok(power)
        }
        Ask::BootDevice(device, mode, persistent) => {
            bmc.set_boot_device(device, mode, persistent).await?;
            bmc.power().await
        }
        Ask::Media(Some(url)) => {
            bmc.insert_media(url).await?;
            bmc.power().await
        }
        Ask::Media(None) => {
            bmc.eject_media().await?;
            bmc.power().await
        }
    }
}

fn stuck(order: PowerOrder, patience: Duration) -> Failure {
    let seconds = patience.as_secs();
    match order {
        PowerOrder::SoftOff => Failure::new(
            FailureKind::NoSoftOff,
            format!("its operating system did not follow the request within {seconds} s"),
        ),
        PowerOrder::On | PowerOrder::Off => Failure::new(
            FailureKind::PowerStuck,
            format!("the BMC took the order to switch it {order} and {seconds} s later it was not"),
        ),
    }
}

/// Puts work down for the ramdisk's agent, once.
async fn order(
    deps: &EngineDeps,
    node: &Node,
    key: &str,
    work: &Work,
) -> Result<Result<Done, Failure>, StoreError> {
    if let Some(step) = deps.store.find_order(node.id, key).await? {
        return Ok(Ok(Done::Ordered { step }));
    }
    let (step, machine_key) = match work {
        Work::Inspect => (Step::Inspect, None),
        Work::Wipe { disks } => (Step::WipeDisks { disks: disks.clone() }, None),
        Work::Write { disk } => {
            let machine_key = fresh_secret()?;
            match write_step(deps, node, disk, &machine_key) {
                Ok(step) => (step, Some(machine_key)),
                Err(failure) => return Ok(Err(failure)),
            }
        }
    };
    let now = (deps.clock)();
    let put =
        deps.store.put_order(node.id, AgentKind::Ramdisk, key, &step, machine_key.as_ref(), now);
    match put.await {
        Ok(step) => Ok(Ok(Done::Ordered { step })),
        Err(StoreError::NotApproved { why, .. }) => {
            Ok(Err(Failure::new(FailureKind::NotApproved, why.to_string())))
        }
        Err(error) => Err(error),
    }
}

fn write_step(
    deps: &EngineDeps,
    node: &Node,
    disk: &DiskIdentity,
    machine_key: &Secret,
) -> Result<Step, Failure> {
    let Some(instance) = &node.instance else {
        return Err(Failure::new(FailureKind::ImageMissing, "no image is asked for"));
    };
    let request = &instance.request;
    let image = &request.image;
    match deps.blobs.stat(&image.source.blob) {
        Ok(Some(_)) => {}
        Ok(None) => {
            let detail = format!("{} ({}) was removed", image.name, image.source.blob.short());
            return Err(Failure::new(FailureKind::ImageMissing, detail));
        }
        Err(error) => {
            let detail = format!("{} cannot be read: {error}", image.name);
            return Err(Failure::new(FailureKind::ImageMissing, detail));
        }
    }
    let drive = config_drive(node, request, &deps.agents, machine_key)
        .map_err(|error| Failure::new(FailureKind::ConfigDrive, error.to_string()))?;
    Ok(Step::WriteImage {
        image: image.source.clone(),
        disk: disk.clone(),
        config_drive: Secret::new(BASE64.encode(drive)),
    })
}
