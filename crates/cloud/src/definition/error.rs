//! What can be wrong with the files of `services/` and `roles/`.

use undercloud_model::ParseIdError;

use crate::toml_fault::TomlFault;

/// A fault of a file: which, where in it, what, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the sentence above them")]
pub enum DefinitionError {
    /// It is no TOML, has an unknown key, or a value of another kind.
    #[error("{file}: {fault}")]
    Toml { file: String, fault: TomlFault },
    /// A file's name is no service's.
    #[error("{file}: {source}; rename the file")]
    Name { file: String, source: ParseIdError },
    /// A name that nothing has.
    #[error("{file}: `{key}` names the {what} `{name}`, which is not in {place}{hint}")]
    Unknown {
        file: String,
        key: &'static str,
        what: &'static str,
        name: String,
        place: &'static str,
        hint: String,
    },
    /// Services wait for each other.
    #[error("services wait for each other: {}; take one out of `after` or `needs`", path.join(" → "))]
    Cycle { path: Vec<String> },
    /// Two things have what only one can have.
    #[error("{file}: {what} `{name}` is in {other} too; give it another")]
    Twice { file: String, what: &'static str, name: String, other: String },
    /// A range of ports that ends before it starts.
    #[error("{file}: port `{name}` ends at {last}, before it starts at {first}; swap them")]
    PortRange { file: String, name: String, first: u16, last: u16 },
    /// A number for what is not published.
    #[error(
        "{file}: port `{name}` has a `published_number` and is not published; \
         say `publish = \"https\"`, or leave the number out"
    )]
    NotPublished { file: String, name: String },
    /// Not exactly one of several keys.
    #[error("{file}: `{key}` has {found} of {choices}; give exactly one")]
    OneOf { file: String, key: &'static str, choices: &'static str, found: usize },
    /// A directory where services keep nothing.
    #[error(
        "{file}: volume `{host}` is neither below /var/lib/overcloud nor below /run; \
         move it there, or say `kind = \"existing\"`"
    )]
    Place { file: String, host: String },
    /// A file for a service in no directory of its own.
    #[error(
        "{file}: the seed `{host}` is inside none of the service's own `volumes`; move it there"
    )]
    Seed { file: String, host: String },
    /// A name with letters that it cannot have.
    #[error("{file}: `{key}`: `{text}` is not usable there; write {rule}")]
    Text { file: String, key: &'static str, text: String, rule: &'static str },
    /// A template does not parse.
    #[error("{file}: template{}: {problem}", line.map(|l| format!(" line {l}")).unwrap_or_default())]
    Template { file: String, line: Option<usize>, problem: String },
    /// A file of a site where nothing of that kind is read.
    #[error("{file}: nothing is read from there: write {rule}")]
    Misplaced { file: String, rule: String },
    /// Settings for a service that takes none.
    #[error(
        "{file}: {service} takes no settings this way: services/{service}.toml has no `config_dir`; \
         put a template of your own in the place of its file instead"
    )]
    NoConfigDir { file: String, service: String },
    /// Settings that oslo.config would not read.
    #[error("{file}: line {line}: {problem}")]
    Setting { file: String, line: usize, problem: &'static str },
    /// A secret that ships, as something else.
    #[error("{file}: the secret `{name}` ships as another kind: choose another name")]
    OtherSecret { file: String, name: String },
    /// Nothing by the name that the cloud cannot do without.
    #[error("{what} is missing: add it to {file}")]
    Missing { what: &'static str, file: &'static str },
}
