//! What a BMC gets, whole and in parts, and who gets nothing.

use std::sync::Mutex;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::*;
use crate::boots::{BlobSource, BootEvent, BootTarget, BootToken, Lease};

const MAC: &str = "52-54-00-12-34-56";
const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// One machine with a CD of thirty bytes, the middle ten its own.
#[derive(Default)]
struct OneCd {
    target: Mutex<Option<MediaTarget>>,
    told: Mutex<Vec<String>>,
}

#[async_trait]
impl Boots for OneCd {
    async fn lease(&self, _: MacAddr) -> Option<Lease> {
        None
    }

    async fn boot(&self, _: MacAddr) -> Option<BootTarget> {
        None
    }

    async fn media(&self, mac: MacAddr) -> Option<MediaTarget> {
        let target = self.target.lock().unwrap().clone();
        target.filter(|_| mac.hyphenated() == MAC)
    }

    async fn event(&self, event: BootEvent) {
        self.told.lock().unwrap().push(event.kind.to_string());
    }
}

struct World {
    _dir: tempfile::TempDir,
    boots: Arc<OneCd>,
    router: Router,
    carrier: JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("cd")).unwrap();
        std::fs::write(&path, b"aaaaaaaaaa..........cccccccccc").unwrap();
        let boots = Arc::new(OneCd::default());
        *boots.target.lock().unwrap() = Some(MediaTarget {
            template: BlobSource { path, size: 30 },
            offset: 10,
            identity: b"bbbbbbbbbb"[..].into(),
            token: BootToken::new(TOKEN).unwrap(),
        });
        let (events, queue) = Events::new();
        let router = router(Media { boots: boots.clone(), events });
        let mut carrier = JoinSet::new();
        carrier.spawn(events::carry(queue, boots.clone()));
        Self { _dir: dir, boots, router, carrier }
    }

    async fn get(&self, path: &str, range: Option<&str>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = axum::http::Request::get(path);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(Ipv4Addr::LOCALHOST));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, bytes.to_vec())
    }

    /// What was told, once everything is.
    async fn told(mut self) -> Vec<String> {
        drop(self.router);
        while self.carrier.join_next().await.is_some() {}
        std::mem::take(&mut self.boots.told.lock().unwrap())
    }
}

fn path() -> String {
    format!("/media/{MAC}/{TOKEN}/bm-deploy.iso")
}

const CD: &[u8] = b"aaaaaaaaaabbbbbbbbbbcccccccccc";

#[tokio::test]
async fn the_identity_is_in_its_place_in_the_whole_and_in_every_part() {
    let world = World::new();
    let (status, headers, whole) = world.get(&path(), None).await;
    assert_eq!((status, &whole[..]), (StatusCode::OK, CD));
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    for start in 0..30 {
        for end in start + 1..=30 {
            let range = format!("bytes={start}-{}", end - 1);
            let (status, headers, part) = world.get(&path(), Some(&range)).await;
            assert_eq!((status, &part[..]), (StatusCode::PARTIAL_CONTENT, &CD[start..end]));
            assert_eq!(headers[header::CONTENT_RANGE], format!("bytes {start}-{}/30", end - 1));
            assert_eq!(headers[header::CONTENT_LENGTH], (end - start).to_string());
        }
    }
    assert_eq!(world.told().await[0], "HTTP: sent its BMC the deploy CD, 30 of 30 bytes");
}

#[tokio::test]
async fn without_the_token_of_this_boot_there_is_nothing() {
    let world = World::new();
    for wrong in [
        format!("/media/{MAC}/{}/bm-deploy.iso", "0".repeat(32)),
        format!("/media/52-54-00-12-34-57/{TOKEN}/bm-deploy.iso"),
        format!("/media/nonsense/{TOKEN}/bm-deploy.iso"),
        format!("/media/{MAC}/{TOKEN}/other.iso"),
    ] {
        let (status, _, body) = world.get(&wrong, None).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_FOUND, 0), "{wrong}");
    }
    // The boot is over.
    *world.boots.target.lock().unwrap() = None;
    assert_eq!(world.get(&path(), None).await.0, StatusCode::NOT_FOUND);
    let told = world.told().await;
    assert!(told.iter().all(|text| !text.contains(TOKEN)), "{told:?}");
    assert_eq!(told.len(), 4, "each refusal of a CD is on the timeline");
}

#[test]
fn ranges() {
    for (text, expected) in [
        ("bytes=0-0", Asked::Part(0..1)),
        ("bytes=5-", Asked::Part(5..30)),
        ("bytes=-5", Asked::Part(25..30)),
        ("bytes=-500", Asked::Part(0..30)),
        ("bytes=29-99999", Asked::Part(29..30)),
        ("bytes=30-", Asked::Outside),
        ("bytes=-0", Asked::Outside),
        ("bytes=5-4", Asked::Whole),
        ("bytes=0-1,3-4", Asked::Whole),
        ("bytes=-", Asked::Whole),
        ("lines=0-1", Asked::Whole),
        ("bytes=99999999999999999999-", Asked::Whole),
    ] {
        assert_eq!(parse_range(text, 30), expected, "{text}");
    }
}
