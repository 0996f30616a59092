//! A connection and what the stack knows of it.

use weir_core::budget::Budget;
use weir_core::buf::Chunks;
use weir_core::slab::Key;
use weir_core::time::Instant;

use crate::ip::Route;
use crate::tcp::asleep::Asleep;
use crate::tcp::connection::Connection;
use crate::tcp::interface::Tuple;
use crate::tcp::{CloseCause, State, TcpStats};

/// Who has a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A listener, which it will wait at when it is established.
    Opening(Key),
    /// A listener, at which it waits to be accepted.
    Waiting(Key),
    /// The application.
    Application,
    /// Nobody: the application let go of it.
    Nobody,
}

/// A connection, or what is kept of it while it sleeps.
pub(super) enum Body {
    Awake(Box<Connection>),
    Asleep(Box<Asleep>),
}

impl Body {
    /// The connection, whose ends are `tuple`. One that sleeps wakes up.
    #[inline]
    pub(super) fn connection(&mut self, tuple: &Tuple) -> &mut Connection {
        if let Body::Asleep(asleep) = self {
            *self = Body::Awake(wake(asleep, tuple));
        }
        match self {
            Body::Awake(connection) => connection,
            Body::Asleep(_) => unreachable!("it was woken above"),
        }
    }
}

#[cold]
fn wake(asleep: &mut Asleep, tuple: &Tuple) -> Box<Connection> {
    Box::new(asleep.wake(*tuple))
}

/// A connection and what the stack knows of it.
pub(crate) struct Entry {
    pub(super) body: Body,
    /// Its two ends.
    pub(crate) tuple: Tuple,
    /// The way to the peer.
    pub(crate) route: Route,
    /// Of the table of ends.
    pub(super) hash: u32,
    pub(crate) owner: Owner,
    /// Its wake-up, which may be earlier than what the connection needs by now.
    pub(super) timer: Option<Key>,
    pub(super) timer_at: Instant,
    /// In the table of ends.
    pub(super) linked: bool,
    /// In SYN-RECEIVED, and counted so.
    pub(super) half_open: bool,
    /// Data came with its SYN, and its handshake is not done.
    pub(super) fast_open: bool,
    /// Something happened to it, and `settle` has not looked.
    pub(super) touched: bool,
    /// In the list of those that want to send.
    pub(super) queued: bool,
}

// T156: what the stack keeps of each of very many connections, beside what TCP does.
const _: () = assert!(size_of::<Entry>() <= 176);

impl Entry {
    pub(super) fn new(connection: Box<Connection>, hash: u32, route: Route, owner: Owner) -> Entry {
        Entry {
            tuple: *connection.tuple(),
            body: Body::Awake(connection),
            route,
            hash,
            owner,
            timer: None,
            timer_at: Instant::MAX,
            linked: true,
            half_open: false,
            fast_open: false,
            touched: false,
            queued: false,
        }
    }

    /// The connection. One that sleeps wakes up. Where another field is borrowed meanwhile, there is
    /// [`Body::connection`].
    #[inline]
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.body.connection(&self.tuple)
    }

    pub(super) const fn is_asleep(&self) -> bool {
        matches!(self.body, Body::Asleep(_))
    }

    /// When it may sleep if nothing happens before; `None` while something is under way, and when it
    /// sleeps already.
    pub(super) fn rest_at(&self) -> Option<Instant> {
        match &self.body {
            Body::Awake(connection) => connection.rest_at(),
            Body::Asleep(_) => None,
        }
    }

    /// Keeps no more of the connection than what it goes on from.
    pub(super) fn sleep(&mut self, chunks: &mut Chunks, budget: &Budget) {
        if let Body::Awake(connection) = &mut self.body {
            let asleep = connection.sleep(chunks, budget);
            self.body = Body::Asleep(Box::new(asleep));
        }
    }

    /// The memory of a connection that is over.
    pub(super) fn into_awake(self) -> Option<Box<Connection>> {
        match self.body {
            Body::Awake(connection) => Some(connection),
            Body::Asleep(_) => None,
        }
    }

    /// The connection's state.
    #[inline]
    pub(crate) fn state(&self) -> State {
        match &self.body {
            Body::Awake(connection) => connection.state(),
            Body::Asleep(asleep) => asleep.state(),
        }
    }

    /// Why it is over, once it is. What sleeps is not.
    pub(crate) fn close_cause(&self) -> Option<CloseCause> {
        match &self.body {
            Body::Awake(connection) => connection.close_cause(),
            Body::Asleep(_) => None,
        }
    }

    /// Whether nothing is left to say or to hear. What sleeps may wake.
    pub(super) fn is_finished(&self) -> bool {
        match &self.body {
            Body::Awake(connection) => connection.is_finished(),
            Body::Asleep(_) => false,
        }
    }

    /// How it stands.
    pub(crate) fn stats(&self, now: Instant) -> TcpStats {
        match &self.body {
            Body::Awake(connection) => connection.stats(now),
            Body::Asleep(asleep) => asleep.look(self.tuple).stats(now),
        }
    }
}
