//! TFTP packets (RFC 1350; option extension RFC 2347, block size 2348, timeout and size 2349,
//! window size 7440), as a read-only server needs them.

use std::time::Duration;

/// Ethernet's 1500 bytes without IP, UDP and TFTP headers: larger blocks are cut into fragments,
/// which firmware puts together badly.
const BLOCK_BYTES_MAX: u16 = 1468;
/// Without the option (RFC 1350, section 2).
const BLOCK_BYTES_DEFAULT: u16 = 512;
/// Blocks in flight that are agreed to.
const WINDOW_MAX: u16 = 32;
/// The longest time-out that is agreed to, in seconds.
const TIMEOUT_S_MAX: u8 = 30;
/// Names and values of one request.
const STRINGS_MAX: usize = 32;

/// Error codes (RFC 1350, appendix; RFC 2347).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    NotDefined = 0,
    NotFound = 1,
    AccessViolation = 2,
    IllegalOperation = 4,
}

/// What a client sends during a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromClient {
    /// Block received.
    Ack(u16),
    /// It gives up; the text is its own.
    Error(String),
}

/// A request to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    pub(crate) file: String,
    pub(crate) options: Agreed,
}

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) why: &'static str,
}

/// What both sides go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) block_bytes: u16,
    pub(crate) window: u16,
    pub(crate) timeout: Option<Duration>,
    /// What to confirm, in the client's order; its size option is filled in by [`oack`].
    confirm: Vec<&'static str>,
}

impl Agreed {
    fn none() -> Self {
        Self { block_bytes: BLOCK_BYTES_DEFAULT, window: 1, timeout: None, confirm: Vec::new() }
    }

    /// Takes an option that is known and sensible, ignores every other (RFC 2347).
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let number =
            std::str::from_utf8(value).ok().and_then(|v| v.parse::<u32>().ok()).unwrap_or(u32::MAX);
        let number16 = u16::try_from(number).ok();
        let confirm = match name.to_ascii_lowercase().as_slice() {
            b"blksize" => match number16 {
                Some(bytes @ 8..=65464) => {
                    self.block_bytes = bytes.min(BLOCK_BYTES_MAX);
                    "blksize"
                }
                _ => return,
            },
            b"windowsize" => match number16 {
                Some(blocks @ 1..) => {
                    self.window = blocks.min(WINDOW_MAX);
                    "windowsize"
                }
                _ => return,
            },
            b"timeout" => match u8::try_from(number) {
                Ok(seconds @ 1..=TIMEOUT_S_MAX) => {
                    self.timeout = Some(Duration::from_secs(seconds.into()));
                    "timeout"
                }
                _ => return,
            },
            b"tsize" if number != u32::MAX => "tsize",
            _ => return,
        };
        if !self.confirm.contains(&confirm) {
            self.confirm.push(confirm);
        }
    }

    /// The option acknowledgement, when there is one to give.
    pub(crate) fn oack(&self, file_bytes: usize) -> Option<Vec<u8>> {
        if self.confirm.is_empty() {
            return None;
        }
        let mut out = vec![0, 6];
        for name in &self.confirm {
            let value = match *name {
                "blksize" => usize::from(self.block_bytes),
                "windowsize" => usize::from(self.window),
                "timeout" => usize::try_from(self.timeout.map_or(0, |t| t.as_secs())).unwrap_or(0),
                _ => file_bytes,
            };
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out.extend_from_slice(value.to_string().as_bytes());
            out.push(0);
        }
        Some(out)
    }
}

/// Reads what came to port 69; `None` is answered with silence.
pub(crate) fn read_request(bytes: &[u8]) -> Option<Result<ReadRequest, Refusal>> {
    let refuse = |code, why| Some(Err(Refusal { code, why }));
    let rest = match bytes {
        [0, 1, rest @ ..] => rest,
        [0, 2, ..] => return refuse(ErrorCode::AccessViolation, "this server is read-only"),
        _ => return None,
    };
    let Some(text) = rest.strip_suffix(&[0]) else {
        return refuse(ErrorCode::IllegalOperation, "the request does not end");
    };
    let mut strings = text.split(|b| *b == 0).take(STRINGS_MAX);
    let file = strings.next().unwrap_or_default();
    let mode = strings.next().unwrap_or_default();
    if !mode.eq_ignore_ascii_case(b"octet") {
        return refuse(ErrorCode::IllegalOperation, "only octet mode is served");
    }
    // Firmware adds a slash or a Windows one when it takes the name from a path. What is no text
    // stands for itself: a name that we know may be before it.
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let file = String::from_utf8_lossy(file);
    let file = file.trim_start_matches(['/', '\\']).chars().map(printable).take(128).collect();
    let mut options = Agreed::none();
    while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
        options.take(name, value);
    }
    Some(Ok(ReadRequest { file, options }))
}

