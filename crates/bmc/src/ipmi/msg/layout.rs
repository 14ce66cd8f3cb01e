//! Messages whose fields follow one another: [`message!`] makes the type and both directions.
//!
//! `exact` messages (requests) end with their last field; `open` ones (responses) may go on, as
//! controllers of later revisions do.

macro_rules! field_type {
    (u8) => { u8 };
    (u16) => { u16 };
    (u32) => { u32 };
    (rest) => { Vec<u8> };
    ($length:literal) => { [u8; $length] };
}

macro_rules! field_read {
    ($reader:ident, u8) => {
        $reader.u8()?
    };
    ($reader:ident, u16) => {
        $reader.u16()?
    };
    ($reader:ident, u32) => {
        $reader.u32()?
    };
    ($reader:ident, rest) => {
        $reader.rest().to_vec()
    };
    ($reader:ident, $length:literal) => {
        $reader.array::<$length>()?
    };
}

macro_rules! field_write {
    ($out:ident, u8, $value:expr) => {
        $out.push($value)
    };
    ($out:ident, u16, $value:expr) => {
        $out.extend($value.to_le_bytes())
    };
    ($out:ident, u32, $value:expr) => {
        $out.extend($value.to_le_bytes())
    };
    ($out:ident, rest, $value:expr) => {
        $out.extend_from_slice(&$value)
    };
    ($out:ident, $length:literal, $value:expr) => {
        $out.extend_from_slice(&$value)
    };
}

macro_rules! message {
    (@end exact $reader:ident) => { $reader.finish()?; };
    (@end open $reader:ident) => { let _ = $reader; };
    ($end:ident $name:ident, $text:literal {
        $( $(#[$doc:meta])* $field:ident: $kind:tt, )+
    }) => {
        #[doc = concat!($text, ".")]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $crate::ipmi::msg::layout::field_type!($kind), )+
        }

        impl $crate::ipmi::wire::Decode for $name {
            fn decode(bytes: &[u8]) -> Result<Self, $crate::ipmi::wire::WireError> {
                let mut reader = $crate::ipmi::wire::Reader::new($text, bytes);
                $( let $field = $crate::ipmi::msg::layout::field_read!(reader, $kind); )+
                $crate::ipmi::msg::layout::message!(@end $end reader);
                Ok(Self { $($field),+ })
            }
        }

        impl $crate::ipmi::wire::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $( $crate::ipmi::msg::layout::field_write!(out, $kind, self.$field); )+
            }
        }
    };
}

macro_rules! command {
    ($text:literal, $netfn:expr, $code:literal) => {
        impl $crate::ipmi::wire::Command for Request {
            const NAME: &'static str = $text;
            const NETFN: u8 = $netfn;
            const CODE: u8 = $code;
            type Response = Response;
        }
    };
}

pub(crate) use {command, field_read, field_type, field_write, message};
