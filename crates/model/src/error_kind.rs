//! What kind of error it is, decided once by the library that saw it. HTTP status, OpenStack fault
//! body and exit code are derived from the kind, in one place each.

use serde::{Deserialize, Serialize};

/// The kinds of error that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// What was named does not exist.
    NotFound,
    /// It exists already, or its state does not allow this now.
    Conflict,
    /// The input is wrong; sending it again cannot help.
    Invalid,
    /// Not allowed to this caller.
    Denied,
    /// Somebody else works on it; the same request succeeds later.
    Busy,
    /// Something needed is away (a BMC, a disk, a package archive); retry.
    Unavailable,
    /// A fault of ours.
    Bug,
}
