//! How `undercloud cloud plan` shows a plan: what a person must know before it is carried out.

use std::collections::BTreeMap;

use undercloud_cloud::{Plan, plan::PlannedMachine};
use undercloud_model::agent::cloud::{CloudStep, ImagePull};

use crate::out;

/// The plan as lines.
pub(super) fn show(plan: &Plan) -> String {
    let cloud = &plan.cloud;
    let mut lines = vec![format!("cloud    {}, {}", cloud.name, cloud.auth_url)];
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

fn show_machine(machine: &PlannedMachine) -> Vec<String> {
    let public = machine.addresses.public.map(|a| format!(", {a}")).unwrap_or_default();
    let internal = machine.addresses.internal;
    let mut lines =
        vec![format!("machine  {} as {}: {internal}{public}", machine.name, machine.role)];
    let disk = machine.disk.as_ref().map(|disk| {
        let serial = disk.serial.as_deref().unwrap_or("without a serial number");
        format!("{} ({serial}, {})", disk.name, out::bytes(disk.size_bytes))
    });
    let disk = disk.as_deref().unwrap_or("a disk that inspection will choose");
    lines.push(match machine.install {
        true => format!("         will be installed: {disk} is ERASED"),
        false => "         is installed: no disk is erased".to_owned(),
    });
    let services: Vec<&str> = machine.services.iter().map(|s| s.as_str()).collect();
    lines.extend(wrapped(&services).into_iter().map(|line| format!("         {line}")));
    lines
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
        CloudStep::Network(_)
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
    use super::*;

    #[test]
    fn long_lists_are_wrapped_between_words() {
        let words = ["neutron-api"; 10];
        let lines = wrapped(&words);
        assert!(lines.len() > 1 && lines.iter().all(|l| l.len() <= 81));
        assert_eq!(lines.join(" "), words.join(" "));
    }
}
