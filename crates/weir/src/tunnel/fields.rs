//! Fields that several units of the tunnel protocol share: addresses, texts, variable-length integers.

use std::net::{IpAddr, SocketAddr};

use super::destination::{Host, Reader, write_host_port};
use super::protocol::{MAX_TEXT, ProtocolError};

/// The largest number that a variable-length integer holds (RFC 9000 section 16).
pub(super) const MAX_VARINT: u64 = (1 << 62) - 1;

/// Appends a variable-length integer (RFC 9000 section 16): the two highest bits say whether 1, 2, 4 or 8 bytes
/// follow in all. What is beyond [`MAX_VARINT`] becomes that.
pub(super) fn write_varint(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX_VARINT);
    let wide = (value | 3 << 62).to_be_bytes();
    let [.., c, d] = wide;
    match value {
        0..=0x3f => out.push(d),
        0x40..=0x3fff => out.extend_from_slice(&[c | 0x40, d]),
        0x4000..=0x3fff_ffff => {
            let [_, _, _, _, a, b, c, d] = wide;
            out.extend_from_slice(&[a | 0x80, b, c, d]);
        }
        _ => out.extend_from_slice(&wide),
    }
}

/// Reads a variable-length integer in any of its lengths; `None` when it is cut short.
pub(super) fn read_varint(input: &mut Reader<'_>) -> Option<u64> {
    let first = input.u8()?;
    let more = (1usize << (first >> 6)).saturating_sub(1);
    let rest = input.take(more)?;
    let high = u64::from(first & 0x3f);
    Some(
        rest.iter()
            .fold(high, |value, byte| value << 8 | u64::from(*byte)),
    )
}

/// Address type, address and port of a socket address.
pub(super) fn write_socket_addr(out: &mut Vec<u8>, address: SocketAddr) {
    // `Host::from` would write ::ffff:a.b.c.d as IPv4; an address to bind keeps its family.
    let host = match address.ip() {
        IpAddr::V4(ip) => Host::Ip(IpAddr::V4(ip)),
        IpAddr::V6(ip) => Host::Ip(IpAddr::V6(ip)),
    };
    write_host_port(out, &host, address.port());
}

/// A text: its length in one byte, then UTF-8, cut at a character's boundary.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let text = cut(text, MAX_TEXT);
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn read_text(
    body: &mut Reader<'_>,
    field: &'static str,
) -> Result<String, ProtocolError> {
    let len = body.u8().ok_or(ProtocolError::Truncated(field))?;
    let raw = body
        .take(usize::from(len))
        .ok_or(ProtocolError::Truncated(field))?;
    Ok(clean_text(raw))
}

/// The longest prefix of at most `max` bytes that ends between characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// Makes one line of a peer's text that is safe to print: what is not UTF-8 or would move the cursor of a terminal
/// becomes U+FFFD (C10: log injection), and it is cut to [`MAX_TEXT`] bytes.
pub(super) fn clean_text(raw: &[u8]) -> String {
    let clean: String = String::from_utf8_lossy(raw)
        .chars()
        .map(|c| {
            if c.is_control() || is_format(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    cut(&clean, MAX_TEXT).to_owned()
}

/// Characters that change the direction or the breaking of lines without being controls.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9000 appendix A.1.
    #[test]
    fn variable_length_integers() {
        for (wire, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(read_varint(&mut Reader(wire)), Some(value));
            let mut written = Vec::new();
            write_varint(&mut written, value);
            assert_eq!(written, wire);
            for cut in 0..wire.len() {
                assert_eq!(
                    read_varint(&mut Reader(&wire[..cut])),
                    None,
                    "{value} cut at {cut}"
                );
            }
        }
        assert_eq!(
            read_varint(&mut Reader(&[0x40, 0x25])),
            Some(37),
            "a longer form than needed"
        );
        for edge in [
            0,
            0x3f,
            0x40,
            0x3fff,
            0x4000,
            0x3fff_ffff,
            0x4000_0000,
            MAX_VARINT,
        ] {
            let mut written = Vec::new();
            write_varint(&mut written, edge);
            assert_eq!(read_varint(&mut Reader(&written)), Some(edge));
        }
    }
}
