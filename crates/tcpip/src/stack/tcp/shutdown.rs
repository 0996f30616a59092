//! All of TCP at once: what a stack that is closed does with it, and what shows it to people.

use weir_core::slab::Key;
use weir_core::time::Instant;

use super::{Owner, Tcp};
use crate::stack::host::Host;
use crate::stack::{ListenerKey, Stack, TcpKey};
use crate::tcp::{CloseCause, State};

impl Stack {
    /// Begins to end all connections in good order: listeners go, with whom nobody has accepted (T33);
    /// attempts of this side are given up; of every other connection this side's direction ends behind
    /// what was written (T115). What peers still send can be read.
    pub fn tcp_finish_all(&mut self, now: Instant) {
        let (tcp, mut host) = self.split(now);
        tcp.finish_all(&mut host);
    }

    /// Ends all connections at once, each by RST (T124), those among them that the application let go
    /// of before. Those that it has not let go of remain for it to ask why they are over:
    /// [`CloseCause::Aborted`].
    pub fn tcp_abort_all(&mut self, now: Instant) {
        let (tcp, mut host) = self.split(now);
        tcp.abort_all(&mut host);
    }

    /// Whether there are connections that have something left to say or to hear; TIME-WAIT is not among
    /// that. O(n) where there are none.
    #[must_use]
    pub fn has_live_connections(&self) -> bool {
        let mut all = self.tcp.connections.iter();
        all.any(|(_, entry)| !entry.is_finished())
    }

    /// The connections that the application has, at most `most` of them.
    #[must_use]
    pub fn tcp_keys(&self, most: usize) -> Vec<TcpKey> {
        let all = self.tcp.connections.iter();
        let its = all.filter(|(_, entry)| entry.owner == Owner::Application);
        its.map(|(key, _)| TcpKey(key)).take(most).collect()
    }
}

impl Tcp {
    fn finish_all(&mut self, host: &mut Host<'_>) {
        let listeners: Vec<Key> = self.listeners.keys().collect();
        for key in listeners {
            self.unlisten(host, ListenerKey(key));
        }
        self.on_all(host, |connection, cx| match connection.state() {
            State::SynSent => connection.abort(cx, CloseCause::Aborted),
            _ => connection.finish(cx),
        });
    }

    fn abort_all(&mut self, host: &mut Host<'_>) {
        self.on_all(host, |connection, cx| {
            connection.abort(cx, CloseCause::Aborted)
        });
    }

    fn on_all(
        &mut self,
        host: &mut Host<'_>,
        act: impl Fn(&mut super::Connection, &mut super::Context<'_>),
    ) {
        let indices: Vec<u32> = self.connections.iter().map(|(key, _)| key.index).collect();
        for index in indices {
            if let Some(entry) = self.connections.get_at_mut(index) {
                act(entry.connection(), &mut host.context());
            }
            self.settle(host, index);
        }
    }
}
