#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::ResetToken;
use super::remote::RemoteCids;
use crate::error::{TransportError, code};
use crate::limits::{ACTIVE_CONNECTION_ID_LIMIT, MAX_UNACKED_RETIREMENTS};
use crate::wire::ConnectionId;

const LIMIT: u64 = ACTIVE_CONNECTION_ID_LIMIT as u64;

fn cid(number: u64) -> ConnectionId {
    ConnectionId::new(&number.to_be_bytes()).unwrap()
}

fn token(number: u64) -> ResetToken {
    ResetToken::new((u128::from(number) + 1).to_be_bytes())
}

/// What a peer would send for `sequence`.
fn new(cids: &mut RemoteCids, sequence: u64, retire_prior_to: u64) -> Result<(), TransportError> {
    cids.on_new(sequence, retire_prior_to, cid(sequence), token(sequence))
}

/// Holding sequence number 0, taken by a path.
fn begun() -> RemoteCids {
    let mut cids = RemoteCids::new(cid(0));
    assert_eq!(cids.take_unused(), Some(0));
    cids
}

fn retirements(cids: &mut RemoteCids) -> Vec<u64> {
    std::iter::from_fn(|| cids.poll_retire()).collect()
}

// Q96
#[test]
fn retire_prior_to_above_the_sequence_number() {
    let mut cids = begun();
    let error = new(&mut cids, 1, 2).unwrap_err();
    assert_eq!(
        (error.code, error.frame),
        (code::FRAME_ENCODING_ERROR, 0x18)
    );
    assert_eq!(cids.get(0), Some(cid(0)), "nothing was retired");
}

// Q96
#[test]
fn a_new_connection_id_without_bytes() {
    let error = begun()
        .on_new(1, 0, ConnectionId::EMPTY, token(1))
        .unwrap_err();
    assert_eq!(error.code, code::FRAME_ENCODING_ERROR);
}

// Q97
#[test]
fn more_than_announced() {
    let mut cids = begun();
    for sequence in 1..LIMIT {
        new(&mut cids, sequence, 0).unwrap();
    }
    let error = new(&mut cids, LIMIT, 0).unwrap_err();
    assert_eq!(error.code, code::CONNECTION_ID_LIMIT_ERROR);
}

// Q97: the limit counts after Retire Prior To is applied (RFC 9000 5.1.1).
#[test]
fn an_exchange_at_the_limit_is_no_error() {
    let mut cids = begun();
    for sequence in 1..LIMIT {
        new(&mut cids, sequence, 0).unwrap();
    }
    new(&mut cids, LIMIT, 1).unwrap();
    assert_eq!(retirements(&mut cids), [0]);
}

// Q98: all older ones are retired at once, and what is sent next goes to a new one.
#[test]
fn retire_prior_to_is_obeyed_at_once() {
    let mut cids = begun();
    new(&mut cids, 1, 0).unwrap();
    new(&mut cids, 2, 2).unwrap();
    assert_eq!((cids.get(0), cids.get(1)), (None, None));
    assert!(cids.wants_retire());
    assert_eq!(retirements(&mut cids), [0, 1]);
    assert_eq!(cids.take_unused(), Some(2));
    assert_eq!(cids.get(2), Some(cid(2)));
}

// Q98, RFC 9000 19.15: one that arrives below an earlier Retire Prior To is retired unused, once.
#[test]
fn one_that_comes_late_is_retired_unused() {
    let mut cids = begun();
    new(&mut cids, 3, 3).unwrap();
    assert_eq!(retirements(&mut cids), [0]);
    new(&mut cids, 2, 0).unwrap();
    assert_eq!(cids.get(2), None);
    assert_eq!(retirements(&mut cids), [2]);
    cids.on_acked(2);
    new(&mut cids, 2, 0).unwrap();
    assert!(retirements(&mut cids).is_empty(), "it was done already");
}

