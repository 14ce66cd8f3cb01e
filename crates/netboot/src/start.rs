//! Starts the servers of one network and ends them.

use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc};

use camino::Utf8Path;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    task::{JoinError, JoinSet},
};

use crate::{
    AUTOEXEC, SNPONLY, UNDIONLY,
    boots::{BootEvent, Boots},
    dhcp::{self, Dhcp, Watch},
    events::{self, Events},
    http::{self, HttpBoot},
    routers,
    sockets::NetbootSockets,
    tftp::{self, Tftp},
};

/// Where DHCP servers listen.
const DHCP_SERVERS: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);
/// A boot program is at most this long; what is longer is another file.
const BOOT_FILE_BYTES_MAX: u64 = 4 << 20;

/// The programs that plain firmware loads: iPXE, as Debian's package `ipxe` has it.
#[derive(Clone)]
pub struct BootFiles {
    /// For BIOS.
    pub undionly_kpxe: Arc<[u8]>,
    /// For UEFI, x86-64; uses the firmware's own network driver.
    pub snponly_efi: Arc<[u8]>,
}

impl std::fmt::Debug for BootFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bios, uefi) = (self.undionly_kpxe.len(), self.snponly_efi.len());
        write!(f, "BootFiles({UNDIONLY}: {bios} bytes, {SNPONLY}: {uefi} bytes)")
    }
}

/// A boot program that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the boot program {path}")]
pub struct BootFileError {
    /// Which.
    pub path: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl BootFiles {
    /// Reads both from a directory such as `/usr/lib/ipxe`.
    ///
    /// # Errors
    /// One is missing, empty or too long.
    pub fn open(directory: &Utf8Path) -> Result<Self, BootFileError> {
        let read = |name: &str| {
            let path = directory.join(name);
            let fail = |source| BootFileError { path: path.to_string(), source };
            let len = std::fs::metadata(&path).map_err(fail)?.len();
            if len == 0 || len > BOOT_FILE_BYTES_MAX {
                return Err(fail(io::Error::other("it is empty or longer than 4 MiB")));
            }
            Ok(Arc::from(std::fs::read(&path).map_err(fail)?))
        };
        Ok(Self { undionly_kpxe: read(UNDIONLY)?, snponly_efi: read(SNPONLY)? })
    }
}

/// What to start.
#[derive(Debug)]
pub struct NetbootConfig {
    /// Our address on the machines' network: DHCP server identifier, TFTP and HTTP server.
    pub server: Ipv4Addr,
    /// The sockets there.
    pub sockets: NetbootSockets,
    /// What plain firmware loads.
    pub files: BootFiles,
}

/// It did not start, or one of its servers ended.
#[derive(Debug, thiserror::Error)]
pub enum NetbootError {
    /// A socket is not usable.
    #[error("cannot use the {what}")]
    Socket {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel gives no random bytes.
    #[error("cannot invent a MAC address")]
    Random(#[source] getrandom::Error),
    /// A server ended.
    #[error("the {what} ended")]
    Ended {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<io::Error>,
    },
    /// A server panicked.
    #[error("a network boot server panicked")]
    Panicked(#[source] JoinError),
}

/// Network boot on one network.
#[derive(Debug)]
pub struct Netboot;

/// The running servers. They end when this is dropped.
#[derive(Debug)]
pub struct NetbootHandle {
    servers: JoinSet<(&'static str, io::Result<()>)>,
    carrier: JoinSet<()>,
    http_port: u16,
}

impl Netboot {
    /// Starts all servers on the current runtime.
    ///
    /// # Errors
    /// A socket is not usable.
    pub fn start(
        config: NetbootConfig,
        boots: Arc<dyn Boots>,
    ) -> Result<NetbootHandle, NetbootError> {
        let NetbootConfig { server, sockets, files } = config;
        let fail = |what| move |source| NetbootError::Socket { what, source };
        let dhcp = udp(sockets.dhcp).map_err(fail("DHCP port"))?;
        let dhcp_watch =
            sockets.dhcp_watch.map(udp).transpose().map_err(fail("DHCP client port"))?;
        let tftp = udp(sockets.tftp).map_err(fail("TFTP port"))?;
        sockets.http.set_nonblocking(true).map_err(fail("HTTP boot port"))?;
        let http = TcpListener::from_std(sockets.http).map_err(fail("HTTP boot port"))?;
        let http_port = http.local_addr().map_err(fail("HTTP boot port"))?.port();

        let (events, queue): (Events, mpsc::Receiver<BootEvent>) = Events::new();
        let watch = Watch::new(server).map_err(NetbootError::Random)?;
        let dhcp_server =
            Dhcp::new(server, http_port, Arc::clone(&boots), events.clone(), watch.clone());
        let names = BTreeMap::from([
            (UNDIONLY.to_owned(), files.undionly_kpxe),
            (SNPONLY.to_owned(), Arc::clone(&files.snponly_efi)),
            (AUTOEXEC.0.to_owned(), AUTOEXEC.1.as_bytes().into()),
        ]);
        let tftp_server = Tftp::new(names, sockets.tftp_transfers, events.clone());
        let http_server = HttpBoot {
            server,
            port: http_port,
            boots: Arc::clone(&boots),
            events: events.clone(),
            snponly: files.snponly_efi,
        };

        let mut servers = JoinSet::new();
        servers.spawn(async { ("DHCP server", dhcp::serve(dhcp, dhcp_server).await) });
        servers.spawn(async { ("TFTP server", tftp::serve(tftp, tftp_server).await) });
        let (router, told) = (http_server.router(), events.clone());
        let serve = http::serve(http, router, told, http::boot_rate());
        servers.spawn(async { ("HTTP boot server", serve.await) });
        if let Some(socket) = dhcp_watch {
            let to = DHCP_SERVERS.into();
            servers.spawn(async move {
                ("watch for DHCP servers", dhcp::watch(socket, to, watch, events).await)
            });
        }
        if let Some(socket) = sockets.routers {
            servers.spawn(async { ("router advertisements", routers::serve(socket).await) });
        }
        let mut carrier = JoinSet::new();
        carrier.spawn(events::carry(queue, boots));
        Ok(NetbootHandle { servers, carrier, http_port })
    }
}

impl NetbootHandle {
    /// The HTTP boot server's port.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Waits for one of the servers to end, which none does by itself.
    pub async fn ended(&mut self) -> NetbootError {
        match self.servers.join_next().await {
            Some(Ok((what, result))) => NetbootError::Ended { what, source: result.err() },
            Some(Err(error)) => NetbootError::Panicked(error),
            None => NetbootError::Ended { what: "last server", source: None },
        }
    }

    /// Ends the servers, transfers under way too, and hands over the events that still wait.
    pub async fn shutdown(mut self) {
        self.servers.shutdown().await;
        // Every sender is gone with the servers, so the carrier ends at the end of the queue.
        while self.carrier.join_next().await.is_some() {}
    }
}

fn udp(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
