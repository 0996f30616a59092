#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use weir_core::rng::{self, Rng};
use weir_core::time::{Duration, Instant};

use super::local::{LocalCids, NewConnectionId};
use super::{ConnectionIdGenerator, ResetToken, ResetTokens};
use crate::error::code;
use crate::limits::MAX_ISSUED_CIDS;
use crate::wire::ConnectionId;

/// Random connection IDs of one length.
struct Random(usize, Option<Duration>);

impl ConnectionIdGenerator for Random {
    fn generate(&self, rng: &mut Rng) -> ConnectionId {
        let mut bytes = [0; 20];
        rng::fill(rng, &mut bytes[..self.0]);
        ConnectionId::new(&bytes[..self.0]).unwrap()
    }

    fn len(&self) -> usize {
        self.0
    }

    fn lifetime(&self) -> Option<Duration> {
        self.1
    }
}

/// The token of a connection ID is the connection ID.
struct Mirror;

impl ResetTokens for Mirror {
    fn token(&self, cid: &ConnectionId) -> ResetToken {
        let mut bytes = [0; 16];
        let len = cid.len().min(16);
        bytes[..len].copy_from_slice(&cid[..len]);
        ResetToken::new(bytes)
    }
}

struct Bench {
    cids: LocalCids,
    rng: Rng,
    now: Instant,
}

impl Bench {
    fn new(len: usize, lifetime: Option<Duration>) -> Bench {
        let mut rng = rng::rng_from_seed(1);
        let generator = Arc::new(Random(len, lifetime));
        let initial = generator.generate(&mut rng);
        let now = Instant::from_millis(1000);
        let cids = LocalCids::new(now, initial, generator, Arc::new(Mirror));
        Bench { cids, rng, now }
    }

    fn poll(&mut self) -> Option<NewConnectionId> {
        self.cids.poll_issue(self.now, &mut self.rng)
    }

    fn poll_all(&mut self) -> Vec<NewConnectionId> {
        std::iter::from_fn(|| self.poll()).collect()
    }
}

fn sequences(frames: &[NewConnectionId]) -> Vec<u64> {
    frames.iter().map(|frame| frame.sequence).collect()
}

// Q101: the peer is given as many as it takes, and no more (RFC 9000 5.1.1).
#[test]
fn fills_up_to_the_peers_limit() {
    let mut bench = Bench::new(8, None);
    assert!(
        !bench.cids.wants_issue(),
        "nothing before the limit is known"
    );
    assert!(bench.poll().is_none());
    bench.cids.set_peer_limit(4);
    assert!(bench.cids.wants_issue());
    let frames = bench.poll_all();
    assert_eq!(
        sequences(&frames),
        [1, 2, 3],
        "with the handshake's that makes four"
    );
    assert!(
        frames
            .iter()
            .all(|frame| frame.fresh && frame.retire_prior_to == 0)
    );
    assert!(frames.iter().all(|frame| bench.cids.contains(&frame.cid)));
    assert!(!bench.cids.wants_issue());
}

// Q101: a limit of 2^62 - 1 does not make us hold more than we choose to.
#[test]
fn a_huge_limit_is_capped() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit((1 << 62) - 1);
    assert_eq!(bench.poll_all().len(), MAX_ISSUED_CIDS - 1);
    assert_eq!(bench.cids.iter().count(), MAX_ISSUED_CIDS);
}

// Q101: what is retired is replaced, with the next sequence number.
#[test]
fn a_retired_one_is_replaced() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit(2);
    let first = bench.poll().unwrap();
    let gone = bench.cids.on_retire(1, Some(0)).unwrap();
    assert_eq!(gone, Some(first.cid));
    assert!(!bench.cids.contains(&first.cid));
    let next = bench.poll().unwrap();
    assert_eq!((next.sequence, next.fresh), (2, true));
    assert!(bench.poll().is_none());
}

