//! Paths and permissions that a service may name. A path is one spelling of one place: absolute,
//! no `.` or `..`, nothing that a unit file or a mount option reads as syntax.

use serde::{Deserialize, Deserializer, de::Error as _};

/// Where a service may keep something on the machine, unless the place is the machine's own.
const HOST_PLACES: [&str; 2] = ["/var/lib/overcloud/", "/run/"];

/// A path inside a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPath(String);

/// A path on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath(String);

/// Permissions, written as octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

impl ContainerPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HostPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a place for what services keep.
    pub fn is_for_services(&self) -> bool {
        HOST_PLACES.iter().any(|place| self.0.starts_with(place))
    }
}

impl FileMode {
    /// Permissions with these bits.
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

fn place(text: String) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let parts = text.strip_prefix('/').map(|rest| rest.split('/').collect::<Vec<_>>());
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    if text.len() <= 255
        && text.chars().all(letter)
        && parts.is_some_and(|parts| parts.iter().all(plain))
    {
        return Ok(text);
    }
    let start: String = text.chars().take(80).collect();
    Err(format!(
        "`{start}` is not a path: write an absolute one of letters, digits, `.`, `_` and `-`, \
         without `.` and `..`"
    ))
}

impl<'de> Deserialize<'de> for ContainerPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        place(String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        place(String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(&text, 8).ok().filter(|_| digits).map(Self).ok_or_else(|| {
            let start: String = text.chars().take(20).collect();
            D::Error::custom(format!("`{start}` is not a mode: write octal digits, \"0750\""))
        })
    }
}
