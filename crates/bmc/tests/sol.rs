//! Serial over LAN, the controller's side, one datagram at a time.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{net::SocketAddr, time::Duration};

use fixture::{
    PASSWORD, USER,
    console::{Console, Opened, sent},
    credentials,
};
use undercloud_bmc::{
    guid::Guid,
    ipmi::{
        completion::Completion,
        msg::{
            NETFN_APP,
            activate_payload::{self, refusal},
            deactivate_payload, get_payload_instance_info,
            lan::LanRequest,
            session_header::PayloadType,
            sol_packet::{NACK, SolPacket, operation, status},
        },
        packet::{self, Datagram},
        random::Random,
        session::{Out, SerialId, Sessions, limits::IDLE_MAX},
        sol::endpoint::{OUTBOUND_MAX, RETRY_MIN},
        wire::{Decode, Encode},
    },
};

const START: Duration = Duration::from_secs(1000);
const PORT: u16 = 6230;

struct World {
    sessions: Sessions,
    now: Duration,
}

struct Line {
    session: Opened,
    source: SocketAddr,
    requests: u8,
}

impl World {
    fn new() -> Self {
        let (credentials, random) = (credentials(USER, PASSWORD), Random::new(&[1; 32]));
        let sessions = Sessions::new(credentials, Guid([2; 16]), random).with_port(PORT);
        Self { sessions, now: START }
    }

    fn login(&mut self, port: u16) -> Line {
        let source = ([192, 0, 2, 1], port).into();
        let console = Console::new(source, USER, PASSWORD);
        let session = console.login(&mut self.sessions, self.now).expect("login");
        let mut line = Line { session, source, requests: 0 };
        assert_eq!(self.ask(&mut line, 0x3b, &[4]).0, Completion::OK);
        line
    }

    fn request(&mut self, line: &mut Line, command: u8, data: &[u8]) -> Vec<Out> {
        line.requests = (line.requests + 1) & 0x3f;
        let request = LanRequest::new(NETFN_APP, command, line.requests, data.to_vec());
        let sealed = line.session.seal(&request);
        self.sessions.on_datagram(&sealed, line.source, self.now)
    }

    /// A command, and the answer of the controller.
    fn ask(&mut self, line: &mut Line, command: u8, data: &[u8]) -> (Completion, Vec<u8>) {
        let outs = self.request(line, command, data);
        answer(line, &outs)
    }

    /// Activate Payload up to where the shell opens the port.
    fn begin(&mut self, line: &mut Line) -> SerialId {
        let outs = self.request(line, 0x48, &[1, 1, 0xc0, 0, 0, 0]);
        match outs.as_slice() {
            [Out::OpenSerial(id)] => *id,
            other => panic!("{other:?}"),
        }
    }

    fn activate(&mut self, line: &mut Line) -> SerialId {
        let id = self.begin(line);
        let outs = self.sessions.on_serial_opened(id, Ok(()));
        let (code, data) = answer(line, &outs);
        assert_eq!(code, Completion::OK);
        let response = activate_payload::Response::decode(&data).expect("a response");
        assert_eq!((response.port, response.inbound_bytes, response.vlan), (PORT, 255, 0xffff));
        id
    }

    fn sol(&mut self, line: &mut Line, packet: &SolPacket) -> Vec<Out> {
        line.session.sequence += 1;
        let Opened { keys, controller_id, sequence } = &line.session;
        let payload = packet.to_bytes();
        let sealed =
            packet::seal_as(PayloadType::Sol, keys, *controller_id, *sequence, &payload, &[6; 16]);
        self.sessions.on_datagram(&sealed, line.source, self.now)
    }

    fn status(&mut self, line: &mut Line) -> Vec<u8> {
        self.ask(line, 0x4a, &[1]).1
    }
}

fn answer(line: &Line, outs: &[Out]) -> (Completion, Vec<u8>) {
    let answers = sent(outs);
    let response = answers.iter().find_map(|bytes| line.session.open(bytes)).expect("an answer");
    (response.completion, response.data)
}

fn sol_packets(line: &Line, outs: &[Out]) -> Vec<SolPacket> {
    let read = |bytes: &Vec<u8>| match Datagram::parse(bytes) {
        Ok(Datagram::Plus(packet)) if packet.header.payload_type == PayloadType::Sol => {
            SolPacket::decode(&packet.open(&line.session.keys)?).ok()
        }
        _ => None,
    };
    sent(outs).iter().filter_map(read).collect()
}

fn characters(sequence: u8, characters: &[u8]) -> SolPacket {
    let characters = characters.to_vec();
    SolPacket { sequence, acknowledged: 0, accepted: 0, flags: 0, characters }
}

fn acknowledgement(acknowledged: u8, accepted: u8, flags: u8) -> SolPacket {
    SolPacket { sequence: 0, acknowledged, accepted, flags, characters: Vec::new() }
}

