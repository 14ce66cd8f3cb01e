//! Entry points for the fuzz targets: everything here takes bytes that somebody else sent, and what
//! they lead to is checked.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    boots::Lease,
    dhcp,
    tftp::{self, Transfer, TransferState},
};

/// An answer of a time server, or a question.
pub use crate::ntp::decode_any as ntp;

/// A transfer's file: some windows long.
const FILE_BYTES: usize = 20_000;

/// The next field: a byte of length, then the bytes.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first()?;
    let (bytes, next) = tail.split_at(usize::from(*length).min(tail.len()));
    *rest = next;
    Some(bytes)
}

/// One datagram: read as the server and the watcher do, and answered in every way that the server
/// has. The machine's own half understands each offer.
///
/// # Panics
/// When an answer is none.
pub fn dhcp(bytes: &[u8]) {
    dhcp::decode_any(bytes);
    let Ok(lease) = "192.0.2.10/24".parse() else { return };
    let gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
    let (dns, hostname) = (gateway.into_iter().collect(), Some("controller-0".to_owned()));
    let lease = Lease { address: lease, gateway, dns, lease_seconds: 600, hostname };
    dhcp::answer_any(bytes, &lease);
}

/// A conversation: after a request, datagrams of the client (a byte of length before each) and
/// time-outs (a length of 255). No packet is longer, and no window larger, than was agreed, and no
/// client keeps a transfer going by silence.
///
/// # Panics
/// When it is not so.
pub fn tftp(mut bytes: &[u8]) {
    tftp::decode_any(bytes);
    let Some(request) = field(&mut bytes) else { return };
    let Some(agreed) = tftp::agreed(request) else { return };
    let (block, window) = (usize::from(agreed.block_bytes), usize::from(agreed.window));
    let mut transfer = Transfer::new(Arc::from(vec![7; FILE_BYTES]), agreed);
    let mut silences = 0;
    while *transfer.state() == TransferState::Running {
        let packets = transfer.packets();
        assert!(!packets.is_empty() && packets.len() <= window.max(1), "{transfer:?}");
        let longest = packets.iter().map(Vec::len).max().unwrap_or_default();
        assert!(longest <= block.max(512) + 4, "{longest} bytes: {transfer:?}");
        match bytes.split_first() {
            Some((length, _)) if *length < u8::MAX => {
                let Some(packet) = field(&mut bytes).and_then(tftp::from_client) else { continue };
                if transfer.on_packet(packet) {
                    silences = 0;
                }
            }
            more => {
                bytes = more.map_or(&[][..], |(_, rest)| rest);
                transfer.on_timeout();
                silences += 1;
                assert!(silences < 100, "it goes on for ever: {transfer:?}");
            }
        }
    }
    assert!(transfer.packets().is_empty(), "it is over: {transfer:?}");
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn what_others_send_does_no_harm(bytes in vec(any::<u8>(), 0..400)) {
            dhcp(&bytes);
            tftp(&bytes);
        }

        #[test]
        fn a_transfer_of_any_acknowledgements_ends(acks in vec(any::<(bool, u16)>(), 0..60)) {
            let request = b"\0\x01undionly.kpxe\0octet\0blksize\x00512\0windowsize\x004\0";
            let mut bytes = vec![u8::try_from(request.len()).unwrap()];
            bytes.extend(request);
            for (is_silence, number) in acks {
                match is_silence {
                    true => bytes.push(255),
                    false => {
                        let [high, low] = (number % 64).to_be_bytes();
                        bytes.extend([4, 0, 4, high, low]);
                    }
                }
            }
            tftp(&bytes);
        }
    }
}
