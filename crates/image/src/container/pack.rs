//! From Podman's storage to blobs: each layer is read once, checked against its digest, searched for
//! credentials and packed; the manifest is ours.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::{Mutex, PoisonError},
    thread,
};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use undercloud_model::{Digest, UnixMillis};

use super::{podman::blob, recipe::Recipe, secrets::Secrets};
use crate::{
    HashingReader,
    blob::{Blobs, Stored},
    build::{BuildError, error::at},
    frames,
    oci::{self, ContainerImage, Manifest, Piece},
};

/// How hard layers are packed: a machine unpacks all levels equally fast.
const LEVEL: i32 = 6;

/// What the cache keeps of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) image: ContainerImage,
    /// The digests of its unpacked layers, in order: children have the same below their own.
    pub(super) diff_ids: Vec<Digest>,
}

/// Packs layers, each once.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    blobs: &'a Blobs,
    secrets: &'a Secrets,
    known: Mutex<BTreeMap<Digest, Piece>>,
}

impl<'a> Packer<'a> {
    /// Puts into `blobs` what holds none of `secrets`; the layers of `records` are there.
    pub(super) fn new<'r>(
        blobs: &'a Blobs,
        secrets: &'a Secrets,
        records: impl Iterator<Item = &'r Record>,
    ) -> Self {
        let pairs = |r: &'r Record| r.diff_ids.iter().copied().zip(r.image.layers.iter().copied());
        Self { blobs, secrets, known: Mutex::new(records.flat_map(pairs).collect()) }
    }

    /// Packs the image of this config, whose layers are in the OCI layout.
    pub(super) fn pack(
        &self,
        recipe: &Recipe<'_>,
        config: &[u8],
        layout: &Utf8Path,
        now: UnixMillis,
    ) -> Result<Record, BuildError> {
        if self.secrets.within(config) {
            return Err(BuildError::Secret { image: recipe.name.to_owned(), place: "config" });
        }
        let diff_ids = oci::diff_ids(config).map_err(BuildError::Oci)?;
        let mut layers = Vec::new();
        for id in &diff_ids {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
            layers.push(match known {
                Some(layer) => layer,
                None => self.layer(recipe, id, layout)?,
            });
        }
        let put = |bytes| self.blobs.put(bytes).map(piece).map_err(BuildError::Blob);
        let config = put(config)?;
        let manifest = put(&Manifest { config, layers: layers.clone() }.to_bytes())?;
        let size = [manifest, config].iter().chain(&layers).map(|p| p.size).sum();
        let (name, inputs) = (recipe.name.to_owned(), recipe.key);
        let image = ContainerImage { name, manifest, config, layers, size, inputs, built_at: now };
        Ok(Record { image, diff_ids })
    }

    fn layer(
        &self,
        recipe: &Recipe<'_>,
        id: &Digest,
        layout: &Utf8Path,
    ) -> Result<Piece, BuildError> {
        let path = blob(layout, id);
        let file = File::open(&path).map_err(at("open", &path))?;
        let mut raw = self.secrets.guard(HashingReader::new(file));
        let mut writer = self.blobs.writer().map_err(BuildError::Blob)?;
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let packed = frames::compress(&mut raw, &mut writer, LEVEL, workers);
        packed.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                BuildError::Secret { image: recipe.name.to_owned(), place: "files" }
            }
            _ => BuildError::Pack(source),
        })?;
        if raw.into_inner().finish().0 != *id {
            return Err(BuildError::Content("a layer is not what its config says"));
        }
        let packed = piece(writer.finish().map_err(BuildError::Blob)?);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, packed);
        Ok(packed)
    }
}

fn piece(stored: Stored) -> Piece {
    Piece { digest: stored.digest, size: stored.size }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use serde_json::json;

    use super::*;
    use crate::{container::recipe, digest_of};

    struct Fixture {
        blobs: Blobs,
        layout: camino::Utf8PathBuf,
        config: Vec<u8>,
        _dir: tempfile::TempDir,
    }

    /// A layout whose image has these layers.
    fn fixture(layers: &[&[u8]]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let layout = path.join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let ids: Vec<Digest> = layers.iter().map(|layer| digest_of(layer)).collect();
        for (id, layer) in ids.iter().zip(layers) {
            fs::write(blob(&layout, id), layer).unwrap();
        }
        let config = json!({"rootfs": {"type": "layers", "diff_ids": ids}}).to_string();
        let blobs = Blobs::open(path.join("blobs")).unwrap();
        Fixture { blobs, layout, config: config.into_bytes(), _dir: dir }
    }

    fn recipe() -> Recipe<'static> {
        recipe::read(&[], &digest_of(b"archive")).unwrap().remove(0)
    }

    fn secrets(secret: &str) -> Secrets {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        fs::write(path.join("empty"), "").unwrap();
        fs::create_dir(path.join("auth")).unwrap();
        let (empty, auth) = (path.join("empty"), path.join("auth"));
        let secret = undercloud_model::Secret::new(secret);
        Secrets::of_host(&empty, &empty, &auth, &[secret]).unwrap()
    }

    #[test]
    fn an_image_becomes_blobs_that_its_manifest_names() {
        let f = fixture(&[b"lower", b"upper"]);
        let secrets = secrets("hunter2hunter2");
        let packer = Packer::new(&f.blobs, &secrets, [].iter());
        let record = packer.pack(&recipe(), &f.config, &f.layout, 7).unwrap();
        let image = &record.image;
        let read = fs::read(f.blobs.path(&image.manifest.digest)).unwrap();
        let manifest = Manifest::parse(&read).unwrap();
        assert_eq!((&manifest.config, &manifest.layers), (&image.config, &image.layers));
        assert_eq!(image.size, image.pieces().map(|p| p.size).sum::<u64>());
        let mut text = String::new();
        let packed = f.blobs.open_blob(&image.layers[1].digest).unwrap();
        frames::decompress(packed).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "upper");
        // A known layer is not even opened again.
        fs::remove_dir_all(&f.layout).unwrap();
        let later = Packer::new(&f.blobs, &secrets, [&record].into_iter());
        let again = later.pack(&recipe(), &f.config, &f.layout, 8).unwrap();
        assert_eq!(again.image.manifest, image.manifest);
    }

    #[test]
    fn a_credential_in_a_layer_or_config_stops_everything() {
        let secrets = secrets("hunter2hunter2");
        let f = fixture(&[b"lower", b"machine m password hunter2hunter2\n"]);
        let packer = Packer::new(&f.blobs, &secrets, [].iter());
        let error = packer.pack(&recipe(), &f.config, &f.layout, 7).unwrap_err();
        assert!(
            matches!(&error, BuildError::Secret { image, place: "files" } if image == "base"),
            "{error}"
        );
        assert!(!error.to_string().contains("hunter2"));
        let config = br#"{"history": "http://a:hunter2hunter2@proxy"}"#;
        let error = packer.pack(&recipe(), config, &f.layout, 7).unwrap_err();
        assert!(matches!(error, BuildError::Secret { place: "config", .. }), "{error}");
    }

    #[test]
    fn a_layer_that_was_changed_is_refused() {
        let f = fixture(&[b"lower"]);
        fs::write(blob(&f.layout, &digest_of(b"lower")), "other").unwrap();
        let secrets = secrets("hunter2hunter2");
        let packer = Packer::new(&f.blobs, &secrets, [].iter());
        let error = packer.pack(&recipe(), &f.config, &f.layout, 7).unwrap_err();
        assert!(error.to_string().contains("not what its config says"), "{error}");
    }
}
