//! Takes secrets out of what programs printed before it is passed on.

use undercloud_model::agent::cloud::ServiceName;

use super::files;
use crate::sys::Host;

/// The shortest word of a service's file that can be one of our generated secrets.
const SECRET_MIN: usize = 20;
/// Shorter values are not taken out: they would be found in ordinary words.
const VALUE_MIN: usize = 6;

/// What must not be shown.
#[derive(Default)]
pub(super) struct Mask(Vec<String>);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.len())
    }
}

impl Mask {
    /// Hides these values.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut values: Vec<String> =
            values.into_iter().filter(|v| v.len() >= VALUE_MIN).map(str::to_owned).collect();
        // The longer first: one may be part of another.
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        values.dedup();
        Self(values)
    }

    /// Hides what looks like a secret in the files of a service: long words of upper and lower
    /// case, as we generate them.
    pub(super) fn of_service(host: &Host, service: &ServiceName) -> Self {
        let mut values = Vec::new();
        for path in files::below(host, &format!("etc/undercloud/services/{service}")) {
            let text = host.text(&path).unwrap_or_default();
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-=".contains(c)));
            // `key=value` is one word here, so its parts count too.
            let parts = words.flat_map(|w| w.split('=').chain([w]));
            values.extend(parts.filter(|w| looks_secret(w)).map(str::to_owned));
        }
        Self::of(values.iter().map(String::as_str))
    }

    /// `text` without them.
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

fn looks_secret(word: &str) -> bool {
    word.len() >= SECRET_MIN
        && word.bytes().any(|b| b.is_ascii_uppercase())
        && word.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_s_secrets_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::below(dir.path());
        let at = dir.path().join("etc/undercloud/services/nova-api/etc/nova");
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(
            at.join("nova.conf"),
            "connection = mysql+pymysql://nova:sWYgl9mMMqZ6Vhlv_x-8Yx3rPzvBq0aK@172.17.0.10/nova\n\
             auth_type = password\npassword=AAAAbbbbCCCCddddEEEEffff",
        )
        .unwrap();
        let mask = Mask::of_service(&host, &"nova-api".parse().unwrap());
        let line = "refused for nova:sWYgl9mMMqZ6Vhlv_x-8Yx3rPzvBq0aK@, AAAAbbbbCCCCddddEEEEffff";
        assert_eq!(mask.apply(line), "refused for nova:***@, ***");
        assert_eq!(
            mask.apply("auth_type connection 172.17.0.10"),
            "auth_type connection 172.17.0.10"
        );
    }

    #[test]
    fn short_values_are_left() {
        assert_eq!(Mask::of(["a", "hunter22"]).apply("a hunter22"), "a ***");
    }
}
