//! The word that was probably meant.

/// `; did you mean …?`, or nothing.
pub(crate) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = undercloud_model::nearest(word, known);
    nearest.first().map(|k| format!("; did you mean `{k}`?")).unwrap_or_default()
}
