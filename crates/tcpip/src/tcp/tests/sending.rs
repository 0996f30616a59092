//! T55 to T57, T61, T62, T66 to T68, T70: what is sent, and when.

use weir_core::trace::HeldBy;

use super::*;
use crate::tcp::config::{SendBufferConfig, Setting};
use crate::tcp::error::WriteError;

fn lens(out: &[Out]) -> Vec<usize> {
    out.iter().map(|out| out.data.len()).collect()
}

// T66: PSH on the last of a write when nothing follows; several segments go in one piece.
#[test]
fn psh_ends_what_was_written() {
    let mut host = Host::open(plain());
    host.write(&pattern(0..3500));
    let out = host.take_one();
    assert_eq!(
        (out.flags(), out.size, out.data.len()),
        (ACK | PSH, 1000, 3500)
    );
    assert_eq!(out.data, pattern(0..3500));
}

// T66: what the peer's window cuts off is no end of a write.
#[test]
fn no_psh_while_more_follows() {
    let mut host = Host::open_with(plain(), peer_options(), 2000);
    host.write(&pattern(0..3500));
    let out = host.take_one();
    assert_eq!((out.flags(), out.data.len()), (ACK, 2000));
}

// T51: over the end of the sequence space, which comes after 5,000 bytes here.
#[test]
fn sequence_numbers_wrap() {
    let mut host = Host::open(plain());
    let mut acked = 1;
    for round in 0..20 {
        host.write(&pattern(round * 1000..(round + 1) * 1000));
        let out = host.take_one();
        assert_eq!(out.seq, acked);
        assert_eq!(out.data, pattern(round * 1000..(round + 1) * 1000));
        acked = out.end();
        host.receive(&In::new(ACK).ack(acked));
    }
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 20_000);
}

// T61, T62: one small segment at a time, full ones at once (RFC 9293 appendix A.3).
#[test]
fn nagle_holds_a_second_small_segment() {
    let mut host = Host::open(plain());
    host.write(b"first");
    assert_eq!(lens(&host.take()), [5]);
    host.write(b"second");
    host.write(b"third");
    assert!(host.take().is_empty());
    // T68: what waits is merged.
    host.write(&pattern(0..1500));
    let out = host.take_one();
    assert_eq!(out.data.len(), 1000);
    assert_eq!(&out.data[..11], b"secondthird");
    host.receive(&In::new(ACK).ack(6));
    assert_eq!(lens(&host.take()), [511]);
}

// T62
#[test]
fn nodelay_lets_small_segments_go() {
    let config = TcpConfig {
        nodelay: true,
        ..plain()
    };
    let mut host = Host::open(config);
    for _ in 0..3 {
        host.write(b"small");
    }
    assert_eq!(lens(&host.take()), [5, 5, 5]);
    let mut host = Host::open(plain());
    host.write(b"first");
    host.write(b"second");
    host.take();
    with!(host, |c, cx| c.configure(cx, Setting::NoDelay(true)));
    host.flush();
    assert_eq!(lens(&host.take()), [6]);
}

// T68
#[test]
fn many_small_writes_become_full_segments() {
    let mut host = Host::open(plain());
    for _ in 0..1000 {
        with!(host, |c, cx| c.write_slice(cx, b"0123456789")).unwrap();
    }
    host.flush();
    let out = host.take_one();
    assert_eq!((out.data.len(), out.size), (10_000, 1000));
}

// T61: half the largest window lets a part go though it is no full segment.
#[test]
fn a_window_that_opens_by_little_is_not_filled() {
    let mut host = Host::open_with(plain(), peer_options(), 600);
    host.write(&pattern(0..5000));
    // 600 is the largest window so far.
    assert_eq!(lens(&host.take()), [600]);
    host.receive(&In::new(ACK).ack(601).window(4000));
    assert_eq!(lens(&host.take()), [4000]);
    host.receive(&In::new(ACK).ack(4601).window(300));
    assert!(host.take().is_empty());
    assert_eq!(host.conn().stats(Instant::ZERO).held_by, HeldBy::PeerWindow);
    // The override timer.
    let (wait, timer) = host.next_timer().unwrap();
    assert_eq!(timer, TcpTimer::Persist);
    host.pass(wait);
    assert_eq!(lens(&host.take()), [300]);
}

