//! What an installed machine says of itself in every heartbeat: how its services run, how much room
//! and memory it has, what time it is there.
//!
//! It comes from a machine that may be anybody's by now, and is read where it arrives: whatever was
//! sent, what is kept is within the bounds of this file, and its texts can be printed.

use serde::{Deserialize, Deserializer, Serialize};

use super::cloud::ServiceName;
use crate::UnixMillis;

/// The most services of one machine.
pub const SERVICES_MAX: usize = 128;
/// The most file systems of one machine.
pub const DISKS_MAX: usize = 16;
/// The most of its last lines that a service is quoted with.
pub const SAID_LINES_MAX: usize = 12;
/// The longest of them, in characters.
pub const SAID_CHARS_MAX: usize = 300;
/// The longest path, in characters.
const PATH_CHARS_MAX: usize = 128;
/// Restarts are recent for so long.
pub const RECENT_S: u64 = 120;

/// A machine as its agent saw it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Raw")]
pub struct MachineHealth {
    /// The machine's clock when this was sent.
    pub clock_ms: UnixMillis,
    /// Its services, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceHealth>,
    /// The file systems that hold what the cloud writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Room>,
    /// Its memory, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// A service's unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// Which.
    pub name: ServiceName,
    /// What systemd says.
    pub state: UnitState,
    /// How often systemd started it again by itself during the last [`RECENT_S`] seconds.
    #[serde(default)]
    pub restarts: u32,
    /// For how long it is active, or inactive.
    #[serde(default)]
    pub active_s: u64,
    /// Its last lines, where it is not well. Secrets are taken out on the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "said")]
    pub said: Vec<String>,
}

/// `ActiveState` of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    /// It runs.
    Active,
    /// It is being started, or waits to be started again.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// It does not run, and nobody starts it.
    Inactive,
    /// It failed and is not started again.
    Failed,
    /// Another.
    #[serde(other)]
    Other,
}

/// Room on a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Where it is mounted.
    #[serde(deserialize_with = "path")]
    pub path: String,
    /// What a service can still write.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// A machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What a program could have without another one losing any (`MemAvailable`).
    pub available_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// As it was sent.
#[derive(Deserialize)]
struct Raw {
    clock_ms: UnixMillis,
    #[serde(default)]
    services: Vec<ServiceHealth>,
    #[serde(default)]
    disks: Vec<Room>,
    #[serde(default)]
    memory: Option<Memory>,
}

impl From<Raw> for MachineHealth {
    fn from(raw: Raw) -> Self {
        let Raw { clock_ms, mut services, mut disks, memory } = raw;
        services.truncate(SERVICES_MAX);
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services.dedup_by(|a, b| a.name == b.name);
        disks.truncate(DISKS_MAX);
        disks.sort_by(|a, b| a.path.cmp(&b.path));
        disks.dedup_by(|a, b| a.path == b.path);
        Self { clock_ms, services, disks, memory }
    }
}

/// Lines as they may be kept and shown: the last ones, bounded and printable.
pub fn bounded_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| printable(line.as_ref(), SAID_CHARS_MAX));
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    let surplus = lines.len().saturating_sub(SAID_LINES_MAX);
    lines.drain(..surplus);
    lines
}

/// How a program marks a line that says why it ends.
const MARKS: [&str; 6] = ["[ERROR] ", " ERROR ", " CRITICAL ", "[error] ", "FATAL: ", "Error: "];
/// Lines of that mark which say only that it ends.
const ENDS: [&str; 3] = ["Aborting", "Shutdown complete", "Aborted"];

/// Of a program's last lines the one that says why it ended, from the mark on: the first that has
/// one, since the others follow from it.
pub fn telling(said: &[String]) -> Option<&str> {
    let marked = |line: &'_ String| {
        MARKS.iter().filter_map(|mark| Some(line.find(mark)? + mark.len())).min()
    };
    let mut told = said.iter().filter_map(|line| Some(line[marked(line)?..].trim()));
    told.find(|why| !why.is_empty() && !ENDS.contains(why))
}

