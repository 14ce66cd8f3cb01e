//! Makes the servers of one network; whoever asks for them runs them.

use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc};

use camino::Utf8Path;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::{
    AUTOEXEC, SNPONLY, UNDIONLY,
    boots::Boots,
    dhcp::{self, Dhcp, Watch},
    events::{self, Events},
    http::{self, HttpBoot},
    ntp::{self, HostClock},
    routers,
    sockets::NetbootSockets,
    tftp::{self, Tftp},
};

/// Where DHCP servers listen.
const DHCP_SERVERS: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);
/// The parts without which machines boot all the same.
pub const WATCH: &str = "watch for DHCP servers";
/// Another.
pub const ROUTERS: &str = "router advertisements";
/// The third.
pub const TIME: &str = "time for machines";
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
    /// What machines are told that the time is.
    pub clock: HostClock,
}

/// It did not start.
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
}

/// Something that runs until it is told to stop.
pub type Running = BoxFuture<'static, ()>;

/// Begins something that runs until it is told to stop; again, if that ended.
pub type Begin = Box<dyn Fn() -> Running + Send + Sync>;

/// What is to be run, each for ever and as a task of its own: whoever runs them notices when one
/// ends. All end when `stop` is cancelled, within some seconds; what was under way is finished until
/// then, and the events that still wait are handed over.
pub struct Parts {
    /// Without these no machine boots.
    pub essential: Vec<(&'static str, Running)>,
    /// Without these machines boot, slower or unwatched. They can be started again.
    pub helpful: Vec<(&'static str, Begin)>,
    /// Ends them.
    pub stop: CancellationToken,
    /// The HTTP server's port.
    pub http_port: u16,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let essential: Vec<_> = self.essential.iter().map(|(name, _)| name).collect();
        let helpful: Vec<_> = self.helpful.iter().map(|(name, _)| name).collect();
        f.debug_struct("Parts")
            .field("essential", &essential)
            .field("helpful", &helpful)
            .field("http_port", &self.http_port)
            .finish_non_exhaustive()
    }
}

/// Network boot on one network.
#[derive(Debug)]
pub struct Netboot;

impl Netboot {
    /// Makes all servers, on the current runtime.
    ///
    /// # Errors
    /// A socket is not usable.
    pub fn parts(config: NetbootConfig, boots: Arc<dyn Boots>) -> Result<Parts, NetbootError> {
        let NetbootConfig { server, sockets, files, clock } = config;
        let fail = |what| move |source| NetbootError::Socket { what, source };
        let dhcp = udp(sockets.dhcp).map_err(fail("DHCP port"))?;
        let dhcp_watch =
            sockets.dhcp_watch.map(udp).transpose().map_err(fail("DHCP client port"))?;
        let tftp = udp(sockets.tftp).map_err(fail("TFTP port"))?;
        sockets.http.set_nonblocking(true).map_err(fail("HTTP boot port"))?;
        let http = TcpListener::from_std(sockets.http).map_err(fail("HTTP boot port"))?;
        let http_port = http.local_addr().map_err(fail("HTTP boot port"))?.port();
        let routers = sockets.routers.map(routers::ready).transpose();
        let routers = routers.map_err(fail("ICMPv6 socket"))?;

        let time = sockets.time.map(udp).transpose().map_err(fail("NTP port"))?;

        let (events, queue) = Events::new();
        let watch = Watch::new(server).map_err(NetbootError::Random)?;
        let stop = CancellationToken::new();
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
        let (router, told) = (http_server.router(), events.clone());
        let http = http::serve("HTTP boot", http, router, told, http::boot_rate(), stop.clone());
        let essential = vec![
            ("DHCP", until(&stop, dhcp::serve(dhcp, dhcp_server))),
            ("TFTP", tftp::serve(tftp, tftp_server, stop.clone()).boxed()),
            ("HTTP boot", http.boxed()),
            // Every sender is gone with the servers, so it ends at the end of the queue.
            ("boot events", events::carry_until(stop.clone(), queue, boots).boxed()),
        ];
        let mut helpful: Vec<(_, Begin)> = Vec::new();
        if let Some(socket) = dhcp_watch {
            let (socket, stop) = (Arc::new(socket), stop.clone());
            let run = move || {
                let (socket, watch, events) = (socket.clone(), watch.clone(), events.clone());
                until(&stop, dhcp::watch(socket, DHCP_SERVERS.into(), watch, events))
            };
            helpful.push((WATCH, Box::new(run)));
        }
        if let Some(socket) = time {
            let (socket, stop) = (Arc::new(socket), stop.clone());
            let run = move || until(&stop, ntp::serve(socket.clone(), clock.clone()));
            helpful.push((TIME, Box::new(run)));
        }
        if let Some((socket, to)) = routers {
            let (socket, stop) = (Arc::new(socket), stop.clone());
            let run = move || until(&stop, routers::serve(socket.clone(), to));
            helpful.push((ROUTERS, Box::new(run)));
        }
        Ok(Parts { essential, helpful, stop, http_port })
    }
}

/// The same, ended at once when it is to stop.
fn until(stop: &CancellationToken, run: impl Future<Output = ()> + Send + 'static) -> Running {
    let stop = stop.clone();
    async move {
        let _ended = stop.run_until_cancelled_owned(run).await;
    }
    .boxed()
}

fn udp(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
