//! Datagrams out of their fragments (RFC 791 section 3.2, RFC 815, RFC 8200 section 4.5, RFC 5722).
//!
//! A fragment costs the same whatever came before it: its bytes are appended to what its datagram
//! has, its place is marked in a bitmap of eight-byte blocks, and only a complete datagram is put in
//! order. Memory follows the bytes that came, not the offsets they claim.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use weir_core::rng::Rng;
use weir_core::slab::{Key, Slab};
use weir_core::time::Duration;

use crate::device::InterfaceId;
use crate::ip::bitmap::Bitmap;
use crate::ip::hash::Keyed;
use crate::ip::types::Ecn;
use crate::limits::{MAX_REASSEMBLIES, MAX_REASSEMBLY_BYTES, REASSEMBLY_QUOTE};

/// How long fragments of an IPv4 datagram wait for the rest. RFC 1122 section 3.3.2 names 60 to 120 s
/// for the paths of its day, T138 15 to 120 s; as Linux.
pub(crate) const TIMEOUT_V4: Duration = Duration::from_secs(30);
/// The same for IPv6 (RFC 8200 section 4.5).
pub(crate) const TIMEOUT_V6: Duration = Duration::from_secs(60);

/// What fragments of one datagram have in common.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DatagramId {
    pub(crate) interface: InterfaceId,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// 0 in IPv6, whose identifications count for all protocols.
    pub(crate) protocol: u8,
    pub(crate) id: u32,
}

/// A fragment, its headers checked.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) of: DatagramId,
    /// Where it begins, in bytes; a multiple of 8.
    pub(crate) offset: u16,
    /// More are to follow. Then its length is a multiple of 8.
    pub(crate) more: bool,
    pub(crate) ecn: Ecn,
    /// The packet as it came, from its IP header on.
    pub(crate) packet: &'a [u8],
    /// Bytes at the start of `packet` that every fragment repeats, without a fragment header.
    pub(crate) header_len: usize,
    /// What the datagram carries, if this is its first fragment.
    pub(crate) next_header: u8,
    /// Where the fragment's bytes are.
    pub(crate) payload: &'a [u8],
}

/// What became of a fragment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Others are missing. The key is that of a datagram that was begun, to be timed.
    Waits(Option<Key>),
    /// The datagram is whole: the header of its first fragment and everything behind it is in the
    /// caller's buffer.
    Whole(Whole),
    /// The fragment was there already.
    Duplicate,
    /// The fragment contradicts others: overlaps them or disagrees about the length. All are dropped.
    Refused,
}

/// A datagram put together.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Bytes of header in front, those that every fragment repeats.
    pub(crate) header_len: usize,
    /// What the first fragment said that it carries.
    pub(crate) next_header: u8,
    pub(crate) ecn: Ecn,
}

/// A datagram that is given up.
#[derive(Debug)]
pub(crate) struct TimedOut {
    /// The beginning of its first fragment's packet, when that came.
    pub(crate) first: Vec<u8>,
}

#[derive(Debug)]
struct Datagram {
    of: DatagramId,
    /// The bytes of all fragments in the order in which they came.
    bytes: Vec<u8>,
    /// Where they belong.
    pieces: Vec<Piece>,
    /// Blocks that are there.
    present: Bitmap,
    /// Blocks at which a fragment begins.
    begins: Bitmap,
    /// Bytes that came.
    received: usize,
    /// Bytes there are to be, once the last fragment came.
    total: Option<usize>,
    /// The beginning of the first fragment's packet; empty until it comes.
    first: Vec<u8>,
    header_len: usize,
    next_header: u8,
    ecn: Ecn,
    /// What it is accounted for.
    held: usize,
}

#[derive(Copy, Clone, Debug)]
struct Piece {
    offset: u16,
    len: u16,
    at: u32,
}

/// Everything that waits for fragments.
#[derive(Debug)]
pub(crate) struct Reassembly {
    datagrams: Slab<Datagram>,
    by_id: HashMap<DatagramId, Key, Keyed>,
    /// In the order in which they were begun; some are no more.
    oldest: VecDeque<Key>,
    held: usize,
}

