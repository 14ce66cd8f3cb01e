//! What an attacker may try, against the sessions as a value: exact, and in no time.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

mod fixture;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use fixture::{
    PASSWORD, USER,
    console::{Console, Opened, plain_answer, sent},
    credentials,
};
use proptest::prelude::*;
use undercloud_bmc::{
    guid::Guid,
    ipmi::{
        completion::Completion,
        msg::{
            NETFN_APP, NETFN_CHASSIS, get_channel_auth_cap,
            lan::{LanRequest, LanResponse},
            open_session,
            rakp2::Rakp2,
            rakp4::Rakp4,
            session_header::{PayloadType, SessionHeader},
            status::Status,
        },
        packet::{self, Datagram},
        random::Random,
        session::{
            Out, Reply, Reset, Sessions, Ticket,
            limits::{FAILURES_BURST, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX},
        },
        suite::CipherSuite,
        wire::{Decode, Encode},
    },
};

const NOW: Duration = Duration::from_secs(1000);

fn sessions() -> Sessions {
    let random = Random::new(&[3; 32]);
    Sessions::new(credentials(USER, PASSWORD), Guid([9; 16]), random)
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
}

fn admin() -> Console {
    Console::new(at(1, 4000), USER, PASSWORD)
}

fn login(sessions: &mut Sessions) -> Opened {
    admin().login(sessions, NOW).expect("login")
}

fn raise(sessions: &mut Sessions, opened: &mut Opened, level: u8) {
    let request = LanRequest::new(NETFN_APP, 0x3b, 63, vec![level]);
    let response = own(sessions, opened, &request, NOW);
    assert_eq!(response.completion, Completion::OK);
}

/// The answer to a command that the sessions answer themselves.
fn own(
    sessions: &mut Sessions,
    opened: &mut Opened,
    request: &LanRequest,
    now: Duration,
) -> LanResponse {
    let outs = sessions.on_datagram(&opened.seal(request), admin().source, now);
    let bytes = sent(&outs).into_iter().next().expect("an answer");
    opened.open(&bytes).expect("sealed for us")
}

fn delivered(outs: &[Out]) -> Vec<Ticket> {
    outs.iter()
        .filter_map(|out| match out {
            Out::Deliver { ticket, .. } => Some(*ticket),
            Out::Send { .. }
            | Out::Reset(_)
            | Out::LoginFailed { .. }
            | Out::OpenSerial(_)
            | Out::SerialBreak(_) => None,
        })
        .collect()
}

fn power_on(sequence: u8) -> LanRequest {
    LanRequest::new(NETFN_CHASSIS, 0x02, sequence, vec![1])
}

fn power_status(sequence: u8) -> LanRequest {
    LanRequest::new(NETFN_CHASSIS, 0x01, sequence, vec![])
}

#[test]
fn only_two_suites() {
    for authentication in 0..8 {
        for integrity in 0..8 {
            for confidentiality in 0..8 {
                let mut sessions = sessions();
                let bytes = admin().open_with(authentication, integrity, confidentiality);
                let outs = sessions.on_datagram(&bytes, at(1, 1), NOW);
                let response: open_session::Response = plain_answer(&outs).expect("an answer");
                let good = [(3, 4, 1), (1, 1, 1)];
                if good.contains(&(authentication, integrity, confidentiality)) {
                    assert!(response.outcome.is_ok());
                    assert_eq!(response.privilege, 4, "FreeIPMI wants its privilege back");
                } else {
                    assert_eq!(response.outcome, Err(Status::NO_CIPHER_SUITE));
                    assert_eq!(sessions.half_open(), 0);
                }
            }
        }
    }
}

