//! The connections that are being forwarded now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::relay::Traffic;
use super::status::{ForwardKind, StreamPhase};

/// All forwarded connections of a tunnel, or of one peer. Clones are the same registry.
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
    all: BTreeMap<u64, Arc<Entry>>,
}

/// One forwarded connection.
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

    pub(crate) fn phase(&self) -> StreamPhase {
        match self.phase.load(Ordering::Relaxed) {
            0 => StreamPhase::Waiting,
            1 => StreamPhase::Opening,
            _ => StreamPhase::Open,
        }
    }
}

/// Keeps one connection in its registry until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    entry: Arc<Entry>,
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
        let mut entries = self.entries();
        entries.last = entries.last.wrapping_add(1);
        let entry = Arc::new(Entry {
            id: entries.last,
            kind,
            from,
            to,
            began: Instant::now(),
            traffic: Traffic::default(),
            session: AtomicU64::new(0),
            stream: AtomicU64::new(0),
            phase: AtomicU8::new(0),
        });
        entries.all.insert(entry.id, Arc::clone(&entry));
        self.0.count.send_replace(entries.all.len());
        Registered {
            entry,
            registry: self.clone(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        *self.0.count.borrow()
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        self.entries().all.values().cloned().collect()
    }

    /// Waits until there is none.
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

    /// Counts bytes that travelled with the request.
    pub(crate) fn count_sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.entry.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
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
        format!(
            "{:.1} s, {} bytes sent, {} received",
            self.entry.began.elapsed().as_secs_f32(),
            traffic.sent.load(Ordering::Relaxed),
            traffic.received.load(Ordering::Relaxed)
        )
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        entries.all.remove(&self.entry.id);
        self.registry.0.count.send_replace(entries.all.len());
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
        timeout(Duration::from_secs(1), registry.idle())
            .await
            .unwrap();
    }
}
