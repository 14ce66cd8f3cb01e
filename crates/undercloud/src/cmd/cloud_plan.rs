//! How `undercloud cloud plan` shows a plan: what a person must know before it is carried out.

use std::collections::BTreeMap;

use undercloud_api::admin::{SiteFile, SiteView};
use undercloud_cloud::{Plan, plan::PlannedMachine};
use undercloud_model::{
    agent::cloud::{CloudStep, ImagePull},
    consent::DiskPlan,
};

use super::node_disks;
use crate::out;

/// The plan as lines.
pub(super) fn show(plan: &Plan) -> String {
    let cloud = &plan.cloud;
    let mut lines = vec![format!("cloud    {}, {}", cloud.name, cloud.auth_url)];
    lines.extend(cloud.dashboard.iter().map(|url| format!("browser  {url}")));
    for machine in &plan.machines {
        lines.extend(show_machine(machine));
    }
    lines.push("images".to_owned());
    for image in images(plan).values() {
        lines.push(format!(
            "         {:18} {}  {}",
            image.name,
            image.digest.short(),
            out::bytes(image.bytes)
        ));
    }
    lines.push(format!("steps    {} on {} machines", plan.steps.len(), plan.machines.len()));
    lines.push(format!("expected {} minutes", plan.expected_minutes));
    lines.join("\n")
}

/// What a site's own files change.
pub(super) fn show_site(site: &SiteView) -> Vec<String> {
    let mut lines = vec![format!("site     {}", site.directory)];
    let file = |file: &SiteFile| format!("         {} {}", file.effect, file.path);
    lines.extend(site.files.iter().map(file));
    let steps = [("adds", &site.added), ("changes", &site.changed), ("removes", &site.removed)];
    for (what, steps) in steps.into_iter().filter(|(_, steps)| !steps.is_empty()) {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        lines.push(format!("         {what} {} steps:", steps.len()));
        lines.extend(wrapped(&steps).into_iter().map(|line| format!("           {line}")));
    }
    lines
}

fn show_machine(machine: &PlannedMachine) -> Vec<String> {
    let public = machine.addresses.public.map(|a| format!(", {a}")).unwrap_or_default();
    let internal = machine.addresses.internal;
    let others = machine.addresses.others.iter();
    let others: String = others.map(|(name, address)| format!(", {name} {address}")).collect();
    let mut lines =
        vec![format!("machine  {} as {}: {internal}{public}{others}", machine.name, machine.role)];
    if machine.disks.is_empty() {
        lines.push(match machine.install {
            true => "         will be installed, on a disk that inspection will choose".to_owned(),
            false => "         is installed: no disk is erased".to_owned(),
        });
    }
    lines.extend(machine.disks.iter().map(show_disk));
    let services: Vec<&str> = machine.services.iter().map(|s| s.as_str()).collect();
    lines.extend(wrapped(&services).into_iter().map(|line| format!("         {line}")));
    lines
}

/// Every disk: what it is, what happens to it, what is on it.
fn show_disk(plan: &DiskPlan) -> String {
    let disk = &plan.disk;
    let known = disk.serial.as_deref().or(disk.wwn.as_deref());
    let (name, serial) = (&disk.name, known.unwrap_or("without a serial number"));
    let (size, content) = (out::bytes(disk.size_bytes), node_disks::content(plan));
    format!("         disk {name} ({serial}, {size}): {}; holds: {content}", plan.fate)
}

/// Words in lines of at most 80 letters.
fn wrapped(words: &[&str]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last + word.len() > 80 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let blank = if line.is_empty() { "" } else { " " };
            line.push_str(blank);
            line.push_str(word);
        }
    }
    lines
}

fn images(plan: &Plan) -> BTreeMap<&str, &ImagePull> {
    let pulls = plan.steps.iter().filter_map(|step| match &step.step {
        CloudStep::PullImage(image) => Some((image.name.as_str(), image)),
        CloudStep::UpdateAgent { .. }
        | CloudStep::Network(_)
        | CloudStep::MountImages(_)
        | CloudStep::ApplyService(_)
        | CloudStep::AwaitHealth(_)
        | CloudStep::RunOnce(_)
        | CloudStep::EnsureIdentity(_)
        | CloudStep::RetireServices { .. } => None,
    });
    pulls.collect()
}

#[cfg(test)]
mod tests {
    use undercloud_model::{Content, Finding, Signature, consent::Fate, inventory::Disk};

    use super::*;

    #[test]
    fn every_disk_is_shown_with_its_serial_its_content_and_its_fate() {
        let disk = |name: &str, serial: Option<&str>, what: &[Signature]| {
            let part = |what: &Signature| Finding {
                partition: None,
                at: 0,
                what: *what,
                label: None,
                id: None,
            };
            Disk {
                name: name.into(),
                serial: serial.map(str::to_owned),
                size_bytes: 20 << 30,
                content: Content::Found { parts: what.iter().map(part).collect() },
                ..Disk::default()
            }
        };
        let shown = |disk, fate| show_disk(&DiskPlan { disk, fate });
        assert_eq!(
            shown(disk("sda", Some("S1"), &[Signature::Gpt]), Fate::Erased),
            "         disk sda (S1, 20.0 GiB): ERASED; holds: GPT"
        );
        assert_eq!(
            shown(disk("sdb", None, &[Signature::Lvm]), Fate::NotChosen),
            "         disk sdb (without a serial number, 20.0 GiB): left alone; holds: LVM"
        );
        assert_eq!(
            shown(disk("sdc", Some("S3"), &[]), Fate::Installed),
            "         disk sdc (S3, 20.0 GiB): kept: the system is installed on it; holds: the \
             installed system"
        );
    }

    #[test]
    fn long_lists_are_wrapped_between_words() {
        let words = ["neutron-api"; 10];
        let lines = wrapped(&words);
        assert!(lines.len() > 1 && lines.iter().all(|l| l.len() <= 81));
        assert_eq!(lines.join(" "), words.join(" "));
    }
}
