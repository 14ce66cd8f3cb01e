//! All SQL: nodes, the timeline, intents, pending actions, boot windows, agents' keys and orders,
//! images, container images, settings.
//!
//! One SQLite file, one writer (`BEGIN IMMEDIATE`, WAL), several readers. A transaction is never
//! held across anything but SQL. Handlers write intent ([`Store::request`]); only the engine's turn
//! ([`Store::commit`]) changes a node's state, with a version check, in one transaction with the
//! history and the pending actions. Everything is passed the time.
//!
//! Secrets: boot secrets, session keys and machine keys are kept hashed (SHA-256 of 256 random
//! bits), with two exceptions that end by themselves: a boot secret until it is used, since
//! firmware may fetch it twice, and the order that carries a machine's key to its disk, until it is
//! reported. BMC passwords are recoverable, for the BMC wants them. The directory is 0700.

mod agents;
mod ailments;
mod boots;
mod clock;
mod consent;
mod container_images;
mod db;
mod deployments;
mod due;
mod enrol;
mod error;
mod images;
mod installations;
mod machine_keys;
mod nodes;
mod orders;
mod requests;
mod retention;
mod runs;
mod secrets;
mod settings;
mod timeline;
mod turn;
mod waiting;

#[cfg(test)]
mod tests;

pub use agents::{AgentError, AgentKind, Denied, Principal, fresh_secret};
pub use ailments::{AilmentRow, Diagnosis};
pub use boots::{BootPlan, Lease, Seen};
pub use consent::Agreement;
pub use container_images::ContainerImageRow;
pub use db::{Halt, Open, Store, Uses};
pub use deployments::{DeploymentRow, RolloutOrder, RunRow, StepOf, StepRow};
pub use due::{Lease as TurnLease, Watched, Whose};
pub use enrol::{Enrolled, NodeChange};
pub use error::StoreError;
pub use images::ImageRow;
pub use installations::{Kept, WithIt};
pub use nodes::Ident;
pub use orders::{OrderProgress, OrderRecord};
pub use requests::Requested;
pub use retention::{Keep, Pruned};
pub use settings::ProvisioningRange;
pub use timeline::{Cause, EventKind, NewEvent, Run, Scope, Severity, TimelineEvent};
pub use turn::{PendingAction, Situation, TurnCommit};