/// What a datagram costs besides its bytes.
const FIXED: usize = 384;

impl Reassembly {
    pub(crate) fn new(rng: &mut Rng) -> Reassembly {
        Reassembly {
            datagrams: Slab::new(),
            by_id: HashMap::with_hasher(Keyed::new(rng)),
            oldest: VecDeque::new(),
            held: 0,
        }
    }

    /// How many datagrams wait.
    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Bytes of memory they take.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes a fragment. A complete datagram is written to `whole`, in place of what was there.
    pub(crate) fn take(&mut self, fragment: &Fragment<'_>, whole: &mut Vec<u8>) -> Outcome {
        let mut begun = None;
        let key = match self.by_id.get(&fragment.of) {
            Some(key) => *key,
            None => {
                let key = self.begin(fragment.of, fragment.ecn);
                begun = Some(key);
                key
            }
        };
        let Some(datagram) = self.datagrams.get_mut(key) else {
            return Outcome::Refused;
        };
        let outcome = datagram.add(fragment);
        let held = datagram.memory();
        self.held = self.held.saturating_sub(datagram.held).saturating_add(held);
        datagram.held = held;
        match outcome {
            Added::Contradicts => {
                self.remove(key);
                Outcome::Refused
            }
            Added::Known => Outcome::Duplicate,
            Added::New if datagram.is_whole() && datagram.is_too_long() => {
                self.remove(key);
                Outcome::Refused
            }
            Added::New if datagram.is_whole() => {
                let joined = Whole {
                    header_len: datagram.header_len,
                    next_header: datagram.next_header,
                    ecn: datagram.ecn,
                };
                datagram.write(whole);
                self.remove(key);
                Outcome::Whole(joined)
            }
            Added::New => {
                self.make_room(key);
                Outcome::Waits(begun)
            }
        }
    }

    /// Gives a datagram up whose time is over.
    pub(crate) fn expire(&mut self, key: Key) -> Option<TimedOut> {
        let datagram = self.remove(key)?;
        Some(TimedOut {
            first: datagram.first,
        })
    }

    fn begin(&mut self, of: DatagramId, ecn: Ecn) -> Key {
        let key = self.datagrams.insert(Datagram {
            of,
            bytes: Vec::new(),
            pieces: Vec::new(),
            present: Bitmap::default(),
            begins: Bitmap::default(),
            received: 0,
            total: None,
            first: Vec::new(),
            header_len: 0,
            next_header: 0,
            ecn,
            held: FIXED,
        });
        self.held = self.held.saturating_add(FIXED);
        self.by_id.insert(of, key);
        self.oldest.push_back(key);
        key
    }

    fn remove(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.held = self.held.saturating_sub(datagram.held);
        self.by_id.remove(&datagram.of);
        // Those that ended out of order are passed over when they come to the front; where that does
        // not happen for long, they are cleared away, each once in twice as many.
        if self.oldest.len() > self.datagrams.len().saturating_mul(2).saturating_add(64) {
            let datagrams = &self.datagrams;
            self.oldest.retain(|key| datagrams.contains(*key));
        }
        Some(datagram)
    }

    /// Drops the oldest datagrams until the rest is within the limits. Not the one just grown: what
    /// is newest has the best chance to become whole.
    fn make_room(&mut self, grown: Key) {
        while self.held > MAX_REASSEMBLY_BYTES || self.datagrams.len() > MAX_REASSEMBLIES {
            let Some(oldest) = self.oldest.pop_front() else {
                return;
            };
            if oldest != grown {
                self.remove(oldest);
            } else if self.datagrams.len() == 1 {
                self.oldest.push_front(oldest);
                return;
            } else {
                self.oldest.push_back(oldest);
            }
        }
    }
}

enum Added {
    New,
    Known,
    Contradicts,
}

