//! What images are made of: the data files of the tree, embedded, so that the one binary needs no
//! tree beside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use undercloud_model::Digest;

use crate::digest_of;

/// Changes when this program makes another thing of the same data files.
const RECIPE_VERSION: u32 = 1;

const BUILDER: &str = include_str!("../../../../images/builder.toml");
const DEPLOY: &str = include_str!("../../../../images/bm-deploy.toml");
/// What the loader on the deploy CD does.
pub(super) const DEPLOY_ISO_CONFIG: &str = include_str!("../../../../images/bm-deploy-iso.cfg");
const OVERCLOUD: &str = include_str!("../../../../images/overcloud-full.toml");
const TEST_SERVER: &str = include_str!("../../../../images/test-server.toml");

/// The test server's own files: path in its ramdisk, mode, text.
pub(super) const TEST_SERVER_FILES: &[(&str, u32, &str)] = &[
    ("init", 0o755, include_str!("../../../../images/test-server/init")),
    ("etc/udhcpc", 0o755, include_str!("../../../../images/test-server/udhcpc")),
    ("etc/inittab", 0o644, include_str!("../../../../images/test-server/inittab")),
    // dropbear lets in whom these name.
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/shells", 0o644, "/bin/sh\n"),
];

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../images/overcloud-full/", $name)))),*]
    };
}

/// The files that `overcloud-full.toml` names as `source`.
const OVERCLOUD_FILES: &[(&str, &str)] = sources![
    "empty",
    "firewall.nft",
    "fstab",
    "grub.cfg",
    "hostname",
    "hosts",
    "initrd.sh",
    "journald.conf",
    "sshd.conf",
    "sysctl.conf",
    "systemd.conf",
    "undercloud-agent.service",
    "undercloud-firewall.service",
    "undercloud-first-boot.service",
    "undercloud-host-key.service",
];

/// A data file of the tree is wrong; only a changed tree can say that.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It does not parse.
    #[error("images/{file} is not valid")]
    Toml {
        /// Which.
        file: &'static str,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It names a file that is not there.
    #[error("images/overcloud-full.toml names the source `{0}`, which is not in the tree")]
    Source(String),
}

/// Everything.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) builder: Builder,
    pub(super) deploy: Deploy,
    pub(super) overcloud: Overcloud,
    pub(super) test_server: TestServer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Builder {
    pub(super) packages: Vec<String>,
    pub(super) netboot: Vec<Netboot>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Netboot {
    pub(super) name: String,
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    pub(super) modules: Vec<String>,
    pub(super) busybox: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestServer {
    pub(super) modules: Vec<String>,
    pub(super) busybox: Vec<String>,
    pub(super) programs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Overcloud {
    pub(super) packages: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) remove: Vec<String>,
    pub(super) mask: Vec<String>,
    pub(super) mask_generators: Vec<String>,
    files: BTreeMap<String, String>,
    pub(super) links: BTreeMap<String, String>,
    pub(super) disk: Disk,
    pub(super) initrd: Deploy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Disk {
    pub(super) esp_mib: u64,
    pub(super) free_mib: u64,
    pub(super) journal_mib: u64,
}

/// The initrd's `/init`.
const INITRD_PROGRAM: &str = "initrd.sh";

fn text_of(source: &str) -> Option<&'static str> {
    OVERCLOUD_FILES.iter().find(|(name, _)| *name == source).map(|(_, text)| *text)
}

impl Overcloud {
    /// Path and text of our files. [`Recipe::read`] has seen that all sources are there.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.files.iter().filter_map(|(path, source)| Some((path.as_str(), text_of(source)?)))
    }

    /// The initrd's first program.
    pub(super) fn initrd_program(&self) -> &'static str {
        text_of(INITRD_PROGRAM).unwrap_or_default()
    }
}

