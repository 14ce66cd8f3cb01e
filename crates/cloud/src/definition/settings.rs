//! Settings that a site adds to a service: files as oslo.config reads them, laid into the directory
//! that the service reads after its own file.

use undercloud_model::{NodeName, agent::cloud::ServiceName};

use super::{ContainerPath, DefinitionError, Overlay, Service};
use crate::nearest::suggestion;

/// A file of `config.d/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSettings {
    /// Whose settings.
    pub service: ServiceName,
    /// On which machine; nothing: on all that run it.
    pub machine: Option<NodeName>,
    /// The file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl SiteSettings {
    /// Where the service finds it. Files are read in the order of their names: what is of one
    /// machine comes last.
    pub fn place(&self, directory: &ContainerPath) -> String {
        let order = if self.machine.is_some() { "60-machine" } else { "50-site" };
        format!("{}/{order}-{}", directory.as_str(), self.name)
    }

    /// Its path below the site's directory.
    pub fn path(&self) -> String {
        let machine = self.machine.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        format!("config.d/{}/{machine}{}", self.service, self.name)
    }
}

/// Reads all of a site.
pub(super) fn read<'a>(
    overlay: &Overlay,
    services: impl Fn(&ServiceName) -> Option<&'a Service>,
    known: &[&str],
) -> Result<Vec<SiteSettings>, DefinitionError> {
    let mut found = Vec::new();
    for (path, text) in overlay.below("config.d") {
        let file = || format!("config.d/{path}");
        let name_error = |source| DefinitionError::Name { file: file(), source };
        let parts: Vec<&str> = path.split('/').collect();
        let (service, machine, name) = match parts.as_slice() {
            [service, name] => (service, None, name),
            [service, machine, name] => (service, Some(machine), name),
            // The overlay has refused it.
            _ => continue,
        };
        let unknown = || DefinitionError::Unknown {
            file: file(),
            key: "its directory",
            what: "service",
            name: (*service).to_owned(),
            place: "services/",
            hint: suggestion(service, known.iter().copied()),
        };
        let service: ServiceName = service.parse().map_err(name_error)?;
        let definition = services(&service).ok_or_else(unknown)?;
        if definition.config_dir.is_none() {
            let service = service.to_string();
            return Err(DefinitionError::NoConfigDir { file: file(), service });
        }
        if name.len() > 100 || !name.bytes().all(is_plain) {
            let (text, rule) = ((*name).to_owned(), "letters, digits, `.`, `_` and `-`");
            return Err(DefinitionError::Text { file: file(), key: "name", text, rule });
        }
        if let Err((line, problem)) = check(text) {
            return Err(DefinitionError::Setting { file: file(), line, problem });
        }
        let machine = machine.map(|m| m.parse()).transpose().map_err(name_error)?;
        let (name, text) = ((*name).to_owned(), text.to_owned());
        found.push(SiteSettings { service, machine, name, text });
    }
    Ok(found)
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// As oslo.config's `iniparser` reads it: `[group]`, `key = value` or `key: value`, lines that begin
/// with a space go on, `#` and `;` begin a comment. Says the line of a fault, from 1.
fn check(text: &str) -> Result<(), (usize, &'static str)> {
    let (mut in_group, mut in_value) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let fault = |problem| Err((number + 1, problem));
        if line.contains(crate::reference::OPEN) {
            return fault("it has a sign that stands for secrets in plans");
        }
        let content = line.trim();
        if content.is_empty() {
            in_value = false;
        } else if line.starts_with('#') || line.starts_with(';') {
        } else if line.starts_with(char::is_whitespace) {
            if !in_value {
                return fault(
                    "it begins with a space, and there is no key above that it belongs to",
                );
            }
        } else if let Some(group) = content.strip_prefix('[') {
            match group.strip_suffix(']') {
                Some(name) if !name.trim().is_empty() => (in_group, in_value) = (true, false),
                Some(_) => return fault("the group has no name: write [DEFAULT], or another"),
                None => return fault("the group's name does not end in ]"),
            }
        } else {
            let key = content.split(['=', ':']).next().unwrap_or_default();
            if key.len() == content.len() {
                return fault("it is neither `[group]` nor `key = value`");
            }
            if key.trim().is_empty() {
                return fault("there is no key before the value");
            }
            if !in_group {
                return fault("a key comes before the first group: write [DEFAULT] above it");
            }
            in_value = true;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_oslo_reads_is_taken() {
        let good =
            "# why\n; also\n\n[DEFAULT]\ndebug = true\nlist: a,\n   b,\n\tc\n\n[x.y]\nempty=\n";
        assert_eq!(check(good), Ok(()));
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn what_oslo_refuses_is_refused_with_its_line() {
        for (text, line) in [
            ("debug = true", 1),
            ("[DEFAULT]\ndebug", 2),
            ("[DEFAULT", 1),
            ("[ ]", 1),
            ("[a]\n= b", 2),
            ("[a]\n  b", 2),
            ("[a]\nb = 1\n\n  c", 4),
        ] {
            assert_eq!(check(text).unwrap_err().0, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text: String) {
            let _ = check(&text);
        }
    }
}
