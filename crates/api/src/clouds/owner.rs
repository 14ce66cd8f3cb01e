//! Whose files these are: under sudo the user's who typed it, not root's.

use std::{fs, process::Command};

use camino::Utf8PathBuf;

use super::CloudsError;

/// A user and where their configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// `~/.config`, or `XDG_CONFIG_HOME`.
    pub config_dir: Utf8PathBuf,
}

/// A line of the user database (passwd(5)).
struct User {
    gid: u32,
    home: String,
}

impl Owner {
    /// Who typed the command that this process runs for.
    ///
    /// # Errors
    /// When that user has no home directory.
    pub fn invoking() -> Result<Self, CloudsError> {
        let own = rustix::process::geteuid().as_raw();
        Self::from_environment(own, |name| std::env::var(name).ok(), user)
    }

    fn from_environment(
        own: u32,
        env: impl Fn(&str) -> Option<String>,
        user: impl Fn(u32) -> Option<User>,
    ) -> Result<Self, CloudsError> {
        let given = |name| env(name).filter(|text| !text.is_empty());
        // Only root is told by sudo who asked; to others the variable means nothing.
        let asked = given("SUDO_UID").and_then(|text| text.parse().ok());
        let uid = asked.filter(|uid| own == 0 && *uid != 0).unwrap_or(own);
        let found = user(uid);
        let gid = found.as_ref().map_or(uid, |user| user.gid);
        if uid == own {
            if let Some(config) = given("XDG_CONFIG_HOME").filter(|dir| dir.starts_with('/')) {
                return Ok(Self { uid, gid, config_dir: config.into() });
            }
            if let Some(home) = given("HOME") {
                return Ok(Self { uid, gid, config_dir: Utf8PathBuf::from(home).join(".config") });
            }
        }
        let home = found.map(|user| user.home).filter(|home| home.starts_with('/'));
        let home = home.ok_or(CloudsError::NoHome { uid })?;
        Ok(Self { uid, gid, config_dir: Utf8PathBuf::from(home).join(".config") })
    }
}

/// From `/etc/passwd`; a user of a directory service by `getent`, which must answer in 10 s.
fn user(uid: u32) -> Option<User> {
    let local = fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&local, uid).or_else(|| {
        let mut getent = Command::new("timeout");
        getent.args(["10", "getent", "passwd"]).arg(uid.to_string());
        find(&String::from_utf8(getent.output().ok()?.stdout).ok()?, uid)
    })
}

fn find(passwd: &str, uid: u32) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, id, gid, _, home, _] = fields[..] else { return None };
        let gid = gid.parse().ok()?;
        (id.parse() == Ok(uid)).then(|| User { gid, home: home.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001::/home/ada:/bin/sh\n+\n";

    fn owner(own: u32, env: &[(&str, &str)]) -> Result<Owner, CloudsError> {
        let env = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Owner::from_environment(own, env, |uid| find(PASSWD, uid))
    }

    #[test]
    fn under_sudo_it_is_the_users_home() {
        let ada = Owner { uid: 1000, gid: 1001, config_dir: "/home/ada/.config".into() };
        let sudo = [("SUDO_UID", "1000"), ("HOME", "/root"), ("XDG_CONFIG_HOME", "/root/.config")];
        assert_eq!(owner(0, &sudo).unwrap(), ada);
        assert_eq!(owner(1000, &[("HOME", "/home/ada"), ("SUDO_UID", "0")]).unwrap(), ada);
        let root = Owner { uid: 0, gid: 0, config_dir: "/root/.config".into() };
        assert_eq!(owner(0, &[("HOME", "/root"), ("SUDO_UID", "0")]).unwrap(), root);
        assert_eq!(owner(0, &[]).unwrap(), root);
        let xdg = owner(1000, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]).unwrap();
        assert_eq!(xdg.config_dir, "/c");
        assert!(matches!(owner(0, &[("SUDO_UID", "7")]), Err(CloudsError::NoHome { uid: 7 })));
    }
}
