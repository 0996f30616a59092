//! The application on one connection. It tries again what was blocked only when an event says so:
//! an event that is missing stalls the run.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use weir_core::close::CloseReason;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};

use super::plan::{DONE, Plan, Shared, of};
use super::stream::{Running, Stage};
use crate::connection::{Connection, Event};
use crate::stream::OpenError;
use crate::wire::transport_parameters::Remembered;
use crate::wire::{Dir, Side};

/// How often a slow reader reads, and how often the one that closes looks whether all is done.
const TICK: Duration = Duration::from_millis(20);

/// What became of a connection, for the end of the run.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) closed: Option<CloseReason>,
    pub(super) drained: bool,
    pub(super) connected: bool,
    pub(super) confirmed: bool,
    pub(super) remembered: Option<Remembered>,
    pub(super) token: Option<Bytes>,
}

pub(super) struct App {
    side: Side,
    plan: Rc<Plan>,
    truth: Shared,
    began: Instant,
    /// It has work; the connection before the main one has none.
    pub(super) is_main: bool,
    streams: Vec<Running>,
    /// Streams of the plan that this side has not opened.
    unopened: [Vec<usize>; 2],
    /// Streams of the plan that the peer opens.
    expected: usize,
    may_open: [bool; 2],
    may_accept: [bool; 2],
    datagrams_sent: u32,
    datagrams: HashSet<u32>,
    may_receive: bool,
    next_tick: Instant,
    stepped: Instant,
    pub(super) news: News,
    pub(super) delivered: u64,
}

impl App {
    pub(super) fn new(
        side: Side,
        now: Instant,
        plan: &Rc<Plan>,
        truth: &Shared,
        is_main: bool,
    ) -> App {
        let mut unopened = [Vec::new(), Vec::new()];
        let mut expected = 0;
        for (index, stream) in plan.streams.iter().enumerate().filter(|_| is_main) {
            if stream.id.initiator() != side {
                expected += usize::from(!stream.may_vanish());
            } else {
                unopened[stream.id.dir().index()].push(index);
            }
        }
        for list in &mut unopened {
            list.sort_by_key(|index| plan.streams[*index].id.number());
            list.reverse();
        }
        App {
            side,
            plan: Rc::clone(plan),
            truth: Rc::clone(truth),
            began: now,
            is_main,
            streams: Vec::new(),
            unopened,
            expected,
            may_open: [true; 2],
            may_accept: [true; 2],
            datagrams_sent: 0,
            datagrams: HashSet::new(),
            may_receive: true,
            next_tick: now,
            stepped: now,
            news: News::default(),
            delivered: 0,
        }
    }

    /// When it wants a turn by itself.
    pub(super) fn timeout(&self) -> Option<Instant> {
        if self.news.closed.is_some() || !self.is_main {
            return None;
        }
        let slow = self.plan.slow[of(self.side)].is_some() && !self.is_complete();
        let closes = self.plan.closer == self.side && self.is_complete();
        let tick = (slow || closes).then_some(self.next_tick);
        let starts = self.unopened.iter().flat_map(|list| list.last());
        let starts = starts.map(|index| self.began + self.plan.streams[*index].start);
        let starts = starts.filter(|at| *at > self.stepped);
        starts.chain(tick).min()
    }

    /// All that the plan asks of this side is done.
    pub(super) fn is_complete(&self) -> bool {
        self.unopened.iter().all(Vec::is_empty)
            && self.expected == 0
            && self.streams.is_empty()
            && self.datagrams_sent == self.plan.datagrams[of(self.side)]
            && self.news.confirmed
    }

    /// Its turn. True when it did anything.
    pub(super) fn step(&mut self, now: Instant, connection: &mut Connection) -> bool {
        self.stepped = now;
        let mut moved = self.take_events(connection);
        if self.news.closed.is_some() || !self.is_main {
            return moved;
        }
        let early = connection.is_early() || !connection.is_handshaking();
        if early {
            moved |= self.open(now, connection);
            moved |= self.send_datagrams(connection);
        }
        moved |= self.accept(now, connection);
        moved |= self.receive_datagrams(connection);
        moved |= self.run_streams(now, connection);
        self.finish(now, connection);
        moved
    }

    fn take_events(&mut self, connection: &mut Connection) -> bool {
        let mut any = false;
        while let Some(event) = connection.poll_event() {
            any = true;
            assert!(!self.news.drained, "{event:?} after the end");
            let over = self.news.closed.is_some();
            match event {
                Event::Drained => self.news.drained = true,
                other if over => panic!("{other:?} after the connection was closed"),
                Event::Connected => {
                    assert!(!std::mem::replace(&mut self.news.connected, true));
                }
                Event::Confirmed => {
                    assert!(!std::mem::replace(&mut self.news.confirmed, true));
                }
                Event::Closed(reason) => self.news.closed = Some(reason),
                Event::Readable(key) => self.with(key, |stream| stream.may_read = true),
                Event::StreamReset(key) => self.with(key, |stream| stream.may_read = true),
                Event::Writable(key) | Event::Stopped(key) => {
                    self.with(key, |stream| stream.may_write = true);
                }
                Event::Acceptable(dir) => self.may_accept[dir.index()] = true,
                Event::OpenReady(dir) => self.may_open[dir.index()] = true,
                Event::DatagramReceived => self.may_receive = true,
                Event::Remember(remembered) => self.news.remembered = Some(*remembered),
                Event::NewToken(token) => self.news.token = Some(token),
                Event::DatagramsUnblocked | Event::PathChanged { .. } | Event::ZeroRttRejected => {}
            }
        }
        any
    }

