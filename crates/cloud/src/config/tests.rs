//! Configurations as they should and should not be.

use proptest::prelude::*;

use super::*;

#[test]
fn the_shipped_configuration_is_right() {
    let config: CloudConfig = CloudConfig::shipped_text().parse().unwrap();
    assert_eq!(config.public.host, None);
    assert_eq!(config.machines.len(), 2);
    assert_eq!(config.password_hash_rounds, 4);
}

#[test]
fn a_machine_may_say_its_links_and_addresses() {
    let machine = "name = \"compute-0\"\nrole = \"compute\"\ninternal_address = \"172.17.0.77\"\n\
                   [machine.nics]\ninternal = \"52:54:00:12:34:56\"\n";
    let text = SHIPPED.replace("name = \"compute-0\"\nrole = \"compute\"\n", machine);
    let config: CloudConfig = text.parse().unwrap();
    assert_eq!(config.machines[1].internal_address, "172.17.0.77".parse().ok());
    assert_eq!(config.machines[1].nics.internal, "52:54:00:12:34:56".parse().ok());
}

#[test]
fn faults_are_said_with_key_and_remedy() {
    let sentence = |from: &str, to: &str| {
        assert!(SHIPPED.contains(from), "{from}");
        SHIPPED.replace(from, to).parse::<CloudConfig>().unwrap_err().to_string()
    };
    let role = "role = \"compute\"";
    let sentences = [
        sentence("region =", "regoin ="),
        sentence("\"RegionOne\"", "\"Region One\""),
        sentence("name = \"overcloud\"", "name = \"⟪secret:x⟫\""),
        sentence("password_hash_rounds = 4", "password_hash_rounds = 3"),
        sentence("gateway = \"10.0.0.1\"", "gateway = \"10.0.1.1\""),
        sentence("gateway = \"10.0.0.1\"", "gateway = \"10.0.0.150\""),
        sentence("gateway = \"10.0.0.1\"", "gateway = \"10.0.0.1\"\nhost = \"10.0.0.9\""),
        sentence("start = \"10.0.0.100\"", "start = \"10.0.0.200\""),
        sentence("10.0.0.199", "10.0.0.255"),
        sentence("172.17.0.0/24", "10.0.0.0/8"),
        sentence("172.17.0.0/24", "172.17.0.0"),
        sentence("name = \"compute-0\"", "name = \"controller-0\""),
        sentence("name = \"compute-0\"", "name = \"controller-0\""),
        sentence(role, "role = \"compute\"\ninternal_address = \"10.0.0.9\""),
        sentence(role, "role = \"compute\"\npublic_address = \"10.0.0.100\""),
        sentence(role, "role = \"compute\"\npublic_address = \"10.0.0.1\""),
        sentence(role, "role = \"compute\"\n[machine.nics]\ninternal = \"eth0\""),
        "[network.internal]".parse::<CloudConfig>().unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn faults_of_networks_and_links_are_said_with_key_and_remedy() {
    let storage = "[network.storage]\ncidr = \"172.18.0.0/24\"\nfirst_address = \"172.18.0.10\"\n";
    let sentence = |tables: &str| {
        // Keys that belong to no table come first.
        let keys =
            if tables.starts_with('[') { 0 } else { tables.find("\n[").unwrap_or(tables.len()) };
        let (keys, tables) = tables.split_at(keys);
        let text = SHIPPED.replacen("[[machine]]", &format!("{keys}\n[[machine]]"), 1);
        format!("{text}\n{tables}").parse::<CloudConfig>().unwrap_err().to_string()
    };
    let with = |more: &str| sentence(&format!("{storage}{more}"));
    let link = |lines: &str| with(&format!("[[link]]\n{lines}"));
    let sentences = [
        with("vlan = 4095"),
        with("mtu = 100"),
        with("purposes = [\"public\"]"),
        with("purposes = [\"stroage\"]"),
        with("gateway = \"172.19.0.1\""),
        with("fist_address = \"172.18.0.11\""),
        with("[network.Other]\ncidr = \"172.19.0.0/24\"\nfirst_address = \"172.19.0.10\""),
        with("[network.other]\ncidr = \"172.18.0.0/25\"\nfirst_address = \"172.18.0.10\""),
        with(
            "vlan = 7\n[network.other]\ncidr = \"172.19.0.0/24\"\nfirst_address = \"172.19.0.10\"\nvlan = 7",
        ),
        sentence(&format!("default_route = \"storage\"\n{storage}")),
        sentence(&format!("default_route = \"stroage\"\n{storage}")),
        sentence("ntp_servers = [\"ntp server\"]\n"),
        sentence("dns_servers = [\"ns.example.com\"]\n"),
        link("cards = [\"eth 0\"]\nnetworks = [\"storage\"]"),
        link("cards = []\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nnetworks = []"),
        link("cards = [\"eth0\"]\nnetworks = [\"storage\", \"storage\"]"),
        link("cards = [\"eth0\"]\nnetworks = [\"stroage\"]"),
        link("cards = [\"eth0\", \"eth1\"]\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nmode = \"802.3ad\"\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nbond = \"vlan30\"\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nbond = \"bond 0\"\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nbond = \"bond0\"\nmode = \"lacp\"\nnetworks = [\"storage\"]"),
        link("cards = [\"eth0\"]\nnetworks = [\"storage\", \"public\"]"),
        link("cards = [\"eth0\"]\nmachines = [\"compute-00\"]\nnetworks = [\"storage\"]"),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}

proptest! {
    #[test]
    fn no_text_panics(
        text: String,
        at in 0..SHIPPED.len(),
        insert in "[\\[\\]{}\"=\\n./ a-z0-9_]{0,12}",
    ) {
        let _ = text.parse::<CloudConfig>();
        let mut spoiled = SHIPPED.to_owned();
        if spoiled.is_char_boundary(at) {
            spoiled.insert_str(at, &insert);
        }
        let _ = spoiled.parse::<CloudConfig>();
    }
}
