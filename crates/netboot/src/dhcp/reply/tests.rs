//! Requests as real firmware sent them, and what each is answered with.

use super::*;
use crate::dhcp::message::{Op, tests::request};
use proptest::{collection::vec, prelude::*};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 24, 1);
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x10];

/// First bytes, then options, of requests captured from QEMU machines with SeaBIOS and OVMF.
const CAPTURED: [(&str, Client, &str, &str); 6] = [
    (
        "iPXE 1.0.0+ (2019) option ROM, BIOS, DISCOVER",
        Client::Ipxe,
        "01010600ad250a0500040000",
        "350101390205c05d0200005e030102013c20505845436c69656e743a417263683a30303030303a554e44493a303032\
         3030314d04695058453717010306070c0f111a2b3c4243778081828384858687afcbaf30b105011af41000eb030100\
         001701012201011301011101012701011901012901011001022101011501011801011201013d070152540012341061\
         110000000000000000000000000000000000ff",
    ),
    (
        "iPXE 1.0.0+ (2019) option ROM, BIOS, REQUEST",
        Client::Ipxe,
        "01010600ad250a05000a0000",
        "350103390205c05d0200005e030102013c20505845436c69656e743a417263683a30303030303a554e44493a303032\
         3030314d04695058453717010306070c0f111a2b3c4243778081828384858687afcbaf30b105011af41000eb030100\
         001701012201011301011101012701011901012901011001022101011501011801011201013d070152540012341061\
         1100000000000000000000000000000000003604c0a818013204c0a81810ff",
    ),
    (
        "OVMF 2022.11 PXE, DISCOVER",
        Client::UefiPxe,
        "0101060007e2af0900008000",
        "350101390205c037230102030405060c0d0f111216171c28292a2b3233363a3b3c4243618081828384858687611100\
         000000000000000000000000000000005e030103005d0200073c20505845436c69656e743a417263683a3030303037\
         3a554e44493a303033303030ff",
    ),
    (
        "OVMF 2022.11 PXE, REQUEST",
        Client::UefiPxe,
        "0101060007e2af0900008000",
        "3501033604c0a818013204c0a818103902ff0037230102030405060c0d0f111216171c28292a2b3233363a3b3c4243\
         618081828384858687611100000000000000000000000000000000005e030103005d0200073c20505845436c69656e\
         743a417263683a30303030373a554e44493a303033303030ff",
    ),
    (
        "OVMF 2022.11 HTTP boot, DISCOVER",
        Client::UefiHttp,
        "01010600f0b3bad400008000",
        "350101390205c0371b0102030405060c0d0f111216171c28292a2b3233363a3b3ceb43616111000000000000000000\
         00000000000000005e030103005d0200103c2148545450436c69656e743a417263683a30303031363a554e44493a30\
         3033303030ff",
    ),
    (
        "iPXE 1.21.1+ (2025) snponly.efi, DISCOVER",
        Client::Ipxe,
        "01010600d0b5745400048000",
        "350101390205c05d0200075e0301030a3c09505845436c69656e744d04695058453718010306070c0f111a2a2b3c42\
         43778081828384858687afcbaf2ab105011af41000eb03010000260101170101270101240101130101140101110101\
         2901011501011201013d070152540012341061110000000000000000000000000000000000ff",
    ),
];

fn captured(head: &str, options: &str) -> Message {
    let mut bytes = hex::decode(head).unwrap();
    bytes.resize(28, 0);
    bytes.extend(MAC);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend(hex::decode(options).unwrap());
    Message::decode(&bytes).unwrap()
}

fn lease() -> Lease {
    Lease {
        address: "192.168.24.16/24".parse().unwrap(),
        gateway: Some(SERVER),
        dns: vec![SERVER; 20],
        lease_seconds: 3600,
        hostname: Some("controller-0".to_owned()),
    }
}

fn answer(request: &Request, kind: MessageType, boot: Option<&str>) -> (Message, SocketAddrV4) {
    let (bytes, to) = request.answer(kind, SERVER, &lease(), boot);
    assert!((300..=576).contains(&bytes.len()), "{} bytes", bytes.len());
    (Message::decode(&bytes).unwrap(), to)
}

#[test]
fn real_firmware_is_recognised_and_answered() {
    for (name, client, head, options) in CAPTURED {
        let message = captured(head, options);
        let request = Request::read(message.clone()).unwrap();
        assert_eq!(request.mac, MacAddr::from_bytes(MAC), "{name}");
        assert_eq!(request.client, client, "{name}");
        let wanted = match message.message_type() {
            Some(MessageType::Discover) => Want::Offer,
            _ => Want::Address { address: lease().address.addr(), server: Some(SERVER) },
        };
        assert_eq!(request.want, wanted, "{name}");

        let (reply, to) = answer(&request, MessageType::Offer, Some("file"));
        assert_eq!((reply.op, reply.xid), (Op::Reply, message.xid), "{name}");
        assert_eq!(reply.chaddr, message.chaddr, "{name}");
        assert_eq!(reply.options.get(97), message.options.get(97), "{name}");
        assert_eq!(reply.options.address(54), Some(SERVER), "{name}");
        assert_eq!((reply.yiaddr, reply.siaddr), (lease().address.addr(), SERVER), "{name}");
        assert_eq!(reply.file, b"file", "{name}");
        let file: &[u8] = match client {
            Client::BiosPxe | Client::UefiPxe => b"file\0",
            _ => b"file",
        };
        assert_eq!(reply.options.get(67), Some(file), "{name}");
        assert_eq!(reply.options.get(66), Some(&b"192.168.24.1"[..]), "{name}");
        assert_eq!(to, "255.255.255.255:68".parse().unwrap(), "{name}");
        let (class, vendor, ipxe) = match client {
            Client::Ipxe => (None, None, Some(&[176, 1, 1][..])),
            Client::UefiHttp => (Some(&b"HTTPClient"[..]), None, None),
            _ => (Some(&b"PXEClient"[..]), Some(&[6, 1, 8, 255][..]), None),
        };
        assert_eq!(reply.options.get(60), class, "{name}");
        assert_eq!(reply.options.get(43), vendor, "{name}");
        assert_eq!(reply.options.get(175), ipxe, "{name}");
    }
}

