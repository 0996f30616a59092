//! Two ends that exchange frames without packets, and what the tests of streams share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod basics;
mod credit;
mod datagrams;
mod delivery;
mod ends;
mod hostile;
mod memory;
mod model;
mod rules;
mod turns;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use super::{ReadError, StreamConfig, StreamEvent, Streams};
use crate::error::TransportError;
use crate::sent::SentFrame;
use crate::wire::frame::{Frame, Frames};
use crate::wire::header::PacketType;
use crate::wire::{Dir, Side, StreamId};

pub(super) const PACKET: usize = 1200;
pub(super) const NOW: Instant = Instant::from_millis(1000);
pub(super) const RTT: Duration = Duration::from_millis(20);

/// One end, and the log of what it sent and nobody has acknowledged.
pub(super) struct End {
    pub(super) streams: Streams,
    pub(super) memory: Budget,
}

/// A packet's frames, and what its sender logged.
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) log: Vec<SentFrame>,
}

impl Packet {
    /// The frames, decoded.
    pub(super) fn frames(&self) -> Vec<Frame<'_>> {
        Frames::new(&self.bytes, PacketType::OneRtt)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

impl End {
    pub(super) fn new(side: Side, config: StreamConfig) -> End {
        let memory = Budget::root("connection", 64 << 20);
        End::with_memory(side, config, memory)
    }

    pub(super) fn with_memory(side: Side, config: StreamConfig, memory: Budget) -> End {
        let mut rng = rng_from_seed(7);
        let streams = Streams::new(side, config, &memory, &mut rng).unwrap();
        End { streams, memory }
    }

    /// The next packet of at most `max` bytes, if there is anything to send.
    pub(super) fn packet_at(&mut self, now: Instant, max: usize) -> Option<Packet> {
        let (mut bytes, mut log) = (Vec::new(), Vec::new());
        let wanted = self.streams.wants_transmit();
        let count = self
            .streams
            .write_frames(now, Some(RTT), &mut bytes, max, true, &mut log);
        assert_eq!(count, bytes.len());
        assert!(count <= max, "{count} bytes into {max}");
        assert!(wanted || count == 0, "sent without having wanted to");
        assert_eq!(bytes.is_empty(), log.is_empty());
        (count > 0).then_some(Packet { bytes, log })
    }

    pub(super) fn packet(&mut self) -> Option<Packet> {
        self.packet_at(NOW, PACKET)
    }

    /// Every packet there is to send.
    pub(super) fn packets(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.packet()).collect()
    }

