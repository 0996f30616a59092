//! The flows of one connection by their numbers, and the datagrams of the connection that belong to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use tracing::debug;
use weir_core::budget::Budget;

use super::Datagrams;
use super::queue::DropQueue;
use crate::connection::Connection;
use crate::tunnel::destination::Reader;
use crate::tunnel::fields::{MAX_VARINT, read_varint, write_varint};
use crate::tunnel::protocol::{Refusal, Status};

/// Which numbers a side gives to the flows that it asks for, so that both can choose without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    /// The side that dialled.
    Even,
    /// The side that listened.
    Odd,
}

/// The flows of one connection.
#[derive(Debug)]
pub(crate) struct Flows {
    own: Parity,
    next: AtomicU64,
    inboxes: Mutex<HashMap<u64, Arc<DropQueue>>>,
    budget: Budget,
    /// Datagrams of no flow: their flow has ended, or the peer made them up.
    unknown: AtomicU64,
}

/// One flow's number and what arrives for it as datagrams of the connection; the number is free again when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    flows: Arc<Flows>,
    pub(crate) id: u64,
    pub(crate) inbox: Arc<DropQueue>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.flows.lock().remove(&self.id);
    }
}

impl Flows {
    /// The flows of a new connection; what arrives for them is charged to `budget`.
    pub(crate) fn new(own: Parity, budget: &Budget) -> Arc<Self> {
        Arc::new(Self {
            own,
            next: AtomicU64::new(if own == Parity::Even { 0 } else { 1 }),
            inboxes: Mutex::default(),
            budget: budget.clone(),
            unknown: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<DropQueue>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a flow that this side asks for. Numbers are not used again: what arrives late for an ended flow
    /// must not reach another.
    pub(crate) fn claim_own(self: &Arc<Self>, counts: &Arc<Datagrams>) -> Claim {
        let id = self.next.fetch_add(2, Ordering::Relaxed) & MAX_VARINT;
        let inbox = DropQueue::new(&self.budget, counts);
        self.lock().insert(id, Arc::clone(&inbox));
        Claim {
            flows: Arc::clone(self),
            id,
            inbox,
        }
    }

    /// Takes a number that the peer chose for a flow that it asks for.
    pub(crate) fn claim_peers(
        self: &Arc<Self>,
        id: u64,
        counts: &Arc<Datagrams>,
    ) -> Result<Claim, Refusal> {
        let theirs = if id.is_multiple_of(2) {
            Parity::Even
        } else {
            Parity::Odd
        };
        if theirs == self.own {
            let reason = format!("flow {id} has a number of the other side's");
            return Err(Refusal::new(Status::Malformed, reason));
        }
        let mut inboxes = self.lock();
        if inboxes.contains_key(&id) {
            let reason = format!("flow {id} is open already");
            return Err(Refusal::new(Status::Malformed, reason));
        }
        let inbox = DropQueue::new(&self.budget, counts);
        inboxes.insert(id, Arc::clone(&inbox));
        drop(inboxes);
        Ok(Claim {
            flows: Arc::clone(self),
            id,
            inbox,
        })
    }

    /// Datagrams that came for no flow.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Hands a datagram of the connection to its flow. Never waits, so no flow holds up another.
    pub(crate) fn arrived(&self, datagram: &[u8]) {
        let mut reader = Reader(datagram);
        let inbox = read_varint(&mut reader).and_then(|id| self.lock().get(&id).cloned());
        match inbox {
            Some(inbox) => inbox.push(reader.0),
            None => {
                let before = self.unknown.fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    debug!("a datagram of no flow, dropped and counted");
                }
            }
        }
    }

    /// Hands out the connection's datagrams until it ends.
    pub(crate) async fn serve(self: Arc<Self>, connection: Connection) {
        while let Ok(datagram) = connection.read_datagram().await {
            self.arrived(&datagram);
            tokio::task::consume_budget().await;
        }
    }
}

/// What stands before each payload of a flow in a datagram of the connection.
pub(crate) fn prefix(id: u64) -> Bytes {
    let mut prefix = Vec::with_capacity(8);
    write_varint(&mut prefix, id);
    prefix.into()
}

/// A datagram of the connection.
pub(crate) fn datagram(buffer: &mut BytesMut, prefix: &[u8], payload: &[u8]) -> Bytes {
    buffer.reserve(prefix.len().saturating_add(payload.len()));
    buffer.put_slice(prefix);
    buffer.put_slice(payload);
    buffer.split().freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flows(own: Parity) -> Arc<Flows> {
        Flows::new(own, &Budget::root("test", 1 << 20))
    }

    fn counts() -> Arc<Datagrams> {
        Arc::default()
    }

    #[test]
    fn each_side_gives_its_own_numbers_and_none_twice() {
        let (dialler, listener) = (flows(Parity::Even), flows(Parity::Odd));
        let ids: Vec<_> = (0..3).map(|_| dialler.claim_own(&counts()).id).collect();
        assert_eq!(ids, [0, 2, 4]);
        assert_eq!(listener.claim_own(&counts()).id, 1);
        let _kept = listener.claim_peers(6, &counts()).unwrap();
        for id in [6, 7] {
            let refusal = listener.claim_peers(id, &counts()).unwrap_err();
            assert_eq!(refusal.status, Status::Malformed, "{refusal}");
        }
        assert!(dialler.claim_peers(7, &counts()).is_ok());
    }

    #[test]
    fn a_datagram_reaches_its_flow_alone() {
        let flows = flows(Parity::Even);
        let (first, second) = (flows.claim_own(&counts()), flows.claim_own(&counts()));
        let mut buffer = BytesMut::new();
        flows.arrived(&datagram(&mut buffer, &prefix(second.id), b"for two"));
        flows.arrived(&datagram(&mut buffer, &prefix(first.id), b""));
        assert_eq!(&first.inbox.try_take(99)[..], b"\x00\x00");
        assert_eq!(&second.inbox.try_take(99)[..], b"\x00\x07for two");
        drop(second);
        flows.arrived(b"\x02late");
        assert_eq!(flows.unknown(), 1, "its flow has ended");
    }

    #[test]
    fn what_belongs_to_no_flow_is_dropped_and_counted() {
        let flows = flows(Parity::Odd);
        let _flow = flows.claim_own(&counts());
        for (count, datagram) in [&b""[..], &[0x40], &[0xff; 7], &[5], &[0xff; 2000]]
            .iter()
            .enumerate()
        {
            assert_eq!(flows.unknown(), count as u64);
            flows.arrived(datagram);
        }
        assert_eq!(flows.unknown(), 5);
    }

    proptest! {
        /// C1: no bytes panic, and no flood grows anything.
        #[test]
        fn hostile_datagrams(floods in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..200)) {
            let budget = Budget::root("test", 300);
            let flows = Flows::new(Parity::Even, &budget);
            let claims: Vec<_> = (0..3).map(|_| flows.claim_own(&counts())).collect();
            for datagram in &floods {
                flows.arrived(datagram);
                prop_assert!(budget.used() <= 300);
            }
            drop((claims, flows));
            prop_assert_eq!(budget.used(), 0);
        }
    }
}
