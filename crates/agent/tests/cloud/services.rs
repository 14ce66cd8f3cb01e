//! `ApplyService`, `RetireServices`, `RunOnce`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use undercloud_agent::cloud::Ended;
use undercloud_model::agent::StepFailureKind;

use crate::fake::{ACTIVE, DIGEST, Machine, own_uid};

const UNIT: &str = "etc/containers/systemd/keystone.container";
const CONF: &str = "etc/undercloud/services/keystone/etc/keystone/keystone.conf";
const SHOW: &str = "systemctl show --property=LoadState,ActiveState,SubState,NRestarts,NeedDaemonReload,ActiveEnterTimestampMonotonic keystone.service";

/// An ordinary service.
fn keystone() -> Value {
    json!({
        "kind": "apply_service",
        "name": "keystone",
        "summary": "Keystone: identity, 100 %",
        "image": {"name": "keystone", "digest": DIGEST, "id": DIGEST, "bytes": 1},
        "command": ["uwsgi_python3", "--ini", "/etc/keystone/uwsgi.ini", "--set", "a=\"$HOME\" 5%"],
        "uid": own_uid(),
        "environment": {"HOME": "/var/lib/keystone", "ARGS": "+S 1:1 -x {127,0,0,1}"},
        "after": ["mariadb", "memcached"],
        "modules": [],
        "privileges": {},
        "stop": "all",
        "files": [
            {"path": "/etc/keystone/keystone.conf", "mode": 0o400, "content": "password = hunter2"},
            {"path": "/etc/keystone/fernet-keys/0", "mode": 0o400, "content": "key"},
        ],
        "volumes": [{
            "host": "/var/lib/overcloud/keystone", "path": "/var/lib/keystone", "mode": 0o750,
            "uid": own_uid(), "shared": false, "existing": false,
        }],
    })
}

/// A service with everything.
fn libvirt() -> Value {
    json!({
        "kind": "apply_service",
        "name": "libvirt",
        "summary": "libvirt and QEMU",
        "image": {"name": "libvirt", "digest": DIGEST, "id": DIGEST, "bytes": 1},
        "command": ["libvirtd"],
        "uid": 0,
        "environment": {},
        "after": [],
        "modules": ["kvm", "tun"],
        "privileges": {"privileged": true, "host_pid": true},
        "stop": "main",
        "files": [],
        "volumes": [
            {"host": "/run/libvirt", "path": "/run/libvirt", "mode": 0o755, "uid": own_uid(),
             "shared": false, "existing": false},
            {"host": "/run/netns", "path": "/run/netns", "mode": 0o755, "uid": own_uid(),
             "shared": true, "existing": false},
        ],
    })
}

#[test]
fn an_ordinary_service_is_made_once_and_kept() {
    let machine = Machine::good();
    assert!(machine.step(&keystone()));
    assert_eq!(
        machine.started(),
        ["systemctl daemon-reload", "systemctl restart --no-block keystone.service", SHOW]
    );
    let id = DIGEST.trim_start_matches("sha256:");
    assert!(machine.text(UNIT).contains(&format!("\nImage={id}\n")));
    assert_eq!((machine.text(CONF), machine.mode(CONF)), ("password = hunter2".into(), 0o400));
    assert_eq!(machine.mode("etc/undercloud/services/keystone/etc/keystone"), 0o755);
    assert_eq!(machine.mode("var/lib/overcloud/keystone"), 0o750);
    assert!(!machine.path("var/lib/undercloud/pending/keystone").exists());

    assert!(!machine.step(&keystone()));
    assert_eq!(machine.started(), [SHOW]);
    assert!(!machine.log.take().join("\n").contains("hunter2"));
}

