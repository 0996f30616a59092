//! Parts of the engine that are not public, driven for `benches/`. Not part of the API.

mod protection;

pub use crate::stream::measure::StreamsLine;
pub use protection::{Maker, ProtectionLine};

use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, rng_from_seed};
use weir_core::rtt::Rtt;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use crate::connection::Connection;
use crate::crypto::Level;
use crate::path::PathId;
use crate::recovery::{
    AckInfo, Outcome, PathLookup, PathRecovery, Recovery, RecoveryConfig, SentPacket,
};
use crate::sent::SentFrame;
use crate::wire::{Side, Space};

/// A 1-RTT packet of this end with these bytes as its frames, whatever they are: what a peer that
/// keeps no rule could send. `None` when none can be sealed.
pub fn forge(connection: &mut Connection, now: Instant, frames: &[u8]) -> Option<Vec<u8>> {
    connection.forge_bits(now, Level::OneRtt, 0, frames)
}

const PATH: PathId = PathId(0);
const SIZE: u16 = 1452;

struct OnePath(PathRecovery);

impl PathLookup for OnePath {
    fn recovery(&mut self, path: PathId) -> Option<&mut PathRecovery> {
        (path == PATH).then_some(&mut self.0)
    }

    fn active_rtt(&self) -> &Rtt {
        &self.0.rtt
    }

    fn active(&self) -> PathId {
        PATH
    }
}

/// Loss recovery of a sender on a good path: packets of one STREAM frame each, acknowledged in
/// batches a few batches later.
pub struct RecoveryLine {
    rng: Rng,
    recovery: Recovery,
    path: OnePath,
    out: Outcome,
    frames: Vec<SentFrame>,
    now: Instant,
    largest: u64,
}

impl RecoveryLine {
    /// A connection of which nothing was sent.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> RecoveryLine {
        let now = Instant::from_millis(1);
        let config = RecoveryConfig {
            algorithm,
            skip_packet_numbers: false,
            ..RecoveryConfig::default()
        };
        let mut rng = rng_from_seed(1);
        let mut recovery = Recovery::new(Side::Server, now, &config, &mut rng);
        recovery.on_handshake_confirmed();
        RecoveryLine {
            rng,
            recovery,
            path: OnePath(PathRecovery::new(now, &config, SIZE, 1)),
            out: Outcome::default(),
            frames: Vec::new(),
            now,
            largest: 0,
        }
    }

    /// Sends `packets`, and has those acknowledged that were sent `lag` packets before, `batch` at
    /// a time. Returns how many were acknowledged.
    pub fn run(&mut self, packets: u64, batch: u64, lag: u64) -> u64 {
        let mut acked = 0u64;
        let mut sent = 0u64;
        while sent < packets {
            for _ in 0..batch {
                self.send();
            }
            sent = sent.saturating_add(batch);
            self.now += Duration::from_micros(50);
            if let Some(largest) = self.largest.checked_sub(lag) {
                acked = acked.saturating_add(self.acknowledge(largest));
            }
        }
        acked
    }

    fn send(&mut self) {
        let next = self.recovery.next_packet_number(Space::Data, &mut self.rng);
        let Some(pn) = next else {
            return;
        };
        self.frames.push(SentFrame::Stream {
            key: Key {
                index: 1,
                generation: 1,
            },
            offset: pn.saturating_mul(1400),
            len: 1400,
            fin: false,
        });
        let packet = SentPacket {
            pn,
            size: SIZE,
            path: PATH,
            ack_eliciting: true,
            in_flight: true,
            ecn: false,
            is_mtu_probe: false,
        };
        let (now, frames, path) = (self.now, &mut self.frames, &mut self.path);
        self.recovery
            .on_packet_sent(now, Space::Data, packet, frames, path);
        self.largest = pn;
    }

    fn acknowledge(&mut self, largest: u64) -> u64 {
        let ack = AckInfo {
            largest,
            delay: Duration::ZERO,
            ecn: None,
        };
        let ranges = core::iter::once(0..=largest);
        let (now, path, out) = (self.now, &mut self.path, &mut self.out);
        let done = self
            .recovery
            .on_ack_ranges(now, Space::Data, ack, ranges, path, out);
        match done {
            Ok(()) => out.acked.len() as u64,
            Err(_) => 0,
        }
    }

    /// Bytes that recovery has allocated.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.recovery.memory()
    }
}
