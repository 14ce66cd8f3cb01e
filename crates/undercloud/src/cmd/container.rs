//! `undercloud container …`.

use anyhow::Result;
use undercloud_image::oci::ContainerImage;

use super::Context;
use crate::{cli::ContainerCommand, clock, containers, daemon_client::Daemon, out};

pub(super) fn run(context: &Context, command: ContainerCommand) -> Result<()> {
    match command {
        ContainerCommand::Build { cloud } => {
            let built = containers::build(context, cloud.as_deref())?;
            print(context, &built)
        }
        ContainerCommand::List => {
            let daemon = Daemon::connect(&context.state)?;
            print(context, &daemon.ask(async |c| c.containers().await)?)
        }
        ContainerCommand::Show { name } => {
            let daemon = Daemon::connect(&context.state)?;
            let image = daemon.ask(async |c| c.container(&name).await)?;
            let address = format!("127.0.0.1:{}/{name}", context.state.api_port());
            context.out.properties(&image, &properties(&image, address))
        }
    }
}

fn print(context: &Context, images: &[ContainerImage]) -> Result<()> {
    context.out.rows(&["name", "layers", "size", "digest", "built"], images, |image| {
        vec![
            image.name.clone(),
            image.layers.len().to_string(),
            out::bytes(image.size),
            image.manifest.digest.short(),
            clock::rfc3339(image.built_at),
        ]
    })
}

fn properties(image: &ContainerImage, address: String) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("name", image.name.clone()),
        ("address", address),
        ("digest", image.manifest.digest.to_string()),
        ("config", image.config.digest.to_string()),
        ("size", out::bytes(image.size)),
        ("inputs", image.inputs.to_string()),
        ("built", clock::rfc3339(image.built_at)),
    ];
    let layers = image.layers.iter();
    properties.extend(
        layers.map(|layer| ("layer", format!("{} {}", layer.digest, out::bytes(layer.size)))),
    );
    properties
}