// RFC 9000 19.15: a Retire Prior To that does not grow has no effect.
#[test]
fn a_smaller_retire_prior_to_is_ignored() {
    let mut cids = begun();
    new(&mut cids, 3, 3).unwrap();
    new(&mut cids, 4, 1).unwrap();
    assert_eq!((cids.get(3), cids.get(4)), (Some(cid(3)), Some(cid(4))));
}

// RFC 9000 19.15: the same frame twice is no error; one that contradicts it is.
#[test]
fn repetitions_and_contradictions() {
    let mut cids = begun();
    new(&mut cids, 1, 0).unwrap();
    new(&mut cids, 1, 0).unwrap();
    let wrong = [
        cids.on_new(1, 0, cid(1), token(9)),
        cids.on_new(1, 0, cid(9), token(1)),
        cids.on_new(2, 0, cid(1), token(1)),
        cids.on_new(2, 0, cid(2), token(1)),
        cids.on_new(2, 0, cid(0), token(2)),
    ];
    for result in wrong {
        assert_eq!(result.unwrap_err().code, code::PROTOCOL_VIOLATION);
    }
}

// A repetition of a frame must not bring back what was retired in between.
#[test]
fn a_repetition_does_not_revive() {
    let mut cids = begun();
    new(&mut cids, 1, 0).unwrap();
    assert_eq!(cids.take_unused(), Some(1));
    cids.retire(1);
    assert_eq!(retirements(&mut cids), [1]);
    cids.on_acked(1);
    new(&mut cids, 1, 0).unwrap();
    assert_eq!(cids.get(1), None);
    assert!(!cids.wants_retire());
}

// Q102, RFC 9000 19.15
#[test]
fn a_peer_without_connection_ids_issues_none() {
    let mut cids = RemoteCids::new(cid(0));
    cids.replace_initial(ConnectionId::EMPTY);
    let error = new(&mut cids, 1, 0).unwrap_err();
    assert_eq!(error.code, code::PROTOCOL_VIOLATION);
    assert_eq!(cids.take_unused(), Some(0));
    cids.retire(0);
    assert_eq!(
        cids.get(0),
        Some(ConnectionId::EMPTY),
        "it is never retired"
    );
    assert!(!cids.wants_retire());
    let error = cids.on_preferred(cid(1), token(1)).unwrap_err();
    assert_eq!(error.code, code::TRANSPORT_PARAMETER_ERROR);
}

// Q99: twice the limit may wait for acknowledgement, then the connection ends.
#[test]
fn the_backlog_of_retirements_is_bounded() {
    let mut cids = begun();
    for sequence in 1..=MAX_UNACKED_RETIREMENTS as u64 {
        new(&mut cids, sequence, sequence).unwrap();
    }
    let last = MAX_UNACKED_RETIREMENTS as u64 + 1;
    let error = new(&mut cids, last, last).unwrap_err();
    assert_eq!(error.code, code::CONNECTION_ID_LIMIT_ERROR);
}

// Q99: what we retire ourselves waits until the peer has acknowledged enough, and is not used.
#[test]
fn own_retirements_wait_for_room() {
    let mut cids = begun();
    for sequence in 1..=MAX_UNACKED_RETIREMENTS as u64 {
        new(&mut cids, sequence, sequence).unwrap();
    }
    let last = MAX_UNACKED_RETIREMENTS as u64;
    cids.retire(last);
    assert_eq!((cids.get(last), cids.has_unused()), (None, false));
    assert_eq!(retirements(&mut cids).len(), MAX_UNACKED_RETIREMENTS);
    assert!(!cids.wants_retire());
    cids.on_acked(0);
    assert_eq!(retirements(&mut cids), [last]);
}

// Q99: a peer that acknowledges can go on for ever, and nothing grows.
#[test]
fn a_flood_of_new_connection_ids_stays_bounded() {
    let mut cids = begun();
    let before = cids.memory();
    for sequence in 1..20_000 {
        new(&mut cids, sequence, sequence).unwrap();
        new(&mut cids, sequence, sequence).unwrap();
        assert_eq!(retirements(&mut cids), [sequence - 1]);
        cids.on_acked(sequence - 1);
        let _changed = cids.take_tokens_changed();
    }
    assert!(
        cids.memory() <= before + 1024,
        "{} to {}",
        before,
        cids.memory()
    );
}

