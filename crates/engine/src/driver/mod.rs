//! What drives BMCs: one module for each protocol, and the choice between them.
//!
//! | `pm_type`      | driver                              | falls back                              |
//! |----------------|-------------------------------------|-----------------------------------------|
//! | `ipmi`         | [`ipmi`]                            | never                                   |
//! | `redfish`      | [`redfish`]                         | never                                   |
//! | `redfish-ipmi` | [`redfish`], else [`ipmi`] ([`both`]) | where nothing was done and no login refused |

pub mod both;
pub mod ipmi;
pub mod redfish;

use std::sync::Arc;

use async_trait::async_trait;
use undercloud_bmc::{governor::Governor, ipmi::client::Options, machine};
use undercloud_model::{BootDevice, node::Driver};

pub use ipmi::IpmiFactory;
pub use redfish::RedfishFactory;

use crate::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};

/// Each node's own driver.
#[derive(Debug, Clone)]
pub struct Drivers {
    ipmi: IpmiFactory,
    redfish: RedfishFactory,
}

impl Drivers {
    /// Both protocols share the budget that `governor` gives a controller: it has one processor,
    /// whatever it is asked by.
    pub fn new(governor: Arc<Governor>, options: Options, own_ca: impl Into<String>) -> Self {
        let redfish = RedfishFactory::new(own_ca, governor.clone());
        Self { ipmi: IpmiFactory::new(options, governor), redfish }
    }
}

#[async_trait]
impl BmcFactory for Drivers {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        match target.driver {
            Driver::Ipmi => self.ipmi.connect(target).await,
            Driver::Redfish => self.redfish.connect(target).await,
            Driver::RedfishIpmi => both::connect(&self.redfish, &self.ipmi, target).await,
        }
    }

    async fn close(&self) {
        tokio::join!(self.ipmi.close(), self.redfish.close());
    }
}

/// An order in the words of the `bmc` crate.
fn action(order: PowerOrder) -> machine::PowerAction {
    match order {
        PowerOrder::On => machine::PowerAction::On,
        PowerOrder::Off => machine::PowerAction::Off,
        PowerOrder::SoftOff => machine::PowerAction::Soft,
    }
}

/// A device in the words of the `bmc` crate.
fn wire_device(device: BootDevice) -> machine::BootDevice {
    match device {
        BootDevice::Pxe => machine::BootDevice::Pxe,
        BootDevice::Disk => machine::BootDevice::Disk,
        BootDevice::Cdrom => machine::BootDevice::Cdrom,
        BootDevice::Usb => machine::BootDevice::Floppy,
    }
}
