//! T51 to T54, T59, T60, T63 to T65, T69, T97, T98, T100: what is received and what is told of it.

use weir_core::window::WindowConfig;

use super::*;
use crate::tcp::error::ReadError;

/// SACK blocks of a segment as offsets.
fn blocks(out: &Out) -> Vec<(u64, u64)> {
    let offset = |at: u32| u64::from(at.wrapping_sub(THEIRS));
    let sack = out.header.options.sack;
    let sack = sack.as_slice().iter();
    sack.map(|(left, right)| (offset(*left), offset(*right)))
        .collect()
}

fn data(range: Range<u64>) -> In {
    In::new(ACK).seq(range.start + 1).data(&pattern(range))
}

/// No quick ACKs any more.
fn quiet(host: &mut Host) -> u64 {
    let mut at = 0;
    for _ in 0..16 {
        host.receive(&data(at..at + 1000));
        at += 1000;
    }
    host.read();
    host.pass(ms(500));
    host.take();
    at
}

// T52
#[test]
fn what_is_out_of_order_waits_for_the_gap() {
    let mut host = Host::open(plain());
    host.receive_all(&[data(3000..4000), data(1000..2000), data(2500..3500)]);
    assert!(host.read().is_empty());
    host.receive(&data(0..1000));
    assert_eq!(host.read(), pattern(0..2000));
    host.receive(&data(1500..2600));
    assert_eq!(host.read(), pattern(2000..4000));
    assert_eq!(host.conn().stats(Instant::ZERO).out_of_order, 0);
}

// T52: overlap keeps either copy, never both.
#[test]
fn an_overlap_keeps_one_copy() {
    let mut host = Host::open(plain());
    host.receive(&In::new(ACK).seq(4).data(b"DEF"));
    host.receive(&In::new(ACK).seq(1).data(b"abcdefg"));
    let read = host.read();
    assert!(read == b"abcDEFg" || read == b"abcdefg", "{read:?}");
}

// T53, threats C4: a flood out of order stays within the window.
#[test]
fn a_flood_out_of_order_is_bounded() {
    let mut host = Host::open(plain());
    for at in 0..30_000_u64 {
        let at = at * 3 % 90_000;
        host.receive(&In::new(ACK).seq(at + 2).data(b"x"));
        host.take();
    }
    let stats = host.conn().stats(Instant::ZERO);
    assert!(stats.out_of_order < 30_000 && host.budget.used() <= 70 << 10);
    assert!(host.chunks.in_use() <= 1 << 17);
}

// T64, T97: at once, the newest block first, as many as fit.
#[test]
fn a_gap_is_told_at_once_with_blocks() {
    let mut host = Host::open(plain());
    quiet(&mut host);
    let base = 16_000;
    let mut told = Vec::new();
    for hole in 1..=5 {
        let at = base + hole * 2000;
        host.receive(&data(at..at + 1000));
        let ack = host.take_one();
        assert_eq!(ack.ack, base + 1);
        told.insert(0, (at + 1, at + 1001));
        told.truncate(4);
        assert_eq!(blocks(&ack), told);
    }
    // T64: a gap that is filled in part.
    host.receive(&data(base..base + 1000));
    assert_eq!(host.take_one().ack, base + 1001);
}

// T97: three blocks beside timestamps.
#[test]
fn three_blocks_fit_beside_timestamps() {
    let config = TcpConfig {
        timestamps: true,
        ..plain()
    };
    let mut options = peer_options();
    options.timestamps = Some(Timestamps { value: 5, echo: 0 });
    let mut host = Host::open_with(config, options, 60_000);
    for hole in 1..=4 {
        host.receive(&data(hole * 2000..hole * 2000 + 500).stamps(5, 0));
    }
    let last = host.take().pop().unwrap();
    assert_eq!(last.header.len(), 60);
    assert_eq!(blocks(&last).len(), 4);
    let mut wire = Vec::new();
    last.header.write(&mut wire);
    let parsed = Segment::parse(&wire).unwrap();
    assert_eq!(parsed.options.sack.len(), 3);
}

// T28, RFC 6691: data beside SACK blocks is that much shorter.
#[test]
fn blocks_take_their_room_from_data() {
    let mut host = Host::open(plain());
    host.receive(&data(2000..3000));
    host.take();
    host.write(&pattern(0..3000));
    let out = host.take();
    assert_eq!(out[0].size, 1000 - 12);
}

// T98: what was reported stays reported, and is delivered.
#[test]
fn reported_data_is_never_forgotten() {
    let mut host = Host::open(plain());
    for hole in (0..30_u64).rev() {
        host.receive(&data(hole * 2000 + 1000..hole * 2000 + 2000));
        host.take();
    }
    for hole in 0..30_u64 {
        host.receive(&data(hole * 2000..hole * 2000 + 1000));
        assert_eq!(host.take_one().ack, (hole + 1) * 2000 + 1);
    }
    assert_eq!(host.read(), pattern(0..60_000));
}