#[test]
fn a_privileged_service_has_its_modules_and_directories_at_each_boot() {
    let machine = Machine::good();
    machine.file("sys/module/kvm/refcnt", "0");
    let mut step = libvirt();
    step["modules"] = json!(["kvm", "tun"]);
    assert!(machine.step(&step));
    assert_eq!(machine.started()[0], "modprobe --all -- tun");
    let lines = machine.text("etc/tmpfiles.d/undercloud-libvirt.conf");
    let uid = own_uid();
    assert!(
        lines.ends_with(&format!("d /run/libvirt 0755 {uid} 0 -\nd /run/netns 0755 {uid} 0 -\n"))
    );
    assert!(machine.text("etc/modules-load.d/undercloud-libvirt.conf").ends_with("kvm\ntun\n"));
    assert!(machine.path("run/netns").is_dir());
    machine.file("sys/module/tun/refcnt", "0");
    assert!(!machine.step(&step));
    // Without them the lines go too.
    step["modules"] = json!([]);
    step["volumes"] = json!([]);
    assert!(machine.step(&step));
    assert!(!machine.path("etc/tmpfiles.d/undercloud-libvirt.conf").exists());
    assert!(!machine.path("etc/modules-load.d/undercloud-libvirt.conf").exists());
}

#[test]
fn a_container_loads_no_modules_and_says_so_once() {
    let machine = Machine::good();
    machine.file("run/systemd/container", "undercloud\n");
    let mut step = libvirt();
    step["modules"] = json!(["kvm", "tun"]);
    assert!(machine.step(&step));
    assert!(!machine.started().iter().any(|call| call.starts_with("modprobe")));
    let said = |lines: Vec<String>| lines.iter().filter(|l| l.contains("kvm and other")).count();
    assert_eq!(said(machine.log.take()), 1);
    assert!(!machine.step(&step), "the second time changes nothing");
    assert_eq!(said(machine.log.take()), 0);
}

