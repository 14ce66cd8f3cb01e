//! Plans of the shipped definitions, as the lab has them.

use std::collections::BTreeSet;

use undercloud_model::{
    MacAddr, Secret,
    agent::cloud::{ImagePull, Probe},
    inventory::Datapath,
};

mod features;
mod links;
mod site;

use super::*;
use crate::{
    CertificateKind, ParseReferenceError, Reference, certificate_requests, diff, references,
    resolve,
};

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn machine(number: u8, networks: &[Network]) -> MachineFacts {
    let mac = |card: u8| MacAddr::from_bytes([0x52, 0x54, 0, 0, number, card]);
    let nic = |network: &Network| (network.to_string(), mac(*network as u8 + 1));
    let card = |at: u8| Card { name: format!("ens{}", at + 3), mac: mac(at) };
    MachineFacts {
        node: format!("00000000-0000-4000-8000-00000000000{number}").parse().unwrap(),
        nics: networks.iter().map(nic).collect(),
        cards: (0..6).map(card).collect(),
        boot_card: Some(mac(0)),
        cpus: Some(2),
        memory_mib: Some(4096),
        disk: Some(Disk { name: "/dev/vda".into(), serial: None, size_bytes: 20 << 30 }),
        disks: Vec::new(),
        no_disk: None,
        active: false,
        datapath: Datapath::Kernel,
        provisioning_address: None,
        addresses: None,
    }
}

fn facts() -> Facts {
    let both = [Network::Internal, Network::Public];
    let names = [(name("controller-0"), 0), (name("compute-0"), 1), (name("compute-1"), 2)];
    let machines = names.into_iter().map(|(name, number)| (name, machine(number, &both)));
    Facts { machines: machines.collect(), emulated: true, image_store: None }
}

fn images() -> Images {
    let image = |name: &str| {
        let digest = Digest::from_bytes([u8::try_from(name.len()).unwrap(); 32]);
        (
            name.to_owned(),
            ImagePull { name: name.to_owned(), digest, id: digest, bytes: 60_000_000 },
        )
    };
    Definitions::shipped_images().iter().map(|name| image(name)).collect()
}

fn config() -> CloudConfig {
    CloudConfig::shipped_text().parse().unwrap()
}

fn shipped() -> Plan {
    plan(&Definitions::shipped().unwrap(), &config(), &facts(), &images()).unwrap()
}

/// Whether `later` is done after `earlier`, by needs alone.
fn depends(plan: &Plan, later: &str, earlier: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![later.to_owned()];
    while let Some(key) = open.pop() {
        let step = plan.steps.iter().find(|step| step.key.as_str() == key);
        for need in &step.unwrap_or_else(|| panic!("no step {key}")).needs {
            if need.as_str() == earlier {
                return true;
            }
            if seen.insert(need.clone()) {
                open.push(need.as_str().to_owned());
            }
        }
    }
    false
}

