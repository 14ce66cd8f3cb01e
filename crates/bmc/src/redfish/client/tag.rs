//! `If-Match` for services that cannot compare what they gave out.
//!
//! A tag that is out of date is read again. One that is not, and is refused all the same, is said
//! in another way: a weak one matches nothing by RFC 9110, section 13.1.1, and services give them
//! out nevertheless, because they would compress; some compare without the mark, some not at all.
//! The order is that of sushy (`Connector._etag_handler`), with `*` for those that want some tag
//! (428, RFC 6585) and never gave one.

use std::borrow::Cow;

/// Changes that somebody else made first. A tag that is another one after that, too, is another one
/// at each reading.
const STALE_MAX: u32 = 3;

/// How `If-Match` is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it came.
    AsGiven,
    /// Without the mark of a weak one.
    Strong,
    /// Any state at all.
    Any,
    /// Not said.
    Absent,
}

/// What a service gave as a tag, and the forms to try, best first.
const FORMS: &[(Given, &[Form])] = &[
    (Given::Weak, &[Form::AsGiven, Form::Strong, Form::Absent, Form::Any]),
    (Given::Strong, &[Form::AsGiven, Form::Absent, Form::Any]),
    (Given::Nothing, &[Form::Absent, Form::Any]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Weak,
    Strong,
    Nothing,
}

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 412: the tag does not match, or the resource was changed meanwhile.
    NoMatch,
    /// 428: there has to be a tag.
    Required,
}

impl Refusal {
    pub(super) fn of(status: u16) -> Option<Self> {
        match status {
            412 => Some(Self::NoMatch),
            428 => Some(Self::Required),
            _ => None,
        }
    }
}

/// The condition of one change, over its retries.
#[derive(Debug)]
pub(super) struct Condition {
    tag: Option<String>,
    forms: &'static [Form],
    stale: u32,
}

/// A tag without the mark of a weak one, if it has that.
fn strong(tag: &str) -> Option<&str> {
    let rest = tag.strip_prefix("W/").or_else(|| tag.strip_prefix("w/"));
    rest.filter(|rest| !rest.is_empty())
}

fn forms(tag: Option<&str>) -> &'static [Form] {
    let given = match tag {
        None => Given::Nothing,
        Some(tag) if strong(tag).is_some() => Given::Weak,
        Some(_) => Given::Strong,
    };
    FORMS.iter().find(|(row, _)| *row == given).map_or(&[], |(_, forms)| forms)
}

impl Condition {
    /// Of a resource with this tag. An empty one is none (sushy passes over those, too).
    pub(super) fn new(tag: Option<String>) -> Self {
        let tag = tag.filter(|tag| !tag.is_empty());
        Self { forms: forms(tag.as_deref()), tag, stale: 0 }
    }

    /// What `If-Match` is to say; nothing, if it is not to be said.
    pub(super) fn if_match(&self) -> Option<Cow<'_, str>> {
        let tag = self.tag.as_deref().unwrap_or_default();
        match self.forms.first()? {
            // A tag may have gone between two readings.
            Form::AsGiven | Form::Strong if tag.is_empty() => Some("*".into()),
            Form::AsGiven => Some(tag.into()),
            Form::Strong => Some(strong(tag).unwrap_or(tag).into()),
            Form::Any => Some("*".into()),
            Form::Absent => None,
        }
    }

    /// Whether to try again after a refusal, now that the resource has this tag.
    pub(super) fn again(&mut self, refusal: Refusal, now: Option<String>) -> bool {
        let now = now.filter(|tag| !tag.is_empty());
        if now != self.tag && self.stale < STALE_MAX {
            self.stale += 1;
            self.forms = forms(now.as_deref());
        } else {
            self.forms = self.forms.get(1..).unwrap_or_default();
        }
        self.tag = now;
        while refusal == Refusal::Required && self.forms.first() == Some(&Form::Absent) {
            self.forms = self.forms.get(1..).unwrap_or_default();
        }
        !self.forms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said to a service that refuses all.
    fn said(tag: Option<&str>, refusal: Refusal) -> Vec<Option<String>> {
        let mut condition = Condition::new(tag.map(str::to_owned));
        let mut said = Vec::new();
        loop {
            said.push(condition.if_match().map(Cow::into_owned));
            if !condition.again(refusal, tag.map(str::to_owned)) {
                return said;
            }
        }
    }

    #[test]
    fn every_way_is_tried_once() {
        let some = |text: &str| Some(text.to_owned());
        for (tag, refusal, expected) in [
            (
                Some("W/\"1a\""),
                Refusal::NoMatch,
                vec![some("W/\"1a\""), some("\"1a\""), None, some("*")],
            ),
            (
                Some("W/\"1a\""),
                Refusal::Required,
                vec![some("W/\"1a\""), some("\"1a\""), some("*")],
            ),
            (Some("\"1a\""), Refusal::NoMatch, vec![some("\"1a\""), None, some("*")]),
            // Some give it without the quotes.
            (Some("1a"), Refusal::NoMatch, vec![some("1a"), None, some("*")]),
            (None, Refusal::Required, vec![None, some("*")]),
            (Some(""), Refusal::Required, vec![None, some("*")]),
        ] {
            assert_eq!(said(tag, refusal), expected, "{tag:?} {refusal:?}");
        }
    }

    #[test]
    fn a_tag_that_is_out_of_date_is_read_again_and_not_left_out() {
        let mut condition = Condition::new(Some("\"1\"".into()));
        for round in 2..=4 {
            assert!(condition.again(Refusal::NoMatch, Some(format!("\"{round}\""))));
            assert_eq!(condition.if_match(), Some(format!("\"{round}\"").into()));
        }
        assert!(condition.again(Refusal::NoMatch, Some("\"5\"".into())));
        assert_eq!(condition.if_match(), None, "it is another one at each reading");
    }

    proptest! {
        /// Whatever the service gives out and refuses, it ends, and soon.
        #[test]
        fn it_ends(
            tags in proptest::collection::vec(
                proptest::option::of("(W/|w/)?\"?[ -~]{0,6}\"?"), 1..40
            ),
            required in any::<bool>(),
        ) {
            let refusal = if required { Refusal::Required } else { Refusal::NoMatch };
            let mut condition = Condition::new(tags[0].clone());
            let mut tries = 1;
            while condition.again(refusal, tags[tries % tags.len()].clone()) {
                let said = condition.if_match();
                prop_assert!(said.as_deref() != Some(""));
                prop_assert!(!required || said.is_some());
                tries += 1;
            }
            prop_assert!(tries <= 4 + STALE_MAX as usize * 4, "{tries}");
        }
    }
}