/// Without what would move a terminal's cursor or turn the direction of writing.
fn printable(text: &str, chars_max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let plain = |c: char| if c.is_control() || turns(c) { ' ' } else { c };
    let text: String = text.chars().take(chars_max).map(plain).collect();
    text.trim().to_owned()
}

pub(super) fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(bounded_lines(Vec::<String>::deserialize(deserializer)?))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(printable(&String::deserialize(deserializer)?, PATH_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn is_shown(text: &str, chars_max: usize) -> bool {
        text.chars().count() <= chars_max && !text.chars().any(|c| c.is_control())
    }

    prop_compose! {
        fn service()(
            name in "[a-z][a-z0-9]{0,4}",
            state in "active|failed|[a-z-]{0,12}",
            restarts: u32,
            active_s: u64,
            said in prop::collection::vec(any::<String>(), 0..40),
        ) -> Value {
            json!({ "name": name, "state": state, "restarts": restarts, "active_s": active_s,
                "said": said })
        }
    }

    #[test]
    fn the_line_that_tells_why_is_the_first_that_says_so() {
        let why = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            telling(&lines).map(str::to_owned)
        };
        let mariadb = [
            "2026-11-29 10:00:01 0 [Note] InnoDB: Using Linux native AIO",
            "2026-11-29 10:00:01 0 [ERROR] InnoDB: The data file './ibdata1' must be writable",
            "2026-11-29 10:00:01 0 [ERROR] Plugin 'InnoDB' registration as a STORAGE ENGINE failed.",
            "2026-11-29 10:00:01 0 [ERROR] Aborting",
        ];
        let expected = "InnoDB: The data file './ibdata1' must be writable";
        assert_eq!(why(&mariadb).as_deref(), Some(expected));
        let python =
            ["Traceback (most recent call last):", "  File \"x\"", "OSError: [Errno 28] full"];
        assert_eq!(why(&python).as_deref(), Some("[Errno 28] full"));
        assert_eq!(why(&["0 [ERROR] Aborting", "bye"]), None);
        assert_eq!(why(&[]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_is_sent_what_is_kept_is_bounded_and_stays_the_same(
            clock_ms: i64,
            services in prop::collection::vec(service(), 0..200),
            paths in prop::collection::vec(any::<String>(), 0..30),
            long in "\\PC{0,900}",
        ) {
            let disk = |path: &String| json!({ "path": path, "free_bytes": 1, "total_bytes": 0 });
            let mut disks: Vec<Value> = paths.iter().map(disk).collect();
            disks.push(disk(&long));
            let sent = json!({ "clock_ms": clock_ms, "services": services, "disks": disks });
            let kept: MachineHealth = serde_json::from_value(sent).unwrap();
            prop_assert!(kept.services.len() <= SERVICES_MAX && kept.disks.len() <= DISKS_MAX);
            prop_assert!(kept.services.windows(2).all(|two| two[0].name < two[1].name));
            for service in &kept.services {
                prop_assert!(service.said.len() <= SAID_LINES_MAX);
                prop_assert!(service.said.iter().all(|line| is_shown(line, SAID_CHARS_MAX)));
            }
            prop_assert!(kept.disks.iter().all(|disk| is_shown(&disk.path, PATH_CHARS_MAX)));
            let again: MachineHealth =
                serde_json::from_value(serde_json::to_value(&kept).unwrap()).unwrap();
            prop_assert_eq!(again, kept);
        }
    }

    #[test]
    fn a_name_that_could_be_a_path_is_refused() {
        let sent = json!({ "clock_ms": 0, "services": [{ "name": "../x", "state": "active" }] });
        assert!(serde_json::from_value::<MachineHealth>(sent).is_err());
    }

    #[test]
    fn the_last_lines_are_kept() {
        let lines = (0..40).map(|n| format!("line {n}\u{1b}[2J"));
        let kept = bounded_lines(lines);
        assert_eq!(kept.len(), SAID_LINES_MAX);
        assert_eq!(kept.last().unwrap(), "line 39 [2J");
    }
}
