//! The daemon as a process: what it shows of itself, what it does without, how it ends. Each runs in
//! a network of its own, with no machines but one in memory behind a BMC.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod host;
mod survival;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::Value;
use undercloud_store::ProvisioningRange;

use self::host::{Host, LINK, Running, listed, text, until};

#[test]
fn what_runs_is_shown_and_who_asks_is_answered_before_the_end() {
    let host = Host::new("true");
    let mut daemon = host.serve(256, &[]);
    let status = host.status();
    let names = listed(&status, "background", "name");
    for name in ["heartbeat", "OpenStack APIs", "administration", "engine"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let descriptors = &status["descriptors"];
    assert!(descriptors["max"].as_u64() > Some(256), "the soft limit is raised: {descriptors}");
    assert!(descriptors["open"].as_u64() > Some(5), "{descriptors}");
    let shown = host.undercloud(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("heartbeat"));

    let mut poll = UnixStream::connect(host.path("s/run/undercloud.sock")).expect("the socket");
    let ask =
        format!("GET /v1/events?after={}&wait_ms=25000 HTTP/1.1\r\nHost: x\r\n\r\n", i64::MAX);
    poll.write_all(ask.as_bytes()).expect("asked");
    // Asked after it, answered after it: the daemon has read the first by then.
    host.status();
    daemon.tell(Signal::TERM);
    let mut answer = String::new();
    poll.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let ended = daemon.ended();
    let log = fs::read_to_string(host.path("log")).expect("log");
    assert!(ended.success(), "{ended}: {log}");
    assert!(log.contains("daemon stopped") && ended.signal().is_none(), "{log}");
}

#[test]
fn a_port_that_is_taken_is_said_and_all_else_goes_on() {
    let host = Host::new("true");
    let daemon = host.serve(1024, &[]);
    let status = host.status();
    let identity = listed(&status, "endpoints", "address");
    let identity = identity.iter().find_map(|address| address.strip_prefix("https://127.0.0.1:"));
    let port = identity.and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    drop(daemon);
    let _taken = host.fleet(26230, port);
    let _daemon = host.serve(1024, &[]);
    let message = host.trouble("OpenStack APIs");
    assert!(message.contains(&port.to_string()) && message.contains("in use"), "{message}");
    let log = host.undercloud(&["status"]);
    let shown = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(shown.contains("OpenStack APIs: cannot listen"), "{shown}");
}

#[test]
fn network_boot_opens_without_what_it_can_do_without() {
    let host = Host::new(LINK);
    host.add_boot_programs();
    // The host's own DHCP client has that port on many.
    let _dhcp_client = host.fleet(68, 28443);
    let _daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("watch for DHCP servers");
    assert!(message.contains("DHCP client port on boot0"), "{message}");
    let status = host.status();
    let names = listed(&status, "background", "name");
    for name in ["DHCP", "TFTP", "HTTP boot", "boot events", "router advertisements"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(listed(&status, "endpoints", "name").contains(&"network boot"), "{status:#}");
}

#[test]
fn network_boot_that_cannot_be_opened_is_said_and_all_else_goes_on() {
    let host = Host::new(LINK);
    host.add_boot_programs();
    let _dhcp_server = host.fleet(67, 28443);
    let daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("network boot");
    assert!(message.contains("DHCP port on boot0"), "{message}");
    let status = host.status();
    assert!(!listed(&status, "endpoints", "name").contains(&"network boot"), "{status:#}");
    assert!(listed(&status, "background", "name").contains(&"agents' API"), "{status:#}");
    drop(daemon);
}

#[test]
fn network_boot_without_programs_says_which() {
    let host = Host::new(LINK);
    let _daemon = host.serve(1024, &["--provisioning-interface", "boot0"]);
    let message = host.trouble("network boot");
    assert!(message.contains("undionly.kpxe is not built"), "{message}");
    // It is nobody's event, and can be seen all the same.
    let events = host.undercloud(&["events"]);
    let shown = String::from_utf8_lossy(&events.stdout).into_owned();
    assert!(shown.contains("network boot: machines cannot boot"), "{shown}");
    let events = host.undercloud(&["events", "--limit", "1", "-o", "json"]);
    let events: Value = serde_json::from_slice(&events.stdout).expect("JSON");
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
}

#[test]
fn what_grows_is_bounded_while_the_daemon_runs() {
    let host = Host::new("true");
    fs::create_dir_all(host.path("s/logs")).expect("a folder");
    let log = host.path("s/logs/undercloud.log");
    fs::write(&log, vec![b'x'; 40 << 20]).expect("a log");
    let _daemon = host.serve(1024, &[]);
    until("the log is bounded", || fs::metadata(&log).expect("a log").len() == 0);
    let status = host.status();
    for name in ["retention", "consoles"] {
        assert!(listed(&status, "background", "name").contains(&name), "{status:#}");
    }
    let room = listed(&status, "room", "what");
    assert!(room.contains(&"database") && room.contains(&"logs"), "{room:?}");
}

#[test]
fn without_a_network_bmcs_are_driven_and_what_needs_a_ramdisk_is_refused() {
    let host = Host::new("true");
    host.add_range();
    let _fleet = host.fleet(26230, 28443);
    let fleet = fs::read(host.path("fleet.json")).expect("credentials");
    let fleet: Value = serde_json::from_slice(&fleet).expect("JSON");
    let machine = &fleet[0];
    let node = serde_json::json!({ "nodes": [{
        "name": "m1", "pm_type": "ipmi", "mac": ["52:54:00:aa:09:01"],
        "pm_addr": machine["address"], "pm_port": machine["port"].to_string(),
        "pm_user": machine["user"], "pm_password": machine["password"],
    }] });
    fs::write(host.path("nodes.json"), node.to_string()).expect("a file");
    let _daemon = host.serve(1024, &[]);
    for command in [
        &["node", "import", "nodes.json"][..],
        &["node", "manage", "m1"],
        &["node", "power", "on", "m1"],
    ] {
        let output = host.undercloud(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    let refused = host.undercloud(&["node", "inspect", "m1"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    assert!(text(&refused).contains("no network for machines"), "{}", text(&refused));
}

#[test]
fn who_follows_an_installation_may_go_and_the_daemon_goes_on_even_when_it_was_killed() {
    // A machine whose BMC never answers.
    let host = Host::new(
        "ip link add bmc0 type veth peer name bmc1 && ip address add 192.0.2.2/24 dev bmc0 && \
         ip link set bmc1 up && ip link set bmc0 up && \
         ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev bmc0 nud permanent",
    );
    host.prepare(async |store| {
        let range = ProvisioningRange {
            network: "10.77.0.0/24".parse().expect("a network"),
            first: "10.77.0.10".parse().expect("an address"),
            last: "10.77.0.99".parse().expect("an address"),
        };
        store.set_provisioning_range(&range).await.expect("a range");
    });
    let node = serde_json::json!({ "nodes": [{
        "name": "controller-0", "pm_type": "ipmi", "mac": ["52:54:00:aa:09:01"],
        "pm_addr": "192.0.2.1", "pm_user": "admin", "pm_password": "correct horse 16",
    }] });
    fs::write(host.path("nodes.json"), node.to_string()).expect("a file");
    let mut daemon = host.serve(1024, &[]);
    let imported = host.undercloud(&["node", "import", "nodes.json"]);
    assert!(imported.status.success(), "{}", text(&imported));
    for round in ["asked for", "followed again"] {
        let said = host.path(round);
        let mut command = host.command(env!("CARGO_BIN_EXE_undercloud"));
        command.args(["cloud", "install"]).stdout(Stdio::null());
        command.stderr(fs::File::create(&said).expect("a file"));
        let mut follower = Running(command.spawn().expect("a command"));
        host.await_status(round, |status| {
            status["nodes"]["verifying"] == 1 && status["tasks"][0]["name"] == "cloud install"
        });
        follower.catches_interrupts();
        follower.tell(Signal::INT);
        assert_eq!(follower.ended().code(), Some(6));
        let said = fs::read_to_string(&said).expect("what it said");
        assert!(said.contains("the daemon goes on with the installation"), "{said}");
        assert!(said.contains("hint: the same command follows it again"), "{said}");
        daemon.tell(Signal::KILL);
        daemon.ended();
        daemon = host.serve(1024, &[]);
        let status = host.status();
        let installation = &status["installation"];
        assert_eq!(
            (&installation["number"], &installation["state"]),
            (&1.into(), &"inspecting".into())
        );
        assert_eq!(status["tasks"][0]["state"], "running", "{status:#}");
    }
    // It was asked for once, however often it was followed.
    let events = host.undercloud(&["events", "-o", "json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("asked for: manage").count(), 1, "{events}");
}
