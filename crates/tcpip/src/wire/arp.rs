//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use super::Malformed;
use super::ethernet::Mac;

/// Bytes of a packet.
pub const LEN: usize = 28;

const NAME: &str = "ARP";

/// Question or answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has `target_ip`?
    Request,
    /// `sender_mac` has `sender_ip`.
    Reply,
}

/// An ARP packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Question or answer.
    pub operation: Operation,
    /// Who speaks: hardware address.
    pub sender_mac: Mac,
    /// Who speaks: IP address; 0.0.0.0 in a probe (RFC 5227 1.1).
    pub sender_ip: Ipv4Addr,
    /// Hardware address of who is spoken to; means nothing in a request.
    pub target_mac: Mac,
    /// IP address of who is spoken to, or asked for.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Appends the packet.
    pub fn write(&self, out: &mut Vec<u8>) {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        out.extend_from_slice(&self.sender_mac.0);
        out.extend_from_slice(&self.sender_ip.octets());
        out.extend_from_slice(&self.target_mac.0);
        out.extend_from_slice(&self.target_ip.octets());
    }
}

/// Reads a packet; bytes behind it are a link's padding.
///
/// # Errors
///
/// [`Malformed`] when it is not about IPv4 over Ethernet, or neither question nor answer.
pub fn parse(bytes: &[u8]) -> Result<Packet, Malformed> {
    let b: &[u8; LEN] = bytes.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    if [b[0], b[1]] != [0, 1] {
        return Err(Malformed::field(NAME, "hardware type"));
    }
    if [b[2], b[3]] != [8, 0] {
        return Err(Malformed::field(NAME, "protocol type"));
    }
    if [b[4], b[5]] != [6, 4] {
        return Err(Malformed::field(NAME, "address length"));
    }
    let operation = match [b[6], b[7]] {
        [0, 1] => Operation::Request,
        [0, 2] => Operation::Reply,
        _ => return Err(Malformed::field(NAME, "operation")),
    };
    Ok(Packet {
        operation,
        sender_mac: Mac([b[8], b[9], b[10], b[11], b[12], b[13]]),
        sender_ip: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
        target_mac: Mac([b[18], b[19], b[20], b[21], b[22], b[23]]),
        target_ip: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request as RFC 826 lays it out.
    const REQUEST: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
    ];

    #[test]
    fn a_request_is_read_and_written_byte_for_byte() {
        let packet = parse(&REQUEST).unwrap();
        let expected = Packet {
            operation: Operation::Request,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(192, 0, 2, 1),
            target_mac: Mac::ZERO,
            target_ip: Ipv4Addr::new(192, 0, 2, 2),
        };
        assert_eq!(packet, expected);
        let mut out = Vec::new();
        packet.write(&mut out);
        assert_eq!(out, REQUEST);
    }

    #[test]
    fn other_hardware_protocols_lengths_and_operations_are_refused() {
        // RFC 826 "Packet Reception": the types and lengths are checked first.
        let fields = [
            (1, "hardware type"),
            (2, "protocol type"),
            (5, "address length"),
            (7, "operation"),
        ];
        for (at, field) in fields {
            let mut bytes = REQUEST;
            bytes[at] = 9;
            assert_eq!(parse(&bytes), Err(Malformed::field(NAME, field)));
        }
        assert_eq!(parse(&REQUEST[..LEN - 1]), Err(Malformed::Truncated(NAME)));
    }

    proptest! {
        #[test]
        fn anything_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = parse(&bytes) {
                let mut out = Vec::new();
                packet.write(&mut out);
                prop_assert_eq!(out.as_slice(), &bytes[..LEN]);
            }
        }
    }
}
