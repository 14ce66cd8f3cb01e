//! `list --all --persistent --uuid --name; echo MARK; list --uuid`.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

/// The domains of a libvirt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains {
    /// The persistent ones, by name.
    pub(crate) named: BTreeMap<String, Uuid>,
    /// Those that run.
    pub(crate) running: HashSet<Uuid>,
}

/// Reads it; `None` when a line is none of these.
pub(crate) fn read(text: &str, mark: &str) -> Option<Domains> {
    let (all, running) = text.split_once(mark)?;
    let filled = |line: &&str| !line.trim().is_empty();
    let named = |line: &str| {
        // In columns: the name may be followed by blanks that are not its own.
        let (uuid, name) = line.trim_start().split_once(' ')?;
        Some((name.trim().to_owned(), uuid.parse().ok()?))
    };
    Some(Domains {
        named: all.lines().filter(filled).map(named).collect::<Option<_>>()?,
        running: running
            .lines()
            .filter(filled)
            .map(|line| line.trim().parse().ok())
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libvirt_9_prints_columns() {
        let text = "92dec48e-8b68-430a-bbbc-9f51ae184038 --it's a 'trap': Started Booted\n\
                    00000000-0000-0000-0000-000000000001 web                           \n\n\
                    MARK92dec48e-8b68-430a-bbbc-9f51ae184038\n";
        let found = read(text, "MARK").expect("a list");
        assert_eq!(
            found.named.keys().collect::<Vec<_>>(),
            ["--it's a 'trap': Started Booted", "web"]
        );
        assert_eq!(found.running.len(), 1);
        assert!(found.running.contains(&found.named["--it's a 'trap': Started Booted"]));
    }

    #[test]
    fn what_is_no_list_is_none() {
        assert_eq!(read("MARK", "MARK"), Some(Domains::default()));
        assert_eq!(read("", "MARK"), None);
        assert_eq!(read("error\nMARK", "MARK"), None);
    }
}
