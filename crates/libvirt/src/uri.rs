//! Which libvirt: a connection URI, such as `qemu:///system`.

use std::{fmt, str::FromStr};

use crate::LibvirtError;

const BYTES_MAX: usize = 1024;

/// A libvirt connection URI. It is never read as an option of `virsh`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectUri(String);

impl ConnectUri {
    /// As libvirt takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the domains run on this host, where their consoles can be opened.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'))
    }

    /// The one command that makes an unreachable libvirt reachable, or says why it is not.
    pub(crate) fn remedy(&self) -> String {
        match self.0.as_str() {
            "qemu:///system" => "systemctl start libvirtd".to_owned(),
            other => format!("virsh -c '{other}' list --all"),
        }
    }
}

impl FromStr for ConnectUri {
    type Err = LibvirtError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
        let named = |c: char| c.is_ascii_alphanumeric() || c == '+';
        let plain = |c: char| c.is_ascii_graphic() && c != '\'';
        let good = !scheme.is_empty() && scheme.chars().all(named) && text.chars().all(plain);
        if !good || text.len() > BYTES_MAX {
            return Err(LibvirtError::Uri { uri: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ConnectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_uri_is_refused() {
        for good in ["qemu:///system", "qemu+ssh://root@host/system", "test:///default"] {
            assert_eq!(good.parse::<ConnectUri>().expect("good").as_str(), good);
        }
        for bad in ["", "qemu", "--help", "-c://x", "qemu:// /system", "qemu:///a'b", "://x"] {
            assert!(bad.parse::<ConnectUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_host_in_it_makes_it_remote() {
        let local = |text: &str| text.parse::<ConnectUri>().expect("good").is_local();
        assert!(local("qemu:///session") && local("qemu+unix:///system?socket=/run/s"));
        assert!(!local("qemu+ssh://host/system"));
    }
}
