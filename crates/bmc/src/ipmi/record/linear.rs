//! How a raw reading becomes a value (section 36.3): `y = L[(M·x + B·10^K1)·10^K2]`.

/// What the raw byte of an analog sensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 0 to 255.
    Unsigned,
    /// Ones' complement: -127 to 127, with two zeros.
    OnesComplement,
    /// Two's complement.
    TwosComplement,
}

impl Format {
    /// From the first byte of the units; `None` for a sensor without an analog reading.
    #[must_use]
    pub fn of_units(flags: u8) -> Option<Self> {
        match flags >> 6 {
            0 => Some(Self::Unsigned),
            1 => Some(Self::OnesComplement),
            2 => Some(Self::TwosComplement),
            _ => None,
        }
    }

    fn number(self, raw: u8) -> f64 {
        match self {
            Self::Unsigned => f64::from(raw),
            Self::TwosComplement => f64::from(raw.cast_signed()),
            Self::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Self::OnesComplement => f64::from(raw),
        }
    }
}

/// M, B and the exponents: six bytes of a record, or of Get Sensor Reading Factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Factors {
    /// Multiplier, 10 bits.
    pub m: i16,
    /// Offset, 10 bits.
    pub b: i16,
    /// Exponent of the offset, 4 bits.
    pub b_exponent: i8,
    /// Exponent of the result, 4 bits.
    pub result_exponent: i8,
}

/// The lower `bits` of a number, as two's complement.
fn signed(value: u16, bits: u32) -> i16 {
    let shift = 16 - bits;
    (value << shift).cast_signed() >> shift
}

fn nibble(value: u8) -> i8 {
    (value << 4).cast_signed() >> 4
}

impl Factors {
    /// From `M, M and tolerance, B, B and accuracy, accuracy, exponents`.
    #[must_use]
    pub fn from_bytes([m, m_more, b, b_more, _, exponents]: [u8; 6]) -> Self {
        let ten = |low: u8, more: u8| signed(u16::from(low) | u16::from(more & 0xc0) << 2, 10);
        Self {
            m: ten(m, m_more),
            b: ten(b, b_more),
            b_exponent: nibble(exponents),
            result_exponent: nibble(exponents >> 4),
        }
    }

    fn apply(self, x: f64) -> f64 {
        let power = |exponent: i8| 10f64.powi(exponent.into());
        (f64::from(self.m) * x + f64::from(self.b) * power(self.b_exponent))
            * power(self.result_exponent)
    }
}

/// What is done with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linearization {
    /// One of the functions of table 43-1, 0 to 11.
    Function(u8),
    /// The factors differ from reading to reading: the controller has to be asked.
    ByReading,
}

impl Linearization {
    /// From its byte; `None` where the specification reserves it.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte & 0x7f {
            function @ 0..=11 => Some(Self::Function(function)),
            0x70..=0x7f => Some(Self::ByReading),
            _ => None,
        }
    }
}

/// How the sensor's readings become values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// What the raw byte is.
    pub format: Format,
    /// What is done with the result.
    pub linearization: Linearization,
    /// The factors of the record; of no use when they differ from reading to reading.
    pub factors: Factors,
}

impl Conversion {
    /// The value, by the factors of the record; `None` when there is no such number.
    #[must_use]
    pub fn value(&self, raw: u8) -> Option<f64> {
        self.value_by(self.factors, raw)
    }

    /// The value, by the factors that hold for this reading.
    #[must_use]
    pub fn value_by(&self, factors: Factors, raw: u8) -> Option<f64> {
        let y = factors.apply(self.format.number(raw));
        let value = match self.linearization {
            Linearization::ByReading | Linearization::Function(0) => y,
            Linearization::Function(1) => y.ln(),
            Linearization::Function(2) => y.log10(),
            Linearization::Function(3) => y.log2(),
            Linearization::Function(4) => y.exp(),
            Linearization::Function(5) => 10f64.powf(y),
            Linearization::Function(6) => y.exp2(),
            Linearization::Function(7) => 1.0 / y,
            Linearization::Function(8) => y.powi(2),
            Linearization::Function(9) => y.powi(3),
            Linearization::Function(10) => y.sqrt(),
            Linearization::Function(_) => y.cbrt(),
        };
        value.is_finite().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn linear(bytes: [u8; 6], format: Format) -> Conversion {
        let linearization = Linearization::Function(0);
        Conversion { format, linearization, factors: Factors::from_bytes(bytes) }
    }

    #[test]
    fn readings_of_real_sensors() {
        for (name, bytes, format, raw, value) in [
            ("a thermometer, M 1", [1, 0, 0, 0, 0, 0], Format::Unsigned, 42, 42.0),
            ("below zero", [1, 0, 0, 0, 0, 0], Format::TwosComplement, 0xfb, -5.0),
            ("below zero, ones'", [1, 0, 0, 0, 0, 0], Format::OnesComplement, 0xfa, -5.0),
            ("12 V, M 63, exponent -3", [63, 0, 0, 0, 0, 0xd0], Format::Unsigned, 192, 12.096),
            ("a fan, M 75", [75, 0, 0, 0, 0, 0], Format::Unsigned, 100, 7500.0),
            ("M -1", [0xff, 0xc0, 0, 0, 0, 0], Format::Unsigned, 7, -7.0),
            ("M 256", [0, 0x40, 0, 0, 0, 0], Format::Unsigned, 2, 512.0),
            ("B 5, its exponent 1", [1, 0, 5, 0, 0, 0x01], Format::Unsigned, 1, 51.0),
            ("B -200, 10 bits", [1, 0, 0x38, 0xc0, 0, 0], Format::Unsigned, 200, 0.0),
        ] {
            let found = linear(bytes, format).value(raw).expect(name);
            assert!((found - value).abs() < 1e-9, "{name}: {found}, not {value}");
        }
    }

    #[test]
    fn functions() {
        let factors = Factors { m: 1, ..Factors::default() };
        for (function, raw, value) in [
            (0, 8, Some(8.0)),
            (2, 100, Some(2.0)),
            (3, 8, Some(3.0)),
            (5, 2, Some(100.0)),
            (6, 3, Some(8.0)),
            (7, 4, Some(0.25)),
            (7, 0, None),
            (1, 0, None),
            (8, 5, Some(25.0)),
            (9, 2, Some(8.0)),
            (10, 9, Some(3.0)),
            (11, 27, Some(3.0)),
        ] {
            let linearization = Linearization::Function(function);
            let conversion = Conversion { format: Format::Unsigned, linearization, factors };
            let found = conversion.value(raw);
            let close = match (found, value) {
                (Some(found), Some(value)) => f64::abs(found - value) < 1e-9,
                (found, value) => found == value,
            };
            assert!(close, "function {function} of {raw}: {found:?}");
        }
        assert_eq!(Linearization::from_byte(0x70), Some(Linearization::ByReading));
        assert_eq!(Linearization::from_byte(12), None);
    }

    proptest! {
        #[test]
        fn a_value_is_a_number(bytes in any::<[u8; 6]>(), raw in any::<u8>(), function in 0u8..12) {
            for format in [Format::Unsigned, Format::OnesComplement, Format::TwosComplement] {
                let linearization = Linearization::Function(function);
                let factors = Factors::from_bytes(bytes);
                prop_assert!((-512..512).contains(&factors.m) && (-512..512).contains(&factors.b));
                prop_assert!((-8..8).contains(&factors.b_exponent));
                let value = Conversion { format, linearization, factors }.value(raw);
                prop_assert!(value.is_none_or(f64::is_finite));
            }
        }
    }
}
