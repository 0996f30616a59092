//! An engine over datagrams.

use std::fmt;

use weir_core::time::Instant;

use super::MAX_ROUNDS;
use crate::actor::Actor;
use crate::datagram::Datagram;
use crate::world::{NodeId, World};

/// Datagrams to send, as one batch for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Addresses, ECN, and the payloads of all datagrams one behind the other.
    pub batch: Datagram,
    /// The size at which the payload is cut into datagrams, of which the last may be shorter (as
    /// generic segmentation offload does); `None` for a single one.
    pub segment_size: Option<usize>,
    /// When it may leave; `None` at once.
    pub release_at: Option<Instant>,
}

impl From<Datagram> for Transmit {
    /// One datagram, now.
    fn from(batch: Datagram) -> Self {
        Self {
            batch,
            segment_size: None,
            release_at: None,
        }
    }
}

/// An engine that speaks over datagrams, with the application that uses it.
///
/// The order of calls is a driver's: after input or a timeout, [`DatagramPeer::step`] lets the
/// application act, then [`DatagramPeer::poll_transmit`] is called until it gives nothing; both again
/// as long as anything moves.
pub trait DatagramPeer {
    /// A datagram.
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram);

    /// The time of [`DatagramPeer::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// The next datagrams to send.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;

    /// The next wake-up, with its name.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// The application's turn.
    fn step(&mut self, _now: Instant) {}

    /// Whether it has reached what the test wants of it.
    fn is_done(&self) -> bool;

    /// Grows with the application's progress: [`Actor::progress`].
    fn progress(&self) -> u64 {
        0
    }

    /// Its state, for the state dump of a failed run.
    fn describe(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// The actor around a [`DatagramPeer`]: it stands where a driver with a socket stands.
#[derive(Debug)]
pub struct OnDatagrams<P> {
    /// The peer.
    pub peer: P,
    node: NodeId,
}

impl<P: DatagramPeer> OnDatagrams<P> {
    /// `peer` at `node`.
    #[must_use]
    pub fn new(node: NodeId, peer: P) -> Self {
        Self { peer, node }
    }

    /// Its node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    fn send(&self, world: &mut World, transmit: Transmit) {
        let Transmit {
            mut batch,
            segment_size,
            release_at,
        } = transmit;
        let at = release_at.unwrap_or(world.now());
        let size = segment_size.unwrap_or(usize::MAX).max(1);
        while batch.payload.len() > size {
            let payload = batch.payload.split_to(size);
            world.send_at(at, self.node, Datagram { payload, ..batch });
        }
        world.send_at(at, self.node, batch);
    }
}

impl<P: DatagramPeer> Actor for OnDatagrams<P> {
    fn on_datagram(&mut self, world: &mut World, _node: NodeId, datagram: Datagram) {
        self.peer.handle_datagram(world.now(), datagram);
    }

    fn on_timeout(&mut self, world: &mut World) {
        self.peer.handle_timeout(world.now());
    }

    fn turn(&mut self, world: &mut World) {
        for _ in 0..MAX_ROUNDS {
            self.peer.step(world.now());
            let Some(first) = self.peer.poll_transmit(world.now()) else {
                return;
            };
            self.send(world, first);
            while let Some(next) = self.peer.poll_transmit(world.now()) {
                self.send(world, next);
            }
        }
        panic!(
            "engine and application keep each other busy at {:?}",
            world.now()
        );
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.peer.poll_timeout()
    }

    fn is_done(&self) -> bool {
        self.peer.is_done()
    }

    fn progress(&self) -> u64 {
        self.peer.progress()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer.describe(f)
    }
}
