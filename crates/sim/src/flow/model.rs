//! The model itself.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use weir_core::rng::Rng;
use weir_core::time::{Duration, Instant};

use super::{Chunking, Cut, CutAt, Ending, PipeConfig};
use crate::error::ConfigError;
use crate::link::transmission_time;
use crate::random::{Chance, duration_up_to, size_between};

/// Times that one segment may be lost: a pipe that loses everything still carries bytes.
const MOST_LOSSES: u32 = 16;

/// What a read gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// At least one byte.
    Data(Bytes),
    /// Nothing has arrived.
    Blocked,
    /// The writer finished, or the pipe was cut in good order.
    End,
    /// The pipe was reset.
    Reset,
}

/// Why bytes cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WriteError {
    /// This end has finished writing.
    #[error("this end has finished writing")]
    Finished,
    /// The pipe was cut in good order.
    #[error("the pipe is closed")]
    Closed,
    /// The pipe was reset, by the other end or on the way.
    #[error("the pipe was reset")]
    Reset,
}

/// What moved in a flow by the passing of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// There is something to read that was not there before, if only the end.
    pub readable: bool,
    /// There is room again for a writer that was refused.
    pub writable: bool,
    /// The writer's reset arrived.
    pub reset: bool,
    /// The byte arrived after which the pipe is to be cut.
    pub cut: bool,
}

/// What travels in a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes.
    Data(Bytes),
    /// The end, in order after all bytes.
    Fin,
    /// A reset.
    Reset,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Bytes the writer handed over.
    pub written: u64,
    /// Bytes that arrived at the other end.
    pub arrived: u64,
    /// Bytes the reader took.
    pub read: u64,
    /// Writes that were refused for want of room.
    pub refused: u64,
    /// Most bytes between writer and reader at a time.
    pub peak: usize,
}

/// One direction of a pipe.
///
/// Whoever drives it calls [`Flow::advance`] at the time that [`Flow::next_event`] names, and reads
/// and writes in between.
#[derive(Debug)]
pub struct Flow {
    config: PipeConfig,
    rng: Rng,
    loss: Chance,
    stats: FlowStats,
    /// Written, and not known to be read.
    outstanding: usize,
    /// Room on its way back to the writer: when it is known there, and how much.
    returning: VecDeque<(Instant, usize)>,
    /// A write was refused since the last [`Progress::writable`].
    refused: bool,
    closed: Option<WriteError>,
    busy_until: Instant,
    last_arrival: Instant,
    travelling: VecDeque<(Instant, Segment)>,
    arrived: VecDeque<Bytes>,
    arrived_bytes: usize,
    ended: Option<Ending>,
    /// The reader left: what arrives is thrown away.
    abandoned: bool,
}

