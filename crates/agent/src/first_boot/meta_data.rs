//! `openstack/latest/meta_data.json`: who this machine is (Nova's metadata format). Of its fields
//! only the name and the public keys matter here.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The kinds of keys that OpenSSH accepts in a file of authorized keys (sshd(8)).
const KEY_KINDS: [&str; 4] = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-"];
const KEY_MAX: usize = 16 << 10;

/// What is known of the machine.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct MetaData {
    hostname: Option<String>,
    name: Option<String>,
    #[serde(default)]
    public_keys: BTreeMap<String, String>,
}

impl MetaData {
    /// The host name, if it is one (RFC 1123, section 2.1).
    pub fn hostname(&self) -> Option<String> {
        let name = self.hostname.as_ref().or(self.name.as_ref())?.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        (name.len() <= 253 && name.split('.').all(label)).then_some(name)
    }

    /// The public keys, one line each; what is no key is left out.
    pub fn keys(&self) -> Vec<&str> {
        let keys = self.public_keys.values().map(|k| k.trim());
        keys.filter(|key| {
            key.len() <= KEY_MAX
                && !key.chars().any(char::is_control)
                && KEY_KINDS.iter().any(|kind| key.starts_with(kind))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &str) -> MetaData {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn names_that_are_none_are_not_taken() {
        assert_eq!(meta(r#"{"hostname":"Compute-0.lab"}"#).hostname().unwrap(), "compute-0.lab");
        assert_eq!(meta(r#"{"name":"compute-0"}"#).hostname().unwrap(), "compute-0");
        for bad in ["", "a b", "a\\n127.0.0.1 x", "-a", "a..b", "é"] {
            assert_eq!(meta(&format!(r#"{{"hostname":"{bad}"}}"#)).hostname(), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_line_that_begins_with_its_kind() {
        let data = meta(
            r#"{"public_keys":{"a":"ssh-ed25519 AAAA lab\n","b":"command=\"x\" ssh-rsa A",
                "c":"ssh-rsa A\nssh-rsa B","d":""}}"#,
        );
        assert_eq!(data.keys(), ["ssh-ed25519 AAAA lab"]);
    }
}
