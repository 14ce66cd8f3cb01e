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

const LINKS: &str = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n bond0: 0 0\nvlan30: 0 0\n";

/// Two cards as one, a VLAN on it, and the public network on another VLAN.
fn setup_with_bond() -> Value {
    let mut setup = setup();
    setup["bonds"] = json!([{"name": "bond0", "mode": "802.3ad",
                             "members": ["52:54:00:00:00:02", "52:54:00:00:00:03"]}]);
    setup["vlans"] = json!([{"id": 30, "on": "bond0"}]);
    setup["mtus"] = json!([{"link": "bond0", "bytes": 9000}, {"link": "52:54:00:00:00:02", "bytes": 9000},
                           {"link": "52:54:00:00:00:03", "bytes": 9000}]);
    setup["links"] = json!([{"link": "bond0", "address": "172.17.0.10/24"}]);
    setup["bridge"] = json!({"name": "br-ex", "link": "vlan30", "address": "203.0.113.10/24",
                             "gateway": "203.0.113.1"});
    setup["name_servers"] = json!(["203.0.113.53", "2001:db8::53"]);
    setup["time_servers"] = json!(["ntp.example.com", "203.0.113.1"]);
    setup
}

/// As [`machine`], with a kernel that makes a bond.
fn machine_with_bond() -> Machine {
    let machine = machine();
    machine.file("proc/net/dev", LINKS);
    machine.file("proc/net/route", &crate::fake::ROUTES.replace("ens4", "bond0"));
    for card in ["ens4", "ens5"] {
        let own = machine.text(&format!("sys/class/net/{card}/address"));
        machine.file(&format!("sys/class/net/{card}/bonding_slave/perm_hwaddr"), &own);
        machine.file(&format!("sys/class/net/{card}/address"), "52:54:00:00:00:02\n");
    }
    let root = machine.dir.path().to_owned();
    machine.handle(move |call| {
        if let ("networkctl", Some("reload" | "reconfigure")) =
            (call.program, call.arguments.first().map(String::as_str))
        {
            fs::write(
                root.join("proc/net/fib_trie"),
                "Local:\n     |-- 172.17.0.10\n        /32 host LOCAL\n",
            )?;
        }
        let table = root.join("kernel-table");
        match (call.program, call.arguments[0].as_str()) {
            ("nft", "-f") => drop(fs::copy(&call.arguments[1], table)?),
            ("nft", _) => return Ok(Ended::good(fs::read_to_string(table).unwrap_or_default())),
            _ => {}
        }
        Ok(Ended::good(""))
    });
    machine
}

#[test]
fn cards_become_a_bond_and_a_bond_carries_vlans() {
    let machine = machine_with_bond();
    assert!(machine.step(&setup_with_bond()));
    assert_eq!(machine.started()[0], "networkctl reload");
    let mut text = String::new();
    let mut names: Vec<_> = fs::read_dir(machine.path("etc/systemd/network"))
        .unwrap()
        .map(|entry| format!("etc/systemd/network/{}", entry.unwrap().file_name().display()))
        .collect();
    names.sort();
    names.extend(
        ["etc/resolv.conf", "etc/systemd/timesyncd.conf.d/20-undercloud-site.conf"]
            .map(str::to_owned),
    );
    for path in names {
        text.push_str(&format!(
            "==> /{path} ({:o})\n{}\n",
            machine.mode(&path),
            machine.text(&path)
        ));
    }
    insta::assert_snapshot!(text);
    assert!(!machine.step(&setup_with_bond()));
    assert_eq!(machine.started(), ["nft --stateless list table inet undercloud"]);
    // Its mode is another: networkd makes it anew, and only once it is gone.
    let mut other = setup_with_bond();
    other["bonds"][0]["mode"] = json!("active-backup");
    assert!(machine.step(&other));
    assert_eq!(machine.started()[..2], ["networkctl delete bond0", "networkctl reload"]);
    // None of it any more.
    machine.file("proc/net/route", crate::fake::ROUTES);
    assert!(machine.step(&setup()));
    assert!(!machine.path("etc/systemd/network/20-undercloud-bond0.netdev").exists());
    assert!(!machine.path("etc/systemd/network/05-undercloud-52-54-00-00-00-02.network").exists());
    assert!(!machine.path("etc/systemd/timesyncd.conf.d/20-undercloud-site.conf").exists());
}

