//! Writes iPXE scripts. iPXE has no quoting: it splits at white space and expands `${…}`, so a word
//! that would mean something else is refused, not escaped.

use std::fmt::{self, Write as _};

/// What the script fetches and how it starts it. It has no room for the boot secret.
#[derive(Debug)]
pub(super) struct Script<'a> {
    pub(super) kernel: String,
    pub(super) initrd: String,
    /// This script, to ask for it again.
    pub(super) again: String,
    pub(super) cmdline: &'a [String],
}

/// A word that a script cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a boot script cannot carry the word {0:?}")]
pub(super) struct WordError(String);

/// Sends the machine back to its firmware, which tries its next boot device. The status matters:
/// UEFI takes 0 for "booted well" and stops at its menu.
pub(super) const START_FROM_DISK: &str = "#!ipxe\n\
    echo undercloud: nothing to boot from the network, starting from the disk\n\
    exit 1\n";

impl Script<'_> {
    /// The text.
    ///
    /// # Errors
    /// A URL or an argument holds what iPXE would read otherwise.
    pub(super) fn text(&self) -> Result<String, WordError> {
        let mut out = String::from(
            "#!ipxe\n\
             echo undercloud: starting from the network\n\
             isset ${undercloud-tries} || set undercloud-tries:int32 0\n\
             imgfree\n",
        );
        // UEFI kernels find the initrd by its name on their command line; BIOS ones ignore it.
        let _ = write!(out, "kernel {} initrd=initrd", word(&self.kernel)?);
        for argument in self.cmdline {
            let _ = write!(out, " {}", word(argument)?);
        }
        let _ = writeln!(out, " || goto later");
        let _ = writeln!(out, "initrd --name initrd {} || goto later", word(&self.initrd)?);
        // A fetch that fails is tried again for two minutes, with a new script: the daemon may have
        // been restarted in between, or have begun another boot.
        out.push_str(
            "boot || goto later\n\
             :later\n\
             inc undercloud-tries\n\
             iseq ${undercloud-tries} 40 && exit 1 ||\n\
             echo undercloud: trying again\n\
             sleep 3\n",
        );
        let _ = writeln!(out, "chain --replace {} || goto later", word(&self.again)?);
        Ok(out)
    }
}

/// A word that iPXE reads as it is written.
struct Word<'a>(&'a str);

fn word(text: &str) -> Result<Word<'_>, WordError> {
    let legal = !text.is_empty()
        && text.len() <= 1024
        && text.bytes().all(|c| c.is_ascii_graphic())
        && !text.contains("${")
        && !text.starts_with('#')
        && !matches!(text, "||" | "&&");
    if legal { Ok(Word(text)) } else { Err(WordError(text.chars().take(80).collect())) }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn script(cmdline: &[String]) -> Result<String, WordError> {
        let [kernel, initrd, again] =
            ["k", "i", "s"].map(|path| format!("http://192.0.2.1/{path}"));
        Script { kernel, initrd, again, cmdline }.text()
    }

    #[test]
    fn the_script_as_a_whole() {
        let text = script(&["console=ttyS0".to_owned(), "a.b=\"c\"".to_owned()]).unwrap();
        assert_eq!(
            text,
            "#!ipxe\n\
             echo undercloud: starting from the network\n\
             isset ${undercloud-tries} || set undercloud-tries:int32 0\n\
             imgfree\n\
             kernel http://192.0.2.1/k initrd=initrd console=ttyS0 a.b=\"c\" || goto later\n\
             initrd --name initrd http://192.0.2.1/i || goto later\n\
             boot || goto later\n\
             :later\n\
             inc undercloud-tries\n\
             iseq ${undercloud-tries} 40 && exit 1 ||\n\
             echo undercloud: trying again\n\
             sleep 3\n\
             chain --replace http://192.0.2.1/s || goto later\n"
        );
    }

    #[test]
    fn words_that_mean_something_else_are_refused() {
        for bad in ["", "a b", "a\nexit", "${net0/mac}", "||", "&&", "#a", "ä", "\u{7f}"] {
            assert_eq!(script(&[bad.to_owned()]), Err(WordError(bad.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn no_argument_adds_a_line_or_a_command(argument: String) {
            if let Ok(text) = script(std::slice::from_ref(&argument)) {
                prop_assert_eq!(text.lines().count(), 13);
                let line = text.lines().nth(4).unwrap();
                prop_assert_eq!(line.split_whitespace().nth(3), Some(argument.as_str()));
                prop_assert_eq!(line.split_whitespace().count(), 7);
            }
        }
    }
}
