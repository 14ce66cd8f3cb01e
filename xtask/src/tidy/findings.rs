//! Tests that `docs/reference/findings.md` names are there: one that is renamed is renamed there too.

use std::collections::BTreeSet;

/// The document.
pub(super) const FINDINGS: &str = "docs/reference/findings.md";

/// What the document names and no source has; `sources` are the texts of all.
pub(super) fn faults(findings: &str, sources: &[String]) -> Vec<String> {
    let known: BTreeSet<&str> = sources.iter().flat_map(|text| functions(text)).collect();
    let missing = tests(findings).into_iter().filter(|name| !known.contains(name));
    missing.map(|name| format!("{FINDINGS}: there is no test {name}")).collect()
}

/// Words in backquotes that are a sentence: no path, no command, no key.
fn tests(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_sentence = |word: &&str| {
        word.matches('_').count() >= 3
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_sentence).collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    let begins = text.match_indices("fn ").map(|(at, found)| &text[at + found.len()..]);
    begins.filter_map(|rest| rest.split(['(', '<']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_was_renamed_is_missed() {
        let findings =
            "| x | fixed | `a_boot_is_done_again`, `a_wipe_that_takes_long` in `src/a_b_c_d.rs` |";
        let sources = ["async fn a_boot_is_done_again() {}\nfn a_wipe_takes_long() {}".to_owned()];
        let expected = "docs/reference/findings.md: there is no test a_wipe_that_takes_long";
        assert_eq!(faults(findings, &sources), [expected]);
        assert_eq!(faults("", &sources), Vec::<String>::new());
    }
}
