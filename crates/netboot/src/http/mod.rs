//! The HTTP boot server, for iPXE and for UEFI's HTTP boot. Plain HTTP: firmware has no certificate
//! of ours. What goes over it is public or bound to one machine for one boot.
//!
//! ```text
//! GET /boot/MAC.ipxe           the machine's script: what to boot, or to start from its disk
//! GET /boot/MAC/TOKEN/kernel   ┐ only to the machine's own address,
//! GET /boot/MAC/TOKEN/initrd   ┘ only with the token of its present boot
//! GET /efi/snponly.efi         iPXE for UEFI's HTTP boot
//! ```
//! Every answer is an event. [`script`] writes scripts, [`body`] streams files, [`server`] has the
//! connections.

pub(crate) mod body;
mod script;
mod server;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Extension, Path, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tokio::time::timeout;
use undercloud_model::MacAddr;

use crate::{
    ANSWER_DEADLINE,
    boots::{BootEventKind as Kind, BootTarget, Boots},
    events::Events,
    rate::Rate,
};
use body::Ending;
use script::Script;

pub(crate) use server::serve;

/// A boot is four requests; firmware that loops makes some more.
pub(crate) fn boot_rate() -> Rate<Ipv4Addr> {
    Rate::new(40, Duration::from_millis(250), 1024)
}

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct HttpBoot {
    pub(crate) server: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) boots: Arc<dyn Boots>,
    pub(crate) events: Events,
    pub(crate) snponly: Arc<[u8]>,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) Ipv4Addr);

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address),
            IpAddr::V6(_) => Self(Ipv4Addr::UNSPECIFIED),
        }
    }
}

/// Why a request gets no answer. The caller learns only that there is nothing.
struct Refused(&'static str);

impl HttpBoot {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/boot/{script}", get(script_of))
            .route("/boot/{mac}/{token}/kernel", get(kernel))
            .route("/boot/{mac}/{token}/initrd", get(initrd))
            .route(&format!("/efi/{}", crate::SNPONLY), get(efi))
            .route(&format!("/efi/{}", crate::AUTOEXEC.0), get(autoexec))
            .fallback(nothing_here)
            .with_state(self)
    }

    /// The machine with this address, if it is the one that asks.
    async fn machine(&self, mac: &str, peer: Peer) -> Result<MacAddr, Refused> {
        let mac: MacAddr = mac.parse().map_err(|_| Refused("no MAC address in the path"))?;
        match timeout(ANSWER_DEADLINE, self.boots.lease(mac)).await {
            Ok(Some(lease)) if lease.address.addr() == peer.0 => Ok(mac),
            Ok(Some(_)) => Err(Refused("another machine's address")),
            Ok(None) => Err(Refused("nobody enrolled this interface")),
            Err(_) => Err(Refused("no answer in time")),
        }
    }

    async fn target(&self, mac: MacAddr) -> Result<Option<BootTarget>, Refused> {
        timeout(ANSWER_DEADLINE, self.boots.boot(mac))
            .await
            .map_err(|_| Refused("no answer in time"))
    }

    /// What the machine boots now, if it has this boot's token.
    async fn authorised(
        &self,
        mac: &str,
        token: &str,
        peer: Peer,
    ) -> Result<(MacAddr, BootTarget), Refused> {
        let mac = self.machine(mac, peer).await?;
        match self.target(mac).await? {
            Some(target) if target.token.is(token) => Ok((mac, target)),
            Some(_) => Err(Refused("the token of another boot")),
            None => Err(Refused("nothing to boot")),
        }
    }

    fn refuse(&self, peer: Peer, mac: Option<MacAddr>, refused: &Refused) -> Response {
        self.events.refuse(mac, peer.0, Kind::HttpRefused { from: peer.0, why: refused.0 });
        not_found()
    }

    fn ending(&self, mac: Option<MacAddr>, what: &'static str, served: Kind) -> Ending {
        Ending { events: self.events.clone(), mac, what, served }
    }

    async fn script(&self, mac: MacAddr) -> Result<(String, Kind), Refused> {
        let Some(target) = self.target(mac).await? else {
            return Ok((script::START_FROM_DISK.to_owned(), Kind::NothingToBoot));
        };
        let base = format!("http://{}:{}/boot/{}", self.server, self.port, mac.hyphenated());
        let token = target.token.expose();
        let script = Script {
            kernel: format!("{base}/{token}/kernel"),
            initrd: format!("{base}/{token}/initrd"),
            again: format!("{base}.ipxe"),
            cmdline: &target.cmdline,
        };
        match script.text() {
            Ok(text) => Ok((text, Kind::ScriptServed)),
            Err(error) => {
                tracing::error!(%mac, %error, "boot script not written");
                Err(Refused("its kernel arguments do not fit a boot script"))
            }
        }
    }
}

