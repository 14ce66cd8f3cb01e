//! Sessions: a random token stands for a login (DSP0266, 13.3.4.2).
//!
//! A session holds the digest of the login and nothing else of it: when the password changes or
//! the user goes, the session is worth nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::login::Digest;

/// How long a session lives unused, unless the administrator says otherwise.
pub(super) const TIMEOUT_DEFAULT_S: u64 = 1800;
/// What the administrator may say.
pub(super) const TIMEOUT_RANGE_S: std::ops::RangeInclusive<u64> = 30..=86_400;
/// Sessions of one login; then the one that has been idle for longest goes.
pub(super) const PER_LOGIN_MAX: usize = 16;
/// Sessions in all; then the one that has been idle for longest goes.
const SESSIONS_MAX: usize = 16_384;

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) login: Digest,
    pub(super) source: IpAddr,
    pub(super) created: String,
    used: Instant,
}

/// The open sessions, by digest of the token.
#[derive(Debug)]
pub(super) struct Sessions {
    by_token: HashMap<Digest, Session>,
    pub(super) timeout_s: u64,
    swept: Option<Instant>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { by_token: HashMap::new(), timeout_s: TIMEOUT_DEFAULT_S, swept: None }
    }
}

/// What a new session is made of.
#[derive(Debug)]
pub(super) struct NewSession {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) login: Digest,
    pub(super) source: IpAddr,
    pub(super) created: String,
}

impl Sessions {
    pub(super) fn open(&mut self, token: Digest, new: NewSession, now: Instant) -> Session {
        self.sweep(now);
        let same = |session: &Session| session.login == new.login;
        if self.by_token.values().filter(|s| same(s)).count() >= PER_LOGIN_MAX {
            self.evict(same);
        }
        if self.by_token.len() >= SESSIONS_MAX {
            self.evict(|_| true);
        }
        let NewSession { id, user, login, source, created } = new;
        let session = Session { id, user, login, source, created, used: now };
        self.by_token.insert(token, session.clone());
        session
    }

    /// The session of a token, which is used thereby.
    pub(super) fn touch(&mut self, token: &Digest, now: Instant) -> Option<Session> {
        let timeout = Duration::from_secs(self.timeout_s);
        let session = self.by_token.get_mut(token)?;
        if now.duration_since(session.used) > timeout {
            self.by_token.remove(token);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Those of the logins that `visible` says, oldest first.
    pub(super) fn list(
        &mut self,
        visible: impl Fn(&Session) -> bool,
        now: Instant,
    ) -> Vec<Session> {
        self.sweep(now);
        let mut list: Vec<_> = self.by_token.values().filter(|s| visible(s)).cloned().collect();
        list.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        list
    }

    pub(super) fn close(&mut self, close: impl Fn(&Session) -> bool) {
        self.by_token.retain(|_, session| !close(session));
    }

    fn evict(&mut self, among: impl Fn(&Session) -> bool) {
        let oldest = self.by_token.iter().filter(|(_, s)| among(s)).min_by_key(|(_, s)| s.used);
        if let Some(token) = oldest.map(|(token, _)| *token) {
            self.by_token.remove(&token);
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        let timeout = Duration::from_secs(self.timeout_s);
        self.by_token.retain(|_, session| now.duration_since(session.used) <= timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(id: usize, login: u8) -> NewSession {
        NewSession {
            id: id.to_string(),
            user: "admin".into(),
            login: [login; 32],
            source: [192, 0, 2, 1].into(),
            created: String::new(),
        }
    }

    fn token(id: usize) -> Digest {
        let mut token = [0; 32];
        token[..8].copy_from_slice(&id.to_le_bytes());
        token
    }

    #[test]
    fn a_session_ends_when_it_is_not_used() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        sessions.open(token(1), new(1, 1), start);
        let timeout = Duration::from_secs(TIMEOUT_DEFAULT_S);
        assert!(sessions.touch(&token(1), start + timeout).is_some());
        assert!(sessions.touch(&token(1), start + timeout * 2).is_some());
        assert!(sessions.touch(&token(1), start + timeout * 4).is_none());
    }

    #[test]
    fn one_login_cannot_push_out_another() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        sessions.open(token(0), new(0, 1), start);
        for id in 1..100 {
            sessions.open(token(id), new(id, 2), start + Duration::from_millis(id as u64));
        }
        assert!(sessions.touch(&token(0), start).is_some());
        assert!(sessions.touch(&token(1), start).is_none());
        assert!(sessions.touch(&token(99), start + Duration::from_secs(1)).is_some());
        assert_eq!(sessions.by_token.len(), PER_LOGIN_MAX + 1);
    }
}