impl Flow {
    /// A flow that behaves as `config` says, with the random numbers of `rng`. The configuration's
    /// cut by time is left to whoever drives both directions.
    ///
    /// # Errors
    /// When [`PipeConfig::validate`] finds fault.
    pub fn new(config: PipeConfig, rng: Rng) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            loss: Chance::new(config.loss),
            config,
            rng,
            stats: FlowStats::default(),
            outstanding: 0,
            returning: VecDeque::new(),
            refused: false,
            closed: None,
            busy_until: Instant::ZERO,
            last_arrival: Instant::ZERO,
            travelling: VecDeque::new(),
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            ended: None,
            abandoned: false,
        })
    }

    /// What it is like.
    #[must_use]
    pub fn config(&self) -> &PipeConfig {
        &self.config
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> &FlowStats {
        &self.stats
    }

    /// Bytes that can be written at `now`.
    pub fn room(&mut self, now: Instant) -> usize {
        while let Some(&(at, bytes)) = self.returning.front() {
            if at > now {
                break;
            }
            self.returning.pop_front();
            self.outstanding -= bytes;
        }
        self.config.buffer - self.outstanding
    }

    /// Bytes that can be read.
    #[must_use]
    pub fn readable(&self) -> usize {
        self.arrived_bytes
    }

    /// Bytes between writer and reader, with those that were read when the writer does not know.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether a write was refused, and there was no room since.
    #[must_use]
    pub fn is_writer_blocked(&self) -> bool {
        self.refused
    }

    /// Writes what there is room for, taking it off the front of `data`, and returns how much that
    /// was: 0 for a full pipe. [`Progress::writable`] tells when there is room again.
    ///
    /// # Errors
    /// When nothing will ever be taken again.
    pub fn write(&mut self, now: Instant, data: &mut Bytes) -> Result<usize, WriteError> {
        if let Some(error) = self.closed {
            return Err(error);
        }
        let taken = self.room(now).min(data.len());
        self.refused |= taken < data.len();
        self.stats.refused += u64::from(taken < data.len());
        self.outstanding += taken;
        self.stats.peak = self.stats.peak.max(self.outstanding);
        self.stats.written += taken as u64;
        let mut rest = taken;
        while rest > 0 {
            let size = rest.min(self.config.segment);
            let piece = data.split_to(size);
            self.send(now, Segment::Data(piece));
            rest -= size;
        }
        Ok(taken)
    }

    /// Ends the direction: the reader sees the end after all that was written.
    pub fn finish(&mut self, now: Instant) {
        if self.closed.is_none() {
            self.closed = Some(WriteError::Finished);
            self.send(now, Segment::Fin);
        }
    }

    /// Resets the direction from the writer's end. The reset arrives after what is on its way.
    pub fn reset(&mut self, now: Instant) {
        if matches!(self.closed, None | Some(WriteError::Finished)) {
            self.closed = Some(WriteError::Reset);
            self.send(now, Segment::Reset);
        }
    }

    /// Tells the writer that nothing more will be taken: the other direction was reset.
    pub fn refuse(&mut self, error: WriteError) {
        self.closed = Some(error);
        self.refused = false;
    }

    /// Ends the direction by force, at both ends and at once; what travels is lost.
    pub fn cut(&mut self, how: Ending) {
        self.travelling.clear();
        self.refuse(match how {
            Ending::Eof => WriteError::Closed,
            Ending::Reset => WriteError::Reset,
        });
        self.end(how);
    }

    /// The reader leaves: what has arrived is thrown away, and so is what comes.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.end(Ending::Reset);
    }

    /// Reads at most `max` bytes; with a `max` of 0 it is blocked by its caller.
    pub fn read(&mut self, now: Instant, max: usize) -> Read {
        if max == 0 {
            return Read::Blocked;
        }
        if self.arrived_bytes == 0 {
            return match self.ended {
                Some(Ending::Eof) => Read::End,
                Some(Ending::Reset) => Read::Reset,
                None => Read::Blocked,
            };
        }
        let first = self.arrived.front().map_or(0, Bytes::len);
        let wanted = match self.config.chunking {
            Chunking::Coalesced => self.arrived_bytes,
            Chunking::AsWritten => first,
            Chunking::Fixed(size) => size,
            Chunking::Random { low, high } => size_between(&mut self.rng, low, high),
        };
        let size = wanted.min(max).min(self.arrived_bytes);
        let data = self.take(size);
        self.arrived_bytes -= size;
        self.stats.read += size as u64;
        self.give_back(now, size);
        Read::Data(data)
    }

    /// When [`Flow::advance`] has something to do.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        let arrival = self.travelling.front().map(|&(at, _)| at);
        let room = self
            .returning
            .front()
            .filter(|_| self.refused)
            .map(|&(at, _)| at);
        match (arrival, room) {
            (Some(arrival), Some(room)) => Some(arrival.min(room)),
            (arrival, room) => arrival.or(room),
        }
    }

    /// Lets time pass until `now`. `observe` sees each segment that arrives, with its time.
    pub fn advance(
        &mut self,
        now: Instant,
        mut observe: impl FnMut(Instant, &Segment),
    ) -> Progress {
        let mut progress = Progress::default();
        while let Some(&(at, _)) = self.travelling.front() {
            if at > now || progress.cut {
                break;
            }
            if let Some((at, segment)) = self.travelling.pop_front() {
                self.arrive(now, at, segment, &mut observe, &mut progress);
            }
        }
        if self.refused && self.room(now) > 0 {
            self.refused = false;
            progress.writable = true;
        }
        progress
    }

    fn send(&mut self, now: Instant, segment: Segment) {
        let size = if let Segment::Data(data) = &segment {
            data.len()
        } else {
            0
        };
        let time = self
            .config
            .rate
            .map_or(Duration::ZERO, |rate| transmission_time(size, rate));
        self.busy_until = self.busy_until.max(now) + time;
        let jitter = duration_up_to(&mut self.rng, self.config.jitter);
        let recovery = self.recovery();
        let arrival = self
            .last_arrival
            .max(self.busy_until + self.config.delay + jitter + recovery);
        let arrival = self.config.stalls.active_until(arrival).unwrap_or(arrival);
        self.last_arrival = arrival;
        self.travelling.push_back((arrival, segment));
    }

    /// How long the losses of the next segment keep it.
    fn recovery(&mut self) -> Duration {
        let mut times = 0;
        while times < MOST_LOSSES && self.loss.draw(&mut self.rng) {
            times += 1;
        }
        self.config.recovery.saturating_mul(times)
    }

    fn arrive(
        &mut self,
        now: Instant,
        at: Instant,
        segment: Segment,
        observe: &mut impl FnMut(Instant, &Segment),
        progress: &mut Progress,
    ) {
        let segment = self.cut_to_length(segment, progress);
        observe(at, &segment);
        match segment {
            Segment::Data(data) => {
                self.stats.arrived += data.len() as u64;
                if self.abandoned {
                    self.give_back(now, data.len());
                } else if !data.is_empty() {
                    self.arrived_bytes += data.len();
                    self.arrived.push_back(data);
                    progress.readable = true;
                }
            }
            Segment::Fin if self.ended.is_none() => {
                self.end(Ending::Eof);
                progress.readable = true;
            }
            Segment::Fin => {}
            Segment::Reset => {
                self.end(Ending::Reset);
                progress.readable = true;
                progress.reset = true;
            }
        }
    }

    /// Keeps of `segment` what comes before the byte at which the pipe is to be cut.
    fn cut_to_length(&self, segment: Segment, progress: &mut Progress) -> Segment {
        let (
            Some(Cut {
                when: CutAt::Bytes(limit),
                ..
            }),
            Segment::Data(data),
        ) = (self.config.cut, &segment)
        else {
            return segment;
        };
        let left = limit.saturating_sub(self.stats.arrived);
        if left > data.len() as u64 {
            return segment;
        }
        progress.cut = true;
        Segment::Data(data.slice(..usize::try_from(left).unwrap_or(data.len())))
    }

    fn end(&mut self, how: Ending) {
        if how == Ending::Reset {
            self.arrived.clear();
            self.arrived_bytes = 0;
            self.ended = Some(Ending::Reset);
        } else if self.ended.is_none() {
            self.ended = Some(Ending::Eof);
        }
    }

    /// Takes `size` bytes, which are there, off the front of what arrived.
    fn take(&mut self, size: usize) -> Bytes {
        match self.arrived.front_mut() {
            Some(first) if first.len() > size => return first.split_to(size),
            Some(first) if first.len() == size => {
                return self.arrived.pop_front().unwrap_or_default();
            }
            _ => {}
        }
        let mut joined = BytesMut::with_capacity(size);
        while joined.len() < size {
            let Some(mut piece) = self.arrived.pop_front() else {
                break;
            };
            let part = piece.split_to(piece.len().min(size - joined.len()));
            joined.extend_from_slice(&part);
            if !piece.is_empty() {
                self.arrived.push_front(piece);
            }
        }
        joined.freeze()
    }

    /// Room for `size` bytes starts on its way back to the writer.
    fn give_back(&mut self, now: Instant, size: usize) {
        let at = now + self.config.delay;
        match self.returning.back_mut() {
            Some((last, bytes)) if *last >= at => *bytes += size,
            _ => self.returning.push_back((at, size)),
        }
    }
}