#[test]
fn drift_is_mended_and_restarts_the_service() {
    let machine = Machine::good();
    machine.step(&keystone());
    let stale = "etc/undercloud/services/keystone/etc/keystone/old.conf";
    let drifts: [(&str, &dyn Fn()); 4] = [
        ("content", &|| {
            fs::set_permissions(machine.path(CONF), fs::Permissions::from_mode(0o600)).unwrap();
            machine.file(CONF, "password = hunter3");
        }),
        ("mode", &|| {
            fs::set_permissions(machine.path(CONF), fs::Permissions::from_mode(0o444)).unwrap()
        }),
        ("gone", &|| fs::remove_file(machine.path(CONF)).unwrap()),
        ("stale", &|| machine.file(stale, "x")),
    ];
    for (name, drift) in drifts {
        drift();
        machine.started();
        let done = machine.try_step(&keystone()).unwrap();
        assert!(
            done.changed && done.note == "keystone: restarted for files",
            "{name}: {}",
            done.note
        );
        assert_eq!(
            machine.started(),
            ["systemctl restart --no-block keystone.service", SHOW],
            "{name}"
        );
        assert_eq!((machine.text(CONF), machine.mode(CONF)), ("password = hunter2".into(), 0o400));
        assert!(!machine.path(stale).exists());
        assert!(!machine.step(&keystone()), "{name}");
    }
    // A directory's mode is mended, and that is no reason to restart.
    fs::set_permissions(
        machine.path("var/lib/overcloud/keystone"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    machine.started();
    assert!(machine.step(&keystone()));
    assert_eq!(machine.started(), [SHOW]);
}

#[test]
fn what_somebody_changed_of_a_unit_by_hand_is_taken_away() {
    let machine = Machine::good();
    machine.step(&keystone());
    for path in [
        "run/systemd/system/keystone.service.d/override.conf",
        "etc/systemd/system/keystone.service.d/override.conf",
        "etc/systemd/system/keystone.service",
        "run/systemd/system.control/keystone.service.d/50-MemoryMax.conf",
        "etc/containers/systemd/keystone.container.d/x.conf",
    ] {
        machine.file(path, "[Service]\nExecStart=\n");
        machine.started();
        let done = machine.try_step(&keystone()).unwrap();
        assert_eq!(done.note, "keystone: restarted for a change by hand", "{path}");
        assert!(!machine.path(path).exists(), "{path}");
        assert_eq!(
            machine.started(),
            ["systemctl daemon-reload", "systemctl restart --no-block keystone.service", SHOW],
            "{path}"
        );
        assert!(!machine.step(&keystone()), "{path}");
    }
    // A mask is a link; another service's drop-in is not this one's.
    std::os::unix::fs::symlink("/dev/null", machine.path("etc/systemd/system/keystone.service"))
        .unwrap();
    let other = "etc/systemd/system/glance.service.d/override.conf";
    machine.file(other, "");
    assert!(machine.step(&keystone()));
    let mask = fs::symlink_metadata(machine.path("etc/systemd/system/keystone.service"));
    assert!(mask.is_err() && machine.path(other).exists());
}

#[test]
fn a_changed_image_or_command_is_a_changed_unit() {
    let machine = Machine::good();
    machine.step(&keystone());
    machine.started();
    let mut step = keystone();
    step["image"]["id"] = json!(DIGEST.replace("aa", "bb"));
    assert!(machine.step(&step));
    assert_eq!(machine.started()[0], "systemctl daemon-reload");
}

#[test]
fn a_stopped_service_is_started() {
    let machine = Machine::good();
    machine.step(&keystone());
    machine.handle(|call| {
        let text = ACTIVE.replace("=active", "=inactive");
        Ok(Ended::good(if call.arguments[0] == "show" { text } else { String::new() }))
    });
    machine.started();
    assert!(machine.step(&keystone()));
    assert_eq!(machine.started(), [SHOW, "systemctl start --no-block keystone.service"]);
}

#[test]
fn a_restart_that_was_missed_is_made_up_for() {
    let machine = Machine::good();
    machine.step(&keystone());
    // The agent ended right before the restart.
    machine.handle(|call| {
        let bad = call.arguments[0] == "restart";
        Ok(if bad {
            Ended::bad("Transport endpoint is not connected")
        } else {
            Ended::good(ACTIVE)
        })
    });
    let mut step = keystone();
    step["files"][0]["content"] = json!("password = other");
    assert_eq!(machine.fails(&step).0, StepFailureKind::System);
    machine.handle(|_| Ok(Ended::good(ACTIVE)));
    machine.started();
    let done = machine.try_step(&step).unwrap();
    assert_eq!(done.note, "keystone: restarted for an earlier change");
    assert!(!machine.step(&step));
    // And one that ended between the unit's file and the reload.
    let mut stale = true;
    machine.handle(move |call| {
        stale &= call.arguments[0] != "daemon-reload";
        let text = if stale { ACTIVE.replace("Reload=no", "Reload=yes") } else { ACTIVE.into() };
        Ok(Ended::good(text))
    });
    machine.started();
    assert!(machine.step(&step));
    assert_eq!(
        machine.started()[1..3],
        ["systemctl daemon-reload", "systemctl restart --no-block keystone.service"]
    );
}

#[test]
fn a_reload_that_was_missed_is_made_up_for() {
    let machine = Machine::good();
    machine.step(&keystone());
    // The agent ends right before the reload, with the mark and the new unit written.
    machine.handle(|call| {
        let bad = call.arguments[0] == "daemon-reload";
        Ok(if bad { Ended::bad("Connection reset by peer") } else { Ended::good(ACTIVE) })
    });
    let mut step = keystone();
    step["command"] = json!(["uwsgi_python3", "--other"]);
    assert_eq!(machine.fails(&step).0, StepFailureKind::System);
    machine.handle(|_| Ok(Ended::good(ACTIVE)));
    machine.started();
    assert!(machine.step(&step));
    assert_eq!(
        machine.started(),
        ["systemctl daemon-reload", "systemctl restart --no-block keystone.service", SHOW]
    );
    assert!(!machine.step(&step));
    assert_eq!(machine.started(), [SHOW]);
}

#[test]
fn what_a_service_finds_at_its_first_start_is_written_once_and_is_its_own_then() {
    let machine = Machine::good();
    let mut step = keystone();
    step["seeds"] = json!([{
        "host": "/var/lib/overcloud/keystone/id", "mode": 0o444, "uid": own_uid(), "content": "one",
    }]);
    const ID: &str = "var/lib/overcloud/keystone/id";
    let restart = "systemctl restart --no-block keystone.service";
    let (path, seen) = (machine.path(ID), Arc::new(AtomicUsize::new(0)));
    let there = Arc::clone(&seen);
    machine.handle(move |call| {
        if call.shown() == restart {
            there.store(usize::from(path.exists()), Ordering::SeqCst);
        }
        Ok(Ended::good(ACTIVE))
    });
    assert!(machine.step(&step));
    assert_eq!(seen.load(Ordering::SeqCst), 1, "before the service starts");
    assert_eq!((machine.text(ID), machine.mode(ID)), ("one".into(), 0o444));
    assert!(!machine.step(&step));
    // What an earlier version or a person wrote stays.
    fs::remove_file(machine.path(ID)).unwrap();
    machine.file(ID, "another");
    assert!(!machine.step(&step));
    assert_eq!(machine.text(ID), "another");
    // Without content it says nothing.
    machine.file(ID, "");
    assert!(machine.step(&step));
    assert_eq!(machine.text(ID), "one");
    step["seeds"][0]["host"] = json!("/var/lib/../etc/shadow");
    assert_eq!(machine.fails(&step).0, StepFailureKind::Unsupported);
}

#[test]
fn a_unit_that_systemd_does_not_take_is_a_failure_with_quadlet_s_words() {
    let machine = Machine::with(|call| {
        Ok(match call.program {
            "systemctl" if call.arguments[0] == "show" => Ended::good("LoadState=not-found\n"),
            "/usr/libexec/podman/quadlet" => {
                Ended::bad("converting \"keystone.container\": unsupported key 'Pull'")
            }
            _ => Ended::good(""),
        })
    });
    let (kind, message) = machine.fails(&keystone());
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("keystone (not-found)"), "{message}");
    assert!(machine.log.take().iter().any(|l| l.contains("unsupported key")));
}

#[test]
fn texts_that_would_be_something_else_are_refused() {
    for (pointer, value) in [
        ("/files/0/path", json!("/etc/../../../root/x")),
        ("/files/0/path", json!("etc/x")),
        ("/volumes/0/host", json!("/var/lib/x:/etc")),
        ("/volumes/0/path", json!("/a b")),
        ("/volumes/0/mode", json!(0o200_000)),
        ("/summary", json!("a\n[Service]\nExecStart=x")),
        ("/command/0", json!("a\nb")),
        ("/command", json!([])),
        ("/environment", json!({"A B": "x"})),
        ("/environment", json!({"A": "x\ny"})),
        ("/privileges", json!({"capabilities": ["NET ADMIN"]})),
        ("/modules", json!(["../x"])),
        ("/stop", json!("main")),
    ] {
        let machine = Machine::good();
        let mut step = keystone();
        *step.pointer_mut(pointer).unwrap() = value.clone();
        let (kind, message) = machine.fails(&step);
        assert_eq!(kind, StepFailureKind::Unsupported, "{pointer} {value}: {message}");
        assert!(machine.started().is_empty());
    }
}

#[test]
fn what_the_machine_must_have_is_not_made() {
    let machine = Machine::good();
    let mut step = keystone();
    step["volumes"][0]["existing"] = json!(true);
    let (kind, message) = machine.fails(&step);
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("/var/lib/overcloud/keystone"), "{message}");
    fs::create_dir_all(machine.path("var/lib/overcloud/keystone")).unwrap();
    assert!(machine.step(&step));
}

