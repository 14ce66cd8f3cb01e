//! Commands in what people are told, as they have to be typed: with `--state DIR` where this one was.

use std::path::Path;

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Common},
    out, state,
};

const PROGRAM: &str = "undercloud";

/// The state that a next command has to be given: not the default one, nor that of the environment.
pub(crate) fn state_to_give(common: &Common) -> Option<&Path> {
    let by_itself = std::env::var_os("UNDERCLOUD_STATE");
    let by_itself = by_itself.as_deref().map_or(Path::new(state::DEFAULT_STATE), Path::new);
    (common.state != by_itself).then_some(&common.state)
}

/// `text`, where each command of ours has the state.
pub(crate) fn with_state(text: &str, state: Option<&Path>) -> String {
    let Some(state) = state else { return text.to_owned() };
    let cli = Cli::command();
    let is_command = |word: &str| cli.get_subcommands().any(|known| known.get_name() == word);
    let option = format!(" --state {}", out::shell_word(state));
    let mut given = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, after) = (&rest[..at], &rest[at + PROGRAM.len()..]);
        given.push_str(before);
        given.push_str(PROGRAM);
        // Not a part of a path, a name or another word.
        let begins = given[..given.len() - PROGRAM.len()]
            .chars()
            .next_back()
            .is_none_or(|c| c.is_whitespace() || "`('\"".contains(c));
        let word = after.strip_prefix(' ').unwrap_or_default();
        let word = word.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        if begins && is_command(word) {
            given.push_str(&option);
        }
        rest = after;
    }
    given.push_str(rest);
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_given_the_state_and_other_words_are_not() {
        let state = Some(Path::new("/srv/a b"));
        for (text, expected) in [
            ("undercloud status", "undercloud --state '/srv/a b' status"),
            (
                "undercloud node list, then `undercloud up`",
                "undercloud --state '/srv/a b' node list, then `undercloud --state '/srv/a b' up`",
            ),
            ("sudo undercloud serve", "sudo undercloud --state '/srv/a b' serve"),
            ("/var/lib/undercloud status", "/var/lib/undercloud status"),
            ("undercloud-agent status", "undercloud-agent status"),
            ("openstack --os-cloud undercloud …", "openstack --os-cloud undercloud …"),
            ("this undercloud runs; undercloud", "this undercloud runs; undercloud"),
        ] {
            assert_eq!(with_state(text, state), expected);
            assert_eq!(with_state(text, None), text);
        }
    }
}