#[test]
fn a_console_that_leaves_the_choice_gets_the_best() {
    let request = open_session::Request {
        tag: 1,
        privilege: 0,
        console_id: 1,
        authentication: None,
        integrity: None,
        confidentiality: None,
    };
    let bytes = packet::plain(PayloadType::OpenSessionRequest, &request.to_bytes());
    let outs = sessions().on_datagram(&bytes, at(1, 1), NOW);
    let response: open_session::Response = plain_answer(&outs).expect("an answer");
    let algorithms = response.outcome.expect("accepted").algorithms;
    assert_eq!(CipherSuite::from_algorithms(algorithms), Some(CipherSuite::Suite17));
}

#[test]
fn names_and_roles_that_cannot_be() {
    for (user, role, status) in [
        (&b""[..], 0x14, Status::UNAUTHORIZED_NAME),
        (b"admin", 0x10, Status::INVALID_ROLE),
        (b"admin", 0x15, Status::INVALID_ROLE),
        (b"\xff\xfe", 0x1f, Status::INVALID_ROLE),
    ] {
        let console = Console { user: user.to_vec(), role, ..admin() };
        let mut sessions = sessions();
        assert_eq!(console.challenge(&mut sessions, NOW).err(), Some(status), "{user:?} {role}");
        assert_eq!(sessions.half_open(), 0);
    }
    let mut sessions = sessions();
    let exchange = admin().begin(&mut sessions, NOW).expect("open");
    let mut bytes = admin().rakp1(&exchange);
    let length = bytes.len() - USER.len() - 1;
    bytes[length] = 17;
    let outs = sessions.on_datagram(&bytes, admin().source, NOW);
    let rakp2: Rakp2 = plain_answer(&outs).expect("an answer");
    assert_eq!(rakp2.outcome, Err(Status::INVALID_NAME_LENGTH));
}

/// What the two differ in must be random numbers and ids alone.
#[test]
fn an_unknown_user_looks_like_a_wrong_password() {
    for suite in CipherSuite::PREFERRED {
        let mut seen = Vec::new();
        for (user, password) in [("nobody", PASSWORD), (USER, "wrong-password-1")] {
            let mut sessions = sessions();
            let console = Console { suite, ..Console::new(at(1, 1), user, password) };
            let exchange = console.challenge(&mut sessions, NOW).expect("RAKP 2");
            let rakp1 = sessions.on_datagram(&console.rakp1(&exchange), console.source, NOW);
            let rakp2 = sessions.on_datagram(&console.rakp1(&exchange), console.source, NOW);
            assert_eq!(rakp1, rakp2, "stable when it is asked again");
            let code = plain_answer::<Rakp2>(&rakp2).expect("RAKP 2").outcome.expect("ok").code;
            assert_eq!(code.len(), suite.exchange_code_length());
            let outs = sessions.on_datagram(&console.rakp3(&exchange), console.source, NOW);
            seen.push((sent(&rakp2)[0].len(), outs));
            assert_eq!(sessions.open(), 0);
        }
        assert_eq!(seen[0], seen[1]);
        let rakp4: Rakp4 = plain_answer(&seen[0].1).expect("RAKP 4");
        assert_eq!(rakp4.outcome, Err(Status::INVALID_INTEGRITY_CHECK));
    }
}

#[test]
fn an_unknown_user_never_gets_in() {
    // Not even with an empty password, the right one, or none at all.
    for password in ["", PASSWORD, "nobody"] {
        let console = Console::new(at(1, 1), "nobody", password);
        assert!(console.login(&mut sessions(), NOW).is_err());
    }
}

#[test]
fn one_guess_per_handshake() {
    let mut sessions = sessions();
    let (good, bad) = (admin(), Console { password: b"wrong".to_vec(), ..admin() });
    let exchange = good.challenge(&mut sessions, NOW).expect("RAKP 2");
    let first = sessions.on_datagram(&bad.rakp3(&exchange), bad.source, NOW);
    // Told again byte for byte, but a failure once only.
    assert_eq!(first.last(), Some(&Out::LoginFailed { from: bad.source }));
    let again = sessions.on_datagram(&bad.rakp3(&exchange), bad.source, NOW);
    assert_eq!((again.len(), sent(&again)), (1, sent(&first)));
    let second = sessions.on_datagram(&good.rakp3(&exchange), good.source, NOW);
    let rakp4: Rakp4 = plain_answer(&second).expect("RAKP 4");
    assert_eq!(rakp4.outcome, Err(Status::INVALID_SESSION_ID));
    assert_eq!(sessions.open(), 0);
}

