//! An image as Glance shows it.
//!
//! A packed image is what it is: `container_format` is `compressed`, size and hash are those of the
//! data that a download gives, `virtual_size` is the disk's. The id is made of name and digest, so
//! that other data is another image, as in Glance.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use undercloud_image::catalog::{Encoding, Image, ImageKind};
use uuid::{Builder, Uuid};

use super::auth::project_id;

const GIB: u64 = 1 << 30;

/// Keys of an image, and their JSON types, as the schema tells them.
const PROPERTIES: &[(&str, &[&str])] = &[
    ("id", &["string"]),
    ("name", &["null", "string"]),
    ("status", &["string"]),
    ("visibility", &["string"]),
    ("protected", &["boolean"]),
    ("os_hidden", &["boolean"]),
    ("owner", &["null", "string"]),
    ("checksum", &["null", "string"]),
    ("os_hash_algo", &["null", "string"]),
    ("os_hash_value", &["null", "string"]),
    ("size", &["null", "integer"]),
    ("virtual_size", &["null", "integer"]),
    ("container_format", &["null", "string"]),
    ("disk_format", &["null", "string"]),
    ("min_disk", &["integer"]),
    ("min_ram", &["integer"]),
    ("tags", &["array"]),
    ("created_at", &["string"]),
    ("updated_at", &["string"]),
    ("self", &["string"]),
    ("file", &["string"]),
    ("schema", &["string"]),
];

/// The image's id.
pub(super) fn id_of(image: &Image) -> String {
    let mut hasher = Sha256::new();
    hasher.update(image.name.as_bytes());
    hasher.update([0]);
    hasher.update(image.digest.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    // The form of a random UUID, since that is what Glance's are.
    let id: Uuid = Builder::from_random_bytes(bytes).into_uuid();
    id.to_string()
}

pub(super) fn view(image: &Image) -> Value {
    let id = id_of(image);
    let (container, disk) = match (image.encoding, image.kind) {
        (Encoding::Zstd, _) => ("compressed", "raw"),
        (Encoding::Plain, ImageKind::Kernel) => ("aki", "aki"),
        (Encoding::Plain, ImageKind::Ramdisk) => ("ari", "ari"),
        (Encoding::Plain, ImageKind::Iso) => ("iso", "bare"),
        (
            Encoding::Plain,
            ImageKind::Disk | ImageKind::NetbootProgram | ImageKind::ContainerStore,
        ) => ("bare", "raw"),
    };
    let time = Timestamp::from_millisecond(image.built_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut view = json!({
        "id": id,
        "name": image.name,
        "status": "active",
        "visibility": "public",
        "protected": false,
        "os_hidden": false,
        "owner": project_id(),
        "checksum": null,
        "os_hash_algo": "sha256",
        "os_hash_value": image.digest.hex(),
        "size": image.size,
        "virtual_size": (image.kind == ImageKind::Disk).then_some(image.content.size),
        "container_format": container,
        "disk_format": disk,
        "min_disk": image.min_disk_bytes.div_ceil(GIB),
        "min_ram": 0,
        "tags": [],
        "created_at": time,
        "updated_at": time,
        "self": format!("/v2/images/{id}"),
        "file": format!("/v2/images/{id}/file"),
        "schema": "/v2/schemas/image",
        "architecture": "x86_64",
    });
    if let Some(os) = &image.os {
        view["os_distro"] = os.distribution.clone().into();
        view["os_version"] = os.version.clone().into();
        view["kernel_release"] = os.kernel.clone().into();
    }
    if image.encoding == Encoding::Zstd {
        view["compression"] = "zstd".into();
        view["content_sha256"] = image.content.digest.hex().into();
    }
    view
}

pub(super) fn image_schema() -> Value {
    let property = |(name, types): &(&str, &[&str])| {
        (
            (*name).to_owned(),
            json!({"type": if types.len() == 1 { json!(types[0]) } else { json!(types) }, "readOnly": true}),
        )
    };
    let properties: serde_json::Map<String, Value> = PROPERTIES.iter().map(property).collect();
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

pub(super) fn images_schema() -> Value {
    json!({
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": image_schema()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}