// Q100: one never issued is a PROTOCOL_VIOLATION; one retired twice is not.
#[test]
fn retiring_what_was_never_issued() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit(2);
    let error = bench.cids.on_retire(1, Some(0)).unwrap_err();
    assert_eq!((error.code, error.frame), (code::PROTOCOL_VIOLATION, 0x19));
    let _frame = bench.poll().unwrap();
    assert!(bench.cids.on_retire(1, Some(0)).unwrap().is_some());
    assert_eq!(bench.cids.on_retire(1, Some(0)).unwrap(), None);
    assert_eq!(
        bench.cids.on_retire(u64::MAX, Some(0)).unwrap_err().code,
        code::PROTOCOL_VIOLATION
    );
}

// Q100, RFC 9000 19.16: the frame may not name the connection ID its packet came to.
#[test]
fn retiring_the_packets_own_connection_id() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit(2);
    let frame = bench.poll().unwrap();
    let own = bench.cids.sequence_of(&frame.cid);
    assert_eq!(own, Some(1));
    assert_eq!(
        bench.cids.on_retire(1, own).unwrap_err().code,
        code::PROTOCOL_VIOLATION
    );
    assert!(bench.cids.on_retire(0, own).unwrap().is_some());
}

// Q102, RFC 9000 5.1.1, 19.16: a side with zero-length connection IDs issues none, and nobody can
// retire one.
#[test]
fn zero_length_issues_nothing() {
    let mut bench = Bench::new(0, Some(Duration::from_secs(1)));
    bench.cids.set_peer_limit(8);
    assert!(!bench.cids.wants_issue());
    assert!(bench.poll().is_none());
    assert!(
        bench
            .cids
            .issue_preferred(bench.now, &mut bench.rng)
            .is_none()
    );
    assert_eq!(bench.cids.timeout(), None);
    assert_eq!(
        bench.cids.on_retire(0, None).unwrap_err().code,
        code::PROTOCOL_VIOLATION
    );
}

// RFC 9000 13.3: a lost frame is sent again as it was; one that arrived after all is not.
#[test]
fn lost_frames_are_repeated() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit(3);
    let frames = bench.poll_all();
    bench.cids.on_lost(1);
    assert!(bench.cids.wants_issue());
    let again = bench.poll().unwrap();
    assert_eq!(
        (again.sequence, again.cid, again.fresh),
        (1, frames[0].cid, false)
    );
    assert_eq!(again.token, frames[0].token);
    bench.cids.on_acked(2);
    bench.cids.on_lost(2);
    assert!(!bench.cids.wants_issue(), "acknowledged once, lost never");
    bench.cids.on_lost(1);
    bench.cids.on_acked(1);
    assert!(!bench.cids.wants_issue(), "acknowledged late");
    bench.cids.on_lost(1);
    let _gone = bench.cids.on_retire(1, Some(0));
    bench.cids.on_lost(1);
    assert_eq!(
        sequences(&bench.poll_all()),
        [3],
        "a retired one is replaced, not repeated"
    );
}

// RFC 9000 5.1.1: the connection ID of preferred_address has sequence number 1.
#[test]
fn the_preferred_address_takes_number_one() {
    let mut bench = Bench::new(8, None);
    let preferred = bench
        .cids
        .issue_preferred(bench.now, &mut bench.rng)
        .unwrap();
    assert_eq!(preferred.sequence, 1);
    assert_eq!(preferred.token, Mirror.token(&preferred.cid));
    assert!(
        bench
            .cids
            .issue_preferred(bench.now, &mut bench.rng)
            .is_none()
    );
    bench.cids.set_peer_limit(3);
    assert_eq!(sequences(&bench.poll_all()), [2]);
}

