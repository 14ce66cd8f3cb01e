//! Barbican: a secret that is kept, read and removed, where the cloud has the feature.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use undercloud_model::ErrorKind;

use super::{
    NAME,
    session::{Service::KeyManager, Session},
};
use crate::failure::Failure;

/// Bytes of a word that no earlier run stored.
const WORD_BYTES: usize = 16;
const HINT: &str = "`undercloud logs` lists the logs of barbican";

/// Stores a word, reads it, removes it.
pub(super) fn check(session: &Session) -> Result<((), String)> {
    let word = word()?;
    let secret = json!({
        "name": NAME,
        "payload": word,
        "payload_content_type": "text/plain",
    });
    let made = session.post(KeyManager, "/secrets", &secret)?;
    let path = path(&made).context("Barbican's answer names no secret")?;
    let read = session.text(KeyManager, &format!("{path}/payload"))?;
    if read != word {
        // What it gave may be another secret, and is nobody's business.
        let message = "the secret that was read is not the one that was stored";
        return Err(Failure::new(ErrorKind::Unavailable, message).hint(HINT).into());
    }
    session.delete(KeyManager, &path)?;
    if session.find(KeyManager, &path)?.is_some() {
        let message = "the secret is there after its removal";
        return Err(Failure::new(ErrorKind::Unavailable, message).hint(HINT).into());
    }
    Ok(((), "a secret was stored, read and removed".to_owned()))
}

/// Removes the secrets of an earlier run.
pub(super) fn remove(session: &Session) -> Result<usize> {
    if !session.has(KeyManager) {
        return Ok(0);
    }
    let answer = session.get(KeyManager, &format!("/secrets?name={NAME}"))?;
    let secrets = answer["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: Vec<String> =
        secrets.iter().filter(|secret| secret["name"] == NAME).filter_map(path).collect();
    for path in &ours {
        session.delete(KeyManager, path)?;
    }
    Ok(ours.len())
}

fn word() -> Result<String> {
    let mut bytes = [0; WORD_BYTES];
    getrandom::fill(&mut bytes).context("this host gives no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where it is below the endpoint's URL; Barbican gives all of that (`secret_ref`).
fn path(secret: &Value) -> Option<String> {
    let (_, id) = secret["secret_ref"].as_str()?.rsplit_once('/')?;
    Some(format!("/secrets/{id}"))
}
