//! Values with names: what a protocol says of its packets, frames and settings, in its own words.

use core::fmt;

use crate::time::Duration;

/// One value and its name in the protocol's vocabulary (for QUIC, qlog's field names).
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Field<'a> {
    /// The name.
    pub name: &'static str,
    /// The value.
    pub value: Value<'a>,
}

impl<'a> Field<'a> {
    /// A field.
    #[must_use]
    pub const fn new(name: &'static str, value: Value<'a>) -> Field<'a> {
        Field { name, value }
    }
}

/// What a traced field can be. Everything is borrowed: making one costs nothing.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number.
    U64(u64),
    /// A ratio.
    F64(f64),
    /// Yes or no.
    Bool(bool),
    /// Text, possibly the peer's: a sink escapes it.
    Str(&'a str),
    /// Bytes, shown in hexadecimal.
    Bytes(&'a [u8]),
    /// A span of time, shown in milliseconds.
    Time(Duration),
    /// Ranges of numbers, both ends included.
    Ranges(&'a [(u64, u64)]),
    /// Several values.
    List(&'a [Value<'a>]),
    /// Values with names, one level deeper. Engines nest them by hand, so the depth is fixed.
    Object(&'a [Field<'a>]),
}

/// For people: `name value, name value`.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U64(value) => write!(f, "{value}"),
            Value::F64(value) => write!(f, "{value}"),
            Value::Bool(value) => write!(f, "{value}"),
            // A stranger's control characters would speak to the terminal.
            Value::Str(text) => write!(f, "{}", text.escape_debug()),
            Value::Bytes(bytes) => Hex(bytes).fmt(f),
            Value::Time(time) => write!(f, "{time:.1?}"),
            Value::Ranges(ranges) => separated(f, ",", ranges.iter().map(Range)),
            Value::List(values) => separated(f, " ", values.iter()),
            Value::Object(fields) => {
                f.write_str("(")?;
                separated(f, ", ", fields.iter())?;
                f.write_str(")")
            }
        }
    }
}

fn separated(
    f: &mut fmt::Formatter<'_>,
    by: &str,
    items: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        if at > 0 {
            f.write_str(by)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// A range as people write it: "4" or "1-3".
struct Range<'a>(&'a (u64, u64));

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.0;
        if low == high {
            write!(f, "{low}")
        } else {
            write!(f, "{low}-{high}")
        }
    }
}

/// Bytes in lowercase hexadecimal, without separators.
#[derive(Copy, Clone, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_said_in_words() {
        let inner = [
            Field::new("length", Value::U64(7)),
            Field::new("fin", Value::Bool(true)),
        ];
        let cases = [
            (Value::Ranges(&[(1, 3), (5, 5)]), "x 1-3,5"),
            (Value::Bytes(&[0, 0xab]), "x 00ab"),
            (Value::Time(Duration::from_micros(1500)), "x 1.5ms"),
            (Value::Str("a\u{1b}[2J\n"), "x a\\u{1b}[2J\\n"),
            (Value::Object(&inner), "x (length 7, fin true)"),
            (Value::List(&[Value::U64(1), Value::U64(2)]), "x 1 2"),
        ];
        for (value, words) in cases {
            assert_eq!(Field::new("x", value).to_string(), words);
        }
    }
}
