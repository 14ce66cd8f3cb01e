//! Redfish over HTTPS, metal or virtual: the `bmc` crate's client behind the engine's seam.
//!
//! One session for each controller, which lives on between actions while they follow each other,
//! and is logged out then: services keep few, and some for hours.
//!
//! **Whom we believe.** A controller's certificate must be for the address that we call and be
//! signed by our CA or by one that the host trusts ([`VerifyCa::Trusted`]). Most controllers sign
//! their own; then the enrolment names the certificate or its CA, as `redfish_verify_ca`. It can be
//! switched off there, which hands the password to whoever sits in between.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use undercloud_bmc::{
    credentials::Credentials,
    governor::Governor,
    keeper::{Keeper, Lease},
    machine::{self, Media, MediaSlot},
    redfish::{
        client::{
            BootEnabled, BootMode as WireMode, Budget, Client, ClientError, Config, ErrorKind,
        },
        link::{LinkError, Trust},
    },
};
use undercloud_model::{
    BootDevice, BootMode, PowerState,
    node::{RedfishAddress, VerifyCa},
};

use super::{action, wire_device};
use crate::{Bmc, BmcFactory, BmcFault, BmcTarget, PowerOrder};

/// Where hosts keep the authorities that they trust (Debian's package `ca-certificates`).
const HOST_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// One request. The first one decides whether anybody is there, in less than one try of an action.
const REQUEST_MAX: Duration = Duration::from_secs(8);
/// How long a service may take to show an image that it accepted.
const INSERTED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Which service, and as whom.
type Key = (IpAddr, RedfishAddress, String);

/// Logs in by Redfish.
#[derive(Debug, Clone)]
pub struct RedfishFactory {
    own_ca: String,
    governor: Arc<Governor>,
    keeper: Arc<Keeper<Key, Client>>,
}

impl RedfishFactory {
    /// Believes certificates that `own_ca` (PEM) signed, beside those that the host believes; asks
    /// each controller no more than `governor` lets through.
    pub fn new(own_ca: impl Into<String>, governor: Arc<Governor>) -> Self {
        Self { own_ca: own_ca.into(), governor, keeper: Arc::default() }
    }

    async fn trust(&self, verify: &VerifyCa) -> Result<Trust, BmcFault> {
        let untrusted = |error: String| BmcFault::Untrusted(error);
        match verify {
            VerifyCa::Any => Ok(Trust::Anybody),
            VerifyCa::Fingerprint(text) => {
                text.parse().map(Trust::Pinned).map_err(|_| untrusted("no such SHA-256".into()))
            }
            VerifyCa::File(path) => {
                let pem = tokio::fs::read(path).await;
                let pem = pem.map_err(|error| untrusted(format!("cannot read {path}: {error}")))?;
                let trust = Trust::authorities([&pem[..]]);
                trust.ok_or_else(|| untrusted(format!("there is no certificate in {path}")))
            }
            VerifyCa::Trusted => {
                // A host may trust nobody; our own CA is enough for the machines of the lab.
                let host = tokio::fs::read(HOST_CAS).await.unwrap_or_default();
                let trust = Trust::authorities([self.own_ca.as_bytes(), &host[..]]);
                trust.ok_or_else(|| untrusted("this host trusts no authority".into()))
            }
        }
    }
}

#[derive(Debug)]
struct Session(Option<Lease<Client>>);

impl RedfishFactory {
    async fn open(
        &self,
        target: &BmcTarget,
        redfish: &RedfishAddress,
        credentials: Credentials,
    ) -> Result<Client, BmcFault> {
        let config = Config {
            address: url(target.address, redfish),
            credentials,
            trust: self.trust(&redfish.verify_ca).await?,
            deadline: REQUEST_MAX,
            budget: Budget::default(),
        };
        let gate = self.governor.gate(&target.address.to_string());
        Client::connect_through(config, gate).await.map_err(|error| match &error {
            // Something else answers there, for instance a page for people.
            ClientError::Malformed { field: "body", .. } => BmcFault::NotOffered(text(&error)),
            _ => fault(&error),
        })
    }
}

