//! `cargo xtask bench cloud`: from a host with its images to a verified cloud, and what a person does
//! with it next, beside the budget that each has on two cores without hardware virtualisation.
//!
//! Rounds alternate: a lab of 1 + 1 containers, one of 1 + 3, and with `--qemu` one of 1 + 1 virtual
//! machines. Of each figure the median is shown, with the least and the most. The program is driven
//! as a person would drive it, each round in a state of its own, which is taken away again; images
//! come from the host's cache (`UNDERCLOUD_CACHE`), with `--cold` from one that is built first.

mod host;
mod machines;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use self::host::Host;

/// What is measured, with the seconds (or MiB) that it may take; nothing: it is shown beside.
type Budgets = &'static [(&'static str, &'static str, Option<f64>)];

const ONE_BY_ONE: Budgets = &[
    ("lab create to verified", "s", Some(150.0)),
    ("  machines", "s", Some(20.0)),
    ("  cloud", "s", Some(80.0)),
    ("  verification", "s", Some(40.0)),
    ("machines' memory", "MiB", Some(2560.0)),
    ("daemon's memory", "MiB", Some(64.0)),
    ("up again", "s", Some(5.0)),
    ("snapshot", "s", None),
    ("restore", "s", None),
    ("restore to answering APIs", "s", Some(20.0)),
    ("machines killed to nothing left", "s", Some(2.0)),
];
const ONE_BY_THREE: Budgets = &[("lab create to verified", "s", Some(150.0))];
const QEMU: Budgets = &[
    ("lab create to verified", "s", None),
    ("  machines", "s", None),
    ("  cloud", "s", None),
    ("  verification", "s", None),
    ("machines' memory", "MiB", None),
    ("up again", "s", None),
];

/// A kind of round.
#[derive(Debug, Clone, Copy)]
struct Round {
    title: &'static str,
    kind: &'static str,
    computes: u32,
    budgets: Budgets,
    /// Snapshots, and death of the machines.
    lives_on: bool,
}

const CONTAINERS: Round = Round {
    title: "1 + 1 containers",
    kind: "container",
    computes: 1,
    budgets: ONE_BY_ONE,
    lives_on: true,
};
const MORE_CONTAINERS: Round = Round {
    title: "1 + 3 containers",
    kind: "container",
    computes: 3,
    budgets: ONE_BY_THREE,
    lives_on: false,
};
const VIRTUAL: Round = Round {
    title: "1 + 1 virtual machines",
    kind: "qemu",
    computes: 1,
    budgets: QEMU,
    lives_on: false,
};

/// What was found, by round and name.
type Found = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Runs it.
///
/// # Errors
/// The first step that failed; what was made is taken away again.
pub(crate) fn cloud(arguments: &[String]) -> Result<()> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("--rounds="));
    let rounds = rounds.map_or(Ok(3), str::parse::<u32>).context("--rounds= wants a number")?;
    let cold = if has("--cold") { Some(host::build_cold()?) } else { None };
    let mut kinds = vec![CONTAINERS, MORE_CONTAINERS];
    if has("--qemu") {
        kinds.push(VIRTUAL);
    }
    let mut found = Found::new();
    for number in 1..=rounds {
        for round in &kinds {
            say(format_args!("-- {number} of {rounds}: {}", round.title));
            measure(round, cold.as_ref().map(|cold| cold.cache()), &mut found)?;
        }
    }
    for (what, took) in cold.iter().flat_map(|cold| cold.took()) {
        say(format_args!("{what}: {:.0} s", took.as_secs_f64()));
    }
    for round in &kinds {
        print(round, &found);
    }
    Ok(())
}

fn measure(round: &Round, cache: Option<&std::path::Path>, found: &mut Found) -> Result<()> {
    let host = Host::new(cache)?;
    let measured = host.round(round, |name, value| {
        found.entry((round.title, name)).or_default().push(value);
    });
    if measured.is_err() {
        say(format_args!(
            "its logs: {}",
            crate::suite::keep_logs("bench-cloud", host.folder())?.display()
        ));
    }
    let removed = host.run(&["down"]).map(drop);
    measured?;
    removed
}

fn print(round: &Round, found: &Found) {
    say(format_args!("\n{}", round.title));
    for (name, unit, budget) in round.budgets {
        let Some(values) = found.get(&(round.title, *name)) else { continue };
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or_default();
        let range = match (values.first(), values.last()) {
            (Some(least), Some(most)) if values.len() > 1 => format!("  ({least:.1} to {most:.1})"),
            _ => String::new(),
        };
        let beside = budget
            .map_or(String::new(), |budget| format!(" of {budget:6.1}  ×{:.2}", median / budget));
        say(format_args!("{name:32}{median:8.1} {unit:3}{beside}{range}"));
    }
}

fn say(text: std::fmt::Arguments<'_>) {
    #[expect(clippy::print_stdout, reason = "the table is what the task is for")]
    {
        println!("{text}");
    }
}

/// How long a step of `up` took, from its JSON.
fn step(table: &Value, name: &str) -> Result<Duration> {
    let steps = table.as_array().context("`up` printed no table")?;
    let step = steps.iter().find(|step| step["step"] == name);
    let took = step.and_then(|step| step["took_ms"].as_u64());
    Ok(Duration::from_millis(took.with_context(|| format!("`up` has no step {name}"))?))
}
