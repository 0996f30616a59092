//! Byte pipes in the world.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use weir_core::time::Instant;

use super::{Event, Wake, World};
use crate::flow::{CutAt, Ending, Flow, FlowStats, PipeConfig, Read, Segment, WriteError};

/// Lines about pipes in a state dump; a thousand would hide what matters.
const MAX_DESCRIBED: usize = 40;

/// One end of a byte pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipeEnd {
    pipe: u32,
    side: Side,
}

/// Which end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The first of the two that [`World::pipe`] returns: in recordings the client.
    A,
    /// The second.
    B,
}

impl PipeEnd {
    /// The pipe's number, in the order of creation.
    #[must_use]
    pub fn pipe(self) -> usize {
        self.pipe as usize
    }

    /// Which of its ends.
    #[must_use]
    pub fn side(self) -> Side {
        self.side
    }

    /// The other end.
    #[must_use]
    pub fn peer(self) -> Self {
        let side = match self.side {
            Side::A => Side::B,
            Side::B => Side::A,
        };
        Self {
            pipe: self.pipe,
            side,
        }
    }
}

/// Both directions of a pipe.
pub(super) struct Pipe {
    /// What is written at A.
    from_a: Direction,
    /// What is written at B.
    from_b: Direction,
    /// It was cut: once is enough.
    cut: bool,
    /// The addresses of A and B in recordings.
    addresses: (SocketAddr, SocketAddr),
}

struct Direction {
    flow: Flow,
    /// The event that is in the queue for it.
    scheduled: Option<Instant>,
}

impl Pipe {
    fn written_at(&self, side: Side) -> &Direction {
        match side {
            Side::A => &self.from_a,
            Side::B => &self.from_b,
        }
    }

    fn written_at_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::A => &mut self.from_a,
            Side::B => &mut self.from_b,
        }
    }
}

impl World {
    /// A byte pipe, the same in both directions.
    ///
    /// # Panics
    /// When the configuration does not validate.
    #[track_caller]
    pub fn pipe(&mut self, config: PipeConfig) -> (PipeEnd, PipeEnd) {
        self.pipe_of(config.clone(), config)
    }