impl Datagram {
    fn add(&mut self, fragment: &Fragment<'_>) -> Added {
        let (offset, len) = (usize::from(fragment.offset), fragment.payload.len());
        let end = offset.saturating_add(len);
        let (Ok(len16), Ok(at)) = (u16::try_from(len), u32::try_from(self.bytes.len())) else {
            return Added::Contradicts;
        };
        let blocks = offset / 8..end.div_ceil(8);
        if self.present.any(blocks.clone()) {
            return self.known_or_not(blocks);
        }
        let longest = usize::from(u16::MAX);
        let too_long = self.total.is_some_and(|total| end > total);
        let after_end =
            !fragment.more && self.present.last().is_some_and(|last| last >= blocks.end);
        // Nothing in between is a fragment without bytes, which never is the first of others.
        if too_long
            || after_end
            || len == 0
            || end > longest
            || (!fragment.more && self.total.is_some())
        {
            return Added::Contradicts;
        }
        if !self.mix_ecn(fragment.ecn) {
            return Added::Contradicts;
        }
        if !fragment.more {
            self.total = Some(end);
        }
        if offset == 0 {
            let quote = fragment.packet.len().min(REASSEMBLY_QUOTE);
            let quote = quote.max(fragment.header_len);
            let first = fragment.packet.get(..quote).unwrap_or_default();
            self.first.extend_from_slice(first);
            self.header_len = fragment.header_len;
            self.next_header = fragment.next_header;
        }
        self.begins
            .set(blocks.start..blocks.start.saturating_add(1));
        self.present.set(blocks);
        self.bytes.extend_from_slice(fragment.payload);
        self.received = self.received.saturating_add(len);
        self.pieces.push(Piece {
            offset: fragment.offset,
            len: len16,
            at,
        });
        Added::New
    }

    /// Some of the blocks are there already. A copy of a fragment that the network made is harmless
    /// (RFC 8200 section 4.5 allows to pass over it); everything else is an overlap (RFC 5722).
    fn known_or_not(&self, blocks: core::ops::Range<usize>) -> Added {
        let inside = blocks.start.saturating_add(1)..blocks.end;
        let same = self.present.all(blocks.clone())
            && self.begins.get(blocks.start)
            && !self.begins.any(inside)
            && (self.begins.get(blocks.end) || !self.present.get(blocks.end));
        if same {
            Added::Known
        } else {
            Added::Contradicts
        }
    }

    /// RFC 3168 section 5.3: CE in one fragment is CE for all, but a datagram of which some fragments
    /// are not ECN-capable must not have CE.
    fn mix_ecn(&mut self, ecn: Ecn) -> bool {
        match (self.ecn, ecn) {
            (Ecn::Ce, Ecn::NotEct) | (Ecn::NotEct, Ecn::Ce) => return false,
            (_, Ecn::Ce | Ecn::NotEct) => self.ecn = ecn,
            _ => {}
        }
        true
    }

    fn is_whole(&self) -> bool {
        self.total == Some(self.received)
    }

    /// The length of the whole, with headers (IPv4) or without the fixed one (IPv6), has 16 bits.
    fn is_too_long(&self) -> bool {
        let fixed = if self.of.src.is_ipv4() { 0 } else { 40 };
        let len = self
            .received
            .saturating_add(self.header_len)
            .saturating_sub(fixed);
        len > usize::from(u16::MAX)
    }

    fn write(&mut self, whole: &mut Vec<u8>) {
        whole.clear();
        whole.extend_from_slice(self.first.get(..self.header_len).unwrap_or_default());
        self.pieces.sort_unstable_by_key(|piece| piece.offset);
        for piece in &self.pieces {
            let at = piece.at as usize;
            let end = at.saturating_add(usize::from(piece.len));
            whole.extend_from_slice(self.bytes.get(at..end).unwrap_or_default());
        }
    }

    fn memory(&self) -> usize {
        FIXED
            .saturating_add(self.bytes.capacity())
            .saturating_add(self.pieces.capacity().saturating_mul(size_of::<Piece>()))
            .saturating_add(self.first.capacity())
            .saturating_add(self.present.memory())
            .saturating_add(self.begins.memory())
    }
}
