//! T77, T126, T127: giving up, or asking.

use super::*;
use crate::tcp::config::{KeepAlive, Setting};
use crate::tcp::error::CloseCause;

// T77: R1 is told, R2 ends it.
#[test]
fn repeated_timeouts_are_told_and_end_it() {
    let mut host = Host::open(plain());
    host.write(b"abc");
    let mut repeats = 0;
    while !host.news.suspect {
        host.take();
        let (wait, _) = host.next_timer().unwrap();
        host.pass(wait);
        repeats += host.take().len();
    }
    assert!(repeats >= 3);
    let begin = host.now;
    while host.state() != State::Closed {
        let (wait, _) = host.next_timer().unwrap();
        host.pass(wait);
    }
    assert_eq!(host.conn().close_cause(), Some(CloseCause::TimedOut));
    // At least 100 s (RFC 9293 3.8.3).
    assert!(host.now.saturating_duration_since(begin) > Duration::from_secs(100));
}

// T127
#[test]
fn the_user_timeout_ends_what_is_not_acknowledged() {
    let mut host = Host::open(plain());
    with!(host, |c, cx| c
        .configure(cx, Setting::UserTimeout(ms(5000))));
    host.pass(ms(60_000));
    host.write(b"abc");
    host.pass(ms(4000));
    host.receive(&In::new(ACK).ack(3));
    host.pass(ms(10));
    assert_eq!(host.state(), State::Established);
    host.pass(ms(5000));
    assert_eq!(host.conn().close_cause(), Some(CloseCause::TimedOut));
}

// T127: probes of a closed window that nobody answers.
#[test]
fn the_user_timeout_ends_unanswered_window_probes() {
    let config = TcpConfig {
        user_timeout: ms(10_000),
        ..plain()
    };
    let mut host = Host::open_with(config, peer_options(), 0);
    host.write(b"abc");
    for _ in 0..30 {
        host.pass(ms(2000));
        assert_eq!(host.state(), State::Established);
        host.receive(&In::new(ACK).window(0));
    }
    // The next probe is due within a minute; from then on the answer is missing.
    host.pass(ms(75_000));
    assert_eq!(host.conn().close_cause(), Some(CloseCause::TimedOut));
}

// threats C4 (sockstress): an orphan is not held open by a peer that keeps its window closed.
#[test]
fn an_orphan_does_not_probe_for_ever() {
    let config = TcpConfig {
        user_timeout: ms(10_000),
        ..plain()
    };
    let mut host = Host::open_with(config, peer_options(), 0);
    host.write(b"abc");
    host.close();
    for _ in 0..60 {
        host.pass(ms(1000));
        if host.state() == State::Closed {
            break;
        }
        host.receive(&In::new(ACK).window(0));
    }
    assert_eq!(host.conn().close_cause(), Some(CloseCause::TimedOut));
}

fn alive() -> TcpConfig {
    TcpConfig {
        keepalive: Some(KeepAlive {
            idle: ms(10_000),
            interval: ms(1000),
            count: 3,
        }),
        ..plain()
    }
}

// T126
#[test]
fn keepalive_is_off_by_default_and_slow_when_on() {
    assert_eq!(TcpConfig::default().keepalive, None);
    assert!(KeepAlive::default().idle >= Duration::from_secs(7200));
    let mut host = Host::open(plain());
    host.pass(Duration::from_secs(100_000));
    assert!(host.take().is_empty());
}

// T126: SEG.SEQ = SND.NXT - 1, no data; one lost answer is no proof.
#[test]
fn a_silent_peer_is_asked_and_given_up_after_several_probes() {
    let mut host = Host::open(alive());
    host.write(b"abc");
    host.receive(&In::new(ACK).ack(4));
    host.take();
    host.pass(ms(10_000));
    let probe = host.take_one();
    assert_eq!((probe.flags(), probe.seq, probe.data.len()), (ACK, 3, 0));
    host.pass(ms(1000));
    assert_eq!(host.take().len(), 1);
    host.receive(&In::new(ACK).ack(4));
    host.pass(ms(9500));
    assert!(host.take().is_empty());
    host.pass(ms(500));
    assert_eq!(host.take().len(), 1);
    host.pass(ms(2000));
    assert_eq!(host.take().len(), 2);
    assert_eq!(host.state(), State::Established);
    host.pass(ms(1000));
    assert_eq!(
        host.conn().close_cause(),
        Some(CloseCause::KeepAliveTimedOut)
    );
    assert_eq!(host.take_one().flags(), RST | ACK);
}

// T126: a peer's probe is answered.
#[test]
fn a_keepalive_probe_is_answered() {
    let mut host = Host::open(plain());
    for probe in [In::new(ACK).seq(0), In::new(ACK).seq(0).data(b"?")] {
        host.receive(&probe);
        let answer = host.take_one();
        assert_eq!((answer.flags(), answer.ack), (ACK, 1));
    }
    assert!(host.read().is_empty());
}

// T126: switched on and off while it lives.
#[test]
fn keepalive_can_be_changed() {
    let mut host = Host::open(alive());
    with!(host, |c, cx| c.configure(cx, Setting::KeepAlive(None)));
    assert_eq!(host.next_timer(), None);
    let keepalive = alive().keepalive;
    with!(host, |c, cx| c.configure(cx, Setting::KeepAlive(keepalive)));
    assert_eq!(host.next_timer(), Some((ms(10_000), TcpTimer::KeepAlive)));
}