#[test]
fn a_code_cut_short_is_wrong() {
    for length in [0, 1, 12, 31, 33] {
        let mut sessions = sessions();
        let exchange = admin().challenge(&mut sessions, NOW).expect("RAKP 2");
        let mut code = exchange.console_code(PASSWORD.as_bytes()).as_slice().to_vec();
        code.resize(length, 0);
        let message = undercloud_bmc::ipmi::msg::rakp3::Rakp3 {
            tag: 3,
            controller_id: exchange.controller_id,
            outcome: Ok(code),
        };
        let bytes = packet::plain(PayloadType::Rakp3, &message.to_bytes());
        let outs = sessions.on_datagram(&bytes, admin().source, NOW);
        let rakp4: Rakp4 = plain_answer(&outs).expect("RAKP 4");
        assert_eq!(rakp4.outcome, Err(Status::INVALID_INTEGRITY_CHECK), "{length} bytes");
    }
}

#[test]
fn a_lost_answer_of_the_handshake_comes_again() {
    let mut sessions = sessions();
    let console = admin();
    let mut twice = |bytes: &[u8]| {
        let outs = sessions.on_datagram(bytes, console.source, NOW);
        assert_eq!(sessions.on_datagram(bytes, console.source, NOW), outs);
        assert_eq!(
            sessions
                .on_datagram(bytes, at(9, 9), NOW)
                .iter()
                .filter(|out| outs.contains(out))
                .count(),
            0
        );
        outs
    };
    let outs = twice(&console.open());
    let response: open_session::Response = plain_answer(&outs).expect("an answer");
    let mut exchange = console.exchange(response.outcome.expect("ok").controller_id);
    let rakp2: Rakp2 = plain_answer(&twice(&console.rakp1(&exchange))).expect("RAKP 2");
    let challenge = rakp2.outcome.expect("ok");
    exchange.controller_random = challenge.controller_random;
    exchange.guid = challenge.guid;
    let rakp4: Rakp4 = plain_answer(&twice(&console.rakp3(&exchange))).expect("RAKP 4");
    assert!(rakp4.outcome.is_ok());
    assert_eq!(sessions.open(), 1);
}

#[test]
fn guesses_are_slowed_down_per_address() {
    let mut sessions = sessions();
    let guess = |sessions: &mut Sessions, port, now| {
        Console { password: b"guess".to_vec(), source: at(1, port), ..admin() }
            .login(sessions, now)
            .err()
    };
    for port in 0..FAILURES_BURST {
        let port = u16::try_from(port).expect("small");
        assert_eq!(guess(&mut sessions, port, NOW), Some(Status::INVALID_INTEGRITY_CHECK));
    }
    assert_eq!(guess(&mut sessions, 999, NOW), Some(Status::INSUFFICIENT_RESOURCES));
    assert!(Console { source: at(2, 1), ..admin() }.login(&mut sessions, NOW).is_ok());
    let later = NOW + Duration::from_secs(4);
    assert!(admin().login(&mut sessions, later).is_ok());
}

