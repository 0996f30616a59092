//! "Keep the peer told": over a carrier that loses and delays acknowledgements in any order, the
//! peer ends up with the latest value, and nothing is sent without need.

#![allow(clippy::indexing_slicing, reason = "a test ends by panicking")]

use proptest::prelude::*;
use weir_core::deliver::Deliver;

#[derive(Clone, Debug)]
enum Op {
    Set(u8),
    Send,
    /// One of those under way arrives and is acknowledged.
    Acked(usize),
    /// One of those under way is lost.
    Lost(usize),
    /// One is taken for lost and arrives after all.
    Late(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..4u8).prop_map(Op::Set),
        4 => Just(Op::Send),
        2 => any::<usize>().prop_map(Op::Acked),
        1 => any::<usize>().prop_map(Op::Lost),
        1 => any::<usize>().prop_map(Op::Late),
    ]
}

proptest! {
    #[test]
    fn the_peer_learns_the_latest_value(ops in prop::collection::vec(op(), 1..100)) {
        // Values only grow, as limits do: each set is a new one.
        let mut told: Deliver<u64> = Deliver::new();
        let mut value = 0;
        let mut under_way: Vec<u64> = Vec::new();
        let mut peer = 0;
        for op in ops {
            match op {
                Op::Set(by) => {
                    let (before, same) = (told, by == 0);
                    value += u64::from(by);
                    if value > 0 {
                        told.set(value);
                    }
                    prop_assert!(!same || told == before, "setting the same is nothing");
                }
                Op::Send => {
                    let pending = told.is_pending();
                    let sent = told.poll();
                    prop_assert_eq!(sent.is_some(), pending);
                    prop_assert!(sent.is_none_or(|sent| sent == value), "only the latest");
                    under_way.extend(sent);
                    prop_assert_eq!(told.poll(), None);
                }
                Op::Acked(at) if !under_way.is_empty() => {
                    let arrived = under_way.swap_remove(at % under_way.len());
                    peer = peer.max(arrived);
                    told.on_acked(arrived);
                }
                Op::Lost(at) if !under_way.is_empty() => {
                    told.on_lost(under_way.swap_remove(at % under_way.len()));
                }
                Op::Late(at) if !under_way.is_empty() => {
                    let arrived = under_way.swap_remove(at % under_way.len());
                    told.on_lost(arrived);
                    peer = peer.max(arrived);
                    told.on_acked(arrived);
                }
                _ => {}
            }
            // Settled exactly when the peer knows; otherwise it waits here or is under way.
            prop_assert_eq!(told.is_settled(), peer == value);
            prop_assert!(told.is_settled() || told.is_pending() || under_way.contains(&value));
        }
        // And in the end it knows.
        while !told.is_settled() {
            under_way.extend(told.poll());
            for arrived in under_way.drain(..) {
                peer = peer.max(arrived);
                told.on_acked(arrived);
            }
        }
        prop_assert_eq!(peer, value);
    }
}
