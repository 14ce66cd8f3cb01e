//! Building images, and telling the daemon of them.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use undercloud_image::{
    blob::Blobs,
    build::{self, BuildRequest, Step},
    catalog::{self, Image, ImageKind},
    import,
};
use undercloud_model::ErrorKind;

use crate::{
    agent_program, cache_users, clock, cmd::Context, daemon_client::Daemon, failure::Failure,
    out::Format,
};

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
    cache_users::note(cache.as_std_path(), &context.state)?;
    let agent = utf8(agent_program::file(&context.state)?)?;
    let log = context.state.logs().join(LOG);
    let mut log_file = open_log(&log)?;
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

/// Takes a ready-made image in and registers it.
///
/// # Errors
/// It cannot be had, its digest is not the promised one, or it is of no use; nothing is kept then.
pub(crate) fn import(
    context: &Context,
    source: &str,
    sha256: Option<&str>,
    name: &str,
    kind: ImageKind,
) -> Result<Image> {
    let daemon = Daemon::connect(&context.state)?;
    let digest = sha256.map(|hex| {
        let text = if hex.contains(':') { hex.to_owned() } else { format!("sha256:{hex}") };
        text.parse().map_err(|_| {
            Failure::new(ErrorKind::Invalid, format!("`{hex}` is no SHA-256 digest"))
                .hint("give its 64 hexadecimal digits, as sha256sum prints them")
        })
    });
    let before = check_name(&daemon, name, kind)?;
    let blobs = blobs(context)?;
    let imported = import::import(&import::ImportRequest {
        source,
        sha256: digest.transpose()?,
        name,
        kind,
        size_max: import::SIZE_MAX,
        blobs: &blobs,
        now: clock::now_ms(),
    });
    let image = imported.map_err(|error| {
        let is_other = matches!(error, import::ImportError::Mismatch { .. });
        let failure = Failure::new(error.kind(), format!("{:#}", anyhow::Error::new(error)));
        if !is_other {
            return failure;
        }
        failure.hint("fetch it again, and compare the digest with what its publisher gives")
    })?;
    register(&daemon, std::slice::from_ref(&image))?;
    if before.is_some_and(|before| before.digest != image.digest) {
        let is_ours = catalog::names::kind_of(name).is_some();
        let back =
            if is_ours { "; `undercloud image build` brings the built one back" } else { "" };
        context.out.line(format_args!("{name} is another one now{back}"))?;
    }
    Ok(image)
}

/// Before much is fetched: whether the image can have this name. The one that has it now.
fn check_name(daemon: &Daemon, name: &str, kind: ImageKind) -> Result<Option<Image>> {
    catalog::check_name(name).map_err(|error| {
        Failure::new(ErrorKind::Invalid, error.to_string()).hint("give it another --name")
    })?;
    let images = daemon.ask(async |client| client.images().await)?;
    let before = images.into_iter().find(|image| image.name == name);
    match catalog::names::kind_of(name).or(before.as_ref().map(|image| image.kind)) {
        Some(taken) if taken != kind => {
            let message = format!("{name} is the name of a {taken}, and this is to be a {kind}");
            Err(Failure::new(ErrorKind::Conflict, message).hint("give it another --name").into())
        }
        _ => Ok(before),
    }
}

fn register(daemon: &Daemon, images: &[Image]) -> Result<()> {
    daemon.ask(async |client| {
        for image in images {
            client.register(image).await?;
        }
        Ok(())
    })
}

/// Opens a log of builds, to be added to.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn open_log(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

/// The state's blobs.
///
/// # Errors
/// When they cannot be opened.
pub(crate) fn blobs(context: &Context) -> Result<Blobs> {
    Ok(Blobs::open(utf8(context.state.blobs())?)?)
}

/// The path as text.
///
/// # Errors
/// When it is none.
pub(crate) fn utf8(path: PathBuf) -> Result<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path)
        .map_err(|path| anyhow::anyhow!("the path {} is no UTF-8", path.display()))
}
