//! Designate, where the cloud has the feature: a zone with a record, asked of the name server over UDP
//! as anybody would, and gone again.

use std::{
    io::ErrorKind::{TimedOut, WouldBlock},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use undercloud_model::ErrorKind;

use super::{
    NAME, id_of,
    session::{Service::Dns, Session},
    wait::{Seen, until},
};
use crate::failure::Failure;

/// Below a name that is nobody's (RFC 6761, section 6.2).
const ZONE: &str = "undercloud-verify.test.";
const HOST: &str = "www.undercloud-verify.test.";
/// An address that is nobody's (RFC 5737).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// From the bus to the name server and back.
const ZONE_MAX: Duration = Duration::from_secs(180);
/// A datagram may be lost: then the question is put again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const DNS_PORT: u16 = 53;
const HINT: &str = "`undercloud logs` lists the logs of designate-worker, designate-mdns and bind";

/// Makes a zone and a record, has them answered, removes them.
pub(super) fn check(session: &Session, name_server: Ipv4Addr) -> Result<((), String)> {
    let server = SocketAddr::from((name_server, DNS_PORT));
    let zone = json!({ "name": ZONE, "email": "hostmaster@undercloud-verify.test", "ttl": 60 });
    let zone = format!("/zones/{}", id_of(&session.post(Dns, "/zones", &zone)?)?);
    active(session, "the zone", &zone)?;
    let record = json!({ "name": HOST, "type": "A", "ttl": 60, "records": [ADDRESS] });
    let record = id_of(&session.post(Dns, &format!("{zone}/recordsets"), &record)?)?;
    active(session, "the record", &format!("{zone}/recordsets/{record}"))?;
    until("the name server's answer", ZONE_MAX, HINT, || {
        Ok(match ask(server, HOST)? {
            Reply::Addresses(found) if found == [ADDRESS] => Seen::Yes(()),
            other => Seen::NotYet(format!("{server} says {other:?}")),
        })
    })?;
    remove(session)?;
    until("the end of the name server's zone", ZONE_MAX, HINT, || {
        Ok(match ask(server, HOST)? {
            Reply::Refused | Reply::NoSuchName => Seen::Yes(()),
            other => Seen::NotYet(format!("{server} says {other:?}")),
        })
    })?;
    Ok(((), format!("{name_server} answered for a zone that was made, and is gone")))
}

/// Waits until the name server has it.
fn active(session: &Session, what: &str, path: &str) -> Result<()> {
    until(what, ZONE_MAX, HINT, || {
        let answer = session.get(Dns, path)?;
        match answer["status"].as_str() {
            Some("ACTIVE") => Ok(Seen::Yes(())),
            Some("ERROR") => {
                let message = format!("{what} did not come to the name server: it is in ERROR");
                Err(Failure::new(ErrorKind::Unavailable, message).hint(HINT).into())
            }
            status => Ok(Seen::NotYet(format!("its status is {}", status.unwrap_or("nothing")))),
        }
    })
}

/// Removes the zone, of this run or an earlier one, and waits until Designate knows it no more.
pub(super) fn remove(session: &Session) -> Result<usize> {
    if !session.has(Dns) {
        return Ok(0);
    }
    let answer = session.get(Dns, &format!("/zones?name={ZONE}"))?;
    let zones = answer["zones"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ours = |zone: &&Value| zone["name"].as_str().is_some_and(|name| name.starts_with(NAME));
    let ours = zones.iter().filter(is_ours).map(id_of).collect::<Result<Vec<_>>>()?;
    for zone in &ours {
        let path = format!("/zones/{zone}");
        session.delete(Dns, &path)?;
        until("the zone's end", ZONE_MAX, HINT, || {
            Ok(match session.find(Dns, &path)? {
                None => Seen::Yes(()),
                Some(zone) => Seen::NotYet(format!("its status is {}", zone["status"])),
            })
        })?;
    }
    Ok(ours.len())
}

/// What a name server says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    /// The addresses of the name.
    Addresses(Vec<Ipv4Addr>),
    /// There is no such name.
    NoSuchName,
    /// It does not answer for the zone.
    Refused,
    /// Something else: its code.
    Code(u8),
    /// Nothing, in time.
    Silence,
    /// No answer to the question that was put.
    Nonsense,
}

/// Asks for the addresses of a name, once.
fn ask(server: SocketAddr, name: &str) -> Result<Reply> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot open a socket for UDP")?;
    socket.set_read_timeout(Some(ANSWER_MAX)).context("cannot bound the wait for an answer")?;
    socket.connect(server).with_context(|| format!("cannot reach {server}"))?;
    let mut id = [0; 2];
    getrandom::fill(&mut id).context("this host gives no random numbers")?;
    let question = question(id, name);
    // A port that nobody listens on is told by an error of the next call: silence as well.
    let sent = socket.send(&question);
    let mut answer = [0; 512];
    match sent.and_then(|_| socket.recv(&mut answer)) {
        Ok(length) => Ok(reply(&question, &answer[..length])),
        Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => Ok(Reply::Silence),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(Reply::Silence),
        Err(error) => Err(error).with_context(|| format!("cannot ask {server}")),
    }
}

