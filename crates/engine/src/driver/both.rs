//! Redfish, else IPMI: for controllers whose Redfish lacks something, or is not there at all.
//!
//! IPMI is asked only where Redfish certainly did nothing: nobody answered before anything was
//! asked for, or the service does not have the thing. Never after a request whose answer was lost
//! (it may have been done), never after a refused login (a second try counts towards a lock), and
//! never because of a wrong certificate (whoever sits in between would get to hear the other
//! protocol's handshake by breaking this one).

use async_trait::async_trait;
use undercloud_model::{BootDevice, BootMode, PowerState};

use super::{IpmiFactory, RedfishFactory};
use crate::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};

/// What a session asks for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Power,
    Order(PowerOrder),
    BootDevice(BootDevice, BootMode, bool),
}

struct Session {
    redfish: Box<dyn Bmc>,
    /// Opened when it is first needed.
    ipmi: Option<Box<dyn Bmc>>,
    factory: IpmiFactory,
    target: BmcTarget,
}

/// Logs in by Redfish; by IPMI where there is none.
pub(super) async fn connect(
    redfish: &RedfishFactory,
    ipmi: &IpmiFactory,
    target: &BmcTarget,
) -> Result<Box<dyn Bmc>, BmcFault> {
    let fault = match redfish.connect(target).await {
        Ok(redfish) => {
            let (factory, target) = (ipmi.clone(), target.clone());
            return Ok(Box::new(Session { redfish, ipmi: None, factory, target }));
        }
        Err(fault) => fault,
    };
    match fault {
        // Whatever was silent so far was only read.
        BmcFault::Silent(why) | BmcFault::NotOffered(why) => {
            tracing::info!(address = %target.address, why, "no Redfish: IPMI is used");
            ipmi.connect(target).await
        }
        BmcFault::Login(_)
        | BmcFault::Busy(_)
        | BmcFault::Broken(_)
        | BmcFault::Refused(_)
        | BmcFault::Denied(_)
        | BmcFault::Unnamed(_)
        | BmcFault::Moved(_)
        | BmcFault::Untrusted(_) => Err(fault),
    }
}

/// Says the power, where that was asked for.
async fn put(bmc: &mut dyn Bmc, ask: Ask) -> Result<Option<PowerState>, BmcFault> {
    match ask {
        Ask::Power => bmc.power().await.map(Some),
        Ask::Order(order) => bmc.order_power(order).await.map(|()| None),
        Ask::BootDevice(device, mode, persistent) => {
            bmc.set_boot_device(device, mode, persistent).await.map(|()| None)
        }
    }
}

impl Session {
    async fn ask(&mut self, ask: Ask) -> Result<Option<PowerState>, BmcFault> {
        let lacking = match put(&mut *self.redfish, ask).await {
            Err(BmcFault::NotOffered(why)) => why,
            other => return other,
        };
        tracing::info!(address = %self.target.address, ?ask, lacking, "asked by IPMI instead");
        let mut ipmi = match self.ipmi.take() {
            Some(open) => open,
            None => self.factory.connect(&self.target).await?,
        };
        let done = put(&mut *ipmi, ask).await;
        self.ipmi = Some(ipmi);
        done
    }
}

#[async_trait]
impl Bmc for Session {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        let power = self.ask(Ask::Power).await?;
        power.ok_or_else(|| BmcFault::Refused("the power was not told".into()))
    }

    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault> {
        self.ask(Ask::Order(order)).await.map(drop)
    }

    async fn set_boot_device(
        &mut self,
        device: BootDevice,
        mode: BootMode,
        persistent: bool,
    ) -> Result<(), BmcFault> {
        self.ask(Ask::BootDevice(device, mode, persistent)).await.map(drop)
    }

    async fn insert_media(&mut self, url: &str) -> Result<(), BmcFault> {
        self.redfish.insert_media(url).await
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        self.redfish.eject_media().await
    }

    async fn close(&mut self) {
        self.redfish.close().await;
        if let Some(mut ipmi) = self.ipmi.take() {
            ipmi.close().await;
        }
    }
}
