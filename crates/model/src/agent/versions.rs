//! Which versions of the protocol are understood. Agents live as long as the system that they were
//! installed with, so a daemon understands those of earlier versions, too.

use std::fmt;

/// A range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest that is understood.
    pub min: u32,
    /// The newest: the one that is spoken with whoever understands it.
    pub max: u32,
}

/// Those of this program. Fields that may be missing make no new version; the oldest moves up when
/// a message of it can no longer be understood.
pub const PROTOCOL: Versions = Versions { min: 2, max: 2 };

impl Versions {
    /// Whether a message of this version is understood.
    pub const fn understands(self, version: u32) -> bool {
        self.min <= version && version <= self.max
    }

    /// What to speak with somebody whose newest version is `theirs`: the newer of the two may be
    /// able to speak the older's.
    pub const fn common(self, theirs: u32) -> Option<u32> {
        let common = if theirs < self.max { theirs } else { self.max };
        if self.understands(common) { Some(common) } else { None }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        if min == max { write!(f, "version {max}") } else { write!(f, "versions {min} to {max}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_speaks_the_older_s_version_as_long_as_it_knows_it() {
        let ours = Versions { min: 3, max: 5 };
        let common = [2, 3, 4, 5, 6].map(|theirs| ours.common(theirs));
        assert_eq!(common, [None, Some(3), Some(4), Some(5), Some(5)]);
        let understood = [2, 3, 5, 6].map(|version| ours.understands(version));
        assert_eq!(understood, [false, true, true, false]);
        assert_eq!(ours.to_string(), "versions 3 to 5");
        assert_eq!(Versions { min: 2, max: 2 }.to_string(), "version 2");
        const { assert!(PROTOCOL.min <= PROTOCOL.max) };
    }
}
