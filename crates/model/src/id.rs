//! Ids: one type each, so that a step's id cannot be passed for a node's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use uuid::Uuid;

/// The text is no id or name of that kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct ParseIdError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

impl ParseIdError {
    /// For the names that other modules parse.
    pub(crate) fn new(what: &'static str, rule: &'static str, text: &str) -> Self {
        Self { what, rule, text: text.chars().take(80).collect() }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Its UUID.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError {
                    what: $what,
                    rule: "write a UUID",
                    text: text.chars().take(80).collect(),
                })
            }
        }
    };
}

uuid_id!(
    /// A node: a machine that this undercloud manages (Ironic's `uuid` of a node).
    NodeId,
    "node id"
);
uuid_id!(
    /// One order given to an agent. The same order sent again has the same id.
    StepId,
    "step id"
);

/// A node's name: a host name label (RFC 1123, section 2.1), since it becomes one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let bytes = text.as_bytes();
        if (1..=63).contains(&bytes.len())
            && bytes.iter().copied().all(legal)
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
        {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseIdError {
            what: "node name",
            rule: "write 1 to 63 lower-case letters, digits and hyphens, no hyphen at the ends",
            text: text.chars().take(80).collect(),
        })
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_name_labels() {
        for good in ["controller-0", "a", "0", &"x".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/../b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }
}
