//! What recovery costs in memory and steps where nothing is lost.

use weir_core::congestion::Algorithm;
use weir_core::time::Duration;

use super::testing::{MSS, Model, config, ms};
use super::{Recovery, Sent};

/// `rounds` of a super-segment of 45 segments, of which `per_ack` segments are acknowledged at once,
/// sixteen super-segments being in flight.
fn transfer(model: &mut Model, rounds: u64, per_ack: u64) {
    let chunk = 45 * MSS;
    for _ in 0..rounds {
        model.now += Duration::from_micros(10);
        model.recovery.allowance(model.now, 1 << 20);
        model.write(chunk);
        let start = model.send.next();
        model.send.on_sent(&(start..start + chunk));
        model
            .recovery
            .on_sent(model.now, start..start + chunk, Sent::New, MSS as u32);
        let behind = start.saturating_sub(16 * chunk);
        let mut at = model.send.base();
        while at < behind {
            at = (at + per_ack * MSS).min(behind);
            model.ack_at(at);
        }
    }
}

// T157: no loss, no allocation: rings and boards are as large after a long transfer as after a short.
#[test]
fn a_clean_transfer_allocates_nothing() {
    for per_ack in [2, 45, 1000] {
        let mut model = Model::established(&config(Algorithm::Cubic), ms(1));
        transfer(&mut model, 100, per_ack);
        let before = (
            model.recovery.flight.records.capacity(),
            model.chunks.allocations(),
        );
        transfer(&mut model, 5000, per_ack);
        let after = (
            model.recovery.flight.records.capacity(),
            model.chunks.allocations(),
        );
        assert_eq!(before, after);
        assert!(before.0 <= 64, "{before:?}");
        assert!(model.recovery.flight.board.is_none() && model.recovery.episode.is_none());
    }
}

// T156: what one connection holds in recovery, and what it keeps when it is idle.
#[test]
fn an_idle_connection_keeps_little() {
    assert!(size_of::<Recovery>() <= 456, "{}", size_of::<Recovery>());
    let mut model = Model::established(&config(Algorithm::Cubic), ms(1));
    transfer(&mut model, 100, 2);
    model.ack_at(model.send.next());
    model.recovery.release_memory();
    assert_eq!(model.recovery.flight.records.capacity(), 0);
    assert!(model.recovery.flight.board.is_none() && model.recovery.episode.is_none());
}

// After a loss and its repair nothing of the board and the episode stays for long.
#[test]
fn a_loss_leaves_no_memory_behind() {
    let mut model = Model::established(&config(Algorithm::Cubic), ms(100));
    model.write(1000 * MSS);
    model.transmit();
    model.now += ms(100);
    for index in [1, 2, 3] {
        model.deliver(index);
    }
    for _ in 0..5 {
        model.now += ms(100);
        model.transmit();
        model.ack_at(model.send.next());
    }
    assert_eq!(model.recovery.stats().phase, "open");
    assert!(model.recovery.episode.is_none() && !model.recovery.flight.is_troubled());
}
