//! Streams between two ends without packets, driven for `benches/`. Not part of the API.

#![allow(missing_docs, reason = "driven by benchmarks alone")]

use std::collections::VecDeque;

use bytes::Bytes;
use weir_core::budget::Budget;
use weir_core::rng::rng_from_seed;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use super::{Half, StreamConfig, Streams};
use crate::sent::SentFrame;
use crate::wire::frame::{Frame, Frames};
use crate::wire::header::PacketType;
use crate::wire::{Dir, Side};

/// Frames that fit into a packet of 1452 bytes with a short header and a tag.
const ROOM: usize = 1420;
/// Packets that are handed over together.
const BATCH: usize = 64;
const RTT: Duration = Duration::from_micros(100);

/// Two ends, and streams from the one to the other.
#[derive(Debug)]
pub struct StreamsLine {
    client: Streams,
    server: Streams,
    keys: Vec<Key>,
    accepted: Vec<Key>,
    batch: Vec<u8>,
    lens: Vec<usize>,
    log: Vec<SentFrame>,
    in_flight: VecDeque<SentFrame>,
    payload: Bytes,
    now: Instant,
}

impl StreamsLine {
    /// `count` streams, none of which has sent anything.
    ///
    /// # Panics
    /// Never: the default settings are valid.
    #[must_use]
    pub fn new(count: usize) -> StreamsLine {
        let memory = Budget::unlimited("process");
        let config = StreamConfig {
            max_connection_window: 256 << 20,
            connection_window: 64 << 20,
            stream_window: 8 << 20,
            ..StreamConfig::default()
        };
        let end = |side| {
            let mut rng = rng_from_seed(1);
            let streams = Streams::new(side, config.clone(), &memory, &mut rng);
            streams.unwrap_or_else(|error| unreachable!("{error}"))
        };
        let (mut client, mut server) = (end(Side::Client), end(Side::Server));
        client.set_peer_limits(server.local_limits());
        server.set_peer_limits(client.local_limits());
        let now = Instant::from_millis(1);
        let opened = (0..count).map(|_| client.open(now, Dir::Uni));
        let keys = opened.filter_map(Result::ok).collect();
        StreamsLine {
            client,
            server,
            keys,
            accepted: Vec::new(),
            batch: Vec::with_capacity(BATCH * ROOM),
            lens: Vec::new(),
            log: Vec::new(),
            in_flight: VecDeque::new(),
            payload: Bytes::from(vec![7; 64 << 10]),
            now,
        }
    }

    /// Writes on every stream, fills so many packets, and acknowledges them a few batches later.
    /// Returns how many bytes the packets had.
    pub fn send(&mut self, packets: usize) -> usize {
        let mut bytes: usize = 0;
        for _ in 0..packets.div_ceil(BATCH) {
            self.write_all();
            self.fill_batch();
            bytes = bytes.saturating_add(self.batch.len());
            self.acknowledge(4 * BATCH);
            self.client.on_max_data(u64::MAX >> 2);
            for (number, _) in (0..).zip(&self.keys) {
                let id = crate::wire::StreamId::new(Side::Client, Dir::Uni, number);
                let limit = u64::MAX >> 2;
                let _known = self.client.on_max_stream_data(self.now, id, limit);
            }
        }
        bytes
    }

    /// The same, received and read at the other end. Returns how many bytes were read.
    pub fn transfer(&mut self, packets: usize) -> usize {
        let mut bytes: usize = 0;
        for _ in 0..packets.div_ceil(BATCH) {
            self.write_all();
            self.fill_batch();
            deliver(self.now, &self.batch, &self.lens, &mut self.server);
            while let Some(key) = self.server.accept(self.now, Dir::Uni) {
                self.accepted.push(key);
            }
            for key in &self.accepted {
                while let Ok(Some(read)) = self.server.read(self.now, *key, usize::MAX) {
                    bytes = bytes.saturating_add(read.len());
                }
            }
            self.acknowledge(BATCH);
            self.answer();
            while self.server.poll_event().is_some() || self.client.poll_event().is_some() {}
        }
        bytes
    }

