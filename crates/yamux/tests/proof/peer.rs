//! A peer that speaks frames by hand to one session, on virtual time.

use super::frames::{Frame, Reader};
use super::recorder::Recorder;
use bytes::Bytes;
use std::io::IoSlice;
use weir_core::budget::Budget;
use weir_core::close::CloseReason;
use weir_core::rng::rng_from_seed;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};
use weir_yamux::{Config, Event, Input, OpenError, ReadError, Role, Session, TransmitBuf};

/// Everything that waits in `batch`, in the order of the wire.
pub fn copy_all(batch: &TransmitBuf) -> Vec<u8> {
    let mut slices = vec![IoSlice::new(&[]); batch.slice_count()];
    let count = batch.fill_slices(&mut slices);
    let out = slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect::<Vec<u8>>();
    assert_eq!(out.len(), batch.len(), "the slices are the batch");
    out
}

/// The same, written.
pub fn take_all(batch: &mut TransmitBuf) -> Vec<u8> {
    let out = copy_all(batch);
    batch.advance(out.len());
    assert!(batch.is_empty());
    out
}

/// A session and the hand-written peer before it.
pub struct Peer {
    pub session: Session,
    pub budget: Budget,
    pub now: Instant,
    pub heard: Recorder,
    reader: Reader,
    batch: TransmitBuf,
}

impl Peer {
    /// A peer of a session in `role`, which traces everything.
    pub fn of(role: Role, config: Config) -> Peer {
        Peer::within(role, config, Budget::root("process", 1 << 40))
    }

    /// The same, with the session's memory out of `budget`.
    pub fn within(role: Role, config: Config, budget: Budget) -> Peer {
        let now = Instant::ZERO;
        let mut session =
            Session::new(role, config, &budget, rng_from_seed(1), now).expect("a valid config");
        let heard = Recorder::default();
        session.set_tracer(now, heard.tracer());
        let (reader, batch) = (Reader::default(), TransmitBuf::new());
        Peer {
            session,
            budget,
            now,
            heard,
            reader,
            batch,
        }
    }

    /// Before a server with default settings and no keepalive: the peer's ids are odd.
    pub fn of_server() -> Peer {
        Peer::of(Role::Server, quiet())
    }

    /// Before a client with default settings and no keepalive: the peer's ids are even.
    pub fn of_client() -> Peer {
        Peer::of(Role::Client, quiet())
    }

    /// Sends frames in one read.
    pub fn send(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.send_bytes(&bytes);
    }

    /// Sends bytes in one read.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.session
            .handle_input(self.now, Input::Data(Bytes::copy_from_slice(bytes)));
    }

    /// Takes all that the session wants to send.
    pub fn recv_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..100_000 {
            self.session.poll_transmit(self.now, &mut self.batch);
            if self.batch.is_empty() {
                return all;
            }
            all.extend(take_all(&mut self.batch));
        }
        panic!("the session never stops sending\n{}", self.heard.tail());
    }

    /// Takes all frames that the session wants to send.
    pub fn recv(&mut self) -> Vec<Frame> {
        let bytes = self.recv_bytes();
        self.reader.push(&bytes);
        let frames = std::iter::from_fn(|| self.reader.next_frame()).collect();
        assert_eq!(self.reader.rest(), 0, "frames leave whole");
        frames
    }

    /// Sends frames and takes the answer.
    pub fn exchange(&mut self, frames: &[Frame]) -> Vec<Frame> {
        self.send(frames);
        self.recv()
    }

    /// All news that wait.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// Lets `time` pass and calls at each wake-up that the session asked for.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            match self.session.poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = self.now.max(at);
                    self.session.handle_timeout(self.now);
                    let next = self.session.poll_timeout();
                    assert!(
                        next.is_none_or(|(at, _)| at > self.now),
                        "{next:?} is asked for again at {:?}",
                        self.now
                    );
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("more wake-ups than any time needs\n{}", self.heard.tail());
    }

    /// Opens a stream from the session's side and says its id. Nothing is sent yet.
    pub fn open(&mut self) -> Key {
        self.session.open(self.now).expect("a stream")
    }

    /// Why no stream can be opened.
    pub fn open_error(&mut self) -> OpenError {
        self.session.open(self.now).expect_err("no stream")
    }

    pub fn accept(&mut self) -> Option<Key> {
        self.session.accept(self.now)
    }

    pub fn id(&self, key: Key) -> u32 {
        self.session.stream_stats(key).expect("a live stream").id
    }

    pub fn write(&mut self, key: Key, bytes: &[u8]) -> Result<usize, weir_yamux::WriteError> {
        self.session
            .write(self.now, key, &mut Bytes::copy_from_slice(bytes))
    }

    /// Reads until there is nothing: the bytes, and what ended it.
    pub fn read_all(&mut self, key: Key) -> (Vec<u8>, ReadEnd) {
        let mut all = Vec::new();
        loop {
            match self.session.read(self.now, key, usize::MAX) {
                Ok(Some(bytes)) => {
                    assert!(!bytes.is_empty(), "a read gives something");
                    all.extend_from_slice(&bytes);
                }
                Ok(None) => return (all, ReadEnd::Fin),
                Err(error) => return (all, ReadEnd::Error(error)),
            }
        }
    }

    /// Why the session ended, or None.
    pub fn closed(&self) -> Option<&CloseReason> {
        self.session.close_reason()
    }

    /// Shows that the session lives and reads in step: a ping is answered.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let answer = self.exchange(&[Frame::ping(super::frames::SYN, 0xdead_beef)]);
        let pong = Frame::ping(super::frames::ACK, 0xdead_beef);
        assert!(
            answer.contains(&pong),
            "no answer but {answer:?}\n{}",
            self.heard.tail()
        );
        assert!(self.closed().is_none());
    }

    /// Shows that the session ended with go-away 1 and by a reason in words.
    #[track_caller]
    pub fn assert_protocol_error(&mut self) {
        let frames = self.recv();
        let reason = self.closed().cloned();
        assert_eq!(
            frames.last(),
            Some(&Frame::go_away(1)),
            "{reason:?}\n{}",
            self.heard.tail()
        );
        let reason = reason.expect("a close reason");
        assert_eq!(reason.code, 1, "{reason:?}");
        assert!(!reason.to_string().is_empty());
    }
}

/// What ended a reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadEnd {
    Fin,
    Error(ReadError),
}

/// Default settings without keepalive pings of the session's own.
pub fn quiet() -> Config {
    Config {
        keepalive: None,
        ..Config::default()
    }
}
