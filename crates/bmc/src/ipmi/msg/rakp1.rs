//! RAKP message 1 (section 13.20), to the controller: who wants in, and a challenge.

use crate::ipmi::{
    credentials::USER_BYTES_MAX,
    wire::{Decode, Encode, Reader, WireError},
};

const NAME: &str = "RAKP message 1";
/// Role bit: look the user up by name alone, not by name and privilege.
pub const NAME_ONLY: u8 = 0x10;

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp1 {
    /// Comes back in RAKP 2.
    pub tag: u8,
    /// The controller's id of the session.
    pub controller_id: u32,
    /// The console's challenge.
    pub console_random: [u8; 16],
    /// Privilege asked for (4 bits) and [`NAME_ONLY`]; enters the codes as it is.
    pub role: u8,
    /// The user's name, at most sixteen bytes; not always text.
    pub user: Vec<u8>,
}

impl Decode for Rakp1 {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let [tag, _, _, _] = reader.array()?;
        let controller_id = reader.u32()?;
        let console_random = reader.array()?;
        let [role, _, _] = reader.array()?;
        let length = reader.u8()?;
        if usize::from(length) > USER_BYTES_MAX {
            return Err(reader.reserved("user name length", length));
        }
        let user = reader.take(usize::from(length))?.to_vec();
        // Some clients always send sixteen bytes of name: what is after its end is not looked at.
        Ok(Self { tag, controller_id, console_random, role, user })
    }
}

impl Encode for Rakp1 {
    fn encode(&self, out: &mut Vec<u8>) {
        let user = self.user.get(..USER_BYTES_MAX.min(self.user.len())).unwrap_or_default();
        out.extend([self.tag, 0, 0, 0]);
        out.extend(self.controller_id.to_le_bytes());
        out.extend(self.console_random);
        out.extend([self.role, 0, 0, u8::try_from(user.len()).unwrap_or_default()]);
        out.extend_from_slice(user);
    }
}

#[cfg(test)]
pub(super) fn vectors() -> super::Vectors<Rakp1> {
    vec![(
        "specification",
        &[
            0x00, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
            14, 15, 0x14, 0, 0, 5, b'a', b'd', b'm', b'i', b'n',
        ],
        Rakp1 {
            tag: 0,
            controller_id: 0x1234_5678,
            console_random: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            role: 0x14,
            user: b"admin".to_vec(),
        },
    )]
}
