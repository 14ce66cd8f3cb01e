//! Inventories (FRU, section 34).

use super::{Client, ClientError, dialogue::Twice, walk::Parts};
use crate::ipmi::{
    msg::{get_fru_area_info, read_fru},
    record::fru::Fru,
    wire::{Command as _, WireError},
};

/// The inventory of the machine itself.
pub const OWN_FRU: u8 = 0;
/// Access by words of two bytes.
const BY_WORDS: u8 = 0x01;

impl Client {
    /// The bytes of an inventory.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fru_bytes(&mut self, device: u8) -> Result<Vec<u8>, ClientError> {
        let request = get_fru_area_info::Request { device };
        let info = self.call(&request, Twice::Harmless).await?;
        // Offset and count are in words then.
        let word = if info.access & BY_WORDS == 0 { 1u8 } else { 2 };
        let mut parts = Parts::new(info.size.into());
        while let Some((offset, count)) = parts.next() {
            let offset = u16::try_from(offset).unwrap_or(u16::MAX) / u16::from(word);
            let request = read_fru::Request { device, offset, count: count.div_ceil(word) };
            let answer = match self.call(&request, Twice::Harmless).await {
                Err(ClientError::Completion { code, .. }) if parts.on_refusal(code) => continue,
                other => other?,
            };
            if !parts.take(&answer.data) {
                return Err(self.malformed_fru(WireError::Short {
                    message: read_fru::Request::NAME,
                    need: 1,
                    got: 0,
                }));
            }
        }
        Ok(parts.into_bytes())
    }

    /// An inventory; [`OWN_FRU`] is the machine's own.
    ///
    /// # Errors
    /// [`ClientError`]; what is wrong with areas is told in the inventory.
    pub async fn fru(&mut self, device: u8) -> Result<Fru, ClientError> {
        let bytes = self.fru_bytes(device).await?;
        Fru::decode(&bytes).map_err(|source| self.malformed_fru(source))
    }

    fn malformed_fru(&self, source: WireError) -> ClientError {
        let (address, operation) = (self.address(), read_fru::Request::NAME);
        ClientError::Malformed { address, operation, source }
    }
}
