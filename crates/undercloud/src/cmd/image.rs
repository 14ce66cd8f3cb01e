//! `undercloud image …`.

use anyhow::Result;
use undercloud_image::catalog::{Image, ImageKind};

use super::Context;
use crate::{
    cli::{ImageCommand, ImageKindArg},
    clock,
    daemon_client::Daemon,
    images, out,
};

pub(super) fn run(context: &Context, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Build => {
            let built = images::build(context)?;
            print(context, &built)
        }
        ImageCommand::Import { source, sha256, name, kind } => {
            let kind = match kind {
                ImageKindArg::Disk => ImageKind::Disk,
                ImageKindArg::Kernel => ImageKind::Kernel,
                ImageKindArg::Ramdisk => ImageKind::Ramdisk,
            };
            let name = name.as_deref().unwrap_or_else(|| file_name(&source));
            let image = images::import(context, &source, sha256.as_deref(), name, kind)?;
            print(context, &[image])
        }
        ImageCommand::List => {
            let daemon = Daemon::connect(&context.state)?;
            print(context, &daemon.ask(async |c| c.images().await)?)
        }
        ImageCommand::Show { name } => {
            let daemon = Daemon::connect(&context.state)?;
            let image = daemon.ask(async |c| c.image(&name).await)?;
            context.out.properties(&image, &properties(&image))
        }
        ImageCommand::Remove { name, force } => {
            let daemon = Daemon::connect(&context.state)?;
            let removed = daemon.ask(async |c| c.unregister(&name, force).await)?;
            let freed = out::bytes(removed.freed_bytes);
            let needed: Vec<&str> = removed.needed_by.iter().map(|node| node.as_str()).collect();
            let text = match needed.as_slice() {
                [] => format!("{} is removed, {freed} freed", removed.name),
                nodes => {
                    format!("{} is removed; its bytes stay for {}", removed.name, nodes.join(", "))
                }
            };
            context.out.result(&removed, text)
        }
    }
}

fn print(context: &Context, images: &[Image]) -> Result<()> {
    context.out.rows(&["name", "kind", "size", "digest", "built"], images, |image| {
        vec![
            image.name.clone(),
            image.kind.to_string(),
            out::bytes(image.size),
            image.digest.short(),
            clock::rfc3339(image.built_at),
        ]
    })
}

/// The last part of a path or URL, without its ending.
fn file_name(source: &str) -> &str {
    let path = source.split(['?', '#']).next().unwrap_or(source);
    let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

fn properties(image: &Image) -> Vec<(&'static str, String)> {
    let os = image.os.as_ref().map(|os| format!("{} {}", os.distribution, os.version));
    let kernel = image.os.as_ref().map(|os| os.kernel.clone());
    vec![
        ("name", image.name.clone()),
        ("kind", image.kind.to_string()),
        ("digest", image.digest.to_string()),
        ("size", out::bytes(image.size)),
        ("unpacked", out::bytes(image.content.size)),
        ("unpacked digest", image.content.digest.to_string()),
        ("minimum disk", out::bytes(image.min_disk_bytes)),
        ("operating system", os.unwrap_or_else(|| "-".into())),
        ("kernel", kernel.unwrap_or_else(|| "-".into())),
        ("our agent inside", image.has_agent.to_string()),
        ("built", clock::rfc3339(image.built_at)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imported_image_is_called_as_its_file() {
        for (source, name) in [
            ("/srv/debian-13.raw", "debian-13"),
            ("https://example.org/a/cirros.img?x=1", "cirros"),
            ("plain", "plain"),
        ] {
            assert_eq!(file_name(source), name);
        }
    }
}
