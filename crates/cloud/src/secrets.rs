//! Generated secrets. Their letters are syntax in none of the files that they are written to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde::{Deserialize, Serialize};
use undercloud_model::Secret;

/// What a generated secret looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// 32 letters and digits, a letter first: 190 bits.
    Password,
    /// A Fernet key: 32 bytes in URL-safe base64.
    Fernet,
}

const PASSWORD_LETTERS: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const FIRST_LETTERS: usize = 52;

/// A new secret from the system's random numbers.
///
/// # Errors
/// The system has none to give.
pub fn generate(kind: SecretKind) -> Result<Secret, getrandom::Error> {
    match kind {
        SecretKind::Password => password(),
        SecretKind::Fernet => {
            let mut key = [0u8; 32];
            getrandom::fill(&mut key)?;
            Ok(Secret::new(URL_SAFE.encode(key)))
        }
    }
}

fn password() -> Result<Secret, getrandom::Error> {
    let mut text = String::with_capacity(PASSWORD_LETTERS);
    let mut bytes = [0u8; 64];
    while text.len() < PASSWORD_LETTERS {
        getrandom::fill(&mut bytes)?;
        for byte in bytes {
            let choices = if text.is_empty() { FIRST_LETTERS } else { ALPHABET.len() };
            // Bytes above the last multiple would make some letters likelier than others.
            let fair = usize::from(byte) < 256 / choices * choices;
            if fair && text.len() < PASSWORD_LETTERS {
                text.push(char::from(ALPHABET[usize::from(byte) % choices]));
            }
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_syntax_anywhere() {
        for _ in 0..200 {
            let password = generate(SecretKind::Password).unwrap();
            let text = password.expose();
            assert_eq!(text.len(), 32);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(text.starts_with(|c: char| c.is_ascii_alphabetic()));
        }
        let (one, other) = (generate(SecretKind::Password), generate(SecretKind::Password));
        assert_ne!(one.unwrap(), other.unwrap());
    }

    #[test]
    fn a_fernet_key_is_32_bytes() {
        let key = generate(SecretKind::Fernet).unwrap();
        assert_eq!(URL_SAFE.decode(key.expose()).unwrap().len(), 32);
        assert_eq!(key.expose().len(), 44);
    }
}