#[async_trait]
impl BmcFactory for RedfishFactory {
    async fn connect(&self, target: &BmcTarget) -> Result<Box<dyn Bmc>, BmcFault> {
        let none = || BmcFault::NotOffered("its enrolment names no Redfish".into());
        let redfish = target.redfish.as_ref().ok_or_else(none)?;
        let credentials = Credentials::for_redfish(&target.user, target.password.expose())
            .map_err(|error| BmcFault::Login(error.to_string()))?;
        let key = (target.address, redfish.clone(), target.user.clone());
        let is_good = |client: &Client| client.is_for(&credentials);
        let open = Box::pin(self.open(target, redfish, credentials.clone()));
        let client = self.keeper.lease(key, is_good, open).await?;
        // Nobody there is known before anything is asked for, also where there was a session.
        client.look().await.map_err(|e| fault(&e))?;
        Ok(Box::new(Session(Some(client))))
    }

    async fn close(&self) {
        self.keeper.close().await;
    }
}

fn url(address: IpAddr, redfish: &RedfishAddress) -> String {
    let host = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let system = redfish.system.as_deref().unwrap_or_default();
    format!("https://{host}:{}{system}", redfish.port)
}

impl Session {
    fn client(&self) -> Result<&Client, BmcFault> {
        self.0.as_deref().ok_or_else(|| BmcFault::Silent("the session is closed".into()))
    }
}

#[async_trait]
impl Bmc for Session {
    async fn power(&mut self) -> Result<PowerState, BmcFault> {
        match self.client()?.power_state().await.map_err(|e| fault(&e))? {
            machine::PowerState::On => Ok(PowerState::On),
            machine::PowerState::Off => Ok(PowerState::Off),
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
        let enabled = if persistent { BootEnabled::Continuous } else { BootEnabled::Once };
        let wanted = match mode {
            BootMode::Uefi => WireMode::Uefi,
            BootMode::Bios => WireMode::Legacy,
        };
        // Services that cannot change the mode refuse a request that names it, even the present one.
        let now = self.client()?.boot().await.map_err(|e| fault(&e))?.mode;
        let mode = now.filter(|now| *now != wanted).map(|_| wanted);
        self.client()?.set_boot(wire_device(device), enabled, mode).await.map_err(|e| fault(&e))
    }

    async fn insert_media(&mut self, url: &str) -> Result<(), BmcFault> {
        let media = Media { image: url.to_owned(), write_protected: true };
        self.client()?.insert_media(MediaSlot::Cd, &media).await.map_err(|e| fault(&e))?;
        // A service may answer when it has begun. What it shows in the end is what counts.
        let deadline = Instant::now() + INSERTED_WITHIN;
        loop {
            let there = self.client()?.media(MediaSlot::Cd).await.map_err(|e| fault(&e))?;
            if there.is_some() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(BmcFault::Refused("it took the image and shows no CD".into()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn eject_media(&mut self) -> Result<(), BmcFault> {
        self.client()?.eject_media(MediaSlot::Cd).await.map_err(|e| fault(&e))
    }

    async fn close(&mut self) {
        self.0 = None;
    }
}

fn text(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn fault(error: &ClientError) -> BmcFault {
    let text = text(error);
    match error {
        ClientError::NotOffered { .. } => return BmcFault::NotOffered(text),
        ClientError::ManySystems { .. } => return BmcFault::Unnamed(text),
        ClientError::Moved { .. } => return BmcFault::Moved(text),
        ClientError::Link { source: LinkError::Tls { .. }, .. } => {
            return BmcFault::Untrusted(text);
        }
        ClientError::Refused { status, .. } => match status {
            401 => return BmcFault::Login(text),
            // There is no such resource, or it has no such method: nothing was done.
            404 | 405 | 410 | 501 => return BmcFault::NotOffered(text),
            _ => {}
        },
        ClientError::Link { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::NotKept { .. }
        | ClientError::Malformed { .. } => {}
    }
    match error.kind() {
        ErrorKind::Unavailable => BmcFault::Silent(text),
        ErrorKind::Busy | ErrorKind::Unknown => BmcFault::Busy(text),
        ErrorKind::Denied => BmcFault::Denied(text),
        ErrorKind::Broken => BmcFault::Broken(text),
        ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Invalid => BmcFault::Refused(text),
    }
}
