//! An inventory: chassis, board, product (the FRU specification, version 1.0).
//!
//! Real inventories have wrong checksums and fields that run out of their area: what can be read
//! is, and [`Fru::faults`] says what was wrong.

use super::text;
use crate::ipmi::wire::{Reader, WireError, checksum};

const NAME: &str = "FRU inventory";
/// Bytes of the common header.
const HEADER_BYTES: usize = 8;
/// Times count from here, in minutes: the start of 1996, in seconds since 1970.
const EPOCH_S: u64 = 820_454_400;
const END_OF_FIELDS: u8 = 0xc1;

/// What is in an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fru {
    /// The case.
    pub chassis: Option<Chassis>,
    /// The board.
    pub board: Option<Board>,
    /// The product as sold.
    pub product: Option<Product>,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

/// The case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chassis {
    /// What kind (table of SMBIOS).
    pub kind: u8,
    /// Part number.
    pub part: String,
    /// Serial number.
    pub serial: String,
    /// A maker's own fields.
    pub more: Vec<String>,
}

/// The board.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Board {
    /// When it was made, in seconds since 1970.
    pub made: Option<u64>,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub product: String,
    /// Serial number.
    pub serial: String,
    /// Part number.
    pub part: String,
    /// A maker's own fields, after the file that this inventory was made from.
    pub more: Vec<String>,
}

/// The product as sold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Product {
    /// Who sells it.
    pub manufacturer: String,
    /// What it is.
    pub name: String,
    /// Part or model number.
    pub part: String,
    /// Version.
    pub version: String,
    /// Serial number.
    pub serial: String,
    /// What its owner calls it.
    pub asset_tag: String,
    /// A maker's own fields, after the file that this inventory was made from.
    pub more: Vec<String>,
}

/// An area, by its place in the common header.
fn area<'a>(name: &str, bytes: &'a [u8], eights: u8, faults: &mut Vec<String>) -> Option<&'a [u8]> {
    if eights == 0 {
        return None;
    }
    let Some(rest) = bytes.get(usize::from(eights) * 8..).filter(|rest| rest.len() >= 2) else {
        faults.push(format!("the {name} area is not there"));
        return None;
    };
    let length = usize::from(rest[1]) * 8;
    let Some(area) = rest.get(..length).filter(|area| area.len() >= HEADER_BYTES) else {
        faults.push(format!("the {name} area is cut off"));
        return Some(rest);
    };
    if checksum(area) != 0 {
        faults.push(format!("the {name} area has a wrong checksum"));
    }
    // Without the checksum, which could be taken for a field.
    area.get(..length - 1)
}

/// The fields up to their end.
fn fields(reader: &mut Reader<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    while let Ok(kind) = reader.u8() {
        if kind == END_OF_FIELDS {
            break;
        }
        let Ok(bytes) = reader.take(usize::from(kind & 0x3f)) else { break };
        fields.push(text::decode(kind, bytes));
    }
    fields
}

/// The fields that the specification names, then the rest.
fn named<const N: usize>(mut fields: Vec<String>) -> ([String; N], Vec<String>) {
    let more = fields.split_off(fields.len().min(N));
    let mut fields = fields.into_iter();
    (std::array::from_fn(|_| fields.next().unwrap_or_default()), more)
}

impl Fru {
    /// Reads an inventory.
    ///
    /// # Errors
    /// [`WireError`] when it has no common header, or one with a wrong checksum: the places of
    /// the areas are not known then.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(NAME, bytes);
        let header: [u8; HEADER_BYTES] = reader.array()?;
        if header[0] & 0x0f != 1 {
            return Err(reader.reserved("version", header[0]));
        }
        if checksum(&header) != 0 {
            return Err(WireError::Checksum { message: NAME });
        }
        let [_, _, chassis, board, product, ..] = header;
        let mut faults = Vec::new();
        let chassis = area("chassis", bytes, chassis, &mut faults);
        let board = area("board", bytes, board, &mut faults);
        let product = area("product", bytes, product, &mut faults);
        Ok(Self {
            chassis: chassis.and_then(|area| read_chassis(area).ok()),
            board: board.and_then(|area| read_board(area).ok()),
            product: product.and_then(|area| read_product(area).ok()),
            faults,
        })
    }
}

fn read_chassis(area: &[u8]) -> Result<Chassis, WireError> {
    let mut reader = Reader::new(NAME, area);
    let [_, _, kind] = reader.array()?;
    let ([part, serial], more) = named(fields(&mut reader));
    Ok(Chassis { kind, part, serial, more })
}

