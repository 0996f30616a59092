//! ICMP for IPv6 (RFC 4443).

use core::net::Ipv6Addr;

use super::{Malformed, checksum, icmp, ndp, protocol};

/// Bytes of the fixed part of errors and echoes.
pub const HEADER_LEN: usize = 8;

const NAME: &str = "ICMPv6";

/// Codes of Destination Unreachable.
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively forbidden.
    pub const PROHIBITED: u8 = 1;
    /// The neighbour does not answer.
    pub const ADDRESS: u8 = 3;
    /// Nobody listens at the port.
    pub const PORT: u8 = 4;
}

/// A message. `quoted` is the beginning of the packet that it is about, from its IPv6 header on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Destination Unreachable (1).
    Unreachable {
        /// Why ([`mod@unreachable`]).
        code: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Packet Too Big (2).
    PacketTooBig {
        /// What the next link takes, in bytes.
        mtu: u32,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Time Exceeded (3): 0 in transit, 1 in reassembly.
    TimeExceeded {
        /// Where.
        code: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Parameter Problem (4): 0 erroneous field, 1 unknown next header, 2 unknown option.
    ParameterProblem {
        /// Of what kind.
        code: u8,
        /// The byte that is wrong.
        pointer: u32,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Echo Request (128) or Echo Reply (129).
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
    /// Neighbor Discovery (133 to 137). Counts only with hop limit 255, which the caller checks.
    Ndp(ndp::Message<'a>),
    /// Any other.
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
    /// True for messages that tell of an error (types below 128): none is ever sent about one
    /// (RFC 4443 2.4(e), T148).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Message::Echo { .. } | Message::Ndp(_) => false,
            Message::Other { kind, .. } => is_error_type(*kind),
            _ => true,
        }
    }

    /// The packet that an error is about.
    #[must_use]
    pub const fn quoted(&self) -> Option<&'a [u8]> {
        match self {
            Message::Unreachable { quoted, .. }
            | Message::PacketTooBig { quoted, .. }
            | Message::TimeExceeded { quoted, .. }
            | Message::ParameterProblem { quoted, .. } => Some(quoted),
            _ => None,
        }
    }

    /// Appends the message with its checksum, which covers the addresses that it goes between.
    pub fn write(&self, src: Ipv6Addr, dst: Ipv6Addr, out: &mut Vec<u8>) {
        let begun = out.len();
        self.write_body(out);
        let len = u32::try_from(out.len().saturating_sub(begun)).unwrap_or(u32::MAX);
        let pseudo = checksum::pseudo_v6(src, dst, protocol::ICMPV6, len);
        checksum::patch(out, begun, 2, pseudo);
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        let (kind, code, rest, data) = match *self {
            Message::Unreachable { code, quoted } => (1, code, [0; 4], quoted),
            Message::PacketTooBig { mtu, quoted } => (2, 0, mtu.to_be_bytes(), quoted),
            Message::TimeExceeded { code, quoted } => (3, code, [0; 4], quoted),
            Message::ParameterProblem {
                code,
                pointer,
                quoted,
            } => (4, code, pointer.to_be_bytes(), quoted),
            Message::Echo {
                reply,
                id,
                seq,
                data,
            } => (if reply { 129 } else { 128 }, 0, icmp::echo(id, seq), data),
            Message::Ndp(message) => return message.write(out),
            Message::Other { kind, code, body } => {
                return icmp::put(out, kind, code, &[], body);
            }
        };
        icmp::put(out, kind, code, &rest, data);
    }
}

/// True for the types of messages that tell of an error, for whoever sees only the type of a quoted
/// message (T148).
#[must_use]
pub const fn is_error_type(kind: u8) -> bool {
    kind < 128
}

/// Reads a message that came from `src` to `dst`; its checksum is verified.
///
/// # Errors
///
/// [`Malformed`]; such a message is dropped.
pub fn parse(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let len = u32::try_from(bytes.len()).map_err(|_| Malformed::field(NAME, "length"))?;
    let mut sum = checksum::pseudo_v6(src, dst, protocol::ICMPV6, len);
    sum.add_bytes(bytes);
    if !sum.is_valid() {
        return Err(Malformed::Checksum(NAME));
    }
    let [kind, code, _, _] = *bytes.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    let body = bytes.get(4..).unwrap_or_default();
    if let 133..=137 = kind {
        return ndp::parse(bytes).map(Message::Ndp);
    }
    if !matches!(kind, 1..=4 | 128 | 129) {
        return Ok(Message::Other { kind, code, body });
    }
    let (value, rest) = body
        .split_first_chunk::<4>()
        .ok_or(Malformed::Truncated(NAME))?;
    let (id, seq) = icmp::echoed(*value);
    let value = u32::from_be_bytes(*value);
    Ok(match kind {
        1 => Message::Unreachable { code, quoted: rest },
        2 => Message::PacketTooBig {
            mtu: value,
            quoted: rest,
        },
        3 => Message::TimeExceeded { code, quoted: rest },
        4 => Message::ParameterProblem {
            code,
            pointer: value,
            quoted: rest,
        },
        _ => Message::Echo {
            reply: kind == 129,
            id,
            seq,
            data: rest,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SRC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn bytes(message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(SRC, DST, &mut out);
        out
    }

    #[test]
    fn the_checksum_covers_the_addresses() {
        // RFC 4443 2.3
        let echo = Message::Echo {
            reply: true,
            id: 7,
            seq: 9,
            data: b"odd",
        };
        let out = bytes(echo);
        assert_eq!(parse(SRC, DST, &out), Ok(echo));
        let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
        assert_eq!(parse(SRC, other, &out), Err(Malformed::Checksum(NAME)));
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        let messages = [
            Message::Unreachable {
                code: unreachable::PORT,
                quoted: &[0x60; 48],
            },
            Message::PacketTooBig {
                mtu: 1280,
                quoted: &[0x60; 48],
            },
            Message::TimeExceeded {
                code: 1,
                quoted: &[0x60; 41],
            },
            Message::ParameterProblem {
                code: 2,
                pointer: 42,
                quoted: &[0x60; 48],
            },
            Message::Echo {
                reply: false,
                id: 1,
                seq: 2,
                data: &[],
            },
            Message::Other {
                kind: 143,
                code: 0,
                body: &[0, 0, 0, 1],
            },
        ];
        for message in messages {
            assert_eq!(parse(SRC, DST, &bytes(message)), Ok(message));
        }
    }

    #[test]
    fn errors_are_the_types_below_128() {
        // T148
        assert!(
            Message::Other {
                kind: 127,
                code: 0,
                body: &[]
            }
            .is_error()
        );
        assert!(
            !Message::Other {
                kind: 130,
                code: 0,
                body: &[]
            }
            .is_error()
        );
        assert!(
            Message::PacketTooBig {
                mtu: 0,
                quoted: &[]
            }
            .is_error()
        );
        assert!(
            !Message::Echo {
                reply: false,
                id: 0,
                seq: 0,
                data: &[]
            }
            .is_error()
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_with_a_right_checksum_are_read_or_refused(
            kind: u8, code in 0_u8..4, body in proptest::collection::vec(any::<u8>(), 0..120)
        ) {
            let out = bytes(Message::Other { kind, code, body: &body });
            if let Ok(message) = parse(SRC, DST, &out) {
                let again = bytes(message);
                prop_assert_eq!(parse(SRC, DST, &again), Ok(message));
            }
        }
    }
}
