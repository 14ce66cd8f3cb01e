//! Container images as data (OCI image specification 1.1, OCI distribution specification 1.1):
//! names, references, manifests, configs, and the record that the store keeps of an image.
//!
//! Pure: bytes in, values out. What comes from elsewhere is bounded and checked here, once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::json;
use undercloud_model::{Digest, UnixMillis};

/// Media type of a manifest (image specification, "OCI Image Media Types").
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// The one kind of layer that we make.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The one tag that an image has here; versions are named by digest.
pub const TAG: &str = "latest";

/// Longest manifest that is read: the limit that registries set (distribution specification,
/// "Pushing Manifests").
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Layers of one image; the kernel's overlay takes no more than 500.
const LAYERS_MAX: usize = 500;
/// Longest name, with room for a registry's host before it.
const NAME_BYTES_MAX: usize = 200;
/// Longest tag (distribution specification, "Pulling manifests").
const TAG_BYTES_MAX: usize = 128;

/// Something that is no part of a container image.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Not the JSON that the specification describes.
    #[error("the {what} is not what the OCI image specification describes")]
    Json {
        /// Manifest or config.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Longer than anything that is taken.
    #[error("the {what} has {found} bytes; at most {MANIFEST_BYTES_MAX} are read")]
    Long {
        /// Manifest or config.
        what: &'static str,
        /// Its length.
        found: usize,
    },
    /// A field has a value that is not understood.
    #[error("the {what} says {field} `{value}`, which is not understood")]
    Field {
        /// Manifest or config.
        what: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value, cut.
        value: String,
    },
    /// Too many layers, or none.
    #[error("the {what} names {found} layers; 1 to {LAYERS_MAX} can be used")]
    Layers {
        /// Manifest or config.
        what: &'static str,
        /// Their number.
        found: usize,
    },
    /// No image can have this name.
    #[error("`{0}` is no name of a container image")]
    Name(String),
    /// Neither a tag nor a digest.
    #[error("`{0}` is neither a tag nor a digest")]
    Reference(String),
}

/// For messages: what a stranger sent is not repeated at length.
fn cut(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// A name in a registry: path components of lower-case letters and digits with single separators.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let legal = text.len() <= NAME_BYTES_MAX && text.split('/').all(is_component);
        legal.then(|| Self(text.to_owned())).ok_or_else(|| OciError::Name(cut(text)))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution specification, "Pulling manifests").
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |s: &str| matches!(s, "." | "_" | "__") || !s.is_empty() && s.bytes().all(|b| b == b'-');
    let ends = text.starts_with(is_plain) && text.ends_with(is_plain);
    // Between the plain runs are the separators, and nothing else.
    ends && text.split(is_plain).filter(|s| !s.is_empty()).all(is_separator)
}

/// Which version of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By tag.
    Tag(String),
    /// By the digest of its manifest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let wrong = || OciError::Reference(cut(text));
        if text.contains(':') {
            return digest(text).map(Self::Digest).ok_or_else(wrong);
        }
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let later = |c: char| first(c) || c == '.' || c == '-';
        let legal =
            text.len() <= TAG_BYTES_MAX && text.starts_with(first) && text.chars().all(later);
        legal.then(|| Self::Tag(text.to_owned())).ok_or_else(wrong)
    }
}

/// A digest as it is on the wire: one spelling, unlike what people may type.
pub fn digest(text: &str) -> Option<Digest> {
    text.parse::<Digest>().ok().filter(|digest| digest.to_string() == text)
}

/// A blob that an image is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What is registered of an image: a name, and the blobs that a pull fetches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerImage {
    /// The name in the registry: `keystone`.
    pub name: String,
    /// The manifest: who pulls by this digest gets exactly this.
    pub manifest: Piece,
    /// The config.
    pub config: Piece,
    /// The layers, the lowest first, packed.
    pub layers: Vec<Piece>,
    /// What a pull from nothing transfers, in bytes.
    pub size: u64,
    /// The digest of everything that it was built from.
    pub inputs: Digest,
    /// When it was built.
    pub built_at: UnixMillis,
}

impl ContainerImage {
    /// Every blob of it.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        [self.manifest, self.config].into_iter().chain(self.layers.iter().copied())
    }
}

