//! OpenStack on machines: what services there are, which of them a machine runs, and the steps
//! that bring it there.
//!
//! ```text
//! services/, roles/ ── Definitions ─┐
//! cloud.toml ───────── CloudConfig ─┼─ plan() ── Plan ── resolve() ── CloudStep with secrets
//! what is known ────── Facts ───────┤            (stored as JSON,     (to a machine's agent)
//! built images ─────── Images ──────┘             holds no secret)
//! ```
//! All but [`rollout`] is pure: no I/O, no clock, no async. A plan is a value: the same input gives
//! the same plan. The rollout carries it out through the store.
//! `services/README.md` describes the files.

pub mod config;
pub mod definition;
mod diff;
mod nearest;
pub mod plan;
mod reference;
mod render;
pub mod rollout;
mod secrets;
mod toml_fault;

pub use config::CloudConfig;
pub use definition::Definitions;
pub use diff::{Difference, diff};
pub use plan::{Plan, PlanError, plan};
pub use reference::{
    CertificateKind, CertificateRequest, ParseReferenceError, Reference, certificate_requests,
    references, resolve,
};
pub use secrets::{SecretKind, generate};
