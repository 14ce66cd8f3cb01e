//! Both services by the requests that the real client sends.

use axum::{body::Body, response::Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use undercloud_image::catalog::{Content, Encoding, ImageKind, OsInfo};
use undercloud_model::Digest;

use super::*;

const NOW: i64 = 1_795_000_000_000;

struct Images(Vec<Image>);

impl ImageShelf for Images {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        Ok(self.0.clone())
    }
}

struct Fixture {
    router: Router,
    full_id: String,
    _dir: tempfile::TempDir,
}

fn image(name: &str, kind: ImageKind, digest: Digest, size: u64) -> Image {
    let packed = kind == ImageKind::Disk;
    let os =
        OsInfo { distribution: "debian".into(), version: "13".into(), kernel: "6.12.1".into() };
    Image {
        name: name.into(),
        kind,
        digest,
        size,
        encoding: if packed { Encoding::Zstd } else { Encoding::Plain },
        content: Content { digest, size: if packed { 4 << 30 } else { size } },
        os: packed.then_some(os),
        min_disk_bytes: if packed { (4 << 30) + 1 } else { 0 },
        has_agent: packed,
        built_at: NOW,
        inputs: digest,
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(camino::Utf8Path::from_path(dir.path()).unwrap()).unwrap();
    let digest = blobs.put(&b"01234567"[..]).unwrap().digest;
    let full = image("overcloud-full", ImageKind::Disk, digest, 8);
    let full_id = image_view::id_of(&full);
    let images = vec![
        image("bm-deploy-kernel", ImageKind::Kernel, digest, 8),
        image("bm-deploy-ramdisk", ImageKind::Ramdisk, digest, 8),
        full,
    ];
    let password = Secret::new("0123456789abcdef0123456789abcdef");
    let router = router(Arc::new(Images(images)), blobs, password, Clock::new(|| NOW));
    Fixture { router, full_id, _dir: dir }
}

async fn send(f: &Fixture, method: &str, path: &str, token: &str, body: Value) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:5000")
        .header("x-auth-token", token)
        .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) });
    f.router.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn value(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

fn login(user: &str, password: &str, scope: Value) -> Value {
    let user = json!({"name": user, "password": password, "domain": {"name": "Default"}});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    json!({"auth": {"identity": identity, "scope": scope}})
}

fn project() -> Value {
    json!({"project": {"name": "admin", "domain": {"id": "default"}}})
}

async fn token(f: &Fixture) -> String {
    let body = login("admin", "0123456789abcdef0123456789abcdef", project());
    let response = send(f, "POST", "/identity/v3/auth/tokens", "", body).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["vary"], "X-Auth-Token");
    response.headers()["x-subject-token"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_but_login_and_discovery_refuses_strangers() {
    let f = fixture();
    for (method, path) in TOKEN_ROUTES {
        let path = path.replace("{image}", &f.full_id);
        for stranger in ["", "wrong"] {
            let response = send(&f, method, &path, stranger, Value::Null).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(response.headers().contains_key("www-authenticate"));
        }
        let routed = send(&f, "PATCH", &path, "", Value::Null).await;
        assert_eq!(routed.status(), StatusCode::METHOD_NOT_ALLOWED, "{path} is routed");
    }
}

#[tokio::test]
async fn discovery_builds_links_from_the_host() {
    let f = fixture();
    for (path, status) in [("/identity", 300), ("/identity/", 300), ("/identity/v3", 200)] {
        let response = send(&f, "GET", path, "", Value::Null).await;
        assert_eq!(response.status().as_u16(), status);
        assert!(text(response).await.contains("https://127.0.0.1:5000/identity/v3/"));
    }
    for (path, status) in [("/image", 300), ("/image/", 300), ("/image/versions", 200)] {
        let response = send(&f, "GET", path, "", Value::Null).await;
        assert_eq!(response.status().as_u16(), status);
        let body = value(response).await;
        assert_eq!(body["versions"][0]["links"][0]["href"], "https://127.0.0.1:5000/image/v2/");
    }
    let request = Request::builder().uri("/identity/v3").header("host", "a@b\\c");
    let response = f.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_login_gives_a_token_with_the_catalog() {
    let f = fixture();
    let token = token(&f).await;
    let request = |method: &'static str| {
        let request = Request::builder().method(method).uri("/identity/v3/auth/tokens");
        let request = request.header("host", "h").header("x-auth-token", &token);
        let request = request.header("x-subject-token", &token).body(Body::empty()).unwrap();
        f.router.clone().oneshot(request)
    };
    let mut body = value(request("GET").await.unwrap()).await;
    assert_eq!(body["token"]["audit_ids"].as_array().unwrap().len(), 1);
    body["token"]["audit_ids"] = json!([]);
    for service in body["token"]["catalog"].as_array_mut().unwrap() {
        service["endpoints"].as_array_mut().unwrap().truncate(1);
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap());
    assert_eq!(request("HEAD").await.unwrap().status(), StatusCode::OK);
    assert_eq!(request("DELETE").await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(request("GET").await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_gives_a_token_of_another_scope() {
    let f = fixture();
    let first = token(&f).await;
    for (scope, has) in [
        (json!("unscoped"), None),
        (project(), Some("project")),
        (json!({"system": {"all": true}}), Some("system")),
    ] {
        let identity = json!({"methods": ["token"], "token": {"id": first}});
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        let response = send(&f, "POST", "/identity/v3/auth/tokens", "", body).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let body = value(response).await;
        assert_eq!(body["token"]["methods"], json!(["token", "password"]));
        assert_eq!(body["token"].get("catalog").is_some(), has.is_some());
        assert!(has.is_none_or(|key| body["token"].get(key).is_some()));
    }
}

#[tokio::test]
async fn a_wrong_login_says_nothing_and_runs_into_the_limit() {
    let f = fixture();
    let password = "0123456789abcdef0123456789abcdef";
    let mut last = String::new();
    for (user, password, scope) in [
        ("admin", "wrong", project()),
        ("other", password, project()),
        ("admin", password, json!({"project": {"name": "other", "domain": {"id": "default"}}})),
        ("admin", password, json!({"project": {"name": "admin"}})),
        ("admin", password, json!({"domain": {"id": "default"}})),
        ("admin", password, json!("other")),
    ] {
        let body = login(user, password, scope);
        let response = send(&f, "POST", "/identity/v3/auth/tokens", "", body).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        last = text(response).await;
    }
    insta::assert_snapshot!(last, @r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#);
    for _ in 6..LOGIN_FAILURES_MAX {
        send(&f, "POST", "/identity/v3/auth/tokens", "", login("a", "b", project())).await;
    }
    let body = login("admin", password, project());
    let response = send(&f, "POST", "/identity/v3/auth/tokens", "", body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn images_are_listed_found_by_name_and_paged() {
    let f = fixture();
    let token = token(&f).await;
    let get = async |path: &str| value(send(&f, "GET", path, &token, Value::Null).await).await;
    let names = |body: &Value| {
        let images = body["images"].as_array().unwrap();
        images.iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&get("/image/v2/images").await).len(), 3);
    assert_eq!(names(&get("/image/v2/images?name=overcloud-full").await), ["overcloud-full"]);
    assert!(names(&get("/image/v2/images?name=nothing").await).is_empty());
    assert!(names(&get("/image/v2/images?os_hidden=True").await).is_empty());
    let page = get("/image/v2/images?limit=2&visibility=public").await;
    assert_eq!(names(&page), ["bm-deploy-kernel", "bm-deploy-ramdisk"]);
    let next = page["next"].as_str().unwrap();
    let page = get(&format!("/image{next}")).await;
    assert_eq!((names(&page), page.get("next")), (vec!["overcloud-full".to_owned()], None));

    let shown = get(&format!("/image/v2/images/{}", f.full_id)).await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
    let schema = get("/image/v2/schemas/image").await;
    for key in ["id", "size", "os_hash_value", "schema"] {
        assert!(schema["properties"][key]["type"] != Value::Null, "{key}");
    }
    assert_eq!(get("/image/v2/schemas/images").await["name"], "images");
}

#[tokio::test]
async fn what_is_no_image_is_not_found_in_html() {
    let f = fixture();
    let token = token(&f).await;
    for path in ["/image/v2/images/overcloud-full", "/image/v2/images/%3Cb%3E/file", "/image/v2/x"]
    {
        let response = send(&f, "GET", path, &token, Value::Null).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let page = text(response).await;
        assert!(page.starts_with("<html>") && !page.contains("<b>"), "{page}");
    }
    for query in ["limit=x", "limit=-1", "marker=x"] {
        let path = format!("/image/v2/images?{query}");
        let response = send(&f, "GET", &path, &token, Value::Null).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    let response = send(&f, "GET", "/identity/v3/users", &token, Value::Null).await;
    assert_eq!(value(response).await["error"]["code"], 404);
}

#[tokio::test]
async fn an_image_is_downloaded() {
    let f = fixture();
    let token = token(&f).await;
    let path = format!("/image/v2/images/{}/file", f.full_id);
    let response = send(&f, "GET", &path, &token, Value::Null).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(text(response).await, "01234567");
}