#[test]
fn handshakes_begun_before_the_limit_do_not_get_around_it() {
    let mut sessions = sessions();
    let consoles: Vec<Console> = (0..40)
        .map(|port| Console { password: b"guess".to_vec(), source: at(1, port), ..admin() })
        .collect();
    let exchanges: Vec<_> =
        consoles.iter().map(|it| it.challenge(&mut sessions, NOW).expect("RAKP 2")).collect();
    let mut statuses = Vec::new();
    for (console, exchange) in consoles.iter().zip(&exchanges) {
        let outs = sessions.on_datagram(&console.rakp3(exchange), console.source, NOW);
        statuses.push(plain_answer::<Rakp4>(&outs).expect("RAKP 4").outcome.expect_err("wrong"));
    }
    let answered = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!(answered(Status::INVALID_INTEGRITY_CHECK), FAILURES_BURST as usize);
    assert_eq!(answered(Status::INSUFFICIENT_RESOURCES), 40 - FAILURES_BURST as usize);
}

#[test]
fn ten_thousand_half_open_sessions() {
    let mut sessions = sessions();
    for number in 0..10_000u32 {
        let console = Console {
            source: at(66, u16::try_from(number % 60_000).expect("port")),
            console_id: number,
            ..admin()
        };
        console.begin(&mut sessions, NOW).expect("open");
    }
    assert_eq!(sessions.half_open(), HALF_OPEN_PER_SOURCE_MAX);
    assert!(Console { source: at(66, 1), ..admin() }.login(&mut sessions, NOW).is_ok());
    for number in 0..10_000u32 {
        let source = SocketAddr::new(IpAddr::V4((0x0a00_0000 + number).into()), 1);
        Console { source, ..admin() }.begin(&mut sessions, NOW).expect("open");
    }
    assert_eq!(sessions.half_open(), HALF_OPEN_MAX);
    assert!(admin().login(&mut sessions, NOW).is_ok());
    sessions.on_deadline(NOW + Duration::from_secs(21));
    assert_eq!(sessions.half_open(), 0);
}

#[test]
fn session_ids_have_no_pattern() {
    let mut sessions = sessions();
    let mut ids = HashSet::new();
    let mut ones = [0u32; 32];
    for number in 0..1000 {
        let console = Console { console_id: number, ..admin() };
        let id = console.begin(&mut sessions, NOW).expect("open").controller_id;
        assert!(id != 0 && ids.insert(id));
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += id >> bit & 1;
        }
    }
    assert!(ones.iter().all(|ones| (400..600).contains(ones)), "{ones:?}");
}

#[test]
fn a_replayed_packet_is_not_executed() {
    let mut sessions = sessions();
    let mut opened = login(&mut sessions);
    raise(&mut sessions, &mut opened, 4);
    let bytes = opened.seal(&power_on(1));
    let outs = sessions.on_datagram(&bytes, admin().source, NOW);
    let [ticket] = delivered(&outs)[..] else { panic!("not delivered") };
    assert_eq!(sessions.on_datagram(&bytes, admin().source, NOW), [], "still under way");
    let answer = sessions.on_reply(ticket, &Reply::code(Completion::OK));
    // From anywhere, at any time: the same answer, to the owner of the session.
    for (source, now) in [(admin().source, NOW), (at(66, 6), NOW + Duration::from_secs(50))] {
        assert_eq!(sessions.on_datagram(&bytes, source, now), answer);
    }
    for number in 0..70 {
        let bytes = opened.seal(&power_status(number % 64));
        let [ticket] = delivered(&sessions.on_datagram(&bytes, admin().source, NOW))[..] else {
            panic!("reading is not a replay")
        };
        sessions.on_reply(ticket, &Reply::code(Completion::OK));
    }
    assert_eq!(sessions.on_datagram(&bytes, admin().source, NOW), [], "older than the window");
}