// T100
#[test]
fn a_duplicate_is_reported_once() {
    let mut host = Host::open(plain());
    host.receive(&data(0..1000));
    host.take();
    host.receive(&data(0..500));
    assert_eq!(blocks(&host.take_one()), [(1, 501)]);
    host.receive(&data(1000..1001));
    host.pass(ms(500));
    assert!(host.take().iter().all(|ack| blocks(ack).is_empty()));
    // Above the acknowledgement: the block around it follows.
    host.receive(&data(3000..4000));
    host.take();
    host.receive(&data(3200..3300));
    assert_eq!(blocks(&host.take_one()), [(3201, 3301), (3001, 4001)]);
    // In part below it.
    host.receive(&data(900..1100));
    assert_eq!(blocks(&host.take_one()), [(901, 1002), (3001, 4001)]);
}

// T96
#[test]
fn without_sack_there_are_no_blocks_but_duplicate_acks() {
    let mut options = peer_options();
    options.sack_permitted = false;
    let mut host = Host::open_with(plain(), options, 60_000);
    host.receive_all(&[data(1000..2000), data(2000..3000), data(3000..4000)]);
    let acks = host.take();
    assert_eq!(acks.len(), 3);
    assert!(
        acks.iter()
            .all(|ack| ack.ack == 1 && blocks(ack).is_empty())
    );
}

// T54, T59, T60
#[test]
fn a_closed_window_reopens_when_it_is_worth_it() {
    let mut config = plain();
    config.receive_window = WindowConfig::new(16_000, 16_000);
    let mut host = Host::open(config);
    let size = host.conn().stats(Instant::ZERO).receive_window;
    host.receive(&data(0..size));
    assert_eq!(host.take_one().header.window, 0);
    assert_eq!(host.counters.tcp_to_zero_window_adv, 1);
    let read = |host: &mut Host, max| {
        let bytes = with!(*host, |c, cx| c.read(cx, max)).unwrap().unwrap();
        host.flush();
        assert_eq!(bytes.len(), max);
    };
    // Less than a segment: nothing is said.
    read(&mut host, 900);
    assert!(host.take().is_empty());
    read(&mut host, 100);
    let update = host.take_one();
    assert_eq!((update.flags(), update.header.window), (ACK, 1000));
    assert_eq!(host.counters.tcp_from_zero_window_adv, 1);
    // Then only when it doubles.
    read(&mut host, 500);
    assert!(host.take().is_empty());
    read(&mut host, 500);
    assert_eq!(host.take_one().header.window, 2000);
}

// T63
#[test]
fn every_second_full_segment_is_acknowledged() {
    let mut host = Host::open(plain());
    let at = quiet(&mut host);
    host.receive(&data(at..at + 1000));
    assert!(host.take().is_empty());
    host.receive(&data(at + 1000..at + 2000));
    assert_eq!(host.take_one().ack, at + 2001);
}

// T63, RFC 8985 7.2
#[test]
fn every_second_small_segment_is_acknowledged() {
    let mut host = Host::open(plain());
    let at = quiet(&mut host);
    host.receive(&data(at..at + 10));
    assert!(host.take().is_empty());
    host.receive(&data(at + 10..at + 20));
    assert_eq!(host.take_one().ack, at + 21);
}

// T63
#[test]
fn a_lonely_segment_is_acknowledged_soon() {
    let mut host = Host::open(plain());
    let at = quiet(&mut host);
    host.receive(&data(at..at + 10));
    assert_eq!(host.next_timer(), Some((ms(40), TcpTimer::DelayedAck)));
    host.pass(ms(39));
    assert!(host.take().is_empty());
    host.pass(ms(1));
    assert_eq!(host.take_one().ack, at + 11);
    assert_eq!(host.next_timer(), None);
}

// T64
#[test]
fn a_duplicate_is_answered_at_once() {
    let mut host = Host::open(plain());
    let at = quiet(&mut host);
    host.receive(&data(at - 1000..at));
    assert_eq!(host.take_one().ack, at + 1);
}

// T65
#[test]
fn the_first_segments_are_acknowledged_at_once() {
    let mut host = Host::open(plain());
    for at in 0..16 {
        host.receive(&data(at * 10..at * 10 + 10));
        assert_eq!(host.take_one().ack, at * 10 + 11);
    }
    host.receive(&data(160..170));
    assert!(host.take().is_empty());
}

// T65: not where the application answers: the ACK finds company.
#[test]
fn acks_wait_for_answers() {
    let mut host = Host::open(plain());
    host.receive(&data(0..10));
    host.take();
    host.read();
    host.write(b"answer");
    host.take();
    host.receive(&data(10..20).ack(7));
    assert!(host.take().is_empty());
    host.write(b"answer");
    assert_eq!(host.take_one().ack, 21);
}

