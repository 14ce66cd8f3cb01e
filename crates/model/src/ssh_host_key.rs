//! The public key by which an installed machine's ssh server is known: the first two fields of
//! `/etc/ssh/ssh_host_ed25519_key.pub` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; RFC 8709 for what
//! is inside).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The only kind that our images make.
const ALGORITHM: &str = "ssh-ed25519";
/// Base64 of a length, the algorithm's name, a length, and 32 bytes of key.
const KEY_CHARS: usize = 68;
/// Base64 of the first 18 bytes, which are the same in every such key: the length and the name up
/// to where the base64 of the second length begins.
const KEY_PREFIX: &str = "AAAAC3NzaC1lZDI1NTE5AAAAI";

/// An Ed25519 public key in OpenSSH's text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshHostKey(String);

/// The text is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an ssh host key: write it as `{ALGORITHM} {KEY_PREFIX}…`")]
pub struct ParseSshHostKeyError;

impl fmt::Display for SshHostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM} {}", self.0)
    }
}

impl FromStr for SshHostKey {
    type Err = ParseSshHostKeyError;

    /// A comment behind the key is dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split_ascii_whitespace();
        let (algorithm, key) = (fields.next(), fields.next().ok_or(ParseSshHostKeyError)?);
        let is_base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
        let is_key = key.len() == KEY_CHARS && key.bytes().all(is_base64);
        if algorithm != Some(ALGORITHM) || !is_key || !key.starts_with(KEY_PREFIX) {
            return Err(ParseSshHostKeyError);
        }
        Ok(Self(key.to_owned()))
    }
}

impl Serialize for SshHostKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SshHostKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_is_read_without_its_comment() {
        let key: SshHostKey = format!("{KEY} root@controller-0\n").parse().unwrap();
        assert_eq!(key.to_string(), KEY);
    }

    #[test]
    fn what_could_become_another_line_of_known_hosts_is_no_key() {
        for text in [
            "",
            "ssh-ed25519",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
            "* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
            &KEY[..KEY.len() - 1],
            &KEY.replace("IJdD", "I,dD"),
        ] {
            assert_eq!(text.parse::<SshHostKey>(), Err(ParseSshHostKeyError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            if let Ok(key) = text.parse::<SshHostKey>() {
                prop_assert_eq!(key.to_string().parse(), Ok(key));
            }
        }
    }
}
