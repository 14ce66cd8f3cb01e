//! The machine's inventory as FRU data: a product area and a board area, made of what the machine
//! says it is (*Platform Management FRU Information Storage Definition* 1.0, sections 8, 11, 12).

use super::{Answer, Controller, read, reply};
use crate::{
    ipmi::{
        completion::Completion,
        msg::{get_fru_area_info, read_fru},
        session::{Reply, Request},
        wire::{Command, checksum},
    },
    machine::Inventory,
};

const FIELD_BYTES_MAX: usize = 63;
const ENGLISH: u8 = 25;
const END_OF_FIELDS: u8 = 0xc1;

/// A field of text. One of a single byte would be the mark of the end: it gets a blank.
fn field(out: &mut Vec<u8>, text: &str) {
    let mut bytes: Vec<u8> = text.bytes().filter(u8::is_ascii).take(FIELD_BYTES_MAX).collect();
    if bytes.len() == 1 {
        bytes.push(b' ');
    }
    out.push(0xc0 | u8::try_from(bytes.len()).unwrap_or(0));
    out.extend(bytes);
}

/// An area: version, length in eights, content, filling, checksum.
fn area(content: &[u8], texts: &[&str]) -> Vec<u8> {
    let mut area = vec![1, 0];
    area.extend_from_slice(content);
    for text in texts {
        field(&mut area, text);
    }
    area.push(END_OF_FIELDS);
    while area.len() % 8 != 7 {
        area.push(0);
    }
    area[1] = u8::try_from((area.len() + 1) / 8).unwrap_or(u8::MAX);
    area.push(checksum(&area));
    area
}

/// The whole of it.
fn fru(inventory: &Inventory) -> Vec<u8> {
    let Inventory { manufacturer, model, serial_number, asset_tag, firmware_version, .. } =
        inventory;
    // No date of manufacture is known: zero says so.
    let board = area(&[ENGLISH, 0, 0, 0], &[manufacturer, model, serial_number, "", ""]);
    let product = [manufacturer, model, "", firmware_version, serial_number, asset_tag, ""]
        .map(|it: &str| it);
    let product = area(&[ENGLISH], &product);
    let at = u8::try_from(1 + board.len() / 8).unwrap_or(u8::MAX);
    let mut fru = vec![1, 0, 0, 1, at, 0, 0];
    fru.push(checksum(&fru));
    fru.extend(board);
    fru.extend(product);
    fru
}

impl Controller {
    pub(super) fn answer_fru(&self, request: &Request) -> Answer<Reply> {
        match request.command {
            get_fru_area_info::Request::CODE => {
                let request: get_fru_area_info::Request = read(&request.data)?;
                let size = self.fru(request.device)?.len();
                let size = u16::try_from(size).unwrap_or(u16::MAX);
                reply(get_fru_area_info::Response { size, access: 0 })
            }
            read_fru::Request::CODE => {
                let request: read_fru::Request = read(&request.data)?;
                let fru = self.fru(request.device)?;
                let rest = fru.get(usize::from(request.offset)..);
                let rest = rest.filter(|it| !it.is_empty() && request.count > 0);
                let rest = rest.ok_or(Completion::PARAMETER_OUT_OF_RANGE)?;
                let data: Vec<u8> =
                    rest.iter().take(request.count.min(0xf0).into()).copied().collect();
                reply(read_fru::Response { count: u8::try_from(data.len()).unwrap_or(0), data })
            }
            _ => Err(Completion::INVALID_COMMAND),
        }
    }

    fn fru(&self, device: u8) -> Answer<Vec<u8>> {
        if device != 0 {
            return Err(Completion::NOT_PRESENT);
        }
        Ok(fru(&self.machine.inventory()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right_whatever_the_texts() {
        for text in ["", "x", "maker", &"long".repeat(40)] {
            let inventory = Inventory { manufacturer: text.into(), ..Inventory::default() };
            let fru = fru(&inventory);
            let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum(&fru[..8]), 0);
            let (board, product) = fru[8..].split_at(usize::from(fru[9]) * 8);
            assert_eq!((sum(board), sum(product)), (0, 0), "{text}");
            assert_eq!(product.len(), usize::from(product[1]) * 8);
        }
    }
}