#[test]
fn what_must_come_before_does() {
    let plan = shipped();
    for (later, earlier) in [
        ("controller-0/keystone/apply", "controller-0/network"),
        ("controller-0/keystone/apply", "controller-0/pull/keystone"),
        ("controller-0/keystone/apply", "controller-0/mariadb/await"),
        ("controller-0/keystone/apply", "controller-0/memcached/await"),
        ("controller-0/keystone/bootstrap/admin", "controller-0/keystone/await"),
        ("controller-0/identity", "controller-0/keystone/bootstrap/admin"),
        ("controller-0/nova-conductor/apply", "controller-0/identity"),
        ("controller-0/nova-conductor/apply", "controller-0/rabbitmq/await"),
        ("controller-0/nova-scheduler/apply", "controller-0/identity"),
        ("controller-0/nova-conductor/await", "controller-0/nova-api/await"),
        ("controller-0/haproxy/apply", "controller-0/openvswitch/apply"),
        ("controller-0/ovn-controller/await", "controller-0/neutron-api/await"),
        ("controller-0/ovn-controller/await", "controller-0/identity"),
        ("compute-0/nova-compute/apply", "controller-0/nova-conductor/await"),
        ("compute-0/nova-compute/apply", "controller-0/placement/await"),
        ("compute-0/nova-compute/apply", "compute-0/libvirt/apply"),
        ("compute-0/nova-compute/await", "controller-0/nova-api/await"),
        ("compute-0/ovn-metadata-agent/apply", "compute-0/ovn-controller/apply"),
        ("compute-0/ovn-controller/apply", "controller-0/ovn-southbound/await"),
        ("compute-0/retire", "compute-0/nova-compute/await"),
    ] {
        assert!(depends(&plan, later, earlier), "{later} must come after {earlier}");
        assert!(!depends(&plan, earlier, later), "{earlier} must not wait for {later}");
    }
    // These start while Keystone is prepared, which takes longest.
    for free in ["glance", "placement", "nova-api", "neutron-api", "nova-novncproxy", "rabbitmq"] {
        let key = format!("controller-0/{free}/apply");
        assert!(!depends(&plan, &key, "controller-0/keystone/await"), "{key}");
    }
    assert!(!depends(&plan, "compute-0/libvirt/await", "controller-0/network"));
}

#[test]
fn each_step_comes_after_what_it_needs_and_its_key_is_its_own() {
    let plan = shipped();
    let mut done = BTreeSet::new();
    for step in &plan.steps {
        for need in &step.needs {
            assert!(done.contains(need), "{} before {need}", step.key);
        }
        assert!(done.insert(step.key.clone()), "{} twice", step.key);
    }
}

#[test]
fn the_same_input_gives_the_same_plan_and_json_keeps_it() {
    let (one, other) = (shipped(), shipped());
    assert_eq!(one.digest().unwrap(), other.digest().unwrap());
    let text = serde_json::to_string(&one).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, one);
    assert_eq!(read.digest().unwrap(), one.digest().unwrap());
    assert!((5..60).contains(&one.expected_minutes), "{}", one.expected_minutes);
}

#[test]
fn the_steps_in_their_order() {
    let plan = shipped();
    let line = |step: &PlannedStep| {
        let elsewhere = !step.key.as_str().starts_with(&format!("{}/", step.machine));
        let on = if elsewhere { format!(", on {}", step.machine) } else { String::new() };
        format!("{} ({}{on})", step.key, step.title)
    };
    let lines: Vec<_> = plan.steps.iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

fn setup<'a>(plan: &'a Plan, key: &str) -> &'a undercloud_model::agent::cloud::ServiceSetup {
    let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    match &step.step {
        CloudStep::ApplyService(setup) => setup,
        other => panic!("{other:?}"),
    }
}

fn file<'a>(plan: &'a Plan, key: &str, path: &str) -> &'a str {
    let files = &setup(plan, key).files;
    files.iter().find(|file| file.path == path).unwrap().content.expose()
}

#[test]
fn nova_s_files() {
    let plan = shipped();
    let conf = file(&plan, "controller-0/nova-api/apply", "/etc/nova/nova.conf");
    insta::assert_snapshot!("controller_nova_conf", conf);
    let conf = file(&plan, "compute-0/nova-compute/apply", "/etc/nova/nova.conf");
    insta::assert_snapshot!("compute_nova_conf", conf);
}

#[test]
fn other_files() {
    let plan = shipped();
    let of = |service: &str, path: &str| {
        file(&plan, &format!("controller-0/{service}/apply"), path).to_owned()
    };
    let files = [
        of("haproxy", "/etc/haproxy/haproxy.cfg"),
        of("mariadb", "/etc/mysql/accounts.sql"),
        of("neutron-api", "/etc/neutron/uwsgi.ini"),
        of("neutron-api", "/etc/neutron/neutron.conf"),
        of("openvswitch", "/etc/openvswitch-settings"),
        of("keystone", "/etc/keystone/fernet-keys/0"),
    ];
    insta::assert_snapshot!(files.join("\n-----\n"));
}

