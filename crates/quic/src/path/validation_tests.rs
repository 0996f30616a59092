#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;

use super::events::PathEvent;
use super::testing::{Bench, INITIAL_PTO, NOW, at, ms};
use super::validation::{PathData, Responses, Validation};
use crate::limits::{MAX_OPEN_CHALLENGES, MAX_PENDING_RESPONSES};
use crate::recovery::PathLookup as _;
use crate::wire::Side;
use weir_core::rng;

fn data(number: u64) -> PathData {
    number.to_be_bytes()
}

// Q104: the same bytes, on the path the challenge came from, in a datagram of 1200 bytes; once.
#[test]
fn a_challenge_is_answered_on_its_path() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    bench.set.on_challenge(path, data(42));
    assert!(bench.set.wants_probe());
    let probes = bench.probes();
    let answers: Vec<_> = probes
        .iter()
        .filter(|(_, probe)| !probe.responses.is_empty())
        .collect();
    assert_eq!(answers.len(), 1);
    let (to, probe) = answers[0];
    assert_eq!((*to, probe.expand), (at(2, 2000), true));
    assert_eq!(probe.responses.iter().collect::<Vec<_>>(), [&data(42)]);
    assert!(
        !probe.non_probing,
        "a path that is only tried gets only probing frames"
    );
    assert!(bench.probes().is_empty(), "one answer to one challenge");
}

// RFC 9000 9.3.3: on the path in use the answer comes with more than probing frames.
#[test]
fn an_answer_on_the_path_in_use_is_no_mere_probe() {
    let mut bench = Bench::new(Side::Client, 4);
    bench.set.on_challenge(bench.set.active(), data(1));
    let probes = bench.probes();
    assert!(probes.len() == 1 && probes[0].1.non_probing && probes[0].1.expand);
    assert_eq!(probes[0].1.challenge, None);
}

// Q116: of a flood of challenges the last few are answered, and nothing grows.
#[test]
fn a_flood_of_challenges_is_bounded() {
    let mut bench = Bench::new(Side::Server, 4);
    let active = bench.set.active();
    for number in 0..100_000 {
        bench.set.on_challenge(active, data(number));
    }
    let probes = bench.probes();
    assert_eq!(probes.len(), 1);
    let answered: Vec<PathData> = probes[0].1.responses.iter().copied().collect();
    let newest: Vec<PathData> = (100_000 - MAX_PENDING_RESPONSES as u64..100_000)
        .map(data)
        .collect();
    assert_eq!(answered, newest);
    assert!(!bench.set.wants_probe());
}

#[test]
fn the_same_challenge_twice_is_answered_once() {
    let mut responses = Responses::default();
    responses.push(data(1));
    responses.push(data(1));
    assert_eq!(responses.len(), 1);
}

// Q106: unpredictable data, another one each time, in 1200 bytes.
#[test]
fn challenges_are_random_and_expanded() {
    let mut seen = HashSet::new();
    for host in 2..20 {
        let mut bench = Bench::new(Side::Server, 4);
        bench.rng = rng::rng_from_seed(u64::from(host));
        let _path = bench.probe(at(host, 2000), 1).unwrap();
        for _ in 0..2 {
            let probes = bench.probes();
            assert_eq!(probes.len(), 1);
            assert!(probes[0].1.expand);
            assert!(seen.insert(probes[0].1.challenge.unwrap()));
            bench.now = bench.set.timeout().unwrap();
            bench.set.on_timeout(bench.now);
        }
    }
}

// Q106, RFC 9000 9.4: again after a probe time-out, then after twice as long.
#[test]
fn challenges_are_repeated_ever_more_rarely() {
    let mut bench = Bench::new(Side::Server, 4);
    bench
        .set
        .recovery(bench.set.active())
        .unwrap()
        .rtt
        .update(ms(1000), ms(0));
    let _path = bench.packet(at(2, 2000), 60_000, 1, true, 1).unwrap();
    let sent = bench.run_until(NOW + ms(9_000));
    let times: Vec<_> = sent
        .iter()
        .map(|(at, _)| at.saturating_duration_since(NOW))
        .collect();
    assert_eq!(
        times,
        [ms(0), INITIAL_PTO, INITIAL_PTO * 3, INITIAL_PTO * 7]
    );
}

// Q107: given up after three times the larger of the path's in use and an unknown path's probe
// time-out (RFC 9000 8.2.4).
#[test]
fn validation_is_given_up() {
    for (measured, pto) in [(1, INITIAL_PTO), (1000, ms(3025))] {
        let mut bench = Bench::new(Side::Server, 4);
        bench
            .set
            .recovery(bench.set.active())
            .unwrap()
            .rtt
            .update(ms(measured), ms(0));
        let _path = bench.probe(at(2, 2000), 1).unwrap();
        bench.run_until(NOW + pto * 3 - ms(1));
        assert_eq!(bench.set.iter().count(), 2);
        bench.run_until(NOW + pto * 3);
        assert_eq!(bench.set.iter().count(), 1);
        let fell_back_to = None;
        let failed = PathEvent::ValidationFailed {
            addr: at(2, 2000),
            fell_back_to,
        };
        assert!(bench.events().contains(&failed));
    }
}

