//! A user name and a password, in types that cannot print the password.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest user name of IPMI (section 13.20).
pub const USER_BYTES_MAX: usize = 16;
/// Longest password of IPMI 2.0 (section 22.30).
pub const PASSWORD_BYTES_MAX: usize = 20;

/// Longest user name and password of Redfish: DSP0268 has no bound, and no service takes more.
pub const REDFISH_BYTES_MAX: usize = 255;

/// Why credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The user name is empty or too long.
    #[error("the user name has {got} bytes; IPMI allows 1 to {USER_BYTES_MAX}")]
    User {
        /// Its length.
        got: usize,
    },
    /// The password is empty or too long.
    #[error("the password has {got} bytes; IPMI 2.0 allows 1 to {PASSWORD_BYTES_MAX}")]
    Password {
        /// Its length.
        got: usize,
    },
    /// More than any Redfish service takes, or none.
    #[error("the {field} has {got} bytes; 1 to {REDFISH_BYTES_MAX} are taken")]
    Length {
        /// "user name" or "password".
        field: &'static str,
        /// Its length.
        got: usize,
    },
    /// A zero byte ends user names and passwords in many controllers.
    #[error("the {field} has a zero byte")]
    ZeroByte {
        /// "user name" or "password".
        field: &'static str,
    },
}

/// What generated passwords are made of: printable, and nothing that a shell expands inside of
/// double quotes, that ends a quotation, or that separates commands.
const CHARACTERS: &[u8; 85] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789#%()*+,-./:<=>?@[]^_{}~";

/// A password that nobody can guess: 128 bits in the twenty bytes that IPMI has. Less would not do,
/// since a password's hash can be asked for by anyone (IPMI 2.0, section 13.31).
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn generated_password() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut password = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX));
    let mut bytes = Zeroizing::new([0u8; 32]);
    while password.len() < PASSWORD_BYTES_MAX {
        getrandom::fill(bytes.as_mut())?;
        for byte in bytes.iter().map(|byte| usize::from(*byte)) {
            // 255 is three times 85: each character is as likely as the others.
            let Some(&character) = CHARACTERS.get(byte % CHARACTERS.len()) else { continue };
            // A word that begins with a dash is an option to many programs.
            let option = password.is_empty() && character == b'-';
            if byte < 255 && !option && password.len() < PASSWORD_BYTES_MAX {
                password.push(char::from(character));
            }
        }
    }
    Ok(password)
}

