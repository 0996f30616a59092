//! A set of paths, and short ways to say what arrives and what goes out. For tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weir_core::rng::{self, Rng};
use weir_core::time::{Duration, Instant};

use super::PathId;
use super::events::{Arrival, PathEvent, Probe};
use super::set::{PathConfig, PathSet, PeerPathLimits};
use super::validation::PathData;
use crate::cid::ResetToken;
use crate::recovery::{PathLookup as _, RecoveryConfig};
use crate::transmit::PathAddr;
use crate::wire::{ConnectionId, Side};

/// The present in most tests.
pub(super) const NOW: Instant = Instant::from_millis(60_000);
/// The probe time-out where nothing was measured: 3 x 333 ms, and 25 ms that the peer may wait.
pub(super) const INITIAL_PTO: Duration = Duration::from_millis(1024);

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn remote(host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), port)
}

/// From our only address to `host` and `port`.
pub(super) const fn at(host: u8, port: u16) -> PathAddr {
    PathAddr {
        local: Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1))),
        remote: remote(host, port),
    }
}

/// The same from our address number `local`.
pub(super) const fn from(local: u8, host: u8, port: u16) -> PathAddr {
    PathAddr {
        local: Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, local))),
        remote: remote(host, port),
    }
}

pub(super) fn cid(number: u64) -> ConnectionId {
    ConnectionId::new(&number.to_be_bytes()).unwrap()
}

pub(super) fn config(side: Side) -> PathConfig {
    PathConfig {
        side,
        mtu_bound: 1452,
        migration: true,
        recovery: RecoveryConfig::default(),
        seed: 7,
    }
}

pub(super) struct Bench {
    pub(super) set: PathSet,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    packet_number: u64,
}

impl Bench {
    /// At `at(1, 1000)`, confirmed, with `cids` unused connection IDs.
    pub(super) fn new(side: Side, cids: u64) -> Bench {
        Bench::with(config(side), cids)
    }

    pub(super) fn with(config: PathConfig, cids: u64) -> Bench {
        let set = PathSet::new(NOW, at(1, 1000), true, cid(0), config);
        let mut bench = Bench {
            set,
            rng: rng::rng_from_seed(5),
            now: NOW,
            packet_number: 0,
        };
        bench.set.on_handshake_confirmed(NOW);
        (1..=cids).for_each(|number| bench.give_cid(number));
        bench
    }

    /// NEW_CONNECTION_ID.
    pub(super) fn give_cid(&mut self, number: u64) {
        let token = ResetToken::new((u128::from(number) + 1).to_be_bytes());
        self.set
            .remote_cids
            .on_new(number, 0, cid(number), token)
            .unwrap();
    }

    /// A packet with the next number, with data, from `addr` to our connection ID `local_cid`.
    pub(super) fn data(&mut self, addr: PathAddr, local_cid: u64) -> Option<PathId> {
        self.packet_number += 1;
        self.packet(addr, 1200, self.packet_number, false, local_cid)
    }

    /// A packet of probing frames only.
    pub(super) fn probe(&mut self, addr: PathAddr, local_cid: u64) -> Option<PathId> {
        self.packet_number += 1;
        self.packet(addr, 1200, self.packet_number, true, local_cid)
    }

    pub(super) fn packet(
        &mut self,
        addr: PathAddr,
        bytes: usize,
        packet_number: u64,
        probing: bool,
        local_cid: u64,
    ) -> Option<PathId> {
        let path = match self.set.on_datagram(addr, bytes) {
            Arrival::Known(path) => path,
            Arrival::Unknown => self.set.admit(self.now, addr, bytes, local_cid)?,
            Arrival::Refused => return None,
        };
        self.set
            .on_packet(self.now, path, packet_number, probing, local_cid);
        Some(path)
    }

    /// All probes that go out now, sent and counted, in datagrams of 1200 bytes or what is allowed.
    pub(super) fn probes(&mut self) -> Vec<(PathAddr, Probe)> {
        let mut sent = Vec::new();
        while let Some(probe) = self.set.poll_probe(self.now, &mut self.rng) {
            let bytes = if probe.expand { 1200 } else { 73 };
            assert!(bytes <= self.set.send_allowance(probe.path));
            self.set
                .on_datagram_sent(probe.path, usize::try_from(bytes).unwrap());
            let addr = self.set.addr(probe.path).unwrap();
            sent.push((addr, probe));
            assert!(sent.len() < 100, "probes without end");
        }
        sent
    }

    /// The challenges that go out now.
    pub(super) fn challenges(&mut self) -> Vec<(PathAddr, PathData)> {
        let probes = self.probes();
        probes
            .into_iter()
            .filter_map(|(addr, probe)| Some((addr, probe.challenge?)))
            .collect()
    }

    /// Answers the challenge that goes out to `addr` now.
    pub(super) fn answer(&mut self, addr: PathAddr) {
        let challenges = self.challenges();
        let (_, data) = challenges
            .iter()
            .find(|(to, _)| *to == addr)
            .expect("a challenge");
        self.set.on_response(self.now, *data);
    }

    pub(super) fn active(&self) -> PathAddr {
        self.set.addr(self.set.active()).unwrap()
    }

    pub(super) fn events(&mut self) -> Vec<PathEvent> {
        std::iter::from_fn(|| self.set.poll_event()).collect()
    }

    /// Lets time pass until `until`, doing what falls due; probes go out and stay unanswered.
    pub(super) fn run_until(&mut self, until: Instant) -> Vec<(Instant, PathAddr)> {
        let mut sent = Vec::new();
        loop {
            sent.extend(
                self.challenges()
                    .into_iter()
                    .map(|(addr, _)| (self.now, addr)),
            );
            match self.set.timeout() {
                Some(next) if next <= until => {
                    assert!(next >= self.now, "a timer in the past");
                    self.now = next;
                    self.set.on_timeout(next);
                }
                _ => break,
            }
        }
        self.now = until;
        sent
    }

    pub(super) fn peer_limits(&mut self, disable_active_migration: bool) {
        self.set.set_peer_limits(
            self.now,
            PeerPathLimits {
                max_udp_payload_size: 65_527,
                max_ack_delay: ms(25),
                disable_active_migration,
            },
        );
    }
}
