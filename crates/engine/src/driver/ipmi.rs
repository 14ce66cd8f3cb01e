//! IPMI 2.0 over the network, metal or virtual: the `bmc` crate's client behind the engine's seam.
//!
//! One session for each controller, which lives on between actions while they follow each other: a
//! controller has few, and it can bear only so many questions.
//! Operator is the level that power and boot options need (IPMI 2.0, appendix G).

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use undercloud_bmc::{
    credentials::Credentials,
    governor::Governor,
    ipmi::client::{
        ClientError, ErrorKind, Options,
        keeper::{Keeper, Lease},
    },
    machine,
    privilege::Privilege,
};
use undercloud_model::{BootDevice, BootMode, PowerState};

use super::{action, wire_device};
use crate::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};

/// Logs in by IPMI.
#[derive(Debug, Clone)]
pub struct IpmiFactory {
    keeper: Arc<Keeper>,
}

/// How to talk, as a rule: with no more rights than are needed.
pub fn options() -> Options {
    Options { privilege: Privilege::Operator, ..Options::default() }
}

impl IpmiFactory {
    /// Asks each controller no more than `governor` lets through.
    pub fn new(options: Options, governor: Arc<Governor>) -> Self {
        Self { keeper: Arc::new(Keeper::new(options, governor)) }
    }
}

#[derive(Debug)]
struct Session(Option<Lease>);

#[async_trait]
impl BmcFactory for IpmiFactory {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        let address = SocketAddr::new(target.address, target.port);
        let credentials = Credentials::new(&target.user, target.password.expose())
            .map_err(|error| BmcFault::Login(error.to_string()))?;
        let client = self.keeper.lease(address, credentials).await;
        Ok(Box::new(Session(Some(client.map_err(|e| fault(&e))?))))
    }

    async fn close(&self) {
        self.keeper.close().await;
    }
}

impl Session {
    fn client(&mut self) -> Result<&mut Lease, BmcFault> {
        self.0.as_mut().ok_or_else(|| BmcFault::Silent("the session is closed".into()))
    }
}

#[async_trait]
impl Bmc for Session {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        match self.client()?.power_state().await {
            Ok(machine::PowerState::On) => Ok(PowerState::On),
            Ok(machine::PowerState::Off) => Ok(PowerState::Off),
            Err(error) => Err(fault(&error)),
        }
    }

    async fn order_power(&mut self, order: PowerOrder) -> Result<(), BmcFault> {
        self.client()?.power(action(order)).await.map_err(|e| fault(&e))
    }

    async fn set_boot_device(
        &mut self,
        device: BootDevice,
        mode: BootMode,
        persistent: bool,
    ) -> Result<(), BmcFault> {
        let efi = mode == BootMode::Uefi;
        self.client()?
            .set_boot_device(wire_device(device), efi, persistent)
            .await
            .map_err(|e| fault(&e))
    }

    async fn insert_media(&mut self, _: &str) -> Result<(), BmcFault> {
        Err(no_media())
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        Err(no_media())
    }

    async fn close(&mut self) {
        self.0 = None;
    }
}

fn no_media() -> BmcFault {
    BmcFault::NotOffered("IPMI has no virtual media".into())
}

fn fault(error: &ClientError) -> BmcFault {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::Unavailable => BmcFault::Silent(text),
        ErrorKind::Busy | ErrorKind::Unknown => BmcFault::Busy(text),
        ErrorKind::Denied => match error {
            ClientError::AuthenticationFailed { .. } => BmcFault::Login(text),
            _ => BmcFault::Denied(text),
        },
        ErrorKind::Conflict => BmcFault::Refused(text),
        ErrorKind::Unsupported => BmcFault::NotOffered(text),
        ErrorKind::Bug => BmcFault::Broken(text),
    }
}
