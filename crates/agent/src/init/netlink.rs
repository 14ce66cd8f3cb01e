//! The three requests to the kernel's routing socket that a ramdisk needs: bring an interface up,
//! give it an address, set the default route (rtnetlink(7); RFC 3549).

use std::{io, net::Ipv4Addr};

use ipnet::Ipv4Net;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
        socket_with, sockopt,
    },
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// REQUEST and ACK: a change of what is there (the kernel refuses REPLACE for a link).
const CHANGE: u16 = 0x1 | 0x4;
/// The same with CREATE and REPLACE: doing it twice is the same as once.
const PUT: u16 = CHANGE | 0x100 | 0x400;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// How long the kernel may take to answer.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A routing socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(DEADLINE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings an interface up.
    pub(super) fn up(&mut self, index: u32) -> io::Result<()> {
        self.ask(RTM_NEWLINK, CHANGE, &link_up(index))
    }

    /// Gives an interface an address.
    pub(super) fn add_address(&mut self, index: u32, address: Ipv4Net) -> io::Result<()> {
        self.ask(RTM_NEWADDR, PUT, &new_address(index, address))
    }

    /// Sets the default route.
    pub(super) fn default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.ask(RTM_NEWROUTE, PUT, &default_route(index, gateway))
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let request = message(kind, flags, self.sequence, body);
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &request, SendFlags::empty(), &kernel)?;
        let mut reply = [0u8; 8192];
        loop {
            let (n, _) = recv(&self.socket, &mut reply[..], RecvFlags::empty())?;
            if let Some(code) = acknowledgement(&reply[..n], self.sequence) {
                return if code == 0 {
                    Ok(())
                } else {
                    Err(Errno::from_raw_os_error(-code).into())
                };
            }
        }
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// The error code in the answer to request `sequence`, 0 for success; nothing where the bytes are
/// no such answer.
fn acknowledgement(reply: &[u8], sequence: u32) -> Option<i32> {
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    let answered = u32::from_ne_bytes(reply.get(8..12)?.try_into().ok()?);
    let code = i32::from_ne_bytes(reply.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR && answered == sequence && (-4095..=0).contains(&code)).then_some(code)
}

/// `struct ifinfomsg`.
fn link_up(index: u32) -> Vec<u8> {
    let mut body = vec![0u8; 4];
    body.extend(index.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// `struct ifaddrmsg` and its attributes.
fn new_address(index: u32, address: Ipv4Net) -> Vec<u8> {
    let mut body = vec![AF_INET, address.prefix_len(), 0, 0];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, address.addr().octets());
    attribute(&mut body, IFA_ADDRESS, address.addr().octets());
    body
}

/// `struct rtmsg` and its attributes.
fn default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST];
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, gateway.octets());
    attribute(&mut body, RTA_OIF, index.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    body.extend(8u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Field by field as the structures of rtnetlink(7) have them.
    #[cfg(target_endian = "little")]
    #[test]
    fn requests_are_those_of_the_interface() {
        let address = "192.168.24.101/24".parse().unwrap();
        assert_eq!(
            message(RTM_NEWADDR, PUT, 7, &new_address(2, address)),
            [
                40, 0, 0, 0, 20, 0, 5, 5, 7, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
                2, 24, 0, 0, 2, 0, 0, 0, // ifaddrmsg
                8, 0, 2, 0, 192, 168, 24, 101, // IFA_LOCAL
                8, 0, 1, 0, 192, 168, 24, 101, // IFA_ADDRESS
            ]
        );
        assert_eq!(link_up(2), [0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn the_kernel_answers_for_an_interface_that_is_not_there() {
        let mut netlink = Netlink::open().unwrap();
        let error = netlink.up(u32::MAX >> 1).unwrap_err();
        let code = error.raw_os_error().unwrap();
        // No such device; or, without the right to change any, not permitted.
        assert!(code == 19 || code == 1, "{error}");
    }

    proptest! {
        #[test]
        fn any_answer_is_read(reply: Vec<u8>, sequence: u32) {
            let _ = acknowledgement(&reply, sequence);
        }
    }
}
