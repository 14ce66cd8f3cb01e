//! The protocol between the agent on a machine and the daemon: JSON over TLS, the agent calls.
//!
//! ```text
//! ramdisk                                    daemon
//!   POST /agent/v1/hello   Hello          →    secret is right, unused, in its window?
//!                          Welcome        ←    session key, good for this boot only
//! installed system: has its machine key already (config drive), sends no Hello
//!   POST /agent/v1/poll    Poll           →    heartbeat; answered at once or when there is work
//!                          PollReply      ←    a step, or nothing
//!   POST /agent/v1/progress Progress      →    while a long step runs
//!   POST /agent/v1/report  Report         →    a step's outcome; sent until it is taken
//!   GET  /agent/v1/blobs/{digest}              an image, streamed
//! ```
//! An agent of the installed system lives as long as its machine: the first step of a deployment brings
//! it to the daemon's build ([`cloud::CloudStep::UpdateAgent`]), which is a blob like an image.
//! After `hello` every request carries `Authorization: Bearer KEY`. Steps are typed and versioned;
//! there is none that runs an arbitrary command on a machine: [`cloud`] describes containers. A step
//! sent twice has the same id, and an agent that knows its outcome repeats the report instead of
//! the work. The installed system's agent may do several at once: its poll says which.

mod boot;
pub mod cloud;
pub mod health;
pub mod link;
mod service_name;
mod step;
mod versions;

pub use boot::{
    BootIdentity, BootNetwork, DRIVE_IDENTITY_PATH, Hello, IDENTITY_PATH, INSTALLED_IDENTITY_PATH,
    InstalledIdentity, Welcome,
};
pub use step::{
    DiskIdentity, ImageEncoding, ImageSource, Outcome, Poll, PollReply, Progress, Report, Step,
    StepFailure, StepFailureKind, StepOrder, StepResult, WipeReceipt, WriteReceipt,
};

pub use versions::{PROTOCOL, Versions};

/// The newest version of this protocol.
pub const PROTOCOL_VERSION: u32 = PROTOCOL.max;
