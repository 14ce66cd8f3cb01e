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

use async_trait::async_trait;
use undercloud_model::node::Driver;

pub use ipmi::IpmiFactory;
pub use redfish::RedfishFactory;

use crate::{Bmc, BmcFactory, BmcFault, BmcTarget};

/// Each node's own driver.
#[derive(Debug, Clone, Default)]
pub struct Drivers {
    /// For IPMI.
    pub ipmi: IpmiFactory,
    /// For Redfish.
    pub redfish: RedfishFactory,
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
}
