//! The flows of one entrance, by who or what they belong to.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::DropQueue;

/// When a flow last carried something.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    /// Milliseconds after `began`.
    last: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
        })
    }

    /// Something was carried just now.
    pub(crate) fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// When something was carried last.
    pub(crate) fn last(&self) -> Instant {
        let millis = self.last.load(Ordering::Relaxed);
        self.began + Duration::from_millis(millis)
    }

    /// Waits until nothing has been carried for `limit`. It wakes once in that time, not for each datagram.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let Some(end) = self.last().checked_add(limit) else {
                // Longer than the clock counts: never.
                return std::future::pending().await;
            };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Flows by key. Bounded: a new one takes the place of the one that has been idle longest.
#[derive(Debug)]
pub(crate) struct Table<K: Hash + Eq + Clone> {
    flows: Mutex<Flows<K>>,
    max: usize,
}

#[derive(Debug)]
struct Flows<K> {
    last: u64,
    all: HashMap<K, Row>,
}

#[derive(Debug)]
struct Row {
    number: u64,
    queue: Arc<DropQueue>,
    activity: Arc<Activity>,
}

/// Keeps a flow in its table until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq + Clone> {
    table: Arc<Table<K>>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut flows = self.table.lock();
        // The key may have a new flow already.
        if flows.all.get(&self.key).map(|row| row.number) == Some(self.number) {
            flows.all.remove(&self.key);
        }
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            flows: Mutex::new(Flows {
                last: 0,
                all: HashMap::new(),
            }),
            max: max.max(1),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Flows<K>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the datagrams of a flow go, if there is one.
    pub(crate) fn queue(&self, key: &K) -> Option<Arc<DropQueue>> {
        self.lock().all.get(key).map(|row| Arc::clone(&row.queue))
    }

    /// Adds a flow. In a full table the one that was idle longest is told to end.
    pub(crate) fn add(
        self: &Arc<Self>,
        key: K,
        queue: Arc<DropQueue>,
        activity: Arc<Activity>,
    ) -> Place<K> {
        let mut flows = self.lock();
        while flows.all.len() >= self.max {
            let idlest = flows.all.iter().min_by_key(|(_, row)| row.activity.last());
            let Some(idlest) = idlest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(row) = flows.all.remove(&idlest) {
                row.queue.close();
            }
        }
        flows.last = flows.last.wrapping_add(1);
        let number = flows.last;
        let row = Row {
            number,
            queue,
            activity,
        };
        if let Some(old) = flows.all.insert(key.clone(), row) {
            old.queue.close();
        }
        Place {
            table: Arc::clone(self),
            key,
            number,
        }
    }

    /// A guard that ends all flows when the entrance is gone.
    pub(crate) fn guard(self: &Arc<Self>) -> TableGuard<K> {
        TableGuard(Arc::clone(self))
    }
}

/// See [`Table::guard`].
#[derive(Debug)]
pub(crate) struct TableGuard<K: Hash + Eq + Clone>(Arc<Table<K>>);

impl<K: Hash + Eq + Clone> Drop for TableGuard<K> {
    fn drop(&mut self) {
        for (_, row) in self.0.lock().all.drain() {
            row.queue.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_core::budget::Budget;

    use super::super::{Datagrams, limits};
    use super::*;

    fn queue() -> Arc<DropQueue> {
        DropQueue::new(&Budget::root("test", 1000), &Arc::new(Datagrams::default()))
    }

    /// RFC 4787 REQ-5: the default leaves a mapping at least two minutes, counted from the last datagram.
    #[tokio::test(start_paused = true)]
    async fn a_flow_is_idle_after_its_time_and_not_before() {
        let activity = Activity::new();
        let began = Instant::now();
        let touching = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            activity.touch();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = activity.idle(limits::IDLE) => {}
            () = touching => {}
        }
        assert_eq!(began.elapsed().as_secs(), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_full_table_the_idlest_gives_way() {
        let table = Table::new(2);
        let (first, second, third) = (queue(), queue(), queue());
        let activity = Activity::new();
        let place = table.add(1, Arc::clone(&first), Arc::clone(&activity));
        tokio::time::advance(Duration::from_secs(1)).await;
        let _second = table.add(2, Arc::clone(&second), Activity::new());
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.touch();
        let _third = table.add(3, third, Activity::new());
        second.closed().await;
        assert!(table.queue(&2).is_none());
        assert!(table.queue(&1).is_some() && table.queue(&3).is_some());
        drop(place);
        assert!(table.queue(&1).is_none());
        drop(table.guard());
        assert!(table.queue(&3).is_none());
    }

    #[tokio::test]
    async fn an_old_flow_does_not_take_the_place_of_a_new_one_with_it() {
        let table = Table::new(9);
        let old = queue();
        let place = table.add(1, Arc::clone(&old), Activity::new());
        let _new = table.add(1, queue(), Activity::new());
        old.closed().await;
        drop(place);
        assert!(table.queue(&1).is_some());
    }
}