async fn script_of(
    State(http): State<HttpBoot>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Response {
    let found = async {
        let mac = name.strip_suffix(".ipxe").ok_or(Refused("no such path"))?;
        let mac = http.machine(mac, peer).await?;
        http.script(mac).await.map(|script| (mac, script))
    };
    match found.await {
        Ok((mac, (text, event))) => {
            http.events.tell(Some(mac), event);
            ([(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")], text)
                .into_response()
        }
        Err(refused) => http.refuse(peer, owner(&http, peer), &refused),
    }
}

async fn kernel(
    State(http): State<HttpBoot>,
    Extension(peer): Extension<Peer>,
    Path((mac, token)): Path<(String, String)>,
    method: Method,
) -> Response {
    match http.authorised(&mac, &token, peer).await {
        Ok((mac, target)) => {
            let bytes = target.kernel.size;
            let ending = http.ending(Some(mac), "the kernel", Kind::KernelServed { bytes });
            sized(&method, bytes, || body::told(body::file(target.kernel), bytes, ending))
        }
        Err(refused) => http.refuse(peer, owner(&http, peer), &refused),
    }
}

async fn initrd(
    State(http): State<HttpBoot>,
    Extension(peer): Extension<Peer>,
    Path((mac, token)): Path<(String, String)>,
    method: Method,
) -> Response {
    match http.authorised(&mac, &token, peer).await {
        Ok((mac, target)) => {
            let bytes = body::initrd_bytes(&target.initrd);
            let ending = http.ending(Some(mac), "the initrd", Kind::InitrdServed { bytes });
            sized(&method, bytes, || body::told(body::initrd(target.initrd), bytes, ending))
        }
        Err(refused) => http.refuse(peer, owner(&http, peer), &refused),
    }
}

async fn efi(
    State(http): State<HttpBoot>,
    Extension(peer): Extension<Peer>,
    method: Method,
) -> Response {
    let content = Bytes::copy_from_slice(&http.snponly);
    let bytes = content.len() as u64;
    let served = Kind::EfiServed { file: crate::SNPONLY.to_owned(), bytes };
    let ending = http.ending(owner(&http, peer), crate::SNPONLY, served);
    let content = stream::once(async move { Ok(content) });
    let mut response = sized(&method, bytes, || body::told(content, bytes, ending));
    // UEFI 2.10, section 24.7.3: the type tells firmware that this is a program.
    let efi = header::HeaderValue::from_static("application/efi");
    response.headers_mut().insert(header::CONTENT_TYPE, efi);
    response
}

/// Part of what [`efi`] sends, so it is no event of its own.
async fn autoexec() -> &'static str {
    crate::AUTOEXEC.1
}

async fn nothing_here(State(http): State<HttpBoot>, Extension(peer): Extension<Peer>) -> Response {
    http.refuse(peer, owner(&http, peer), &Refused("no such path"))
}

/// The machine that has this address, for its timeline.
fn owner(http: &HttpBoot, peer: Peer) -> Option<MacAddr> {
    http.events.owner(peer.0)
}

/// An answer of known length; to `HEAD` without the body (RFC 9110, section 9.3.2).
fn sized(method: &Method, bytes: u64, body: impl FnOnce() -> Body) -> Response {
    let content = if *method == Method::HEAD { Body::empty() } else { body() };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, content).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "#!ipxe\necho undercloud: there is nothing here\nexit 1\n")
        .into_response()
}

#[cfg(test)]
mod tests;
