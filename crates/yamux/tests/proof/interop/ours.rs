//! A small driver: one task that owns the socket, the session, and what is done on each stream.

use crate::proof::recorder::Recorder;
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use weir_core::budget::Budget;
use weir_core::close::CloseReason;
use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_yamux::{
    CarrierState, Config, Event, Half, Input, Key, OpenError, Role, Session, SessionStats,
    TransmitBuf,
};

/// What is done on a stream. Called when something may have changed; `true` when it is through.
pub trait Flow: Send {
    fn go(&mut self, session: &mut Session, now: Instant, key: Key) -> bool;
}

/// What a driver's exchange came to.
#[derive(Debug)]
pub struct Outcome {
    pub reason: CloseReason,
    pub go_away: Option<u32>,
    pub stats: SessionStats,
    /// Streams whose flow came to its end.
    pub finished: usize,
    pub heard: String,
    pub largest_send_window: u64,
    pub largest_recv_window: u64,
}

pub struct Driver {
    role: Role,
    session: Session,
    epoch: std::time::Instant,
    batch: TransmitBuf,
    to_open: VecDeque<Box<dyn Flow>>,
    on_accept: Box<dyn FnMut() -> Box<dyn Flow> + Send>,
    flows: HashMap<Key, Box<dyn Flow>>,
    open_blocked: bool,
    finished: usize,
    /// Flows after which the session is closed from this side; never, when `None`.
    close_after: Option<usize>,
    /// Every byte that comes is held back so long.
    delay: Duration,
    ping: bool,
    go_away: Option<u32>,
    heard: Recorder,
    windows: (u64, u64),
}

