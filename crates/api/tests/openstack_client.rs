//! The real `openstack` client against our services, over TLS, with a `clouds.yaml` and a stackrc
//! of our making. Needs python-openstackclient; run it with
//! `cargo test -p undercloud-api --test openstack_client -- --ignored`, the client's path in
//! `OPENSTACK_CLIENT` where it is not found by name.
#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::{net::TcpListener, process::Command, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError, Clock,
    clouds::{self, CloudEntry, Owner},
    openstack::{self, ImageShelf},
    serve::{self, Limits, Listener},
    tls::{Authority, Server, ServerName},
};
use undercloud_image::{
    blob::Blobs,
    catalog::{Content, Encoding, Image, ImageKind},
};
use undercloud_model::Secret;

const NAMES: &[(&str, ImageKind)] = &[
    ("bm-deploy-kernel", ImageKind::Kernel),
    ("bm-deploy-ramdisk", ImageKind::Ramdisk),
    ("overcloud-full", ImageKind::Disk),
    ("overcloud-full-initrd", ImageKind::Ramdisk),
    ("overcloud-full-vmlinuz", ImageKind::Kernel),
];

struct Images(Vec<Image>);

impl ImageShelf for Images {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        Ok(self.0.clone())
    }
}

/// The time, for certificates that the client's own clock judges.
fn now() -> i64 {
    let date = Command::new("date").arg("+%s").output().expect("date");
    String::from_utf8_lossy(&date.stdout).trim().parse::<i64>().expect("seconds") * 1000
}

fn images(blobs: &Blobs, now: i64) -> Vec<Image> {
    let image = |(name, kind): &(&str, ImageKind)| {
        let bytes: Vec<u8> = name.bytes().cycle().take(3 << 20).collect();
        let stored = blobs.put(&bytes[..]).expect("blob");
        let packed = *kind == ImageKind::Disk;
        Image {
            name: (*name).to_owned(),
            kind: *kind,
            digest: stored.digest,
            size: stored.size,
            encoding: if packed { Encoding::Zstd } else { Encoding::Plain },
            content: Content { digest: stored.digest, size: stored.size },
            os: None,
            min_disk_bytes: 0,
            has_agent: packed,
            built_at: now,
            inputs: stored.digest,
        }
    };
    NAMES.iter().map(image).collect()
}

struct Client {
    home: Utf8PathBuf,
}

impl Client {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var("PATH").expect("PATH"));
        command.current_dir(&self.home);
        command
    }

    fn openstack(&self, args: &[&str]) -> Result<String, String> {
        let client = std::env::var("OPENSTACK_CLIENT").unwrap_or("openstack".into());
        finish(self.command(&client).args(["--os-cloud", "undercloud"]).args(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.openstack(&[args, &["-f", "json"]].concat()).expect("client");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn finish(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("the client starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python-openstackclient"]
async fn the_client_logs_in_lists_shows_and_saves() {
    let dir = tempfile::tempdir().expect("directory");
    let root = Utf8Path::from_path(dir.path()).expect("UTF-8");
    let now = now();
    let blobs = Blobs::open(root.join("blobs")).expect("blobs");
    let authority = Arc::new(Authority::open(root, now).expect("authority"));
    let names = vec![ServerName::from("127.0.0.1"), ServerName::from("localhost")];
    let server = Server::open(authority.clone(), root.join("server.json"), names, now);
    let tcp = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = tcp.local_addr().expect("address").port();
    let password = Secret::new("0123456789abcdef0123456789abcdef");
    let shelf = Arc::new(Images(images(&blobs, now)));
    let clock = Clock::new(move || now);
    let router = openstack::router(shelf, blobs, password.clone(), clock.clone());
    let stop = CancellationToken::new();
    let listener = Listener::Tls(tcp, Arc::new(server.expect("certificate")));
    let served = tokio::spawn(serve::run(listener, router, Limits::default(), clock, stop.clone()));

    let home = root.join("home");
    std::fs::create_dir(&home).expect("home");
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let config_dir = home.join(".config");
    let owner = Owner { uid: uid.as_raw(), gid: gid.as_raw(), config_dir };
    let entry = CloudEntry {
        name: "undercloud".into(),
        auth_url: format!("https://127.0.0.1:{port}/identity/v3"),
        username: openstack::USER_NAME.into(),
        password,
        project: openstack::PROJECT_NAME.into(),
        domain: openstack::DOMAIN_NAME.into(),
        region: openstack::REGION.into(),
        ca_pem: authority.pem().into(),
    };
    clouds::install(&owner, root.as_str(), std::slice::from_ref(&entry)).expect("clouds.yaml");
    let ca = root.join("ca.pem");
    clouds::write_stackrc(&owner, &home.join("stackrc"), &entry, &ca).expect("stackrc");
    tokio::task::spawn_blocking(move || check(&Client { home })).await.expect("checks");
    stop.cancel();
    served.await.expect("no panic").expect("served");
}

fn check(client: &Client) {
    let token = client.json(&["token", "issue"]);
    assert!(token["id"].as_str().expect("id").len() >= 32, "{token}");
    let catalog = client.json(&["catalog", "list"]);
    assert_eq!(catalog.as_array().expect("rows").len(), 2);
    client.openstack(&["versions", "show"]).expect("versions");

    let listed = client.json(&["image", "list"]);
    let listed = listed.as_array().expect("rows");
    let names: Vec<&str> = listed.iter().filter_map(|row| row["Name"].as_str()).collect();
    assert_eq!(names, NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(client.json(&["image", "list", "--limit", "2"]).as_array().map(Vec::len), Some(2));
    let paged = client.json(&["image", "list", "--page-size", "2"]);
    assert_eq!(paged.as_array().map(Vec::len), Some(NAMES.len()), "follows `next`");
    let named = client.json(&["image", "list", "--name", "overcloud-full"]);
    assert_eq!(named.as_array().map(Vec::len), Some(1));

    let shown = client.json(&["image", "show", "overcloud-full"]);
    assert_eq!(shown["container_format"], "compressed");
    let by_id = client.json(&["image", "show", shown["id"].as_str().expect("id")]);
    assert_eq!(by_id["name"], "overcloud-full");
    let error = client.openstack(&["image", "show", "nothing"]).expect_err("no such image");
    assert!(error.contains("nothing"), "{error}");

    client.openstack(&["image", "save", "--file", "saved", "bm-deploy-kernel"]).expect("save");
    let saved = std::fs::read(client.home.join("saved")).expect("file");
    assert!(saved.len() == 3 << 20 && saved.starts_with(b"bm-deploy-kernelbm-"));

    let sourced = ". ./stackrc && exec \"$CLIENT\" image list -f value -c Name";
    let program = std::env::var("OPENSTACK_CLIENT").unwrap_or("openstack".into());
    let mut shell = client.command("sh");
    let text = finish(shell.args(["-c", sourced]).env("CLIENT", program)).expect("stackrc");
    assert_eq!(text.lines().collect::<Vec<_>>(), names);
    let wrong = client.openstack(&["--os-password", "wrong", "token", "issue"]);
    let wrong = wrong.expect_err("a wrong password");
    assert!(wrong.contains("401"), "{wrong}");

    let id = token["id"].as_str().expect("id");
    client.openstack(&["token", "revoke", id]).expect("revoke");
}
