//! What a path below `/v2/` asks for. A name may hold slashes, so the path is read from its end.

use http::StatusCode;
use undercloud_image::oci::{self, ImageName, Reference};
use undercloud_model::Digest;

use super::fault::{Code, Fault};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Catalog,
    Tags(ImageName),
    Manifest(ImageName, Reference),
    Blob(ImageName, Digest),
}

impl Wanted {
    /// Reads what comes after `/v2/`.
    pub(super) fn parse(path: &str) -> Result<Self, Fault> {
        if path == "_catalog" {
            return Ok(Self::Catalog);
        }
        if let Some(of) = path.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name(of)?));
        }
        let wrong = |code, error: String| Fault::new(code, StatusCode::BAD_REQUEST, error);
        let (rest, last) = path.rsplit_once('/').ok_or_else(Fault::no_route)?;
        if let Some(of) = rest.strip_suffix("/manifests") {
            let of = name(of)?;
            // What is no reference can be no manifest's: not found, as the specification's tests
            // want it.
            let unknown = |error: oci::OciError| Fault::not_found(Code::ManifestUnknown, error);
            return Ok(Self::Manifest(of, last.parse().map_err(unknown)?));
        }
        if let Some(of) = rest.strip_suffix("/blobs") {
            let of = name(of)?;
            let no_digest = || wrong(Code::DigestInvalid, "that is no SHA-256 digest".to_owned());
            return Ok(Self::Blob(of, oci::digest(last).ok_or_else(no_digest)?));
        }
        Err(Fault::no_route())
    }
}

fn name(text: &str) -> Result<ImageName, Fault> {
    text.parse().map_err(|error| Fault::new(Code::NameInvalid, StatusCode::BAD_REQUEST, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_hold_slashes_and_the_words_of_the_paths() {
        let digest = Digest::from_bytes([7; 32]);
        let name = |text: &str| text.parse::<ImageName>().unwrap();
        let tag = Reference::Tag("latest".into());
        for (path, wanted) in [
            ("_catalog", Wanted::Catalog),
            ("a/b/tags/list", Wanted::Tags(name("a/b"))),
            ("tags/list/tags/list", Wanted::Tags(name("tags/list"))),
            ("manifests/blobs/manifests/latest", Wanted::Manifest(name("manifests/blobs"), tag)),
            (&format!("nova/blobs/{digest}"), Wanted::Blob(name("nova"), digest)),
            (
                &format!("nova/manifests/{digest}"),
                Wanted::Manifest(name("nova"), Reference::Digest(digest)),
            ),
        ] {
            assert_eq!(Wanted::parse(path).unwrap(), wanted, "{path}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_specification_s_codes() {
        for (path, code) in [
            ("nova/blobs/latest", Code::DigestInvalid),
            ("nova/blobs/../blobs/etc", Code::NameInvalid),
            ("nova/blobs/../../etc", Code::Unsupported),
            ("../manifests/latest", Code::NameInvalid),
            ("Nova/tags/list", Code::NameInvalid),
            ("nova/manifests/.x", Code::ManifestUnknown),
            ("nova/referrers/x", Code::Unsupported),
            ("nova", Code::Unsupported),
        ] {
            assert_eq!(Wanted::parse(path).unwrap_err().code(), code, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read(path: String) {
            let _ = Wanted::parse(&path);
        }

        #[test]
        fn nothing_that_is_read_leads_elsewhere(path in "([a-c./_-]|manifests|blobs|tags/list){0,9}") {
            if let Ok(Wanted::Tags(name) | Wanted::Manifest(name, _) | Wanted::Blob(name, _)) =
                Wanted::parse(&path)
            {
                prop_assert!(!name.as_str().contains("..") && !name.as_str().starts_with('/'));
            }
        }
    }
}