// T55: a window that shrinks is kept to, by what is sent again too.
#[test]
fn nothing_goes_beyond_a_window_that_shrank() {
    let mut host = Host::open(plain());
    host.write(&pattern(0..8000));
    assert_eq!(host.take_one().end(), 8001);
    host.receive(&In::new(ACK).ack(2001).window(1000));
    host.take();
    host.write(&pattern(0..1000));
    assert!(host.take().is_empty());
    host.pass(ms(5000));
    let again = host.take();
    assert!(!again.is_empty() && again.iter().all(|out| out.end() <= 3001));
    // Open again: all of it goes, by what is acknowledged.
    let mut end = 3001;
    while end < 9001 {
        host.receive(&In::new(ACK).ack(end).window(60_000));
        host.pass(ms(5000));
        let sent = host.take().iter().map(Out::end).max();
        assert!(sent > Some(end), "{sent:?} after {end}");
        end = sent.unwrap();
    }
    host.receive(&In::new(ACK).ack(9001));
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 9000);
}

// T56
#[test]
fn an_old_segment_does_not_change_the_window() {
    let mut host = Host::open(plain());
    host.receive(&In::new(ACK).data(b"abc").window(4000));
    host.take();
    let window = |host: &mut Host| host.conn().stats(Instant::ZERO).send_window;
    assert_eq!(window(&mut host), 4000);
    // WL1 is 1; a segment from before it (its first byte a duplicate).
    host.receive(&In::new(ACK).seq(0).data(b"xabcd").window(10));
    assert_eq!(window(&mut host), 4000);
    host.receive(&In::new(ACK).seq(5).window(3000));
    assert_eq!(window(&mut host), 3000);
    // The same number, an older ACK.
    host.write(b"abc");
    host.receive(&In::new(ACK).seq(5).ack(4).window(2000));
    host.receive(&In::new(ACK).seq(5).ack(2).window(20));
    assert_eq!(window(&mut host), 2000);
}

// T57: one byte, first after the RTO, then with backoff, for ever while it is answered.
#[test]
fn a_closed_window_is_probed_for_ever() {
    let mut host = Host::open(plain());
    host.write(b"abc");
    host.receive(&In::new(ACK).ack(4).window(0));
    host.take();
    host.write(&pattern(0..5000));
    assert!(host.take().is_empty());
    assert_eq!(host.conn().stats(Instant::ZERO).held_by, HeldBy::PeerWindow);
    let rto = host.conn().stats(Instant::ZERO).rto;
    let mut waits = Vec::new();
    for _ in 0..40 {
        let (wait, timer) = host.next_timer().unwrap();
        assert_eq!(timer, TcpTimer::Persist);
        host.pass(wait);
        waits.push(wait);
        let probe = host.take_one();
        assert_eq!((probe.seq, probe.data.len()), (4, 1));
        host.receive(&In::new(ACK).ack(4).window(0));
        assert!(host.take().is_empty());
    }
    assert_eq!(waits[0], rto.max(ms(200)));
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(waits[39], Duration::from_secs(60));
    assert_eq!(host.state(), State::Established);
    // Opened: everything goes, the probe's byte too.
    host.receive(&In::new(ACK).ack(4).window(6000));
    let sent: Vec<u8> = host.take().into_iter().flat_map(|out| out.data).collect();
    assert_eq!(sent, pattern(0..5000));
}

// T58, RFC 9293 3.4: with a probe on its way into a closed window, an ACK bears the only number that the
// peer takes.
#[test]
fn an_ack_beside_a_probe_lies_inside_the_closed_window() {
    let mut host = Host::open(plain());
    host.write(b"abc");
    host.receive(&In::new(ACK).ack(4).window(0));
    host.write(b"more");
    host.take();
    let (wait, _) = host.next_timer().unwrap();
    host.pass(wait);
    let probe = host.take_one();
    assert_eq!((probe.seq, probe.data.len()), (4, 1));
    // Something to be acknowledged at once: a segment below the window.
    host.receive(&In::new(ACK).seq(0).ack(4).window(0).data(b"x"));
    let ack = host.take_one();
    assert_eq!((ack.seq, ack.data.len()), (4, 0));
}

// T57: a probe that was taken is not sent again.
#[test]
fn the_byte_of_a_probe_counts_when_it_is_acknowledged() {
    let mut host = Host::open_with(plain(), peer_options(), 0);
    host.write(b"abc");
    let (wait, _) = host.next_timer().unwrap();
    host.pass(wait);
    assert_eq!(host.take_one().data, b"a");
    host.receive(&In::new(ACK).ack(2).window(100));
    let rest = host.take_one();
    assert_eq!((rest.seq, &rest.data[..]), (2, &b"bc"[..]));
}