/// RFC 1035, section 4.1: the header, and one question for addresses (`A`, `IN`).
fn question(id: [u8; 2], name: &str) -> Vec<u8> {
    let mut bytes = id.to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label);
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Reads the answer to a question.
fn reply(question: &[u8], answer: &[u8]) -> Reply {
    let is_answer = answer.get(..2) == question.get(..2)
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        // A server that refuses may leave the question out.
        && (answer.len() <= 12 || answer.get(12..question.len()) == question.get(12..));
    let Some(code) = answer.get(3).map(|flags| flags & 0x0f).filter(|_| is_answer) else {
        return Reply::Nonsense;
    };
    match code {
        0 => addresses(answer, question.len()).map_or(Reply::Nonsense, Reply::Addresses),
        3 => Reply::NoSuchName,
        5 => Reply::Refused,
        other => Reply::Code(other),
    }
}

/// The addresses among an answer's records, which begin at `at`.
fn addresses(answer: &[u8], mut at: usize) -> Option<Vec<Ipv4Addr>> {
    let mut found = Vec::new();
    for _ in 0..u16::from_be_bytes(answer.get(6..8)?.try_into().ok()?) {
        at = after_name(answer, at)?;
        let head: [u8; 10] = answer.get(at..at + 10)?.try_into().ok()?;
        let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let data = answer.get(at + 10..at + 10 + length)?;
        if head[..4] == [0, 1, 0, 1] {
            found.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?));
        }
        at += 10 + length;
    }
    Some(found)
}

/// Where a name ends: at its empty label, or at a pointer to the rest of it (section 4.1.4).
fn after_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What BIND 9.20 answered, with the records of the additional section cut off.
    fn answer(code: u8, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question([7, 9], HOST);
        bytes[2] = 0x84;
        bytes[3] = code;
        bytes[7] = u8::try_from(records.len()).unwrap();
        bytes.extend(records.concat());
        bytes
    }

    #[test]
    fn a_question_is_as_the_standard_has_it() {
        let bytes = question([1, 2], "www.a.test.");
        let expected = b"\x01\x02\0\0\0\x01\0\0\0\0\0\0\x03www\x01a\x04test\0\0\x01\0\x01";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_answer_is_read_by_its_code_and_its_records() {
        let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x35";
        let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x10";
        let asked = question([7, 9], HOST);
        for (bytes, expected) in [
            (answer(0, &[record]), Reply::Addresses(vec![ADDRESS])),
            (answer(0, &[alias, record]), Reply::Addresses(vec![ADDRESS])),
            (answer(0, &[]), Reply::Addresses(vec![])),
            (answer(3, &[]), Reply::NoSuchName),
            (answer(5, &[]), Reply::Refused),
            (answer(2, &[]), Reply::Code(2)),
            // Cut short, a question, another's answer.
            (answer(0, &[&record[..15]]), Reply::Nonsense),
            (asked.clone(), Reply::Nonsense),
            (question([7, 8], HOST), Reply::Nonsense),
        ] {
            assert_eq!(reply(&asked, &bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_server_is_asked_over_udp() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            let (length, from) = socket.recv_from(&mut bytes).unwrap();
            bytes[2] = 0x80;
            bytes[3] = 5;
            socket.send_to(&bytes[..length], from).unwrap();
        });
        assert_eq!(ask(address, HOST).unwrap(), Reply::Refused);
        server.join().unwrap();
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), records: u8) {
            let _ = reply(&question([7, 9], HOST), &bytes);
            let mut bytes = [answer(0, &[]), bytes].concat();
            bytes[7] = records;
            let _ = reply(&question([7, 9], HOST), &bytes);
        }
    }
}
