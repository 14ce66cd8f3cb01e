//! Who asks. Made once, where a request comes in, and handed on to whatever is written down of it.
//!
//! There is one way in: the unix socket, which only its owner opens and which gives all rights. A
//! user of a project, with roles, will be another [`Origin`].

use std::fmt;

/// Longest name.
const NAME_BYTES_MAX: usize = 80;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: String,
    origin: Origin,
}

/// How a caller came in, by which it is known what the caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process at the unix socket, as the kernel tells of it (`SO_PEERCRED`). It may do everything.
    Socket {
        /// Its user.
        uid: u32,
        /// Its process, if the kernel could tell.
        pid: Option<i32>,
    },
}

/// What was given is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no name of a caller: one has 1 to 80 bytes, without control characters")]
pub struct NoName;

impl Caller {
    /// A process at the unix socket. Whoever has opened that is trusted with everything, so also
    /// with saying for whom it speaks: root, and by sudo.
    ///
    /// # Errors
    /// What it says is no name.
    pub fn at_socket(uid: u32, pid: Option<i32>, says: Option<&str>) -> Result<Self, NoName> {
        let name = match (says, uid) {
            (Some(name), _) => name.to_owned(),
            (None, 0) => "root".to_owned(),
            (None, uid) => format!("user {uid}"),
        };
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(NoName);
        }
        Ok(Self { name, origin: Origin::Socket { uid, pid } })
    }

    /// The name that is written down.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it came in.
    pub const fn origin(&self) -> Origin {
        self.origin
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_say_a_name_is_known_by_the_user() {
        let name = |uid, says| Caller::at_socket(uid, Some(7), says).map(|c| c.to_string());
        assert_eq!(name(0, None).unwrap(), "root");
        assert_eq!(name(1000, None).unwrap(), "user 1000");
        assert_eq!(name(0, Some("root (eva)")).unwrap(), "root (eva)");
        for no_name in ["", "a\nb", &"x".repeat(81)] {
            assert_eq!(name(0, Some(no_name)), Err(NoName), "{no_name:?}");
        }
    }
}
