//! Questions that a controller answers to anybody: they need no session and no password.

use std::{net::SocketAddr, time::Duration};

use super::{
    ClientError, Options,
    handshake::{payload, plain_answer, plain_question},
    link::Link,
};
use crate::ipmi::{
    completion::Completion,
    msg::{
        get_channel_auth_cap, get_channel_cipher_suites, open_session, session_header::PayloadType,
        status::Status,
    },
    packet,
    privilege::Privilege,
    random::Random,
    suite::Algorithms,
    wire::{Command, Decode, Encode},
};

/// "The channel this comes by."
pub(super) const THIS_CHANNEL: u8 = 0x0e;
/// Pages of cipher suites: the number has six bits.
const PAGES_MAX: u8 = 64;
/// What a record of a suite starts with: one of the specification, or one of a vendor.
const RECORD: u8 = 0xc0;
const RECORD_OF_VENDOR: u8 = 0xc1;

/// Asks outside of a session; `None` when nothing answers.
async fn ask<C: Command>(link: &Link, request: &C) -> Result<Option<C::Response>, ClientError> {
    let (address, operation) = (link.address, C::NAME);
    let Some(response) = link.exchange(&plain_question(request), plain_answer::<C>).await else {
        return Ok(None);
    };
    if response.completion != Completion::OK {
        let code = response.completion;
        return Err(ClientError::Completion { address, command: operation, code });
    }
    C::Response::decode(&response.data).map(Some).map_err(|source| ClientError::Malformed {
        address,
        operation,
        source,
    })
}

/// A controller, seen from outside.
#[derive(Debug)]
pub struct Discovery {
    link: Link,
    random: Random,
}

impl Discovery {
    /// A socket towards the controller; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`] when there is no socket or no random byte to be had.
    pub async fn open(address: SocketAddr, options: &Options) -> Result<Self, ClientError> {
        let random =
            Random::from_system().map_err(|source| ClientError::Random { address, source })?;
        let timeout = Duration::from_millis(options.timeout_ms);
        let link = Link::open(address, timeout, options.attempts_max.max(1)).await?;
        Ok(Self { link, random })
    }

    /// Which versions, which kinds of users.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when nobody answers.
    pub async fn capabilities(&self) -> Result<get_channel_auth_cap::Response, ClientError> {
        let privilege = Privilege::Administrator.bits();
        let request =
            get_channel_auth_cap::Request { extended: true, channel: THIS_CHANNEL, privilege };
        let address = self.link.address;
        ask(&self.link, &request).await?.ok_or(ClientError::Unreachable { address })
    }

    /// The numbers of the cipher suites that it lists.
    ///
    /// # Errors
    /// [`ClientError`]; some controllers do not answer this outside of a session.
    pub async fn cipher_suites(&self) -> Result<Vec<u8>, ClientError> {
        let mut records = Vec::new();
        for page in 0..PAGES_MAX {
            let request = get_channel_cipher_suites::Request {
                channel: THIS_CHANNEL,
                payload_type: 0,
                by_suite: true,
                page,
            };
            let answer = ask(&self.link, &request).await?;
            let answer = answer.ok_or_else(|| self.timeout("Get Channel Cipher Suites"))?;
            let is_last = answer.records.len() < get_channel_cipher_suites::PAGE;
            records.extend(answer.records);
            if is_last {
                break;
            }
        }
        Ok(suite_numbers(&records))
    }

    /// Proposes a session of these algorithms, and goes no further: whether it is accepted.
    ///
    /// # Errors
    /// [`ClientError`] when it does not answer, or with something else.
    pub async fn accepts(&mut self, algorithms: Algorithms) -> Result<bool, ClientError> {
        const NAME: &str = "Open Session";
        let (tag, console_id) = (self.random.block()[0], self.random.id());
        let request = open_session::Request {
            tag,
            privilege: Privilege::Administrator.bits(),
            console_id,
            authentication: Some(algorithms.authentication),
            integrity: Some(algorithms.integrity),
            confidentiality: Some(algorithms.confidentiality),
        };
        let datagram = packet::plain(PayloadType::OpenSessionRequest, &request.to_bytes());
        let accept = |bytes: &[u8]| {
            let answer = payload(bytes, PayloadType::OpenSessionResponse)?;
            match open_session::Response::decode(answer) {
                // A refusal may leave the console's id out.
                Ok(answer) => (answer.tag == tag).then_some(Ok(answer.outcome)),
                Err(error) => Some(Err(error)),
            }
        };
        let outcome = self.link.exchange(&datagram, accept).await;
        let outcome = outcome.ok_or_else(|| self.timeout(NAME))?;
        let address = self.link.address;
        let outcome: Result<_, Status> = outcome.map_err(|source| ClientError::Malformed {
            address,
            operation: NAME,
            source,
        })?;
        Ok(outcome.is_ok_and(|accepted| accepted.algorithms == algorithms))
    }

    fn timeout(&self, operation: &'static str) -> ClientError {
        let (address, attempts) = (self.link.address, self.link.attempts_max);
        ClientError::Timeout { address, operation, attempts }
    }
}

/// The numbers in the records of Get Channel Cipher Suites (table 22-18).
fn suite_numbers(records: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut rest = records;
    while let [first, tail @ ..] = rest {
        rest = match (*first, tail) {
            (RECORD, [number, tail @ ..]) => {
                numbers.push(*number);
                tail
            }
            (RECORD_OF_VENDOR, [_, _, _, _, tail @ ..]) => tail,
            _ => tail,
        };
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_among_records_of_a_vendor_and_garbage() {
        let records = [
            0xc0, 3, 1, 0x41, 0x81, // suite 3
            0xc1, 0x80, 0xc0, 0, 0, 3, 0x44, 0x81, // a vendor's, with a number like a record
            0xc0, 17, 3, 0x44, 0x81, 0xc0,
        ];
        assert_eq!(suite_numbers(&records), [3, 17]);
        assert!(suite_numbers(&[]).is_empty());
    }
}
