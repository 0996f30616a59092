//! T115 to T125: how connections end.

use super::*;
use crate::tcp::error::{CloseCause, ReadError, WriteError};
use crate::tcp::time_wait::{TimeWait, TimeWaitAnswer};

// T115, T117
#[test]
fn fin_follows_all_data_and_is_repeated_until_acknowledged() {
    let mut host = Host::open(plain());
    host.write(&pattern(0..100_000)[..60_000]);
    host.finish();
    let mut at = 1;
    loop {
        let out = host.take();
        let last = out.last().unwrap().clone();
        let fins = out.iter().filter(|out| out.flags().contains(FIN)).count();
        if fins > 0 {
            assert_eq!((fins, last.end()), (1, 60_001));
            break;
        }
        at = last.end().max(at);
        host.receive(&In::new(ACK).ack(at));
    }
    host.receive(&In::new(ACK).ack(60_001));
    assert_eq!(host.state(), State::FinWait1);
    host.take();
    host.pass(ms(3000));
    let again = host.take();
    assert!(
        again
            .iter()
            .all(|out| out.flags().contains(FIN) && out.end() == 60_001)
    );
    assert!(!again.is_empty());
    host.receive(&In::new(ACK).ack(60_002));
    assert_eq!(host.state(), State::FinWait2);
}

// T115: FIN rides on the last data.
#[test]
fn fin_goes_with_the_last_data() {
    let mut host = Host::open(plain());
    with!(host, |c, cx| c.write_slice(cx, b"bye")).unwrap();
    with!(host, |c, cx| c.finish(cx));
    host.flush();
    let out = host.take_one();
    assert_eq!((out.flags(), &out.data[..]), (FIN | ACK | PSH, &b"bye"[..]));
}

// T115: half-close leaves the other way open.
#[test]
fn half_close_leaves_the_other_way_open() {
    let mut host = Host::open(plain());
    host.finish();
    host.take();
    host.receive(&In::new(ACK).ack(2));
    for round in 0..50 {
        host.receive(
            &In::new(ACK)
                .ack(2)
                .seq(round * 1000 + 1)
                .data(&pattern(0..1000)),
        );
        assert_eq!(host.read(), pattern(0..1000));
    }
    assert_eq!(host.state(), State::FinWait2);
    // And the other way round.
    let mut host = Host::open(plain());
    host.receive(&In::new(FIN | ACK));
    assert_eq!(host.state(), State::CloseWait);
    assert_eq!(with!(host, |c, cx| c.read(cx, 10)), Ok(None));
    host.write(&pattern(0..3000));
    assert_eq!(host.take().pop().unwrap().data.len(), 3000);
}

// T116
#[test]
fn the_active_close_walks_to_time_wait() {
    let mut host = Host::open(plain());
    host.finish();
    assert_eq!(host.state(), State::FinWait1);
    host.take();
    host.receive(&In::new(ACK).ack(2));
    assert_eq!(host.state(), State::FinWait2);
    host.receive(&In::new(FIN | ACK).ack(2));
    assert_eq!(host.state(), State::TimeWait);
    let ack = host.take_one();
    assert_eq!((ack.flags(), ack.seq, ack.ack), (ACK, 2, 2));
    assert!(host.news.closed && host.next_timer().is_none());
    assert_eq!(host.conn().close_cause(), Some(CloseCause::Finished));
    let now = host.now;
    assert!(host.conn().take_time_wait(now).is_some() && host.conn().is_finished());
    assert!(host.conn().take_time_wait(now).is_none());
}

// T116: FIN and the ACK of ours in one segment.
#[test]
fn fin_wait_1_may_go_straight_to_time_wait() {
    let mut host = Host::open(plain());
    host.finish();
    host.receive(&In::new(FIN | ACK).ack(2));
    assert_eq!(host.state(), State::TimeWait);
}

