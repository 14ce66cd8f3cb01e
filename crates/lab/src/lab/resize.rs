//! Machines that come to a lab, and that go from it, while the others run.
//!
//! ```text
//! come:  lab.json has them ─► links, files ─► minded
//! go:    lab.json has them as leaving ─► switched off ─► links, files gone ─► lab.json has them no more
//! ```
//! After an end on any of these arrows, opening the lab does the rest.

use std::collections::BTreeSet;

use undercloud_model::{NodeName, PowerAction};

use super::{Definition, Lab, further_disks, nic, read, write};
use crate::{
    LabError, LabNames, Machine, MachineDefinition, MemoryNeed,
    config::{MACHINES_MAX, numbered},
};

impl Lab {
    /// Lets a group of machines that are alike (`NAME-0`, `NAME-1` and on) have `count` of them, or one
    /// more than now: this lab with them, switched off.
    ///
    /// # Errors
    /// There is no such group, it is larger already, the lab or the host is full, or something cannot
    /// be made.
    pub async fn grow(&self, group: &str, count: Option<usize>) -> Result<Self, LabError> {
        let mut definition = self.definition()?;
        // Those that an earlier try got no further with than their names are among the wanted ones.
        let minded = self.machines.keys().filter(|name| is_of(name, group)).count();
        let new = new_machines(&self.host.names, &definition, group, count.unwrap_or(minded + 1))?;
        if !new.is_empty() {
            let sizes = new.iter().map(|machine| (machine.kind, machine.memory_mib));
            MemoryNeed::of(sizes, self.host.acceleration)?.check("the new machines")?;
            for machine in &new {
                if !definition.shrunk.remove(&machine.name) {
                    definition.grown.insert(machine.name.clone());
                }
            }
            definition.machines.extend(new);
            write(&self.directory, &definition)?;
        }
        let mut lab = self.clone();
        let all: Vec<_> = definition.machines.iter().collect();
        lab.host_access = lab.network.ensure(&all).await?;
        lab.add(definition.machines)?;
        Ok(lab)
    }

    /// This lab without some machines, and these, which are still there: give each to
    /// [`Self::take_away`] when nobody else uses it any more. From now on opening the lab does that,
    /// too. A name that no machine has is passed over.
    ///
    /// # Errors
    /// No machine would be left, or that cannot be written down.
    pub fn without(&self, names: &BTreeSet<NodeName>) -> Result<(Self, Vec<Machine>), LabError> {
        let mut definition = self.definition()?;
        let (leaving, staying): (Vec<_>, Vec<_>) =
            definition.machines.into_iter().partition(|machine| names.contains(&machine.name));
        if staying.is_empty() {
            return Err(LabError::Size { max: MACHINES_MAX, wanted: 0 });
        }
        definition.machines = staying;
        for machine in leaving {
            if !definition.grown.remove(&machine.name) {
                definition.shrunk.insert(machine.name.clone());
            }
            definition.leaving.push(machine);
        }
        write(&self.directory, &definition)?;
        let mut lab = self.clone();
        let gone = names.iter().filter_map(|name| lab.machines.remove(name)).collect();
        Ok((lab, gone))
    }

    /// Switches a machine off that is no longer the lab's, and removes what it had on this host.
    ///
    /// # Errors
    /// When it does not end, or something cannot be removed.
    pub async fn take_away(&self, machine: &Machine) -> Result<(), LabError> {
        machine.power(PowerAction::Off).await?;
        self.network.remove_taps(machine.definition()).await?;
        self.files(machine.name()).remove()?;
        let mut definition = self.definition()?;
        definition.leaving.retain(|leaving| leaving.name != *machine.name());
        write(&self.directory, &definition)
    }

    /// Takes those away that were to leave when this program ended.
    ///
    /// # Errors
    /// When one does not end, or something cannot be removed.
    pub async fn finish_leaving(&self) -> Result<(), LabError> {
        for machine in self.definition()?.leaving {
            let files = self.files(&machine.name);
            // Half of its files may be gone; what minds it wants its directory.
            files.create(&machine, &self.host.files)?;
            self.take_away(&Machine::attach(machine, files, self.host.clone())?).await?;
        }
        Ok(())
    }

    fn definition(&self) -> Result<Definition, LabError> {
        let path = self.directory.join("lab.json");
        let gone = || LabError::file("read", path)(std::io::ErrorKind::NotFound.into());
        read(&self.directory)?.ok_or_else(gone)
    }
}

/// The group that a machine is of: its name without the number.
fn group_of(name: &NodeName) -> Option<&str> {
    let (group, number) = name.as_str().rsplit_once('-')?;
    let index: usize = number.parse().ok()?;
    // `m-01` is a name, and no number of ours.
    (numbered(group, index).as_ref() == Some(name)).then_some(group)
}

fn is_of(name: &NodeName, group: &str) -> bool {
    group_of(name) == Some(group)
}

