//! The life of a node: its record, what can happen to it, and what then. All pure.
//!
//! ```text
//!   enroll ──manage──▶ verifying ──▶ manageable ◀─manage── available
//!                         └─fail─▶ enroll   │ ▲                ▲  │
//!                                           │ │                │  │
//!     ┌────────────inspect──────────────────┘ │                │  └──deploy──▶ deploying ◀─┐
//!     ▼                                       │                │                 │   ▲     │
//!   inspecting ──▶ inspect wait ──▶ (inspecting)               │                 ▼   │     │
//!     └──────────────┴─fail/abort─▶ inspect failed             │            wait call-back │
//!                                                              │                 │         │
//!   manageable ──provide──▶ cleaning ──▶ clean wait ──▶ (cleaning)               ▼         │
//!                             ▲ └───────────┴─fail/abort─▶ clean failed        active      │
//!                             │                                                  │         │
//!                          deleting ◀──────────────undeploy──────────────────────┘         │
//!                             └─fail─▶ error           deploy failed ──deploy (resumes)────┘
//! ```
//! A state in `…ing` acts on the BMC; the wait state beside it waits for an agent. Each state is a
//! file in `state/`; what they share about booting and ordering the ramdisk is `state/ramdisk.rs`,
//! what all stable states share is `state/stable.rs`.
//!
//! [`step`] takes a node, an event and the time, and returns a decision. The engine writes it down
//! in one transaction, does the actions, and feeds their results back as events.

mod action;
mod enrol;
mod event;
mod failure;
mod phase;
mod policy;
mod provision;
mod record;
mod same_bmc;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod verb;

pub use action::{Action, Effect, Next, Step, Work};
pub use enrol::{FieldError, NewNode, RawNode, parse_capabilities};
pub use event::{Done, Event};
pub use failure::{Failure, FailureKind};
pub use phase::{Errand, Phase};
pub use policy::{BootProgress, Context, Policy};
pub use provision::{ParseStateError, ProvisionState};
pub use record::{
    BmcAddress, BootInterface, DeployRequest, Driver, Instance, InstanceImage, LastError,
    Maintenance, Node, Port, Properties, RedfishAddress, VerifyCa,
};
pub use state::{fail, step};
pub use verb::{Refusal, Verb};
