//! An application that opens, writes, reads, finishes, resets, stops and drops streams at random,
//! checks every byte that it gets, and relies on events: it asks again only when it was told to.

use super::plan::{Habits, chance};
use super::truth::{Shared, pattern_key};
use crate::proof::pattern;
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use weir_core::rng::{Rng, between};
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};
use weir_yamux::{Event, Half, OpenError, ReadError, Session, WriteError};

/// Where a stream is left before its time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Whim {
    None,
    /// Reset when so many bytes were written or read.
    Reset(u64),
    /// Reading is stopped after so many bytes.
    Stop(u64),
    /// Both halves are let go of after so many bytes.
    Drop(u64),
}

/// A stream in the application's hands.
#[derive(Debug)]
struct Job {
    id: u32,
    to_write: u64,
    written: u64,
    writes: u64,
    writing: bool,
    write_blocked: bool,
    next_write: Instant,
    read: u64,
    reads: u64,
    reading: bool,
    stopped: bool,
    read_blocked: bool,
    next_read: Instant,
    pause: u64,
    whim: Whim,
}

pub struct App {
    client: bool,
    rng: Rng,
    habits: Habits,
    truth: Shared,
    jobs: BTreeMap<Key, Job>,
    to_open: u32,
    next_open: Instant,
    open_blocked: bool,
    next_accept: Instant,
    accept_blocked: bool,
    /// The session is over: nothing new is begun.
    pub over: bool,
    pub go_away: Option<u32>,
    /// Streams whose ACK was asked about and is owed.
    unacknowledged: HashSet<Key>,
    /// Every accepted stream is answered with at most so many bytes.
    answers: u64,
}

impl App {
    pub fn new(client: bool, rng: Rng, habits: Habits, truth: Shared) -> App {
        App {
            client,
            rng,
            habits,
            truth,
            jobs: BTreeMap::new(),
            to_open: habits.streams,
            next_open: Instant::ZERO,
            open_blocked: false,
            next_accept: Instant::ZERO,
            accept_blocked: false,
            over: false,
            go_away: None,
            unacknowledged: HashSet::new(),
            answers: habits.most_bytes,
        }
    }

