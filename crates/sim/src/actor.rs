//! Who lives in the world: anything that reacts to what arrives and to the time.

use std::fmt;

use weir_core::time::Instant;

use crate::datagram::Datagram;
use crate::world::{NodeId, PipeEnd, World};

/// A participant: an engine with its application, an attacker, a measuring point.
///
/// After every call that brings news, [`crate::Sim`] calls [`Actor::turn`] once, then asks for the
/// next timeout. [`crate::OnPipe`] and [`crate::OnDatagrams`] are actors around one engine; a test that
/// needs more (two paths, several pipes) writes its own.
pub trait Actor {
    /// A datagram arrived at a node that is this actor's.
    fn on_datagram(&mut self, _world: &mut World, _node: NodeId, _datagram: Datagram) {}

    /// There may be something to read at a pipe's end that is this actor's.
    fn on_readable(&mut self, _world: &mut World, _end: PipeEnd) {}

    /// There may be room to write at a pipe's end that is this actor's.
    fn on_writable(&mut self, _world: &mut World, _end: PipeEnd) {}

    /// The time of [`Actor::poll_timeout`] has come.
    fn on_timeout(&mut self, _world: &mut World) {}

    /// The actor's turn to act: the application's step, what is to be sent.
    fn turn(&mut self, world: &mut World);

    /// When the actor next wants a turn without anything having arrived, and the timer's name.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// Whether this actor has reached what the test wants of it.
    fn is_done(&self) -> bool;

    /// A number that grows with all that counts as progress (bytes delivered to the application):
    /// what [`crate::Limits::stall`] watches.
    fn progress(&self) -> u64 {
        0
    }

    /// The actor's state in a line or more, for the state dump of a failed run.
    fn describe(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl<A: Actor + ?Sized> Actor for Box<A> {
    fn on_datagram(&mut self, world: &mut World, node: NodeId, datagram: Datagram) {
        (**self).on_datagram(world, node, datagram);
    }

    fn on_readable(&mut self, world: &mut World, end: PipeEnd) {
        (**self).on_readable(world, end);
    }

    fn on_writable(&mut self, world: &mut World, end: PipeEnd) {
        (**self).on_writable(world, end);
    }

    fn on_timeout(&mut self, world: &mut World) {
        (**self).on_timeout(world);
    }

    fn turn(&mut self, world: &mut World) {
        (**self).turn(world);
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        (**self).poll_timeout()
    }

    fn is_done(&self) -> bool {
        (**self).is_done()
    }

    fn progress(&self) -> u64 {
        (**self).progress()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).describe(f)
    }
}
