//! Words of a unit file (systemd.syntax(7), section "Quoting"; systemd.unit(5), "Specifiers";
//! systemd.service(5), "Command lines").
//!
//! A word of a `.container` file is read twice: Quadlet splits and unquotes it and quotes it again
//! for the `ExecStart=` that it makes, and there systemd replaces `%x` and `$X`. Quadlet knows
//! neither of the two, so they are doubled once.

use undercloud_model::agent::StepFailure;

use crate::cloud::refused;

/// `text` as one word. Quadlet ends a line at an empty word, and systemd takes a lone `;` for the
/// end of the command: neither can be written.
pub(super) fn word(what: &str, text: &str) -> Result<String, StepFailure> {
    if matches!(text, "" | ";") || text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(refused(format_args!("{what} cannot be written in a unit")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=,:@%$".contains(c);
    let quoted = !text.chars().all(plain);
    let mut word = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '%' => word.push_str("%%"),
            '$' => word.push_str("$$"),
            '"' => word.push_str("\\\""),
            '\\' => word.push_str("\\\\"),
            '\t' => word.push_str("\\t"),
            other => word.push(other),
        }
    }
    Ok(if quoted { format!("\"{word}\"") } else { word })
}

/// `text` as the rest of a line that is not split into words.
pub(super) fn line(what: &str, text: &str) -> Result<String, StepFailure> {
    if text.chars().any(char::is_control) || text.ends_with('\\') {
        return Err(refused(format_args!("{what} cannot be written in a unit")));
    }
    Ok(text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Quadlet and systemd make of one line of words, after systemd.syntax(7).
    fn read(line: &str) -> Vec<String> {
        let (mut words, mut word, mut inside, mut any) = (Vec::new(), String::new(), false, false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    inside = !inside;
                    any = true;
                }
                ' ' if !inside => {
                    if std::mem::take(&mut any) {
                        words.push(std::mem::take(&mut word));
                    }
                }
                '\\' => word.push(match chars.next().unwrap() {
                    't' => '\t',
                    c @ ('\\' | '"') => c,
                    other => panic!("{other}"),
                }),
                '%' | '$' => {
                    assert_eq!(chars.next(), Some(c), "a specifier in {line}");
                    word.push(c);
                    any = true;
                }
                '\'' if !inside => panic!("an open quote in {line}"),
                other => {
                    word.push(other);
                    any = true;
                }
            }
        }
        assert!(!inside);
        words.extend(any.then_some(word));
        words
    }

    proptest! {
        #[test]
        fn words_come_back(texts in prop::collection::vec("[ -~é\\t]{1,12}", 1..5)) {
            prop_assume!(texts.iter().all(|t| t != ";"));
            let words: Vec<_> = texts.iter().map(|t| word("a word", t).unwrap()).collect();
            prop_assert_eq!(read(&words.join(" ")), texts);
        }

        #[test]
        fn no_word_is_two_lines(text: String) {
            if let Ok(word) = word("a word", &text) {
                prop_assert!(word.lines().count() == 1 && !word.ends_with('\\'));
            }
        }
    }

    #[test]
    fn words_that_need_no_quotes_have_none() {
        assert_eq!(word("w", "--config-file=/etc/a").unwrap(), "--config-file=/etc/a");
        assert_eq!(word("w", "100%").unwrap(), "100%%");
        assert_eq!(word("w", "$HOME a").unwrap(), "\"$$HOME a\"");
        assert!(word("w", "a\nb").is_err() && word("w", "").is_err() && word("w", ";").is_err());
    }
}
