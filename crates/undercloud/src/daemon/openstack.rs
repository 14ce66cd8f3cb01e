//! The undercloud's own cloud: Keystone and Glance on the host's loopback, for the ordinary
//! `openstack` client; and beside them the container registry, for podman and skopeo.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use tokio_util::sync::CancellationToken;
use undercloud_api::{
    ApiError, Clock,
    openstack::{self, ImageShelf},
    registry,
    serve::{self, Limits, Listener},
    tls::{self, Authority, ServerName},
};
use undercloud_image::{blob::Blobs, catalog::Image};
use undercloud_model::Secret;
use undercloud_store::Store;

use super::{agents::api_error, registry::Administrator};
use crate::{clock, state::StateDir, whole_file};

/// 128 bits, in hexadecimal digits.
const PASSWORD_BYTES: usize = 16;

#[derive(Debug)]
struct Shelf(Store);

impl ImageShelf for Shelf {
    async fn images(&self) -> Result<Vec<Image>, ApiError> {
        let rows = self.0.images::<Image>().await.map_err(api_error)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }
}

/// What serves both APIs until `stop`.
///
/// # Errors
/// When the port is taken, or a file of the state cannot be used.
pub(crate) fn server(
    state: &StateDir,
    store: Store,
    blobs: Blobs,
    authority: Arc<Authority>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<impl Future<Output = io::Result<()>> + Send + use<>> {
    let loopback = Ipv4Addr::LOCALHOST;
    let port = state.api_port();
    let listener = TcpListener::bind((loopback, port))
        .with_context(|| format!("cannot listen on {loopback}:{port}"))?;
    let certificate: Utf8PathBuf = super::utf8(&state.pki().join("openstack.pem"))?;
    let names = vec![ServerName::Ip(IpAddr::V4(loopback)), ServerName::Dns("localhost".into())];
    let server = tls::Server::open(authority, certificate, names, clock::now_ms())?;
    let password = password(state)?;
    let pulls = Administrator { store: store.clone(), password: password.clone() };
    let registry = registry::router(pulls, blobs.clone(), clock.clone());
    let router = openstack::router(Arc::new(Shelf(store)), blobs, password, clock.clone());
    let router = router.merge(registry);
    let listener = Listener::Tls(listener, Arc::new(server));
    Ok(serve::run(listener, router, Limits::default(), clock, stop))
}

/// The password of the one user, made when it is asked for first.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn password(state: &StateDir) -> Result<Secret> {
    let path = state.root().join("admin-password");
    match fs::read_to_string(&path) {
        Ok(text) => return Ok(Secret::new(text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("cannot read the administrator's password"),
    }
    let mut bytes = [0u8; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).context("the kernel gives no random bytes")?;
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    whole_file::write(&path, text.as_bytes())?;
    Ok(Secret::new(text))
}
