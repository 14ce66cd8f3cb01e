//! Reading what does not fit into one answer, as values: parts of a record, and record by record,
//! while others write to the same store.
//!
//! A reservation is lost whenever somebody else takes one or changes the store (section 33.11):
//! the record under way is read again from its start, with a new one.

use std::collections::HashSet;

use crate::ipmi::{
    completion::Completion,
    msg::get_sdr,
    record::sdr::{self, HEADER_BYTES},
};

/// What every controller gives at once; several refuse more.
const PART_BYTES: u8 = 32;
/// Smaller than this makes no progress worth the name.
const PART_BYTES_MIN: u8 = 8;
/// Records of a repository; their numbers could be 65,535.
const RECORDS_MAX: usize = 4096;
/// Reservations that are lost before somebody else is let have it.
const LOST_MAX: u32 = 16;
const FIRST: u16 = 0;
const END: u16 = 0xffff;

/// Whether the controller means "not so much at once".
fn is_too_much(code: Completion) -> bool {
    matches!(
        code,
        Completion::LENGTH_INVALID
            | Completion(0xc8)
            | Completion::PARAMETER_OUT_OF_RANGE
            | Completion(0xca)
            | Completion::UNSPECIFIED
    )
}

/// Bytes of one thing, part by part.
#[derive(Debug)]
pub(super) struct Parts {
    total: usize,
    part: u8,
    bytes: Vec<u8>,
}

impl Parts {
    pub(super) fn new(total: usize) -> Self {
        Self { total, part: PART_BYTES, bytes: Vec::with_capacity(total) }
    }

    /// What to read next: where it starts, and how many bytes; `None` when all is there.
    pub(super) fn next(&self) -> Option<(usize, u8)> {
        let left = self.total.checked_sub(self.bytes.len()).filter(|left| *left > 0)?;
        let part = u8::try_from(left).unwrap_or(u8::MAX).min(self.part);
        Some((self.bytes.len(), part))
    }

    /// Whether that was any progress.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let left = self.total.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(left));
        !bytes.is_empty()
    }

    /// Whether a smaller part can be tried.
    pub(super) fn on_refusal(&mut self, code: Completion) -> bool {
        let can = is_too_much(code) && self.part > PART_BYTES_MIN;
        if can {
            self.part = (self.part / 2).max(PART_BYTES_MIN);
        }
        can
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// What the walk wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// A reservation.
    Reservation,
    /// This part of a record.
    Part(get_sdr::Request),
    /// Nothing: it has come to the end.
    End,
}

/// A way through the repository of sensor records.
#[derive(Debug)]
pub(super) struct SdrWalk {
    reservation: Option<u16>,
    /// The record under way, and its parts once its header is there.
    record: u16,
    body: Option<(Vec<u8>, Parts, u16)>,
    part: u8,
    lost: u32,
    seen: HashSet<u16>,
    records: Vec<Vec<u8>>,
}

impl SdrWalk {
    pub(super) fn new() -> Self {
        Self {
            reservation: None,
            record: FIRST,
            body: None,
            part: PART_BYTES,
            lost: 0,
            seen: HashSet::new(),
            records: Vec::new(),
        }
    }

    pub(super) fn want(&self) -> Want {
        if self.record == END || self.records.len() >= RECORDS_MAX {
            return Want::End;
        }
        let Some(reservation) = self.reservation else { return Want::Reservation };
        let (offset, count) = match &self.body {
            None => (0, u8::try_from(HEADER_BYTES).unwrap_or(u8::MAX)),
            Some((header, parts, _)) => {
                let (offset, count) = parts.next().unwrap_or_default();
                (u8::try_from(header.len() + offset).unwrap_or(u8::MAX), count)
            }
        };
        Want::Part(get_sdr::Request { reservation, record: self.record, offset, count })
    }

    pub(super) fn on_reservation(&mut self, reservation: u16) {
        self.reservation = Some(reservation);
        self.body = None;
    }

    /// Takes a part.
    ///
    /// # Errors
    /// The controller's own refusal, where the walk cannot go on.
    pub(super) fn on_part(
        &mut self,
        answer: Result<get_sdr::Response, Completion>,
    ) -> Result<(), Completion> {
        match answer {
            Ok(part) => self.on_bytes(&part),
            Err(Completion::RESERVATION_INVALID) if self.lost < LOST_MAX => {
                self.lost += 1;
                self.reservation = None;
                Ok(())
            }
            // An empty repository has no first record.
            Err(Completion::NOT_PRESENT) if self.record == FIRST && self.body.is_none() => {
                self.record = END;
                Ok(())
            }
            Err(code) => {
                let Some((_, parts, _)) = &mut self.body else { return Err(code) };
                if !parts.on_refusal(code) {
                    return Err(code);
                }
                // The next record is asked for so from the start.
                self.part = parts.part;
                Ok(())
            }
        }
    }