// T116
#[test]
fn the_passive_close_walks_to_closed() {
    let mut host = Host::open(plain());
    host.receive(&In::new(FIN | ACK).data(b"last"));
    assert_eq!((host.state(), host.take_one().ack), (State::CloseWait, 6));
    assert_eq!(host.read(), b"last");
    host.finish();
    assert_eq!(host.state(), State::LastAck);
    let fin = host.take_one();
    assert_eq!((fin.flags(), fin.ack), (FIN | ACK, 6));
    host.receive(&In::new(ACK).seq(6).ack(2));
    assert_eq!(host.state(), State::Closed);
    assert!(host.take().is_empty() && host.conn().is_finished() && host.news.closed);
    assert_eq!(host.counters.curr_estab, 0);
}

// T116
#[test]
fn a_simultaneous_close_goes_through_closing() {
    let mut host = Host::open(plain());
    host.finish();
    host.take();
    host.receive(&In::new(FIN | ACK).ack(1));
    assert_eq!(host.state(), State::Closing);
    assert_eq!(host.take_one().ack, 2);
    host.receive(&In::new(ACK).seq(2).ack(2));
    assert_eq!(host.state(), State::TimeWait);
}

// T117
#[test]
fn fin_is_taken_in_order_and_nothing_behind_it() {
    let mut host = Host::open(plain());
    host.receive(&In::new(FIN | ACK).seq(4).data(b"def"));
    assert_eq!(host.state(), State::Established);
    assert_eq!(host.take_one().ack, 1);
    host.receive(&In::new(ACK).seq(1).data(b"abcdefghi"));
    assert_eq!(
        (host.state(), host.take().pop().unwrap().ack),
        (State::CloseWait, 8)
    );
    assert_eq!(host.read(), b"abcdef");
    host.receive(&In::new(ACK).seq(8).data(b"more"));
    assert!(host.read().is_empty());
    assert_eq!(with!(host, |c, cx| c.read(cx, 10)), Ok(None));
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_received, 6);
}

// T118
#[test]
fn closing_with_unread_data_resets() {
    let mut host = Host::open(plain());
    host.receive(&In::new(ACK).data(b"unread"));
    host.take();
    host.close();
    let reset = host.take_one();
    assert_eq!((reset.flags(), reset.seq, reset.ack), (RST | ACK, 1, 7));
    assert_eq!(host.state(), State::Closed);
    assert_eq!(host.counters.tcp_abort_on_close, 1);
}

// T118: data that comes after the application let go.
#[test]
fn data_for_nobody_resets() {
    let mut host = Host::open(plain());
    host.close();
    assert_eq!(
        (host.state(), host.take_one().flags()),
        (State::FinWait1, FIN | ACK)
    );
    host.receive(&In::new(ACK).ack(2).data(b"for whom?"));
    assert_eq!(host.take_one().flags(), RST | ACK);
    assert_eq!(host.conn().close_cause(), Some(CloseCause::Unread));
}

/// A connection's TIME-WAIT, after a peer's last data up to offset 4.
fn time_wait(timestamps: bool) -> (Host, TimeWait) {
    let config = TcpConfig {
        timestamps,
        ..plain()
    };
    let options = Options {
        timestamps: timestamps.then_some(Timestamps {
            value: 100,
            echo: 0,
        }),
        ..peer_options()
    };
    let mut host = Host::open_with(config, options, 60_000);
    host.finish();
    let mut fin = In::new(FIN | ACK).ack(2).data(b"abc");
    if timestamps {
        fin = fin.stamps(100, 0);
    }
    host.receive(&fin);
    host.take();
    let now = host.now;
    let waiting = host.conn().take_time_wait(now).unwrap();
    assert_eq!(waiting.until, now + Duration::from_secs(60));
    (host, waiting)
}

fn acknowledged(answer: &TimeWaitAnswer) -> bool {
    matches!(answer, TimeWaitAnswer::Acknowledge(header)
        if header.flags == ACK && header.seq == OURS.wrapping_add(2) && header.ack == THEIRS.wrapping_add(5))
}

