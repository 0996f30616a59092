//! What is traced of a connection: packets as they go by, and after each call what it has changed.
//!
//! While nobody listens every hook is the test of a flag. What changed is found by comparing with
//! what was told last, so the parts of the connection know nothing of traces.

mod frames;
mod settings;
mod timers;

use std::borrow::Cow;

use weir_core::time::Instant;
use weir_core::trace::{
    Direction, DroppedEvent, Event, Field, FrameInfo, KeyEvent, Level, LostEvent, Metrics,
    PacketEvent, PathChange, PathEvent as PathNews, Tracer, Value,
};

use self::frames::Payload;
use super::Connection;
use super::drops::Drop;
use super::packet::Building;
use super::receive::Arrival;
use crate::crypto::{Level as Keys, TAG_LEN};
use crate::error::code;
use crate::limits::ACK_DELAY_EXPONENT;
use crate::path::{PathEvent, PathId};
use crate::recovery::{EcnPhase, Outcome, PathLookup};
use crate::transmit::{Ecn, TransmitBuf};
use crate::wire::header::PacketType;
use crate::wire::{Side, Space};

/// The protocol's name in traces.
const FAMILY: &str = "quic";

const LEVELS: [Keys; 4] = [Keys::Initial, Keys::Handshake, Keys::ZeroRtt, Keys::OneRtt];

/// Which call changed what is told now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A datagram arrived.
    Peer,
    /// All other calls.
    Local,
}

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    state: &'static str,
    settings: settings::Told,
    /// Keys that exist, by level: for sending and for receiving.
    keys: [[bool; 2]; 4],
    phase_bit: bool,
    /// How often the packet keys were replaced.
    phase: u64,
    /// The paths that are known. No more than there can be at a time.
    paths: Vec<PathId>,
    /// The path that `metrics` and what follows it are of.
    active: Option<PathId>,
    metrics: Metrics,
    congestion: Option<&'static str>,
    ecn: Option<&'static str>,
    mtu: Option<u64>,
    timers: timers::Told,
}

impl Connection {
    /// Where events of this connection are reported, beginning with where it stands.
    pub fn set_tracer(&mut self, tracer: Tracer) {
        self.tracer = tracer;
        let wanted = self.tracer.enabled(Level::Event) || self.tracer.enabled(Level::Frame);
        self.streams.set_traced(wanted);
        self.seen = wanted.then(Box::default);
        let now = self.clock.received;
        if let Some(addr) = self.path() {
            let path = id(self.paths.active());
            self.tell_path(now, path, PathChange::Started, addr);
        }
        self.trace_changes(now, Cause::Local);
    }

    /// The connection entered a state that the next call may already leave.
    pub(super) fn trace_state(&mut self, now: Instant, state: &'static str) {
        let role = self.side.as_str();
        if let Some(seen) = &mut self.seen
            && seen.state != state
        {
            seen.state = state;
            self.tracer.emit(now, || Event::Session { role, state });
        }
    }