// RFC 9000 8.2.3: the answer may come on any path, and validates the one that was challenged.
#[test]
fn an_answer_on_any_path_counts() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    assert!(!bench.set.get(path).unwrap().is_validated());
    bench.answer(at(2, 2000));
    assert!(bench.set.get(path).unwrap().is_validated());
    assert_eq!(
        bench.events(),
        [PathEvent::Validated {
            path,
            addr: at(2, 2000)
        }]
    );
    assert_eq!(bench.set.send_allowance(path), u64::MAX);
}

// RFC 9000 8.2.3: an answer to an earlier challenge of the same validation counts too.
#[test]
fn an_answer_to_an_earlier_challenge_counts() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    let first = bench.challenges()[0].1;
    bench.now += INITIAL_PTO;
    bench.set.on_timeout(bench.now);
    assert_eq!(bench.challenges().len(), 1);
    bench.set.on_response(bench.now, first);
    assert!(bench.set.get(path).unwrap().is_validated());
}

// Q115: an answer to nothing changes nothing.
#[test]
fn an_answer_without_a_challenge_is_ignored() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    bench.set.on_response(NOW, data(0));
    let challenge = bench.challenges()[0].1;
    bench
        .set
        .on_response(NOW, data(u64::from_be_bytes(challenge) ^ 1));
    assert!(!bench.set.get(path).unwrap().is_validated());
    bench.set.on_response(NOW, challenge);
    bench.set.on_response(NOW, challenge);
    assert_eq!(
        bench.events().len(),
        1,
        "the second time it answers nothing"
    );
}

// RFC 9000 8.2.1, 8.2.3: a challenge that could not be expanded proves the address; a second one of
// 1200 bytes has to prove the size.
#[test]
fn a_short_challenge_is_followed_by_a_full_one() {
    let mut bench = Bench::new(Side::Server, 4);
    let path = bench.packet(at(2, 2000), 100, 1, true, 1).unwrap();
    let probes = bench.probes();
    assert!(!probes[0].1.expand);
    bench.set.on_response(NOW, probes[0].1.challenge.unwrap());
    assert_eq!(
        bench.set.send_allowance(path),
        u64::MAX,
        "the address is the peer's"
    );
    let probes = bench.probes();
    assert_eq!(probes.len(), 1);
    assert!(probes[0].1.expand && probes[0].1.challenge.is_some());
    bench.set.on_response(NOW, probes[0].1.challenge.unwrap());
    assert!(bench.probes().is_empty());
    assert_eq!(bench.events().len(), 1, "validated once");
}

// RFC 9000 8.2.3: a path that carries no 1200 bytes is not used.
#[test]
fn a_path_too_small_fails() {
    let mut bench = Bench::new(Side::Server, 4);
    let _path = bench.packet(at(2, 2000), 100, 1, false, 1).unwrap();
    assert_eq!(bench.active(), at(2, 2000));
    bench.answer(at(2, 2000));
    bench.run_until(NOW + INITIAL_PTO * 4);
    assert_eq!(bench.active(), at(1, 1000), "back to the one that does");
}

// The number of challenges that an answer is taken for does not grow.
#[test]
fn open_challenges_are_bounded() {
    let mut validation = Validation::new(NOW, ms(1), ms(100_000));
    let mut rng = rng::rng_from_seed(1);
    let all: Vec<_> = (0..20)
        .map(|_| validation.challenge(NOW, &mut rng, true))
        .collect();
    let open = all
        .iter()
        .filter(|data| validation.answered_by(data).is_some())
        .count();
    assert_eq!(open, MAX_OPEN_CHALLENGES);
    assert!(validation.answered_by(&all[19]).is_some());
}

// Nothing is sent without a connection ID for the path, and no timer spins meanwhile (RFC 9000 9.5).
#[test]
fn without_a_connection_id_nothing_goes_out() {
    let mut bench = Bench::new(Side::Server, 0);
    let path = bench.probe(at(2, 2000), 1).unwrap();
    bench.set.on_challenge(path, data(1));
    assert!(!bench.set.wants_probe());
    assert_eq!(bench.set.remote_cid(path), None);
    assert!(bench.probes().is_empty());
    bench.give_cid(1);
    assert_eq!(bench.probes().len(), 1);
    assert_eq!(bench.set.remote_cid(path), Some(super::testing::cid(1)));
}
