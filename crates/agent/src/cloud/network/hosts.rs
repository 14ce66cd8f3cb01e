//! `/etc/hosts`: our block between two markers, everything else as it is.

use undercloud_model::agent::{StepFailure, cloud::HostEntry};

use crate::cloud::{Task, check, files::Wanted};

const PATH: &str = "etc/hosts";
const BEGIN: &str = "# BEGIN undercloud: changes down to its end are lost";
const END: &str = "# END undercloud";

/// Writes our block where it is missing or different; says whether it was.
pub(super) fn write(task: &Task<'_>, entries: &[HostEntry]) -> Result<bool, StepFailure> {
    let mut block = String::new();
    for entry in entries {
        let names = entry
            .names
            .iter()
            .map(|n| check::name("host name", n, "-."))
            .collect::<Result<Vec<_>, _>>()?;
        block.push_str(&format!("{} {}\n", entry.address, names.join(" ")));
    }
    let old = task.host().text(PATH).unwrap_or_else(|_| "127.0.0.1 localhost\n".to_owned());
    Wanted::public(PATH, &replace(&old, &block)).ensure(task.host())
}

/// `old` with our block replaced, or added at the end.
fn replace(old: &str, block: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    for line in old.lines() {
        match line {
            BEGIN => inside = true,
            END => inside = false,
            _ if inside => {}
            other => {
                text.push_str(other);
                text.push('\n');
            }
        }
    }
    text + BEGIN + "\n" + block + END + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_block_is_replaced_and_the_rest_is_left() {
        let first = replace("127.0.0.1 localhost", "10.0.0.1 a\n");
        assert_eq!(first, format!("127.0.0.1 localhost\n{BEGIN}\n10.0.0.1 a\n{END}\n"));
        assert_eq!(replace(&first, "10.0.0.1 a\n"), first);
        let by_hand = first + "10.9.9.9 by-hand\n";
        let second = replace(&by_hand, "10.0.0.2 b\n");
        assert_eq!(
            second,
            format!("127.0.0.1 localhost\n10.9.9.9 by-hand\n{BEGIN}\n10.0.0.2 b\n{END}\n")
        );
    }
}