    /// Tells what a call has changed; to be called at its end.
    #[inline]
    pub(super) fn trace_changes(&mut self, now: Instant, cause: Cause) {
        if self.seen.is_some() {
            self.tell_changes(now, cause);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_changes(&mut self, now: Instant, cause: Cause) {
        self.trace_state(now, self.state_name());
        let Some(mut seen) = self.seen.take() else {
            return;
        };
        self.tell_settings(now, &mut seen.settings);
        self.tell_keys(now, &mut seen, cause);
        self.tell_paths(now, &mut seen);
        self.tell_recovery(now, &mut seen);
        self.tell_timers(now, &mut seen.timers);
        while let Some(event) = self.streams.poll_seen() {
            self.tracer.emit(now, || event);
        }
        self.seen = Some(seen);
    }

    /// A packet that was opened, before its frames are processed.
    #[inline]
    pub(super) fn trace_packet_received(
        &mut self,
        arrival: &Arrival,
        pn: u64,
        size: usize,
        payload: &[u8],
    ) {
        if !self.tracer.enabled(Level::Frame) {
            return;
        }
        let phase = [u64_field("key_phase", arrival.phase)];
        let is_short = arrival.kind == PacketType::OneRtt;
        let frames = Payload {
            bytes: payload,
            packet: arrival.kind,
            ack_delay_exponent: self.peer.ack_delay_exponent,
        };
        self.tracer.emit_detail(arrival.now, || {
            Event::Packet(PacketEvent {
                direction: Direction::Received,
                family: FAMILY,
                kind: kind_name(arrival.kind),
                number: Some(pn),
                length: size,
                path: id(arrival.path),
                ecn: arrival.ecn.map(ecn_name),
                trigger: None,
                is_mtu_probe: false,
                header: if is_short { &phase } else { &[] },
                frames: &frames,
            })
        });
    }

    /// A packet that is written and not sealed yet.
    #[inline]
    pub(super) fn trace_packet_sent(&mut self, now: Instant, packet: &Building, out: &TransmitBuf) {
        if !self.tracer.enabled(Level::Frame) {
            return;
        }
        let end = out.data.len().saturating_sub(TAG_LEN);
        let kind = kind_of(packet.level);
        let phase = Value::Bool(self.protection.send_phase());
        let phase = [Field::new("key_phase_bit", phase)];
        let frames = Payload {
            bytes: out.data.get(packet.payload..end).unwrap_or_default(),
            packet: kind,
            ack_delay_exponent: ACK_DELAY_EXPONENT,
        };
        let is_probe = matches!(self.outbox.probes.get(packet.space.index()), Some(1..));
        let marked = self.marks_ecn(packet.path);
        self.tracer.emit_detail(now, || {
            Event::Packet(PacketEvent {
                direction: Direction::Sent,
                family: FAMILY,
                kind: kind_name(kind),
                number: Some(packet.pn),
                length: out.data.len().saturating_sub(packet.start),
                path: id(packet.path),
                ecn: marked.then_some("ECT(0)"),
                trigger: is_probe.then_some("pto_probe"),
                is_mtu_probe: packet.mtu_probe,
                header: if kind == PacketType::OneRtt {
                    &phase
                } else {
                    &[]
                },
                frames: &frames,
            })
        });
    }

    /// A Retry or Version Negotiation packet that is followed.
    pub(super) fn trace_answer(&mut self, now: Instant, kind: PacketType, size: usize) {
        let path = id(self.paths.active());
        let frames: Vec<FrameInfo<'_>> = Vec::new();
        self.tracer.emit_detail(now, || {
            Event::Packet(PacketEvent {
                direction: Direction::Received,
                family: FAMILY,
                kind: kind_name(kind),
                number: None,
                length: size,
                path,
                ecn: None,
                trigger: None,
                is_mtu_probe: false,
                header: &[],
                frames: &frames,
            })
        });
    }

    /// A packet or datagram that arrived and is thrown away.
    pub(super) fn trace_dropped(
        &mut self,
        now: Instant,
        why: Drop,
        kind: Option<PacketType>,
        size: usize,
    ) {
        let count = self.stats.packets_dropped;
        self.tracer.emit_detail(now, || {
            Event::PacketDropped(DroppedEvent {
                kind: kind.map(kind_name),
                length: Some(size),
                trigger: why.trigger(),
                why: why.words(),
                count,
            })
        });
    }

    /// Packets that are taken for lost.
    #[inline]
    pub(super) fn trace_lost(&mut self, now: Instant, space: Space, outcome: &Outcome) {
        if !self.tracer.enabled(Level::Frame) {
            return;
        }
        for lost in &outcome.lost_packets {
            let trigger = match lost.by_time {
                true => "time_threshold",
                false => "reordering_threshold",
            };
            self.tracer.emit_detail(now, || {
                Event::PacketLost(LostEvent {
                    kind: match space {
                        Space::Initial => "initial",
                        Space::Handshake => "handshake",
                        Space::Data => "1RTT",
                    },
                    number: lost.pn,
                    length: lost.size.into(),
                    path: id(lost.path),
                    trigger: Some(trigger),
                    is_mtu_probe: lost.is_mtu_probe,
                })
            });
        }
    }

    /// What the paths have to tell.
    pub(super) fn trace_path(&mut self, now: Instant, event: &PathEvent) {
        if self.seen.is_none() {
            return;
        }
        match event {
            PathEvent::Validated { path, addr } => {
                let change = match *path == self.paths.active() {
                    true => PathChange::MigrationComplete,
                    false => PathChange::ProbingSuccessful,
                };
                self.tell_path(now, id(*path), change, *addr);
            }
            PathEvent::ValidationFailed { addr, fell_back_to } => {
                let change = match fell_back_to {
                    Some(_) => PathChange::MigrationAbandoned,
                    None => PathChange::ProbingAbandoned,
                };
                let known = self.paths.iter().find(|path| path.addr == *addr);
                let path = known.map_or(0, |path| id(path.id));
                self.tell_path(now, path, change, *addr);
            }
            PathEvent::Migrated { new, .. } => {
                let path = id(self.paths.active());
                self.tell_path(now, path, PathChange::MigrationStarted, *new);
            }
            PathEvent::Ended(_) | PathEvent::NoViablePath | PathEvent::MtuChanged { .. } => {}
        }
    }

    fn tell_path(
        &mut self,
        now: Instant,
        path: u64,
        change: PathChange,
        addr: crate::transmit::PathAddr,
    ) {
        self.tracer.emit(now, || {
            Event::Path(PathNews {
                path,
                change,
                local: addr.local,
                remote: Some(addr.remote),
            })
        });
    }

    fn tell_paths(&mut self, now: Instant, seen: &mut Seen) {
        let ended = |paths: &crate::path::PathSet, known: PathId| {
            !paths.iter().any(|path| path.id == known)
        };
        while let Some(at) = seen
            .paths
            .iter()
            .position(|known| ended(&self.paths, *known))
        {
            let gone = seen.paths.swap_remove(at);
            self.tracer.emit(now, || {
                Event::Path(PathNews {
                    path: id(gone),
                    change: PathChange::Abandoned,
                    local: None,
                    remote: None,
                })
            });
        }
        for path in self.paths.iter() {
            if seen.paths.contains(&path.id) {
                continue;
            }
            seen.paths.push(path.id);
            let changes = match id(path.id) {
                0 => [Some(PathChange::Assigned), None],
                _ => [
                    Some(PathChange::Assigned),
                    (!path.is_validated()).then_some(PathChange::ProbingStarted),
                ],
            };
            for change in changes.into_iter().flatten() {
                self.tracer.emit(now, || {
                    Event::Path(PathNews {
                        path: id(path.id),
                        change,
                        local: path.addr.local,
                        remote: Some(path.addr.remote),
                    })
                });
            }
        }
    }

    fn tell_keys(&mut self, now: Instant, seen: &mut Seen, cause: Cause) {
        let (ours, theirs) = match self.side {
            Side::Client => (0, 1),
            Side::Server => (1, 0),
        };
        for (level, told) in LEVELS.into_iter().zip(&mut seen.keys) {
            let has = [
                self.protection.has_send(level),
                self.protection.has_receive(level),
            ];
            for ((has, told), owner) in has.into_iter().zip(told).zip([ours, theirs]) {
                if *told == has {
                    continue;
                }
                *told = has;
                let phase = (level == Keys::OneRtt).then_some(seen.phase);
                self.tracer
                    .emit(now, || key_event(level, owner, !has, phase, "tls"));
            }
        }
        let bit = self.protection.send_phase();
        if bit == seen.phase_bit {
            return;
        }
        seen.phase_bit = bit;
        seen.phase = seen.phase.saturating_add(1);
        let trigger = match cause {
            Cause::Peer => "remote_update",
            Cause::Local => "local_update",
        };
        for owner in [ours, theirs] {
            self.tracer.emit(now, || {
                key_event(Keys::OneRtt, owner, false, Some(seen.phase), trigger)
            });
        }
    }

    /// Round trip, window and the like of the path in use.
    fn tell_recovery(&mut self, now: Instant, seen: &mut Seen) {
        let Some(path) = self.paths.active_path() else {
            return;
        };
        if seen.active != Some(path.id) {
            seen.active = Some(path.id);
            seen.metrics = Metrics::default();
            (seen.congestion, seen.ecn, seen.mtu) = (None, None, None);
        }
        let path_id = id(path.id);
        let recovery = &path.recovery;
        let rate = recovery.controller.pacing_rate(&recovery.rtt);
        let metrics = Metrics {
            path: path_id,
            min_rtt: recovery.rtt.min(),
            smoothed_rtt: recovery.rtt.smoothed(),
            latest_rtt: recovery.rtt.latest(),
            rtt_variance: recovery.rtt.variance(),
            pto_count: Some(self.recovery.pto_count()),
            congestion_window: Some(recovery.controller.window()),
            bytes_in_flight: Some(recovery.in_flight),
            ssthresh: recovery.controller.ssthresh(),
            pacing_rate: rate.map(|bytes| bytes.saturating_mul(8)),
            ..Metrics::default()
        };
        let news = metrics.since(&seen.metrics);
        seen.metrics = metrics;
        if let Some(news) = news {
            self.tracer.emit_detail(now, || Event::Metrics(news));
        }
        let congestion = recovery.controller.state();
        if seen.congestion != Some(congestion) {
            let old = seen.congestion.replace(congestion);
            self.tracer.emit_detail(now, || Event::CongestionState {
                path: path_id,
                old,
                new: congestion,
            });
        }
        if let Some(ecn) = ecn_state(recovery.ecn.phase())
            && seen.ecn != Some(ecn)
        {
            let old = seen.ecn.replace(ecn);
            self.tracer.emit(now, || Event::EcnState {
                path: path_id,
                old,
                new: ecn,
            });
        }
        let mtu = u64::from(path.mtu.current());
        if seen.mtu != Some(mtu) {
            let old = seen.mtu.replace(mtu);
            self.tracer.emit(now, || Event::MtuUpdated {
                path: path_id,
                old,
                new: mtu,
            });
        }
    }
}

/// A path's number in traces.
fn id(path: PathId) -> u64 {
    path.0.into()
}

const fn u64_field(name: &'static str, value: u64) -> Field<'static> {
    Field::new(name, Value::U64(value))
}

/// A packet type in qlog's word.
const fn kind_name(kind: PacketType) -> &'static str {
    match kind {
        PacketType::VersionNegotiation => "version_negotiation",
        PacketType::Initial => "initial",
        PacketType::ZeroRtt => "0RTT",
        PacketType::Handshake => "handshake",
        PacketType::Retry => "retry",
        PacketType::OneRtt => "1RTT",
    }
}

const fn kind_of(level: Keys) -> PacketType {
    match level {
        Keys::Initial => PacketType::Initial,
        Keys::ZeroRtt => PacketType::ZeroRtt,
        Keys::Handshake => PacketType::Handshake,
        Keys::OneRtt => PacketType::OneRtt,
    }
}

const fn ecn_name(ecn: Ecn) -> &'static str {
    match ecn {
        Ecn::Ect0 => "ECT(0)",
        Ecn::Ect1 => "ECT(1)",
        Ecn::Ce => "CE",
    }
}

const fn ecn_state(phase: EcnPhase) -> Option<&'static str> {
    match phase {
        EcnPhase::Off => None,
        EcnPhase::Testing => Some("testing"),
        EcnPhase::Unknown => Some("unknown"),
        EcnPhase::Capable => Some("capable"),
        EcnPhase::Failed(_) => Some("failed"),
    }
}

/// `owner` is 0 for the client's key, 1 for the server's.
fn key_event(
    level: Keys,
    owner: usize,
    discarded: bool,
    phase: Option<u64>,
    trigger: &'static str,
) -> Event<'static> {
    let names = match level {
        Keys::Initial => ["client_initial_secret", "server_initial_secret"],
        Keys::Handshake => ["client_handshake_secret", "server_handshake_secret"],
        Keys::ZeroRtt => ["client_0rtt_secret", "server_0rtt_secret"],
        Keys::OneRtt => ["client_1rtt_secret", "server_1rtt_secret"],
    };
    Event::Key(KeyEvent {
        kind: names.get(owner).copied().unwrap_or_default(),
        discarded,
        phase,
        trigger,
    })
}

/// An error code of the transport by the name that qlog has for it.
fn error_name(error: u64) -> Cow<'static, str> {
    if (code::CRYPTO_ERROR..=code::CRYPTO_ERROR + 0xff).contains(&error) {
        return Cow::Owned(format!("crypto_error_{error:#05x}"));
    }
    match code::name(error) {
        Some(name) if error <= code::NO_VIABLE_PATH => Cow::Owned(name.to_ascii_lowercase()),
        _ => Cow::Borrowed("unknown"),
    }
}