#[test]
fn reloads_that_are_asked_for_at_once_are_shared() {
    let machine = Machine::good();
    let reloads = Arc::new(AtomicUsize::new(0));
    let counted = reloads.clone();
    let (entered, wait) = std::sync::mpsc::channel::<()>();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    machine.handle(move |call| {
        if call.arguments[0] == "daemon-reload" && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            entered.send(()).unwrap();
            gate.recv().unwrap();
        }
        Ok(Ended::good(ACTIVE))
    });
    let named = |name: &str| {
        let mut step = keystone();
        step["name"] = json!(name);
        step
    };
    thread::scope(|scope| {
        scope.spawn(|| machine.step(&named("first")));
        wait.recv().unwrap();
        for name in ["second", "third", "fourth"] {
            let (machine, step) = (&machine, named(name));
            scope.spawn(move || machine.step(&step));
        }
        // The others have written their units, so that they wait for a reload.
        while fs::read_dir(machine.path("etc/containers/systemd")).unwrap().count() < 4 {
            thread::yield_now();
        }
        go.send(()).unwrap();
    });
    let count = reloads.load(Ordering::SeqCst);
    assert!((2..=4).contains(&count), "{count}");
}

#[test]
fn services_that_are_not_of_the_role_go_and_their_data_stays() {
    let machine = Machine::good();
    machine.step(&keystone());
    machine.step(&libvirt());
    machine.file("etc/containers/systemd/by-hand.container", "[Container]\nImage=x\n");
    machine.started();
    let keep = |names: &[&str]| json!({"kind": "retire_services", "keep": names});
    assert!(!machine.step(&keep(&["keystone", "libvirt", "other"])));
    assert!(machine.started().is_empty());
    assert!(machine.step(&keep(&["libvirt"])));
    let started = machine.started();
    assert_eq!(started[..2], ["systemctl stop keystone.service", "systemctl daemon-reload"]);
    assert!(started[2].starts_with("systemctl show ") && started.len() == 3, "{started:?}");
    assert!(
        !machine.path(UNIT).exists() && !machine.path("etc/undercloud/services/keystone").exists()
    );
    assert!(machine.path("var/lib/overcloud/keystone").is_dir());
    assert!(machine.path("etc/containers/systemd/by-hand.container").exists());
    assert!(!machine.step(&keep(&["libvirt"])));
}