#[test]
fn the_network_of_a_machine() {
    let plan = shipped();
    for machine in ["controller-0", "compute-0"] {
        let key = format!("{machine}/network");
        let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
        let text = serde_json::to_string_pretty(&step.step).unwrap();
        insta::assert_snapshot!(format!("{machine}_network"), text);
    }
}

#[test]
fn one_machine_without_the_kernel_s_datapath_makes_all_switches_forward_by_themselves() {
    let mut facts = facts();
    facts.machines.get_mut(&name("compute-0")).unwrap().datapath = Datapath::Userspace;
    let definitions = Definitions::shipped().unwrap();
    let userspace = plan(&definitions, &config(), &facts, &images()).unwrap();
    let switch = setup(&userspace, "controller-0/openvswitch/apply");
    assert_eq!(
        (&switch.modules[..], &switch.devices[..]),
        (&[][..], &["/dev/net/tun".to_owned()][..])
    );
    assert!(setup(&userspace, "compute-0/nova-compute/apply").modules.is_empty());
    let key = "compute-0/network";
    let step = userspace.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    let CloudStep::Network(network) = &step.step else { panic!("{step:?}") };
    let mut text = serde_json::to_string_pretty(&network.tunnel).unwrap();
    for machine in ["controller-0", "compute-0"] {
        let key = format!("{machine}/openvswitch/apply");
        let settings = file(&userspace, &key, "/etc/openvswitch-settings");
        text.push_str(&format!("\n----- {machine}\n{settings}"));
    }
    insta::assert_snapshot!("userspace", text);

    let kernel = shipped();
    let switch = setup(&kernel, "compute-0/openvswitch/apply");
    assert_eq!(
        (&switch.modules[..], switch.devices.len()),
        (&["openvswitch".to_owned(), "geneve".to_owned()][..], 0)
    );
    let json = serde_json::to_string(&kernel).unwrap();
    assert!(!json.contains("\"tunnel\"") && !json.contains("\"devices\""), "older agents' plans");
}

#[test]
fn services_have_as_many_processes_as_their_machine_carries() {
    let processes = |cpus: Option<u32>, memory_mib: Option<u64>| {
        let mut facts = facts();
        let machine = facts.machines.get_mut(&name("controller-0")).unwrap();
        (machine.cpus, machine.memory_mib) = (cpus, memory_mib);
        let definitions = Definitions::shipped().unwrap();
        let plan = plan(&definitions, &config(), &facts, &images()).unwrap();
        let ini = file(&plan, "controller-0/nova-api/apply", "/etc/nova/uwsgi.ini");
        let conf = file(&plan, "controller-0/nova-conductor/apply", "/etc/nova/nova.conf");
        let number = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().parse::<u32>().unwrap()
        };
        (number(ini, "processes ="), number(conf, "workers ="))
    };
    assert_eq!(processes(Some(2), Some(4096)), (1, 1));
    assert_eq!(processes(Some(16), Some(16 << 10)), (2, 2));
    assert_eq!(processes(Some(4), Some(256 << 10)), (2, 2));
    assert_eq!(processes(Some(64), Some(512 << 10)), (8, 8));
    assert_eq!(processes(None, Some(512 << 10)), (1, 1));
    assert_eq!(processes(Some(64), None), (1, 1));
}

#[test]
fn a_listed_probe_is_asked_on_keystone_s_machine_as_the_administrator() {
    let plan = shipped();
    let key = "compute-0/nova-compute/await";
    let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    assert_eq!(step.machine, name("controller-0"));
    let CloudStep::AwaitHealth(check) = &step.step else { panic!("{step:?}") };
    let Probe::Listed(listed) = &check.probe else { panic!("{check:?}") };
    assert_eq!(listed.access.auth_url, "http://172.17.0.10:5000/v3");
    assert_eq!(listed.access.password.expose(), "⟪secret:admin_password⟫");
    assert_eq!(listed.matching["hypervisor_hostname"], "compute-0");
    let report = listed.report.as_ref().unwrap();
    assert_eq!((&*report.path, &*report.field), ("/os-services", "updated_at"));
    assert_eq!(report.matching["host"], "compute-0");
}

