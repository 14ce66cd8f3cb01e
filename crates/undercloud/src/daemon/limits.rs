//! How much is kept: `<state>/keep.toml`, which a person writes and which need not be there. What it
//! does not name has its default. It is read again at each pass, so nothing has to be restarted.

use std::{fs, io, ops::RangeInclusive, path::Path};

use undercloud_api::ApiError;
use undercloud_model::{ErrorKind, nearest};
use undercloud_store::Keep;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// In the database.
    pub(super) keep: Keep,
    /// All logs together, but for the daemon's own.
    pub(super) logs_mib: i64,
    /// The daemon's own log, its older part included.
    pub(super) daemon_log_mib: i64,
    /// All consoles of the lab's machines together, their older parts included.
    pub(super) consoles_mib: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keep: Keep::default(), logs_mib: 448, daemon_log_mib: 64, consoles_mib: 256 }
    }
}

type Place = fn(&mut Limits) -> &mut i64;

const ROWS: RangeInclusive<i64> = 1..=100_000_000;
const MIB: RangeInclusive<i64> = 2..=1 << 20;

/// Every key, where it goes, and what it may be.
const KEYS: &[(&str, Place, RangeInclusive<i64>)] = &[
    ("busy_events", |l| &mut l.keep.busy_events, ROWS),
    ("other_events", |l| &mut l.keep.other_events, ROWS),
    ("orders", |l| &mut l.keep.orders, ROWS),
    ("boot_windows", |l| &mut l.keep.boot_windows, ROWS),
    ("machine_keys", |l| &mut l.keep.machine_keys, ROWS),
    ("deployments", |l| &mut l.keep.deployments, ROWS),
    ("deployments_with_steps", |l| &mut l.keep.deployments_with_steps, ROWS),
    ("runs", |l| &mut l.keep.runs, ROWS),
    ("runs_with_steps", |l| &mut l.keep.runs_with_steps, ROWS),
    ("logs_mib", |l| &mut l.logs_mib, MIB),
    ("daemon_log_mib", |l| &mut l.daemon_log_mib, MIB),
    ("consoles_mib", |l| &mut l.consoles_mib, MIB),
];

impl Limits {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or says something that it cannot say.
    pub(super) fn read(path: &Path) -> Result<Self, ApiError> {
        let refused = |why: String| {
            let message = format!("nothing is removed, for {}: {why}", path.display());
            ApiError::new(ErrorKind::Invalid, message)
                .hint("mend the file, or take it away; it is read again in five minutes")
        };
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refused(error.to_string())),
            Ok(text) => Self::parse(&text).map_err(refused),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| error.message().trim().replace('\n', " "))?;
        let mut limits = Self::default();
        for (key, value) in &table {
            let Some((_, place, range)) = KEYS.iter().find(|(name, ..)| name == key) else {
                let meant = nearest(key, KEYS.iter().map(|(name, ..)| *name));
                let meant = meant.first().map(|name| format!(", is `{name}` meant?"));
                return Err(format!("there is no limit `{key}`{}", meant.unwrap_or_default()));
            };
            let number = value.as_integer().filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            *place(&mut limits) = number.ok_or_else(|| {
                format!("`{key}` is {value}, not a number from {least} to {most}")
            })?;
        }
        Ok(limits)
    }
}

/// Bytes of so many MiB.
pub(super) fn bytes(mib: i64) -> u64 {
    u64::try_from(mib).unwrap_or_default() << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_name_has_its_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.toml");
        assert_eq!(Limits::read(&path).unwrap(), Limits::default());
        fs::write(&path, "deployments = 7\nlogs_mib = 64 # few\n").unwrap();
        let Limits { keep, logs_mib, .. } = Limits::read(&path).unwrap();
        assert_eq!((keep.deployments, logs_mib), (7, 64));
        assert_eq!(keep.orders, Keep::default().orders);
    }

    #[test]
    fn a_file_that_is_wrong_is_said_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep.toml");
        for (text, words) in [
            ("deployment = 7", "no limit `deployment`, is `deployments` meant?"),
            ("orders = 0", "`orders` is 0, not a number from 1 to 100000000"),
            ("logs_mib = \"all\"", "`logs_mib` is \"all\", not a number"),
            ("logs_mib = ", "keep.toml: "),
            ("zzz = 1", "no limit `zzz`"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Limits::read(&path).unwrap_err();
            assert!(error.message.contains(words) && !error.message.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn the_guide_names_every_key_with_its_default() {
        let guide = include_str!("../../../../docs/guide.md");
        let lines = guide.lines().skip_while(|line| !line.starts_with("### What is kept"));
        let block = lines.skip_while(|line| !line.starts_with("```")).skip(1);
        let block: Vec<&str> = block.take_while(|line| !line.starts_with("```")).collect();
        assert_eq!(Limits::parse(&block.join("\n")).unwrap(), Limits::default());
        let keys: Vec<&str> =
            block.iter().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        assert_eq!(keys, KEYS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn every_key_has_a_place_of_its_own() {
        let text = |number: usize| format!("{} = {}\n", KEYS[number].0, number + 1000);
        let all: String = (0..KEYS.len()).map(text).collect();
        let mut limits = Limits::parse(&all).unwrap();
        for (number, (key, place, _)) in KEYS.iter().enumerate() {
            assert_eq!(*place(&mut limits), i64::try_from(number + 1000).unwrap(), "{key}");
        }
    }
}
