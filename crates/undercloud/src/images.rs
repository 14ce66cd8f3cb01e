//! Building images, and telling the daemon of them.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use undercloud_image::{
    blob::Blobs,
    build::{self, BuildRequest, Step},
    catalog::Image,
};
use undercloud_model::ErrorKind;

use crate::{clock, cmd::Context, daemon_client::Daemon, failure::Failure, out::Format};

/// Names the agent's static program; `./up` sets it.
const AGENT_VARIABLE: &str = "UNDERCLOUD_AGENT";
/// The log of builds.
const LOG: &str = "openstack-build-images.log";

/// Builds what is not in the cache and registers all of it.
///
/// # Errors
/// When a program of the build failed; its output is in the log.
pub(crate) fn build(context: &Context) -> Result<Vec<Image>> {
    let daemon = Daemon::connect(&context.state)?;
    let blobs = blobs(context)?;
    let cache = utf8(context.common.cache.clone())?;
    let agent = utf8(agent_program()?)?;
    let log = context.state.logs().join(LOG);
    let mut log_file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let out = context.out;
    let say = |step: Step| {
        if out.format() == Format::Table {
            // What cannot be printed is in the log all the same.
            let _printed = out.line(format_args!("        {step}"));
        }
    };
    let built = build::build_all(BuildRequest {
        cache_dir: &cache,
        blobs: &blobs,
        agent: &agent,
        log: &mut log_file,
        on_step: &say,
        now: clock::now_ms(),
    });
    let built = built.map_err(|error| {
        let text = format!("{:#}", anyhow::Error::new(error));
        Failure::new(ErrorKind::Unavailable, text).hint(format!("see {}", log.display()))
    })?;
    register(&daemon, &built.images)?;
    Ok(built.images)
}

fn register(daemon: &Daemon, images: &[Image]) -> Result<()> {
    daemon.ask(async |client| {
        for image in images {
            client.register(image).await?;
        }
        Ok(())
    })
}

fn blobs(context: &Context) -> Result<Blobs> {
    Ok(Blobs::open(utf8(context.state.blobs())?)?)
}

/// The agent beside this program, or where the variable says.
fn agent_program() -> Result<PathBuf> {
    let beside = || {
        let program = std::env::current_exe().ok()?;
        Some(program.parent()?.join("undercloud-agent"))
    };
    let path = std::env::var_os(AGENT_VARIABLE).map(PathBuf::from).or_else(beside);
    match path {
        Some(path) if path.is_file() => Ok(path),
        _ => Err(Failure::new(ErrorKind::NotFound, "the agent's program is not here")
            .hint(format!("./up builds it; {AGENT_VARIABLE} says where it is"))
            .into()),
    }
}

fn utf8(path: PathBuf) -> Result<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path)
        .map_err(|path| anyhow::anyhow!("the path {} is no UTF-8", path.display()))
}