const GONE_AND_FAILED: &str = "LoadState=not-found\nActiveState=failed\nSubState=failed\n";

/// The agent ends at any of systemd's programs; the next one makes up for what is missing.
#[test]
fn a_service_that_goes_is_forgotten_by_systemd_wherever_the_agent_ended() {
    let keep = json!({"kind": "retire_services", "keep": []});
    let rest = ["systemctl daemon-reload", "systemctl reset-failed keystone.service"];
    for (ends_at, then) in [
        ("stop", &["systemctl stop keystone.service", rest[0], rest[1]][..]),
        ("daemon-reload", &rest[..]),
        ("show", &rest[..]),
        ("reset-failed", &rest[..]),
        ("nowhere", &[]),
    ] {
        let machine = Machine::good();
        machine.step(&keystone());
        machine.handle(move |call| match call.arguments[0].as_str() {
            verb if verb == ends_at => Err(std::io::ErrorKind::Interrupted.into()),
            _ => Ok(Ended::good(GONE_AND_FAILED)),
        });
        assert_eq!(machine.try_step(&keep).is_ok(), ends_at == "nowhere");
        machine.started();
        machine.handle(|_| Ok(Ended::good(GONE_AND_FAILED)));
        assert_eq!(machine.step(&keep), ends_at != "nowhere", "{ends_at}");
        let shown = |call: &String| call.starts_with("systemctl show ");
        let started: Vec<String> = machine.started().into_iter().filter(|c| !shown(c)).collect();
        assert_eq!(started, then, "after the end at {ends_at}");
        assert!(!machine.step(&keep) && machine.started().is_empty(), "once: {ends_at}");
    }
}

fn bootstrap() -> Value {
    json!({
        "kind": "run_once", "service": "keystone", "name": "admin",
        "command": ["keystone-manage", "bootstrap"],
        "environment": [{"name": "OS_BOOTSTRAP_PASSWORD", "value": "hunter22"}],
    })
}

#[test]
fn a_bootstrap_is_run_once_and_its_secrets_are_environment() {
    let machine = Machine::good();
    assert!(machine.step(&bootstrap()));
    let call = machine.calls().remove(0);
    assert_eq!(
        call.shown(),
        "podman exec --env OS_BOOTSTRAP_PASSWORD keystone keystone-manage bootstrap"
    );
    assert_eq!(call.environment[0].1.expose(), "hunter22");
    assert!(!machine.step(&bootstrap()));
    assert!(machine.started().is_empty());
}

#[test]
fn a_bootstrap_that_fails_is_run_again_and_shows_no_secret() {
    let machine = Machine::with(|_| Ok(Ended::bad("Traceback\nno access with hunter22")));
    for _ in 0..2 {
        let (kind, message) = machine.fails(&bootstrap());
        assert_eq!(kind, StepFailureKind::Command);
        assert_eq!(
            message,
            "admin of keystone (`keystone-manage bootstrap`) failed: no access with ***"
        );
    }
    assert_eq!(machine.started().len(), 2);
    let log = machine.log.take().join("\n");
    assert!(log.contains("Traceback") && !log.contains("hunter22"), "{log}");
    let mut step = bootstrap();
    step["environment"][0]["name"] = json!("LD_PRELOAD");
    assert_eq!(machine.fails(&step).0, StepFailureKind::Unsupported);
}
