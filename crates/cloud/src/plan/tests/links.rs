//! Networks by name, and the links that carry them.

use undercloud_model::agent::cloud::{CloudStep, NetworkSetup};

use super::*;

/// One bond for everything: each network is a VLAN on it, and the public one leads out.
const TRUNK: &str = r#"
default_route = "public"
dns_servers = ["10.0.0.53"]
ntp_servers = ["10.0.0.1", "ntp.example.com"]

[network.storage]
cidr = "172.18.0.0/24"
first_address = "172.18.0.10"
vlan = 30
mtu = 9000
purposes = ["storage", "migration"]

[network.tunnel]
cidr = "172.19.0.0/24"
first_address = "172.19.0.10"
vlan = 40
mtu = 1600
purposes = ["tunnel"]

[network.control]
cidr = "172.20.0.0/24"
first_address = "172.20.0.10"
vlan = 50
roles = ["controller"]

[[link]]
bond = "bond0"
mode = "802.3ad"
cards = ["ens4", "ens5"]
networks = ["internal", "public", "storage", "tunnel", "control"]
"#;

/// The shipped cloud with these tables beside its own.
fn with(tables: &str) -> String {
    let shipped = CloudConfig::shipped_text();
    let (keys, rest) = tables.split_at(tables.find("\n[").unwrap_or(0));
    let shipped = shipped.replacen("[[machine]]", &format!("{keys}\n[[machine]]"), 1);
    format!("{shipped}\n{rest}")
}

fn trunk() -> String {
    let vlan = |text: String, network: &str, id: u16| {
        let head = format!("[network.{network}]\n");
        text.replace(&head, &format!("{head}vlan = {id}\n"))
    };
    let text = with(TRUNK);
    vlan(vlan(text, "internal", 20), "public", 10)
}

fn planned(text: &str) -> Result<Plan, PlanError> {
    plan(&Definitions::shipped().unwrap(), &text.parse().unwrap(), &facts(), &images())
}

fn setup(plan: &Plan, machine: &str) -> NetworkSetup {
    let key = format!("{machine}/network");
    let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    let CloudStep::Network(setup) = &step.step else { panic!("{key}") };
    setup.clone()
}

#[test]
fn one_trunk_carries_every_network() {
    let plan = planned(&trunk()).unwrap();
    let mut shown = String::new();
    for machine in ["controller-0", "compute-0"] {
        let setup = NetworkSetup { hosts: Vec::new(), ..setup(&plan, machine) };
        shown.push_str(&format!("{machine}: {}\n", serde_json::to_string_pretty(&setup).unwrap()));
    }
    insta::assert_snapshot!(shown);
    // What services are told follows.
    let text = serde_json::to_string(&plan.steps).unwrap();
    for says in ["ovn-encap-ip=172.19.0.10", "path_mtu = 1600", "\\nbr-ex\\nvlan10\\n"] {
        assert!(text.contains(says), "{says}");
    }
    // An address stays with its machine.
    let mut facts = facts();
    for machine in &plan.machines {
        facts.machines.get_mut(&machine.name).unwrap().addresses = Some(machine.addresses.clone());
    }
    let mut config: CloudConfig = trunk().parse().unwrap();
    config.machines.reverse();
    let again = super::plan(&Definitions::shipped().unwrap(), &config, &facts, &images()).unwrap();
    assert_eq!(
        again.machine(&name("compute-0")).unwrap().addresses,
        plan.machine(&name("compute-0")).unwrap().addresses
    );
}

#[test]
fn each_network_may_have_a_card_of_its_own() {
    let tables = "
[network.storage]
cidr = \"172.18.0.0/24\"
first_address = \"172.18.0.10\"
[[link]]
roles = [\"controller\"]
cards = [\"ens6\"]
networks = [\"storage\"]
[[link]]
machines = [\"compute-0\"]
cards = [\"52:54:00:00:01:04\"]
networks = [\"storage\"]
";
    let plan = planned(&with(tables)).unwrap();
    let links = |machine| {
        let setup = setup(&plan, machine);
        setup.links.iter().map(|l| format!("{} {}", l.link, l.address)).collect::<Vec<_>>()
    };
    assert_eq!(
        links("controller-0"),
        ["52:54:00:00:00:01 172.17.0.10/24", "52:54:00:00:00:03 172.18.0.10/24"]
    );
    assert_eq!(
        links("compute-0"),
        ["52:54:00:00:01:01 172.17.0.11/24", "52:54:00:00:01:04 172.18.0.11/24"]
    );
    let plain = planned(CloudConfig::shipped_text()).unwrap();
    assert_eq!(setup(&plain, "compute-0").mtus, []);
}

#[test]
fn links_that_a_machine_cannot_have_are_said() {
    let sentence = |from: &str, to: &str| {
        let text = trunk();
        assert!(text.contains(from), "{from}");
        planned(&text.replace(from, to)).unwrap_err().to_string()
    };
    let link = "[[link]]\ncards = [\"ens6\"]\nnetworks = [\"storage\"]\n[[link]]\nbond";
    let sentences = [
        sentence("\"ens4\", \"ens5\"", "\"enp*\""),
        sentence("\"ens4\", \"ens5\"", "\"ens3\", \"ens5\""),
        sentence(
            "bond = \"bond0\"\nmode = \"802.3ad\"\ncards = [\"ens4\", \"ens5\"]",
            "cards = [\"ens*\"]",
        ),
        sentence("[[link]]\nbond", link),
        sentence("\"tunnel\", \"control\"]", "\"tunnel\"]"),
        sentence("roles = [\"controller\"]", "roles = [\"controler\"]"),
        sentence("purposes = [\"tunnel\"]", "purposes = [\"tunnel\"]\nroles = [\"controller\"]"),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}