fn read_board(area: &[u8]) -> Result<Board, WireError> {
    let mut reader = Reader::new(NAME, area);
    let [_, _, _, low, middle, high] = reader.array()?;
    let minutes = u64::from(u32::from_le_bytes([low, middle, high, 0]));
    let made = (minutes != 0).then_some(EPOCH_S + minutes * 60);
    let ([manufacturer, product, serial, part], more) = named(fields(&mut reader));
    Ok(Board { made, manufacturer, product, serial, part, more })
}

fn read_product(area: &[u8]) -> Result<Product, WireError> {
    let mut reader = Reader::new(NAME, area);
    reader.take(3)?;
    let (named, more) = named(fields(&mut reader));
    let [manufacturer, name, part, version, serial, asset_tag] = named;
    Ok(Product { manufacturer, name, part, version, serial, asset_tag, more })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(mut area: Vec<u8>) -> Vec<u8> {
        area.push(END_OF_FIELDS);
        while area.len() % 8 != 7 {
            area.push(0);
        }
        area[1] = u8::try_from((area.len() + 1) / 8).expect("short");
        area.push(checksum(&area));
        area
    }

    /// A chassis, a board made on the second day of 1996, and a product with a field of its own.
    fn whole() -> Vec<u8> {
        let chassis = sealed([&[1, 0, 23, 0xc2][..], b"CP", &[0xc3], b"CS1"].concat());
        let board =
            [&[1, 0, 25, 0xa0, 0x05, 0, 0xc2][..], b"BM", &[0xc2], b"BP", &[0x42, 0x12, 0x34]];
        let board = sealed([&board.concat()[..], &[0xc0]].concat());
        let product = [&[1, 0, 25, 0xc2][..], b"PM", &[0xc2], b"PN", &[0xc0, 0xc2], b"v1", &[0xc3]];
        let more = [&b"PS1"[..], &[0xc2], b"AT", &[0xc0, 0xc2], b"my"];
        let product = sealed([product.concat(), more.concat()].concat());
        let eights = |bytes: &[u8]| u8::try_from(bytes.len() / 8).expect("short");
        let (second, third) = (1 + eights(&chassis), 1 + eights(&chassis) + eights(&board));
        let mut fru = vec![1, 0, 1, second, third, 0, 0];
        fru.push(checksum(&fru));
        [fru, chassis, board, product].concat()
    }

    #[test]
    fn a_whole_inventory() {
        let fru = Fru::decode(&whole()).expect("inventory");
        assert_eq!(fru.faults, Vec::<String>::new());
        let chassis = fru.chassis.expect("chassis");
        assert_eq!(
            (chassis.kind, chassis.part.as_str(), chassis.serial.as_str()),
            (23, "CP", "CS1")
        );
        let board = fru.board.expect("board");
        assert_eq!(board.made, Some(820_454_400 + 86_400));
        assert_eq!((board.manufacturer.as_str(), board.serial.as_str()), ("BM", "1234"));
        let product = fru.product.expect("product");
        assert_eq!((product.name.as_str(), product.part.as_str()), ("PN", ""));
        assert_eq!((product.serial.as_str(), product.asset_tag.as_str()), ("PS1", "AT"));
        assert_eq!(product.more, ["", "my"]);
    }

    #[test]
    fn what_is_wrong_is_told_and_the_rest_is_read() {
        let mut bytes = whole();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let fru = Fru::decode(&bytes).expect("inventory");
        assert_eq!(fru.faults, ["the product area has a wrong checksum"]);
        assert_eq!(fru.product.expect("product").name, "PN");
        let fru = Fru::decode(&whole()[..last - 8]).expect("inventory");
        assert_eq!(fru.faults, ["the product area is cut off"]);
        let fru = Fru::decode(&whole()[..12]).expect("inventory");
        assert_eq!(fru.faults.len(), 3, "{:?}", fru.faults);
        let mut bytes = whole();
        bytes[7] ^= 1;
        assert_eq!(Fru::decode(&bytes), Err(WireError::Checksum { message: NAME }));
        assert!(Fru::decode(&[0; 8]).is_err() && Fru::decode(&[1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fru::decode(&bytes);
        }

        #[test]
        fn a_changed_inventory(at in 8usize..80, value in any::<u8>(), end in 8usize..90) {
            let mut bytes = whole();
            bytes.truncate(end);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            prop_assert!(Fru::decode(&bytes).is_ok());
        }
    }
}