#[test]
fn a_description_of_links_that_contradicts_itself_is_refused() {
    let machine = machine_with_bond();
    let refused = |change: &dyn Fn(&mut Value), says: &str| {
        let mut setup = setup_with_bond();
        change(&mut setup);
        let (kind, message) = machine.fails(&setup);
        assert_eq!(kind, StepFailureKind::Unsupported, "{message}");
        assert!(message.contains(says), "{message}");
    };
    refused(&|s| s["bonds"][0]["members"] = json!([]), "the bond bond0 has no cards");
    refused(&|s| s["links"][0]["link"] = json!("bond1"), "bond1 is no bond and no VLAN");
    refused(
        &|s| s["vlans"][0]["on"] = json!("52:54:00:00:00:03"),
        "in the bond bond0 and used by itself",
    );
    refused(&|s| s["time_servers"] = json!(["a\nb"]), "time server");
    assert!(
        machine
            .started()
            .iter()
            .all(|call| call.starts_with("networkctl") || call.starts_with("nft"))
    );
}

#[test]
fn a_change_that_cuts_the_machine_off_is_taken_back() {
    let machine = machine_with_bond();
    machine.step(&setup_with_bond());
    let directory = machine.path("etc/systemd/network");
    let files = |dir: &std::path::Path| {
        let mut all: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = files(&directory);
    machine.started();
    machine.daemon(|| false);
    let mut wrong = setup_with_bond();
    wrong["vlans"][0]["id"] = json!(31);
    wrong["bridge"]["link"] = json!("vlan31");
    machine.file("proc/net/dev", &LINKS.replace("vlan30", "vlan31"));
    let (kind, message) = machine.fails(&wrong);
    assert_eq!(kind, StepFailureKind::System);
    assert!(message.contains("did not reach the daemon at 192.168.24.1:8443"), "{message}");
    assert!(message.contains("the former links are back"), "{message}");
    assert_eq!(files(&directory), before);
    let calls = ["networkctl reload", "networkctl delete vlan31", "networkctl reload"];
    assert_eq!(machine.started(), calls);
    // With the daemon there, it stands.
    machine.daemon(|| true);
    assert!(machine.step(&wrong));
    assert!(machine.path("etc/systemd/network/20-undercloud-vlan31.netdev").exists());
}

#[test]
fn a_machine_that_ends_in_the_middle_of_a_change_takes_it_back_at_its_next_start() {
    let machine = machine_with_bond();
    machine.file("proc/net/route", crate::fake::ROUTES);
    machine.step(&setup());
    let before = machine.text("etc/systemd/network/20-undercloud-br-ex.network");
    // It ends while it waits for the daemon.
    let path = machine.path("var/lib/undercloud/pending/network.links");
    let note = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let seen = note.clone();
    machine.daemon(move || {
        *seen.lock().unwrap() = fs::read_to_string(&path).unwrap();
        true
    });
    let mut next = setup();
    next["bridge"]["address"] = json!("203.0.113.11/24");
    machine.step(&next);
    machine.file("var/lib/undercloud/pending/network.links", &note.lock().unwrap());
    machine.daemon(|| false);
    machine.started();
    machine.cloud.prepare(&machine.log).unwrap();
    assert_eq!(machine.text("etc/systemd/network/20-undercloud-br-ex.network"), before);
    assert!(!machine.path("var/lib/undercloud/pending/network.links").exists());
    assert_eq!(machine.started()[..2], ["networkctl reload", "networkctl reload"]);
    // A note of somebody else's files is not followed.
    machine.file("var/lib/undercloud/pending/network.links", "{\"etc/shadow\": \"x\"}");
    machine.cloud.prepare(&machine.log).unwrap();
    assert!(!machine.path("etc/shadow").exists());
}