#[test]
fn characters_both_ways() {
    let mut world = World::new();
    let mut line = world.login(1);
    let id = world.activate(&mut line);
    assert_eq!(world.sessions.serial(), Some(id));
    let outs = world.sol(&mut line, &characters(1, b"root\r"));
    assert_eq!(sol_packets(&line, &outs), [acknowledgement(1, 5, 0)]);
    assert_eq!(world.sessions.serial_waiting(), b"root\r");
    assert_eq!(world.sessions.on_serial_taken(5, world.now), []);
    assert_eq!(world.sessions.serial_waiting(), b"");
    let outs = world.sessions.on_serial_characters(b"Password: ", world.now);
    assert_eq!(sol_packets(&line, &outs), [characters(1, b"Password: ")]);
    assert_eq!(world.sol(&mut line, &acknowledgement(1, 10, 0)), []);
    assert_eq!(world.sessions.next_deadline(), Some(world.now + IDLE_MAX), "no timer of its own");
}

#[test]
fn what_is_not_acknowledged_is_said_again() {
    let mut world = World::new();
    let mut line = world.login(1);
    world.activate(&mut line);
    world.sessions.on_serial_characters(b"boot", world.now);
    world.now += RETRY_MIN;
    assert_eq!(world.sessions.next_deadline(), Some(world.now));
    let outs = world.sessions.on_deadline(world.now);
    assert_eq!(sol_packets(&line, &outs), [characters(1, b"boot")]);
    let outs = world.sol(&mut line, &acknowledgement(1, 2, 0));
    assert_eq!(sol_packets(&line, &outs), [characters(2, b"ot")]);
}

#[test]
fn a_console_that_does_not_read_holds_the_machine() {
    let mut world = World::new();
    let mut line = world.login(1);
    assert_eq!(world.sessions.serial_room(), 0, "nobody is there");
    world.activate(&mut line);
    assert_eq!(world.sessions.serial_room(), OUTBOUND_MAX);
    world.sessions.on_serial_characters(&vec![b'x'; OUTBOUND_MAX], world.now);
    assert_eq!(world.sessions.serial_room(), 0);
    world.sol(&mut line, &acknowledgement(1, 251, 0));
    assert_eq!(world.sessions.serial_room(), 251);
    let flush = SolPacket { flags: operation::FLUSH_OUTBOUND, ..characters(1, b"") };
    world.sol(&mut line, &flush);
    assert_eq!(world.sessions.serial_room(), OUTBOUND_MAX);
    world.sol(&mut line, &characters(2, b"typed too much"));
    let flush = SolPacket { flags: operation::FLUSH_INBOUND, ..characters(3, b"") };
    world.sol(&mut line, &flush);
    assert_eq!(world.sessions.serial_waiting(), b"");
}

#[test]
fn a_break_once() {
    let mut world = World::new();
    let mut line = world.login(1);
    let id = world.activate(&mut line);
    let packet = SolPacket { flags: operation::BREAK, ..characters(1, b"") };
    let outs = world.sol(&mut line, &packet);
    assert_eq!(outs.last(), Some(&Out::SerialBreak(id)));
    let outs = world.sol(&mut line, &packet);
    assert_eq!((sol_packets(&line, &outs), outs.len()), (vec![acknowledgement(1, 0, 0)], 1));
}

#[test]
fn one_console_at_a_time() {
    let mut world = World::new();
    let (mut first, mut second) = (world.login(1), world.login(2));
    let id = world.activate(&mut first);
    for line in [&mut first, &mut second] {
        let refused = world.ask(line, 0x48, &[1, 1, 0xc0, 0, 0, 0]);
        assert_eq!(refused, (refusal::ALREADY_ACTIVE, vec![]));
    }
    assert_eq!(world.status(&mut second), [1, 1, 0]);
    let (_, data) = world.ask(&mut second, 0x4b, &[1, 1]);
    let info = get_payload_instance_info::Response::decode(&data).expect("info");
    assert_eq!((info.session_id, info.details[0]), (first.session.controller_id, 1));
    // Another's characters do not get through, and it is told that it is not active.
    let outs = world.sol(&mut second, &characters(1, b"rm -rf /\r"));
    let ended = acknowledgement(1, 0, NACK | status::DEACTIVATED);
    assert_eq!(sol_packets(&second, &outs), std::slice::from_ref(&ended));
    assert_eq!(world.sessions.serial_waiting(), b"");
    // Deactivated by the other, the first is told; then the other gets it.
    let outs = world.request(&mut second, 0x49, &[1, 1, 0, 0, 0, 0]);
    assert_eq!(answer(&second, &outs).0, Completion::OK);
    assert_eq!(sol_packets(&first, &outs), [acknowledgement(0, 0, status::DEACTIVATED)]);
    assert_eq!(world.sessions.serial(), None);
    let again = world.ask(&mut second, 0x49, &[1, 1, 0, 0, 0, 0]).0;
    assert_eq!(again, deactivate_payload::ALREADY_INACTIVE);
    assert_eq!(world.status(&mut second), [1, 0, 0]);
    assert_ne!(world.activate(&mut second), id, "a port opened afresh");
    let outs = world.sol(&mut first, &characters(1, b"x"));
    assert_eq!(sol_packets(&first, &outs), [ended]);
}

