//! Datagrams on their way out, in batches of one size for one path.

use std::net::{IpAddr, SocketAddr};

use weir_core::time::Instant;

/// Most datagrams in one batch: what segmentation offload takes.
pub(crate) const MAX_BATCH_SEGMENTS: usize = 64;
/// Most bytes in one batch: what one UDP send call takes, with room for the headers below.
pub(crate) const MAX_BATCH_BYTES: usize = 65_000;

/// Explicit congestion notification codepoint of an IP packet (RFC 3168 section 5).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// ECT(1), `0b01`.
    Ect1 = 0b01,
    /// ECT(0), `0b10`.
    Ect0 = 0b10,
    /// Congestion experienced, `0b11`.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the low two bits of `bits`; `None` for not-ECT.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Ecn> {
        match bits & 0b11 {
            0b01 => Some(Ecn::Ect1),
            0b10 => Some(Ecn::Ect0),
            0b11 => Some(Ecn::Ce),
            _ => None,
        }
    }
}

/// The two ends of a path. Two datagrams travel the same path when both ends are equal.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathAddr {
    /// Where datagrams of this path are received, when the socket tells: a socket bound to all
    /// addresses answers from the one that was asked.
    pub local: Option<IpAddr>,
    /// The peer's address.
    pub remote: SocketAddr,
}

impl PathAddr {
    /// A path to `remote` from whatever address the system chooses.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> PathAddr {
        PathAddr {
            local: None,
            remote,
        }
    }
}

/// One batch: `len` bytes at the start of the [`TransmitBuf`], cut into datagrams of
/// `segment_size`, of which the last may be shorter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub path: PathAddr,
    /// What to mark the packets with.
    pub ecn: Option<Ecn>,
    /// Bytes of every datagram but the last.
    pub segment_size: usize,
    /// Bytes in all.
    pub len: usize,
    /// Not before this time; `None`: at once.
    pub release_at: Option<Instant>,
}

/// The buffer that batches are written to, packets sealed in place. One buffer serves any number
/// of connections; it is cleared by whoever sent what was in it.
#[derive(Debug)]
pub struct TransmitBuf {
    pub(crate) data: Vec<u8>,
    max_segments: usize,
}

impl Default for TransmitBuf {
    fn default() -> Self {
        TransmitBuf::new(MAX_BATCH_SEGMENTS)
    }
}

impl TransmitBuf {
    /// A buffer whose batches have at most `max_segments` datagrams: 1 where the system has no
    /// segmentation offload.
    #[must_use]
    pub fn new(max_segments: usize) -> TransmitBuf {
        TransmitBuf {
            data: Vec::with_capacity(MAX_BATCH_BYTES),
            max_segments: max_segments.clamp(1, MAX_BATCH_SEGMENTS),
        }
    }

    /// The most datagrams in a batch.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        self.max_segments
    }

    /// What the last batch wrote.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.data
    }

    /// Forgets what was written; the memory stays.
    pub fn clear(&mut self) {
        self.data.clear();
    }
}