// Threats C5: numbers far apart cost no walk over those between them.
#[test]
fn a_jump_over_all_numbers_costs_nothing() {
    let mut cids = begun();
    let far = (1 << 62) - 1;
    new(&mut cids, far, far).unwrap();
    assert_eq!(retirements(&mut cids), [0]);
    // What was passed over may have been seen or not: it is retired unused.
    new(&mut cids, 5, 0).unwrap();
    assert_eq!(cids.get(5), None);
    assert_eq!(retirements(&mut cids), [5]);
    assert_eq!(cids.take_unused(), Some(far));
}

// RFC 9000 13.3: RETIRE_CONNECTION_ID is repeated until it is acknowledged.
#[test]
fn lost_retirements_are_repeated() {
    let mut cids = begun();
    new(&mut cids, 1, 1).unwrap();
    assert_eq!(retirements(&mut cids), [0]);
    assert!(!cids.wants_retire());
    cids.on_lost(0);
    cids.on_lost(0);
    assert_eq!(retirements(&mut cids), [0]);
    cids.on_lost(0);
    cids.on_acked(0);
    assert!(!cids.wants_retire());
    cids.on_lost(0);
    assert!(!cids.wants_retire());
}

// RFC 9000 10.3.1: tokens count only for connection IDs that packets are sent to.
#[test]
fn tokens_follow_their_use() {
    let mut cids = begun();
    cids.set_initial_token(token(0));
    new(&mut cids, 1, 0).unwrap();
    assert!(cids.take_tokens_changed());
    assert_eq!(cids.token(0), Some(token(0)));
    assert_eq!(cids.tokens_in_use().count(), 1, "number 1 is not in use");
    assert!(!cids.take_tokens_changed());
    assert_eq!(cids.take_unused(), Some(1));
    assert!(cids.take_tokens_changed());
    assert_eq!(cids.token(1), Some(token(1)));
    assert_eq!(cids.tokens_in_use().count(), 2);
    new(&mut cids, 2, 2).unwrap();
    assert!(cids.take_tokens_changed());
    assert_eq!((cids.token(0), cids.token(1)), (None, None));
    assert_eq!(cids.tokens_in_use().count(), 0);
}

// RFC 9000 18.2: preferred_address brings sequence number 1.
#[test]
fn the_preferred_address_brings_number_one() {
    let mut cids = begun();
    cids.on_preferred(cid(1), token(1)).unwrap();
    new(&mut cids, 1, 0).unwrap();
    assert!(cids.has_unused());
    assert_eq!(cids.take_unused(), Some(1));
    assert!(!cids.has_unused());
    let error = begun()
        .on_preferred(ConnectionId::EMPTY, token(1))
        .unwrap_err();
    assert_eq!(error.code, code::TRANSPORT_PARAMETER_ERROR);
}

proptest! {
    // Q97, Q98, Q99: under any frames nothing below Retire Prior To is used, no more than the limit
    // are held, and every number seen below it is retired once or waits for that.
    #[test]
    fn invariants(steps in proptest::collection::vec((0u8..5, 0u64..100, 0u64..100), 0..150)) {
        let mut cids = begun();
        let mut bound = 0;
        for (action, a, b) in steps {
            match action {
                0..=1 => {
                    if new(&mut cids, a, b.min(a)).is_err() {
                        break;
                    }
                    bound = bound.max(b.min(a));
                }
                2 => { let _sequence = cids.take_unused(); }
                3 => if let Some(sequence) = cids.poll_retire() {
                    prop_assert!(cids.get(sequence).is_none());
                    if b % 2 == 0 { cids.on_acked(sequence) } else { cids.on_lost(sequence) }
                },
                _ => cids.retire(a),
            }
            prop_assert!((0..bound).all(|below| cids.get(below).is_none()));
            prop_assert!((0..100).filter(|at| cids.get(*at).is_some()).count() as u64 <= LIMIT);
        }
    }
}