    /// A byte pipe whose directions differ: `forward` carries what is written at the first end.
    ///
    /// # Panics
    /// When a configuration does not validate.
    #[track_caller]
    pub fn pipe_of(&mut self, forward: PipeConfig, backward: PipeConfig) -> (PipeEnd, PipeEnd) {
        let pipe = u32::try_from(self.pipes.len()).unwrap_or(u32::MAX);
        let ends = [Side::A, Side::B].map(|side| PipeEnd { pipe, side });
        let [_, one, two, three] = pipe.to_be_bytes();
        let client = SocketAddr::from((Ipv4Addr::new(10, one, two, three), 49_152));
        let server = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4001));
        for (end, config) in ends.iter().zip([&forward, &backward]) {
            if let Some(CutAt::Time(at)) = config.cut.map(|cut| cut.when) {
                self.events.push(at.max(self.now), Event::Cut(*end));
            }
        }
        let direction = |config: PipeConfig, label: &str| {
            let rng = crate::random::split(self.seed, &format!("pipe {pipe} {label}"));
            match Flow::new(config, rng) {
                Ok(flow) => Direction {
                    flow,
                    scheduled: None,
                },
                Err(error) => panic!("a pipe's configuration: {error}"),
            }
        };
        let from_a = direction(forward, "forward");
        let from_b = direction(backward, "backward");
        let addresses = (client, server);
        self.pipes.push(Pipe {
            from_a,
            from_b,
            cut: false,
            addresses,
        });
        let [a, b] = ends;
        (a, b)
    }

    /// Sets the addresses that this end and its peer have in recordings, before anything moves.
    pub fn set_pipe_addresses(&mut self, end: PipeEnd, own: SocketAddr, peer: SocketAddr) {
        if let Some(pipe) = self.pipes.get_mut(end.pipe as usize) {
            pipe.addresses = match end.side {
                Side::A => (own, peer),
                Side::B => (peer, own),
            };
        }
    }

    /// Writes what the pipe has room for, taking it off the front of `data`, and returns how much
    /// that was: 0 when the pipe is full. [`Wake::Writable`] tells when there is room again.
    ///
    /// # Errors
    /// When nothing will ever be taken again.
    pub fn write(&mut self, end: PipeEnd, data: &mut Bytes) -> Result<usize, WriteError> {
        let now = self.now;
        let written = self.direction_mut(end).flow.write(now, data);
        self.schedule(end);
        written
    }

    /// Reads at most `max` bytes, cut as the pipe's [`crate::Chunking`] says.
    pub fn read(&mut self, end: PipeEnd, max: usize) -> Read {
        let now = self.now;
        let read = self.direction_mut(end.peer()).flow.read(now, max);
        self.schedule(end.peer());
        read
    }

    /// Ends this end's writing: the peer reads the end after all that was written.
    pub fn finish(&mut self, end: PipeEnd) {
        let now = self.now;
        self.direction_mut(end).flow.finish(now);
        self.schedule(end);
    }

    /// Resets the pipe from this end, which neither reads nor writes any more. The peer learns of
    /// it after the delay, and loses what it has not read.
    pub fn abort(&mut self, end: PipeEnd) {
        let now = self.now;
        self.direction_mut(end).flow.reset(now);
        self.direction_mut(end.peer()).flow.abandon();
        self.schedule(end);
        self.wakes.push_back(Wake::Readable(end));
    }

    /// Cuts the pipe at both ends, now. What has not arrived never does. Only the first cut counts.
    pub fn cut(&mut self, end: PipeEnd, how: Ending) {
        match self.pipes.get_mut(end.pipe as usize) {
            Some(pipe) if !pipe.cut => pipe.cut = true,
            _ => return,
        }
        for end in [end, end.peer()] {
            self.direction_mut(end).flow.cut(how);
            self.digest
                .event(b'X', self.now, u64::from(end.pipe), end.side as u64, &[]);
            self.capture_segment(end, &cut_segment(how));
        }
        for end in [end, end.peer()] {
            self.wakes.push_back(Wake::Readable(end));
            self.wakes.push_back(Wake::Writable(end));
        }
    }

    /// Bytes that can be read at this end.
    #[must_use]
    pub fn readable(&self, end: PipeEnd) -> usize {
        self.direction(end.peer()).flow.readable()
    }

    /// Bytes that can be written at this end.
    pub fn room(&mut self, end: PipeEnd) -> usize {
        let now = self.now;
        self.direction_mut(end).flow.room(now)
    }

    /// Bytes that this end wrote and does not know to be read.
    #[must_use]
    pub fn outstanding(&self, end: PipeEnd) -> usize {
        self.direction(end).flow.outstanding()
    }

    /// Counters of what is written at this end.
    #[must_use]
    pub fn flow_stats(&self, end: PipeEnd) -> &FlowStats {
        self.direction(end).flow.stats()
    }

    /// Lets what is written at `writer` move.
    pub(super) fn move_flow(&mut self, writer: PipeEnd) {
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(writer.pipe as usize) else {
            return;
        };
        let direction = pipe.written_at_mut(writer.side);
        if direction.scheduled != Some(now) {
            return;
        }
        direction.scheduled = None;
        let addresses = pipe.addresses;
        let flow = &mut pipe.written_at_mut(writer.side).flow;
        let (digest, capture) = (&mut self.digest, &mut self.capture);
        let name = (u64::from(writer.pipe) << 1) | writer.side as u64;
        let progress = flow.advance(now, |at, segment| {
            let (kind, bytes): (u64, &[u8]) = match segment {
                Segment::Data(data) => (0, data),
                Segment::Fin => (1, &[]),
                Segment::Reset => (2, &[]),
            };
            digest.event(b'P', at, name, kind, bytes);
            if let Some(capture) = capture {
                capture.segment(at, writer, addresses, segment);
            }
        });
        if progress.readable {
            self.wakes.push_back(Wake::Readable(writer.peer()));
        }
        if progress.writable {
            self.wakes.push_back(Wake::Writable(writer));
        }
        if progress.reset {
            self.direction_mut(writer.peer())
                .flow
                .refuse(WriteError::Reset);
            self.wakes.push_back(Wake::Writable(writer.peer()));
        }
        if progress.cut {
            self.cut_as_configured(writer);
        }
        self.schedule(writer);
    }

    pub(super) fn cut_as_configured(&mut self, writer: PipeEnd) {
        if let Some(cut) = self.direction(writer).flow.config().cut {
            self.cut(writer, cut.how);
        }
    }

    /// Puts the next event of what is written at `writer` into the queue, if none is there that
    /// comes as early.
    fn schedule(&mut self, writer: PipeEnd) {
        let now = self.now;
        let direction = self.direction_mut(writer);
        let Some(at) = direction.flow.next_event().map(|at| at.max(now)) else {
            return;
        };
        if direction.scheduled.is_none_or(|scheduled| at < scheduled) {
            direction.scheduled = Some(at);
            self.events.push(at, Event::Flow(writer));
        }
    }

    fn capture_segment(&mut self, writer: PipeEnd, segment: &Segment) {
        let Some(pipe) = self.pipes.get(writer.pipe as usize) else {
            return;
        };
        if let Some(capture) = &mut self.capture {
            capture.segment(self.now, writer, pipe.addresses, segment);
        }
    }

    /// The direction that is written at `writer`.
    #[track_caller]
    fn direction(&self, writer: PipeEnd) -> &Direction {
        match self.pipes.get(writer.pipe as usize) {
            Some(pipe) => pipe.written_at(writer.side),
            None => panic!("{writer:?} is of another world"),
        }
    }

    #[track_caller]
    fn direction_mut(&mut self, writer: PipeEnd) -> &mut Direction {
        match self.pipes.get_mut(writer.pipe as usize) {
            Some(pipe) => pipe.written_at_mut(writer.side),
            None => panic!("{writer:?} is of another world"),
        }
    }

    pub(super) fn describe_pipes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, pipe) in self.pipes.iter().enumerate().take(MAX_DESCRIBED) {
            for (arrow, direction) in [("a>b", &pipe.from_a), ("b>a", &pipe.from_b)] {
                let stats = direction.flow.stats();
                writeln!(
                    f,
                    "  pipe {number} {arrow}: written {}, arrived {}, read {}, unread {}, \
                     outstanding {}{}",
                    stats.written,
                    stats.arrived,
                    stats.read,
                    direction.flow.readable(),
                    direction.flow.outstanding(),
                    if direction.flow.is_writer_blocked() {
                        ", writer blocked"
                    } else {
                        ""
                    },
                )?;
            }
        }
        match self.pipes.len().saturating_sub(MAX_DESCRIBED) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} pipes more"),
        }
    }
}

/// What a cut looks like in a recording.
fn cut_segment(how: Ending) -> Segment {
    match how {
        Ending::Eof => Segment::Fin,
        Ending::Reset => Segment::Reset,
    }
}
