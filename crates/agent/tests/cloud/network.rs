//! `Network`.

use std::fs;

use serde_json::{Value, json};
use undercloud_agent::cloud::Ended;
use undercloud_model::agent::StepFailureKind;

use crate::fake::Machine;

fn setup() -> Value {
    json!({
        "kind": "network",
        "links": [{"mac": "52:54:00:00:00:02", "address": "172.17.0.10/24"}],
        "bridge": {"name": "br-ex", "mac": "52:54:00:00:00:03", "address": "203.0.113.10/24"},
        "hosts": [
            {"address": "172.17.0.10", "names": ["controller-0"]},
            {"address": "203.0.113.10", "names": ["cloud.example.com"]},
        ],
        "firewall": {"allow": [
            {"to": "172.17.0.10", "from": "172.17.0.0/24", "protocol": "tcp", "port": 5000},
            {"to": "172.17.0.10", "from": "172.17.0.0/24", "protocol": "udp", "port": 6081},
            {"to": "203.0.113.10", "from": null, "protocol": "tcp", "port": 5900, "last_port": 5999},
        ]},
    })
}

/// Three cards; networkd and nftables do as they are told.
fn machine() -> Machine {
    let machine = Machine::good();
    for (name, last) in [("ens3", 1), ("ens4", 2), ("ens5", 3)] {
        machine
            .file(&format!("sys/class/net/{name}/address"), &format!("52:54:00:00:00:0{last}\n"));
        machine.file(&format!("sys/class/net/{name}/device/vendor"), "0x1af4\n");
        machine.file(&format!("sys/class/net/{name}/carrier"), "1\n");
    }
    // The switch's port of its own has the MAC of a card and is none.
    machine.file("sys/class/net/br-ex/address", "52:54:00:00:00:03\n");
    machine.file(
        "etc/systemd/network/10-undercloud-52-54-00-00-00-01.network",
        "[Match]\nMACAddress=52:54:00:00:00:01\n",
    );
    machine.file("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 controller-0\n");
    let root = machine.dir.path().to_owned();
    machine.handle(move |call| {
        let table = root.join("kernel-table");
        match (call.program, call.arguments[0].as_str()) {
            ("networkctl", "reload" | "reconfigure") => fs::write(
                root.join("proc/net/fib_trie"),
                "Local:\n     |-- 172.17.0.10\n        /32 host LOCAL\n",
            )?,
            ("nft", "-f") => drop(fs::copy(&call.arguments[1], table)?),
            ("nft", _) => {
                return Ok(match fs::read_to_string(table) {
                    Ok(text) => Ended::good(text),
                    Err(_) => Ended::bad("Error: No such file or directory"),
                });
            }
            other => panic!("{other:?}"),
        }
        Ok(Ended::good(""))
    });
    machine
}

#[test]
fn a_network_is_made_once_and_kept() {
    let machine = machine();
    assert!(machine.step(&setup()));
    let started = machine.started();
    assert_eq!(started[0], "networkctl reload");
    assert!(started[1].starts_with("nft -f /"), "{started:?}");
    let mut text = String::new();
    for path in [
        "etc/systemd/network/20-undercloud-52-54-00-00-00-02.network",
        "etc/systemd/network/20-undercloud-52-54-00-00-00-03.network",
        "etc/systemd/network/20-undercloud-br-ex.network",
        "etc/hosts",
        "etc/undercloud/firewall.nft",
    ] {
        text.push_str(&format!("==> /{path} ({:o})\n{}\n", machine.mode(path), machine.text(path)));
    }
    insta::assert_snapshot!(text);

    assert!(!machine.step(&setup()));
    assert_eq!(machine.started(), ["nft --stateless list table inet undercloud"]);
}

/// The same for a switch that forwards outside of the kernel.
fn setup_with_tunnel() -> Value {
    let mut setup = setup();
    setup["tunnel"] = json!({
        "below": "52:54:00:00:00:02", "name": "tunnel", "mac": "56:54:00:00:00:02",
        "bridge": "br-phy", "address": "198.18.0.10/24",
    });
    setup
}

const NET_DEV: &str = "Inter-|   Receive\n face |bytes\n    lo: 0 0\ntunnel: 0 0\n";

#[test]
fn a_second_card_on_a_link_is_made_for_tunnels() {
    let machine = machine();
    machine.file("proc/net/dev", NET_DEV);
    assert!(machine.step(&setup_with_tunnel()));
    assert_eq!(machine.started()[0], "networkctl reload");
    let mut text = String::new();
    for name in ["52-54-00-00-00-02.network", "tunnel.netdev", "tunnel.network", "br-phy.network"] {
        let path = format!("etc/systemd/network/20-undercloud-{name}");
        text.push_str(&format!(
            "==> /{path} ({:o})\n{}\n",
            machine.mode(&path),
            machine.text(&path)
        ));
    }
    insta::assert_snapshot!(text);
    assert!(!machine.step(&setup_with_tunnel()));
    // Somebody deleted it; networkd makes it again.
    machine.started();
    machine.file("proc/net/dev", "    lo: 0 0\n");
    let root = machine.dir.path().to_owned();
    machine.handle(move |call| {
        if call.arguments[0] == "reconfigure" {
            fs::write(root.join("proc/net/dev"), NET_DEV)?;
        }
        Ok(Ended::good(fs::read_to_string(root.join("kernel-table")).unwrap_or_default()))
    });
    let done = machine.try_step(&setup_with_tunnel()).unwrap();
    assert_eq!((done.changed, done.note.as_str()), (true, "changed: the tunnels' card"));
    assert_eq!(machine.started()[..2], ["networkctl reload", "networkctl reconfigure ens4"]);
    // Not any more: everything of it goes.
    assert!(machine.step(&setup()));
    assert!(!machine.path("etc/systemd/network/20-undercloud-tunnel.netdev").exists());
    assert!(
        !machine
            .text("etc/systemd/network/20-undercloud-52-54-00-00-00-02.network")
            .contains("MACVLAN")
    );
}

