//! Texts of records: a byte that says how they are written and how long they are, then bytes
//! (section 43.15, and the FRU specification, section 13).

/// How the bytes are written: bits 7 and 6 of the first byte.
const BCD_PLUS: u8 = 1;
const SIX_BITS: u8 = 2;

const BCD_DIGITS: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ' ', '-', '.', ':', ',', '_'];

/// What the bytes say, without the blanks and zeros that makers fill up with.
pub(super) fn decode(kind: u8, bytes: &[u8]) -> String {
    let text: String = match kind >> 6 {
        BCD_PLUS => {
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
            digits.map(|digit| BCD_DIGITS[usize::from(digit)]).collect()
        }
        SIX_BITS => six_bits(bytes),
        // Latin-1. Nobody has been seen to write Unicode or binary where a name is asked for.
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.collect::<String>().trim().to_owned()
}

/// Four letters in three bytes, from blank to `_`, the first in the lowest bits.
fn six_bits(bytes: &[u8]) -> String {
    let letters = bytes.chunks(3).flat_map(|three| {
        let word = three.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let count = three.len() * 8 / 6;
        (0..count).map(move |at| (word >> (6 * at) & 0x3f) as u8)
    });
    letters.map(|letter| char::from(letter + 0x20)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing() {
        assert_eq!(decode(0xc5, b"Fan 1\0 "), "Fan 1");
        assert_eq!(decode(0x42, &[0x12, 0x3b]), "123-");
        // "IPMI", the example of the FRU specification.
        assert_eq!(decode(0x83, &[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(decode(0x00, &[0x41, 0xe9]), "Aé");
        assert_eq!(decode(0xc0, &[]), "");
    }
}
