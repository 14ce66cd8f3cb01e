//! Percent-encoding (RFC 3986, section 2) of what goes into a path segment or a query value.

/// `text` with everything but unreserved characters escaped.
pub(crate) fn segment(text: &str) -> String {
    let unreserved = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let escaped =
        |c: u8| if unreserved(c) { char::from(c).to_string() } else { format!("%{c:02X}") };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(super::segment("a-0._~/ä?&"), "a-0._~%2F%C3%A4%3F%26");
    }
}