impl Recipe {
    /// Reads the embedded data files.
    pub(super) fn read() -> Result<Self, RecipeError> {
        fn parse<T: serde::de::DeserializeOwned>(
            file: &'static str,
            text: &str,
        ) -> Result<T, RecipeError> {
            toml::from_str(text)
                .map_err(|source| RecipeError::Toml { file, source: Box::new(source) })
        }
        let recipe = Self {
            builder: parse("builder.toml", BUILDER)?,
            deploy: parse("bm-deploy.toml", DEPLOY)?,
            overcloud: parse("overcloud-full.toml", OVERCLOUD)?,
            test_server: parse("test-server.toml", TEST_SERVER)?,
        };
        let overcloud = &recipe.overcloud;
        for source in overcloud.files.values() {
            if text_of(source).is_none() {
                return Err(RecipeError::Source(source.clone()));
            }
        }
        Ok(recipe)
    }

    /// What the builder root depends on.
    pub(super) fn builder_key(&self, archive: &Digest) -> Digest {
        key("builder", archive, [BUILDER])
    }

    /// What the system under overcloud-full depends on: packages, and what decides their set-up.
    pub(super) fn system_key(&self, archive: &Digest) -> Digest {
        let o = &self.overcloud;
        let lists = o.packages.iter().chain(&o.exclude).map(String::as_str);
        key("system", archive, lists)
    }

    /// What the ramdisks depend on, but for the agent.
    pub(super) fn ramdisks_key(&self, system: &Digest, builder: &Digest) -> Digest {
        let initrd = &self.overcloud.initrd;
        let builder = builder.to_string();
        let parts = [DEPLOY, self.overcloud.initrd_program(), &builder, TEST_SERVER].into_iter();
        let parts =
            parts.chain(TEST_SERVER_FILES.iter().flat_map(|(path, _, text)| [*path, *text]));
        let lists = initrd.modules.iter().chain(&initrd.busybox).map(String::as_str);
        key("ramdisks", system, parts.chain(lists))
    }

    /// What all images together depend on.
    pub(super) fn images_key(&self, ramdisks: &Digest, agent: &Digest) -> Digest {
        let agent = agent.to_string();
        let files = OVERCLOUD_FILES.iter().flat_map(|(name, text)| [*name, *text]);
        let ours = [OVERCLOUD, DEPLOY_ISO_CONFIG, &agent];
        key("images", ramdisks, ours.into_iter().chain(files))
    }
}

fn key<'a>(what: &str, base: &Digest, parts: impl IntoIterator<Item = &'a str>) -> Digest {
    let mut text = format!("{what} {RECIPE_VERSION} {base}");
    for part in parts {
        text.push_str(&format!("\n{}:{part}", part.len()));
    }
    digest_of(text.as_bytes())
}

/// Whether `path` fits `pattern`, in which `*` stands for any characters but `/`.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let stop = rest.find('/').unwrap_or(rest.len());
    (0..=stop).filter(|i| rest.is_char_boundary(*i)).any(|i| fits(after, &rest[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_s_own_files_are_valid() {
        let recipe = Recipe::read().unwrap();
        assert!(recipe.overcloud.packages.iter().any(|p| p == "podman"));
        for link in recipe.overcloud.links.keys().chain(&recipe.deploy.modules) {
            assert!(!link.starts_with('/'), "{link}");
        }
    }

    #[test]
    fn a_change_of_ours_does_not_rebuild_the_system() {
        let recipe = Recipe::read().unwrap();
        let archive = digest_of(b"archive");
        let system = recipe.system_key(&archive);
        let mut changed = Recipe::read().unwrap();
        changed.overcloud.files.pop_last();
        changed.overcloud.mask.push("x".into());
        assert_eq!(changed.system_key(&archive), system);
        changed.overcloud.packages.push("x".into());
        assert_ne!(changed.system_key(&archive), system);
        assert_ne!(recipe.system_key(&digest_of(b"later")), system);
        let ramdisks = recipe.ramdisks_key(&system, &archive);
        assert_ne!(
            recipe.images_key(&ramdisks, &digest_of(b"agent 1")),
            recipe.images_key(&ramdisks, &digest_of(b"agent 2"))
        );
    }

    #[test]
    fn patterns() {
        assert!(fits("etc/ssh/ssh_host_*", "etc/ssh/ssh_host_rsa_key.pub"));
        assert!(fits("a*c*", "abcd") && fits("a*", "a") && fits("a", "a"));
        assert!(!fits("etc/*", "etc/a/b") && !fits("a", "ab") && !fits("a*b", "a/b"));
    }
}