#[test]
fn a_retransmission_in_a_new_packet_is_not_executed() {
    let mut sessions = sessions();
    let mut opened = login(&mut sessions);
    raise(&mut sessions, &mut opened, 4);
    let mut send = |sessions: &mut Sessions, request: &LanRequest, now| {
        sessions.on_datagram(&opened.seal(request), admin().source, now)
    };
    let [ticket] = delivered(&send(&mut sessions, &power_on(1), NOW))[..] else { panic!() };
    assert_eq!(send(&mut sessions, &power_on(1), NOW), [], "still under way");
    sessions.on_reply(ticket, &Reply::code(Completion::OK));
    let again = send(&mut sessions, &power_on(1), NOW);
    assert_eq!((delivered(&again).len(), sent(&again).len()), (0, 1), "answered from memory");
    assert_eq!(delivered(&send(&mut sessions, &power_on(2), NOW)).len(), 1, "another request");
    let later = NOW + Duration::from_secs(6);
    assert_eq!(delivered(&send(&mut sessions, &power_on(1), later)).len(), 1, "the number again");
    let [ticket] = delivered(&send(&mut sessions, &power_status(3), NOW))[..] else { panic!() };
    sessions.on_reply(ticket, &Reply::code(Completion::OK));
    let again = send(&mut sessions, &power_status(3), NOW);
    assert_eq!(delivered(&again).len(), 1, "what is only read is read again");
}

#[test]
fn too_many_requests_under_way() {
    let mut sessions = sessions();
    let mut opened = login(&mut sessions);
    raise(&mut sessions, &mut opened, 4);
    let mut deliveries = 0;
    let mut busy = 0;
    for number in 0..20 {
        let outs = sessions.on_datagram(&opened.seal(&power_on(number)), admin().source, NOW);
        deliveries += delivered(&outs).len();
        busy += sent(&outs)
            .iter()
            .filter_map(|bytes| opened.open(bytes))
            .filter(|response| response.completion == Completion::NODE_BUSY)
            .count();
    }
    assert_eq!((deliveries, busy), (8, 12));
}

#[test]
fn half_protected_packets_are_dropped() {
    let mut sessions = sessions();
    let mut opened = login(&mut sessions);
    let message = power_status(1).to_bytes();
    for (encrypted, authenticated) in [(false, false), (true, false), (false, true)] {
        opened.sequence += 1;
        let header = SessionHeader {
            payload_type: PayloadType::Ipmi,
            encrypted,
            authenticated,
            session_id: opened.controller_id,
            sequence: opened.sequence,
            payload_bytes: u16::try_from(message.len()).expect("small"),
        };
        let mut bytes = vec![6, 0, 0xff, 7];
        header.encode(&mut bytes);
        bytes.extend(&message);
        if authenticated {
            bytes.extend([0xff, 0xff, 2, 7]);
            let code = opened.keys.code(&bytes[4..]);
            bytes.extend(code.truncated(16));
        }
        assert_eq!(sessions.on_datagram(&bytes, admin().source, NOW), []);
    }
}

#[test]
fn privilege_is_kept() {
    let mut sessions = sessions();
    let console = Console { role: 0x13, ..admin() };
    let mut opened = console.login(&mut sessions, NOW).expect("login");
    let code = |sessions: &mut Sessions, opened: &mut Opened, request: LanRequest| {
        own(sessions, opened, &request, NOW).completion
    };
    let set = |number, level| LanRequest::new(NETFN_APP, 0x3b, number, vec![level]);
    let refused = Completion::PRIVILEGE_TOO_LOW;
    assert_eq!(code(&mut sessions, &mut opened, power_on(1)), refused, "a session starts as USER");
    assert_eq!(code(&mut sessions, &mut opened, set(2, 4)), Completion::LEVEL_EXCEEDS_LIMIT);
    assert_eq!(code(&mut sessions, &mut opened, set(3, 5)), Completion::INVALID_FIELD);
    assert_eq!(code(&mut sessions, &mut opened, set(4, 3)), Completion::OK);
    let outs = sessions.on_datagram(&opened.seal(&power_on(5)), admin().source, NOW);
    assert_eq!(delivered(&outs).len(), 1);
    let reset = LanRequest::new(NETFN_APP, 0x02, 6, vec![]);
    assert_eq!(code(&mut sessions, &mut opened, reset), refused);
    let no_data = LanRequest::new(NETFN_APP, 0x3b, 7, vec![]);
    assert_eq!(code(&mut sessions, &mut opened, no_data), Completion::LENGTH_INVALID);
}

