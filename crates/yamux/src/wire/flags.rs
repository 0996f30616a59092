//! The flag field of a frame header.

use std::fmt;

/// The 16 flag bits of a header. Bits without a meaning are kept as they came and ignored (Y5).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default)]
pub struct Flags(u16);

impl Flags {
    /// No flag set.
    pub const NONE: Flags = Flags(0);
    /// Starts a stream; on a ping: this is the question.
    pub const SYN: Flags = Flags(1);
    /// Accepts a stream; on a ping: this is the answer.
    pub const ACK: Flags = Flags(2);
    /// The sender will send no more data on the stream.
    pub const FIN: Flags = Flags(4);
    /// The stream ends at once, both ways.
    pub const RST: Flags = Flags(8);

    /// The four known flags with their names in wire order.
    const NAMES: [(Flags, &'static str); 4] = [
        (Flags::SYN, "SYN"),
        (Flags::ACK, "ACK"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
    ];

    /// Flags from the bits of a header.
    #[inline]
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// The bits as they stand on the wire.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether every flag of `other` is set here.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The names of the known flags that are set, in wire order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str("|")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_known_flags_and_keeps_unknown_bits() {
        // Y5
        let flags = Flags::from_bits(0x8005);
        assert_eq!(flags.to_string(), "SYN|FIN");
        assert_eq!(flags.bits(), 0x8005);
        assert!(flags.contains(Flags::SYN));
        assert!(!flags.contains(Flags::ACK));
        assert_eq!(Flags::NONE.to_string(), "-");
    }
}
