//! Two sessions of the real `ipmitool` 1.8.19, byte for byte as they were on the wire: Open
//! Session, RAKP 1 to 4, then `raw 6 1` sealed. Frozen; a change here is a change of protocol.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

use undercloud_bmc::ipmi::{
    crypto::SessionKeys,
    msg::{
        get_device_id,
        lan::{LanRequest, LanResponse},
        open_session,
        rakp1::Rakp1,
        rakp2::Rakp2,
        rakp3::Rakp3,
        rakp4::Rakp4,
    },
    packet::{Datagram, Packet},
    rakp::Exchange,
    suite::CipherSuite,
    wire::{Command, Decode, Encode},
};

const PASSWORD: &[u8] = b"sixteen-letters!";

fn datagrams(text: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("text");
        u8::from_str_radix(pair, 16).expect("hexadecimal")
    };
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn packet(bytes: &[u8]) -> Packet<'_> {
    match Datagram::parse(bytes) {
        Ok(Datagram::Plus(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

/// Reads a payload; what it is written as again must be the very bytes.
fn read<M: Decode + Encode>(bytes: &[u8]) -> M {
    let payload = packet(bytes).payload;
    let message = M::decode(payload).expect("a message");
    assert_eq!(message.to_bytes(), payload);
    message
}

fn keys(suite: CipherSuite, datagrams: &[Vec<u8>]) -> SessionKeys {
    let [open, opened, rakp1, rakp2, rakp3, rakp4, ..] = datagrams else { panic!("too few") };
    let open: open_session::Request = read(open);
    let opened: open_session::Response = read(opened);
    let accepted = opened.outcome.expect("accepted");
    assert_eq!(accepted.algorithms, suite.algorithms());
    let rakp1: Rakp1 = read(rakp1);
    let challenge = read::<Rakp2>(rakp2).outcome.expect("a challenge");
    let exchange = Exchange {
        suite,
        console_id: open.console_id,
        controller_id: accepted.controller_id,
        console_random: rakp1.console_random,
        controller_random: challenge.controller_random,
        guid: challenge.guid,
        role: rakp1.role,
        user: rakp1.user,
    };
    let length = suite.exchange_code_length();
    assert!(exchange.controller_code(PASSWORD).matches(&challenge.code, length));
    let code = read::<Rakp3>(rakp3).outcome.expect("a code");
    assert!(exchange.console_code(PASSWORD).matches(&code, length));
    let integrity_key = exchange.session_integrity_key(PASSWORD);
    let code = read::<Rakp4>(rakp4).outcome.expect("a code");
    assert!(exchange.final_code(&integrity_key).matches(&code, suite.integrity_length()));
    exchange.keys(&integrity_key)
}

fn walk(suite: CipherSuite, text: &str) {
    let datagrams = datagrams(text);
    let keys = keys(suite, &datagrams);
    let mut commands = Vec::new();
    for pair in datagrams[6..].chunks(2) {
        let [question, answer] = pair else { panic!("a question without an answer") };
        let payload = packet(question).open(&keys).expect("sealed with these keys");
        let request = LanRequest::decode(&payload).expect("a request");
        assert_eq!(request.to_bytes(), payload);
        let payload = packet(answer).open(&keys).expect("sealed with these keys");
        let response = LanResponse::decode(&payload).expect("a response");
        assert_eq!(response.to_bytes(), payload);
        assert_eq!((response.sequence, response.command), (request.sequence, request.command));
        if request.command == get_device_id::Request::CODE {
            let id = get_device_id::Response::decode(&response.data).expect("a device id");
            assert_eq!((id.device_id, id.ipmi_version), (0x20, 0x02));
        }
        commands.push((request.netfn, request.command));
    }
    assert_eq!(commands.first(), Some(&(0x06, 0x3b)), "Set Session Privilege Level");
    assert!(commands.contains(&(0x06, 0x01)), "Get Device ID");
    assert_eq!(commands.last(), Some(&(0x06, 0x3c)), "Close Session");
}

#[test]
fn suite_17() {
    walk(CipherSuite::Suite17, include_str!("recorded/ipmitool-1.8.19-suite-17.hex"));
}

#[test]
fn suite_3() {
    walk(CipherSuite::Suite3, include_str!("recorded/ipmitool-1.8.19-suite-3.hex"));
}