/// Reads what came to a transfer's own port.
pub(crate) fn read_from_client(bytes: &[u8]) -> Option<FromClient> {
    match bytes {
        [0, 4, high, low, ..] => Some(FromClient::Ack(u16::from_be_bytes([*high, *low]))),
        [0, 5, _, _, text @ ..] => {
            let text = text.split(|b| *b == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            Some(FromClient::Error(text.chars().filter(|c| !c.is_control()).take(80).collect()))
        }
        _ => None,
    }
}

/// A block.
pub(crate) fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    out.extend([0, 3]);
    out.extend(block.to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// An error.
pub(crate) fn error(code: ErrorCode, why: &str) -> Vec<u8> {
    let mut out = vec![0, 5, 0, code as u8];
    out.extend_from_slice(why.as_bytes());
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn reading_never_panics(op in 0u8..8, bytes in vec(any::<u8>(), 0..600)) {
            let packet = [&[0, op][..], &bytes].concat();
            let _ = read_from_client(&packet);
            if let Some(Ok(request)) = read_request(&packet) {
                prop_assert!((8..=BLOCK_BYTES_MAX).contains(&request.options.block_bytes));
                prop_assert!((1..=WINDOW_MAX).contains(&request.options.window));
                let _ = request.options.oack(usize::MAX);
            }
        }

        #[test]
        fn option_values_are_bounded(name in "(blksize|windowsize|timeout|tsize)", value: String) {
            let packet = format!("\0\x01f\0octet\0{name}\0{}\0", value.replace('\0', ""));
            prop_assert!(matches!(read_request(packet.as_bytes()), Some(Ok(_))));
        }
    }

    #[test]
    fn a_request_of_uefi_firmware() {
        let packet = b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
        let request = read_request(packet).unwrap().unwrap();
        assert_eq!(request.file, "snponly.efi");
        assert_eq!((request.options.block_bytes, request.options.window), (1468, 4));
        let oack = request.options.oack(284_672).unwrap();
        assert_eq!(oack, b"\0\x06tsize\x00284672\0blksize\x001468\0windowsize\x004\0");
    }

    #[test]
    fn a_request_without_options_gets_no_confirmation() {
        let request = read_request(b"\0\x01/undionly.kpxe\0OCTET\0").unwrap().unwrap();
        assert_eq!((request.file.as_str(), request.options.block_bytes), ("undionly.kpxe", 512));
        assert_eq!(request.options.oack(1), None);
        let unknown =
            read_request(b"\0\x01f\0octet\0multicast\0\0blksize\x007\0").unwrap().unwrap();
        assert_eq!(unknown.options, Agreed::none());
    }

    #[test]
    fn a_name_that_is_no_text_is_read_without_harm() {
        let file = |packet: &[u8]| read_request(packet).unwrap().unwrap().file;
        assert_eq!(file(b"\0\x01undionly.kpxe\xff\0octet\0"), "undionly.kpxe\u{fffd}");
        assert_eq!(file(b"\0\x01a\x1b[2Jb\0octet\0"), "a\u{fffd}[2Jb");
    }

    #[test]
    fn what_is_not_served_is_said() {
        let code = |packet: &[u8]| read_request(packet).unwrap().unwrap_err().code;
        assert_eq!(code(b"\0\x02f\0octet\0"), ErrorCode::AccessViolation);
        assert_eq!(code(b"\0\x01f\0netascii\0"), ErrorCode::IllegalOperation);
        assert_eq!(code(b"\0\x01f\0octet"), ErrorCode::IllegalOperation);
        assert_eq!(read_request(b"\0\x04\0\0"), None);
    }
}