    /// So many requests of 1 KiB on streams of their own, answered by as much, 64 at a time.
    pub fn requests(&mut self, count: usize) -> usize {
        let mut answered: usize = 0;
        let body = self.payload.slice(..1024);
        for _ in 0..count.div_ceil(BATCH) {
            self.keys.clear();
            for _ in 0..BATCH {
                let Ok(key) = self.client.open(self.now, Dir::Bi) else {
                    break;
                };
                let _written = self.client.write(self.now, key, &mut body.clone());
                self.client.finish(self.now, key);
                self.keys.push(key);
            }
            while self.fill_batch() {
                deliver(self.now, &self.batch, &self.lens, &mut self.server);
                self.acknowledge(0);
            }
            while let Some(key) = self.server.accept(self.now, Dir::Bi) {
                while let Ok(Some(_)) = self.server.read(self.now, key, usize::MAX) {}
                let _written = self.server.write(self.now, key, &mut body.clone());
                self.server.finish(self.now, key);
                self.server.release(self.now, key, Half::Send);
                self.server.release(self.now, key, Half::Recv);
            }
            while self.answer() {}
            for key in &self.keys {
                while let Ok(Some(read)) = self.client.read(self.now, *key, usize::MAX) {
                    answered = answered.saturating_add(read.len());
                }
                self.client.release(self.now, *key, Half::Send);
                self.client.release(self.now, *key, Half::Recv);
            }
            while self.server.poll_event().is_some() || self.client.poll_event().is_some() {}
        }
        answered / 1024
    }

    /// Streams that have a slot at either end.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        let there = self.server.open_streams();
        self.client.open_streams().saturating_add(there)
    }

    fn write_all(&mut self) {
        for key in &self.keys {
            let mut piece = self.payload.clone();
            while self.client.write(self.now, *key, &mut piece).is_ok() && piece.is_empty() {
                piece = self.payload.clone();
            }
        }
    }

    /// A batch of packets of the client.
    fn fill_batch(&mut self) -> bool {
        self.batch.clear();
        self.lens.clear();
        fill(
            self.now,
            &mut self.client,
            &mut self.batch,
            &mut self.lens,
            &mut self.log,
        );
        self.in_flight.extend(self.log.drain(..));
        !self.batch.is_empty()
    }

    /// Acknowledges all but the last `rest` frames of the client.
    fn acknowledge(&mut self, rest: usize) {
        {
            self.now += RTT;
        }
        while self.in_flight.len() > rest
            && let Some(frame) = self.in_flight.pop_front()
        {
            self.client.on_acked(&frame);
        }
    }

    /// Packets of the server to the client, acknowledged at once.
    fn answer(&mut self) -> bool {
        self.batch.clear();
        self.lens.clear();
        fill(
            self.now,
            &mut self.server,
            &mut self.batch,
            &mut self.lens,
            &mut self.log,
        );
        deliver(self.now, &self.batch, &self.lens, &mut self.client);
        for frame in self.log.drain(..) {
            self.server.on_acked(&frame);
        }
        !self.batch.is_empty()
    }
}

fn fill(
    now: Instant,
    streams: &mut Streams,
    batch: &mut Vec<u8>,
    lens: &mut Vec<usize>,
    log: &mut Vec<SentFrame>,
) {
    for _ in 0..BATCH {
        if !streams.wants_transmit() {
            return;
        }
        match streams.write_frames(now, Some(RTT), batch, ROOM, true, log) {
            0 => return,
            len => lens.push(len),
        }
    }
}

fn deliver(now: Instant, mut batch: &[u8], lens: &[usize], streams: &mut Streams) {
    for len in lens {
        let (packet, rest) = batch.split_at(*len);
        batch = rest;
        let Ok(frames) = Frames::new(packet, PacketType::OneRtt) else {
            return;
        };
        for frame in frames.flatten() {
            let _known = match frame {
                Frame::Stream {
                    id,
                    offset,
                    data,
                    fin,
                } => streams.on_stream(now, id, offset, data, fin),
                Frame::MaxStreamData { id, limit } => streams.on_max_stream_data(now, id, limit),
                Frame::MaxStreams { dir, limit } => streams.on_max_streams(dir, limit),
                Frame::MaxData { limit } => {
                    streams.on_max_data(limit);
                    Ok(())
                }
                _ => Ok(()),
            };
        }
    }
}
