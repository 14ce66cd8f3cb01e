//! The boot ROM of a BIOS machine's network card: iPXE as a PCI expansion ROM.
//!
//! SeaBIOS runs a ROM only when the PCI ids in it are the card's. iPXE's builds for virtio carry
//! either the transitional id (1000) or the modern one (1041); QEMU corrects this only in ROMs it
//! picked itself. So the copy that a machine gets is corrected here, as QEMU would.
//! Specification: PCI Firmware 3.0, section 5.1 (ROM header at 0, PCI data structure at the offset
//! in 0x18).

/// The ids of the cards that machines have: virtio 1.0 network card, no transitional mode.
pub(crate) const VIRTIO_NET: (u16, u16) = (0x1af4, 0x1041);

/// More than any ROM; iPXE's is 75 to 250 KB.
const BYTES_MAX: usize = 4 << 20;

/// The file is not a boot ROM for a network card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionRomError {
    /// Too large to be one.
    #[error("larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// The signature 55 AA is missing.
    #[error("no ROM signature (55 AA) at byte 0")]
    Signature,
    /// The header points outside of the file.
    #[error("cut short: {what} is not in the file")]
    Short {
        /// What is missing.
        what: &'static str,
    },
    /// No PCI data structure.
    #[error("no PCI data structure (PCIR) where the header says")]
    NoPciData,
    /// For another kind of CPU or firmware.
    #[error("code type {0} in the first image: BIOS needs 0")]
    CodeType(u8),
}

/// The ROM with the PCI ids of `card` in its first image, and that image's checksum right.
pub(crate) fn for_card(mut rom: Vec<u8>, card: (u16, u16)) -> Result<Vec<u8>, OptionRomError> {
    let short = |what| OptionRomError::Short { what };
    if rom.len() > BYTES_MAX {
        return Err(OptionRomError::TooLarge);
    }
    if rom.get(..2) != Some(&[0x55, 0xaa]) {
        return Err(OptionRomError::Signature);
    }
    let blocks = *rom.get(2).ok_or(short("its length"))?;
    let pointer = rom.get(0x18..0x1a).ok_or(short("its header"))?;
    let data = usize::from(u16::from_le_bytes([pointer[0], pointer[1]]));
    let image = rom.get_mut(..usize::from(blocks) * 512).ok_or(short("its first image"))?;
    let pcir = image.get_mut(data..data + 0x18).ok_or(short("its PCI data structure"))?;
    if pcir.get(..4) != Some(b"PCIR") {
        return Err(OptionRomError::NoPciData);
    }
    if pcir[0x14] != 0 {
        return Err(OptionRomError::CodeType(pcir[0x14]));
    }
    pcir[4..6].copy_from_slice(&card.0.to_le_bytes());
    pcir[6..8].copy_from_slice(&card.1.to_le_bytes());
    // Byte 6 belongs to the entry jump's spare space; QEMU puts its correction there too.
    let sum = image.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    image[6] = image[6].wrapping_sub(sum);
    Ok(rom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest ROM: one block, PCI data at 0x1c.
    fn rom(device: u16) -> Vec<u8> {
        let mut rom = vec![0u8; 1024];
        rom[..3].copy_from_slice(&[0x55, 0xaa, 1]);
        rom[0x18] = 0x1c;
        rom[0x1c..0x20].copy_from_slice(b"PCIR");
        rom[0x20..0x22].copy_from_slice(&[0xf4, 0x1a]);
        rom[0x22..0x24].copy_from_slice(&device.to_le_bytes());
        rom
    }

    #[test]
    fn the_ids_become_the_cards_and_the_first_image_sums_to_zero() {
        for device in [0x1000, 0x1041] {
            let patched = for_card(rom(device), VIRTIO_NET).unwrap();
            assert_eq!(patched[0x20..0x24], [0xf4, 0x1a, 0x41, 0x10]);
            let sum = patched[..512].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0);
            assert_eq!(patched.len(), 1024);
        }
    }

    #[test]
    fn what_is_no_rom_is_refused() {
        assert_eq!(for_card(Vec::new(), VIRTIO_NET), Err(OptionRomError::Signature));
        let mut bad = rom(0);
        bad[2] = 3;
        assert_eq!(
            for_card(bad, VIRTIO_NET),
            Err(OptionRomError::Short { what: "its first image" })
        );
        let mut bad = rom(0);
        bad[0x1c] = b'p';
        assert_eq!(for_card(bad, VIRTIO_NET), Err(OptionRomError::NoPciData));
        let mut bad = rom(0);
        bad[0x1c + 0x14] = 3;
        assert_eq!(for_card(bad, VIRTIO_NET), Err(OptionRomError::CodeType(3)));
        let mut bad = rom(0);
        bad[0x18..0x1a].copy_from_slice(&[0xff, 0xff]);
        assert!(matches!(for_card(bad, VIRTIO_NET), Err(OptionRomError::Short { .. })));
    }

    proptest! {
        #[test]
        fn patching_never_panics(mut bytes: Vec<u8>, signed: bool) {
            if signed && bytes.len() > 2 {
                bytes[..2].copy_from_slice(&[0x55, 0xaa]);
            }
            let _ = for_card(bytes, VIRTIO_NET);
        }
    }
}
