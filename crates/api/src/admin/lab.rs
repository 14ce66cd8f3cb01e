//! `/v1/lab`: the virtual machines on this host. Making and deleting them are tasks.

use std::future::Future;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use undercloud_model::{BootMode, Caller, MacAddr, PowerState};

use super::Context;
use crate::{ApiError, body::JsonBody};

/// A machine of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabMachine {
    /// Its name.
    pub name: String,
    /// What it is made of: `qemu` or `container`.
    #[serde(default)]
    pub kind: LabKind,
    /// What it uses of this host's memory, in bytes, while it runs.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Whether it runs.
    pub power: PowerState,
    /// Its firmware.
    pub boot_mode: BootMode,
    /// Its processors.
    pub cpus: u32,
    /// Its memory.
    pub memory_mb: u64,
    /// Sizes of its disks, in bytes.
    pub disks: Vec<u64>,
    /// The interface that it boots from.
    pub mac: MacAddr,
    /// Where its BMC answers.
    pub bmc: String,
    /// The socket of its serial console.
    pub console: String,
    /// The file with what it said there.
    pub console_log: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

/// What machines are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabKind {
    /// What the host is best at: virtual machines where its processor runs them, else containers.
    #[default]
    Auto,
    /// Virtual machines with firmware and a kernel of their own.
    Qemu,
    /// Containers on the host's kernel.
    Container,
}

/// What to do with a machine of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabRequest {
    /// Its power button.
    pub power: LabPower,
}

/// A machine's power button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabPower {
    /// On.
    Start,
    /// Off at once.
    Stop,
}

/// The virtual machines on this host.
///
/// Implemented by the binary.
pub trait LabApi: Send + Sync + 'static {
    /// The lab's machines, ordered by name.
    fn lab(&self) -> impl Future<Output = Result<Vec<LabMachine>, ApiError>> + Send;

    /// Starts or stops a machine of the lab.
    fn lab_power(
        &self,
        caller: &Caller,
        machine: &str,
        power: LabPower,
    ) -> impl Future<Output = Result<LabMachine, ApiError>> + Send;
}

pub(super) async fn list<A: LabApi>(
    State(context): State<Context<A>>,
) -> Result<Json<Vec<LabMachine>>, ApiError> {
    context.0.api.lab().await.map(Json)
}

pub(super) async fn request<A: LabApi>(
    State(context): State<Context<A>>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    JsonBody(request): JsonBody<LabRequest>,
) -> Result<Json<LabMachine>, ApiError> {
    context.0.api.lab_power(&caller, &machine, request.power).await.map(Json)
}