    pub(super) fn receive_at(&mut self, now: Instant, bytes: &[u8]) -> Result<(), TransportError> {
        for frame in Frames::new(bytes, PacketType::OneRtt)? {
            self.handle(now, &frame?)?;
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, packet: &Packet) {
        self.receive_at(NOW, &packet.bytes).unwrap();
    }

    /// What a connection does with a frame of streams.
    pub(super) fn handle(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), TransportError> {
        let streams = &mut self.streams;
        match *frame {
            Frame::Stream {
                id,
                offset,
                data,
                fin,
            } => streams.on_stream(now, id, offset, data, fin),
            Frame::ResetStream {
                id,
                code,
                final_size,
            } => streams.on_reset_stream(now, id, code, final_size),
            Frame::StopSending { id, code } => streams.on_stop_sending(now, id, code),
            Frame::MaxData { limit } => {
                streams.on_max_data(limit);
                Ok(())
            }
            Frame::MaxStreamData { id, limit } => streams.on_max_stream_data(now, id, limit),
            Frame::MaxStreams { dir, limit } => streams.on_max_streams(dir, limit),
            Frame::DataBlocked { limit } => {
                streams.on_data_blocked(limit);
                Ok(())
            }
            Frame::StreamDataBlocked { id, limit } => {
                streams.on_stream_data_blocked(now, id, limit)
            }
            Frame::StreamsBlocked { dir, limit } => streams.on_streams_blocked(dir, limit),
            ref other => panic!("{other:?} is not about streams"),
        }
    }

    pub(super) fn acked(&mut self, packet: &Packet) {
        packet
            .log
            .iter()
            .for_each(|frame| self.streams.on_acked(frame));
        self.streams.after_acks();
    }

    pub(super) fn lost(&mut self, packet: &Packet) {
        packet
            .log
            .iter()
            .for_each(|frame| self.streams.on_lost(frame));
    }

    pub(super) fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.streams.poll_event()).collect()
    }

    pub(super) fn open(&mut self, dir: Dir) -> Key {
        self.streams.open(NOW, dir).unwrap()
    }

    pub(super) fn accept(&mut self, dir: Dir) -> Option<Key> {
        self.streams.accept(NOW, dir)
    }

    /// Writes all of it, which must fit.
    pub(super) fn write(&mut self, key: Key, data: &[u8]) {
        let mut data = Bytes::copy_from_slice(data);
        self.streams.write(NOW, key, &mut data).unwrap();
        assert!(data.is_empty(), "{} bytes did not fit", data.len());
    }

    /// Reads what there is; the second is true at the end of the stream.
    pub(super) fn read(&mut self, key: Key) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        loop {
            match self.streams.read(NOW, key, usize::MAX) {
                Ok(Some(bytes)) => out.extend_from_slice(&bytes),
                Ok(None) => return (out, true),
                Err(ReadError::Blocked) => return (out, false),
                Err(error) => panic!("{error} after {} bytes", out.len()),
            }
        }
    }

    pub(super) fn id(&self, key: Key) -> StreamId {
        self.streams.stream_id(key).unwrap()
    }

    /// A STREAM frame comes.
    pub(super) fn stream(
        &mut self,
        id: StreamId,
        offset: u64,
        data: &[u8],
        fin: bool,
    ) -> Result<(), TransportError> {
        self.streams.on_stream(NOW, id, offset, data, fin)
    }

    /// Nothing is held for any stream.
    pub(super) fn assert_empty(&mut self) {
        assert_eq!(self.streams.open_streams(), 0, "streams are left");
        assert_eq!(self.streams.by_id.len(), 0);
        assert_eq!(self.streams.recv.buffered(), 0, "unread bytes are left");
        assert_eq!(self.streams.held.bytes(), 0, "memory is held");
        assert_eq!(self.streams.buffers.chunks.in_use(), 0, "chunks are held");
        assert!(self.streams.out.control.is_empty() && self.streams.out.waiting.is_empty());
        assert!(!self.streams.has_stream_data_to_send());
        assert!(self.streams.starved.is_empty());
    }
}

/// Both ends of a connection.
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
}

impl Pair {
    /// Both with the same settings, and told each other's limits.
    pub(super) fn new(config: StreamConfig) -> Pair {
        let mut client = End::new(Side::Client, config.clone());
        let mut server = End::new(Side::Server, config);
        introduce(&mut client, &mut server);
        Pair { client, server }
    }

    /// Carries packets both ways until there are none, each acknowledged at once.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let there = carry(&mut self.client, &mut self.server);
            let back = carry(&mut self.server, &mut self.client);
            if !there && !back {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    /// A stream of the client with `data` on it, and its key at the server.
    pub(super) fn opened(&mut self, dir: Dir, data: &[u8]) -> (Key, Key) {
        let ours = self.client.open(dir);
        self.client.write(ours, data);
        self.settle();
        let theirs = self.server.accept(dir).unwrap();
        (ours, theirs)
    }
}

/// Tells both ends the other's limits.
pub(super) fn introduce(a: &mut End, b: &mut End) {
    a.streams.set_peer_limits(b.streams.local_limits());
    b.streams.set_peer_limits(a.streams.local_limits());
}

/// A stream of the client, by number.
pub(super) const fn client_bidi(number: u64) -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, number)
}

pub(super) const fn client_uni(number: u64) -> StreamId {
    StreamId::new(Side::Client, Dir::Uni, number)
}

pub(super) const fn server_bidi(number: u64) -> StreamId {
    StreamId::new(Side::Server, Dir::Bi, number)
}

pub(super) const fn server_uni(number: u64) -> StreamId {
    StreamId::new(Side::Server, Dir::Uni, number)
}

/// Carries one packet, if there is one, and acknowledges it.
pub(super) fn carry(from: &mut End, to: &mut End) -> bool {
    let Some(packet) = from.packet() else {
        return false;
    };
    to.receive(&packet);
    from.acked(&packet);
    true
}

/// The byte that every test has at an offset of a stream.
pub(super) fn byte_at(id: StreamId, offset: u64) -> u8 {
    (id.0 ^ offset ^ (offset >> 8)) as u8
}

pub(super) fn pattern(id: StreamId, from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|offset| byte_at(id, offset)).collect()
}
