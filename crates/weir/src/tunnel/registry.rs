//! The connections and the flows of datagrams that are being forwarded now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::relay::Traffic;
use super::spec::Transport;
use super::status::{DatagramStatus, ForwardKind, StreamPhase};
use super::udp::{Datagrams, Frames};

/// All that is forwarded for a tunnel, or for one peer. Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<Entries>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    /// Of all, how many are connections: only those finish, so only those are waited for.
    connections: usize,
    all: BTreeMap<u64, Arc<Entry>>,
}

/// One forwarded connection, or one flow of datagrams.
#[derive(Debug)]
pub(crate) struct Entry {
    /// A number of this registry, from 1.
    pub(crate) id: u64,
    pub(crate) kind: ForwardKind,
    /// Who connected.
    pub(crate) from: SocketAddr,
    /// What is reached, as text.
    pub(crate) to: String,
    pub(crate) began: Instant,
    pub(crate) traffic: Traffic,
    /// What a flow counts beyond bytes; `None` for a connection.
    datagrams: Option<Arc<Datagrams>>,
    /// The session that carries it, and its stream there; 0 before it has one.
    session: AtomicU64,
    stream: AtomicU64,
    phase: AtomicU8,
}

impl Entry {
    pub(crate) fn session(&self) -> u64 {
        self.session.load(Ordering::Relaxed)
    }

    pub(crate) fn stream(&self) -> u64 {
        self.stream.load(Ordering::Relaxed)
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.datagrams {
            Some(_) => Transport::Udp,
            None => Transport::Tcp,
        }
    }

    /// A flow's datagrams so far; `None` for a connection.
    pub(crate) fn datagrams(&self) -> Option<DatagramStatus> {
        let counts = self.datagrams.as_ref()?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(DatagramStatus {
            sent: read(&counts.sent),
            received: read(&counts.received),
            sent_direct: read(&counts.sent_direct),
            received_direct: read(&counts.received_direct),
            dropped: read(&counts.dropped),
        })
    }

    pub(crate) fn phase(&self) -> StreamPhase {
        match self.phase.load(Ordering::Relaxed) {
            0 => StreamPhase::Waiting,
            1 => StreamPhase::Opening,
            _ => StreamPhase::Open,
        }
    }
}

/// Keeps one entry in its registry until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    entry: Arc<Entry>,
    datagrams: Arc<Datagrams>,
    registry: Registry,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection.
    pub(crate) fn add(&self, kind: ForwardKind, from: SocketAddr, to: String) -> Registered {
        self.add_entry(kind, from, to, None)
    }

    /// Adds a flow of datagrams with its counters.
    pub(crate) fn add_flow(
        &self,
        kind: ForwardKind,
        from: SocketAddr,
        to: String,
        counts: &Arc<Datagrams>,
    ) -> Registered {
        self.add_entry(kind, from, to, Some(Arc::clone(counts)))
    }

    fn add_entry(
        &self,
        kind: ForwardKind,
        from: SocketAddr,
        to: String,
        datagrams: Option<Arc<Datagrams>>,
    ) -> Registered {
        let mut entries = self.entries();
        entries.last = entries.last.wrapping_add(1);
        let entry = Arc::new(Entry {
            id: entries.last,
            kind,
            from,
            to,
            began: Instant::now(),
            traffic: Traffic::default(),
            datagrams: datagrams.clone(),
            session: AtomicU64::new(0),
            stream: AtomicU64::new(0),
            phase: AtomicU8::new(0),
        });
        entries.all.insert(entry.id, Arc::clone(&entry));
        if datagrams.is_none() {
            entries.connections = entries.connections.saturating_add(1);
            self.0.count.send_replace(entries.connections);
        }
        Registered {
            entry,
            datagrams: datagrams.unwrap_or_default(),
            registry: self.clone(),
        }
    }

    /// How many connections there are. Flows are not counted: they never finish, and lose nothing by an end.
    pub(crate) fn len(&self) -> usize {
        *self.0.count.borrow()
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        self.entries().all.values().cloned().collect()
    }

    /// Waits until there is no connection.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Registered {
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.entry.traffic
    }

    /// What is reached, as text.
    pub(crate) fn to(&self) -> &str {
        &self.entry.to
    }

    /// A flow's counters.
    pub(crate) fn datagrams(&self) -> &Datagrams {
        &self.datagrams
    }

    /// Counts bytes that travelled with the request.
    pub(crate) fn count_sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.entry.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts datagrams, as frames, that travelled with the request.
    pub(crate) fn count_datagrams_sent(&self, frames: &bytes::Bytes) {
        let (mut count, mut bytes) = (0u64, 0usize);
        for payload in Frames(frames.clone()) {
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(payload.len());
        }
        self.datagrams.sent.fetch_add(count, Ordering::Relaxed);
        self.count_sent(bytes);
    }

    /// It goes over this stream now, and waits for the far side.
    pub(crate) fn opening(&self, session: u64, stream: u64) {
        self.entry.session.store(session, Ordering::Relaxed);
        self.entry.stream.store(stream, Ordering::Relaxed);
        self.entry.phase.store(1, Ordering::Relaxed);
    }

    /// The far side has connected it.
    pub(crate) fn open(&self) {
        self.entry.phase.store(2, Ordering::Relaxed);
    }

    /// Seconds since it came and bytes both ways, for a log line.
    pub(crate) fn summary(&self) -> String {
        let traffic = &self.entry.traffic;
        let mut words = format!(
            "{:.1} s, {} bytes sent, {} received",
            self.entry.began.elapsed().as_secs_f32(),
            traffic.sent.load(Ordering::Relaxed),
            traffic.received.load(Ordering::Relaxed)
        );
        if let Some(counts) = self.entry.datagrams() {
            words.push_str(&format!(
                ", in {} and {} datagrams, {} dropped",
                counts.sent, counts.received, counts.dropped
            ));
        }
        words
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        entries.all.remove(&self.entry.id);
        if self.entry.datagrams.is_none() {
            entries.connections = entries.connections.saturating_sub(1);
            self.registry.0.count.send_replace(entries.connections);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_registry_is_idle_when_its_last_connection_is_gone() {
        let registry = Registry::default();
        timeout(Duration::from_secs(1), registry.idle())
            .await
            .unwrap();
        let from = "127.0.0.1:1".parse().unwrap();
        let first = registry.add(ForwardKind::Local, from, "a:1".to_owned());
        let second = registry.add(ForwardKind::Socks, from, "b:2".to_owned());
        assert_eq!(registry.len(), 2);
        assert!(
            timeout(Duration::from_secs(1), registry.idle())
                .await
                .is_err()
        );
        second.opening(3, 5);
        second.open();
        let ids: Vec<_> = registry
            .list()
            .iter()
            .map(|e| (e.id, e.stream(), e.phase()))
            .collect();
        assert_eq!(
            ids,
            [(1, 0, StreamPhase::Waiting), (2, 5, StreamPhase::Open)]
        );
        drop((first, second));
        let flow = registry.add_flow(ForwardKind::Local, from, "c:3".to_owned(), &Arc::default());
        flow.datagrams().sent.fetch_add(2, Ordering::Relaxed);
        let listed = registry.list();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].datagrams().unwrap().sent, 2);
        assert_eq!(registry.len(), 0, "a flow is not waited for");
        timeout(Duration::from_secs(1), registry.idle())
            .await
            .unwrap();
    }
}