    fn on_bytes(&mut self, part: &get_sdr::Response) -> Result<(), Completion> {
        match &mut self.body {
            None => {
                let Ok(length) = sdr::length(&part.data) else {
                    return Err(Completion::UNSPECIFIED);
                };
                let header: Vec<u8> = part.data.iter().take(HEADER_BYTES).copied().collect();
                let mut parts = Parts::new(length - HEADER_BYTES);
                parts.part = self.part;
                self.body = Some((header, parts, part.next));
            }
            Some((_, parts, _)) => {
                if !parts.take(&part.data) {
                    return Err(Completion::UNSPECIFIED);
                }
            }
        }
        if self.body.as_ref().is_some_and(|(_, parts, _)| parts.next().is_none()) {
            self.finish_record();
        }
        Ok(())
    }

    fn finish_record(&mut self) {
        let Some((mut record, parts, next)) = self.body.take() else { return };
        record.extend(parts.into_bytes());
        self.records.push(record);
        self.seen.insert(self.record);
        // A controller whose records follow each other in a circle is left at its first turn.
        self.record = if self.seen.contains(&next) { END } else { next };
    }

    pub(super) fn into_records(self) -> Vec<Vec<u8>> {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A repository whose reservation is lost and which gives no more than so much at once.
    struct Repository {
        records: Vec<Vec<u8>>,
        most: u8,
        reservation: u16,
        loses: Vec<bool>,
    }

    impl Repository {
        fn new(count: u8, most: u8, loses: Vec<bool>) -> Self {
            let record = |id: u8| {
                let length = 20 + id % 40;
                let header = [id + 1, 0, 0x51, 0xc0, length];
                [&header[..], &(0..length).map(|at| at ^ id).collect::<Vec<u8>>()].concat()
            };
            Self { records: (0..count).map(record).collect(), most, reservation: 7, loses }
        }

        fn answer(&mut self, request: &get_sdr::Request) -> Result<get_sdr::Response, Completion> {
            if self.loses.pop() == Some(true) {
                self.reservation += 1;
            }
            if request.offset > 0 && request.reservation != self.reservation {
                return Err(Completion::RESERVATION_INVALID);
            }
            if request.count > self.most {
                return Err(Completion(0xca));
            }
            let at = usize::from(request.record.max(1)) - 1;
            let record = self.records.get(at).ok_or(Completion::NOT_PRESENT)?;
            let next = u16::try_from(at + 2).expect("short");
            let next = if at + 1 == self.records.len() { END } else { next };
            let data = record.get(usize::from(request.offset)..).ok_or(Completion::NOT_PRESENT)?;
            let data = data.iter().take(request.count.into()).copied().collect();
            Ok(get_sdr::Response { next, data })
        }

        fn walk(&mut self) -> Result<Vec<Vec<u8>>, Completion> {
            let mut walk = SdrWalk::new();
            for _ in 0..10_000 {
                match walk.want() {
                    Want::End => return Ok(walk.into_records()),
                    Want::Reservation => walk.on_reservation(self.reservation),
                    Want::Part(request) => walk.on_part(self.answer(&request))?,
                }
            }
            panic!("the walk does not end");
        }
    }

    #[test]
    fn an_empty_repository_and_one_in_a_circle() {
        assert_eq!(Repository::new(0, 32, Vec::new()).walk(), Ok(Vec::new()));
        let mut walk = SdrWalk::new();
        walk.on_reservation(1);
        for _ in 0..2 {
            walk.on_part(Ok(get_sdr::Response { next: 9, data: vec![9, 0, 0x51, 0xc0, 0] }))
                .expect("a record");
        }
        assert_eq!((walk.want(), walk.into_records().len()), (Want::End, 2));
    }

    #[test]
    fn a_repository_that_always_loses_ends_the_walk() {
        let found = Repository::new(3, 32, vec![true; 100_000]).walk();
        assert_eq!(found, Err(Completion::RESERVATION_INVALID));
    }

    #[test]
    fn a_refusal_that_is_none_of_size_ends_the_walk() {
        let mut walk = SdrWalk::new();
        walk.on_reservation(1);
        assert_eq!(
            walk.on_part(Err(Completion::PRIVILEGE_TOO_LOW)),
            Err(Completion::PRIVILEGE_TOO_LOW)
        );
    }

    proptest! {
        #[test]
        fn every_record_is_read_whole(
            count in 0u8..30,
            most in 8u8..64,
            loses in proptest::collection::vec(proptest::bool::weighted(0.02), 0..300),
        ) {
            let lost = loses.iter().filter(|lost| **lost).count();
            let mut repository = Repository::new(count, most, loses);
            let found = repository.walk();
            if lost <= 16 {
                prop_assert_eq!(found, Ok(repository.records));
            }
        }
    }
}
