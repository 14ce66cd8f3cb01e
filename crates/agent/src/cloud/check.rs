//! Which texts of an order may become a path, a line of a file, a word of a unit.
//!
//! They come from our daemon, over TLS, and are checked all the same: a mistake in a template must
//! not become a path with `..` or a second line in a unit.

use undercloud_model::agent::StepFailure;

use super::refused;

/// The longest path.
const PATH_MAX: usize = 512;

/// An absolute path of plain characters, without `.` and `..`; given back without its first slash.
pub(super) fn path(text: &str) -> Result<&str, StepFailure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
    let inner = text.strip_prefix('/').filter(|t| {
        t.len() <= PATH_MAX
            && t.bytes().all(plain)
            && t.split('/').all(|part| !matches!(part, "" | "." | ".."))
    });
    inner.ok_or_else(|| refused(format_args!("the order holds an unusable path: `{text}`")))
}

/// A text without control characters.
pub(super) fn line<'a>(what: &str, text: &'a str) -> Result<&'a str, StepFailure> {
    if text.chars().any(char::is_control) {
        return Err(refused(format_args!("the order's {what} holds control characters")));
    }
    Ok(text)
}

/// A name of letters, digits and `extra`, not empty.
pub(super) fn name<'a>(what: &str, text: &'a str, extra: &str) -> Result<&'a str, StepFailure> {
    let inner = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts && text.len() <= 255 && text.chars().all(inner) {
        return Ok(text);
    }
    Err(refused(format_args!("the order holds an unusable {what}: `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_stay_where_they_are() {
        assert_eq!(path("/etc/nova/nova.conf").unwrap(), "etc/nova/nova.conf");
        for bad in
            ["", "/", "etc", "/a/../b", "/a/./b", "/a//b", "/a/", "/a b", "/a\n", "/a:b", "/%n"]
        {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_names() {
        assert!(name("image", "nova", "-").is_ok());
        for bad in ["", "-a", "a b", "a/b", "a\n"] {
            assert!(name("image", bad, "-").is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_its_directory(text in "[/.a\\n ]{0,12}") {
            if let Ok(inner) = path(&text) {
                prop_assert!(!inner.starts_with('/') && !inner.split('/').any(|p| p == ".."));
            }
        }
    }
}
