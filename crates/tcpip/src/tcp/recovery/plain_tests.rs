//! The straight line of `plain` against the long way of `ack`: after each acknowledgement both have
//! left the same behind, in every variable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, below, rng_from_seed};

use super::testing::{Model, Reply, config, ms};
use super::*;

/// One acknowledgement for both. True when the second took the straight line.
fn acknowledge(pair: &mut [Model; 2], reply: &Reply) -> bool {
    let [long, short] = pair;
    long.take(reply);
    let is_new = reply.offset > short.recovery.flight.una;
    let is_bare = reply.dsack.is_none() && (reply.sack.is_empty() || !short.sack);
    if is_new && is_bare && short.recovery.is_plain() {
        let send = &mut short.send;
        let (now, chunks) = (short.now, &mut short.chunks);
        short.recovery.on_plain_ack(now, reply.offset, send, chunks);
        return true;
    }
    short.take(reply);
    false
}

/// Segments arrive, are lost, or overtake each other; what is acknowledged may be a part of one.
fn deliver(pair: &mut [Model; 2], at: &mut usize, rng: &mut Rng) -> bool {
    if *at >= pair[0].wire.len() {
        return false;
    }
    let chance = below(rng, 60);
    if chance == 0 {
        *at += 1;
        return false;
    }
    if chance == 1 && *at + 1 < pair[0].wire.len() {
        for model in pair.iter_mut() {
            model.wire.swap(*at, *at + 1);
        }
    }
    let [first, second] = pair.each_mut().map(|model| {
        let segment = model.wire[*at].clone();
        model.receive(&segment)
    });
    assert_eq!(first.offset, second.offset);
    *at += 1;
    let mut reply = first;
    let una = pair[0].recovery.flight.una;
    if chance < 10 && reply.offset > una && reply.sack.is_empty() && reply.dsack.is_none() {
        reply.offset = una + 1 + below(rng, reply.offset - una);
    }
    acknowledge(pair, &reply)
}

#[test]
fn the_straight_line_leaves_what_the_long_way_leaves() {
    let (mut plain, mut boards) = (0, 0);
    for seed in 0..120 {
        let algorithm = [Algorithm::NewReno, Algorithm::Cubic][seed as usize % 2];
        let config = RecoveryConfig {
            sack: seed % 5 > 0,
            timestamps: seed % 3 > 0,
            ..config(algorithm)
        };
        let mut rng = rng_from_seed(seed);
        let mut pair = [(); 2].map(|()| Model::established(&config, ms(20)));
        let mut at = 0;
        for _ in 0..400 {
            let (what, amount) = (below(&mut rng, 10), 1 + below(&mut rng, 6000));
            for model in &mut pair {
                match what {
                    0 => model.write(amount),
                    1 | 2 => drop(model.transmit()),
                    3 => model.now += ms(amount / 500),
                    _ => {}
                }
                if model
                    .recovery
                    .poll_timeout()
                    .is_some_and(|(at, _)| at <= model.now)
                {
                    model.expire();
                }
            }
            if what > 3 {
                plain += u32::from(deliver(&mut pair, &mut at, &mut rng));
            }
            boards += u32::from(pair[0].recovery.flight.board.is_some());
            let [long, short] = pair.each_ref().map(|model| format!("{:?}", model.recovery));
            assert_eq!(long, short, "seed {seed}");
        }
    }
    // Both ways were gone often, and trouble came and went.
    assert!(plain > 3000 && boards > 1000, "{plain} {boards}");
}

// The acknowledgement of a SYN that was sent once, of which there is one in each life; of one that was
// repeated it says something else (RFC 6298 5.7, Karn).
#[test]
fn the_acknowledgement_of_a_syn_leaves_the_same_behind() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
        let config = config(algorithm);
        let mut pair = [(); 2].map(|()| Model::new(&config));
        for model in &mut pair {
            model.transmit_syn();
            model.now += ms(20);
        }
        let [long, short] = &mut pair;
        assert!(!short.recovery.is_plain());
        assert_eq!(
            short.recovery.is_plain_or_first(),
            algorithm != Algorithm::Bbr
        );
        long.ack_at(1);
        if short.recovery.is_plain_or_first() {
            let (send, chunks) = (&mut short.send, &mut short.chunks);
            let rtt = short.recovery.on_plain_ack(short.now, 1, send, chunks);
            assert_eq!(rtt, Some(20_000_000));
            let [long, short] = pair.each_ref().map(|model| format!("{:?}", model.recovery));
            assert_eq!(long, short);
        }
    }
    let mut model = Model::new(&config(Algorithm::Cubic));
    model.transmit_syn();
    model.now += ms(3000);
    model.expire();
    assert!(!model.recovery.is_plain_or_first());
}

// A board that says nothing any more goes, and with it the long way.
#[test]
fn after_a_repaired_loss_everything_is_plain_again() {
    let mut model = Model::established(&config(Algorithm::Cubic), ms(20));
    model.write(8000);
    model.transmit();
    model.now += ms(20);
    for index in 1..8 {
        model.deliver(index);
    }
    assert!(!model.recovery.is_plain());
    model.now += ms(20);
    model.transmit();
    let last = model.wire.len() - 1;
    assert_eq!(model.wire[last].range, Model::nth(0));
    model.now += ms(20);
    model.deliver(last);
    assert!(model.recovery.flight.is_plain());
}

// RFC 5681 section 3.2: three duplicates in a row tell of a loss; what is acknowledged in between
// begins the count anew.
#[test]
fn duplicates_before_and_after_progress_are_not_added() {
    let config = RecoveryConfig {
        sack: false,
        ..config(Algorithm::Cubic)
    };
    let mut model = Model::established(&config, ms(20));
    model.write(8000);
    model.transmit();
    model.now += ms(20);
    model.ack_at(1);
    model.ack_at(1);
    model.ack_at(1001);
    assert_eq!(model.ack_at(1001).newly_lost, 0);
    assert_eq!(model.ack_at(1001).newly_lost, 0);
    assert_eq!(model.ack_at(1001).newly_lost, 1000);
}
