//! Get SDR (section 33.12): reads a sensor record.

use super::layout::{command, message};

message!(exact Request, "Get SDR request" {
    /// For reads that do not start at 0.
    reservation: u16,
    /// 0 the first, 0xffff the last.
    record: u16,
    /// Where to start.
    offset: u8,
    /// How many bytes, 0xff for all.
    count: u8,
});

message!(open Response, "Get SDR response" {
    /// The following record, 0xffff for none.
    next: u16,
    /// Its bytes.
    data: rest,
});

command!("Get SDR", super::NETFN_STORAGE, 0x23);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made",
        &[0x01, 0x00, 0x00, 0x00, 0x00, 0x05],
        Request { reservation: 0x1, record: 0x0, offset: 0x0, count: 0x5 },
    )]
}
