//! JSON (RFC 8259), appended to a string: one pass, nothing in between.

use std::fmt::{self, Write as _};
use std::time::Duration;

use weir_core::time::Instant;
use weir_core::trace::{Field, Hex, Value};

/// One record of a JSON text sequence: separator, text, newline (RFC 7464 2.2).
pub(super) fn record(out: &mut String, write: impl FnOnce(&mut String)) {
    out.push('\u{1e}');
    write(out);
    out.push('\n');
}

/// Begins an event up to the inside of its data; [`close`] ends it.
pub(super) fn open(out: &mut String, now: Instant, family: &str, name: &str) {
    open_on(out, now, family, name, 0);
}

/// The same for an event that belongs to a path. The first path is the default one, with an empty
/// tuple ID (quic-events, "tuple_assigned").
pub(super) fn open_on(out: &mut String, now: Instant, family: &str, name: &str, path: u64) {
    // Milliseconds with nanoseconds behind the point, without going through a float.
    let nanos = now.as_nanos();
    let (whole, rest) = (nanos / 1_000_000, nanos % 1_000_000);
    put(
        out,
        format_args!(r#"{{"time":{whole}.{rest:06},"name":"{family}:{name}""#),
    );
    if path != 0 {
        put(out, format_args!(r#","tuple":"{path}""#));
    }
    out.push_str(r#","data":{"#);
}

/// Ends what [`open`] began.
pub(super) fn close(out: &mut String) {
    out.push_str("}}");
}

/// A field whose value needs no quotes.
pub(super) fn field(out: &mut String, name: &str, value: impl fmt::Display) {
    key(out, name);
    put(out, format_args!("{value}"));
}

/// The same where there may be none.
pub(super) fn maybe(out: &mut String, name: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        field(out, name, value);
    }
}

/// A field whose value is text.
pub(super) fn text(out: &mut String, name: &str, value: &str) {
    key(out, name);
    string(out, value);
}

/// The same where there may be none.
pub(super) fn maybe_text(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

/// A field that is an object, whose fields `write` adds.
pub(super) fn object(out: &mut String, name: &str, write: impl FnOnce(&mut String)) {
    key(out, name);
    out.push('{');
    write(out);
    out.push('}');
}

/// The fields of a traced value.
pub(super) fn fields(out: &mut String, fields: &[Field<'_>]) {
    for Field { name, value: what } in fields {
        key(out, name);
        value(out, what);
    }
}

/// A traced value. Engines nest values by hand, so the depth is what they wrote.
pub(super) fn value(out: &mut String, value: &Value<'_>) {
    match value {
        Value::U64(number) => put(out, format_args!("{number}")),
        Value::F64(number) if number.is_finite() => put(out, format_args!("{number}")),
        Value::F64(_) => out.push_str("null"),
        Value::Bool(is) => put(out, format_args!("{is}")),
        Value::Str(words) => string(out, words),
        Value::Bytes(bytes) => put(out, format_args!(r#""{}""#, Hex(bytes))),
        Value::Time(time) => put(out, format_args!("{}", millis(*time))),
        Value::Ranges(ranges) => list(out, ranges.iter(), |out, (low, high)| {
            if low == high {
                put(out, format_args!("[{low}]"));
            } else {
                put(out, format_args!("[{low},{high}]"));
            }
        }),
        Value::List(values) => list(out, values.iter(), self::value),
        Value::Object(inner) => {
            out.push('{');
            fields(out, inner);
            out.push('}');
        }
    }
}

/// An array.
pub(super) fn list<T>(
    out: &mut String,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for item in items {
        comma(out);
        write(out, item);
    }
    out.push(']');
}

/// A field's name, after a comma where one is due.
pub(super) fn key(out: &mut String, name: &str) {
    comma(out);
    put(out, format_args!(r#""{name}":"#));
}

/// Between two of a kind.
pub(super) fn comma(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// A JSON string (RFC 8259 7): quotes, backslashes and control characters are escaped.
pub(super) fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends formatted text.
pub(super) fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(text);
}

/// A span of time in milliseconds, to the nanosecond.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json() {
        let inner = [
            Field::new("a", Value::Str("\"\u{1}")),
            Field::new("b", Value::F64(f64::NAN)),
        ];
        let all = [
            Field::new("n", Value::U64(u64::MAX)),
            Field::new("t", Value::Time(Duration::from_micros(25_512))),
            Field::new("r", Value::Ranges(&[(1, 2), (4, 4)])),
            Field::new("o", Value::Object(&inner)),
            Field::new("l", Value::List(&[Value::Bool(true), Value::Bytes(&[10])])),
            Field::new("e", Value::List(&[])),
        ];
        let mut out = String::from("{");
        fields(&mut out, &all);
        assert_eq!(
            out,
            r#"{"n":18446744073709551615,"t":25.512,"r":[[1,2],[4]],"o":{"a":"\"\u0001","b":null},"l":[true,"0a"],"e":[]"#
        );
    }
}
