//! A line of `virsh event --all --timestamp`.
//!
//! ```text
//! 2026-11-25 09:44:09.844+0000: event 'lifecycle' for domain 'NAME': Started Booted
//! 2026-11-25 09:44:10.867+0000: event 'reboot' for domain 'NAME'
//! ```
//! A name may have quotes and colons in it, but no line break: what comes before it and after it is
//! cut off at both ends. Lines of events that have more than one begin with white space.

/// What a line says, if it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A domain runs; `booted` unless its memory came from somewhere else.
    Started { name: &'a str, booted: bool },
    /// It runs no longer.
    Stopped { name: &'a str },
    /// It was reset, from inside or from outside.
    Rebooted { name: &'a str },
    /// There is a domain, there is none any more, or it has another definition; only in the last
    /// case are there the same names as before.
    Redefined { name: &'a str, new_name: bool },
}

impl<'a> Event<'a> {
    /// What `line` says; `None` for all that is no matter of ours.
    pub(crate) fn read(line: &'a str) -> Option<Self> {
        // A time has no quote; a line that is the rest of another event begins with none.
        let (time, rest) = line.split_once(": event '")?;
        let digits = |c: char| c.is_ascii_digit() || " -:.+".contains(c);
        if time.is_empty() || time.starts_with(' ') || !time.chars().all(digits) {
            return None;
        }
        let (kind, rest) = rest.split_once("' for domain '")?;
        match kind {
            "reboot" => Some(Self::Rebooted { name: rest.strip_suffix('\'')? }),
            "lifecycle" => Self::lifecycle(rest),
            _ => None,
        }
    }

    fn lifecycle(rest: &'a str) -> Option<Self> {
        let (name, what) = rest.rsplit_once("': ")?;
        let (kind, detail) = what.split_once(' ').unwrap_or((what, ""));
        match kind {
            "Started" => Some(Self::Started { name, booted: detail == "Booted" }),
            "Stopped" => Some(Self::Stopped { name }),
            "Defined" => Some(Self::Redefined { name, new_name: detail != "Updated" }),
            "Undefined" => Some(Self::Redefined { name, new_name: true }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rest: &str) -> String {
        format!("2026-11-25 09:44:09.844+0000: event {rest}")
    }

    #[test]
    fn lines_of_libvirt_9() {
        let started = at("'lifecycle' for domain 'web': Started Booted");
        assert_eq!(Event::read(&started), Some(Event::Started { name: "web", booted: true }));
        let restored = at("'lifecycle' for domain 'web': Started Restored");
        assert_eq!(Event::read(&restored), Some(Event::Started { name: "web", booted: false }));
        let stopped = at("'lifecycle' for domain 'web': Stopped Destroyed");
        assert_eq!(Event::read(&stopped), Some(Event::Stopped { name: "web" }));
        let crashed = at("'lifecycle' for domain 'web': Stopped Crashed");
        assert_eq!(Event::read(&crashed), Some(Event::Stopped { name: "web" }));
        for (what, new_name) in [("Defined Added", true), ("Defined Updated", false)] {
            let defined = at(&format!("'lifecycle' for domain 'web': {what}"));
            let expected = Event::Redefined { name: "web", new_name };
            assert_eq!(Event::read(&defined), Some(expected));
        }
        let reset = at("'reboot' for domain 'web'");
        assert_eq!(Event::read(&reset), Some(Event::Rebooted { name: "web" }));
        for nothing in [
            at("'lifecycle' for domain 'web': Resumed Unpaused"),
            at("'lifecycle' for domain 'web': Shutdown Finished after host request"),
            at("'rtc-change' for domain 'web': 0"),
            "\tparam: 2026-11-25: event 'reboot' for domain 'web'".to_owned(),
            "event 'reboot' for domain 'web'".to_owned(),
            String::new(),
        ] {
            assert_eq!(Event::read(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_name_that_looks_like_an_event_is_a_name() {
        let name = "--it's a 'trap': Started Booted";
        let stopped = at(&format!("'lifecycle' for domain '{name}': Stopped Destroyed"));
        assert_eq!(Event::read(&stopped), Some(Event::Stopped { name }));
        let name = "a' for domain 'b': Stopped Destroyed";
        let started = at(&format!("'lifecycle' for domain '{name}': Started Booted"));
        assert_eq!(Event::read(&started), Some(Event::Started { name, booted: true }));
        let reset = at(&format!("'reboot' for domain '{name}'"));
        assert_eq!(Event::read(&reset), Some(Event::Rebooted { name }));
    }

    proptest::proptest! {
        #[test]
        fn every_name_comes_through(name in "[^\n]{1,60}") {
            let started = at(&format!("'lifecycle' for domain '{name}': Started Booted"));
            let name = name.as_str();
            proptest::prop_assert_eq!(Event::read(&started), Some(Event::Started { name, booted: true }));
            let reset = at(&format!("'reboot' for domain '{name}'"));
            proptest::prop_assert_eq!(Event::read(&reset), Some(Event::Rebooted { name }));
        }
    }
}
