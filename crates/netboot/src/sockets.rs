//! Opens the sockets on the provisioning interface, in the namespace that has it. The daemon stays
//! in its own namespace: one thread enters the other, opens what is asked for and hands it over.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::start::{ROUTERS, TIME, WATCH};

/// Makes the socket of a TFTP transfer: bound to a port of its own on the provisioning interface.
pub type TransferSockets = Arc<dyn Fn() -> io::Result<UdpSocket> + Send + Sync>;

/// `ff02::2`, where machines look for routers (RFC 4291, section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Opening a socket does not wait for anything.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// Requests to the opening thread that may wait.
const REQUESTS_MAX: usize = 64;

/// The sockets of one network. All are bound to its interface.
pub struct NetbootSockets {
    /// UDP port 67, may broadcast.
    pub dhcp: UdpSocket,
    /// UDP port 68, may broadcast: hears other servers. Without it they are not looked for.
    pub dhcp_watch: Option<UdpSocket>,
    /// UDP port 69.
    pub tftp: UdpSocket,
    /// For each TFTP transfer.
    pub tftp_transfers: TransferSockets,
    /// The HTTP boot server's.
    pub http: TcpListener,
    /// UDP port 123. Without it the host's own time server may have it, or nobody tells the time.
    pub time: Option<UdpSocket>,
    /// ICMPv6, member of `ff02::2`. Without it iPXE waits for routers, 12 seconds each time.
    pub routers: Option<RouterSocket>,
}

impl fmt::Debug for NetbootSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetbootSockets")
            .field("dhcp", &self.dhcp)
            .field("tftp", &self.tftp)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// A raw ICMPv6 socket, and the interface it is for.
#[derive(Debug)]
pub struct RouterSocket {
    pub(crate) socket: Socket,
    pub(crate) interface: u32,
}

/// Where to open them.
#[derive(Debug)]
pub struct Place<'a> {
    /// The network namespace, as an open `/run/netns/NAME`; `None` is the caller's own.
    pub namespace: Option<OwnedFd>,
    /// The interface that the machines are on.
    pub interface: &'a str,
    /// Our address on it.
    pub server: Ipv4Addr,
    /// The HTTP boot server's port.
    pub http_port: u16,
}

/// A socket that was not opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the {what} on {interface}")]
pub struct OpenError {
    /// Which one.
    pub what: &'static str,
    /// Where.
    pub interface: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl OpenError {
    /// Whether the host has no IPv6 at all (`ipv6.disable=1`): then nobody there speaks it, and no
    /// more is missing than that.
    pub fn is_without_ipv6(&self) -> bool {
        self.source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }
}

/// What came of opening them.
#[derive(Debug)]
pub struct Opened {
    /// The sockets.
    pub sockets: NetbootSockets,
    /// The parts that go without theirs, and why.
    pub missing: Vec<(&'static str, OpenError)>,
}

impl NetbootSockets {
    /// Opens them all; DHCP, watch and TFTP on their well-known ports. Without three of them
    /// machines boot all the same: the ports of DHCP clients and of NTP, which the host's own programs
    /// may have, and the routers' on a host without IPv6. Those may be missing.
    ///
    /// # Errors
    /// The first of the others that cannot be opened.
    pub fn open(place: Place<'_>) -> Result<Opened, OpenError> {
        let interface = place.interface.to_owned();
        let fail = |what| {
            let interface = interface.clone();
            move |source| OpenError { what, interface, source }
        };
        let server = place.server;
        let opener = Opener::start(place.namespace).map_err(fail("network namespace"))?;
        let name = interface.clone();
        let udp = |what, address: Ipv4Addr, port, broadcast| {
            let name = name.clone();
            opener.run(move || udp_socket(&name, address, port, broadcast)).map_err(fail(what))
        };
        let any = Ipv4Addr::UNSPECIFIED;
        let dhcp = udp("DHCP port", any, 67, true)?;
        let tftp = udp("TFTP port", server, 69, false)?;
        let http = (name.clone(), place.http_port);
        let http = opener
            .run(move || http_listener(&http.0, server, http.1))
            .map_err(fail("HTTP boot port"))?;
        let mut missing = Vec::new();
        let dhcp_watch = udp("DHCP client port", any, 68, true);
        let dhcp_watch = dhcp_watch.map_err(|error| missing.push((WATCH, error))).ok();
        let time = udp("NTP port", server, 123, false);
        let time = time.map_err(|error| missing.push((TIME, error))).ok();
        let routers = name.clone();
        let routers = opener.run(move || router_socket(&routers)).map_err(fail("ICMPv6 socket"));
        let routers = routers.map_err(|error| missing.push((ROUTERS, error))).ok();
        let tftp_transfers: TransferSockets = Arc::new(move || {
            let name = name.clone();
            opener.run(move || udp_socket(&name, server, 0, false))
        });
        let sockets = Self { dhcp, dhcp_watch, tftp, tftp_transfers, http, time, routers };
        Ok(Opened { sockets, missing })
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in the other namespace. It ends when this is dropped.
struct Opener(mpsc::SyncSender<Job>);

impl Opener {
    fn start(namespace: Option<OwnedFd>) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let (jobs, queue) = mpsc::sync_channel::<Job>(REQUESTS_MAX);
        let (entered, answer) = mpsc::sync_channel(1);
        thread::Builder::new().name("netboot-sockets".to_owned()).spawn(move || {
            let result = namespace.map_or(Ok(()), |namespace| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            });
            let failed = result.is_err();
            if entered.send(result).is_err() || failed {
                return;
            }
            for job in queue {
                job();
            }
        })?;
        answer.recv_timeout(OPEN_DEADLINE).map_err(io::Error::other)??;
        Ok(Self(jobs))
    }

    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, answer) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.0.try_send(job).map_err(|error| io::Error::other(error.to_string()))?;
        answer.recv_timeout(OPEN_DEADLINE).map_err(io::Error::other)?
    }
}

fn udp_socket(
    interface: &str,
    address: Ipv4Addr,
    port: u16,
    broadcast: bool,
) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(broadcast)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(address), port).into())?;
    Ok(socket.into())
}

fn http_listener(interface: &str, address: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_reuse_address(true)?; // connections of the daemon before us may linger
    socket.bind(&SocketAddr::new(IpAddr::V4(address), port).into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

fn router_socket(interface: &str) -> io::Result<RouterSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    // RFC 4861, sections 4.2 and 6.1.2: an advertisement with another hop limit is dropped.
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(RouterSocket { socket, interface: index })
}
