//! A connection's state as its user sees it.

use super::shared::Shared;
use crate::stats::{Stats, StreamStats};

impl Shared {
    /// A picture of the connection and of every stream that is open.
    pub(super) fn picture(&self) -> Stats {
        let age = self.age();
        let state = self.lock();
        let session = state.session.stats();
        let mut streams: Vec<StreamStats> = state
            .session
            .streams()
            .filter_map(|key| state.session.stream_stats(key))
            .map(|stream| StreamStats {
                id: u64::from(stream.id),
                state: stream.state.name(),
                sent: stream.sent,
                received: stream.received,
                queued: stream.queued,
                unread: stream.buffered,
                send_window: stream.send_window,
                receive_window: stream.recv_window,
                send_held_by: stream.held_by.send,
                receive_held_by: stream.held_by.recv,
            })
            .collect();
        drop(state);
        streams.sort_unstable_by_key(|stream| stream.id);
        Stats {
            via: self.info.via,
            peer: self.info.peer,
            remote_addr: self.info.remote_addr,
            age,
            rtt: session.rtt,
            sent: session.bytes_sent,
            received: session.bytes_received,
            memory_used: session.memory_used,
            memory_limit: session.memory_limit,
            discarded: session.bytes_discarded,
            streams,
        }
    }
}