#[test]
fn every_command_is_answered() {
    let mut sessions = sessions();
    let mut opened = login(&mut sessions);
    let mut number = 0;
    for netfn in (0..0x3f).step_by(2) {
        for command in 0..=255 {
            if (netfn, command) == (NETFN_APP, 0x3c) {
                continue;
            }
            number = (number + 1) % 64;
            let request = LanRequest::new(netfn, command, number, vec![0; 2]);
            let outs = sessions.on_datagram(&opened.seal(&request), admin().source, NOW);
            assert_eq!(outs.len(), 1, "{netfn:#x} {command:#x}");
            for ticket in delivered(&outs) {
                sessions.on_reply(ticket, &Reply::code(Completion::OK));
            }
        }
    }
    let elsewhere = LanRequest { to: 0x82, ..power_status(1) };
    let code = own(&mut sessions, &mut opened, &elsewhere, NOW).completion;
    assert_eq!(code, Completion::DESTINATION_UNAVAILABLE);
    let lun = LanRequest { to_lun: 1, ..power_status(2) };
    let code = own(&mut sessions, &mut opened, &lun, NOW).completion;
    assert_eq!(code, Completion::INVALID_FOR_LUN);
}

#[test]
fn sessions_end() {
    let seconds = Duration::from_secs;
    let alive = |sessions: &mut Sessions, opened: &mut Opened, now| {
        !sessions.on_datagram(&opened.seal(&power_status(1)), admin().source, now).is_empty()
    };
    let mut sessions = sessions();
    let mut idle = login(&mut sessions);
    assert!(alive(&mut sessions, &mut idle, NOW + seconds(59)));
    assert_eq!(sessions.next_deadline(), Some(NOW + seconds(119)));
    sessions.on_deadline(NOW + seconds(118));
    assert_eq!(sessions.open(), 1);
    assert!(!alive(&mut sessions, &mut idle, NOW + seconds(119)));
    assert_eq!(sessions.open(), 0);

    let mut closed = login(&mut sessions);
    let mut other = login(&mut sessions);
    let close = |id: u32| LanRequest::new(NETFN_APP, 0x3c, 1, id.to_le_bytes().to_vec());
    let id = closed.controller_id;
    assert_eq!(own(&mut sessions, &mut closed, &close(id), NOW).completion, Completion::OK);
    assert!(!alive(&mut sessions, &mut closed, NOW));
    let code = own(&mut sessions, &mut other, &close(1), NOW).completion;
    assert_eq!(code, Completion::PRIVILEGE_TOO_LOW);

    raise(&mut sessions, &mut other, 4);
    let reset = LanRequest::new(NETFN_APP, 0x02, 9, vec![]);
    let outs = sessions.on_datagram(&other.seal(&reset), admin().source, NOW);
    assert_eq!((sent(&outs).len(), outs.last()), (1, Some(&Out::Reset(Reset::Cold))));
    assert!(!alive(&mut sessions, &mut other, NOW + seconds(2)));
}

#[test]
fn a_slow_handshake_ends() {
    let mut sessions = sessions();
    let exchange = admin().challenge(&mut sessions, NOW).expect("RAKP 2");
    let late = NOW + Duration::from_secs(20);
    assert_eq!(sessions.on_datagram(&admin().rakp3(&exchange), admin().source, late), []);
    assert_eq!(sessions.open(), 0);
}

