//! Any sequence of datagrams to a virtual BMC: bare bytes, handshakes, and sealed requests of a
//! console that knows the password. No panic, bounded memory, one answer to each request.
#![no_main]

use std::{sync::Arc, time::Duration};

use undercloud_bmc::{
    credentials::Credentials,
    ipmi::{
        command::Controller,
        msg::{lan::LanRequest, session_header::PayloadType},
        packet,
        random::Random,
        session::{Out, Sessions, limits},
        sol::endpoint::INBOUND_MAX,
    },
    machine::Machine,
};

#[path = "../../crates/bmc/tests/fixture/mod.rs"]
mod fixture;
use fixture::{MemoryMachine, PASSWORD, USER, console::Console};

struct World {
    runtime: tokio::runtime::Runtime,
    controller: Controller,
    sessions: Sessions,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        let machine: Arc<dyn Machine> = MemoryMachine::new(Duration::ZERO);
        let controller = Controller::new(machine);
        let credentials = Credentials::new(USER, PASSWORD).expect("credentials");
        let guid = controller.identity().system_guid;
        let sessions = Sessions::new(credentials, guid, Random::new(&[1; 32]));
        Self { runtime, controller, sessions, now: Duration::from_secs(1) }
    }

    /// How many datagrams went out.
    fn send(&mut self, bytes: &[u8], source: std::net::SocketAddr) -> usize {
        let mut answers = 0;
        let mut outs = self.sessions.on_datagram(bytes, source, self.now);
        while let Some(out) = outs.pop() {
            match out {
                Out::Send { .. } => answers += 1,
                Out::Deliver { ticket, request } => {
                    let answer = self.controller.answer(&request, self.now);
                    let reply = self.runtime.block_on(answer);
                    outs.extend(self.sessions.on_reply(ticket, &reply));
                }
                Out::Reset(reset) => self.runtime.block_on(self.controller.reset(reset)),
                Out::LoginFailed { .. } => self.controller.on_failed_login(),
                Out::OpenSerial(id) => outs.extend(self.sessions.on_serial_opened(id, Ok(()))),
                Out::SerialBreak(id) => assert_eq!(self.sessions.serial(), Some(id)),
            }
        }
        assert!(self.sessions.half_open() <= limits::HALF_OPEN_MAX);
        assert!(self.sessions.open() <= limits::SESSIONS_MAX);
        assert!(self.sessions.serial_waiting().len() <= INBOUND_MAX);
        answers
    }
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let mut world = World::new();
    let source = ([192, 0, 2, 1], 623).into();
    let console = Console::new(source, USER, PASSWORD);
    let mut opened = None;
    let mut rest = script;
    let mut number = 0;
    // A step: what to do, how many bytes it takes, the bytes.
    while let [step, length, tail @ ..] = rest {
        let (bytes, next) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = next;
        match (step % 9, &mut opened) {
            (0, _) => drop(world.send(bytes, source)),
            (1, _) => drop(world.send(&[&[6, 0, 0xff, 7][..], bytes].concat(), source)),
            (2, _) => opened = console.login(&mut world.sessions, world.now).ok(),
            (3, _) => world.now += Duration::from_secs((*length).into()),
            (4, _) => {
                let room = world.sessions.serial_room();
                let said = bytes.get(..room).unwrap_or(bytes);
                world.sessions.on_serial_characters(said, world.now);
            }
            (5, _) => drop(world.sessions.on_serial_taken((*length).into(), world.now)),
            (6, Some(session)) => {
                session.sequence += 1;
                let (id, sequence) = (session.controller_id, session.sequence);
                let keys = &session.keys;
                let sealed =
                    packet::seal_as(PayloadType::Sol, keys, id, sequence, bytes, &[6; 16]);
                world.send(&sealed, source);
            }
            (_, Some(session)) => {
                let [netfn, command, data @ ..] = bytes else { continue };
                number = (number + 1) % 64;
                let request = LanRequest::new(netfn & 0x3e, *command, number, data.to_vec());
                let answers = world.send(&session.seal(&request), source);
                // One, and for Deactivate Payload the news to the console.
                assert!(answers <= 3);
            }
            (_, None) => {}
        }
        world.runtime.block_on(world.controller.on_deadline(world.now));
        world.sessions.on_deadline(world.now);
    }
});