// T119
#[test]
fn time_wait_repeats_its_ack_and_restarts() {
    let (host, mut waiting) = time_wait(false);
    let later = host.now + ms(30_000);
    let fin = In::new(FIN | ACK).ack(2).data(b"abc");
    let answer = waiting.handle_segment(later, &tuple(), &fin.received());
    assert!(acknowledged(&answer));
    assert_eq!(waiting.until, later + Duration::from_secs(60));
    // Other old segments are answered, and do not prolong it.
    let old = In::new(ACK).ack(2).seq(2).data(b"bc");
    let answer = waiting.handle_segment(later + ms(1), &tuple(), &old.received());
    assert!(acknowledged(&answer));
    assert_eq!(waiting.until, later + Duration::from_secs(60));
    let ack = In::new(ACK).ack(2).seq(5);
    assert_eq!(
        waiting.handle_segment(later, &tuple(), &ack.received()),
        TimeWaitAnswer::Drop
    );
}

// T119: two ends in TIME-WAIT do not answer each other for ever.
#[test]
fn time_wait_answers_so_often_only() {
    let (host, mut waiting) = time_wait(false);
    let old = In::new(ACK).ack(2).seq(1);
    let answers = (0..100)
        .filter(|_| acknowledged(&waiting.handle_segment(host.now, &tuple(), &old.received())));
    assert_eq!(answers.count(), 10);
}

// T120, RFC 6191 section 2
#[test]
fn time_wait_gives_way_to_a_new_syn() {
    let syn = |seq: u64, stamp: Option<u32>| {
        let mut syn = In::new(SYN).seq(seq);
        syn.options = peer_options();
        syn.options.timestamps = stamp.map(|value| Timestamps { value, echo: 0 });
        syn
    };
    let replaced = |timestamps, syn: &In| {
        let (host, mut waiting) = time_wait(timestamps);
        let answer = waiting.handle_segment(host.now, &tuple(), &syn.received());
        assert!(matches!(
            answer,
            TimeWaitAnswer::Replace | TimeWaitAnswer::Drop
        ));
        answer == TimeWaitAnswer::Replace
    };
    assert!(replaced(false, &syn(6, None)) && !replaced(false, &syn(4, None)));
    assert!(replaced(true, &syn(4, Some(101))) && !replaced(true, &syn(4, Some(100))));
    assert!(replaced(true, &syn(6, Some(100))) && !replaced(true, &syn(6, Some(99))));
    assert!(replaced(true, &syn(6, None)) && !replaced(true, &syn(4, None)));
    assert!(replaced(false, &syn(4, Some(1))));
}

// T121
#[test]
fn a_rst_does_not_cut_time_wait_short() {
    let (host, mut waiting) = time_wait(false);
    for seq in [4, 5, 6] {
        let reset = In::new(RST).seq(seq);
        let answer = waiting.handle_segment(host.now, &tuple(), &reset.received());
        assert_eq!(answer, TimeWaitAnswer::Drop);
    }
    assert_eq!(waiting.until, host.now + Duration::from_secs(60));
}

// What arrived can be read after TIME-WAIT went to the stack.
#[test]
fn what_arrived_can_be_read_in_time_wait() {
    let (mut host, _) = time_wait(false);
    assert_eq!(host.read(), b"abc");
    assert_eq!(with!(host, |c, cx| c.read(cx, 10)), Ok(None));
    host.close();
    assert!(host.take().is_empty());
    with!(host, |c, cx| c.release(cx));
    assert_eq!((host.chunks.in_use(), host.budget.used()), (0, 0));
}

