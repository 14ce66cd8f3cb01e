//! Get SEL Entry (section 31.5): reads an event.

use super::layout::{command, message};

message!(exact Request, "Get SEL Entry request" {
    /// Only for a partial read.
    reservation: u16,
    /// 0 the first, 0xffff the last.
    record: u16,
    /// Where to start.
    offset: u8,
    /// How many bytes, 0xff for all.
    count: u8,
});

message!(open Response, "Get SEL Entry response" {
    /// The following record, 0xffff for none.
    next: u16,
    /// Its bytes.
    record: rest,
});

command!("Get SEL Entry", super::NETFN_STORAGE, 0x43);

#[cfg(test)]
pub(super) fn request_vectors() -> super::Vectors<Request> {
    vec![(
        "hand-made, first entry",
        &[0x00, 0x00, 0x00, 0x00, 0x00, 0xff],
        Request { reservation: 0x0, record: 0x0, offset: 0x0, count: 0xff },
    )]
}
