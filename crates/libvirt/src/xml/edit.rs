//! Changes of a text at places that its parser gave, which leave every other byte as it is.

use std::ops::Range;

use roxmltree::Node;

/// Replacements that do not overlap.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    /// Takes an element out, with the white space before it.
    pub(super) fn remove(&mut self, node: Node<'_, '_>) {
        let mut range = node.range();
        let blank = |text: &str| text.bytes().all(|byte| byte.is_ascii_whitespace());
        if let Some(before) = node.prev_sibling()
            && before.is_text()
            && before.document().input_text().get(before.range()).is_some_and(blank)
        {
            range.start = before.range().start;
        }
        self.0.push((range, String::new()));
    }

    /// Puts `text` after all that `node` holds.
    pub(super) fn append(&mut self, node: Node<'_, '_>, text: &str) {
        if let Some(last) = node.last_child() {
            let end = last.range().end;
            self.0.push((end..end, text.to_owned()));
            return;
        }
        // `<a/>`, `<a />` or `<a></a>`: written anew, with what was in its tag.
        let whole = node.document().input_text().get(node.range()).unwrap_or_default();
        let (tag, name) = match whole.strip_suffix("/>") {
            Some(tag) => (tag.trim_end(), tag_name(whole)),
            None => (whole.rsplit_once("></").map_or(whole, |(tag, _)| tag), tag_name(whole)),
        };
        self.0.push((node.range(), format!("{tag}>{text}</{name}>")));
    }

    /// `text` with all of it done.
    pub(super) fn apply(mut self, text: &str) -> String {
        // Insertions at the end of something removed come after it: the sort keeps their order.
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut changed = String::with_capacity(text.len() + 256);
        let mut at = 0;
        for (range, new) in &self.0 {
            changed.push_str(text.get(at..range.start.max(at)).unwrap_or_default());
            changed.push_str(new);
            at = at.max(range.end);
        }
        changed.push_str(text.get(at..).unwrap_or_default());
        changed
    }
}

/// As it was written, with its prefix.
fn tag_name(element: &str) -> &str {
    let rest = element.strip_prefix('<').unwrap_or(element);
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>');
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(text: &str, what: &str) -> String {
        let document = roxmltree::Document::parse(text).expect("xml");
        let mut edits = Edits::default();
        edits.append(document.root_element(), what);
        edits.apply(text)
    }

    #[test]
    fn elements_of_every_form_take_a_child() {
        for (text, expected) in [
            ("<a/>", "<a><b/></a>"),
            ("<a />", "<a><b/></a>"),
            ("<a x='/>'/>", "<a x='/>'><b/></a>"),
            ("<a></a >", "<a><b/></a>"),
            ("<a x='>'></a>", "<a x='>'><b/></a>"),
            ("<a>t</a>", "<a>t<b/></a>"),
            ("<a><!-- c --></a>", "<a><!-- c --><b/></a>"),
        ] {
            assert_eq!(append(text, "<b/>"), expected);
        }
    }

    #[test]
    fn what_is_removed_takes_its_line_along() {
        let text = "<a>\n  <b/>\n  <c/>\n</a>";
        let document = roxmltree::Document::parse(text).expect("xml");
        let mut edits = Edits::default();
        let b = document.descendants().find(|node| node.has_tag_name("b")).expect("b");
        edits.remove(b);
        assert_eq!(edits.apply(text), "<a>\n  <c/>\n</a>");
    }

    #[test]
    fn the_last_child_may_go_while_another_comes() {
        let text = "<a><b/></a>";
        let document = roxmltree::Document::parse(text).expect("xml");
        let mut edits = Edits::default();
        edits.append(document.root_element(), "<c/>");
        edits.remove(document.root_element().first_child().expect("b"));
        assert_eq!(edits.apply(text), "<a><c/></a>");
    }
}
