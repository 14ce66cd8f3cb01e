//! Work inside a network namespace, from a process that stays outside.
//!
//! A thread of its own enters the namespace, does one thing (opens a socket, starts a child) and
//! ends. What it opened stays inside for good: a socket belongs to the namespace it was made in.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    thread,
};

use camino::Utf8PathBuf;
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::LabError;

/// Longest queue of connections that nobody has accepted yet.
const BACKLOG: i32 = 128;

/// Where `ip netns` keeps the namespace.
pub fn path(namespace: &str) -> Utf8PathBuf {
    Utf8PathBuf::from("/run/netns").join(namespace)
}

/// Runs `work` on a thread that has entered the namespace. Blocks until it is done.
///
/// # Errors
/// When the namespace does not exist or may not be entered.
pub fn enter_and<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let failed = |source| LabError::Namespace { namespace: namespace.to_owned(), source };
    let fd = rustix::fs::open(
        path(namespace).as_std_path(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| failed(error.into()))?;
    let entered = thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, || {
                move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let entered: Result<T, io::Error> = entered.map_err(failed)?;
    entered.map_err(failed)
}

/// Opens a UDP socket inside the namespace, bound to `address`, and to one interface when
/// `device` names it. With `broadcast` it may send to 255.255.255.255. Not blocking, ready for
/// `tokio::net::UdpSocket::from_std`.
///
/// # Errors
/// When the namespace cannot be entered or the socket cannot be bound.
pub fn open_udp(
    namespace: &str,
    address: SocketAddrV4,
    device: Option<&str>,
    broadcast: bool,
) -> Result<UdpSocket, LabError> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.set_broadcast(broadcast)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let failed = socket_error("UDP", address, namespace);
    enter_and(namespace, open)?.map_err(failed)
}

/// Opens a listening TCP socket inside the namespace. Not blocking, ready for
/// `tokio::net::TcpListener::from_std`. An address that is not there yet is accepted, so that the
/// order of bridges and listeners does not matter.
///
/// # Errors
/// When the namespace cannot be entered or the socket cannot be bound.
pub fn open_tcp_listener(namespace: &str, address: SocketAddrV4) -> Result<TcpListener, LabError> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_freebind_v4(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let failed = socket_error("TCP", address, namespace);
    enter_and(namespace, open)?.map_err(failed)
}

/// Opens a TCP connection from inside the namespace, for whoever outside wants to talk to a
/// machine.
///
/// # Errors
/// When the namespace cannot be entered, or nobody answers within `deadline`.
pub fn connect_tcp(
    namespace: &str,
    address: SocketAddrV4,
    deadline: std::time::Duration,
) -> Result<std::net::TcpStream, LabError> {
    let failed = socket_error("TCP", address, namespace);
    enter_and(namespace, || std::net::TcpStream::connect_timeout(&address.into(), deadline))?
        .map_err(failed)
}

/// The wildcard address with this port.
pub fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

fn socket_error(
    what: &'static str,
    address: SocketAddrV4,
    namespace: &str,
) -> impl FnOnce(io::Error) -> LabError {
    let namespace = namespace.to_owned();
    move |source| LabError::Socket { what, address: address.to_string(), namespace, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let error = enter_and("uc-not-there", || ()).unwrap_err();
        assert!(
            matches!(&error, LabError::Namespace { namespace, .. } if namespace == "uc-not-there")
        );
        assert!(error.to_string().contains("uc-not-there"));
    }
}
