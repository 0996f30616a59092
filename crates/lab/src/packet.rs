//! A datagram on its way through a link.

use bytes::{Bytes, BytesMut};
use quinn_udp::EcnCodepoint;
use weir_core::rng::{Rng, below};
use weir_sim::{Ecn, Packet};

/// Offsets that corruption picks from: 0 to 50, where a QUIC packet has its headers.
const CORRUPTIBLE: u64 = 51;

/// A datagram of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowPacket {
    /// Which flow it belongs to.
    pub(crate) flow: u64,
    /// ECN bits of the IP header.
    pub(crate) ecn: Ecn,
    /// Bytes of IP and UDP header.
    pub(crate) overhead: usize,
    /// UDP payload.
    pub(crate) payload: Bytes,
}

impl Packet for FlowPacket {
    /// The size of the IP packet: what a rate and an MTU count.
    fn wire_len(&self) -> usize {
        self.payload.len().saturating_add(self.overhead)
    }

    fn ecn(&self) -> Ecn {
        self.ecn
    }

    fn set_ecn(&mut self, ecn: Ecn) {
        self.ecn = ecn;
    }

    /// An endpoint must take a Version Negotiation packet at its word: nothing protects it, so a
    /// corrupted one would show nothing about the endpoint.
    fn is_corruptible(&self) -> bool {
        !self.payload.is_empty() && !is_version_negotiation(&self.payload)
    }

    /// One byte of the first 51 becomes another one.
    fn corrupt(&mut self, rng: &mut Rng) {
        let length = (self.payload.len() as u64).min(CORRUPTIBLE);
        let victim = usize::try_from(below(rng, length)).unwrap_or(0);
        let change = u8::try_from(below(rng, 255)).unwrap_or(0) + 1;
        let mut copy = BytesMut::from(&self.payload[..]);
        if let Some(byte) = copy.get_mut(victim) {
            *byte ^= change;
        }
        self.payload = copy.freeze();
    }
}

/// RFC 8999 section 6: a long header whose version is zero.
fn is_version_negotiation(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & 0x80 != 0) && payload.get(1..5) == Some(&[0; 4])
}

/// The ECN bits that a socket read.
pub(crate) fn ecn_read(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::NotEct,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    }
}

/// The ECN bits for a socket to write.
pub(crate) fn ecn_to_write(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::NotEct => None,
        Ecn::Ect0 => Some(EcnCodepoint::Ect0),
        Ecn::Ect1 => Some(EcnCodepoint::Ect1),
        Ecn::Ce => Some(EcnCodepoint::Ce),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::rng::rng_from_seed;

    fn packet(payload: &[u8]) -> FlowPacket {
        FlowPacket {
            flow: 1,
            ecn: Ecn::NotEct,
            overhead: 28,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[test]
    fn corruption_changes_one_byte_of_the_first_fifty_one() {
        let mut rng = rng_from_seed(1);
        let original = packet(&[0x40; 1200]);
        let mut offsets = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let mut changed = original.clone();
            changed.corrupt(&mut rng);
            let pairs = original.payload.iter().zip(&changed.payload);
            let different: Vec<usize> = pairs
                .enumerate()
                .filter_map(|(offset, (a, b))| (a != b).then_some(offset))
                .collect();
            assert_eq!(different.len(), 1);
            offsets.extend(different);
        }
        assert_eq!(
            offsets.into_iter().collect::<Vec<_>>(),
            (0..51).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_short_packet_is_corrupted_within_its_length() {
        let mut changed = packet(b"x");
        changed.corrupt(&mut rng_from_seed(2));
        assert_eq!(changed.payload.len(), 1);
        assert_ne!(changed.payload, Bytes::from_static(b"x"));
        assert!(!packet(b"").is_corruptible());
    }

    #[test]
    fn version_negotiation_is_known_by_its_version() {
        // RFC 8999 section 6
        assert!(!packet(&[0x80, 0, 0, 0, 0, 8]).is_corruptible());
        assert!(packet(&[0xc0, 0, 0, 0, 1, 8]).is_corruptible());
        assert!(
            packet(&[0x40, 0, 0, 0, 0, 8]).is_corruptible(),
            "a short header has no version"
        );
    }
}
