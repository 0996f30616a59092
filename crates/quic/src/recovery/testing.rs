//! One end of a connection without packets, under virtual time: what recovery's tests are made of.

use std::ops::RangeInclusive;

use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, rng_from_seed};
use weir_core::rtt::Rtt;
use weir_core::time::{Duration, Instant};

use super::{AckInfo, Outcome, PathLookup, PathRecovery, Recovery, RecoveryConfig, SentPacket};
use crate::error::TransportError;
use crate::path::PathId;
use crate::sent::SentFrame;
use crate::wire::frame::EcnCounts;
use crate::wire::{Side, Space};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Paths by number.
pub(super) struct Paths {
    pub(super) paths: Vec<PathRecovery>,
    pub(super) active: usize,
}

impl PathLookup for Paths {
    fn recovery(&mut self, path: PathId) -> Option<&mut PathRecovery> {
        self.paths.get_mut(path.0 as usize)
    }

    fn active_rtt(&self) -> &Rtt {
        &self.paths[self.active].rtt
    }

    fn active(&self) -> PathId {
        PathId(self.active as u32)
    }
}

pub(super) struct End {
    pub(super) rng: Rng,
    pub(super) recovery: Recovery,
    pub(super) paths: Paths,
    pub(super) out: Outcome,
    pub(super) now: Instant,
    pub(super) config: RecoveryConfig,
    pub(super) blocked: bool,
}

/// Bytes of the packets that are sent.
pub(super) const SIZE: u16 = 1200;

impl End {
    pub(super) fn new(side: Side) -> End {
        End::with(side, Algorithm::NewReno, false)
    }

    /// Without skipped numbers, so that tests may count on them, unless `skip`.
    pub(super) fn with(side: Side, algorithm: Algorithm, skip: bool) -> End {
        let now = Instant::from_millis(1000);
        let config = RecoveryConfig {
            algorithm,
            skip_packet_numbers: skip,
            ..RecoveryConfig::default()
        };
        let mut rng = rng_from_seed(1);
        End {
            recovery: Recovery::new(side, now, &config, &mut rng),
            rng,
            paths: Paths {
                paths: vec![PathRecovery::new(now, &config, SIZE, 1)],
                active: 0,
            },
            out: Outcome::default(),
            now,
            config,
            blocked: false,
        }
    }

    /// An end whose handshake is confirmed and whose round trip of 100 ms was measured once.
    pub(super) fn measured(side: Side) -> End {
        let mut end = End::new(side);
        end.recovery.on_handshake_confirmed();
        end.send(Space::Data);
        end.pass(100);
        end.ack(Space::Data, &[0..=0]);
        end
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now += ms(millis);
    }

    pub(super) fn path(&mut self) -> &mut PathRecovery {
        &mut self.paths.paths[0]
    }

    pub(super) fn next_packet_number(&mut self, space: Space) -> Option<u64> {
        self.recovery.next_packet_number(space, &mut self.rng)
    }

    pub(super) fn packet(&mut self, space: Space) -> SentPacket {
        SentPacket {
            pn: self.next_packet_number(space).unwrap(),
            size: SIZE,
            path: PathId(self.paths.active as u32),
            ack_eliciting: true,
            in_flight: true,
            ecn: false,
            is_mtu_probe: false,
        }
    }

    /// Sends an ack-eliciting packet with one frame that names its number.
    pub(super) fn send(&mut self, space: Space) -> u64 {
        let packet = self.packet(space);
        self.send_packet(space, packet)
    }

    pub(super) fn send_packet(&mut self, space: Space, packet: SentPacket) -> u64 {
        let frame = SentFrame::Crypto {
            offset: packet.pn,
            len: 1,
        };
        self.send_frames(space, packet, vec![frame])
    }

    pub(super) fn send_frames(
        &mut self,
        space: Space,
        packet: SentPacket,
        mut frames: Vec<SentFrame>,
    ) -> u64 {
        let (now, paths) = (self.now, &mut self.paths);
        self.recovery
            .on_packet_sent(now, space, packet, &mut frames, paths);
        assert!(frames.is_empty());
        packet.pn
    }

    /// Sends a packet that only acknowledges.
    pub(super) fn send_ack_only(&mut self, space: Space) -> u64 {
        let mut packet = self.packet(space);
        (packet.ack_eliciting, packet.in_flight, packet.size) = (false, false, 40);
        self.send_frames(space, packet, vec![SentFrame::Ack { largest: 7 }])
    }

    pub(super) fn try_ack(
        &mut self,
        space: Space,
        ranges: &[RangeInclusive<u64>],
        delay: Duration,
        ecn: Option<EcnCounts>,
    ) -> Result<(), TransportError> {
        let ack = AckInfo {
            largest: *ranges[0].end(),
            delay,
            ecn,
        };
        let ranges = ranges.iter().cloned();
        let (now, paths, out) = (self.now, &mut self.paths, &mut self.out);
        self.recovery
            .on_ack_ranges(now, space, ack, ranges, paths, out)
    }

    /// Acknowledges `ranges`, given from the largest down.
    pub(super) fn ack(&mut self, space: Space, ranges: &[RangeInclusive<u64>]) {
        self.try_ack(space, ranges, Duration::ZERO, None).unwrap();
    }

    pub(super) fn timer(&self) -> Option<(Instant, super::LossTimer)> {
        self.recovery.timer(&self.paths, self.blocked)
    }

    /// Goes to the time at which the timer expires, and lets it.
    pub(super) fn expire(&mut self) -> super::LossTimer {
        let (at, timer) = self.timer().unwrap();
        self.now = self.now.max(at);
        self.time_out();
        timer
    }

    pub(super) fn time_out(&mut self) {
        let (now, paths, out) = (self.now, &mut self.paths, &mut self.out);
        self.recovery.on_timeout(now, paths, self.blocked, out);
    }

    pub(super) fn lost(&self) -> Vec<u64> {
        self.out.lost_packets.iter().map(|lost| lost.pn).collect()
    }

    pub(super) fn acked(&self) -> Vec<u64> {
        numbers(&self.out.acked)
    }
}

/// The packet numbers that frames of [`End::send`] name.
pub(super) fn numbers(frames: &[SentFrame]) -> Vec<u64> {
    let number = |frame: &SentFrame| match frame {
        SentFrame::Crypto { offset, .. } => Some(*offset),
        _ => None,
    };
    frames.iter().filter_map(number).collect()
}
