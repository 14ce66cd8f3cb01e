//! The parameters of the boot options (table 28-14), as Set and Get System Boot Options carry
//! them.

use crate::ipmi::{
    machine::{BootDevice, BootFlags},
    wire::{Reader, WireError},
};

const NAME: &str = "boot option";
/// Bytes in one block of the mailbox.
pub const MAILBOX_BLOCK: usize = 16;

/// Number of a parameter.
pub mod parameter {
    /// Somebody is changing the options.
    pub const SET_IN_PROGRESS: u8 = 0;
    /// When the boot flags stay valid.
    pub const VALID_BIT_CLEARING: u8 = 3;
    /// Who has heeded them.
    pub const INFO_ACKNOWLEDGE: u8 = 4;
    /// The boot flags.
    pub const BOOT_FLAGS: u8 = 5;
    /// Bytes for the boot loader.
    pub const INITIATOR_MAILBOX: u8 = 7;
}

/// Bit of [`parameter::VALID_BIT_CLEARING`]: the boot flags outlive sixty seconds without a
/// power command. Ironic sets it before each change.
pub const KEEP_WITHOUT_COMMAND: u8 = 0x08;

/// One parameter with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootOption {
    /// 0 complete, 1 in progress, 2 commit.
    SetInProgress(u8),
    /// Five bits; see [`KEEP_WITHOUT_COMMAND`].
    ValidBitClearing(u8),
    /// Which bits to write (zero when read), and the bits.
    InfoAcknowledge {
        /// Which bits to write.
        mask: u8,
        /// The bits.
        data: u8,
    },
    /// The boot flags.
    BootFlags(BootFlags),
    /// A block of the mailbox, which may be shorter than sixteen bytes when set.
    Mailbox {
        /// Which block.
        block: u8,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// A parameter that this crate does not know.
    Other {
        /// Its number (7 bits).
        parameter: u8,
        /// Its bytes.
        data: Vec<u8>,
    },
}

impl BootOption {
    /// Its number.
    #[must_use]
    pub fn parameter(&self) -> u8 {
        match self {
            Self::SetInProgress(_) => parameter::SET_IN_PROGRESS,
            Self::ValidBitClearing(_) => parameter::VALID_BIT_CLEARING,
            Self::InfoAcknowledge { .. } => parameter::INFO_ACKNOWLEDGE,
            Self::BootFlags(_) => parameter::BOOT_FLAGS,
            Self::Mailbox { .. } => parameter::INITIATOR_MAILBOX,
            Self::Other { parameter, .. } => *parameter & 0x7f,
        }
    }

    /// Reads the value of parameter `number`.
    ///
    /// # Errors
    /// [`WireError`] when it is too short, or sets something that [`BootFlags`] cannot say.
    pub fn decode(number: u8, bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let option = match number {
            parameter::SET_IN_PROGRESS => match reader.u8()? {
                value @ 0..=2 => Self::SetInProgress(value),
                other => return Err(reader.reserved("set in progress", other)),
            },
            parameter::VALID_BIT_CLEARING => Self::ValidBitClearing(reader.u8()? & 0x1f),
            parameter::INFO_ACKNOWLEDGE => {
                let [mask, data] = reader.array()?;
                Self::InfoAcknowledge { mask, data }
            }
            parameter::BOOT_FLAGS => Self::BootFlags(read_flags(&mut reader)?),
            parameter::INITIATOR_MAILBOX => {
                let block = reader.u8()?;
                let data = reader.rest().to_vec();
                if data.len() > MAILBOX_BLOCK {
                    let extra = data.len() - MAILBOX_BLOCK;
                    return Err(WireError::Long { message: NAME, extra });
                }
                Self::Mailbox { block, data }
            }
            other => Self::Other { parameter: other & 0x7f, data: reader.rest().to_vec() },
        };
        reader.finish()?;
        Ok(option)
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetInProgress(value) | Self::ValidBitClearing(value) => out.push(*value),
            Self::InfoAcknowledge { mask, data } => out.extend([*mask, *data]),
            Self::BootFlags(flags) => write_flags(out, *flags),
            Self::Mailbox { block, data } => {
                out.push(*block);
                out.extend(data.iter().take(MAILBOX_BLOCK));
            }
            Self::Other { data, .. } => out.extend_from_slice(data),
        }
    }
}

/// What [`BootFlags`] does not say is dropped: other controllers set it.
fn read_flags(reader: &mut Reader<'_>) -> Result<BootFlags, WireError> {
    let [first, second, ..] = reader.array::<5>()?;
    let device = BootDevice::from_bits((second >> 2) & 0x0f)
        .ok_or_else(|| reader.reserved("boot device", second))?;
    Ok(BootFlags {
        device,
        efi: first & 0x20 != 0,
        persistent: first & 0x40 != 0,
        valid: first & 0x80 != 0,
    })
}

/// Refuses boot flags that ask for more than [`BootFlags`] can say, so that nobody takes for set
/// what would be dropped.
pub(super) fn refuse_more_than_flags(bytes: &[u8]) -> Result<(), WireError> {
    let reader = Reader::new(NAME, bytes);
    let sayable: [u8; 5] = [0xe0, 0x3c, 0x00, 0x00, 0x00];
    match bytes.iter().zip(sayable).find(|(byte, sayable)| **byte & !sayable != 0) {
        Some((byte, _)) => Err(reader.reserved("boot flags", *byte)),
        None => Ok(()),
    }
}

fn write_flags(out: &mut Vec<u8>, flags: BootFlags) {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let first = bit(flags.valid, 0x80) | bit(flags.persistent, 0x40) | bit(flags.efi, 0x20);
    out.extend([first, flags.device.bits() << 2, 0, 0, 0]);
}