#[test]
fn the_end_of_the_session_is_the_end_of_the_line() {
    // Closed, closed by another, idle for too long, cold reset, and the port itself.
    for way in 0..5 {
        let mut world = World::new();
        let mut line = world.login(1);
        world.activate(&mut line);
        let id = line.session.controller_id.to_le_bytes();
        match way {
            0 => assert_eq!(world.ask(&mut line, 0x3c, &id).0, Completion::OK),
            1 => {
                let mut other = world.login(2);
                assert_eq!(world.ask(&mut other, 0x3c, &id).0, Completion::OK);
            }
            2 => {
                world.now += IDLE_MAX;
                world.sessions.on_deadline(world.now);
            }
            3 => {
                world.request(&mut line, 0x02, &[]);
                world.now += Duration::from_secs(2);
                world.sessions.on_deadline(world.now);
            }
            _ => {
                let outs = world.sessions.on_serial_ended();
                let told = acknowledgement(0, 0, status::DEACTIVATED);
                assert_eq!(sol_packets(&line, &outs), [told]);
            }
        }
        assert_eq!(world.sessions.serial(), None, "way {way}");
        assert_eq!(world.sessions.on_serial_characters(b"lost", world.now), []);
        let mut next = world.login(3);
        assert_eq!(world.status(&mut next), [1, 0, 0]);
        world.activate(&mut next);
    }
}

#[test]
fn a_port_that_does_not_open() {
    let mut world = World::new();
    let mut line = world.login(1);
    let id = world.begin(&mut line);
    // While it opens, nobody else gets it, and nothing goes through.
    assert_eq!(world.sessions.serial_room(), 0);
    let mut other = world.login(2);
    let refused = world.ask(&mut other, 0x48, &[1, 1, 0xc0, 0, 0, 0]).0;
    assert_eq!(refused, refusal::ALREADY_ACTIVE);
    let outs = world.sessions.on_serial_opened(id, Err(Completion::NODE_BUSY));
    assert_eq!(answer(&line, &outs).0, Completion::NODE_BUSY);
    assert_eq!(world.sessions.serial(), None);
    // Deactivated before it is open: whoever waits is told, and a late port is of no use.
    let id = world.begin(&mut line);
    let outs = world.request(&mut other, 0x49, &[1, 1, 0, 0, 0, 0]);
    assert_eq!(answer(&other, &outs).0, Completion::OK);
    assert_eq!(answer(&line, &outs).0, Completion::NOT_PRESENT);
    assert_eq!(world.sessions.on_serial_opened(id, Ok(())), []);
    assert_eq!(world.sessions.serial(), None);
}

#[test]
fn what_is_refused() {
    let mut world = World::new();
    let mut line = world.login(1);
    let invalid = Completion::INVALID_FIELD;
    for (command, data, code) in [
        (0x48, &[1, 1, 0x40, 0, 0, 0][..], refusal::ENCRYPTION_NEEDED),
        (0x48, &[1, 2, 0xc0, 0, 0, 0], invalid),
        (0x48, &[2, 1, 0xc0, 0, 0, 0], invalid),
        (0x48, &[1, 1], Completion::LENGTH_INVALID),
        (0x49, &[1, 0, 0, 0, 0, 0], invalid),
        (0x4a, &[2], invalid),
        (0x4b, &[1, 2], invalid),
        (0x4e, &[2], invalid),
        (0x4f, &[1, 2], Completion(0x80)),
    ] {
        assert_eq!(world.ask(&mut line, command, data).0, code, "{command:#x} {data:?}");
    }
    assert_eq!(world.ask(&mut line, 0x4e, &[0x0e]).1, [3, 0, 0x3f, 0, 0, 0, 0, 0]);
    assert_eq!(world.ask(&mut line, 0x4f, &[1, 1]).1, [0x10]);
    // A USER may look, not touch.
    assert_eq!(world.ask(&mut line, 0x3b, &[2]).0, Completion::OK);
    for command in [0x48, 0x49] {
        let code = world.ask(&mut line, command, &[1, 1, 0xc0, 0, 0, 0]).0;
        assert_eq!(code, Completion::PRIVILEGE_TOO_LOW);
    }
    assert_eq!(world.status(&mut line), [1, 0, 0]);
}
