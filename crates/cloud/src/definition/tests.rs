//! Files as they should not be.

use proptest::prelude::*;

use super::*;

const SECRETS: (&str, &str) = ("services/secrets.toml", "[admin_password]\nkind = \"password\"\n");
const KEYSTONE_TOML: &str = r#"
summary = "Identity"
image = "keystone"
command = ["keystone"]
uid = 404
after = ["other"]

[[files]]
text = "{{ port.keystone }}"
path = "/etc/keystone/keystone.conf"

[[volumes]]
host = "/var/lib/overcloud/keystone"
path = "/var/lib/keystone"

[[ports]]
name = "keystone"
number = 5000
network = "internal"

[health]
tcp = "127.0.0.1:5000"
timeout_s = 60
"#;
const OTHER_TOML: &str = r#"
summary = "Another"
image = "keystone"
command = ["other"]
uid = 0

[[ports]]
name = "other"
number = 5001
network = "internal"
"#;

fn parse(keystone: &str, other: &str, role: &str) -> Result<Definitions, String> {
    let files = [
        SECRETS,
        ("services/keystone.toml", keystone),
        ("services/other.toml", other),
        ("services/other/other.conf.j2", "{% if %}"),
        ("roles/all.toml", role),
    ];
    Definitions::parse(&files, &["keystone"]).map_err(|error| error.to_string())
}

const ROLE_TOML: &str = "summary = \"All\"\nservices = [\"keystone\", \"other\"]\n";

#[test]
fn the_shipped_files_are_right() {
    let all = Definitions::shipped().unwrap();
    assert!(all.services().len() > 15);
    let of_roles = all.roles().values().flat_map(|role| &role.services);
    let additions = all.features().values().flat_map(|feature| feature.roles.values());
    let used: Vec<_> = of_roles.chain(additions.flat_map(|addition| &addition.services)).collect();
    for name in all.services().keys() {
        assert!(used.contains(&name), "{name} is in no role and no feature");
    }
}

#[test]
fn faults_are_said_with_file_key_and_remedy() {
    parse(KEYSTONE_TOML, OTHER_TOML, ROLE_TOML).unwrap();
    let sentence = |from: &str, to: &str| {
        assert!(KEYSTONE_TOML.contains(from), "{from}");
        parse(&KEYSTONE_TOML.replace(from, to), OTHER_TOML, ROLE_TOML).unwrap_err()
    };
    let other = |from: &str, to: &str| {
        parse(KEYSTONE_TOML, &OTHER_TOML.replace(from, to), ROLE_TOML).unwrap_err()
    };
    let host = "/var/lib/overcloud/keystone";
    let sentences = [
        sentence("command =", "comand ="),
        sentence("uid = 404", "uid = -1"),
        sentence("uid = 404", "uid = 404\nsecrets = [\"admin_pasword\"]"),
        sentence("image = \"keystone\"", "image = \"keystones\""),
        sentence("[\"other\"]", "[\"othr\"]"),
        sentence("text = \"{{ port.keystone }}\"", "template = \"keystone.conf.j2\""),
        sentence("text = \"{{ port.keystone }}\"", "template = \"other/other.conf.j2\""),
        sentence("text = \"{{ port.keystone }}\"", "text = \"{{ port.\""),
        sentence("text = \"{{ port.keystone }}\"", ""),
        sentence("number = 5000", "number = 0"),
        sentence("number = 5000", "number = 70000"),
        sentence("number = 5000", "number = 5001"),
        sentence("number = 5000", "number = 5000\nlast = 4000"),
        sentence("number = 5000", "number = 4000\nlast = 6000"),
        sentence("number = 5000", "number = 5000\npublished_number = 443"),
        sentence("number = 5000", "number = 5000\npublish = \"https\"\npublished_number = 5001"),
        sentence("network = \"internal\"", "network = \"wan\""),
        sentence("path = \"/etc/keystone/keystone.conf\"", "path = \"/etc/../shadow\""),
        sentence(host, "/var/lib/overcloud/../../../etc"),
        sentence(host, "/etc"),
        sentence(host, "/run/x:/etc"),
        sentence("tcp =", "unix = \"/run/x\"\ntcp ="),
        sentence("[\"keystone\"]", "[]"),
        sentence("[\"keystone\"]", "[\"keystone\", \"a\\nb\"]"),
        other("uid = 0", "uid = 0\nneeds = [\"keystone\"]"),
        other("uid = 0", "uid = 0\nneeds = [\"other\"]"),
        other("name = \"other\"", "name = \"keystone\""),
        other("uid = 0", "uid = 0\nmodules = [\"kvm nested=1\"]"),
        other("uid = 0", "uid = 0\nmodules = [\"{% if x %}kvm\"]"),
        other("uid = 0", "uid = 0\ndevices = [\"/etc/shadow\"]"),
        other("uid = 0", "uid = 0\n[environment]\n\"A=B\" = \"c\""),
        parse(KEYSTONE_TOML, OTHER_TOML, "summary = \"\"\nservices = [\"keyston\"]").unwrap_err(),
        Definitions::parse(&[], &[]).unwrap_err().to_string(),
        Definitions::parse(&[SECRETS], &[]).unwrap_err().to_string(),
        Definitions::parse(&[SECRETS, ("services/a_b.toml", OTHER_TOML)], &[])
            .unwrap_err()
            .to_string(),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}

proptest! {
    #[test]
    fn no_text_panics(
        text: String,
        at in 0..KEYSTONE_TOML.len(),
        insert in "[\\[\\]{}%\"'=\\n./ a-z0-9_]{0,12}",
    ) {
        let _ = parse(&text, OTHER_TOML, ROLE_TOML);
        let mut spoiled = KEYSTONE_TOML.to_owned();
        spoiled.insert_str(at, &insert);
        let _ = parse(&spoiled, &text, ROLE_TOML);
        let _ = parse(KEYSTONE_TOML, OTHER_TOML, &text);
    }
}