// RFC 9000 5.1.2: after a lifetime all are replaced at once, the old ones stay valid until retired,
// and Retire Prior To does not move again before that.
#[test]
fn a_lifetime_rotates() {
    let life = Duration::from_secs(60);
    let mut bench = Bench::new(8, Some(life));
    bench.cids.set_peer_limit(3);
    let old = bench.poll_all();
    let due = bench.cids.timeout().unwrap();
    assert_eq!(due, bench.now + life);
    bench.cids.on_timeout(due - Duration::from_millis(1));
    assert!(!bench.cids.wants_issue(), "a call too early does nothing");
    bench.now = due;
    bench.cids.on_timeout(due);
    let new = bench.poll_all();
    assert_eq!(sequences(&new), [3, 4, 5]);
    assert!(new.iter().all(|frame| frame.retire_prior_to == 3));
    assert!(bench.cids.contains(&old[0].cid));
    assert_eq!(bench.cids.timeout(), None, "the peer has yet to retire");
    bench.cids.on_timeout(due + life + life);
    assert!(!bench.cids.wants_issue());
    for sequence in 0..3 {
        assert!(bench.cids.on_retire(sequence, Some(3)).unwrap().is_some());
    }
    assert_eq!(bench.cids.timeout(), Some(due + life));
    assert_eq!(bench.cids.iter().count(), 3);
}

// RFC 9000 19.15: a frame from before the rotation is repeated with a Retire Prior To that is not
// above its own number, so that the peer can retire what it never got.
#[test]
fn a_repeated_frame_never_retires_itself() {
    let mut bench = Bench::new(8, Some(Duration::from_secs(60)));
    bench.cids.set_peer_limit(3);
    let _old = bench.poll_all();
    bench.now = bench.cids.timeout().unwrap();
    bench.cids.on_timeout(bench.now);
    let _new = bench.poll_all();
    bench.cids.on_lost(1);
    let again = bench.poll().unwrap();
    assert_eq!((again.sequence, again.retire_prior_to), (1, 1));
}

// Q103: no connection ID is issued twice, even where few exist (RFC 9000 5.1).
#[test]
fn no_connection_id_twice() {
    let mut bench = Bench::new(1, None);
    bench.cids.set_peer_limit(6);
    let mut active: HashSet<ConnectionId> = bench.cids.iter().copied().collect();
    for frame in bench.poll_all() {
        assert!(active.insert(frame.cid), "{} is in use", frame.cid);
    }
}

// RFC 9000 21.9, CVE-2024-22189: a flood of RETIRE_CONNECTION_ID costs one frame for each, and
// nothing grows.
#[test]
fn a_flood_of_retirements_stays_bounded() {
    let mut bench = Bench::new(8, None);
    bench.cids.set_peer_limit(6);
    let mut highest = 0;
    for _ in 0..10_000 {
        for frame in bench.poll_all() {
            highest = frame.sequence;
        }
        assert!(bench.cids.iter().count() <= MAX_ISSUED_CIDS);
        let lowest = highest - 4;
        bench.cids.on_retire(lowest, Some(highest)).unwrap();
        bench.cids.on_retire(lowest, Some(highest)).unwrap();
        bench.cids.on_lost(lowest);
    }
    assert_eq!(bench.cids.next_unsent(), 0);
}

proptest! {
    // Q101: whatever is retired, lost, acknowledged or expires, the peer never holds more than its
    // limit beyond what it was told to retire, and every number is issued once.
    #[test]
    fn the_limit_holds(limit in 2u64..9, steps in proptest::collection::vec((0u8..5, 0u64..24), 0..200)) {
        let mut bench = Bench::new(8, Some(Duration::from_secs(5)));
        bench.cids.set_peer_limit(limit);
        let mut next = 1;
        let mut told = 0;
        for (action, value) in steps {
            match action {
                0 => while let Some(frame) = bench.poll() {
                    prop_assert!(frame.retire_prior_to <= frame.sequence);
                    told = told.max(frame.retire_prior_to);
                    if frame.fresh {
                        prop_assert_eq!(frame.sequence, next);
                        next += 1;
                    }
                },
                1 => {
                    let expected = value < next;
                    prop_assert_eq!(bench.cids.on_retire(value, None).is_ok(), expected);
                }
                2 => bench.cids.on_lost(value),
                3 => bench.cids.on_acked(value),
                _ => {
                    bench.now += Duration::from_secs(value);
                    let now = bench.now;
                    bench.cids.on_timeout(now);
                }
            }
            let active = bench.cids.active_from(told);
            prop_assert!(active as u64 <= limit.min(MAX_ISSUED_CIDS as u64));
            prop_assert!(bench.cids.iter().count() <= 2 * MAX_ISSUED_CIDS);
        }
    }
}