// RFC 9293 3.10.7.4 (MUST-58, MUST-59): one ACK for all segments of a batch.
#[test]
fn a_batch_is_acknowledged_once() {
    let mut host = Host::open(plain());
    let batch: Vec<In> = (0..20).map(|n| data(n * 1000..n * 1000 + 1000)).collect();
    host.receive_all(&batch);
    assert_eq!(host.take_one().ack, 20_001);
    let mut large = data(20_000..60_000);
    large.segments = 40;
    host.receive(&large);
    assert_eq!(host.take_one().ack, 60_001);
    assert_eq!(host.conn().stats(Instant::ZERO).receive_mss, 1000);
    assert_eq!(host.read(), pattern(0..60_000));
}

// T69: twice what is read in a round trip, up to the limit, out of the budget.
#[test]
fn the_window_grows_with_reading_and_is_given_back() {
    let config = TcpConfig {
        window_scale: true,
        receive_window: WindowConfig::new(70 << 10, 1 << 20),
        ..plain()
    };
    let options = Options {
        window_scale: Some(7),
        ..peer_options()
    };
    let mut host = Host::connecting(config, None);
    host.flush();
    host.take();
    host.pass(ms(50));
    let mut answer = In::new(SYN | ACK).seq(0).ack(1);
    answer.options = options;
    host.receive(&answer);
    host.take();
    let size = |host: &mut Host| host.conn().stats(Instant::ZERO).receive_window_size;
    let mut at = 0;
    for _ in 0..30 {
        let end = at + host.conn().stats(Instant::ZERO).receive_window;
        while at < end {
            let next = end.min(at + 20_000);
            let mut large = data(at..next);
            large.segments = 20;
            host.receive(&large);
            at = next;
        }
        host.read();
        host.pass(ms(50));
    }
    assert_eq!(size(&mut host), 1 << 20);
    assert!(host.budget.used() > 900_000);
    assert!(host.take().pop().unwrap().header.window > 5000);
    // Idle, it gives the growth back, and rests.
    host.pass(ms(30_000));
    assert_eq!(size(&mut host), 70 << 10);
    assert_eq!((host.budget.used(), host.next_timer()), (0, None));
}

// T58
#[test]
fn a_read_that_finds_nothing_is_told_of_what_comes() {
    let mut host = Host::open(plain());
    let none = with!(host, |c, cx| c.read(cx, 10));
    assert_eq!(none, Err(ReadError::Blocked));
    host.receive(&data(0..10));
    assert!(host.news.readable);
    host.news = News::default();
    host.receive(&data(10..20));
    assert!(!host.news.readable);
    let mut small = [0; 15];
    let count = with!(host, |c, cx| c.read_into(cx, &mut small));
    assert_eq!((count, &small[..]), (Ok(15), &pattern(0..15)[..]));
    assert_eq!(host.read(), pattern(15..20));
}

// Idle, it holds no buffers.
#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut host = Host::open(plain());
    for round in 0..10 {
        host.receive(&data(round * 5000..(round + 1) * 5000));
        host.read();
        host.write(&pattern(0..5000));
        host.receive(
            &In::new(ACK)
                .seq((round + 1) * 5000 + 1)
                .ack((round + 1) * 5000 + 1),
        );
    }
    assert_eq!((host.chunks.in_use(), host.budget.used()), (0, 0));
}

// RFC 9293 3.9.1: what arrives after `stop` is thrown away, the window stays open.
#[test]
fn a_stopped_reader_lets_the_peer_go_on() {
    let mut host = Host::open(plain());
    host.receive(&data(0..1000));
    with!(host, |c, cx| c.stop(cx));
    for round in 1..200 {
        host.receive(&data(round * 1000..(round + 1) * 1000));
    }
    assert_eq!(host.take().last().unwrap().ack, 200_001);
    assert!(host.conn().stats(Instant::ZERO).receive_window > 30_000);
    assert_eq!(with!(host, |c, cx| c.read(cx, 1)), Err(ReadError::Stopped));
    assert_eq!(host.chunks.in_use(), 0);
}

// T11: urgent data is delivered in line.
#[test]
fn urgent_data_is_in_line() {
    let mut host = Host::open(plain());
    let mut urgent = data(0..10);
    urgent.flags = ACK | Flags::URG;
    host.receive(&urgent);
    assert_eq!(host.read(), pattern(0..10));
}

// threats C4: when memory is short, what arrives is as if lost, and acknowledged as such.
#[test]
fn without_memory_data_is_left_to_come_again() {
    let mut host = Host::open(plain());
    host.budget = Budget::root("tiny", 1500);
    host.receive(&data(0..1000));
    host.receive(&data(1000..2000));
    assert_eq!(host.take().pop().unwrap().ack, 1001);
    assert_eq!(host.counters.tcp_rcvq_drop, 1);
    assert_eq!(host.read(), pattern(0..1000));
    host.budget = Budget::root("ample", 1 << 20);
    host.receive(&data(1000..2000));
    assert_eq!(host.read(), pattern(1000..2000));
}
