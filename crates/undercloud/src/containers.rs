//! Building container images, and telling the daemon of them.

use std::{fmt::Display, path::Path};

use anyhow::Result;
use undercloud_cloud::{CloudConfig, Definitions};
use undercloud_image::{
    build::BuildError,
    container::{self, BuildRequest, Step},
    oci::ContainerImage,
};
use undercloud_model::ErrorKind;

use crate::{
    cache_users, clock,
    cmd::{self, Context},
    daemon::openstack,
    daemon_client::Daemon,
    definitions,
    failure::Failure,
    images,
    out::Format,
};

/// The log of builds.
const LOG: &str = "openstack-build-containers.log";

/// Builds what the cloud of the file needs and is not in the cache, and registers all of it.
///
/// # Errors
/// The file, or a site's files, are wrong; or a program of the build failed; its output is in the log.
pub(crate) fn build(context: &Context, cloud: Option<&Path>) -> Result<Vec<ContainerImage>> {
    let invalid = |error: &dyn Display| Failure::new(ErrorKind::Invalid, error.to_string());
    let config: CloudConfig =
        cmd::cloud::description(cloud)?.parse().map_err(|error| invalid(&error))?;
    let overlay = definitions::read(&context.common.definitions)?;
    let all = Definitions::of_site(&overlay).map_err(|error| invalid(&error))?;
    all.with_features(&config.features).map_err(|error| invalid(&error))?;
    let wanted = all.images_of(&config);
    let site: Vec<(&str, &str)> = overlay.below("containers").collect();
    let daemon = Daemon::connect(&context.state)?;
    let blobs = images::blobs(context)?;
    let cache = images::utf8(context.common.cache.clone())?;
    cache_users::note(cache.as_std_path(), &context.state)?;
    let log = context.state.logs().join(LOG);
    let mut log_file = images::open_log(&log)?;
    let out = context.out;
    let say = |step: Step<'_>| {
        if out.format() == Format::Table {
            // What cannot be printed is in the log all the same.
            let _printed = out.line(format_args!("        {step}"));
        }
    };
    let built = container::build_all(BuildRequest {
        cache_dir: &cache,
        blobs: &blobs,
        site: &site,
        wanted: Some(&wanted),
        secrets: &[openstack::password(&context.state)?],
        log: &mut log_file,
        on_step: &say,
        now: clock::now_ms(),
    });
    let built = built.map_err(|error| {
        let kind = error.kind();
        let hint = match &error {
            BuildError::Secret { .. } => {
                "it is in a package, or a file of containers/ wrote it down: choose another \
                 password, or take it out"
                    .to_owned()
            }
            _ => format!("see {}", log.display()),
        };
        Failure::new(kind, format!("{:#}", anyhow::Error::new(error))).hint(hint)
    })?;
    daemon.ask(async |client| client.register_containers(&built.images).await)?;
    daemon.ask(async |client| client.register(&built.store).await)?;
    Ok(built.images)
}