/// A password; it cannot be printed or compared, and is wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Checks the length that the protocol can carry.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn new(bytes: &[u8]) -> Result<Self, CredentialsError> {
        if !(1..=PASSWORD_BYTES_MAX).contains(&bytes.len()) {
            return Err(CredentialsError::Password { got: bytes.len() });
        }
        if bytes.contains(&0) {
            return Err(CredentialsError::ZeroByte { field: "password" });
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Whether `bytes` is this password, in constant time for one length.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        bool::from(self.0.as_slice().ct_eq(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Who logs in, or who may.
#[derive(Debug, Clone)]
pub struct Credentials {
    user: String,
    password: Password,
}

impl Credentials {
    /// Checks the lengths that the protocol can carry.
    ///
    /// # Errors
    /// [`CredentialsError`] says which of the two does not fit.
    pub fn new(user: &str, password: &str) -> Result<Self, CredentialsError> {
        if !(1..=USER_BYTES_MAX).contains(&user.len()) {
            return Err(CredentialsError::User { got: user.len() });
        }
        if !(1..=PASSWORD_BYTES_MAX).contains(&password.len()) {
            return Err(CredentialsError::Password { got: password.len() });
        }
        for (field, text) in [("user name", user), ("password", password)] {
            if text.contains('\0') {
                return Err(CredentialsError::ZeroByte { field });
            }
        }
        let password = Password(Zeroizing::new(password.as_bytes().to_vec()));
        Ok(Self { user: user.to_owned(), password })
    }

    /// For Redfish alone, which carries more than IPMI does.
    ///
    /// # Errors
    /// [`CredentialsError`] says which of the two does not fit.
    pub fn for_redfish(user: &str, password: &str) -> Result<Self, CredentialsError> {
        for (field, text) in [("user name", user), ("password", password)] {
            if !(1..=REDFISH_BYTES_MAX).contains(&text.len()) {
                return Err(CredentialsError::Length { field, got: text.len() });
            }
            if text.contains('\0') {
                return Err(CredentialsError::ZeroByte { field });
            }
        }
        let password = Password(Zeroizing::new(password.as_bytes().to_vec()));
        Ok(Self { user: user.to_owned(), password })
    }

    /// The user name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, unprintable.
    #[must_use]
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// Whether these are the same user with the same password.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.user == other.user && self.password.is(other.password.bytes())
    }
}

/// Whether two names are the same, in a time that does not depend on how much of it is right.
pub(crate) fn same_name(name: &[u8], user: &str) -> Choice {
    let fixed = |bytes: &[u8]| {
        let mut fixed = [0u8; USER_BYTES_MAX];
        for (to, from) in fixed.iter_mut().zip(bytes) {
            *to = *from;
        }
        fixed
    };
    let same_length = (name.len() as u64).ct_eq(&(user.len() as u64));
    fixed(name).ct_eq(&fixed(user.as_bytes())) & same_length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(Credentials::new("admin", "0123456789abcdef").is_ok());
        let error = |user: &str, password: &str| Credentials::new(user, password).err();
        assert_eq!(error("", "x"), Some(CredentialsError::User { got: 0 }));
        assert_eq!(error("seventeen-letters", "x"), Some(CredentialsError::User { got: 17 }));
        assert_eq!(error("a", ""), Some(CredentialsError::Password { got: 0 }));
        assert_eq!(error("a", &"x".repeat(21)), Some(CredentialsError::Password { got: 21 }));
        assert_eq!(error("a\0", "x"), Some(CredentialsError::ZeroByte { field: "user name" }));
    }

    #[test]
    fn redfish_carries_more() {
        let (user, password) = ("svc-openstack-provision", "a-24-character-password!");
        assert!(Credentials::for_redfish(user, password).is_ok());
        let error = |user: &str, password: &str| Credentials::for_redfish(user, password).err();
        let long = "x".repeat(REDFISH_BYTES_MAX + 1);
        assert_eq!(
            error(&long, "x"),
            Some(CredentialsError::Length { field: "user name", got: 256 })
        );
        assert_eq!(error("a", ""), Some(CredentialsError::Length { field: "password", got: 0 }));
        assert_eq!(error("a", "\0"), Some(CredentialsError::ZeroByte { field: "password" }));
    }

    #[test]
    fn generated_passwords_carry_128_bits() {
        let mut characters = CHARACTERS.to_vec();
        characters.sort_unstable();
        characters.dedup();
        assert_eq!(characters.len(), CHARACTERS.len());
        // The first is none of 85, but of 84.
        let bits = 19.0 * 85f64.log2() + 84f64.log2();
        assert!(bits >= 128.0, "{bits}");
        let (a, b) = (generated_password().expect("random"), generated_password().expect("random"));
        assert_eq!((a.len(), b.len()), (PASSWORD_BYTES_MAX, PASSWORD_BYTES_MAX));
        assert_ne!(*a, *b);
        assert!(Credentials::new("admin", &a).is_ok());
    }

    #[test]
    fn names_match_whole() {
        let admin = Credentials::new("admin", "x").expect("valid");
        assert!(bool::from(same_name(b"admin", admin.user())));
        for other in [&b"admi"[..], b"admin\0", b"Admin", b"admin2", b""] {
            assert!(!bool::from(same_name(other, admin.user())), "{other:?}");
        }
    }

    #[test]
    fn the_password_does_not_print() {
        let admin = Credentials::new("admin", "correct-horse").expect("valid");
        assert!(!format!("{admin:?}").contains("correct"));
    }
}