impl Driver {
    pub fn new(role: Role, config: Config) -> Driver {
        let now = Instant::ZERO;
        let budget = Budget::root("process", 1 << 32);
        let mut session = Session::new(role, config, &budget, rng_from_seed(5), now).unwrap();
        let heard = Recorder::default();
        session.set_tracer(now, heard.tracer());
        Driver {
            role,
            session,
            epoch: std::time::Instant::now(),
            batch: TransmitBuf::new(),
            to_open: VecDeque::new(),
            on_accept: Box::new(|| panic!("no stream was to come")),
            flows: HashMap::new(),
            open_blocked: false,
            finished: 0,
            close_after: None,
            delay: Duration::ZERO,
            ping: false,
            go_away: None,
            heard,
            windows: (0, 0),
        }
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Opens a stream for each flow, as fast as the backlog lets it.
    pub fn opens(mut self, flows: impl IntoIterator<Item = Box<dyn Flow>>) -> Driver {
        self.to_open.extend(flows);
        self
    }

    /// What is done on a stream that comes in.
    pub fn accepts(mut self, make: impl FnMut() -> Box<dyn Flow> + Send + 'static) -> Driver {
        self.on_accept = Box::new(make);
        self
    }

    /// Closes the session when so many flows are through.
    pub fn closes_after(mut self, flows: usize) -> Driver {
        self.close_after = Some(flows);
        self
    }

    /// Makes the path longer.
    pub fn delayed(mut self, delay: Duration) -> Driver {
        self.delay = delay;
        self
    }

    pub fn pings(mut self) -> Driver {
        self.ping = true;
        self
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// Runs until the session is over and the carrier has ended.
    pub async fn run(mut self, socket: TcpStream) -> Outcome {
        let mut held: VecDeque<(Instant, Input)> = VecDeque::new();
        let mut reading = true;
        if self.ping {
            self.session.ping(self.now());
        }
        loop {
            self.turn();
            let blocked = self.flush(&socket);
            if let Some(reason) = self.session.close_reason().cloned().filter(|_| !blocked) {
                return self.end(socket, reason).await;
            }
            let timer = self.session.poll_timeout().map(|(at, _)| at);
            let due = held.front().map(|(at, _)| *at);
            let wake = timer.into_iter().chain(due).min();
            let sleep = wake.map(|at| at.saturating_duration_since(self.now()));
            tokio::select! {
                _ = socket.readable(), if reading => {
                    if let Some(input) = take(&socket) {
                        reading = matches!(input, Input::Data(_));
                        held.push_back((self.now() + self.delay, input));
                    }
                }
                _ = socket.writable(), if blocked => {}
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            }
            let now = self.now();
            while held.front().is_some_and(|(at, _)| *at <= now) {
                let (_, input) = held.pop_front().unwrap();
                self.session.handle_input(now, input);
            }
            self.session.handle_timeout(now);
        }
    }

    /// The GoAway is out: ends the writing and waits for the peer's end.
    async fn end(self, mut socket: TcpStream, reason: CloseReason) -> Outcome {
        // The peer may be gone already.
        let _shut = tokio::io::AsyncWriteExt::shutdown(&mut socket).await;
        let mut rest = vec![0; 65_536];
        while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        Outcome {
            reason,
            go_away: self.go_away,
            stats: self.session.stats(),
            finished: self.finished,
            heard: self.heard.tail(),
            largest_send_window: self.windows.0,
            largest_recv_window: self.windows.1,
        }
    }

    /// Writes what the socket takes; whether it refused some.
    fn flush(&mut self, socket: &TcpStream) -> bool {
        loop {
            let now = self.now();
            if self.batch.is_empty() {
                self.session.poll_transmit(now, &mut self.batch);
            }
            if self.batch.is_empty() {
                self.session.handle_carrier(now, CarrierState::Ready);
                return false;
            }
            let mut slices = [IoSlice::new(&[]); 256];
            let count = self.batch.fill_slices(&mut slices);
            match socket.try_write_vectored(&slices[..count]) {
                Ok(written) => {
                    self.batch.advance(written);
                    self.session.handle_carrier(now, CarrierState::Ready);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.session.handle_carrier(now, CarrierState::Blocked);
                    return true;
                }
                Err(error) => {
                    self.batch.clear();
                    self.session
                        .handle_input(now, Input::Lost(error.to_string()));
                }
            }
        }
    }

    /// Lets everybody act who may.
    fn turn(&mut self) {
        let now = self.now();
        loop {
            self.open(now);
            let Some(event) = self.session.poll_event() else {
                break;
            };
            match event {
                Event::Readable(key) | Event::Writable(key) | Event::StreamReset(key) => {
                    self.go(now, key);
                }
                Event::Acceptable => {
                    while let Some(key) = self.session.accept(now) {
                        let flow = (self.on_accept)();
                        self.flows.insert(key, flow);
                        self.go(now, key);
                    }
                }
                Event::OpenReady => self.open_blocked = false,
                Event::GoAway(code) => self.go_away = Some(code),
                Event::Opened(_) | Event::Closed(_) => {}
            }
        }
        if self.close_after.is_some_and(|flows| self.finished >= flows) {
            self.session.close(now, 0, "done");
        }
    }

    fn open(&mut self, now: Instant) {
        while !self.open_blocked && !self.to_open.is_empty() {
            match self.session.open(now) {
                Ok(key) => {
                    let flow = self.to_open.pop_front().unwrap();
                    self.flows.insert(key, flow);
                    self.go(now, key);
                }
                Err(OpenError::Blocked) => self.open_blocked = true,
                Err(_) => self.to_open.clear(),
            }
        }
    }

    fn go(&mut self, now: Instant, key: Key) {
        if let Some(stats) = self.session.stream_stats(key) {
            let (send, recv) = self.windows;
            self.windows = (
                send.max(stats.send_window),
                recv.max(stats.recv_window_size),
            );
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        if flow.go(&mut self.session, now, key) {
            self.flows.remove(&key);
            self.session.release(now, key, Half::Recv);
            self.session.release(now, key, Half::Send);
            self.finished += 1;
        }
    }
}

/// What the socket has; `None` when that is nothing yet.
fn take(socket: &TcpStream) -> Option<Input> {
    let mut chunk = BytesMut::with_capacity(256 * 1024);
    match socket.try_read_buf(&mut chunk) {
        Ok(0) => Some(Input::End),
        Ok(_) => Some(Input::Data(chunk.freeze())),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Input::Lost(error.to_string())),
    }
}

/// Boxes a flow.
pub fn flow(flow: impl Flow + 'static) -> Box<dyn Flow> {
    Box::new(flow)
}

/// What a flow reads next: bytes, or that the stream has ended well.
pub fn read(session: &mut Session, now: Instant, key: Key) -> Option<Option<Bytes>> {
    match session.read(now, key, usize::MAX) {
        Ok(bytes) => Some(bytes),
        Err(weir_yamux::ReadError::Blocked) => None,
        Err(error) => panic!("read: {error}"),
    }
}
