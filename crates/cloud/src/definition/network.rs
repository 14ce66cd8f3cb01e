//! The networks that a service may listen on and a machine may be in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A network of the cloud, by what it is for. Every cloud has the first two; the others are those that
/// `cloud.toml` gives the purpose, or the internal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Between the machines.
    Internal,
    /// Where users come from.
    Public,
    /// Tenants' networks, in tunnels between the machines' switches.
    Tunnel,
    /// Images and volumes.
    Storage,
    /// Servers that move from one machine to another.
    Migration,
}

impl Network {
    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Public => "public",
            Self::Tunnel => "tunnel",
            Self::Storage => "storage",
            Self::Migration => "migration",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