/// The machines that a group lacks of `count`, each like its first one.
fn new_machines(
    names: &LabNames,
    definition: &Definition,
    group: &str,
    count: usize,
) -> Result<Vec<MachineDefinition>, LabError> {
    let all = definition.machines.iter().chain(&definition.leaving);
    let has: Vec<&MachineDefinition> =
        definition.machines.iter().filter(|machine| is_of(&machine.name, group)).collect();
    let Some(model) = has.iter().min_by_key(|machine| (machine.name.as_str().len(), &machine.name))
    else {
        let groups = definition.machines.iter().filter_map(|machine| group_of(&machine.name));
        let groups: BTreeSet<&str> = groups.collect();
        let groups = groups.into_iter().map(str::to_owned).collect();
        return Err(LabError::NoSuchGroup { group: group.to_owned(), groups });
    };
    if count < has.len() {
        return Err(LabError::Larger { group: group.to_owned(), has: has.len() });
    }
    let wanted = (definition.machines.len() - has.len()).saturating_add(count);
    if wanted > MACHINES_MAX {
        return Err(LabError::Size { max: MACHINES_MAX, wanted });
    }
    let mut macs = all.clone().flat_map(|machine| &machine.nics).map(|nic| nic.mac).collect();
    // One that is leaving has its number until it is gone.
    let used: BTreeSet<&NodeName> = all.map(|machine| &machine.name).collect();
    let free = (0..).map_while(|index| numbered(group, index)).filter(|name| !used.contains(name));
    let disks: Vec<u32> = model.disks().map(|disk| disk.gib).collect();
    let machine = |name: NodeName| MachineDefinition {
        disk_serial: names.disk_serial(&name),
        more_disks: further_disks(names, &name, &disks),
        uid: names.uid(&name),
        system_guid: names.system_guid(&name),
        nics: model.nics.iter().map(|of| nic(names, &name, &of.network, &mut macs)).collect(),
        name,
        ..(*model).clone()
    };
    Ok(free.take(count - has.len()).map(machine).collect())
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::{LabConfig, lab::difference};

    fn names() -> LabNames {
        LabNames::from_real_path(Utf8Path::new("/state"))
    }

    fn of(count: &str) -> Definition {
        let text = format!(
            "[[network]]\nname = 'p'\ncidr = '192.168.24.0/24'\n\
             [[network]]\nname = 'q'\ncidr = '192.168.25.0/24'\n\
             [[machine]]\nname = 'solo'\nprofile = 'x'\nfirmware = 'bios'\nmemory_mib = 128\n\
             cpus = 1\ndisk_gib = 1\nnetworks = ['p']\n\
             [[machine]]\nname = 'm'\ncount = {count}\nprofile = 'x'\nfirmware = 'uefi'\n\
             memory_mib = 128\ncpus = 1\ndisks_gib = [2, 1]\nnetworks = ['p', 'q']\n"
        );
        let config: LabConfig = text.parse().unwrap();
        Definition::of(&names(), &config)
    }

    fn grown(mut definition: Definition, count: usize) -> Definition {
        let new = new_machines(&names(), &definition, "m", count).unwrap();
        definition.grown.extend(new.iter().map(|machine| machine.name.clone()));
        definition.machines.extend(new);
        definition
    }

    #[test]
    fn a_lab_that_grew_is_what_it_would_have_been_made_as() {
        let (small, large) = (of("2"), of("5"));
        assert_eq!(small.machines[..], large.machines[..3], "more of them change none of them");
        assert_eq!(grown(small, 5).machines, large.machines);
        assert_eq!(grown(large.clone(), 5), large, "nothing is lacking");
        let all = &large.machines;
        let distinct = |values: Vec<String>| {
            let count = values.len();
            assert_eq!(values.into_iter().collect::<BTreeSet<_>>().len(), count);
        };
        distinct(all.iter().flat_map(|m| &m.nics).map(|nic| nic.mac.to_string()).collect());
        distinct(all.iter().flat_map(|m| m.disks()).map(|disk| disk.serial).collect());
        distinct(all.iter().map(|machine| machine.system_guid.to_string()).collect());
        distinct(all.iter().map(|machine| machine.uid.to_string()).collect());
    }

    #[test]
    fn the_lowest_numbers_come_first_and_one_that_leaves_keeps_its_own() {
        let mut definition = of("4");
        let gone = definition.machines.remove(2);
        assert_eq!(gone.name.as_str(), "m-1");
        definition.leaving.push(definition.machines.remove(2));
        let new = new_machines(&names(), &definition, "m", 4).unwrap();
        let new: Vec<&str> = new.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(new, ["m-1", "m-4"]);
    }

    #[test]
    fn a_lab_whose_machines_came_and_went_is_still_the_one_of_its_file() {
        let file = of("2");
        let mut lab = grown(of("2"), 3);
        assert_eq!(difference(&lab, &file), None);
        assert_eq!(difference(&lab, &of("3")), None, "the file may follow");
        assert!(difference(&lab, &of("4")).unwrap().contains("m-3 is new"));
        lab.machines.retain(|machine| machine.name.as_str() != "m-0");
        assert!(difference(&lab, &file).unwrap().contains("m-0 is new"));
        lab.shrunk.insert("m-0".parse().unwrap());
        assert_eq!(difference(&lab, &file), None);
    }

    #[test]
    fn what_cannot_grow_is_refused() {
        let definition = of("3");
        for (group, count, words) in [
            ("compute", 1, "no machines compute-0, compute-1 and on; it has m"),
            ("solo", 2, "no machines solo-0"),
            ("m-1", 2, "no machines m-1-0"),
            ("m", 2, "there are 3 machines m already"),
            ("m", 40, "1 to 40 machines, and would have 41"),
        ] {
            let error = new_machines(&names(), &definition, group, count).unwrap_err().to_string();
            assert!(error.contains(words), "{group} {count}: {error}");
        }
    }
}