#[test]
fn a_card_that_networkd_does_not_make_is_a_failure() {
    let machine = machine();
    machine.file("proc/net/dev", "    lo: 0 0\nnot-tunnel: 0 0\n");
    let (kind, message) = machine.fails(&setup_with_tunnel());
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.starts_with("networkd did not make the card tunnel:"), "{message}");
    let mut bad = setup_with_tunnel();
    bad["tunnel"]["name"] = json!("tunnel\n[Network]");
    assert_eq!(machine.fails(&bad).0, StepFailureKind::Unsupported);
}

#[test]
fn drift_is_mended() {
    let machine = machine();
    machine.step(&setup());
    machine.started();
    let file = "etc/systemd/network/20-undercloud-br-ex.network";
    let good = machine.text(file);
    machine.file(file, "");
    machine.file("etc/systemd/network/20-undercloud-old.network", "");
    assert!(machine.step(&setup()));
    assert_eq!(machine.text(file), good);
    assert!(!machine.path("etc/systemd/network/20-undercloud-old.network").exists());
    assert_eq!(machine.started()[0], "networkctl reload");

    // Somebody flushed the rules; somebody took the address away.
    machine.file("kernel-table", "table inet undercloud {\n}\n");
    machine.file("proc/net/fib_trie", "");
    let done = machine.try_step(&setup()).unwrap();
    assert_eq!((done.changed, done.note.as_str()), (true, "changed: addresses, firewall"));
    assert_eq!(machine.started()[0], "networkctl reconfigure ens4");
    assert!(!machine.step(&setup()));
}

#[test]
fn a_reload_that_was_missed_is_made_up_for() {
    let machine = machine();
    machine.step(&setup());
    // The agent ended between the bridge's file and the reload.
    machine.file("var/lib/undercloud/pending/network.links", "");
    machine.started();
    assert!(machine.step(&setup()));
    assert_eq!(machine.started()[0], "networkctl reload");
    assert!(!machine.step(&setup()));
}

#[test]
fn an_address_beside_the_first_boot_s_is_a_drop_in() {
    let machine = machine();
    let mut setup = setup();
    setup["links"][0]["mac"] = json!("52:54:00:00:00:01");
    // The fake kernel has it on ens4, so the step ends with a failure; the file is what matters.
    let (kind, message) = machine.fails(&setup);
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.starts_with("ens3 did not get 172.17.0.10/24"), "{message}");
    let drop_in =
        "etc/systemd/network/10-undercloud-52-54-00-00-00-01.network.d/20-undercloud.conf";
    assert!(machine.text(drop_in).ends_with("[Network]\nAddress=172.17.0.10/24\n"));
}

#[test]
fn a_card_that_is_not_there_is_said_with_those_that_are() {
    let machine = machine();
    let mut setup = setup();
    setup["links"][0]["mac"] = json!("52:54:00:00:00:09");
    let (kind, message) = machine.fails(&setup);
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("52:54:00:00:00:09") && message.contains("ens4 (52:54:00:00:00:02)"));
    assert!(machine.started().is_empty());
}

#[test]
fn a_bridge_and_an_address_on_one_card_are_refused() {
    let machine = machine();
    let mut twice = setup();
    twice["bridge"]["mac"] = json!("52:54:00:00:00:02");
    assert_eq!(machine.fails(&twice).0, StepFailureKind::Unsupported);
    let mut name = setup();
    name["bridge"]["name"] = json!("br-ex\nName=ens3");
    assert_eq!(machine.fails(&name).0, StepFailureKind::Unsupported);
    let mut hosts = setup();
    hosts["hosts"][0]["names"] = json!(["a\n1.2.3.4 b"]);
    assert_eq!(machine.fails(&hosts).0, StepFailureKind::Unsupported);
}

#[test]
fn rules_that_nft_refuses_are_a_failure() {
    let machine = machine();
    machine.step(&setup());
    machine.file("proc/net/fib_trie", &machine.text("proc/net/fib_trie"));
    machine.handle(|call| {
        Ok(if call.program == "nft" { Ended::bad("syntax error") } else { Ended::good("") })
    });
    let (kind, message) = machine.fails(&setup());
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("nft -f") && message.ends_with("syntax error"), "{message}");
}