    fn with(&mut self, key: Key, change: impl FnOnce(&mut Running)) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.key == key) {
            change(stream);
        }
    }

    fn open(&mut self, now: Instant, connection: &mut Connection) -> bool {
        let mut moved = false;
        for dir in [Dir::Bi, Dir::Uni] {
            while self.may_open[dir.index()]
                && let Some(index) = self.unopened[dir.index()].last().copied()
            {
                let plan = &self.plan.streams[index];
                if self.began + plan.start > now {
                    break;
                }
                match connection.open(now, dir) {
                    Ok(key) => {
                        assert_eq!(connection.stream_id(key), Some(plan.id));
                        if let Some(priority) = plan.priority {
                            connection.set_priority(key, priority);
                        }
                        let running = Running::new(plan.clone(), key, self.side);
                        self.streams.push(running);
                        self.unopened[dir.index()].pop();
                        moved = true;
                    }
                    Err(OpenError::Blocked) => self.may_open[dir.index()] = false,
                    Err(OpenError::Closed) => return moved,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        moved
    }

    fn accept(&mut self, now: Instant, connection: &mut Connection) -> bool {
        let mut moved = false;
        for dir in [Dir::Bi, Dir::Uni] {
            while self.may_accept[dir.index()] {
                let Some(key) = connection.accept(now, dir) else {
                    self.may_accept[dir.index()] = false;
                    break;
                };
                let id = connection.stream_id(key).expect("it was just accepted");
                let plan = self.plan.stream(id).expect("a stream of the plan");
                self.streams
                    .push(Running::new(plan.clone(), key, self.side));
                self.expected -= usize::from(!plan.may_vanish());
                moved = true;
            }
        }
        moved
    }

    fn run_streams(&mut self, now: Instant, connection: &mut Connection) -> bool {
        let mut allowance = usize::MAX;
        if let Some(bytes) = self.plan.slow[of(self.side)] {
            allowance = if self.next_tick <= now { bytes } else { 0 };
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
        }
        let mut moved = false;
        for stream in &mut self.streams {
            let before = stream.read;
            moved |= stream.step(now, connection, &mut allowance);
            self.delivered += stream.read - before;
        }
        self.streams.retain(|stream| !stream.is_over());
        moved
    }

    fn send_datagrams(&mut self, connection: &mut Connection) -> bool {
        let wanted = self.plan.datagrams[of(self.side)];
        if self.datagrams_sent >= wanted {
            return false;
        }
        let Some(most) = connection.max_datagram_size() else {
            // The peer takes none, or is not known yet.
            if !connection.is_handshaking() {
                self.datagrams_sent = wanted;
            }
            return false;
        };
        let number = self.datagrams_sent;
        let len = (number as usize * 131 % most.max(1)).max(4).min(most);
        let mut data = vec![number as u8; len];
        data[..4].copy_from_slice(&number.to_be_bytes());
        connection
            .send_datagram(Bytes::from(data))
            .expect("it is no larger than may be");
        self.datagrams_sent += 1;
        true
    }

    fn receive_datagrams(&mut self, connection: &mut Connection) -> bool {
        let mut moved = false;
        while self.may_receive {
            let Some(data) = connection.recv_datagram() else {
                self.may_receive = false;
                break;
            };
            let number = u32::from_be_bytes(data[..4].try_into().unwrap());
            assert!(data[4..].iter().all(|byte| *byte == number as u8));
            assert!(
                self.datagrams.insert(number),
                "datagram {number} came twice"
            );
            moved = true;
        }
        self.truth.borrow_mut().datagrams[of(self.side)] = self.datagrams.len() as u32;
        moved
    }

    /// Tells the other side that all is done, and closes when both are.
    fn finish(&mut self, now: Instant, connection: &mut Connection) {
        let complete = self.is_complete();
        let mut truth = self.truth.borrow_mut();
        if complete && !truth.complete[of(self.side)] {
            truth.complete[of(self.side)] = true;
            truth.completed[of(self.side)] = Some(now);
            truth.zero_rtt = truth.zero_rtt.or(connection.zero_rtt_accepted());
        }
        if complete && truth.complete == [true; 2] && self.plan.closer == self.side {
            drop(truth);
            connection.close(now, DONE, "all is done");
        }
    }

    pub(super) fn describe(&self) -> String {
        let streams: Vec<String> = self
            .streams
            .iter()
            .filter(|stream| stream.send != Stage::Over || stream.recv != Stage::Over)
            .map(|stream| {
                format!(
                    "{:?} send {:?} {}/{} recv {:?} {}/{} ",
                    stream.plan.id,
                    stream.send,
                    stream.written,
                    stream.plan.size[of(self.side)],
                    stream.recv,
                    stream.read,
                    stream.plan.size[of(self.side.peer())],
                )
            })
            .collect();
        format!(
            "complete {}, {} expected, {:?} unopened, may open {:?}, datagrams {}, confirmed {}, closed {:?}\n    {}",
            self.is_complete(),
            self.expected,
            self.unopened,
            self.may_open,
            self.datagrams_sent,
            self.news.confirmed,
            self.news.closed,
            streams.join("\n    "),
        )
    }
}
