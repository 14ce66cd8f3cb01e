//! What the lab's machines are made of, where nobody says it: what this host is best at
//! (`docs/adr/0017-*`).

use std::collections::BTreeMap;

use camino::Utf8Path;
use undercloud_api::{
    ApiError,
    admin::{LabKind, Reporter},
};
use undercloud_lab::{
    Acceleration, Lab, LabConfig, MachineKind, can_carry_containers, load_modules_for_containers,
};
use undercloud_model::{ErrorKind, NodeName};

use super::site::refused;

/// As lists show it.
pub(super) fn shown(kind: MachineKind) -> LabKind {
    match kind {
        MachineKind::Qemu => LabKind::Qemu,
        MachineKind::Container => LabKind::Container,
    }
}

/// Decides for the machines that do not say it: as asked, as they were made, or as the host is.
pub(super) fn decide(
    config: LabConfig,
    asked: LabKind,
    root: &Utf8Path,
    acceleration: Acceleration,
    reporter: &Reporter,
) -> Result<LabConfig, ApiError> {
    let made = Lab::kinds(root).map_err(refused)?;
    let carries = can_carry_containers();
    let config =
        config.with_kinds(|name| choose(name, asked, &made, acceleration, carries.is_ok()));
    let containers: Vec<&str> = config
        .machines
        .iter()
        .filter(|machine| machine.kind == Some(MachineKind::Container))
        .map(|machine| machine.name.as_str())
        .collect();
    if containers.is_empty() {
        return Ok(config);
    }
    if let Err(reason) = carries {
        let message = format!("this host cannot carry machines that are containers: {reason}");
        return Err(ApiError::new(ErrorKind::Unavailable, message).hint("--machines qemu"));
    }
    let loaded = load_modules_for_containers();
    if !loaded.is_empty() {
        let loaded = loaded.join(", ");
        reporter.line(format_args!(
            "loaded into this host's kernel, for the machines on it, until it restarts: {loaded}"
        ));
    }
    if made.is_empty() {
        reporter.line(format_args!(
            "{} on this host's kernel and clock: quick, and no security boundary; \
             --machines qemu makes virtual machines",
            are_containers(&containers)
        ));
    }
    Ok(config)
}

fn are_containers(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is a container"),
        many => format!("{} are containers", many.join(", ")),
    }
}

fn choose(
    name: &NodeName,
    asked: LabKind,
    made: &BTreeMap<NodeName, MachineKind>,
    acceleration: Acceleration,
    carries: bool,
) -> MachineKind {
    match (asked, made.get(name), acceleration) {
        (LabKind::Qemu, ..) => MachineKind::Qemu,
        (LabKind::Container, ..) => MachineKind::Container,
        (LabKind::Auto, Some(made), _) => *made,
        (LabKind::Auto, None, Acceleration::Tcg) if carries => MachineKind::Container,
        (LabKind::Auto, None, Acceleration::Tcg | Acceleration::Kvm) => MachineKind::Qemu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_comes_before_what_is_there_and_that_before_the_hosts_best() {
        let name: NodeName = "compute-0".parse().unwrap();
        let none = BTreeMap::new();
        let made = |kind| BTreeMap::from([(name.clone(), kind)]);
        use Acceleration::{Kvm, Tcg};
        use MachineKind::{Container, Qemu};
        for (asked, made, acceleration, carries, chosen) in [
            (LabKind::Auto, none.clone(), Kvm, true, Qemu),
            (LabKind::Auto, none.clone(), Tcg, true, Container),
            (LabKind::Auto, none.clone(), Tcg, false, Qemu),
            (LabKind::Auto, made(Qemu), Tcg, true, Qemu),
            (LabKind::Auto, made(Container), Kvm, true, Container),
            (LabKind::Qemu, none.clone(), Tcg, true, Qemu),
            (LabKind::Container, none, Kvm, true, Container),
            (LabKind::Qemu, made(Container), Tcg, true, Qemu),
        ] {
            assert_eq!(choose(&name, asked, &made, acceleration, carries), chosen);
        }
    }

    #[test]
    fn one_machine_and_many_are_said_rightly() {
        assert_eq!(are_containers(&["a"]), "a is a container");
        assert_eq!(are_containers(&["a", "b"]), "a, b are containers");
    }
}
