//! Answers router solicitations (RFC 4861) with "there is no router and nothing to configure".
//!
//! iPXE configures IPv4 and IPv6 side by side and boots when both have ended. Nobody answers it on a
//! network without IPv6, so it asks until it gives up, 12 seconds after it has its IPv4 address.
//! An advertisement with the managed and other flags clear, lifetime 0 and no prefix ends its IPv6
//! part at once, and changes nothing in any other machine.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;
use undercloud_serve::{Datagrams, Patience, receive};

use crate::{rate::Rate, sockets::RouterSocket};

/// ICMPv6 type 133.
const ROUTER_SOLICITATION: u8 = 133;
/// All nodes (RFC 4291, section 2.7.1): iPXE does not answer for the address it solicits from yet.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Type 134, code 0, checksum (the kernel's work), hop limit unspecified, no flags, lifetime 0,
/// reachable time and retransmission timer unspecified (RFC 4861, section 4.2).
const NO_ROUTER: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whether this is a router solicitation: type 133, code 0, at least 8 bytes (section 6.1.1).
fn is_solicitation(packet: &[u8]) -> bool {
    matches!(packet, [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, ..])
}

/// Makes a socket ready for [`serve`], and says where its answers go.
///
/// # Errors
/// The socket is not usable.
pub(crate) fn ready(router: RouterSocket) -> io::Result<(UdpSocket, SocketAddr)> {
    let to = SocketAddr::V6(SocketAddrV6::new(ALL_NODES, 0, 0, router.interface));
    router.socket.set_nonblocking(true)?;
    // A datagram socket to tokio; the kernel does not mind which.
    Ok((UdpSocket::from_std(router.socket.into())?, to))
}

/// Answers until it is dropped.
pub(crate) async fn serve(socket: impl Datagrams, to: SocketAddr) {
    let mut rate = Rate::new(20, Duration::from_millis(100), 1);
    let mut buffer = [0u8; 256];
    let mut patience = Patience::new("router advertisements");
    loop {
        let (len, _) = receive(&socket, &mut buffer, &mut patience).await;
        if is_solicitation(&buffer[..len]) && rate.allow((), Instant::now()) {
            // A full queue or an interface that is down: the machine asks again.
            if let Err(error) = socket.send_to(&NO_ROUTER, to).await {
                tracing::debug!(%error, "router advertisement not sent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_solicitations_are_answered() {
        assert!(is_solicitation(&[133, 0, 1, 2, 0, 0, 0, 0]));
        assert!(is_solicitation(&[133, 0, 1, 2, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]));
        for other in
            [&[][..], &[133], &[133, 0, 0, 0, 0, 0, 0], &[134; 16], &[133, 1, 0, 0, 0, 0, 0, 0]]
        {
            assert!(!is_solicitation(other));
        }
    }
}
