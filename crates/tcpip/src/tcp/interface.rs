//! What passes between a connection and the stack that holds it.

use core::ops::Range;
use std::net::{IpAddr, SocketAddr};

use weir_core::budget::Budget;
use weir_core::buf::{Chunks, SendBuffer};
use weir_core::rng::Rng;
use weir_core::time::{Instant, nanos};
use weir_core::trace::Tracer;

use crate::ip::Ecn;
use crate::stack::Counters;
use crate::wire::tcp::{FastOpen, Header, Segment};

/// What a connection borrows from its stack for one call.
pub(crate) struct Context<'a> {
    /// The time, one value for a batch.
    pub(crate) now: Instant,
    /// What buffers are made of.
    pub(crate) chunks: &'a mut Chunks,
    /// What buffers and windows are paid from.
    pub(crate) budget: &'a Budget,
    /// Randomness.
    pub(crate) rng: &'a mut Rng,
    /// What is counted.
    pub(crate) counters: &'a mut Counters,
    /// What is seen.
    pub(crate) tracer: &'a mut Tracer,
}

/// The two ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    /// Ours.
    pub(crate) local: SocketAddr,
    /// The peer's.
    pub(crate) remote: SocketAddr,
}

impl Tuple {
    /// Bytes of an IP header and a TCP header without options between these ends.
    pub(crate) const fn header_bytes(&self) -> u16 {
        match self.remote.ip() {
            IpAddr::V4(_) => 40,
            IpAddr::V6(_) => 60,
        }
    }
}

/// What a connection begins counting from. Both from a keyed hash of the two ends (RFC 6528 section
/// 3, RFC 7323 section 7.1), so that a later connection of the same ends goes on above.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The initial sequence number.
    pub(crate) iss: u32,
    /// What is added to the timestamp clock.
    pub(crate) timestamp_offset: u32,
}

impl Numbers {
    /// TSval at `now`: milliseconds (RFC 7323 section 5.4), from the offset on.
    #[inline]
    pub(crate) fn timestamp(self, now: Instant) -> u32 {
        timestamp(now, self.timestamp_offset)
    }
}

/// The timestamp clock at `now`: milliseconds from `offset` on, modulo 2^32.
#[inline]
pub(crate) fn timestamp(now: Instant, offset: u32) -> u32 {
    offset.wrapping_add((now.as_nanos() / 1_000_000) as u32)
}

/// Ticks of the timestamp clock in `duration`.
#[inline]
pub(crate) fn ticks(duration: core::time::Duration) -> u32 {
    u32::try_from(nanos(duration) / 1_000_000).unwrap_or(u32::MAX)
}

/// Packet sizes, IP header included, in bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathInfo {
    /// The largest packet that the path takes, as known.
    pub(crate) mtu: u16,
    /// The largest packet that the interface takes, which the MSS option is made of (T27).
    pub(crate) link_mtu: u16,
}

/// How a SYN with Fast Open is answered (RFC 7413 section 4.2).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FastOpenReply {
    /// The cookie in the SYN was good: its data is taken and delivered before the handshake is over.
    pub(crate) take_data: bool,
    /// A cookie for the client's next time.
    pub(crate) cookie: Option<FastOpen>,
}

/// What a SYN cookie remembers of both SYNs' options.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The peer's MSS option, or the default.
    pub(crate) mss: u16,
    /// The peer's shift, if both sent one.
    pub(crate) window_scale: Option<u8>,
    /// Both sent SACK-permitted.
    pub(crate) sack: bool,
    /// Both sent timestamps.
    pub(crate) timestamps: bool,
    /// ECN was agreed.
    pub(crate) ecn: bool,
}

/// A segment that arrived for a connection, its checksum found good.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Received<'a> {
    /// The segment.
    pub(crate) segment: Segment<'a>,
    /// The IP header's ECN codepoint.
    pub(crate) ecn: Ecn,
    /// How many segments it stands for, at least 1.
    pub(crate) segments: u16,
}

/// Where segments go. Writes IP headers and checksums, and cuts what the device does not cut.
pub(crate) trait SegmentSink {
    /// How many payload bytes one [`emit`](SegmentSink::emit) may carry.
    fn max_segment_payload(&self) -> usize;

    /// True when the batch takes no more for now.
    fn is_full(&self) -> bool;

    /// Sends `header` with the bytes of `data`, in segments of `size` bytes: PSH and FIN on the last
    /// only, CWR on the first only, sequence numbers counted on. `size` is 0 without data.
    fn emit(
        &mut self,
        header: &Header,
        ecn: Ecn,
        size: u16,
        data: Option<(&mut SendBuffer, Range<u64>)>,
    );
}

/// What became of a connection since it was last asked. Each is told once.
///
/// Eight bytes, aligned, so that it is moved as one word.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[repr(align(8))]
pub(crate) struct News {
    /// Data or the end can be read, after a read was blocked (or for the first time).
    pub(crate) readable: bool,
    /// A write can go on that was blocked.
    pub(crate) writable: bool,
    /// It is open: both SYNs were acknowledged, or Fast Open took data with the SYN.
    pub(crate) connected: bool,
    /// Urgent data is to come, or more of it.
    pub(crate) urgent: bool,
    /// It is over; see `close_cause`.
    pub(crate) closed: bool,
    /// Repeated time-outs: the way there may be broken (R1 of RFC 9293 3.8.3). For the route.
    pub(crate) suspect: bool,
    /// The peer's answers show that what we send arrives: for the neighbour cache (RFC 4861 7.3.1).
    pub(crate) confirmed: bool,
}

impl News {
    /// The rest, when it was told that the way is confirmed.
    #[inline]
    pub(crate) const fn told_confirmed(mut self) -> News {
        self.confirmed = false;
        self
    }

    /// True when there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let soon = self.readable | self.writable | self.urgent | self.confirmed;
        !(soon | self.connected | self.closed | self.suspect)
    }
}

/// What a connection's next wake-up is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum TcpTimer {
    /// Nothing was acknowledged for so long that all is taken for lost (RFC 6298).
    Retransmit,
    /// The tail of what was sent may be lost (RFC 8985 section 7).
    Probe,
    /// Segments are lost unless they were reordered (RFC 8985 section 6).
    Reorder,
    /// The pacer lets the next batch go.
    Pace,
    /// An acknowledgement waited long enough for company (RFC 9293 3.8.6.3).
    DelayedAck,
    /// The peer's window is closed, or too small: it is probed (RFC 9293 3.8.6.1), or what fits is
    /// sent (3.8.6.2.1).
    Persist,
    /// The peer was silent for long (RFC 9293 3.8.4).
    KeepAlive,
    /// Too long nothing was acknowledged (RFC 9293 3.8.3, RFC 5482), or the SYN not answered.
    UserTimeout,
    /// Lingering or waiting for the peer's FIN is over.
    Close,
    /// A receive window that was grown may be too large by now.
    Window,
}
