//! The registry by the requests that podman and skopeo send.

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use undercloud_image::oci::{Manifest, Piece};

use super::*;
use crate::ApiError;

const ADMIN: (&str, &str) = ("admin", "0123456789abcdef");

/// One image with two versions, and one that nobody may have.
struct Images(Vec<ContainerImage>);

impl RegistryApi for Images {
    async fn authenticate(
        &self,
        user: &str,
        password: &Secret,
    ) -> Result<Option<Puller>, ApiError> {
        let right = user == ADMIN.0 && *password == Secret::new(ADMIN.1);
        Ok(right.then_some(Puller::Administrator))
    }

    async fn names(&self, _: &Puller) -> Result<Vec<String>, ApiError> {
        Ok(["nova", "glance", "ovn"].map(str::to_owned).to_vec())
    }

    async fn versions(
        &self,
        _: &Puller,
        name: &ImageName,
    ) -> Result<Vec<ContainerImage>, ApiError> {
        let named = |image: &&ContainerImage| image.name == name.as_str() && image.name != "secret";
        Ok(self.0.iter().filter(named).cloned().collect())
    }
}

struct Fixture {
    router: Router,
    new: ContainerImage,
    old: ContainerImage,
    secret: ContainerImage,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(camino::Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    let put = |bytes: &[u8]| {
        let stored = blobs.put(bytes).unwrap();
        Piece { digest: stored.digest, size: stored.size }
    };
    let image = |name: &str, layer: &str| {
        let (config, layers) = (put(name.as_bytes()), vec![put(layer.as_bytes())]);
        let manifest = put(&Manifest { config, layers: layers.clone() }.to_bytes());
        let (name, inputs) = (name.to_owned(), manifest.digest);
        ContainerImage { name, manifest, config, layers, size: 1, inputs, built_at: 1 }
    };
    let (new, old) = (image("nova", "01234567"), image("nova", "older"));
    let secret = image("secret", "another's");
    let api = Images(vec![new.clone(), old.clone(), secret.clone()]);
    let router = router(api, blobs, Clock::new(|| 1_000));
    Fixture { router, new, old, secret, _dir: dir }
}

fn request(method: &str, path: &str, who: Option<(&str, &str)>) -> http::request::Builder {
    let builder = Request::builder().method(method).uri(path);
    match who {
        None => builder,
        Some((user, password)) => {
            let text = STANDARD.encode(format!("{user}:{password}"));
            builder.header("authorization", format!("Basic {text}"))
        }
    }
}

async fn send_as(
    f: &Fixture,
    method: &str,
    path: &str,
    who: Option<(&str, &str)>,
) -> (StatusCode, HeaderMap, String) {
    receive(f, request(method, path, who)).await
}

async fn receive(f: &Fixture, request: http::request::Builder) -> (StatusCode, HeaderMap, String) {
    let response = f.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    (parts.status, parts.headers, String::from_utf8(body).unwrap())
}

async fn ask(f: &Fixture, path: &str) -> (StatusCode, HeaderMap, String) {
    send_as(f, "GET", path, Some(ADMIN)).await
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["errors"][0]["message"].is_string());
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_refuses_strangers_and_is_routed() {
    for (method, path) in ROUTES {
        let f = fixture();
        let digest = f.new.layers[0].digest.to_string();
        let path = path.replace("{name}", "nova").replace("{digest}", &digest);
        let wrong = [None, Some(("admin", "wrong")), Some(("other", ADMIN.1)), Some(("", ""))];
        for who in wrong {
            let (status, headers, body) = send_as(&f, method, &path, who).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(headers["www-authenticate"], "Basic realm=\"undercloud\"");
            assert!(*method == "HEAD" || code(&body) == "UNAUTHORIZED");
        }
        for text in ["Basic", "Basic !", "Basic YWRtaW4=", "Bearer 0123456789abcdef"] {
            let request = Request::builder().uri(&path).header("authorization", text);
            assert_eq!(receive(&f, request).await.0, StatusCode::UNAUTHORIZED, "{text}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let stranger = send_as(&f, method, &path, None).await;
            assert_eq!(stranger.0, StatusCode::UNAUTHORIZED, "{method} {path}");
            let (status, _, body) = send_as(&f, method, &path, Some(ADMIN)).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(code(&body), "UNSUPPORTED");
        }
        assert_eq!(send_as(&f, method, &path, Some(ADMIN)).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn wrong_passwords_run_into_the_limit_and_missing_ones_do_not() {
    let f = fixture();
    for _ in 0..LOGIN_FAILURES_MAX + 1 {
        send_as(&f, "GET", "/v2/", None).await;
    }
    for _ in 0..LOGIN_FAILURES_MAX {
        let refused = send_as(&f, "GET", "/v2/", Some(("admin", "wrong"))).await;
        assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
    }
    let (status, headers, body) = ask(&f, "/v2/").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
    assert_eq!(code(&body), "TOOMANYREQUESTS");
}

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_by_digest() {
    let f = fixture();
    let by = |image: &ContainerImage| format!("/v2/nova/manifests/{}", image.manifest.digest);
    for (path, image) in [
        ("/v2/nova/manifests/latest".to_owned(), &f.new),
        (by(&f.new), &f.new),
        (by(&f.old), &f.old),
    ] {
        let (status, headers, body) = ask(&f, &path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers["content-type"], MANIFEST_TYPE);
        assert_eq!(headers["docker-content-digest"], image.manifest.digest.to_string());
        assert_eq!(Manifest::parse(body.as_bytes()).unwrap().layers, image.layers);
        let (status, head, body) = send_as(&f, "HEAD", &path, Some(ADMIN)).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
        assert_eq!(head["content-length"], image.manifest.size.to_string());
    }
}

#[tokio::test]
async fn a_layer_is_sent_whole_or_in_part() {
    let f = fixture();
    let path = format!("/v2/nova/blobs/{}", f.new.layers[0].digest);
    let (_, headers, body) = ask(&f, &path).await;
    assert_eq!((body.as_str(), &headers["accept-ranges"]), ("01234567", &"bytes".parse().unwrap()));
    let part = request("GET", &path, Some(ADMIN)).header("range", "bytes=2-4");
    let (status, headers, body) = receive(&f, part).await;
    assert_eq!((status, body.as_str()), (StatusCode::PARTIAL_CONTENT, "234"));
    assert_eq!(headers["content-range"], "bytes 2-4/8");
    let beyond = request("GET", &path, Some(ADMIN)).header("range", "bytes=8-");
    assert_eq!(receive(&f, beyond).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_specification_s_codes() {
    let f = fixture();
    let unknown = Digest::from_bytes([9; 32]);
    let anothers = f.secret.layers[0].digest;
    for (path, status, expected) in [
        ("/v2/nova/manifests/other".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/nova/manifests/{unknown}"), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/nova/manifests/{}", f.secret.manifest.digest), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/nova/blobs/{unknown}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/nova/blobs/{anothers}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/secret/blobs/{anothers}"), 404, "NAME_UNKNOWN"),
        ("/v2/nova/blobs/x".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/none/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/%2e%2e/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/%ff/tags/list".to_owned(), 404, "UNSUPPORTED"),
        ("/v2/nova/tags/list?n=x".to_owned(), 400, "UNSUPPORTED"),
        (format!("/v2/nova/referrers/{unknown}"), 404, "UNSUPPORTED"),
    ] {
        let (found, _, body) = ask(&f, &path).await;
        assert_eq!((found.as_u16(), code(&body).as_str()), (status, expected), "{path}");
    }
}

#[tokio::test]
async fn names_and_tags_come_in_pages() {
    let f = fixture();
    let (_, headers, body) = ask(&f, "/v2/_catalog").await;
    assert_eq!(body, r#"{"repositories":["glance","nova","ovn"]}"#);
    assert!(!headers.contains_key("link"));
    let (_, headers, body) = ask(&f, "/v2/_catalog?n=2").await;
    assert_eq!(body, r#"{"repositories":["glance","nova"]}"#);
    assert_eq!(headers["link"], "</v2/_catalog?n=2&last=nova>; rel=\"next\"");
    assert_eq!(ask(&f, "/v2/_catalog?n=2&last=nova").await.2, r#"{"repositories":["ovn"]}"#);
    assert_eq!(ask(&f, "/v2/_catalog?n=0").await.2, r#"{"repositories":[]}"#);
    assert_eq!(ask(&f, "/v2/nova/tags/list").await.2, r#"{"name":"nova","tags":["latest"]}"#);
}
