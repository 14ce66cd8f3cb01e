//! The way into a controller: capabilities, Open Session, RAKP, the wanted privilege.

use super::{
    ClientError, Options,
    discover::{self, THIS_CHANNEL},
    link::Link,
    session::ClientSession,
};
use crate::ipmi::{
    credentials::Credentials,
    msg::{
        get_channel_auth_cap,
        open_session::{self, Accepted},
        rakp1::{NAME_ONLY, Rakp1},
        rakp2::Rakp2,
        rakp3::Rakp3,
        rakp4::Rakp4,
        session_header::PayloadType,
        status::Status,
    },
    packet::{self, Datagram},
    rakp::Exchange,
    random::Random,
    suite::{Algorithms, CipherSuite},
    wire::{Decode, Encode, WireError},
};

pub(super) struct Login<'a> {
    pub(super) link: &'a Link,
    pub(super) credentials: &'a Credentials,
    pub(super) options: &'a Options,
    pub(super) random: &'a mut Random,
}

/// The payload of a sessionless RMCP+ packet of this type.
pub(super) fn payload(bytes: &[u8], kind: PayloadType) -> Option<&[u8]> {
    match Datagram::parse(bytes) {
        Ok(Datagram::Plus(packet)) => {
            let header = packet.header;
            let plain = header.session_id == 0 && !header.encrypted && !header.authenticated;
            (plain && header.payload_type == kind).then_some(packet.payload)
        }
        _ => None,
    }
}

