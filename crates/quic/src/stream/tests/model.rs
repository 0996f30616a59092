//! Two ends under random loss, reordering and calls, against what was written.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::stream::Half;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Open(bool, bool),
    Write(bool, usize, usize),
    Finish(bool, usize),
    Reset(bool, usize),
    Stop(bool, usize),
    Read(bool, usize, usize),
    Send(bool, usize),
    /// The packet in flight at this place arrives and is acknowledged.
    Arrive(bool, usize),
    /// It arrives, and is taken for lost.
    ArriveUnseen(bool, usize),
    Lose(bool, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let side = any::<bool>();
    let at = 0..1000usize;
    prop_oneof![
        1 => (side, any::<bool>()).prop_map(|(s, d)| Step::Open(s, d)),
        4 => (side, at.clone(), 1..5000usize).prop_map(|(s, a, n)| Step::Write(s, a, n)),
        1 => (side, at.clone()).prop_map(|(s, a)| Step::Finish(s, a)),
        1 => (side, 0..8000usize).prop_map(|(s, a)| Step::Reset(s, a)),
        1 => (side, 0..8000usize).prop_map(|(s, a)| Step::Stop(s, a)),
        4 => (side, at.clone(), 1..4000usize).prop_map(|(s, a, n)| Step::Read(s, a, n)),
        6 => (side, 40..1400usize).prop_map(|(s, n)| Step::Send(s, n)),
        6 => (side, at.clone()).prop_map(|(s, a)| Step::Arrive(s, a)),
        1 => (side, at.clone()).prop_map(|(s, a)| Step::ArriveUnseen(s, a)),
        1 => (side, at).prop_map(|(s, a)| Step::Lose(s, a)),
    ]
}

/// One end with what the model knows of it.
struct Modelled {
    end: End,
    keys: Vec<Key>,
    in_flight: Vec<Packet>,
    /// Bytes written and read, by stream.
    written: HashMap<StreamId, u64>,
    read: HashMap<StreamId, u64>,
    /// Streams ended in order by this side, and streams read to their end.
    finished: Vec<StreamId>,
    ended: Vec<StreamId>,
    /// What the application let go of.
    sent_off: Vec<(Key, Half)>,
}

impl Modelled {
    fn new(end: End) -> Modelled {
        Modelled {
            end,
            keys: Vec::new(),
            in_flight: Vec::new(),
            written: HashMap::new(),
            read: HashMap::new(),
            finished: Vec::new(),
            ended: Vec::new(),
            sent_off: Vec::new(),
        }
    }

    fn key(&self, at: usize) -> Option<Key> {
        let key = *self.keys.get(at % self.keys.len().max(1))?;
        self.end.streams.stream_id(key).map(|_| key)
    }

    fn write(&mut self, key: Key, count: usize) {
        let id = self.end.id(key);
        let from = *self.written.get(&id).unwrap_or(&0);
        let data = pattern(id, from, from + count as u64);
        let result = if count.is_multiple_of(2) {
            self.end.streams.write_slice(NOW, key, &data)
        } else {
            self.end.streams.write(NOW, key, &mut Bytes::from(data))
        };
        if let Ok(count) = result {
            *self.written.entry(id).or_default() += count as u64;
        }
    }

    /// Reads, and checks every byte. False when nothing more will come.
    fn read(&mut self, key: Key, max: usize) -> bool {
        let id = self.end.id(key);
        match self.end.streams.read(NOW, key, max) {
            Ok(Some(bytes)) => {
                let at = self.read.entry(id).or_default();
                assert_eq!(bytes, pattern(id, *at, *at + bytes.len() as u64), "{id}");
                *at += bytes.len() as u64;
                true
            }
            Ok(None) => {
                self.ended.push(id);
                self.end.streams.release(NOW, key, Half::Recv);
                false
            }
            Err(ReadError::Blocked) => true,
            Err(_) => {
                self.end.streams.release(NOW, key, Half::Recv);
                false
            }
        }
    }

    fn send(&mut self, max: usize) {
        // Never more in flight than a congestion window would have.
        if self.in_flight.len() < 40 {
            let packet = self.end.packet_at(NOW, max);
            self.in_flight.extend(packet);
        }
    }

    fn accept(&mut self) {
        for dir in Dir::ALL {
            while let Some(key) = self.end.accept(dir) {
                self.keys.push(key);
            }
        }
    }
}

