//! Plans of clouds that have features, each that ships.

use undercloud_model::agent::cloud::CloudStep;

use super::*;

fn with(features: &[&str]) -> Result<Plan, PlanError> {
    let config =
        CloudConfig { features: features.iter().map(|f| (*f).to_owned()).collect(), ..config() };
    plan(&Definitions::shipped().unwrap(), &config, &roomy(), &images())
}

/// Machines that have room for all features.
pub(super) fn roomy() -> Facts {
    let mut facts = facts();
    for machine in facts.machines.values_mut() {
        machine.memory_mib = Some(8192);
    }
    facts
}

#[test]
fn every_feature_that_ships_adds_services_that_every_other_cloud_does_without() {
    let definitions = Definitions::shipped().unwrap();
    assert!(!definitions.features().is_empty());
    for (name, feature) in definitions.features() {
        let added = diff(&shipped(), &with(&[name]).unwrap()).added;
        for service in feature.roles.values().flat_map(|addition| &addition.services) {
            let step = format!("/{service}/apply");
            assert!(added.iter().any(|key| key.as_str().ends_with(&step)), "{name}: {added:?}");
        }
    }
}

#[test]
fn a_database_is_there_when_its_service_is() {
    let accounts = |plan: &Plan| {
        let key = "controller-0/mariadb/apply";
        let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
        let CloudStep::ApplyService(service) = &step.step else { panic!("{key}: another step") };
        let file = service.files.iter().find(|file| file.path.ends_with("accounts.sql"));
        file.unwrap().content.expose().to_owned()
    };
    let heat = "GRANT ALL PRIVILEGES ON heat.* TO 'heat'@'%';";
    assert!(accounts(&with(&["orchestration"]).unwrap()).contains(heat));
    assert!(!accounts(&shipped()).contains("heat"));
}

/// The text of a file of a service on the controller.
fn file(plan: &Plan, service: &str, path: &str) -> String {
    let key = format!("controller-0/{service}/apply");
    let step = plan.steps.iter().find(|step| step.key.as_str() == key).unwrap();
    let CloudStep::ApplyService(service) = &step.step else { panic!("{key}: another step") };
    let file = service.files.iter().find(|file| file.path.ends_with(path));
    file.unwrap().content.expose().to_owned()
}

