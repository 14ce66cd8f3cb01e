//! Plans of clouds that have features, each that ships.

use undercloud_model::agent::cloud::CloudStep;

use super::*;

fn with(features: &[&str]) -> Result<Plan, PlanError> {
    let config =
        CloudConfig { features: features.iter().map(|f| (*f).to_owned()).collect(), ..config() };
    plan(&Definitions::shipped().unwrap(), &config, &facts(), &images())
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

#[test]
fn tables_are_made_before_the_service_that_reads_them() {
    let plan = with(&["orchestration"]).unwrap();
    for (later, earlier) in [
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
    assert_eq!(absent(&shipped()), ["heat"]);
    assert!(absent(&with(&["orchestration"]).unwrap()).is_empty());
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
    assert!(needed(&["orchestration"]).contains("heat"));
    let plain = needed(&[]);
    assert!(plain.contains("keystone") && !plain.contains("heat"), "{plain:?}");
}

#[test]
fn a_feature_prices_its_memory() {
    let config = CloudConfig { features: vec!["orchestration".into()], ..config() };
    let definitions = Definitions::shipped().unwrap();
    let mut facts = facts();
    let small = facts.machines.get_mut(&name("controller-0")).unwrap();
    small.memory_mib = Some(definitions.roles()["controller"].machine.memory_mib_min);
    assert!(plan(&definitions, &super::config(), &facts, &images()).is_ok());
    let error = plan(&definitions, &config, &facts, &images()).unwrap_err().to_string();
    assert!(error.contains("of memory, its role controller needs"), "{error}");
}
