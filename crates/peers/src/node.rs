//! One endpoint, its socket, and the task that moves datagrams between them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use weir_core::rng::rng_from_seed;
use weir_core::time::Instant;
use weir_quic::cid::RandomCids;
use weir_quic::{
    ClientConfig, ConnectError, Connection, ConnectionHandle, Endpoint, EndpointConfig, Event,
    Handled, PathAddr, ResetKey, RetryPolicy, ServerConfig, TokenKeys, TransmitBuf,
};

/// Longer than any wait of a test that is going to succeed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest datagram there is.
const LARGEST: usize = 65_535;

/// Settings of a [`Node`]; the default is a client's.
#[derive(Default)]
pub struct NodeConfig {
    /// How connections are taken, if they are.
    pub server: Option<Arc<ServerConfig>>,
    /// Whether clients are sent a Retry.
    pub retry: bool,
    /// Bytes of this side's connection IDs.
    pub cid_len: Option<usize>,
    /// Where to bind; port 0 of 127.0.0.1 otherwise.
    pub bind: Option<SocketAddr>,
    /// The first number of its random sequence.
    pub seed: u64,
}

/// An endpoint on a socket. The task ends with the last [`Node`]; connections are then forgotten
/// without a word.
pub struct Node {
    shared: Arc<Shared>,
    accepted: mpsc::UnboundedReceiver<Conn>,
    task: AbortHandle,
}

/// A connection of a [`Node`].
#[derive(Clone)]
pub struct Conn {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
}

/// Everything but wake-ups that a connection has told.
pub type Seen = Vec<Event>;

struct Shared {
    socket: UdpSocket,
    state: Mutex<State>,
    kick: Notify,
    begin: std::time::Instant,
}

struct State {
    endpoint: Endpoint,
    connections: HashMap<usize, Arc<Entry>>,
    accepted: mpsc::UnboundedSender<Conn>,
    out: TransmitBuf,
}

struct Entry {
    handle: ConnectionHandle,
    inner: Mutex<(Connection, Seen)>,
    news: Notify,
}

