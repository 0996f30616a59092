//! ICMP for IPv4 (RFC 792, RFC 1191, RFC 1122 3.2.2).

use super::{Malformed, checksum, icmp};

/// Bytes of the fixed part of every message.
pub const HEADER_LEN: usize = 8;

const NAME: &str = "ICMP";

/// Codes of Destination Unreachable.
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// The host knows no such protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody listens at the port.
    pub const PORT: u8 = 3;
    /// Too large, and DF set (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Administratively forbidden (RFC 1812 5.2.7.1).
    pub const PROHIBITED: u8 = 13;
}

/// A message. `quoted` is the beginning of the packet that it is about, from its IP header on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Echo (8) or Echo Reply (0).
    Echo {
        /// The answer rather than the question.
        reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Comes back as it was.
        data: &'a [u8],
    },
    /// Destination Unreachable (3).
    Unreachable {
        /// Why ([`mod@unreachable`]).
        code: u8,
        /// Next-Hop MTU in bytes where `code` is [`unreachable::FRAGMENTATION_NEEDED`]; 0 from routers
        /// older than RFC 1191, and for other codes.
        mtu: u16,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Time Exceeded (11): 0 in transit, 1 in reassembly.
    TimeExceeded {
        /// Where.
        code: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Parameter Problem (12).
    ParameterProblem {
        /// 0: `pointer` tells; 1: an option is missing; 2: bad length.
        code: u8,
        /// The byte that is wrong.
        pointer: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Any other: Source Quench and Redirect (both ignored: RFC 6633, and a host that takes
    /// redirects can be led astray), timestamps, and what nobody knows.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// What stands behind the checksum.
        body: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// True for messages that tell of an error: none is ever sent about one (RFC 1122 3.2.2, T148).
    /// Source Quench and Redirect count as such.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Message::Echo { .. } => false,
            Message::Other { kind, .. } => is_error_type(*kind),
            _ => true,
        }
    }

    /// The packet that an error is about.
    #[must_use]
    pub const fn quoted(&self) -> Option<&'a [u8]> {
        match self {
            Message::Unreachable { quoted, .. }
            | Message::TimeExceeded { quoted, .. }
            | Message::ParameterProblem { quoted, .. } => Some(quoted),
            _ => None,
        }
    }

    /// Appends the message with its checksum.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begun = out.len();
        let (kind, code, rest, data) = match *self {
            Message::Echo {
                reply,
                id,
                seq,
                data,
            } => (if reply { 0 } else { 8 }, 0, icmp::echo(id, seq), data),
            Message::Unreachable { code, mtu, quoted } => {
                let [high, low] = mtu.to_be_bytes();
                (3, code, [0, 0, high, low], quoted)
            }
            Message::TimeExceeded { code, quoted } => (11, code, [0; 4], quoted),
            Message::ParameterProblem {
                code,
                pointer,
                quoted,
            } => (12, code, [pointer, 0, 0, 0], quoted),
            Message::Other { kind, code, body } => {
                icmp::put(out, kind, code, &[], body);
                return checksum::patch(out, begun, 2, checksum::Sum::new());
            }
        };
        icmp::put(out, kind, code, &rest, data);
        checksum::patch(out, begun, 2, checksum::Sum::new());
    }
}

/// True for the types of messages that tell of an error, for whoever sees only the type of a quoted
/// message (T148).
#[must_use]
pub const fn is_error_type(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Reads a message; its checksum is verified.
///
/// # Errors
///
/// [`Malformed`]; such a message is dropped.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let (fixed, rest) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(Malformed::Truncated(NAME))?;
    if !checksum::sum(bytes).is_valid() {
        return Err(Malformed::Checksum(NAME));
    }
    let [kind, code, _, _, a, b, c, d] = *fixed;
    Ok(match kind {
        0 | 8 if code == 0 => {
            let (id, seq) = icmp::echoed([a, b, c, d]);
            Message::Echo {
                reply: kind == 0,
                id,
                seq,
                data: rest,
            }
        }
        3 => Message::Unreachable {
            code,
            mtu: if code == unreachable::FRAGMENTATION_NEEDED {
                u16::from_be_bytes([c, d])
            } else {
                0
            },
            quoted: rest,
        },
        11 => Message::TimeExceeded { code, quoted: rest },
        12 => Message::ParameterProblem {
            code,
            pointer: a,
            quoted: rest,
        },
        _ => Message::Other {
            kind,
            code,
            body: bytes.get(4..).unwrap_or_default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_echo_has_the_bytes_of_rfc_792() {
        let message = Message::Echo {
            reply: false,
            id: 0x1234,
            seq: 1,
            data: b"abc",
        };
        let mut out = Vec::new();
        message.write(&mut out);
        // 0x0800 + 0x1234 + 0x0001 + 0x6162 + 0x6300 = 0xde97, complement 0x2168.
        assert_eq!(out, [8, 0, 0x21, 0x68, 0x12, 0x34, 0, 1, b'a', b'b', b'c']);
        assert_eq!(parse(&out), Ok(message));
    }

    #[test]
    fn a_wrong_checksum_is_no_message() {
        let mut out = Vec::new();
        Message::TimeExceeded {
            code: 0,
            quoted: &[0x45; 28],
        }
        .write(&mut out);
        for at in 0..out.len() {
            let mut bytes = out.clone();
            bytes[at] ^= 0x10;
            assert_eq!(parse(&bytes), Err(Malformed::Checksum(NAME)));
        }
    }

    #[test]
    fn the_mtu_means_something_with_code_4_only() {
        // RFC 1191 4
        let mut out = Vec::new();
        Message::Unreachable {
            code: 4,
            mtu: 1400,
            quoted: &[],
        }
        .write(&mut out);
        assert!(matches!(
            parse(&out),
            Ok(Message::Unreachable {
                code: 4,
                mtu: 1400,
                ..
            })
        ));
        out.clear();
        Message::Unreachable {
            code: 3,
            mtu: 1400,
            quoted: &[],
        }
        .write(&mut out);
        assert!(matches!(
            parse(&out),
            Ok(Message::Unreachable {
                code: 3,
                mtu: 0,
                ..
            })
        ));
    }

    #[test]
    fn errors_are_told_from_questions() {
        // T148
        for kind in 0..=255 {
            let mut out = Vec::new();
            Message::Other {
                kind,
                code: 0,
                body: &[0; 4],
            }
            .write(&mut out);
            let error = matches!(kind, 3 | 4 | 5 | 11 | 12);
            assert_eq!(parse(&out).unwrap().is_error(), error, "type {kind}");
        }
    }

    proptest! {
        #[test]
        fn anything_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 4..80)) {
            let mut valid = Vec::new();
            Message::Other { kind: bytes[0] & 15, code: bytes[1] & 7, body: &bytes[2..] }.write(&mut valid);
            if let Ok(message) = parse(&valid) {
                let mut out = Vec::new();
                message.write(&mut out);
                prop_assert_eq!(parse(&out), Ok(message));
            }
            let _ = parse(&bytes);
        }
    }
}
