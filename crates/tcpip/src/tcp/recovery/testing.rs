//! A sender and a receiver in virtual time: what recovery's tests are made of.

use core::ops::Range;

use weir_core::buf::{Chunks, SendBuffer};
use weir_core::congestion::Algorithm;
use weir_core::ranges::RangeSet;
use weir_core::time::{Duration, Instant};

use super::{Ack, Acked, Recovery, RecoveryConfig, Sent, Timeout};

/// Bytes of a full segment.
pub(super) const MSS: u64 = 1000;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One segment on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) range: Range<u64>,
    pub(super) sent_at: Instant,
    pub(super) kind: Sent,
}

/// A sender with its buffer, what it put on the wire, and a receiver's state.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Instant,
    pub(super) recovery: Recovery,
    pub(super) send: SendBuffer,
    pub(super) chunks: Chunks,
    /// Everything sent, in order.
    pub(super) wire: Vec<Segment>,
    /// What the receiver has.
    pub(super) received: RangeSet,
    /// Reported blocks, the newest first.
    blocks: Vec<Range<u64>>,
    pub(super) timestamps: bool,
    pub(super) sack: bool,
    /// When the segment was sent that last moved the receiver's edge (TS.Recent).
    recent: Instant,
    /// The receiver's window beyond its edge.
    pub(super) window: u64,
}

pub(super) fn config(algorithm: Algorithm) -> RecoveryConfig {
    RecoveryConfig {
        algorithm,
        smss: MSS as u32,
        sack: true,
        timestamps: true,
        pacing: false,
        seed: 1,
        ..RecoveryConfig::default()
    }
}

impl Model {
    /// Established, with `rtt` measured by the handshake.
    pub(super) fn established(config: &RecoveryConfig, rtt: Duration) -> Model {
        let mut model = Model::new(config);
        model.transmit_syn();
        model.now += rtt;
        model.ack_at(1);
        model
    }

    pub(super) fn new(config: &RecoveryConfig) -> Model {
        let now = Instant::from_millis(10_000);
        Model {
            now,
            recovery: Recovery::new(now, config),
            send: SendBuffer::new(1),
            chunks: Chunks::new(1 << 24),
            wire: Vec::new(),
            received: RangeSet::new(usize::MAX),
            blocks: Vec::new(),
            timestamps: config.timestamps,
            sack: config.sack,
            recent: now,
            window: 1 << 30,
        }
    }

    pub(super) fn transmit_syn(&mut self) {
        self.recovery.on_sent(self.now, 0..1, Sent::Handshake, 1);
        self.received.insert(0..1);
    }

    /// The application writes.
    pub(super) fn write(&mut self, bytes: u64) {
        self.send
            .append_slice(&vec![7; bytes as usize], &mut self.chunks);
    }

    /// Sends what may go, in super-segments; the bytes sent.
    pub(super) fn transmit(&mut self) -> u64 {
        let limit = self.edge() + self.window;
        let lost = if self.send.has_lost() { 1 << 40 } else { 0 };
        let wanted = self.send.unsent() + lost;
        let mut left = self.recovery.allowance(self.now, wanted).bytes;
        let mut sent = 0;
        loop {
            let range = self.recovery.next_range(&self.send, limit);
            let end = range.end.min(range.start + left);
            if end <= range.start {
                return sent;
            }
            let kind = if range.start < self.send.next() {
                Sent::Retransmit
            } else {
                Sent::New
            };
            left -= end - range.start;
            sent += end - range.start;
            self.put(range.start..end, kind);
        }
    }

    /// Puts `range` on the wire.
    pub(super) fn put(&mut self, range: Range<u64>, kind: Sent) {
        self.send.on_sent(&range);
        let size = MSS as u32;
        self.recovery.on_sent(self.now, range.clone(), kind, size);
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + MSS);
            self.wire.push(Segment {
                range: start..end,
                sent_at: self.now,
                kind,
            });
            start = end;
        }
    }

    /// The first offset that the receiver misses.
    pub(super) fn edge(&self) -> u64 {
        self.received.first_missing(0)
    }

    /// The segment arrives: the acknowledgement that it brings about.
    pub(super) fn receive(&mut self, segment: &Segment) -> Reply {
        let before = self.edge();
        let is_known = self.received.contains_all(&segment.range);
        let dsack = (is_known && self.sack).then(|| segment.range.clone());
        self.received.insert(segment.range.clone());
        let edge = self.edge();
        if segment.range.start <= before && !is_known {
            self.recent = segment.sent_at;
        }
        self.blocks.retain(|block| block.start > edge);
        if let Some(block) = self.received.range_of(segment.range.start)
            && block.start > edge
        {
            self.blocks
                .retain(|old| old.start < block.start || old.start >= block.end);
            self.blocks.insert(0, block);
            self.blocks.truncate(8);
        }
        Reply {
            offset: edge,
            sack: self.blocks.iter().take(3).cloned().collect(),
            dsack,
            echoed: self.recent,
        }
    }

    /// The acknowledgement arrives.
    pub(super) fn take(&mut self, reply: &Reply) -> Acked {
        let sack: &[Range<u64>] = if self.sack { &reply.sack } else { &[] };
        let echoed = self.now.saturating_duration_since(reply.echoed);
        let ack = Ack {
            sack,
            dsack: reply.dsack.clone(),
            echoed_rtt: self.timestamps.then(|| ms(echoed.as_millis() as u64)),
            ..Ack::cumulative(reply.offset)
        };
        let una = self.send.base().max(1);
        let acked = self
            .recovery
            .on_ack(self.now, &ack, &mut self.send, &mut self.chunks);
        assert!(self.send.base() >= una);
        acked
    }

    /// A bare acknowledgement of all below `offset`.
    pub(super) fn ack_at(&mut self, offset: u64) -> Acked {
        let ack = Ack::cumulative(offset);
        self.recovery
            .on_ack(self.now, &ack, &mut self.send, &mut self.chunks)
    }

    /// An acknowledgement with blocks.
    pub(super) fn sack_at(&mut self, offset: u64, sack: &[Range<u64>]) -> Acked {
        let ack = Ack {
            sack,
            ..Ack::cumulative(offset)
        };
        self.recovery
            .on_ack(self.now, &ack, &mut self.send, &mut self.chunks)
    }

    /// The segment with the number `index` of the wire arrives now, and its acknowledgement at once.
    pub(super) fn deliver(&mut self, index: usize) -> Acked {
        let segment = self.wire[index].clone();
        let reply = self.receive(&segment);
        self.take(&reply)
    }

    /// Waits for the timer and lets it expire.
    pub(super) fn expire(&mut self) -> Timeout {
        let (at, _) = self.recovery.poll_timeout().expect("no timer runs");
        self.now = self.now.max(at);
        self.recovery.on_timeout(self.now, &mut self.send)
    }

    /// Ranges on the wire from the number `from` on.
    pub(super) fn sent(&self, from: usize) -> Vec<Range<u64>> {
        self.wire[from..]
            .iter()
            .map(|sent| sent.range.clone())
            .collect()
    }

    /// The range of the `index`-th full segment of data.
    pub(super) fn nth(index: u64) -> Range<u64> {
        1 + index * MSS..1 + (index + 1) * MSS
    }
}

/// An acknowledgement on its way.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) offset: u64,
    pub(super) sack: Vec<Range<u64>>,
    pub(super) dsack: Option<Range<u64>>,
    pub(super) echoed: Instant,
}
