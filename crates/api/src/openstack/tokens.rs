//! Tokens: opaque, random, kept in memory as SHA-256 until they end. A daemon that starts anew
//! knows none; clients log in for every command.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use undercloud_model::{ErrorKind, Secret, UnixMillis};

use crate::ApiError;

/// Life of a token.
const LIFE_MS: i64 = 3600 * 1000;

/// Tokens at once. When there are more, the one that ends first is forgotten.
const TOKENS_MAX: usize = 10_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Project,
    System,
    Unscoped,
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) scope: Scope,
    pub(super) methods: Vec<&'static str>,
    pub(super) audit_ids: Vec<String>,
    pub(super) issued_at: UnixMillis,
    pub(super) expires_at: UnixMillis,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_hash: Mutex<HashMap<[u8; 32], Token>>,
}

fn random<const N: usize>() -> Result<String, ApiError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| ApiError::new(ErrorKind::Unavailable, format!("no random numbers: {e}")))?;
    Ok(hex::encode(bytes))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Tokens {
    /// A new token. From another token it has that one's end and audit id (api-ref, "Token
    /// authentication with scoped authorization").
    pub(super) fn issue(
        &self,
        scope: Scope,
        parent: Option<&Token>,
        now: UnixMillis,
    ) -> Result<(Secret, Token), ApiError> {
        let text = random::<32>()?;
        let mut audit_ids = vec![random::<16>()?];
        audit_ids.extend(parent.and_then(|p| p.audit_ids.first().cloned()));
        let token = Token {
            scope,
            methods: if parent.is_some() { vec!["token", "password"] } else { vec!["password"] },
            audit_ids,
            issued_at: now,
            expires_at: parent.map_or(now + LIFE_MS, |p| p.expires_at),
        };
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if by_hash.len() >= TOKENS_MAX {
            by_hash.retain(|_, token| token.expires_at > now);
        }
        if by_hash.len() >= TOKENS_MAX {
            let first = by_hash.iter().min_by_key(|(_, t)| t.expires_at).map(|(k, _)| *k);
            first.map(|k| by_hash.remove(&k));
        }
        by_hash.insert(hash(&text), token.clone());
        Ok((Secret::new(text), token))
    }

    /// The token of this text, if it lives.
    pub(super) fn find(&self, text: &str, now: UnixMillis) -> Option<Token> {
        let by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        by_hash.get(&hash(text)).filter(|token| token.expires_at > now).cloned()
    }

    /// Ends a token; says whether it lived.
    pub(super) fn revoke(&self, text: &str, now: UnixMillis) -> bool {
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        by_hash.remove(&hash(text)).is_some_and(|token| token.expires_at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_and_a_child_ends_with_its_parent() {
        let tokens = Tokens::default();
        let (parent, first) = tokens.issue(Scope::Unscoped, None, 0).unwrap();
        let (child, second) = tokens.issue(Scope::Project, Some(&first), LIFE_MS / 2).unwrap();
        assert_eq!(second.expires_at, LIFE_MS);
        assert_eq!(second.audit_ids[1], first.audit_ids[0]);
        assert!(tokens.find(child.expose(), LIFE_MS - 1).is_some());
        assert!(tokens.find(child.expose(), LIFE_MS).is_none());
        assert!(tokens.revoke(parent.expose(), 1));
        assert!(tokens.find(parent.expose(), 1).is_none() && !tokens.revoke(parent.expose(), 1));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tokens = Tokens::default();
        let (first, _) = tokens.issue(Scope::Project, None, 0).unwrap();
        for now in 1..=TOKENS_MAX {
            tokens.issue(Scope::Project, None, i64::try_from(now).unwrap()).unwrap();
        }
        assert_eq!(tokens.by_hash.lock().unwrap().len(), TOKENS_MAX);
        assert!(tokens.find(first.expose(), 1).is_none(), "the first to end was forgotten");
    }
}
