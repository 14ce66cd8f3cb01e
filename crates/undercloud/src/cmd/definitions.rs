//! `undercloud definitions …`: the files that a cloud is planned from, those that ship and a site's.

use anyhow::Result;
use serde::Serialize;
use undercloud_cloud::{
    Definitions,
    definition::{Effect, Overlay},
};
use undercloud_model::{ErrorKind, nearest};

use super::Context;
use crate::{
    cli::DefinitionsCommand,
    definitions::{self, is_shipped, shipped},
    failure::Failure,
};

/// A file of a list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'a str,
    /// `ships`, `adds` or `replaces`.
    origin: &'static str,
    bytes: usize,
}

pub(super) fn run(context: &Context, command: &DefinitionsCommand) -> Result<()> {
    let directory = &context.common.definitions;
    let overlay = definitions::read(directory)?;
    match command {
        DefinitionsCommand::List => list(context, &overlay),
        DefinitionsCommand::Show { name, shipped } => show(context, &overlay, name, *shipped),
        DefinitionsCommand::Check => {
            Definitions::of_site(&overlay).map_err(|error| {
                let message = format!("{}: {error}", directory.display());
                Failure::new(ErrorKind::Invalid, message)
            })?;
            let files = overlay.effects(is_shipped).count();
            context.out.line(format_args!("{}: {files} files, no fault", directory.display()))
        }
    }
}

fn list(context: &Context, overlay: &Overlay) -> Result<()> {
    let shipped: Vec<_> = shipped().collect();
    let mut rows: Vec<Row<'_>> = shipped
        .iter()
        .map(|(path, text)| Row { path, origin: "ships", bytes: text.len() })
        .collect();
    // An image of a site takes the place of all files of the one that ships.
    let images = overlay.images();
    rows.retain(|row| image_of(row.path).is_none_or(|name| !images.contains(name)));
    for (path, effect) in overlay.effects(is_shipped) {
        let bytes = overlay.text(path).map_or(0, str::len);
        if effect == Effect::Replaces {
            rows.retain(|row| row.path != path);
        }
        rows.push(Row { path, origin: effect.as_str(), bytes });
    }
    rows.sort_by_key(|row| row.path);
    context.out.rows(&["file", "origin", "bytes"], &rows, |row| {
        vec![row.path.to_owned(), row.origin.to_owned(), row.bytes.to_string()]
    })
}

fn image_of(path: &str) -> Option<&str> {
    path.strip_prefix("containers/")?.split_once('/').map(|(name, _)| name)
}

/// A file by its path, or a service, role or image by its name.
fn show(context: &Context, overlay: &Overlay, name: &str, only_shipped: bool) -> Result<()> {
    let paths = [
        name.to_owned(),
        format!("services/{name}.toml"),
        format!("roles/{name}.toml"),
        format!("containers/{name}/Containerfile"),
        format!("services/{name}"),
    ];
    let of_site = |path: &str| overlay.text(path).filter(|_| !only_shipped).map(str::to_owned);
    let all: Vec<_> = shipped().collect();
    let ships =
        |path: &str| all.iter().find(|(p, _)| p == path).map(|(_, text)| (*text).to_owned());
    let found = paths.iter().find_map(|path| of_site(path).or_else(|| ships(path)));
    let Some(text) = found else {
        let known = all.iter().map(|(path, _)| path.as_str());
        let short = known.clone().filter_map(|path| {
            path.strip_prefix("services/")
                .or_else(|| path.strip_prefix("roles/"))?
                .strip_suffix(".toml")
        });
        let near = nearest(name, known.chain(short));
        let failure = Failure::new(ErrorKind::NotFound, format!("there is no file `{name}`"));
        return Err(match near.first() {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("undercloud definitions list"),
        }
        .into());
    };
    context.out.result(&text, text.trim_end_matches('\n'))
}
