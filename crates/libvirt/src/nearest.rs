//! "Did you mean": the domains whose names are nearest to a misspelt one.

/// At most so many.
const NAMES_MAX: usize = 3;
/// Longest name that is looked at.
const CHARS_MAX: usize = 64;

/// The names near enough to `wanted` to be meant, the nearest first.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let near = |name: &&str| distance(wanted, name) <= 1 + name.chars().count() / 3;
    let mut found: Vec<&str> = known.filter(near).collect();
    found.sort_by_key(|name| (distance(wanted, name), *name));
    found.into_iter().take(NAMES_MAX).map(str::to_owned).collect()
}

/// Levenshtein's, where another case counts as the same letter.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().chars().take(CHARS_MAX).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("Web", "web", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_strangers_not_at_all() {
        let known = ["controller-0", "controller-1", "database", "compute-0"];
        assert_eq!(nearest("controler-1", known.into_iter()), ["controller-1", "controller-0"]);
        assert!(nearest("zzz", known.into_iter()).is_empty());
    }
}
