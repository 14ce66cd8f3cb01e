//! ISO 9660 (ECMA-119): a reader of one file ([`Volume`]), and what every file system is made of, for
//! the writers of config drives and of deploy CDs.

mod read;

pub use read::{IsoError, Volume};

/// A directory record (ECMA-119, 9.1), dated 1970.
pub(crate) fn record(name: &[u8], sector: u32, bytes: u32, is_dir: bool) -> Vec<u8> {
    let mut r = vec![0u8; (33 + name.len()).next_multiple_of(2)];
    r[0] = u8::try_from(r.len()).unwrap_or(u8::MAX);
    r[2..10].copy_from_slice(&both_u32(sector));
    r[10..18].copy_from_slice(&both_u32(bytes));
    r[18..25].copy_from_slice(&[70, 1, 1, 0, 0, 0, 0]); // 1970-01-01
    r[25] = if is_dir { 2 } else { 0 };
    r[28..32].copy_from_slice(&both_u16(1));
    r[32] = u8::try_from(name.len()).unwrap_or(u8::MAX);
    r[33..33 + name.len()].copy_from_slice(name);
    r
}

/// A number in both byte orders (ECMA-119, 7.3.3).
pub(crate) fn both_u32(value: u32) -> [u8; 8] {
    let mut b = [0u8; 8];
    b[..4].copy_from_slice(&value.to_le_bytes());
    b[4..].copy_from_slice(&value.to_be_bytes());
    b
}

/// A number in both byte orders (ECMA-119, 7.2.3).
pub(crate) fn both_u16(value: u16) -> [u8; 4] {
    let mut b = [0u8; 4];
    b[..2].copy_from_slice(&value.to_le_bytes());
    b[2..].copy_from_slice(&value.to_be_bytes());
    b
}
