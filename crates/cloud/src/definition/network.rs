//! The networks that a service may listen on and a machine may be in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A network of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Between the machines.
    Internal,
    /// Where users come from.
    Public,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::Public => "public",
        })
    }
}
