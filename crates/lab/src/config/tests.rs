//! What `lab.toml` accepts and refuses, and in which words.

use proptest::prelude::*;

use super::*;

const NET: &str = "[[network]]\nname = \"p\"\ncidr = \"192.168.24.0/24\"\n";
const MACHINE: &str = "[[machine]]\nname = \"m\"\nprofile = \"control\"\nfirmware = \"bios\"\n\
                       memory_mib = 128\ncpus = 1\ndisk_gib = 1\nnetworks = [\"p\"]\n";

fn error(text: &str) -> String {
    text.parse::<LabConfig>().unwrap_err().to_string()
}

#[test]
fn the_built_in_lab_has_one_bios_and_one_uefi_machine_and_the_compute_is_larger() {
    let lab = LabConfig::default();
    let machine = |name: &str| lab.machines.iter().find(|m| m.name.as_str() == name).unwrap();
    let (controller, compute) = (machine("controller-0"), machine("compute-0"));
    assert_eq!((controller.firmware, compute.firmware), (BootMode::Bios, BootMode::Uefi));
    assert!(compute.memory_mib > controller.memory_mib && compute.cpus > controller.cpus);
    let hosts: Vec<String> =
        lab.networks.iter().map(|n| format!("{} {}", n.name, n.host_address())).collect();
    assert_eq!(hosts, ["provisioning 192.168.24.1", "internal 172.17.0.1", "external 10.0.0.1"]);
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest_key() {
    let text = format!("{NET}{}", MACHINE.replace("memory_mib", "memroy_mib"));
    let message = error(&text);
    assert!(message.starts_with("line 8: unknown field `memroy_mib`"), "{message}");
    assert!(message.ends_with("did you mean `memory_mib`?"), "{message}");
    let message = error(&format!("{NET}[[machines]]\n"));
    assert!(message.ends_with("did you mean `machine`?"), "{message}");
    let message = error(&format!("{NET}{}", MACHINE.replace("bios", "boos")));
    assert!(message.contains("did you mean `bios`?"), "{message}");
}

#[test]
fn values_out_of_bounds_name_the_machine_and_the_field() {
    for (from, to, words) in [
        ("memory_mib = 128", "memory_mib = 12", "machine m: `memory_mib` is 12"),
        ("cpus = 1", "cpus = 0", "machine m: `cpus` is 0"),
        ("disk_gib = 1", "disk_gib = 9999", "machine m: `disk_gib` is 9999"),
        ("\"control\"", "\"a,b\"", "machine m: `profile` must"),
        ("[\"p\"]", "[]", "machine m: `networks` must"),
        ("[\"p\"]", "[\"p\", \"p\"]", "machine m: `networks` names `p` twice, and"),
        ("[\"p\"]", "[\"q\"]", "did you mean `p`?"),
        ("name = \"m\"", "name = \"M\"", "line 5: "),
    ] {
        let text = format!("{NET}{}", MACHINE.replace(from, to));
        let message = error(&text);
        assert!(message.contains(words), "{to}: {message}");
    }
    assert!(
        error(&format!("{NET}{MACHINE}{MACHINE}")).contains("machine m: `name` is given twice")
    );
    assert!(error(NET).contains("at least one"));
}

#[test]
fn networks_that_cannot_be_built_are_refused() {
    for (cidr, words) in [
        ("192.168.24.1/24", "host bits"),
        ("192.168.24.0/30", "/8 to /29"),
        ("127.0.0.0/8", "not for hosts"),
        ("192.168.24.0", "line 3: "),
    ] {
        let message = error(&format!("{}{MACHINE}", NET.replace("192.168.24.0/24", cidr)));
        assert!(message.contains(words), "{cidr}: {message}");
    }
    let second = "[[network]]\nname = \"q\"\ncidr = \"192.168.0.0/16\"\n";
    assert!(error(&format!("{NET}{second}{MACHINE}")).contains("`cidr` overlaps network p"));
    assert!(error(&format!("{NET}{NET}{MACHINE}")).contains("network p: `name` is given twice"));
}

#[test]
fn a_count_stands_for_machines_that_are_alike() {
    let three = MACHINE.replace("name = \"m\"", "name = \"m\"\ncount = 3");
    let lab: LabConfig = format!("{NET}{three}").parse().unwrap();
    let names: Vec<&str> = lab.machines.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["m-0", "m-1", "m-2"]);
    let renamed = MachineConfig { name: "m-2".parse().unwrap(), ..lab.machines[0].clone() };
    assert_eq!(lab.machines[2], renamed);
    let one = three.replace("count = 3", "count = 1");
    let one: LabConfig = format!("{NET}{one}").parse().unwrap();
    assert_eq!(one.machines[0].name.as_str(), "m-0");
    for (text, words) in [
        (three.replace("count = 3", "count = 0"), "machine m: `count` is 0"),
        (three.replace("count = 3", "count = 41"), "machine m: `count` is 41"),
        (three.replace("count = 3", "count = -1"), "line 6: "),
        (three.replace("\"m\"", &format!("{:?}", "m".repeat(62))), "`count` makes a name"),
        (format!("{three}{}", MACHINE.replace("\"m\"", "\"m-1\"")), "m-1: `name` is given twice"),
        (format!("{three}{}", three.replace("\"m\"", "\"n\"").replace("= 3", "= 38")), "has 41"),
    ] {
        let message = error(&format!("{NET}{text}"));
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn a_machine_has_one_disk_or_several() {
    let disks = |text: &str| MACHINE.replace("disk_gib = 1", text);
    let lab: LabConfig = format!("{NET}{}", disks("disks_gib = [20, 10]")).parse().unwrap();
    assert_eq!(lab.machines[0].disks_gib, [20, 10]);
    for (text, words) in [
        ("disks_gib = []", "machine m: `disks_gib` must have 1 to 8 sizes"),
        ("disks_gib = [1, 1, 1, 1, 1, 1, 1, 1, 1]", "machine m: `disks_gib` must have 1 to 8"),
        ("disks_gib = [1, 0]", "machine m: `disks_gib` is 0"),
        ("disks_gib = [1]\ndisk_gib = 1", "`disk_gib` is given beside `disks_gib`"),
        ("", "machine m: `disk_gib` is missing"),
    ] {
        let message = error(&format!("{NET}{}", disks(text)));
        assert!(message.contains(words), "{text}: {message}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(text: String) {
        let _ = text.parse::<LabConfig>();
    }

    #[test]
    fn damage_never_panics(at in 0usize..200, byte in 32u8..127) {
        let mut bytes = format!("{NET}{MACHINE}").into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = String::from_utf8(bytes).unwrap().parse::<LabConfig>();
    }
}