#[test]
fn a_compute_machine_keeps_its_identity_whatever_becomes_of_its_record() {
    let seed = |plan: &Plan, machine: &str| {
        let seeds = &setup(plan, &format!("{machine}/nova-compute/apply")).seeds;
        assert_eq!(seeds.len(), 1);
        (seeds[0].host.clone(), seeds[0].content.parse::<uuid::Uuid>().unwrap())
    };
    let plan_of =
        |facts: &Facts| plan(&Definitions::shipped().unwrap(), &config(), facts, &images());
    let (host, uuid) = seed(&shipped(), "compute-0");
    // Clouds that are installed have it: it must never become another.
    assert_eq!(uuid.to_string(), "07a02d3f-18c8-8779-8eda-8d0d483ec2e7");
    assert_eq!(host, "/var/lib/overcloud/nova/compute_id");
    // Another machine in its place: another record, other cards.
    let mut facts = facts();
    let replaced = facts.machines.get_mut(&name("compute-0")).unwrap();
    replaced.node = "00000000-0000-4000-8000-000000000099".parse().unwrap();
    assert_eq!(seed(&plan_of(&facts).unwrap(), "compute-0").1, uuid);
    // A machine of another name is another.
    let other: CloudConfig =
        CloudConfig::shipped_text().replace("compute-0", "compute-1").parse().unwrap();
    let plan = plan(&Definitions::shipped().unwrap(), &other, &facts, &images()).unwrap();
    assert_ne!(seed(&plan, "compute-1").1, uuid);
}

#[test]
fn references_are_resolved_where_they_are_and_nowhere_else() {
    let definitions = Definitions::shipped().unwrap();
    let config =
        CloudConfig { features: definitions.features().keys().cloned().collect(), ..config() };
    let plan = plan(&definitions, &config, &features::roomy(), &images()).unwrap();
    let known = |reference: &Reference| match reference {
        Reference::Secret(name) => Ok(Secret::new(format!("<{name}>"))),
        other => Ok::<_, ParseReferenceError>(Secret::new(format!("PEM of {other:?}"))),
    };
    let mut certificates = 0;
    for step in &plan.steps {
        let resolved = resolve(&step.step, &known).unwrap();
        let text = serde_json::to_string(&resolved).unwrap();
        assert!(!text.contains(['⟪', '⟫']), "{}", step.key);
        certificates += text.matches("PEM of Certificate").count();
    }
    assert!(certificates > 4);
    let all = references(&plan).unwrap();
    let used = |name: &str| all.contains(&Reference::Secret(name.to_owned()));
    for secret in plan.secrets.keys() {
        assert!(used(secret), "{secret} is used by nobody: take it out of secrets.toml");
    }
    for reference in &all {
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), *reference);
    }
}

#[test]
fn certificates_carry_the_names_they_are_asked_for_by() {
    let requests = certificate_requests(&shipped()).unwrap();
    let public: Vec<_> =
        requests.iter().filter(|request| request.kind == CertificateKind::Public).collect();
    assert_eq!(public.len(), 1);
    assert_eq!(public[0].names, ["controller-0", "10.0.0.10"]);
    assert_eq!(public[0].addresses.len(), 2);
    let internal = requests.iter().filter(|r| r.kind == CertificateKind::Internal);
    assert_eq!(internal.count(), 2);
}