impl Node {
    /// Binds and starts.
    ///
    /// # Errors
    /// When the socket cannot be bound, or a setting is out of its range.
    pub async fn start(config: NodeConfig) -> io::Result<Node> {
        let bind = config.bind.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let socket = UdpSocket::bind(bind).await?;
        let cids =
            RandomCids::new(config.cid_len.unwrap_or(8)).ok_or(io::ErrorKind::InvalidInput)?;
        let mut settings = EndpointConfig::new(
            Arc::new(cids),
            Arc::new(TokenKeys::new(&[7; 32])),
            Arc::new(ResetKey::new(&[8; 32])),
            1_700_000_000,
        );
        settings.server = config.server;
        if config.retry {
            settings.retry = RetryPolicy::Always;
        }
        let endpoint = Endpoint::new(settings, rng_from_seed(config.seed));
        let (sender, accepted) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            socket,
            state: Mutex::new(State {
                endpoint: endpoint.map_err(io::Error::other)?,
                connections: HashMap::new(),
                accepted: sender,
                out: TransmitBuf::new(8),
            }),
            kick: Notify::new(),
            begin: std::time::Instant::now(),
        });
        let task = tokio::spawn(run(Arc::clone(&shared))).abort_handle();
        Ok(Node {
            shared,
            accepted,
            task,
        })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    /// Begins a connection to `remote`, whose certificate has to be for `localhost`.
    ///
    /// # Errors
    /// What the engine says.
    pub fn connect(&self, config: &ClientConfig, remote: SocketAddr) -> Result<Conn, ConnectError> {
        let now = self.shared.now();
        let path = PathAddr::to(remote);
        let mut state = self.shared.lock();
        let (handle, connection) = state.endpoint.connect(now, config, path, "localhost")?;
        let entry = state.keep(handle, connection);
        drop(state);
        self.shared.kick.notify_one();
        Ok(Conn {
            shared: Arc::clone(&self.shared),
            entry,
        })
    }

    /// The next connection of a client; `None` when none came in time.
    pub async fn accept(&mut self) -> Option<Conn> {
        let next = tokio::time::timeout(PATIENCE, self.accepted.recv()).await;
        next.ok().flatten()
    }

    /// Ends without a word to anybody, and lets go of the socket if no [`Conn`] has it.
    pub async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        // Connections that were not accepted hold the socket, and it holds them.
        self.shared.lock().connections.clear();
    }

    /// What the endpoint counted.
    #[must_use]
    pub fn stats(&self) -> weir_quic::EndpointStats {
        self.shared.lock().endpoint.stats()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Conn {
    /// Does something with the engine's connection.
    pub fn with<T>(&self, act: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.shared.now();
        let done = act(&mut self.entry.lock().0, now);
        self.shared.kick.notify_one();
        done
    }

    /// Tries `attempt` each time that something happened until it gives something.
    ///
    /// # Panics
    /// When it gives nothing in time, with the state of the connection and `what` was waited for.
    pub async fn until<T>(
        &self,
        what: &str,
        attempt: impl FnMut(&mut Connection, Instant, &Seen) -> Option<T>,
    ) -> T {
        if let Some(found) = self.until_or_late(attempt).await {
            return found;
        }
        let inner = self.entry.lock();
        let (connection, seen) = &*inner;
        panic!(
            "waited in vain for: {what}\n{} {:?}\nseen: {seen:?}\n{:?}",
            connection.state_name(),
            connection.close_reason(),
            connection.stats()
        );
    }

    /// As [`Conn::until`]; `None` when nothing was found in time.
    pub async fn until_or_late<T>(
        &self,
        mut attempt: impl FnMut(&mut Connection, Instant, &Seen) -> Option<T>,
    ) -> Option<T> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut news = std::pin::pin!(self.entry.news.notified());
            news.as_mut().enable();
            {
                let now = self.shared.now();
                let mut inner = self.entry.lock();
                let (connection, seen) = &mut *inner;
                let found = attempt(connection, now, seen);
                drop(inner);
                self.shared.kick.notify_one();
                if found.is_some() {
                    return found;
                }
            }
            tokio::time::timeout_at(deadline, news).await.ok()?;
        }
    }

    /// Waits for an event; one that was seen before counts too.
    pub async fn event(&self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        self.until(what, |_, _, seen| {
            seen.iter().find(|event| is_it(event)).cloned()
        })
        .await
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, (Connection, Seen)> {
        // A test that failed with the lock held has said why.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, handle: ConnectionHandle, connection: Connection) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            handle,
            inner: Mutex::new((connection, Vec::new())),
            news: Notify::new(),
        });
        self.connections.insert(handle.index(), Arc::clone(&entry));
        entry
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        let elapsed = self.begin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Gives one datagram to whom it concerns.
    fn receive(self: &Arc<Shared>, from: SocketAddr, data: &mut [u8]) {
        let now = self.now();
        let path = PathAddr::to(from);
        let mut state = self.lock();
        let state = &mut *state;
        match state
            .endpoint
            .handle_datagram(now, path, None, data, &mut state.out)
        {
            Handled::Nothing => {}
            Handled::Connection(handle) => {
                if let Some(entry) = state.connections.get(&handle.index()) {
                    entry.lock().0.handle_datagram(now, path, None, data);
                }
            }
            Handled::StatelessReset(handle) => {
                if let Some(entry) = state.connections.get(&handle.index()) {
                    entry.lock().0.handle_stateless_reset(now);
                }
            }
            Handled::Incoming(incoming) => {
                // Of an attempt that comes to nothing the client will try again.
                if let Ok((handle, connection)) = state.endpoint.accept(now, incoming, None) {
                    let entry = state.keep(handle, connection);
                    // A test that takes no connections has none to look at.
                    let _ = state.accepted.send(Conn {
                        shared: Arc::clone(self),
                        entry,
                    });
                }
            }
            Handled::Reply(transmit) => {
                // What the system does not take counts as lost.
                let _ = self
                    .socket
                    .try_send_to(state.out.as_slice(), transmit.path.remote);
            }
        }
        state.out.clear();
    }

    /// Sends what all connections have to say; when the next one has to be looked at.
    fn serve(&self) -> Option<Instant> {
        let mut state = self.lock();
        let state = &mut *state;
        let now = self.now();
        let mut next = state.endpoint.poll_timeout();
        if next.is_some_and(|at| at <= now) {
            state.endpoint.handle_timeout(now);
            next = state.endpoint.poll_timeout();
        }
        let mut gone = Vec::new();
        for (index, entry) in &state.connections {
            let mut inner = entry.lock();
            let (connection, seen) = &mut *inner;
            if connection.poll_timeout().is_some_and(|(at, _)| at <= now) {
                connection.handle_timeout(now);
            }
            // So many batches in a turn: what is received has its turn too.
            let mut is_more = true;
            for _ in 0..8 {
                state.out.clear();
                let Some(transmit) = connection.poll_transmit(now, &mut state.out) else {
                    is_more = false;
                    break;
                };
                for datagram in state.out.as_slice().chunks(transmit.segment_size) {
                    let _ = self.socket.try_send_to(datagram, transmit.path.remote);
                }
            }
            while let Some(event) = connection.poll_event() {
                if !matches!(event, Event::Readable(_) | Event::Writable(_)) {
                    seen.push(event);
                }
            }
            while let Some(event) = connection.poll_endpoint_event() {
                state.endpoint.handle_event(entry.handle, &event);
            }
            let at = match is_more {
                true => Some(now),
                false => connection.poll_timeout().map(|(at, _)| at),
            };
            next = next.into_iter().chain(at).min();
            if connection.is_drained() {
                gone.push(*index);
            }
            drop(inner);
            entry.news.notify_waiters();
        }
        for index in gone {
            state.connections.remove(&index);
        }
        state.out.clear();
        next
    }
}

async fn run(shared: Arc<Shared>) {
    let mut buffer = vec![0; LARGEST];
    loop {
        let next = shared.serve();
        let rest = match next {
            Some(at) => at.saturating_duration_since(shared.now()),
            None => Duration::from_secs(60),
        };
        if !rest.is_zero() {
            tokio::select! {
                _ = shared.socket.readable() => {}
                () = shared.kick.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        } else {
            tokio::task::yield_now().await;
        }
        for _ in 0..64 {
            match shared.socket.try_recv_from(&mut buffer) {
                Ok((len, from)) => {
                    if let Some(data) = buffer.get_mut(..len) {
                        shared.receive(from, data);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Errors of earlier sends: what they were about counts as lost.
                Err(_) => {}
            }
        }
    }
}
