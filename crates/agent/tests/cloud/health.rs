//! `AwaitHealth`.

use std::{net::TcpListener, os::unix::net::UnixListener};

use serde_json::{Value, json};
use undercloud_agent::cloud::Ended;
use undercloud_model::agent::StepFailureKind;

use crate::fake::{ACTIVE, Api, Machine, silent_address};

fn check(probe: Value, timeout_s: u32) -> Value {
    json!({"kind": "await_health", "service": "nova-api", "probe": probe, "timeout_s": timeout_s})
}

#[test]
fn a_healthy_service_costs_no_process() {
    let machine = Machine::good();
    let api = Api::start(|_| (200, json!({})));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::fs::create_dir_all(machine.path("run/x")).unwrap();
    let _socket = UnixListener::bind(machine.path("run/x/sock")).unwrap();
    for probe in [
        json!({"http": format!("{}/healthcheck", api.url)}),
        json!({"tcp": address}),
        json!({"unix": "/run/x/sock"}),
    ] {
        assert!(!machine.step(&check(probe, 0)));
    }
    assert_eq!(api.asked(), ["GET /healthcheck"]);
    assert!(machine.started().is_empty());
    assert!(!machine.step(&check(json!("unit"), 0)));
    assert_eq!(machine.started().len(), 1);
}

#[test]
fn it_is_waited_for_until_it_answers_well() {
    let machine = Machine::good();
    let mut asked = 0;
    let api = Api::start(move |_| {
        asked += 1;
        (if asked < 3 { 503 } else { 204 }, json!({}))
    });
    assert!(!machine.step(&check(json!({"http": api.url}), 60)));
    assert_eq!(api.asked().len(), 3);
    assert_eq!(machine.started().len(), 1, "systemd is asked rarely");
}

#[test]
fn a_service_that_stays_ill_is_described_and_its_secrets_are_not() {
    let machine = Machine::with(|call| {
        Ok(Ended::good(match call.program {
            "journalctl" => "starting\nrefused: AAAAbbbbCCCCddddEEEEffff0000\n".to_owned(),
            _ => ACTIVE.replace("Restarts=0", "Restarts=7").replace("=active", "=activating"),
        }))
    });
    machine.file(
        "etc/undercloud/services/nova-api/etc/nova/nova.conf",
        "connection = mysql://nova:AAAAbbbbCCCCddddEEEEffff0000@172.17.0.10/nova\n",
    );
    let address = silent_address();
    let (kind, message) = machine.fails(&check(json!({"tcp": address}), 0));
    assert_eq!(kind, StepFailureKind::Unhealthy);
    let begin = format!("nova-api was not healthy within 0 s: {address} takes no connection");
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.ends_with("its unit was restarted 7 times"), "{message}");
    assert_eq!(machine.log.take(), ["nova-api: starting", "nova-api: refused: ***"]);
    let last = machine.started().pop().unwrap();
    assert!(last.starts_with("journalctl --unit nova-api.service --lines 30"), "{last}");
}

#[test]
fn a_redirect_is_not_followed() {
    let machine = Machine::good();
    let api = Api::start(|_| (300, json!({})));
    let (_, message) = machine.fails(&check(json!({"http": api.url}), 0));
    assert!(message.contains("answers 300"), "{message}");
}

