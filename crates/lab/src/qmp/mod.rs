//! QMP, QEMU's control protocol: JSON objects, one a line, in both directions.
//!
//! [`Codec`] and [`encode`] do no I/O; [`Qmp`] is the small loop around them. Specification:
//! QEMU, `docs/interop/qmp-spec.rst`; events and commands: QEMU QMP Reference Manual.

mod client;
mod codec;

pub use client::{Qmp, QmpError};
pub use codec::{Codec, CodecError, Event, LINE_BYTES_MAX, Message, encode};
