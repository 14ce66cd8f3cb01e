//! The referees: the DMTF's validators, the profile of OpenStack Ironic, and sushy, all from PyPI,
//! against the server half.
//!
//! They live in a virtual environment in `$UNDERCLOUD_CACHE` (or the target folder), which is
//! made when it is not there. The schemas are those of the crate `nv-redfish-schema`.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use fixture::{
    rack::{Rack, password},
    venv::{REFEREES, Site, environment, run, text},
};
use tempfile::TempDir;
use undercloud_bmc::redfish::server::{Server, ServerHandle, Transport, tls::Certificate};

/// What is installed; a change makes a new environment.
const PACKAGES: [&str; 4] = [
    "sushy==5.14.0",
    "redfish-service-validator==3.1.8",
    "redfish-protocol-validator==1.3.2",
    "redfish-interop-validator==3.0.4",
];

/// Where cargo put the schemas.
fn schemas() -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "nv-redfish-schema");
    let manifest = package.expect("nv-redfish-schema")["manifest_path"].as_str().expect("path");
    let folder = Path::new(manifest).parent().expect("folder").join("redfish-csdl/csdl");
    folder.to_str().expect("UTF-8 path").to_owned()
}

struct Ring {
    bin: PathBuf,
    folder: TempDir,
    _plain: ServerHandle,
    _tls: ServerHandle,
    http: String,
    https: String,
}

impl Ring {
    fn start() -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("bind");
        let rack = Rack::new(1);
        let plain = Server::start(listener(), Transport::Plain, rack.site.clone()).expect("start");
        let own = Certificate::self_signed(&["localhost"], &[[127, 0, 0, 1].into()]);
        let config = own.expect("certificate").into_config().expect("configuration");
        let tls = Server::start(listener(), Transport::Tls(config), rack.site).expect("start");
        let (http, https) =
            (format!("http://{}", plain.address()), format!("https://{}", tls.address()));
        let folder = TempDir::new().expect("folder");
        Self {
            bin: environment("redfish-referees", Site::Own, &PACKAGES),
            folder,
            _plain: plain,
            _tls: tls,
            http,
            https,
        }
    }

    fn validator(&self, name: &str, arguments: &[&str]) -> String {
        let password = password(1);
        let mut all = vec!["-u", "admin", "-p", &password];
        all.extend_from_slice(arguments);
        let output = run(self.bin.join(name), &all, self.folder.path());
        text(&output)
    }
}

/// The numbers under `PASS | WARN | FAIL | NOT TESTED`.
fn table(text: &str) -> Vec<u32> {
    let mut lines = text.lines().skip_while(|line| !line.contains("NOT TESTED"));
    let row = lines.nth(2).unwrap_or_default();
    row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect()
}

/// Errors of the log, without the lines about what passed.
fn complaints(text: &str) -> String {
    text.lines().filter(|line| line.contains("FAIL")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_referees_find_no_fault() {
    let ring = Ring::start();

    let schemas = schemas();
    let arguments = ["-r", &ring.http, "--schema_directory", &schemas, "--skipschema"];
    let more = ["--authtype", "Basic", "--logdir", "service"];
    let said = ring.validator("rf_service_validator", &[&arguments[..], &more[..]].concat());
    let [pass, _, fail, _] = table(&said)[..] else { panic!("no verdict: {said}") };
    assert!(pass > 1000 && fail == 0, "service: {}", complaints(&said));

    let arguments = ["-r", &ring.https, "--no-cert-check", "--report-dir", "protocol"];
    let said = ring.validator("rf_protocol_validator", &arguments);
    let summary = said.lines().find_map(|line| line.split_once("PASS: ")).expect("verdict").1;
    let (pass, rest) = summary.split_once(',').expect("verdict");
    let good = pass.parse::<u32>().is_ok_and(|pass| pass > 300);
    assert!(good && rest.contains("FAIL: 0,"), "protocol: {summary}");

    let profile = format!("{REFEREES}/OpenStackIronicProfile.v1_2_0.json");
    let arguments = ["-r", &ring.http, "--authtype", "Basic", "--logdir", "interop", &profile];
    let said = ring.validator("rf_interop_validator", &arguments);
    let [pass, _, fail, _] = table(&said)[..] else { panic!("no verdict: {said}") };
    assert!(pass > 90 && fail == 0, "interop: {}", complaints(&said));

    let (script, root) =
        (format!("{REFEREES}/sushy_checks.py"), format!("{}/redfish/v1/", ring.https));
    let password = password(1);
    let arguments = ["-W", "ignore", &script, &root, "admin", &password, "m1"];
    let output = run(ring.bin.join("python"), &arguments, ring.folder.path());
    let said = text(&output);
    let checks = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(output.status.success() && checks > 60, "sushy, {checks} good: {said}");
}