#[test]
fn the_dashboard_is_offered_at_443_and_nowhere_else() {
    let plan = with(&["dashboard"]).unwrap();
    assert_eq!(plan.cloud.dashboard.as_deref(), Some("https://10.0.0.10/"));
    assert_eq!(shipped().cloud.dashboard, None);
    let haproxy = file(&plan, "haproxy", "haproxy.cfg");
    assert!(haproxy.contains("bind 10.0.0.10:443 ssl"), "{haproxy}");
    assert!(haproxy.contains("server controller-0 172.17.0.10:8080"), "{haproxy}");
    let step = plan.steps.iter().find(|step| step.key.as_str() == "controller-0/network").unwrap();
    let CloudStep::Network(network) = &step.step else { panic!("another step") };
    let holes = |port| {
        let holes = network.firewall.allow.iter().filter(move |hole| hole.port == port);
        holes.map(|hole| (hole.to.to_string(), hole.from.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(holes(443), [("10.0.0.10".to_owned(), false)]);
    assert_eq!(holes(8080), [("172.17.0.10".to_owned(), true)]);
    let settings = file(&plan, "horizon", "local_settings.py");
    for line in ["DEBUG = False", "SESSION_COOKIE_SECURE = True", "CSRF_COOKIE_SECURE = True"] {
        assert!(settings.contains(line), "{line}");
    }
    let hosts = r#"ALLOWED_HOSTS = ["10.0.0.10", "10.0.0.10", "172.17.0.10"]"#;
    assert!(settings.contains(hosts), "{settings}");
}

#[test]
fn a_key_of_keys_and_a_name_server_s_are_secrets_of_the_cloud() {
    let plan = with(&["dns", "key-manager"]).unwrap();
    for (service, path, key, secret) in [
        ("barbican", "barbican.conf", "kek = ", "barbican_kek"),
        ("bind", "named.conf", "secret ", "name_server"),
        ("designate-worker", "rndc.key", "secret ", "name_server"),
    ] {
        let text = file(&plan, service, path);
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
        let reference = Reference::Secret(secret.to_owned()).to_string();
        assert_eq!(line.trim_matches(['"', ';']), reference, "{service}");
    }
}

#[test]
fn tables_are_made_before_the_service_that_reads_them() {
    let plan = with(&["dns", "orchestration"]).unwrap();
    for (later, earlier) in [
        ("controller-0/designate-central/apply", "controller-0/designate-api/bootstrap/tables"),
        ("controller-0/designate-mdns/apply", "controller-0/designate-api/bootstrap/tables"),
        ("controller-0/designate-worker/apply", "controller-0/designate-central/bootstrap/pool"),
        ("controller-0/heat-engine/apply", "controller-0/heat-api/bootstrap/domain"),
        ("controller-0/heat-api/bootstrap/domain", "controller-0/identity"),
        ("controller-0/heat-api/bootstrap/domain", "controller-0/heat-api/await"),
    ] {
        assert!(depends(&plan, later, earlier), "{later} is not after {earlier}");
    }
}

#[test]
fn a_feature_that_is_gone_is_gone_from_the_catalogue() {
    let absent = |plan: &Plan| {
        let step = plan.steps.iter().find(|step| step.key.as_str() == "controller-0/identity");
        let CloudStep::EnsureIdentity(setup) = &step.unwrap().step else { panic!("{step:?}") };
        setup.absent.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(absent(&shipped()), ["barbican", "designate", "heat"]);
    assert_eq!(absent(&with(&["orchestration"]).unwrap()), ["barbican", "designate"]);
    assert!(absent(&with(&["dns", "orchestration", "key-manager"]).unwrap()).is_empty());
}

#[test]
fn an_unknown_feature_is_said_with_the_nearest_one() {
    let error = with(&["orchestartion"]).unwrap_err().to_string();
    assert!(error.starts_with("`features`: there is no feature `orchestartion`: write"), "{error}");
    assert!(error.ends_with("did you mean `orchestration`?"), "{error}");
}

#[test]
fn only_the_images_of_what_runs_are_needed() {
    let definitions = Definitions::shipped().unwrap();
    let needed = |features: &[&str]| {
        let features = features.iter().map(|f| (*f).to_owned()).collect();
        definitions.images_of(&CloudConfig { features, ..config() })
    };
    let plain = needed(&[]);
    assert!(plain.contains("keystone"), "{plain:?}");
    for (feature, images) in [
        ("orchestration", &["heat"][..]),
        ("dashboard", &["horizon"]),
        ("key-manager", &["barbican"]),
        ("dns", &["bind", "designate"]),
    ] {
        let more: Vec<String> = needed(&[feature]).difference(&plain).cloned().collect();
        assert_eq!(more, images, "{feature}");
    }
}

#[test]
fn a_feature_prices_its_memory() {
    let definitions = Definitions::shipped().unwrap();
    let mut facts = facts();
    let small = facts.machines.get_mut(&name("controller-0")).unwrap();
    // What is left of it when firmware and kernel have taken theirs.
    let whole = definitions.roles()["controller"].machine.memory_mib_min;
    small.memory_mib = Some(whole - whole / 100 * 8);
    assert!(plan(&definitions, &config(), &facts, &images()).is_ok());
    for feature in definitions.features().keys() {
        let config = CloudConfig { features: vec![feature.clone()], ..config() };
        let error = plan(&definitions, &config, &facts, &images()).unwrap_err().to_string();
        assert!(error.contains("of memory, its role controller needs"), "{feature}: {error}");
    }
}