// T122
#[test]
fn an_orphan_does_not_wait_for_ever() {
    let mut host = Host::open(plain());
    host.close();
    host.receive(&In::new(ACK).ack(2));
    assert_eq!(host.state(), State::FinWait2);
    assert_eq!(
        host.next_timer(),
        Some((Duration::from_secs(60), TcpTimer::Close))
    );
    host.pass(Duration::from_secs(60));
    assert_eq!(host.state(), State::Closed);
    // While the application is there, it does.
    let mut host = Host::open(plain());
    host.finish();
    host.receive(&In::new(ACK).ack(2));
    assert_eq!(host.next_timer(), None);
}

// T123
#[test]
fn zero_linger_resets_at_once() {
    let config = TcpConfig {
        linger: Some(Duration::ZERO),
        ..plain()
    };
    let mut host = Host::open(config);
    host.write(b"abc");
    host.take();
    host.close();
    let reset = host.take_one();
    assert_eq!((reset.flags(), reset.seq), (RST | ACK, 4));
    assert_eq!(host.chunks.in_use(), 0);
}

// T123
#[test]
fn linger_resets_when_its_time_is_over() {
    let config = TcpConfig {
        linger: Some(ms(5000)),
        ..plain()
    };
    let mut host = Host::open(config);
    host.write(b"abc");
    host.close();
    host.pass(ms(4999));
    assert_eq!(host.state(), State::FinWait1);
    host.take();
    host.pass(ms(1));
    assert_eq!(host.take_one().flags(), RST | ACK);
    assert_eq!(host.conn().close_cause(), Some(CloseCause::LingerExpired));
}

// T124
#[test]
fn abort_resets_in_every_synchronised_state() {
    type Walk<'a> = &'a dyn Fn(&mut Host);
    let reach: [(&str, Walk<'_>); 6] = [
        ("ESTABLISHED", &|_| {}),
        ("FIN-WAIT-1", &|host| host.finish()),
        ("FIN-WAIT-2", &|host| {
            host.finish();
            host.receive(&In::new(ACK).ack(2));
        }),
        ("CLOSE-WAIT", &|host| host.receive(&In::new(FIN | ACK))),
        ("CLOSING", &|host| {
            host.finish();
            host.receive(&In::new(FIN | ACK).ack(1));
        }),
        ("LAST-ACK", &|host| {
            host.receive(&In::new(FIN | ACK));
            host.finish();
        }),
    ];
    for (name, go) in reach {
        let mut host = Host::open(plain());
        go(&mut host);
        assert_eq!(host.state().as_str(), name);
        let next = host
            .take()
            .iter()
            .map(|out| out.end() + u64::from(out.flags().contains(FIN)))
            .max();
        with!(host, |c, cx| c.abort(cx, CloseCause::Aborted));
        host.flush();
        let reset = host.take_one();
        assert_eq!(
            (reset.flags(), reset.seq),
            (RST | ACK, next.unwrap_or(1)),
            "{name}"
        );
        assert_eq!(host.conn().close_cause(), Some(CloseCause::Aborted));
        assert!(host.next_timer().is_none());
    }
    let mut host = Host::connecting(plain(), None);
    host.flush();
    host.take();
    with!(host, |c, cx| c.abort(cx, CloseCause::Aborted));
    host.flush();
    assert!(host.take().is_empty() && host.state() == State::Closed);
}

// T125
#[test]
fn after_a_reset_reads_give_what_arrived_and_writes_fail() {
    let mut host = Host::open(plain());
    host.write(b"never acknowledged");
    host.receive(&In::new(ACK).data(b"before"));
    host.receive(&In::new(RST).seq(7));
    assert!(host.news.closed);
    assert_eq!(host.read(), b"before");
    let read = with!(host, |c, cx| c.read(cx, 10));
    assert_eq!(read, Err(ReadError::Closed(CloseCause::Reset)));
    let write = with!(host, |c, cx| c.write_slice(cx, b"x"));
    assert_eq!(write, Err(WriteError::Closed(CloseCause::Reset)));
    host.close();
    with!(host, |c, cx| c.release(cx));
    assert_eq!((host.chunks.in_use(), host.budget.used()), (0, 0));
}
