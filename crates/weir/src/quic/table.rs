//! The connections of a socket, by the router's dense numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_core::close::Initiator;
use weir_core::slab::Key;
use weir_core::time::Instant;
use weir_quic::{Connection, ConnectionHandle};

use super::engine::QuicShared;
use super::listener::Welcome;
use crate::alive::Guard;

/// What the task keeps of a connection.
pub(super) struct Entry {
    pub(super) handle: ConnectionHandle,
    pub(super) shared: Arc<QuicShared>,
    /// When the task looks at it again by itself; never later than the engine wants.
    pub(super) timer: Option<(Key, Instant)>,
    /// It stands in the list of those that something happened on.
    pub(super) is_due: bool,
    /// How it is handed to the application once its handshake is complete; `None` when it was, and
    /// on the side that dialled.
    welcome: Option<Welcome>,
    /// Held while there is something to say to the peer.
    alive: Option<Guard>,
}

impl Entry {
    pub(super) fn new(
        handle: ConnectionHandle,
        shared: Arc<QuicShared>,
        alive: Guard,
        welcome: Option<Welcome>,
    ) -> Self {
        Entry {
            handle,
            shared,
            timer: None,
            is_due: false,
            welcome,
            alive: Some(alive),
        }
    }

    /// Something happened on it.
    pub(super) fn mark(&mut self, due: &mut VecDeque<usize>) {
        if !std::mem::replace(&mut self.is_due, true) {
            due.push_back(self.handle.index());
        }
    }

    /// Something happened on it that the application is told of first; what was due already stays so.
    pub(super) fn hold(&mut self, held: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_due, true) {
            held.push(self.handle.index());
        }
    }

    /// Tells those who wait for the connection as a whole where it stands. The engine is not locked.
    pub(super) fn announce(&mut self, stage: Stage) {
        match stage {
            Stage::Shaking => {}
            Stage::Running => {
                if let Some(welcome) = self.welcome.take() {
                    welcome.complete(&self.shared);
                }
            }
            Stage::Over { is_told } => {
                if let (Some(welcome), Some(reason)) = (self.welcome.take(), self.shared.reason()) {
                    welcome.failed(reason);
                }
                if is_told {
                    self.alive = None;
                }
            }
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The handshake runs.
    Shaking,
    /// Streams are carried.
    Running,
    /// It is over; `is_told` when there is nobody who would have to hear of it.
    Over { is_told: bool },
}

impl Stage {
    pub(super) fn of(connection: &Connection) -> Stage {
        match connection.close_reason() {
            Some(reason) => Stage::Over {
                is_told: reason.by != Initiator::Local,
            },
            None if connection.is_handshaking() => Stage::Shaking,
            None => Stage::Running,
        }
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    count: usize,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn insert(&mut self, entry: Entry, due: &mut VecDeque<usize>) {
        let index = entry.handle.index();
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        if let Some(place) = self.entries.get_mut(index) {
            let entry = place.insert(entry);
            entry.mark(due);
            self.count += 1;
        }
    }

    /// The connection at a place.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)?.as_mut()
    }

    /// The connection of a handle, which may name one that is gone.
    pub(super) fn get_mut(&mut self, handle: ConnectionHandle) -> Option<&mut Entry> {
        self.at_mut(handle.index())
            .filter(|entry| entry.handle == handle)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().flatten()
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(index)?.take()?;
        self.count -= 1;
        while self.entries.last().is_some_and(Option::is_none) {
            self.entries.pop();
        }
        Some(entry)
    }
}
