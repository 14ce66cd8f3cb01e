//! `PullImage`.

use std::fs;

use serde_json::{Value, json};
use undercloud_agent::cloud::Ended;
use undercloud_model::agent::StepFailureKind;

use crate::fake::{DIGEST, KEY, Machine};

const LIST: &str = "var/lib/containers/storage/overlay-images/images.json";

fn step() -> Value {
    json!({"kind": "pull_image", "name": "keystone", "digest": DIGEST, "id": DIGEST, "bytes": 29_000_000})
}

fn listed() -> String {
    let name = format!("192.168.24.1:8443/keystone@{DIGEST}");
    let id = DIGEST.trim_start_matches("sha256:");
    json!([{"id": id, "digest": DIGEST, "names": [name]}, {"id": "b", "names": null}]).to_string()
}

#[test]
fn an_image_is_fetched_once() {
    let machine = Machine::good();
    let list = machine.path(LIST);
    machine.handle(move |_| {
        fs::create_dir_all(list.parent().unwrap())?;
        fs::write(&list, listed())?;
        Ok(Ended::good(""))
    });
    assert!(machine.step(&step()));
    let call = machine.calls().remove(0);
    let shown = call.shown();
    assert!(shown.starts_with("podman pull --quiet --authfile /"), "{shown}");
    assert!(shown.ends_with(&format!(" 192.168.24.1:8443/keystone@{DIGEST}")), "{shown}");
    assert!(!shown.contains(KEY));
    let auth = "run/undercloud/registry/auth.json";
    assert_eq!(
        (machine.mode(auth), machine.text("run/undercloud/registry/ca/ca.crt")),
        (0o600, "PEM OF THE CA".into())
    );
    let auth: Value = serde_json::from_str(&machine.text(auth)).unwrap();
    assert!(auth["auths"]["192.168.24.1:8443"]["auth"].is_string());

    assert!(!machine.step(&step()));
    assert!(machine.started().is_empty(), "podman is not asked");
}

#[test]
fn another_version_of_the_image_is_not_it() {
    let machine = Machine::good();
    machine.file(LIST, &listed().replace("00aa", "00bb"));
    let (kind, message) = machine.fails(&step());
    assert_eq!(kind, StepFailureKind::Image);
    assert!(message.contains("does not list"), "{message}");
}

#[test]
fn a_network_that_comes_back_is_waited_for() {
    let machine = Machine::good();
    let (list, mut tries) = (machine.path(LIST), 0);
    machine.handle(move |_| {
        tries += 1;
        if tries < 3 {
            return Ok(Ended::bad("dial tcp 192.168.24.1:8443: connect: connection refused"));
        }
        fs::create_dir_all(list.parent().unwrap())?;
        fs::write(&list, listed())?;
        Ok(Ended::good(""))
    });
    assert!(machine.step(&step()));
    assert_eq!(machine.started().len(), 3);
}

#[test]
fn a_failure_says_which_image_and_why() {
    let cases = [
        ("manifest unknown", 1, "does not have it"),
        ("no space left on device", 1, "disk is full"),
        ("unauthorized", 1, "does not give it to this machine"),
        ("i/o timeout", 5, "did not answer, 5 times"),
    ];
    for (words, tries, cause) in cases {
        let machine = Machine::with(move |_| Ok(Ended::bad(format!("Error: {words} {KEY}"))));
        let (kind, message) = machine.fails(&step());
        assert_eq!(kind, StepFailureKind::Image);
        assert!(
            message.contains("image keystone@sha256:000000000000 could not be had"),
            "{message}"
        );
        assert!(message.contains(cause), "{message}");
        assert_eq!(machine.started().len(), tries, "{words}");
        let log = machine.log.take().join("\n");
        assert!(log.contains(words) && !log.contains(KEY), "{log}");
    }
}

#[test]
fn a_name_that_is_an_option_is_refused() {
    let machine = Machine::good();
    let mut step = step();
    step["name"] = json!("--tls-verify=false");
    assert_eq!(machine.fails(&step).0, StepFailureKind::Unsupported);
    assert!(machine.started().is_empty());
}

#[test]
fn podman_sets_no_limit_of_processes_in_a_container() {
    let machine = Machine::good();
    let path = "etc/containers/containers.conf.d/10-undercloud.conf";
    machine.cloud.prepare(&machine.log).unwrap();
    assert!(!machine.path(path).exists(), "podman's own limit is good elsewhere");
    machine.file("run/systemd/container", "undercloud\n");
    for _ in 0..2 {
        machine.cloud.prepare(&machine.log).unwrap();
        assert!(machine.text(path).ends_with("[containers]\npids_limit = 0\n"));
    }
    assert!(!machine.started().iter().any(|call| call.starts_with("podman")));
}

#[test]
fn the_time_is_the_daemon_s_and_its_client_is_started_anew_once() {
    let machine = Machine::good();
    let path = "etc/systemd/timesyncd.conf.d/10-undercloud.conf";
    machine.cloud.prepare(&machine.log).unwrap();
    assert!(machine.text(path).ends_with("[Time]\nNTP=192.168.24.1\nFallbackNTP=\n"));
    let restart = "systemctl --no-block try-restart systemd-timesyncd.service";
    assert_eq!(machine.started(), [restart]);
    machine.cloud.prepare(&machine.log).unwrap();
    assert_eq!(machine.started(), [""; 0]);
    // An agent that ends between the file and the restart makes up for it.
    machine.file(path, "[Time]\nNTP=192.168.24.99\n");
    machine.handle(|_| Ok(Ended::bad("Connection reset by peer")));
    machine.cloud.prepare(&machine.log).unwrap_err();
    machine.handle(|_| Ok(Ended::good("")));
    machine.started();
    machine.cloud.prepare(&machine.log).unwrap();
    assert_eq!(machine.started(), [restart]);
    // Where it cannot be written, all else is prepared, and it is said.
    std::fs::remove_dir_all(machine.path("etc/systemd")).unwrap();
    machine.file("etc/systemd", "no directory");
    machine.file("run/systemd/container", "undercloud\n");
    let failure = machine.cloud.prepare(&machine.log).unwrap_err();
    assert!(failure.message.contains(path), "{}", failure.message);
    assert!(machine.path("etc/containers/containers.conf.d/10-undercloud.conf").exists());
}