#[test]
fn machines_keep_their_addresses_when_others_come_and_go() {
    let mut config = config();
    let mut facts = facts();
    let definitions = Definitions::shipped().unwrap();
    let mut more = config.machines[1].clone();
    more.name = name("compute-1");
    config.machines.insert(1, more);
    let before = plan(&definitions, &config, &facts, &images()).unwrap();
    let address = |plan: &Plan, n| plan.machine(&name(n)).unwrap().addresses.internal.to_string();
    assert_eq!(address(&before, "controller-0"), "172.17.0.10");
    assert_eq!(address(&before, "compute-1"), "172.17.0.11");
    assert_eq!(address(&before, "compute-0"), "172.17.0.12");
    for machine in &before.machines {
        facts.machines.get_mut(&machine.name).unwrap().addresses = Some(machine.addresses.clone());
    }
    config.machines.remove(1);
    let after = plan(&definitions, &config, &facts, &images()).unwrap();
    assert_eq!(address(&after, "compute-0"), "172.17.0.12");
    let difference = diff(&before, &after);
    assert!(difference.removed.iter().all(|key| key.as_str().starts_with("compute-1/")));
    assert!(difference.added.is_empty());
    let networks = ["controller-0/network", "compute-0/network"];
    assert!(difference.changed.iter().all(|key| networks.contains(&key.as_str())));
}

#[test]
fn what_does_not_fit_is_said_with_its_remedy() {
    let definitions = Definitions::shipped().unwrap();
    let sentence = |change: &dyn Fn(&mut CloudConfig, &mut Facts, &mut Images)| {
        let (mut config, mut facts, mut images) = (config(), facts(), images());
        change(&mut config, &mut facts, &mut images);
        plan(&definitions, &config, &facts, &images).unwrap_err().to_string()
    };
    let controller = name("controller-0");
    let sentences = [
        sentence(&|config, _, _| config.machines[1].name = name("compute-9")),
        sentence(&|config, _, _| config.machines[1].role = "computer".into()),
        sentence(&|config, _, _| config.machines[1].role = "controller".into()),
        sentence(&|config, _, _| drop(config.machines.remove(0))),
        sentence(&|_, facts, _| {
            facts.machines.get_mut(&controller).unwrap().memory_mib = Some(1024);
        }),
        sentence(&|_, facts, _| facts.machines.get_mut(&controller).unwrap().nics.clear()),
        sentence(&|_, _, images| drop(images.remove("nova"))),
        sentence(&|config, _, _| {
            config.internal.first_address = "172.17.0.254".parse().unwrap();
        }),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}

/// The shipped files with one file's text changed.
fn changed(path: &str, from: &str, to: &str) -> Result<Plan, String> {
    let mut files: Vec<(&str, String)> = crate::definition::shipped_files()
        .iter()
        .map(|(path, text)| (*path, (*text).to_owned()))
        .collect();
    let (_, text) = files.iter_mut().find(|(name, _)| *name == path).unwrap();
    assert!(text.contains(from), "{path} has no {from}");
    *text = text.replacen(from, to, 1);
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let definitions = Definitions::parse(&files, Definitions::shipped_images());
    let definitions = definitions.map_err(|error| error.to_string())?;
    plan(&definitions, &config(), &facts(), &images()).map_err(|error| error.to_string())
}

#[test]
fn templates_that_ask_for_what_is_not_theirs() {
    let sentence = |path, from, to| changed(path, from, to).unwrap_err();
    let memcached = "services/memcached.toml";
    let sentences = [
        // A secret that the service does not list.
        sentence("services/nova/compute.conf.j2", "secret.keystone_nova", "secret.keystone_glance"),
        // On a command line, in plain environment, in a URL.
        sentence(memcached, "\"-U\", \"0\"", "\"{{ secret.cache }}\""),
        sentence(
            "services/keystone.toml",
            "HOME = \"/var/lib/keystone\"",
            "HOME = \"{{ secret.cache }}\"",
        ),
        // Computed with: what comes out is no reference any more.
        sentence(memcached, "text = \"{{ secret.cache }}\"", "text = \"{{ secret.cache|upper }}\""),
        sentence(memcached, "port.memcached", "port.memcache"),
        sentence(memcached, "machine.internal_address", "machine.internal_adress"),
        // Two services whose probes are each other's condition.
        sentence("services/neutron-api.toml", "needs = [", "needs = [\"ovn-controller\", "),
    ];
    insta::assert_snapshot!(sentences.join("\n"));
}