fn step(this: &mut Modelled, other: &mut Modelled, step: &Step) {
    match *step {
        Step::Open(_, bidi) => {
            let dir = if bidi { Dir::Bi } else { Dir::Uni };
            this.keys.extend(this.end.streams.open(NOW, dir));
        }
        Step::Write(_, at, count) => {
            if let Some(key) = this.key(at) {
                this.write(key, count);
            }
        }
        Step::Finish(_, at) => {
            if let Some(key) = this.key(at)
                && this.end.streams.send_error(key).is_none()
            {
                this.end.streams.finish(NOW, key);
                this.finished.push(this.end.id(key));
            }
        }
        Step::Reset(_, at) => {
            if let Some(key) = this.keys.get(at).copied() {
                this.end.streams.reset(NOW, key, 77);
            }
        }
        Step::Stop(_, at) => {
            if let Some(key) = this.keys.get(at).copied() {
                this.end.streams.stop(NOW, key, 78);
            }
        }
        Step::Read(_, at, max) => {
            if let Some(key) = this.key(at) {
                this.read(key, max);
            }
        }
        Step::Send(_, max) => this.send(max),
        Step::Arrive(_, at) | Step::ArriveUnseen(_, at) | Step::Lose(_, at) => {
            if this.in_flight.is_empty() {
                return;
            }
            let packet = this.in_flight.swap_remove(at % this.in_flight.len());
            if !matches!(step, Step::Lose(..)) {
                other.end.receive(&packet);
                other.accept();
            }
            if matches!(step, Step::Arrive(..)) {
                this.end.acked(&packet);
            } else {
                this.end.lost(&packet);
            }
        }
    }
}

/// Everything that is in flight arrives, everybody reads to the end, and nothing is left.
fn wind_up(client: &mut Modelled, server: &mut Modelled) {
    for round in 0.. {
        assert!(round < 20_000, "the two never come to rest");
        let idle = wind_up_one(client, server);
        if wind_up_one(server, client) && idle {
            return;
        }
    }
}

fn wind_up_one(this: &mut Modelled, other: &mut Modelled) -> bool {
    this.send(PACKET);
    let packets = std::mem::take(&mut this.in_flight);
    for packet in &packets {
        other.end.receive(packet);
        this.end.acked(packet);
    }
    other.accept();
    for at in 0..this.keys.len() {
        let key = this.keys[at];
        if this.end.streams.stream_id(key).is_none() {
            continue;
        }
        if this.end.streams.send_error(key).is_none() {
            this.finished.push(this.end.id(key));
        }
        if !this.sent_off.contains(&(key, Half::Send)) {
            this.end.streams.finish(NOW, key);
            this.sent_off.push((key, Half::Send));
            this.end.streams.release(NOW, key, Half::Send);
        }
        while this.end.streams.stream_id(key).is_some() {
            let before = this.end.streams.stats().unread;
            if !this.read(key, 100_000) || this.end.streams.stats().unread == before {
                break;
            }
        }
    }
    packets.is_empty() && !this.end.streams.wants_transmit()
}

fn small_windows() -> StreamConfig {
    StreamConfig {
        stream_window: 6000,
        max_stream_window: 20_000,
        connection_window: 10_000,
        max_connection_window: 40_000,
        max_bidi: 3,
        max_uni: 2,
        send_buffer: 10_000,
        turn: 3000,
        ..StreamConfig::default()
    }
}

fn side_of(step: &Step) -> bool {
    match *step {
        Step::Open(side, _)
        | Step::Write(side, ..)
        | Step::Finish(side, _)
        | Step::Reset(side, _)
        | Step::Stop(side, _)
        | Step::Read(side, ..)
        | Step::Send(side, _)
        | Step::Arrive(side, _)
        | Step::ArriveUnseen(side, _)
        | Step::Lose(side, _) => side,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Q76, Q87, Q89, Q142: whatever is lost, repeated, reordered, reset or stopped, what is read is
    // what was written, in order and, when the stream ended in order, complete; no limit is passed
    // (the other side would say so); and in the end nothing is held by either side.
    #[test]
    fn bytes_in_order_credit_conserved_state_freed(steps in prop::collection::vec(any_step(), 1..600)) {
        let pair = Pair::new(small_windows());
        let mut client = Modelled::new(pair.client);
        let mut server = Modelled::new(pair.server);
        for one in &steps {
            if side_of(one) {
                step(&mut client, &mut server, one);
            } else {
                step(&mut server, &mut client, one);
            }
            for modelled in [&client, &server] {
                // No more unread than the window, whatever the streams' windows are.
                prop_assert!(modelled.end.streams.recv.buffered() <= 40_000);
            }
        }
        wind_up(&mut client, &mut server);
        for (writer, reader) in [(&client, &server), (&server, &client)] {
            for id in &reader.ended {
                prop_assert!(writer.finished.contains(id), "{} ended by itself", id);
                let (written, read) = (writer.written.get(id), reader.read.get(id));
                prop_assert_eq!(written.unwrap_or(&0), read.unwrap_or(&0));
            }
        }
        client.end.assert_empty();
        server.end.assert_empty();
        // What was consumed at one end is what was sent at the other.
        for (a, b) in [(&client, &server), (&server, &client)] {
            prop_assert_eq!(a.end.streams.send.sent(), b.end.streams.recv.consumed());
        }
    }
}
