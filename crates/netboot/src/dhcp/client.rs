//! Which program on the machine asks: options 60, 77, 93 (RFC 4578, section 2; RFC 3004) and iPXE's
//! option 175.

use std::fmt;

use super::message::{Message, code};

/// iPXE's features in option 175: HTTP (iPXE, `ipxe/features.h`, `DHCP_EB_FEATURE_HTTP`).
const IPXE_FEATURE_HTTP: u8 = 19;

/// A program that asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// An operating system, or our ramdisk: boots nothing.
    System,
    /// iPXE that can fetch over HTTP.
    Ipxe,
    /// A PXE ROM of a BIOS machine.
    BiosPxe,
    /// UEFI's PXE, x86-64.
    UefiPxe,
    /// UEFI's HTTP boot, x86-64.
    UefiHttp,
    /// Firmware of another architecture, with its number.
    Unsupported(u16),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("its system"),
            Self::Ipxe => f.write_str("iPXE"),
            Self::BiosPxe => f.write_str("its BIOS (PXE)"),
            Self::UefiPxe => f.write_str("its UEFI (PXE)"),
            Self::UefiHttp => f.write_str("its UEFI (HTTP boot)"),
            Self::Unsupported(architecture) => write!(f, "firmware of type {architecture}"),
        }
    }
}

impl Client {
    /// Who sent this request.
    pub(crate) fn of(request: &Message) -> Self {
        let options = &request.options;
        let class = options.get(code::CLASS).unwrap_or_default();
        let architecture = match options.get(code::ARCHITECTURE) {
            // A list, the best first; one ROM sends a lone byte, which says nothing.
            Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        let pxe = class.starts_with(b"PXEClient");
        let http = class.starts_with(b"HTTPClient");
        // x86 BIOS; EFI x86-64 and EFI byte code, which x86-64 firmware sends just as often
        // (RFC 4578 errata 4625); x86-64 over HTTP (IANA, "Processor Architecture Types").
        let known = matches!(architecture, 0 | 7 | 9 | 16);
        if is_ipxe_with_http(request) && known {
            return Self::Ipxe;
        }
        match architecture {
            0 if pxe => Self::BiosPxe,
            7 | 9 if pxe => Self::UefiPxe,
            16 if http => Self::UefiHttp,
            other if pxe || http => Self::Unsupported(other),
            _ => Self::System,
        }
    }
}

/// iPXE says so in its user class and lists its features in option 175. One without HTTP (a
/// vendor's ROM) is treated as the plain ROM that it replaces, and is given ours.
fn is_ipxe_with_http(request: &Message) -> bool {
    let features = request.options.get(code::IPXE);
    let class = request.options.get(code::USER_CLASS).unwrap_or_default();
    // RFC 3004 wants a length before each class; iPXE sends the bare text.
    let named = class == b"iPXE" || class == b"\x04iPXE";
    match features {
        Some(features) => has_option(features, IPXE_FEATURE_HTTP),
        None => named,
    }
}

fn has_option(mut encapsulated: &[u8], wanted: u8) -> bool {
    while let [code, rest @ ..] = encapsulated {
        match (*code, rest) {
            (255, _) => return false,
            (0, rest) => encapsulated = rest,
            (code, [len, rest @ ..]) => {
                if code == wanted {
                    return true;
                }
                encapsulated = rest.get(usize::from(*len)..).unwrap_or_default();
            }
            (_, []) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::request;
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    #[test]
    fn clients_are_told_apart() {
        type Sent<'a> = &'a [(u8, &'a [u8])];
        let http = &[0xb1, 1, 0, 19, 1, 1][..];
        let cases: [(Sent<'_>, Client); 13] = [
            (&[], Client::System),
            (&[(60, b"MSFT 5.0")], Client::System),
            (&[(60, b"PXEClient:Arch:00000:UNDI:002001"), (93, &[0, 0])], Client::BiosPxe),
            (&[(60, b"PXEClient")], Client::BiosPxe),
            (&[(60, b"PXEClient:Arch:00007:UNDI:003000"), (93, &[0, 7])], Client::UefiPxe),
            (&[(60, b"PXEClient"), (93, &[0, 9])], Client::UefiPxe),
            (&[(60, b"HTTPClient:Arch:00016"), (93, &[0, 16])], Client::UefiHttp),
            (&[(60, b"PXEClient"), (93, &[0, 11])], Client::Unsupported(11)),
            (&[(60, b"PXEClient"), (93, &[0, 0]), (77, b"iPXE"), (175, http)], Client::Ipxe),
            (&[(60, b"PXEClient"), (93, &[0, 7]), (175, http)], Client::Ipxe),
            (&[(77, b"\x04iPXE")], Client::Ipxe),
            (&[(60, b"PXEClient"), (77, b"iPXE"), (175, &[21, 1, 1])], Client::BiosPxe),
            (&[(60, b"PXEClient"), (93, &[0, 11]), (175, http)], Client::Unsupported(11)),
        ];
        for (options, client) in cases {
            assert_eq!(Client::of(&request(MAC, options)), client, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn any_option_is_read(bytes: Vec<u8>, architecture: Vec<u8>) {
            let _ = Client::of(&request(MAC, &[(93, &architecture), (175, &bytes)]));
            let _ = has_option(&bytes, 19);
        }
    }
}