    /// Nothing is planned and nothing is open.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.to_open == 0
    }

    /// The streams that are being read, with how much of each was; of those that were stopped, all.
    pub fn reading(&self) -> impl Iterator<Item = (u32, u64)> {
        let jobs = self.jobs.values();
        let jobs = jobs.filter(|job| job.reading || job.stopped);
        jobs.map(|job| (job.id, if job.stopped { u64::MAX } else { job.read }))
    }

    pub fn describe(&self) -> String {
        format!(
            "{} to open (blocked {}), accept blocked {}, {:?}",
            self.to_open, self.open_blocked, self.accept_blocked, self.jobs
        )
    }

    /// Takes a piece of news. One that nobody waited for is a mistake.
    pub fn on_event(&mut self, event: &Event) {
        match event {
            Event::Readable(key) => {
                if let Some(job) = self.jobs.get_mut(key) {
                    assert!(job.read_blocked, "Readable for stream {} is owed", job.id);
                    job.read_blocked = false;
                }
            }
            Event::Writable(key) => {
                if let Some(job) = self.jobs.get_mut(key) {
                    assert!(job.write_blocked, "Writable for stream {} is owed", job.id);
                    job.write_blocked = false;
                }
            }
            Event::OpenReady => {
                assert!(self.open_blocked, "OpenReady is owed");
                self.open_blocked = false;
            }
            Event::Acceptable => self.accept_blocked = false,
            Event::StreamReset(key) => {
                if let Some(job) = self.jobs.get(key) {
                    self.truth.borrow_mut().assert_may_reset(job.id);
                }
            }
            Event::GoAway(code) => {
                assert!(self.truth.borrow().ending, "go-away out of the blue");
                self.go_away = Some(*code);
            }
            Event::Opened(key) => {
                assert!(self.unacknowledged.remove(key), "Opened was not asked for");
            }
            Event::Closed(_) => self.over = true,
        }
    }

    /// When it wants its next turn.
    pub fn next_turn(&self) -> Option<Instant> {
        let open = (self.to_open > 0 && !self.open_blocked).then_some(self.next_open);
        let accept = (!self.accept_blocked).then_some(self.next_accept);
        let jobs = self.jobs.values().flat_map(|job| {
            let write = (job.writing && !job.write_blocked).then_some(job.next_write);
            let read = (job.reading && !job.read_blocked).then_some(job.next_read);
            write.into_iter().chain(read)
        });
        jobs.chain(open).chain(accept).min()
    }

    /// Does what its time has come for.
    pub fn turn(&mut self, session: &mut Session, now: Instant) {
        if chance(&mut self.rng, 2) {
            session.ping(now);
        }
        self.open(session, now);
        self.accept(session, now);
        let keys: Vec<Key> = self.jobs.keys().copied().collect();
        for key in keys {
            let Some(mut job) = self.jobs.remove(&key) else {
                continue;
            };
            self.write(session, now, key, &mut job);
            self.read(session, now, key, &mut job);
            self.follow_whim(session, now, key, &mut job);
            if job.writing || job.reading {
                self.jobs.insert(key, job);
            } else {
                session.release(now, key, Half::Recv);
                session.release(now, key, Half::Send);
            }
        }
    }

    fn later(&mut self, now: Instant) -> Instant {
        let pause = self.habits.pause.min(1_000);
        // Often at once, sometimes late.
        let late = if chance(&mut self.rng, 50) {
            0
        } else {
            between(&mut self.rng, 0, pause)
        };
        now + Duration::from_millis(late)
    }

    fn open(&mut self, session: &mut Session, now: Instant) {
        while self.to_open > 0 && !self.open_blocked && self.next_open <= now {
            match session.open(now) {
                Ok(key) => {
                    self.to_open -= 1;
                    self.next_open = self.later(now);
                    self.take(session, now, key);
                }
                Err(OpenError::Blocked) => self.open_blocked = true,
                Err(OpenError::GoAway | OpenError::Closed(_)) => {
                    assert!(self.truth.borrow().ending, "no stream out of the blue");
                    self.to_open = 0;
                }
                Err(OpenError::Exhausted) => panic!("2^31 streams were not opened"),
            }
        }
        if self.over {
            self.to_open = 0;
        }
    }

    fn accept(&mut self, session: &mut Session, now: Instant) {
        while !self.accept_blocked && self.next_accept <= now {
            match session.accept(now) {
                Some(key) => {
                    self.next_accept = self.later(now);
                    self.take(session, now, key);
                }
                None => self.accept_blocked = true,
            }
        }
    }

    /// A new stream: draws what is to become of it.
    fn take(&mut self, session: &mut Session, now: Instant, key: Key) {
        let id = session.stream_stats(key).expect("a stream just got").id;
        let rng = &mut self.rng;
        let most = if chance(rng, 60) {
            self.answers.min(3_000)
        } else {
            self.answers
        };
        let to_write = between(rng, 0, most);
        let point = between(rng, 0, to_write + 1);
        let whim = match between(rng, 0, 2) {
            _ if !chance(rng, self.habits.unruly) => Whim::None,
            0 => Whim::Reset(point),
            1 => Whim::Stop(point),
            _ => Whim::Drop(point),
        };
        if chance(rng, 20) {
            let urgency = u8::try_from(between(rng, 0, 7)).unwrap();
            let incremental = chance(rng, 50);
            session.set_priority(
                key,
                Priority {
                    urgency,
                    incremental,
                },
            );
        }
        let pause = if chance(rng, 20) {
            self.habits.pause * 10
        } else {
            self.habits.pause
        };
        let job = Job {
            id,
            to_write,
            written: 0,
            writes: 0,
            writing: true,
            write_blocked: false,
            next_write: now,
            read: 0,
            reads: 0,
            reading: true,
            stopped: false,
            read_blocked: false,
            next_read: now,
            pause,
            whim,
        };
        assert!(
            self.jobs.insert(key, job).is_none(),
            "a key names one stream"
        );
        // Opened is owed from here on, once.
        if !session.is_acknowledged(key) {
            self.unacknowledged.insert(key);
        }
    }

    fn write(&mut self, session: &mut Session, now: Instant, key: Key, job: &mut Job) {
        let name = pattern_key(job.id, self.client);
        while job.writing && !job.write_blocked && job.next_write <= now {
            if job.written == job.to_write {
                self.truth
                    .borrow_mut()
                    .direction(job.id, self.client)
                    .finished = true;
                session.finish(now, key);
                job.writing = false;
                return;
            }
            let most = if chance(&mut self.rng, 30) {
                200
            } else {
                60_000
            };
            let count = between(&mut self.rng, 1, most).min(job.to_write - job.written);
            let bytes = pattern::bytes(name, job.written, usize::try_from(count).unwrap());
            let mut data = Bytes::from(bytes);
            match session.write(now, key, &mut data) {
                Ok(taken) => {
                    assert!(taken > 0 && taken as u64 + data.len() as u64 == count);
                    job.written += taken as u64;
                    job.writes += 1;
                    self.truth
                        .borrow_mut()
                        .direction(job.id, self.client)
                        .written = job.written;
                    // Large streams take few pauses, or the run would be one of pauses.
                    let wait = job.writes < 40 && chance(&mut self.rng, 50);
                    let pause = if wait {
                        between(&mut self.rng, 0, job.pause)
                    } else {
                        0
                    };
                    job.next_write = now + Duration::from_millis(pause);
                }
                Err(WriteError::Blocked) => job.write_blocked = true,
                Err(WriteError::Finished) => panic!("stream {} was not finished", job.id),
                Err(WriteError::Reset(_)) => {
                    self.truth.borrow_mut().assert_may_reset(job.id);
                    self.truth.borrow_mut().streams_reset += 1;
                    job.writing = false;
                }
                Err(WriteError::Closed) => {
                    assert!(self.truth.borrow().ending, "closed out of the blue");
                    job.writing = false;
                }
            }
        }
    }

    fn read(&mut self, session: &mut Session, now: Instant, key: Key, job: &mut Job) {
        let name = pattern_key(job.id, !self.client);
        while job.reading && !job.read_blocked && job.next_read <= now {
            let most = if chance(&mut self.rng, 20) {
                100
            } else {
                100_000
            };
            let most = usize::try_from(between(&mut self.rng, 1, most)).unwrap();
            match session.read(now, key, most) {
                Ok(Some(bytes)) => {
                    assert!(!bytes.is_empty() && bytes.len() <= most);
                    let wrong = pattern::first_difference(name, job.read, &bytes);
                    assert_eq!(wrong, None, "stream {} from offset {}", job.id, job.read);
                    job.read += bytes.len() as u64;
                    job.reads += 1;
                    let count = bytes.len() as u64;
                    self.truth.borrow_mut().on_read(job.id, !self.client, count);
                    let wait = job.reads < 40 && chance(&mut self.rng, 50);
                    let pause = if wait {
                        between(&mut self.rng, 0, job.pause)
                    } else {
                        0
                    };
                    job.next_read = now + Duration::from_millis(pause);
                }
                Ok(None) => {
                    self.truth.borrow_mut().on_end(job.id, !self.client);
                    job.reading = false;
                }
                Err(ReadError::Blocked) => job.read_blocked = true,
                Err(ReadError::Reset(_)) => {
                    self.truth.borrow_mut().assert_may_reset(job.id);
                    self.truth.borrow_mut().streams_reset += 1;
                    job.reading = false;
                }
                Err(ReadError::Stopped) => panic!("stream {} was not stopped", job.id),
                Err(ReadError::Closed) => {
                    assert!(self.truth.borrow().ending, "closed out of the blue");
                    job.reading = false;
                }
            }
        }
    }

    fn follow_whim(&mut self, session: &mut Session, now: Instant, key: Key, job: &mut Job) {
        let reached = |point| job.read.max(job.written) >= point;
        match job.whim {
            Whim::Reset(point) if reached(point) => {
                self.truth.borrow_mut().disturb(job.id);
                session.reset(now, key, 7);
                (job.writing, job.reading) = (false, false);
            }
            Whim::Stop(point) if reached(point) => {
                self.truth.borrow_mut().disturb(job.id);
                session.stop(now, key, 8);
                let after = session.read(now, key, 1);
                assert_eq!(after, Err(ReadError::Stopped), "stream {}", job.id);
                job.whim = Whim::None;
                (job.reading, job.stopped) = (false, true);
            }
            Whim::Drop(point) if reached(point) => {
                let mut truth = self.truth.borrow_mut();
                truth.disturb(job.id);
                truth.direction(job.id, self.client).finished = true;
                let halves = if chance(&mut self.rng, 50) {
                    [Half::Send, Half::Recv]
                } else {
                    [Half::Recv, Half::Send]
                };
                drop(truth);
                for half in halves {
                    session.release(now, key, half);
                }
                (job.writing, job.reading) = (false, false);
            }
            _ => {}
        }
    }
}
