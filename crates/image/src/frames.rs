//! Disk images packed as Zstandard: many frames, one after the other, each of a fixed piece of the
//! image, so that all processors pack at once. Any Zstandard reader unpacks it as one stream.
//!
//! The pieces are also what makes the result the same on every machine: it depends on the bytes, the
//! level and the library's version, not on the number of processors.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

/// Bytes of the image in one frame.
pub const FRAME_BYTES: usize = 4 << 20;

/// Readers need no more memory than 2 to this power for a frame's window.
pub const WINDOW_LOG_MAX: u32 = 23;

/// Packs `source` into `sink` with `workers` threads; returns the bytes read.
pub fn compress(
    mut source: impl Read,
    mut sink: impl Write,
    level: i32,
    workers: usize,
) -> io::Result<u64> {
    let workers = workers.clamp(1, 64);
    thread::scope(|scope| {
        // Each worker has its own queues; pieces go round, so that frames come back in order.
        let mut lanes = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (give, take) = sync_channel::<Vec<u8>>(1);
            let (done, ready) = sync_channel::<io::Result<Vec<u8>>>(1);
            scope.spawn(move || {
                while let Ok(piece) = take.recv() {
                    if done.send(zstd::bulk::compress(&piece, level)).is_err() {
                        return;
                    }
                }
            });
            lanes.push((give, ready));
        }
        let gone = || io::Error::other("a packing thread ended early");
        let mut total = 0;
        let (mut given, mut taken) = (0usize, 0usize);
        loop {
            let piece = read_piece(&mut source)?;
            let ended = piece.len() < FRAME_BYTES;
            total += piece.len() as u64;
            if !piece.is_empty() {
                let (give, _) = &lanes[given % workers];
                give.send(piece).map_err(|_| gone())?;
                given += 1;
            }
            while taken < given && (ended || given - taken >= workers) {
                let (_, ready) = &lanes[taken % workers];
                sink.write_all(&receive(ready)?)?;
                taken += 1;
            }
            if ended {
                return Ok(total);
            }
        }
    })
}

fn receive(ready: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    ready.recv().map_err(|_| io::Error::other("a packing thread ended early"))?
}

fn read_piece(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(FRAME_BYTES);
    source.by_ref().take(FRAME_BYTES as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// Unpacks any number of frames, at bounded memory.
pub fn decompress<R: Read>(source: R) -> io::Result<impl Read> {
    let mut decoder = zstd::Decoder::new(source)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(bytes: &[u8], workers: usize) -> (Vec<u8>, Vec<u8>) {
        let mut packed = Vec::new();
        assert_eq!(compress(bytes, &mut packed, 1, workers).unwrap(), bytes.len() as u64);
        let mut back = Vec::new();
        decompress(&packed[..]).unwrap().read_to_end(&mut back).unwrap();
        (packed, back)
    }

    #[test]
    fn many_frames_come_back_in_order_whatever_the_number_of_workers() {
        let ramp = |i: usize| u8::try_from((i / 4096) % 251).unwrap();
        let bytes: Vec<u8> = (0..FRAME_BYTES * 5 + 17).map(ramp).collect();
        let (one, back) = round_trip(&bytes, 1);
        assert!(back == bytes);
        let (three, back) = round_trip(&bytes, 3);
        assert!(back == bytes && one == three);
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let (packed, _) = round_trip(&vec![3u8; 100_000], 2);
        let mut back = Vec::new();
        let cut = &packed[..packed.len() - 3];
        assert!(decompress(cut).unwrap().read_to_end(&mut back).is_err());
    }

    #[test]
    fn a_window_of_a_gigabyte_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.write_all(&vec![1u8; 1 << 16]).unwrap();
        let packed = encoder.finish().unwrap();
        let mut back = Vec::new();
        assert!(decompress(&packed[..]).unwrap().read_to_end(&mut back).is_err());
    }

    proptest! {
        #[test]
        fn unpacking_never_panics(bytes: Vec<u8>) {
            let mut back = Vec::new();
            let _ = decompress(&bytes[..]).and_then(|mut d| d.read_to_end(&mut back));
        }
    }
}