// T57, T115: the FIN waits for the window, too, and probes it.
#[test]
fn a_fin_at_a_closed_window_is_the_probe() {
    let mut host = Host::open_with(plain(), peer_options(), 0);
    host.finish();
    assert!(host.take().is_empty());
    let (wait, timer) = host.next_timer().unwrap();
    assert_eq!(timer, TcpTimer::Persist);
    host.pass(wait);
    assert_eq!(host.take_one().flags(), FIN | ACK);
    host.receive(&In::new(ACK).ack(1).window(5000));
    assert_eq!(host.take_one().flags(), FIN | ACK);
    host.receive(&In::new(ACK).ack(2).window(5000));
    assert_eq!(host.state(), State::FinWait2);
}

// T67: data carries the acknowledgement that is owed.
#[test]
fn an_ack_rides_on_data() {
    let mut host = Host::open(plain());
    let received = In::new(ACK).data(b"question");
    let received = received.received();
    with!(host, |c, cx| c.handle_segment(cx, &received));
    with!(host, |c, cx| c.write_slice(cx, b"answer")).unwrap();
    host.flush();
    let out = host.take_one();
    assert_eq!((out.ack, &out.data[..]), (9, &b"answer"[..]));
}

// T70
#[test]
fn the_send_buffer_grows_with_the_congestion_window() {
    let config = TcpConfig {
        send_buffer: SendBufferConfig {
            initial: 16_000,
            max: 200_000,
        },
        window_scale: true,
        ..plain()
    };
    let options = Options {
        window_scale: Some(7),
        ..peer_options()
    };
    let mut host = Host::open_with(config, options, 60_000);
    host.receive(&In::new(ACK).window(60_000));
    let data = pattern(0..500_000);
    let mut written = 0;
    let mut most = 0;
    for _ in 0..200 {
        while let Ok(count) = with!(host, |c, cx| c.write_slice(cx, &data[..10_000])) {
            written += count;
        }
        let stats = host.conn().stats(Instant::ZERO);
        assert!(stats.unacknowledged <= stats.send_buffer && stats.send_buffer <= 200_000);
        most = most.max(stats.send_buffer);
        host.flush();
        host.pass(ms(10));
        if let Some(last) = host.take().last() {
            host.news = News::default();
            host.receive(&In::new(ACK).ack(last.end()).window(60_000));
            assert!(host.news.writable);
        }
    }
    assert!(most == 200_000 && written > 1_000_000, "{most} {written}");
}

#[test]
fn writes_are_bounded_and_wake_up_once() {
    let mut host = Host::open(plain());
    let data = pattern(0..1 << 20);
    let first = host.write(&data);
    assert_eq!(first as u64, host.conn().stats(Instant::ZERO).send_buffer);
    let full = with!(host, |c, cx| c.write_slice(cx, &data));
    assert_eq!(full, Err(WriteError::Blocked));
    assert!(!host.news.writable);
    let end = host.take().last().unwrap().end();
    host.receive(&In::new(ACK).ack(end));
    while !host.news.writable {
        let end = host.take().last().unwrap().end();
        host.receive(&In::new(ACK).ack(end));
    }
    assert!(host.conn().stats(Instant::ZERO).unacknowledged > 0);
    host.finish();
    let after = with!(host, |c, cx| c.write_slice(cx, &data));
    assert_eq!(after, Err(WriteError::Finished));
}

// threats C4: without memory a write is refused, but a connection still gets on by little.
#[test]
fn a_short_budget_holds_writers_back() {
    let mut host = Host::open(plain());
    host.budget = Budget::root("tiny", 6000);
    let written = host.write(&pattern(0..50_000));
    assert_eq!(written, 4096);
    assert_eq!(host.budget.used(), 0);
    let end = host.take().last().unwrap().end();
    host.receive(&In::new(ACK).ack(end));
    assert_eq!(host.write(&pattern(0..5000)), 5000);
    assert_eq!(host.budget.used(), 5000);
    let end = host.take().last().unwrap().end();
    host.receive(&In::new(ACK).ack(end));
    host.receive(&In::new(ACK).ack(5001 + 4096));
    assert_eq!(host.budget.used(), 0);
}

// A batch that is full is gone on with.
#[test]
fn a_full_sink_is_come_back_to() {
    let mut host = Host::open(plain());
    host.sink.max = 2500;
    host.sink.full_at = 1;
    host.write(&pattern(0..7000));
    let mut all = Vec::new();
    loop {
        let out = host.take();
        if out.is_empty() {
            break;
        }
        assert_eq!(out.len(), 1);
        assert!(out[0].data.len() <= 2000);
        all.extend(out.into_iter().flat_map(|out| out.data));
        host.flush();
    }
    assert!(all == pattern(0..7000), "{} bytes", all.len());
}