#[test]
fn the_network_goes_with_the_address() {
    let request = Request::read(request(MAC, &[(53, &[1])])).unwrap();
    let (reply, _) = answer(&request, MessageType::Offer, Some("never"));
    assert_eq!(reply.options.address(1), Some(Ipv4Addr::new(255, 255, 255, 0)));
    assert_eq!(reply.options.address(28), Some(Ipv4Addr::new(192, 168, 24, 255)));
    assert_eq!(reply.options.address(3), Some(SERVER));
    assert_eq!(reply.options.get(42), Some(&SERVER.octets()[..]));
    assert_eq!(reply.options.get(6).map(<[u8]>::len), Some(32));
    assert_eq!(reply.options.get(12), Some(&b"controller-0"[..]));
    assert_eq!(reply.options.get(51), Some(&3600u32.to_be_bytes()[..]));
    assert_eq!(reply.options.get(58), Some(&1800u32.to_be_bytes()[..]));
    assert_eq!(reply.options.get(59), Some(&3150u32.to_be_bytes()[..]));
    // A system boots nothing, whatever there is.
    assert_eq!((reply.options.get(67), reply.siaddr), (None, Ipv4Addr::UNSPECIFIED));
}

#[test]
fn without_a_boot_file_there_is_none_in_any_field() {
    for (name, client, head, options) in CAPTURED {
        let request = Request::read(captured(head, options)).unwrap();
        let (reply, _) = answer(&request, MessageType::Ack, None);
        assert!(reply.file.is_empty() && reply.sname.is_empty(), "{name}");
        assert_eq!([60, 43, 66, 67].map(|code| reply.options.get(code)), [None; 4], "{name}");
        assert_eq!(reply.options.get(175).is_some(), client == Client::Ipxe, "{name}");
    }
}

#[test]
fn who_has_an_address_is_answered_there() {
    let mut message = request(MAC, &[(53, &[3])]);
    message.ciaddr = lease().address.addr();
    let renewing = Request::read(message.clone()).unwrap();
    assert_eq!(renewing.want, Want::Address { address: message.ciaddr, server: None });
    let (reply, to) = answer(&renewing, MessageType::Ack, None);
    assert_eq!((reply.ciaddr, to.ip()), (message.ciaddr, &message.ciaddr));

    message.options.put(53, &[8]);
    let (reply, _) = answer(&Request::read(message).unwrap(), MessageType::Ack, None);
    assert_eq!((reply.yiaddr, reply.options.get(51)), (Ipv4Addr::UNSPECIFIED, None));
}

#[test]
fn a_refusal_carries_nothing_else() {
    let request = Request::read(request(MAC, &[(53, &[3]), (50, &[10, 0, 0, 1])])).unwrap();
    let (bytes, to) = request.answer(MessageType::Nak, SERVER, &lease(), Some("file"));
    let reply = Message::decode(&bytes).unwrap();
    assert_eq!(reply.message_type(), Some(MessageType::Nak));
    assert_eq!((reply.yiaddr, reply.options.get(51)), (Ipv4Addr::UNSPECIFIED, None));
    assert_eq!(to.ip(), &Ipv4Addr::BROADCAST);
}

#[test]
fn what_is_no_request_to_us_is_silence() {
    let discover = request(MAC, &[(53, &[1])]);
    assert!(Request::read(discover.clone()).is_ok());
    let spoilt: [fn(&mut Message); 8] = [
        |m| m.op = Op::Reply,
        |m| m.hardware_type = 6,
        |m| m.hardware_len = 16,
        |m| m.giaddr = Ipv4Addr::new(10, 0, 0, 1),
        |m| m.chaddr[0] |= 1,
        |m| m.chaddr = [0; 16],
        |m| m.options.put(53, &[2]),
        |m| m.options.put(53, &[]),
    ];
    for (number, spoil) in spoilt.into_iter().enumerate() {
        let mut message = discover.clone();
        spoil(&mut message);
        assert!(Request::read(message).is_err(), "{number}");
    }
}

proptest! {
    #[test]
    fn any_message_is_answered_without_panic(
        kind in 0u8..10, options in proptest::collection::btree_map(1u8..=254, vec(any::<u8>(), 0..40), 0..8),
    ) {
        let mut message = request(MAC, &[]);
        for (code, value) in &options {
            message.options.put(*code, value);
        }
        message.options.put(53, &[kind]);
        if let Ok(request) = Request::read(message) {
            let (bytes, _) = request.answer(MessageType::Ack, SERVER, &lease(), Some("file"));
            prop_assert!(Message::decode(&bytes).is_ok());
        }
    }
}
