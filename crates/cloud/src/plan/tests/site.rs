//! Plans with a site's own files.

use undercloud_model::agent::cloud::{CloudStep, ServiceFile};

use super::*;
use crate::definition::Overlay;

const EXPORTER: &str = r#"
summary = "Prometheus' figures of a machine"
image = "node-exporter"
command = ["prometheus-node-exporter", "--web.listen-address={{ machine.internal_address }}:{{ port.node_exporter }}"]
uid = 65534

[[ports]]
name = "node_exporter"
number = 9100
network = "internal"

[health]
http = "http://{{ machine.internal_address }}:{{ port.node_exporter }}/metrics"
timeout_s = 60
"#;

fn overlay(files: &[(&str, &str)]) -> Overlay {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Overlay::new(files.collect()).unwrap()
}

fn of_site(files: &[(&str, &str)]) -> Result<Plan, String> {
    let overlay = overlay(files);
    let definitions = Definitions::of_site(&overlay).map_err(|error| error.to_string())?;
    let mut images = images();
    for name in overlay.images() {
        let digest = Digest::from_bytes([9; 32]);
        let pull = ImagePull { name: name.to_owned(), digest, id: digest, bytes: 1 };
        images.insert(name.to_owned(), pull);
    }
    plan(&definitions, &config(), &facts(), &images).map_err(|error| error.to_string())
}

#[test]
fn no_files_change_nothing() {
    assert_eq!(of_site(&[]).unwrap(), shipped());
}

#[test]
fn a_service_is_added_by_adding_files() {
    let plan = of_site(&[
        ("services/node-exporter.toml", EXPORTER),
        ("containers/node-exporter/Containerfile", "FROM localhost/base\n"),
        ("roles/controller.d/monitoring.toml", "services = [\"node-exporter\"]"),
        ("roles/compute.d/monitoring.toml", "services = [\"node-exporter\"]"),
    ])
    .unwrap();
    let difference = diff(&shipped(), &plan);
    let added: Vec<_> = difference.added.iter().map(ToString::to_string).collect();
    for machine in ["controller-0", "compute-0"] {
        for step in ["apply", "await"] {
            assert!(added.contains(&format!("{machine}/node-exporter/{step}")), "{added:?}");
        }
    }
    assert!(difference.removed.is_empty());
    // The firewall opens its port, and nothing else is touched.
    let changed: Vec<_> = difference.changed.iter().map(ToString::to_string).collect();
    let others: Vec<_> = changed.iter().filter(|key| !key.ends_with("/network")).collect();
    assert!(others.iter().all(|key| key.ends_with("/retire")), "{changed:?}");
}

fn files_of(plan: &Plan, key: &str) -> Vec<ServiceFile> {
    let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    match &step.step {
        CloudStep::ApplyService(setup) => setup.files.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_are_read_after_those_that_ship_and_a_machines_last() {
    let text = "[DEFAULT]\ncpu_allocation_ratio = 8\n";
    let plan = of_site(&[
        ("config.d/nova-compute/ratios.conf", text),
        ("config.d/nova-compute/compute-0/ratios.conf", text),
    ])
    .unwrap();
    let site = |key| {
        let files = files_of(&plan, key).into_iter().map(|file| file.path);
        files.filter(|path| path.contains("conf.d")).collect::<Vec<_>>()
    };
    let mut paths = site("compute-0/nova-compute/apply");
    paths.sort();
    let both = ["50-site-ratios.conf", "60-machine-ratios.conf"];
    assert_eq!(paths, both.map(|name| format!("/etc/nova/nova.conf.d/{name}")));
    assert!(site("controller-0/nova-api/apply").is_empty());
    let difference = diff(&shipped(), &plan);
    let changed: Vec<_> = difference.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["compute-0/nova-compute/apply"]);
}

#[test]
fn a_slip_names_file_and_remedy() {
    let conf = "[DEFAULT]\ndebug = true\n";
    for (path, text, parts) in [
        (
            "config.d/nova-compte/a.conf",
            conf,
            ["service `nova-compte`", "did you mean `nova-compute`"],
        ),
        ("config.d/mariadb/a.conf", conf, ["mariadb takes no settings", "template of your own"]),
        (
            "config.d/nova-api/a.conf",
            "debug = true",
            ["config.d/nova-api/a.conf: line 1:", "[DEFAULT]"],
        ),
        (
            "config.d/nova-api/compute-0/a.conf",
            conf,
            ["no machine of the cloud called `compute-0`", "runs nova-api"],
        ),
        ("config.d/keystone/a.conf", "[a]\nb = ⟪secret:x⟫", ["line 2", "secrets"]),
        ("roles/compte.d/a.toml", "services = []", ["role `compte`", "did you mean `compute`"]),
        (
            "roles/compute.d/a.toml",
            "service = []",
            ["roles/compute.d/a.toml: line 1", "did you mean `services`"],
        ),
        (
            "roles/compute.d/a.toml",
            "services = [\"none\"]",
            ["roles/compute.toml", "service `none`"],
        ),
        (
            "services/secrets.toml",
            "[admin_password]\nkind = \"fernet\"",
            ["admin_password", "another name"],
        ),
        ("services/keystone.toml", "summry = 1", ["services/keystone.toml: line 1", "summry"]),
    ] {
        let error = of_site(&[(path, text)]).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn secrets_are_added_to_those_that_ship() {
    let plan = of_site(&[("services/secrets.toml", "[site]\nkind = \"password\"")]).unwrap();
    assert!(plan.secrets.contains_key("site") && plan.secrets.contains_key("admin_password"));
}
