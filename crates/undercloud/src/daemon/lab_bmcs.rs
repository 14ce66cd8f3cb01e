//! A BMC for each machine of the lab, on the host's loopback, which no guest can reach: IPMI on a port
//! of its own, Redfish on one for all. Both know the same users, which are kept with all else that a BMC
//! keeps. Machines come and go; the BMCs of the others stay.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use undercloud_api::ApiError;
use undercloud_bmc::{credentials::Credentials, ipmi::server::Server, redfish::link::Trust};
use undercloud_lab::{
    Lab, Machine,
    instackenv::{BmcAccess, Instackenv},
};
use undercloud_model::NodeName;

use super::{
    bmc_access::{self, Bmc},
    redfish::Listed,
    running::{Deps, REST_END_MAX},
    site::{refused, unavailable},
    tasks::Group,
    virtual_bmc::VirtualBmc,
};

/// Those that run, by machine.
#[derive(Debug, Default)]
pub(super) struct LabBmcs {
    running: Mutex<BTreeMap<NodeName, (SocketAddr, Group)>>,
}

impl LabBmcs {
    fn running(&self) -> MutexGuard<'_, BTreeMap<NodeName, (SocketAddr, Group)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a machine's answers.
    pub(super) fn address(&self, machine: &NodeName) -> Option<SocketAddr> {
        self.running().get(machine).map(|(address, _)| *address)
    }

    /// Ends those of some machines; what they keep is written down.
    pub(super) async fn stop(&self, of: impl Fn(&NodeName) -> bool) {
        let ending: Vec<_> = self.running().extract_if(.., |name, _| of(name)).collect();
        join_all(ending.into_iter().map(|(_, (_, group))| group.stop(REST_END_MAX))).await;
    }
}

impl Deps {
    /// Starts the BMCs that are missing, and writes down where all of them are.
    pub(super) async fn start_bmcs(&self, lab: &Lab, bmcs: &LabBmcs) -> Result<(), ApiError> {
        let machines: Vec<&Machine> = lab.machines().collect();
        let access = bmc_access::ensure(&self.state, &machines)
            .map_err(|error| unavailable("cannot keep the BMCs' credentials", error))?;
        for (machine, access) in machines.iter().zip(&access) {
            if bmcs.address(machine.name()).is_none() {
                let started = self.start_bmc(lab, machine, access).await?;
                bmcs.running().insert(machine.name().clone(), started);
            }
        }
        let file = Instackenv::of(machines.iter().map(|m| m.definition()).zip(&access));
        file.write(&self.root()?.join("instackenv.json")).map_err(refused)
    }

    async fn start_bmc(
        &self,
        lab: &Lab,
        machine: &Machine,
        access: &BmcAccess,
    ) -> Result<(SocketAddr, Group), ApiError> {
        let redfish = self.redfish.site().await?;
        let trust = Trust::authorities([self.authority.pem().as_bytes()]);
        let trust = trust.ok_or_else(|| ApiError::invalid("our CA is no certificate"))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, access.port);
        let socket = UdpSocket::bind(address).map_err(|error| {
            let message = format!("the BMC of {} cannot use udp {address}", machine.name());
            unavailable(&message, error)
                .hint(format!("ss -lunp 'sport = {}' shows who does", access.port))
        })?;
        let credentials = Credentials::new(&access.user, access.password.expose())
            .map_err(|error| unavailable("a BMC's credentials", error))?;
        let memory = bmc_access::memory(&self.state, machine, credentials)
            .map_err(|error| unavailable("cannot keep what a BMC has to keep", error))?;
        let (bmc, power) = VirtualBmc::new(machine.clone(), lab.acceleration(), trust);
        let bmc = Arc::new(bmc);
        let server = Server::start_kept(socket, memory.memory().clone(), bmc.clone())
            .map_err(|error| unavailable("a BMC does not start", error))?;
        let address = server.address();
        let mut listed = Listed::new(redfish);
        listed
            .add(machine.name().to_string(), bmc, memory.memory().clone())
            .map_err(|error| unavailable("a machine cannot be served by Redfish", error))?;
        let bmc = Bmc { server, memory, listed };
        let mut group = self.tasks.group(CancellationToken::new());
        let stop = group.stopped();
        group.essential(format!("BMC of {}", machine.name()), bmc.run(power, stop));
        Ok((address, group))
    }
}