/// What a manifest says (image specification, "OCI Image Manifest").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config.
    pub config: Piece,
    /// The layers, the lowest first.
    pub layers: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u64,
    media_type: Option<String>,
    config: WireDescriptor,
    layers: Vec<WireDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl WireDescriptor {
    fn piece(self, expected: &str) -> Result<Piece, OciError> {
        let field =
            |field, value: &str| OciError::Field { what: "manifest", field, value: cut(value) };
        if self.media_type != expected {
            return Err(field("mediaType", &self.media_type));
        }
        let digest = digest(&self.digest).ok_or_else(|| field("digest", &self.digest))?;
        Ok(Piece { digest, size: self.size })
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, OciError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(OciError::Long { what, found: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| OciError::Json { what, source })
}

fn count(what: &'static str, found: usize) -> Result<(), OciError> {
    if (1..=LAYERS_MAX).contains(&found) { Ok(()) } else { Err(OciError::Layers { what, found }) }
}

impl Manifest {
    /// Reads a manifest of an image whose layers are packed as ours are.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let wire: WireManifest = parse("manifest", bytes)?;
        let field = |field, value: String| OciError::Field { what: "manifest", field, value };
        if wire.schema_version != 2 {
            return Err(field("schemaVersion", wire.schema_version.to_string()));
        }
        if let Some(other) = wire.media_type.filter(|t| t != MANIFEST_TYPE) {
            return Err(field("mediaType", cut(&other)));
        }
        count("manifest", wire.layers.len())?;
        let layers = wire.layers.into_iter().map(|l| l.piece(LAYER_TYPE));
        Ok(Self {
            config: wire.config.piece(CONFIG_TYPE)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// The manifest's bytes: the same for the same value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let descriptor = |kind: &str, piece: &Piece| json!({"mediaType": kind, "digest": piece.digest, "size": piece.size});
        let layers: Vec<_> = self.layers.iter().map(|l| descriptor(LAYER_TYPE, l)).collect();
        let config = descriptor(CONFIG_TYPE, &self.config);
        json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers})
            .to_string()
            .into_bytes()
    }
}

#[derive(Deserialize)]
struct WireConfig {
    rootfs: WireRootfs,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// The digests of the unpacked layers, the lowest first, from a config (image specification, "OCI
/// Image Configuration", `rootfs`).
pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, OciError> {
    let WireConfig { rootfs } = parse("config", config)?;
    let field = |field, value: &str| OciError::Field { what: "config", field, value: cut(value) };
    if rootfs.kind != "layers" {
        return Err(field("rootfs.type", &rootfs.kind));
    }
    count("config", rootfs.diff_ids.len())?;
    let ids = rootfs.diff_ids.iter();
    ids.map(|id| digest(id).ok_or_else(|| field("rootfs.diff_ids", id))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest_of;

    fn manifest() -> Manifest {
        let piece = |text: &str| Piece { digest: digest_of(text.as_bytes()), size: 7 };
        Manifest { config: piece("config"), layers: vec![piece("base"), piece("own")] }
    }

    fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut value = serde_json::from_slice(&manifest().to_bytes()).unwrap();
        change(&mut value);
        Manifest::parse(value.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "openstack-python", "a--b", "a.b_c__d/e0"] {
            assert_eq!(good.parse::<ImageName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(201);
        for bad in ["", "A", "a/", "/a", "a//b", "a..b", "a___b", "-a", "a-", "a._b", "ä", &long] {
            let text = bad.parse::<ImageName>().unwrap_err().to_string();
            assert!(text.ends_with("is no name of a container image"), "{text}");
        }
    }

    #[test]
    fn references_are_tags_or_digests_in_one_spelling() {
        let digest = digest_of(b"x");
        let hex = digest.hex();
        assert_eq!(digest.to_string().parse::<Reference>().unwrap(), Reference::Digest(digest));
        assert_eq!("v1.0_x-".parse::<Reference>().unwrap(), Reference::Tag("v1.0_x-".into()));
        let upper = format!("sha256:{}", hex.to_uppercase());
        let (long, other) = ("a".repeat(129), format!("sha512:{hex}"));
        for bad in ["", ".a", "-a", "a b", "sha256:", "sha256:12", &upper, &long, &other, "a/b"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_manifest_is_written_and_read() {
        assert_eq!(Manifest::parse(&manifest().to_bytes()).unwrap(), manifest());
    }

    #[test]
    fn a_hostile_manifest_is_refused_in_a_sentence() {
        let bytes = manifest().to_bytes();
        for cut in 0..bytes.len() {
            assert!(Manifest::parse(&bytes[..cut]).is_err());
        }
        assert!(changed(|m| m["schemaVersion"] = 1.into()).contains("schemaVersion `1`"));
        assert!(changed(|m| m["mediaType"] = "x\n".into()).contains("mediaType `x\\n`"));
        assert!(changed(|m| m["layers"] = json!([])).contains("0 layers"));
        let many =
            |m: &mut serde_json::Value| m["layers"] = vec![m["layers"][0].clone(); 501].into();
        assert!(changed(many).contains("501 layers"));
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        assert!(changed(|m| m["layers"][1]["mediaType"] = foreign.into()).contains("mediaType"));
        for bad in ["../../etc/passwd", "sha256:..", &"0".repeat(64)] {
            assert!(changed(|m| m["config"]["digest"] = bad.into()).contains("digest"), "{bad}");
        }
        assert!(changed(|m| m["config"]["size"] = (-1).into()).contains("not what the OCI"));
        let long = vec![b' '; MANIFEST_BYTES_MAX + 1];
        assert!(matches!(Manifest::parse(&long), Err(OciError::Long { .. })));
    }

    #[test]
    fn a_config_tells_its_layers() {
        let id = digest_of(b"layer");
        let config = |kind: &str, ids: serde_json::Value| {
            json!({"architecture": "amd64", "rootfs": {"type": kind, "diff_ids": ids}}).to_string()
        };
        assert_eq!(diff_ids(config("layers", json!([id])).as_bytes()).unwrap(), [id]);
        for (kind, ids) in [("x", json!([id])), ("layers", json!([])), ("layers", json!(["../x"]))]
        {
            assert!(diff_ids(config(kind, ids).as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, text: String) {
            let _ = Manifest::parse(&bytes);
            let _ = diff_ids(&bytes);
            if let Ok(name) = text.parse::<ImageName>() {
                prop_assert!(!name.as_str().contains("..") && !name.as_str().starts_with('/'));
            }
            if let Ok(Reference::Tag(tag)) = text.parse::<Reference>() {
                prop_assert!(!tag.contains('/'));
            }
        }

        #[test]
        fn what_fits_the_pattern_is_a_name(text in "[a-z0-9]{1,9}((\\.|_|__|-{1,3})[a-z0-9]{1,9}){0,3}") {
            prop_assert!(text.parse::<ImageName>().is_ok());
        }
    }
}