/// The answer to a message of IPMI 1.5, outside of a session.
fn old_style(netfn: u8, command: u8, data: Vec<u8>) -> LanResponse {
    let request = LanRequest::new(netfn, command, 1, data);
    let bytes = packet::plain_v15(&request.to_bytes());
    let outs = sessions().on_datagram(&bytes, at(1, 1), NOW);
    let answer = sent(&outs).into_iter().next().expect("an answer");
    match Datagram::parse(&answer) {
        Ok(Datagram::V15 { payload, .. }) => LanResponse::decode(payload).expect("a response"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ipmi_15_gets_nowhere() {
    let response = old_style(NETFN_APP, 0x38, vec![0x0e, 0x04]);
    let capabilities = get_channel_auth_cap::Response::decode(&response.data).expect("read");
    assert_eq!((capabilities.types, capabilities.versions), (0, 0));
    let mut challenge = vec![0x02];
    challenge.extend([0; 16]);
    assert_eq!(old_style(NETFN_APP, 0x39, challenge).completion, Completion::INVALID_COMMAND);
    assert_eq!(old_style(NETFN_APP, 0x3a, vec![0; 22]).completion, Completion::INVALID_COMMAND);
    let refused = Completion::PRIVILEGE_TOO_LOW;
    assert_eq!(old_style(NETFN_CHASSIS, 0x02, vec![1]).completion, refused);
    assert_eq!(old_style(NETFN_APP, 0x01, vec![]).completion, refused);
}

#[test]
fn a_flood_of_logins_leaves_the_newest() {
    let mut sessions = sessions();
    for number in 0..500u32 {
        let console = Console { console_id: number, ..admin() };
        let now = NOW + Duration::from_millis(number.into());
        assert!(console.login(&mut sessions, now).is_ok());
        assert!(sessions.open() <= 64);
    }
}

/// The valid datagrams of a login and a command, to be spoiled.
fn script() -> (Sessions, Vec<Vec<u8>>) {
    let mut sessions = sessions();
    let console = admin();
    let exchange = console.challenge(&mut sessions, NOW).expect("RAKP 2");
    let mut opened = login(&mut sessions);
    let ping = vec![6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0];
    let capabilities = LanRequest::new(NETFN_APP, 0x38, 0, vec![0x8e, 4]).to_bytes();
    let datagrams = vec![
        ping,
        packet::plain_v15(&capabilities),
        packet::plain(PayloadType::Ipmi, &capabilities),
        console.open(),
        console.rakp1(&exchange),
        console.rakp3(&exchange),
        opened.seal(&power_status(1)),
        opened.seal(&power_on(2)),
    ];
    (sessions, datagrams)
}

#[test]
fn datagrams_cut_short_or_too_long() {
    let (_, datagrams) = script();
    for datagram in &datagrams {
        for end in 0..datagram.len() {
            let (mut sessions, _) = script();
            let outs = sessions.on_datagram(&datagram[..end], admin().source, NOW);
            assert_eq!(delivered(&outs), [], "{end} of {datagram:02x?}");
        }
        for extra in [1, 16, 900, 2000, 65_000] {
            let (mut sessions, _) = script();
            let long = [&datagram[..], &vec![0; extra]].concat();
            let outs = sessions.on_datagram(&long, admin().source, NOW);
            assert_eq!(delivered(&outs), []);
        }
    }
}

proptest! {
    /// Any sequence of spoiled datagrams: no panic, bounded memory, nothing executed.
    #[test]
    fn spoiled_datagrams(
        spoils in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8.., any::<u8>()),
            0..40,
        ),
    ) {
        let (mut sessions, datagrams) = script();
        for (which, at, change, tail) in spoils {
            let mut bytes = which.get(&datagrams).clone();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            bytes.extend(std::iter::repeat_n(tail, usize::from(tail % 3)));
            let outs = sessions.on_datagram(&bytes, admin().source, NOW);
            // Spoiling the RMCP header alone leaves a sealed packet whole.
            prop_assert!(at < 4 || delivered(&outs).is_empty());
        }
        prop_assert!(sessions.half_open() <= HALF_OPEN_PER_SOURCE_MAX);
        let console = Console { source: self::at(2, 2), ..admin() };
        prop_assert!(console.login(&mut sessions, NOW).is_ok());
    }

    #[test]
    fn any_bytes(datagrams in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..100), 0..20,
    )) {
        let mut sessions = sessions();
        for bytes in datagrams {
            sessions.on_datagram(&bytes, at(1, 1), NOW);
            sessions.on_datagram(&[&[6, 0, 255, 7][..], &bytes].concat(), at(1, 1), NOW);
        }
    }
}