impl Login<'_> {
    /// All of it.
    pub(super) async fn run(mut self) -> Result<ClientSession, ClientError> {
        self.capabilities().await?;
        for suite in self.options.suites.clone() {
            match self.open(suite).await? {
                Some(exchange) => return self.authenticate(exchange).await,
                None => tracing::debug!(bmc = %self.link.address, %suite, "cipher suite refused"),
            }
        }
        Err(self.no_common_suite())
    }

    fn no_common_suite(&self) -> ClientError {
        let suites: Vec<String> = self.options.suites.iter().map(ToString::to_string).collect();
        ClientError::NoCommonSuite { address: self.link.address, suites: suites.join(", ") }
    }

    fn malformed(&self, operation: &'static str, source: WireError) -> ClientError {
        ClientError::Malformed { address: self.link.address, operation, source }
    }

    fn authentication_failed(&self, status: Option<Status>) -> ClientError {
        let user = self.credentials.user().to_owned();
        ClientError::AuthenticationFailed { address: self.link.address, user, status }
    }

    fn refused(&self, operation: &'static str, status: Status) -> ClientError {
        let address = self.link.address;
        match status {
            Status::UNAUTHORIZED_NAME | Status::INVALID_INTEGRITY_CHECK => {
                self.authentication_failed(Some(status))
            }
            Status::INVALID_ROLE | Status::UNAUTHORIZED_ROLE => {
                let privilege = self.options.privilege;
                ClientError::PrivilegeTooLow { address, operation, privilege }
            }
            _ => ClientError::Refused { address, operation, status },
        }
    }

    /// Asks one message of the handshake and reads the answer that `is_ours`.
    async fn ask<M: Decode>(
        &self,
        operation: &'static str,
        (kind, message): (PayloadType, &impl Encode),
        answer_kind: PayloadType,
        is_ours: impl Fn(&M) -> bool,
    ) -> Result<M, ClientError> {
        let link = self.link;
        let datagram = packet::plain(kind, &message.to_bytes());
        let accept = |bytes: &[u8]| match M::decode(payload(bytes, answer_kind)?) {
            Ok(answer) => is_ours(&answer).then_some(Ok(answer)),
            Err(error) => Some(Err(error)),
        };
        match link.exchange(&datagram, link.attempts_max, accept).await {
            Some(answer) => answer.map_err(|error| self.malformed(operation, error)),
            None => Err(ClientError::Timeout {
                address: link.address,
                operation,
                attempts: link.attempts_max,
            }),
        }
    }

    /// Whether anybody is there, and speaks IPMI 2.0.
    async fn capabilities(&self) -> Result<(), ClientError> {
        let privilege = self.options.privilege.bits();
        let request =
            get_channel_auth_cap::Request { extended: true, channel: THIS_CHANNEL, privilege };
        let address = self.link.address;
        let response = discover::ask(self.link, &request).await?;
        let response = response.ok_or(ClientError::Unreachable { address })?;
        if response.types & 0x80 == 0 || response.versions & 0x02 == 0 {
            return Err(self.no_common_suite());
        }
        Ok(())
    }

    /// Proposes one suite; `None` when the controller does not speak it.
    async fn open(&mut self, suite: CipherSuite) -> Result<Option<Exchange>, ClientError> {
        const NAME: &str = "Open Session";
        let Algorithms { authentication, integrity, confidentiality } = suite.algorithms();
        let (tag, console_id) = (self.random.block()[0], self.random.id());
        let request = open_session::Request {
            tag,
            privilege: self.options.privilege.bits(),
            console_id,
            authentication: Some(authentication),
            integrity: Some(integrity),
            confidentiality: Some(confidentiality),
        };
        // A refusal may leave the console's id out.
        let is_ours = |it: &open_session::Response| {
            let nameless = it.outcome.is_err() && it.console_id == 0;
            it.tag == tag && (it.console_id == console_id || nameless)
        };
        let kind = PayloadType::OpenSessionRequest;
        let answer_kind = PayloadType::OpenSessionResponse;
        let response = self.ask(NAME, (kind, &request), answer_kind, is_ours).await?;
        match response.outcome {
            // Several controllers answer with the suite that they like better.
            Ok(Accepted { algorithms, .. }) if algorithms != suite.algorithms() => Ok(None),
            Ok(Accepted { controller_id, .. }) => Ok(Some(Exchange {
                suite,
                console_id,
                controller_id,
                console_random: self.random.block(),
                controller_random: [0; 16],
                guid: [0; 16],
                role: NAME_ONLY | self.options.privilege.bits(),
                user: self.credentials.user().as_bytes().to_vec(),
            })),
            Err(Status(0x04 | 0x05 | 0x10 | 0x11)) => Ok(None),
            Err(status) => Err(self.refused(NAME, status)),
        }
    }

    async fn authenticate(&mut self, mut exchange: Exchange) -> Result<ClientSession, ClientError> {
        const FIRST: &str = "RAKP message 1";
        const THIRD: &str = "RAKP message 3";
        let (controller_id, console_id) = (exchange.controller_id, exchange.console_id);
        let tag = self.random.block()[0];
        let rakp1 = Rakp1 {
            tag,
            controller_id,
            console_random: exchange.console_random,
            role: exchange.role,
            user: exchange.user.clone(),
        };
        let is_ours = |it: &Rakp2| it.tag == tag && it.console_id == console_id;
        let rakp2: Rakp2 =
            self.ask(FIRST, (PayloadType::Rakp1, &rakp1), PayloadType::Rakp2, is_ours).await?;
        let challenge = rakp2.outcome.map_err(|status| self.refused(FIRST, status))?;
        exchange.controller_random = challenge.controller_random;
        exchange.guid = challenge.guid;
        let password = self.credentials.password().bytes();
        let tag = tag.wrapping_add(1);
        let length = exchange.suite.exchange_code_length();
        if !exchange.controller_code(password).matches(&challenge.code, length) {
            // The controller shall not keep the half-open session for nothing.
            let outcome = Err(Status::INVALID_INTEGRITY_CHECK);
            let rakp3 = Rakp3 { tag, controller_id, outcome };
            self.link.tell(&packet::plain(PayloadType::Rakp3, &rakp3.to_bytes()));
            return Err(self.authentication_failed(None));
        }
        let code = exchange.console_code(password).as_slice().to_vec();
        let rakp3 = Rakp3 { tag, controller_id, outcome: Ok(code) };
        let is_ours = |it: &Rakp4| it.tag == tag && it.console_id == console_id;
        let rakp4: Rakp4 =
            self.ask(THIRD, (PayloadType::Rakp3, &rakp3), PayloadType::Rakp4, is_ours).await?;
        let code = rakp4.outcome.map_err(|status| self.refused(THIRD, status))?;
        let integrity_key = exchange.session_integrity_key(password);
        let length = exchange.suite.integrity_length();
        if !exchange.final_code(&integrity_key).matches(&code, length) {
            return Err(self.authentication_failed(None));
        }
        Ok(ClientSession::new(exchange.keys(&integrity_key), controller_id, console_id))
    }
}
