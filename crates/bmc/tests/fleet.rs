//! A fleet: every machine for itself, each with a password of its own.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use undercloud_bmc::{
    credentials::Credentials,
    fleet::{Fleet, FleetError, FleetOptions},
    ipmi::client::{Client, Options},
    machine::{Machine, PowerAction, PowerState},
};

const OPTIONS: FleetOptions = FleetOptions {
    count: 50,
    address: std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
    port: 0,
    latency: Duration::ZERO,
};

#[tokio::test]
async fn each_machine_for_itself() {
    let fleet = Fleet::start(OPTIONS).expect("start");
    let passwords: BTreeSet<&str> = fleet.members.iter().map(|it| it.password.as_str()).collect();
    assert_eq!(passwords.len(), 50);
    assert!(passwords.iter().all(|password| password.len() >= 16));
    let (chosen, other) = (&fleet.members[7], &fleet.members[8]);
    let credentials = |password: &str| Credentials::new(chosen.user, password).expect("valid");
    let right = credentials(&chosen.password);
    let mut client = Client::connect(chosen.address, right, Options::default()).await.expect("in");
    client.power(PowerAction::On).await.expect("on");
    assert_eq!(chosen.machine.power_state().await, Ok(PowerState::On));
    assert_eq!(other.machine.power_state().await, Ok(PowerState::Off));
    let wrong = credentials(&other.password);
    assert!(Client::connect(chosen.address, wrong, Options::default()).await.is_err());
    fleet.stop().await;
}

#[tokio::test]
async fn ports_end_at_65535() {
    let options = FleetOptions { port: 65_530, ..OPTIONS };
    assert!(matches!(Fleet::start(options), Err(FleetError::Ports { count: 50, port: 65_530 })));
}