#[test]
fn waiting_ends_where_it_cannot_help() {
    for (state, why) in [
        ("LoadState=not-found\nActiveState=inactive\n", "has no unit on this machine"),
        ("LoadState=bad-setting\nActiveState=inactive\n", "systemd cannot use (bad-setting)"),
        ("LoadState=loaded\nActiveState=failed\n", "has failed and is not started again"),
    ] {
        let machine = Machine::with(move |_| Ok(Ended::good(state)));
        let (kind, message) = machine.fails(&check(json!({"tcp": silent_address()}), 3600));
        assert_eq!(kind, StepFailureKind::Unhealthy);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn waiting_for_a_service_that_ends_again_and_again_ends() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let machine = Machine::with(move |call| {
        let restarts = 40 + 5 * asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Ended::good(match call.program {
            "journalctl" => "[ERROR] Can't init tc log\n[ERROR] Aborting\n".to_owned(),
            _ => format!(
                "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n\
                 NRestarts={restarts}\n"
            ),
        }))
    });
    // That it was restarted forty times before somebody waited says nothing of now.
    let failure = machine.try_step(&check(json!({"tcp": silent_address()}), 3600)).unwrap_err();
    assert_eq!(failure.kind, StepFailureKind::Unhealthy);
    let begin = "nova-api ends again and again: it was started again 5 times in ";
    assert!(failure.message.starts_with(begin), "{}", failure.message);
    assert_eq!(failure.said, ["[ERROR] Can't init tc log", "[ERROR] Aborting"]);
}

#[test]
fn probes_that_make_no_sense_are_refused() {
    let machine = Machine::good();
    for probe in [
        json!({"http": "https://127.0.0.1/"}),
        json!({"tcp": "localhost:1"}),
        json!({"unix": "/run/../x"}),
    ] {
        assert_eq!(machine.fails(&check(probe, 0)).0, StepFailureKind::Unsupported);
    }
}

fn listed(url: &str) -> Value {
    json!({"listed": {
        "access": {"auth_url": format!("{url}/v3"), "user": "admin", "password": "p", "project": "admin"},
        "api": "compute", "path": "/os-services", "list": "services",
        "where": {"binary": "nova-compute", "host": "compute-0"}, "equal": {"state": "up"},
    }})
}

/// Keystone and Nova on one port; Nova lists `rows`, one set for each question.
fn nova(mut rows: Vec<Value>) -> Api {
    Api::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v3/auth/tokens") => {
            let base = "http://HOST/v2.1";
            (
                201,
                json!({"X-Subject-Token": "t0ken", "token": {"catalog": [
                    {"type": "compute", "endpoints": [
                        {"interface": "public", "url": "https://elsewhere/"},
                        {"interface": "internal", "url": base},
                    ]},
                ]}}),
            )
        }
        _ if request.token.as_deref() != Some("t0ken") => (401, json!({})),
        _ => {
            let row = if rows.len() > 1 { rows.remove(0) } else { rows[0].clone() };
            (200, json!({"services": row}))
        }
    })
}

#[test]
fn a_row_of_a_list_is_waited_for_under_one_token() {
    let down = json!([{"binary": "nova-compute", "host": "compute-0", "state": "down"}]);
    let up = json!([
        {"binary": "nova-compute", "host": "compute-1", "state": "down"},
        {"binary": "nova-compute", "host": "compute-0", "state": "up"},
    ]);
    let rows = vec![json!([]), down, up];
    let list = nova(rows);
    let host = list.url.trim_start_matches("http://").to_owned();
    // The catalogue must name the port, which is known only now.
    let keystone = Api::start(move |_| {
        (
            201,
            json!({"X-Subject-Token": "t0ken", "token": {"catalog": [
                {"type": "compute", "endpoints": [
                    {"interface": "internal", "url": format!("http://{host}/v2.1")}]},
            ]}}),
        )
    });
    let machine = Machine::with(|_| Ok(Ended::good("LoadState=not-found\n")));
    assert!(!machine.step(&check(listed(&keystone.url), 60)));
    assert_eq!(list.asked(), ["GET /v2.1/os-services"; 3]);
    assert!(!machine.step(&check(listed(&keystone.url), 60)));
    assert_eq!(keystone.asked(), ["POST /v3/auth/tokens"], "one login for both");
}