#[test]
fn a_session_cannot_be_fixed() {
    let mut sessions = sessions();
    // Whoever begins a handshake cannot leave it to somebody else to finish.
    let exchange = admin().challenge(&mut sessions, NOW).expect("challenge");
    let rakp3 = admin().rakp3(&exchange);
    assert_eq!(sessions.on_datagram(&rakp3, at(66, 6), NOW), []);
    // Nor can the same console have the same session twice: the number is the controller's.
    let first = login(&mut sessions);
    let second = login(&mut sessions);
    assert_ne!(first.controller_id, second.controller_id);
    // A session's keys open no other session, whatever number is on the packet.
    let mut mixed = Opened { controller_id: second.controller_id, ..first };
    let outs = sessions.on_datagram(&mixed.seal(&power_status(1)), admin().source, NOW);
    assert_eq!(outs, []);
}

/// A console on a socket.
struct Wire {
    socket: std::net::UdpSocket,
    console: Console,
}

impl Wire {
    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.socket.send(bytes).expect("send");
        self.answer()
    }

    fn answer(&self) -> Vec<u8> {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("an answer in time");
        buffer[..length].to_vec()
    }

    fn message<M: Decode>(&self, bytes: &[u8]) -> M {
        let answer = self.ask(bytes);
        let Ok(Datagram::Plus(packet)) = Datagram::parse(&answer) else { panic!("no packet") };
        M::decode(packet.payload).expect("a message")
    }

    fn login(&self) -> Opened {
        let opened: open_session::Response = self.message(&self.console.open());
        let mut exchange = self.console.exchange(opened.outcome.expect("open").controller_id);
        let rakp2: Rakp2 = self.message(&self.console.rakp1(&exchange));
        let challenge = rakp2.outcome.expect("challenge");
        exchange.controller_random = challenge.controller_random;
        exchange.guid = challenge.guid;
        let rakp4: Rakp4 = self.message(&self.console.rakp3(&exchange));
        rakp4.outcome.expect("login");
        let keys = exchange.keys(&exchange.session_integrity_key(&self.console.password));
        Opened { keys, controller_id: exchange.controller_id, sequence: 0 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sequence_window_on_the_wire() {
    let machine = fixture::MemoryMachine::new(Duration::ZERO);
    let server = fixture::serve(machine.clone());
    let test = tokio::task::spawn_blocking(move || {
        let socket = fixture::socket();
        socket.connect(server.address()).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let wire = Wire { socket, console: admin() };
        let mut opened = wire.login();
        let mut at = |number: u32, request: &LanRequest| {
            opened.sequence = number - 1;
            opened.seal(request)
        };
        let raise = LanRequest::new(NETFN_APP, 0x3b, 1, vec![4]);
        wire.ask(&at(1, &raise));
        let on = at(2, &power_on(2));
        let first = wire.ask(&on);
        assert_eq!(wire.ask(&on), first, "a copy is answered, byte for byte");
        wire.ask(&at(300, &power_status(3)));
        wire.ask(&at(300 - 63, &power_status(4)));
        // Too old, and seen without an answer to give again: nothing comes but the last one's.
        for old in [300 - 64, 2, 1] {
            wire.socket.send(&at(old, &power_status(5))).expect("send");
        }
        let last = wire.ask(&at(301, &power_status(6)));
        let last = opened.open(&last).expect("sealed for us");
        assert_eq!(last.sequence, 6);
    });
    test.await.expect("the console");
    assert_eq!(machine.state().actions.len(), 1, "the copy was not executed");
}
