//! The units of sensors (section 43.17, table 43-15).

use std::fmt;

/// Symbols by number; words where there is no symbol.
const BASE: [&str; 93] = [
    "",
    "°C",
    "°F",
    "K",
    "V",
    "A",
    "W",
    "J",
    "C",
    "VA",
    "nit",
    "lm",
    "lx",
    "cd",
    "kPa",
    "psi",
    "N",
    "CFM",
    "RPM",
    "Hz",
    "µs",
    "ms",
    "s",
    "min",
    "h",
    "d",
    "weeks",
    "mil",
    "in",
    "ft",
    "in³",
    "ft³",
    "mm",
    "cm",
    "m",
    "cm³",
    "m³",
    "l",
    "fl oz",
    "rad",
    "sr",
    "revolutions",
    "cycles",
    "g₀",
    "oz",
    "lb",
    "ft·lb",
    "oz·in",
    "G",
    "Gb",
    "H",
    "mH",
    "F",
    "µF",
    "Ω",
    "S",
    "mol",
    "Bq",
    "ppm",
    "",
    "dB",
    "dBA",
    "dBC",
    "Gy",
    "Sv",
    "K (colour)",
    "bit",
    "kbit",
    "Mbit",
    "Gbit",
    "B",
    "kB",
    "MB",
    "GB",
    "words",
    "dwords",
    "qwords",
    "lines",
    "hits",
    "misses",
    "retries",
    "resets",
    "overflows",
    "underruns",
    "collisions",
    "packets",
    "messages",
    "characters",
    "errors",
    "correctable errors",
    "uncorrectable errors",
    "fatal errors",
    "g",
];
/// What a rate is per.
const RATES: [&str; 8] = ["", "/µs", "/ms", "/s", "/min", "/h", "/d", ""];

/// What a reading is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// First byte: bits 7 and 6 the format of the reading, 5 to 3 the rate, 2 and 1 how base and
    /// modifier go together, 0 per cent.
    pub flags: u8,
    /// Base unit.
    pub base: u8,
    /// Modifier unit.
    pub modifier: u8,
}

fn name(number: u8) -> &'static str {
    BASE.get(usize::from(number)).copied().unwrap_or("?")
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = RATES[usize::from(self.flags >> 3 & 0x07)];
        if self.flags & 0x01 != 0 {
            f.write_str("%")?;
            // "Per cent of bytes" would be told here; no maker has used it.
            return f.write_str(rate);
        }
        f.write_str(name(self.base))?;
        match self.flags >> 1 & 0x03 {
            1 => write!(f, "/{}", name(self.modifier))?,
            2 => write!(f, "·{}", name(self.modifier))?,
            _ => {}
        }
        f.write_str(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_as_people_write_them() {
        for (flags, base, modifier, text) in [
            (0x00, 1, 0, "°C"),
            (0x01, 0, 0, "%"),
            (0x18, 72, 0, "MB/s"),
            (0x02, 34, 22, "m/s"),
            (0x04, 6, 24, "W·h"),
            (0x00, 18, 0, "RPM"),
            (0x00, 200, 0, "?"),
            (0x00, 92, 0, "g"),
        ] {
            assert_eq!(Units { flags, base, modifier }.to_string(), text);
        }
    }
}
