//! T156: a connection that has fallen silent keeps less, and goes on where it was.

use weir_core::congestion::Algorithm;

use super::*;
use crate::limits::{MODEL_REST_AFTER, RECEIVE_SLACK, REST_AFTER};
use crate::tcp::TcpStats;

/// The connection sleeps and wakes up.
fn rest(host: &mut Host) {
    let now = host.now;
    assert!(host.conn().rest_at().is_some_and(|at| at <= now));
    let mut asleep = with!(*host, |c, cx| c.sleep(cx.chunks, cx.budget));
    assert_eq!(asleep.state(), host.state());
    *host.conn() = asleep.wake(tuple());
}

/// But for what is told of a congestion controller that is there no more.
fn but_congestion(mut stats: TcpStats) -> TcpStats {
    stats.congestion_state = "";
    (stats.congestion_window, stats.ssthresh) = (0, None);
    (stats.pacing_rate, stats.reordering_window) = (None, Duration::ZERO);
    stats
}

/// Something was said in both directions, and a while has passed.
fn used(config: TcpConfig) -> Host {
    let options = Options {
        window_scale: Some(7),
        timestamps: Some(Timestamps { value: 1, echo: 0 }),
        ..peer_options()
    };
    let mut host = Host::open_with(config, options, 60_000);
    host.write(&pattern(0..2500));
    let answer = In::new(ACK).seq(1).ack(2501).data(&pattern(0..700));
    host.receive(&answer.stamps(2, 0));
    assert_eq!(host.read().len(), 700);
    host.pass(ms(2000));
    host.take();
    host
}

// T156: all that can be seen of it is the same, and so is the next segment.
#[test]
fn nothing_that_a_flow_goes_on_from_is_lost() {
    let mut host = used(TcpConfig::default());
    let now = host.now;
    let before = host.conn().stats(now);
    rest(&mut host);
    assert_eq!(
        but_congestion(host.conn().stats(now)),
        but_congestion(before)
    );
    assert!(!host.conn().wants_transmit());
    let mut other = used(TcpConfig::default());
    for host in [&mut host, &mut other] {
        host.write(&pattern(2500..2600));
    }
    let (slept, awake) = (host.take_one(), other.take_one());
    assert_eq!((slept.header, slept.data), (awake.header, awake.data));
    // What comes goes on as well, and memory is where it was.
    for host in [&mut host, &mut other] {
        let answer = In::new(ACK).seq(701).ack(2601).data(&pattern(700..800));
        host.receive(&answer.stamps(3, 0));
        assert_eq!(host.read(), pattern(700..800));
        // The one that has not slept yet holds a little for more of the same.
        assert!(host.budget.used() <= RECEIVE_SLACK);
        host.pass(ms(2000));
        host.take();
        rest(host);
        assert_eq!(host.budget.used(), 0);
    }
    assert_eq!(host.conn().stats(now).unacknowledged, 0);
}

// T156: what it holds of the budget for more small messages is given back when it sleeps.
#[test]
fn what_is_kept_for_small_messages_goes_when_it_sleeps() {
    let mut host = used(TcpConfig::default());
    let before = host.conn().receive.share.held();
    assert!((700..=RECEIVE_SLACK).contains(&before), "{before}");
    assert!(host.budget.used() >= before);
    rest(&mut host);
    assert_eq!(host.conn().receive.share.held(), 0);
    assert_eq!(host.budget.used(), host.conn().send.share.held());
}

// T156: what is under way keeps it awake: data not acknowledged, not sent, or not read.
#[test]
fn what_is_under_way_keeps_it_awake() {
    let mut host = used(TcpConfig::default());
    host.write(b"something");
    assert_eq!(host.conn().rest_at(), None);
    host.receive(&In::new(ACK).seq(701).ack(2510).stamps(3, 0));
    let begun = host.now;
    assert!(
        host.conn()
            .rest_at()
            .is_some_and(|at| at >= begun + REST_AFTER)
    );
    let more = In::new(ACK).seq(701).ack(2510).data(b"more");
    host.receive(&more.stamps(4, 0));
    assert_eq!(host.conn().rest_at(), None);
    host.read();
    host.pass(REST_AFTER * 5);
    rest(&mut host);
}

// RFC 5681 section 4.1: after a pause the window begins anew, and slow start ends where it did.
#[test]
fn slow_start_ends_where_it_did() {
    let mut host = used(TcpConfig::default());
    let mut acked = 2501;
    host.write(&pattern(0..8000));
    host.pass(ms(5000));
    for end in [3501, 10_501] {
        host.receive(&In::new(ACK).seq(701).ack(end).stamps(9, 0));
        acked = acked.max(end);
    }
    let now = host.now;
    let ssthresh = host.conn().stats(now).ssthresh;
    assert!(ssthresh.is_some(), "a time-out was answered");
    host.pass(ms(20_000));
    rest(&mut host);
    host.write(b"again");
    assert_eq!(host.conn().stats(now).ssthresh, ssthresh);
}

// T156: what BBR knows of a path takes longer to learn than where slow start ends.
#[test]
fn a_model_of_the_path_is_kept_for_longer() {
    for (congestion, least) in [
        (Algorithm::Cubic, REST_AFTER),
        (Algorithm::Bbr, MODEL_REST_AFTER),
    ] {
        let mut host = Host::open(TcpConfig {
            congestion,
            ..plain()
        });
        host.write(&pattern(0..2500));
        host.pass(ms(10));
        host.receive(&In::new(ACK).ack(2501));
        let begun = host.now;
        assert_eq!(host.conn().rest_at(), Some(begun + least));
    }
}

// T115: one that was half closed is so when it wakes, at either end.
#[test]
fn a_half_closed_one_stays_so() {
    let mut host = used(TcpConfig::default());
    host.finish();
    host.receive(&In::new(ACK).seq(701).ack(2502).stamps(3, 0));
    assert_eq!(host.state(), State::FinWait2);
    host.pass(ms(2000));
    rest(&mut host);
    host.take();
    host.receive(&In::new(ACK | FIN).seq(701).ack(2502).stamps(4, 0));
    assert_eq!(host.state(), State::TimeWait);
    let mut host = used(TcpConfig::default());
    host.receive(&In::new(ACK | FIN).seq(701).ack(2501).stamps(3, 0));
    host.pass(ms(2000));
    rest(&mut host);
    assert_eq!(host.state(), State::CloseWait);
    host.take();
    host.finish();
    let fin = host.take_one();
    assert_eq!((fin.flags(), fin.seq, fin.ack), (ACK | FIN, 2501, 702));
}