#[test]
fn what_a_service_reported_before_it_was_started_anew_does_not_count() {
    let compute = |time: Value| json!([{"binary": "nova-compute", "host": "compute-0", "state": "up", "updated_at": time}]);
    // It is up all the time: of the machine that was erased, then of the new one.
    let (old, new) = (compute(json!("T1")), compute(json!("T2")));
    for (rows, anew, asked) in [
        (vec![old.clone(), old.clone(), new.clone()], true, 4),
        (vec![old.clone()], false, 1),
        (vec![json!([]), compute(Value::Null), new.clone()], true, 4),
    ] {
        let list = nova(rows);
        let keystone = keystone_of(&list);
        let machine = Machine::with(|_| Ok(Ended::good("LoadState=not-found\n")));
        let mut probe = listed(&keystone.url);
        probe["listed"]["report"] = json!({
            "path": "/os-services", "list": "services", "field": "updated_at",
            "where": {"binary": "nova-compute", "host": "compute-0"},
        });
        let mut step = check(probe, 60);
        step["anew"] = json!(anew);
        machine.step(&step);
        assert_eq!(list.asked().len(), asked, "{anew}");
    }
    let list = nova(vec![old]);
    let mut probe = listed(&keystone_of(&list).url);
    probe["listed"]["report"] = json!({
        "path": "/os-services", "list": "services", "field": "updated_at", "where": {},
    });
    let mut step = check(probe, 0);
    step["anew"] = json!(true);
    let (_, message) = Machine::good().fails(&step);
    assert!(
        message.contains("its last report is that of T1, before it was started anew"),
        "{message}"
    );
}

/// Neutron says for minutes that the agent of a machine that was erased is alive.
#[test]
fn a_row_of_before_does_not_count_while_the_unit_started_anew_does_not_run() {
    let up = json!([{"binary": "nova-compute", "host": "compute-0", "state": "up"}]);
    let begins = "LoadState=loaded\nActiveState=activating\nSubState=start\n";
    for (states, anew, asked) in [
        (vec![begins, begins, ACTIVE], true, 2),
        (vec![begins], false, 1),
        (vec!["LoadState=not-found\n"], true, 1),
    ] {
        let list = nova(vec![up.clone()]);
        // The first two answers are of the first look, that of the row and that of the wait.
        let mut states = states.into_iter();
        let mut last = "";
        let machine = Machine::with(move |_| {
            last = states.next().unwrap_or(last);
            Ok(Ended::good(last))
        });
        let mut step = check(listed(&keystone_of(&list).url), 60);
        step["anew"] = json!(anew);
        machine.step(&step);
        assert_eq!(list.asked().len(), asked, "{anew}");
    }
    let machine = Machine::with(move |_| Ok(Ended::good(begins)));
    let list = nova(vec![up]);
    let mut step = check(listed(&keystone_of(&list).url), 0);
    step["anew"] = json!(true);
    let (_, message) = machine.fails(&step);
    assert!(message.contains("its unit is activating (start)"), "{message}");
}

/// Keystone with `list` as Nova in its catalogue, which must name the port.
fn keystone_of(list: &Api) -> Api {
    let host = list.url.trim_start_matches("http://").to_owned();
    Api::start(move |_| {
        let endpoint = json!({"interface": "internal", "url": format!("http://{host}")});
        let row = json!({"type": "compute", "endpoints": [endpoint]});
        (201, json!({"X-Subject-Token": "t0ken", "token": {"catalog": [row]}}))
    })
}

#[test]
fn a_row_that_does_not_come_is_described() {
    for (rows, why) in [
        (json!([]), "`/os-services` of the compute API does not list it"),
        (
            json!([{"binary": "nova-compute", "host": "compute-0", "state": "down"}]),
            "`/os-services` lists it, but its state is \"down\"",
        ),
    ] {
        let list = nova(vec![rows]);
        let host = list.url.trim_start_matches("http://").to_owned();
        let keystone = Api::start(move |_| {
            (
                201,
                json!({"X-Subject-Token": "t0ken", "token": {"catalog": [
                    {"type": "compute", "endpoints": [
                        {"interface": "internal", "url": format!("http://{host}")}]},
                ]}}),
            )
        });
        let (_, message) = Machine::good().fails(&check(listed(&keystone.url), 0));
        assert!(message.contains(why), "{message}");
    }
}
