//! "Did you mean": the known words nearest to a misspelt one.

/// Longest word that is looked at; what follows is taken as right.
const CHARS_MAX: usize = 64;

/// The known words near enough to `word` to be meant, the nearest first. Capitals count as small
/// letters.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let with_distance = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let near =
        |(distance, candidate): &(usize, &str)| *distance <= 1 + candidate.chars().count() / 3;
    let mut found: Vec<(usize, &str)> = with_distance.filter(near).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein's.
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
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("memory", "Memroy", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_strangers_not_at_all() {
        let known = ["controller-0", "controller-1", "memory_mib", "needs"];
        for (word, expected) in [
            ("controler-1", &["controller-1", "controller-0"][..]),
            ("memroy_mib", &["memory_mib"]),
            ("need", &["needs"]),
            ("colour", &[]),
            ("x", &[]),
            ("", &[]),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
