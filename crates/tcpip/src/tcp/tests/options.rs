//! T96, T102, T108 to T114: timestamps, PAWS, window scale, SACK as agreed.

use super::*;
use crate::wire::tcp::SackBlocks;

fn stamped() -> TcpConfig {
    TcpConfig {
        timestamps: true,
        window_scale: true,
        ..plain()
    }
}

fn stamped_options(value: u32) -> Options {
    Options {
        timestamps: Some(Timestamps { value, echo: 0 }),
        window_scale: Some(2),
        ..peer_options()
    }
}

/// Echo of a segment sent just now.
fn ours(host: &Host) -> u32 {
    numbers(0).timestamp(host.now)
}

// T108
#[test]
fn timestamps_are_used_only_when_both_sent_them() {
    let mut host = Host::open_with(stamped(), stamped_options(100), 60_000);
    host.write(b"abc");
    let now = ours(&host);
    assert_eq!(
        host.take_one().header.options.timestamps,
        Some(Timestamps {
            value: now,
            echo: 100
        })
    );
    let mut host = Host::open_with(stamped(), peer_options(), 60_000);
    host.write(b"abc");
    assert_eq!(host.take_one().header.options.timestamps, None);
    let mut host = Host::open_with(plain(), stamped_options(100), 60_000);
    host.write(b"abc");
    assert_eq!(host.take_one().header.options.timestamps, None);
}

// T108: as a listener only in answer; RST carries none.
#[test]
fn a_listener_answers_options_with_options() {
    let mut host = Host::accepting(stamped(), stamped_options(9), SYN);
    let answer = host.take_one().header.options;
    assert_eq!(answer.timestamps.map(|stamps| stamps.echo), Some(9));
    assert_eq!(answer.window_scale, Some(7));
    with!(host, |c, cx| c
        .abort(cx, crate::tcp::error::CloseCause::Aborted));
    host.flush();
    assert_eq!(host.take_one().header.options, Options::default());
    let mut host = Host::accepting(stamped(), Options::default(), SYN);
    let answer = host.take_one().header.options;
    assert_eq!((answer.timestamps, answer.window_scale), (None, None));
    assert!(!answer.sack_permitted && answer.mss == Some(1460));
}

// T112: milliseconds, from an offset that differs by connection.
#[test]
fn the_timestamp_clock_ticks_in_milliseconds() {
    let mut host = Host::open_with(stamped(), stamped_options(1), 60_000);
    let mut stamps = Vec::new();
    for _ in 0..3 {
        host.write(b"abc");
        host.receive(
            &In::new(ACK)
                .ack(4 + 3 * stamps.len() as u64)
                .stamps(1, ours(&host)),
        );
        let out = host.take_one();
        stamps.push(out.header.options.timestamps.unwrap().value);
        host.pass(ms(7));
    }
    assert_eq!(stamps[1].wrapping_sub(stamps[0]), 7);
    assert_eq!(stamps[2].wrapping_sub(stamps[0]), 14);
    assert_ne!(stamps[0], 10_000);
}

// T109: the echo is of the segment that moves the left edge, not of later ones.
#[test]
fn the_echo_is_of_the_earliest_segment_not_acknowledged() {
    let mut host = Host::open_with(stamped(), stamped_options(100), 60_000);
    host.receive_all(&[
        In::new(ACK).seq(1).data(b"abc").stamps(110, 0),
        In::new(ACK).seq(4).data(b"def").stamps(120, 0),
    ]);
    let echo = |out: &Out| out.header.options.timestamps.unwrap().echo;
    assert_eq!(echo(&host.take_one()), 110);
    // Out of order: what was echoed stays.
    host.receive(&In::new(ACK).seq(17).data(b"xyz").stamps(130, 0));
    assert_eq!(echo(&host.take_one()), 110);
    host.receive(&In::new(ACK).seq(7).data(b"0123456789").stamps(125, 0));
    assert_eq!(echo(&host.take_one()), 125);
}

// T110
#[test]
fn an_old_timestamp_is_answered_and_dropped() {
    let mut host = Host::open_with(stamped(), stamped_options(u32::MAX - 10), 60_000);
    // Over the end of the clock.
    host.receive(&In::new(ACK).data(b"abc").stamps(5, 0));
    host.take();
    host.receive(&In::new(ACK).seq(4).data(b"def").stamps(4, 0));
    let ack = host.take_one();
    assert_eq!((ack.flags(), ack.ack), (ACK, 4));
    assert_eq!(
        (host.read(), host.counters.paws_estab),
        (b"abc".to_vec(), 1)
    );
    host.receive(&In::new(ACK).seq(4).data(b"def").stamps(5, 0));
    assert_eq!(host.read(), b"def");
}

// T110: a RST is judged by its sequence number alone.
#[test]
fn an_old_timestamp_does_not_save_from_a_rst() {
    let mut host = Host::open_with(stamped(), stamped_options(100), 60_000);
    host.receive(&In::new(RST).seq(1).stamps(50, 0));
    assert_eq!(host.state(), State::Closed);
}

// T110: after 24 days of silence TS.Recent says nothing.
#[test]
fn a_timestamp_grows_too_old_to_judge_by() {
    let mut host = Host::open_with(stamped(), stamped_options(100), 60_000);
    host.pass(Duration::from_secs(24 * 86_400 + 1));
    host.receive(&In::new(ACK).data(b"abc").stamps(50, 0));
    assert_eq!(host.read(), b"abc");
    let echo = host.take_one().header.options.timestamps.unwrap().echo;
    assert_eq!(echo, 50);
}

// T111: our choice is to take it.
#[test]
fn a_segment_without_its_timestamp_is_taken() {
    let mut host = Host::open_with(stamped(), stamped_options(100), 60_000);
    host.receive(&In::new(ACK).data(b"abc"));
    assert_eq!(host.read(), b"abc");
}

// RFC 7323 appendix D: an answer that echoes none of our SYNs is one to an older connection's.
#[test]
fn a_synack_with_a_foreign_echo_is_refused() {
    let mut host = Host::connecting(stamped(), None);
    host.flush();
    host.take();
    let mut answer = In::new(SYN | ACK).seq(0).ack(1);
    answer.options = stamped_options(1);
    answer.options.timestamps = Some(Timestamps {
        value: 1,
        echo: ours(&host).wrapping_sub(5000),
    });
    host.receive(&answer);
    assert_eq!(
        (host.state(), host.take_one().flags()),
        (State::SynSent, RST)
    );
    answer.options.timestamps = Some(Timestamps {
        value: 1,
        echo: ours(&host),
    });
    host.receive(&answer);
    assert_eq!(host.state(), State::Established);
}

// T113
#[test]
fn windows_are_scaled_except_in_syns() {
    let mut host = Host::connecting(stamped(), None);
    host.flush();
    let syn = host.take_one().header;
    assert_eq!((syn.options.window_scale, syn.window), (Some(7), 65_535));
    let mut answer = In::new(SYN | ACK).seq(0).ack(1).window(1000);
    answer.options = stamped_options(1);
    host.receive(&answer);
    let ack = host.take_one().header;
    // 15/16 of 70 KiB in units of 128: a sixteenth is kept back.
    assert_eq!(ack.window, 525);
    let window = |host: &mut Host| host.conn().stats(Instant::ZERO).send_window;
    assert_eq!(window(&mut host), 1000);
    host.receive(&In::new(ACK).window(1000).stamps(2, ours(&host)));
    assert_eq!(window(&mut host), 4000);
}

// T113: a shift over 14 means 14, which the parser sees to.
#[test]
fn a_shift_over_14_is_14() {
    let mut wire = Vec::new();
    let header = Header {
        flags: SYN | ACK,
        options: Options {
            window_scale: Some(200),
            ..peer_options()
        },
        ..Header::default()
    };
    header.write(&mut wire);
    let parsed = Segment::parse(&wire).unwrap();
    let mut host = Host::open_with(stamped(), parsed.options, 60_000);
    host.receive(&In::new(ACK).window(3));
    assert_eq!(host.conn().stats(Instant::ZERO).send_window, 3 << 14);
}

// T113: one side alone does not scale.
#[test]
fn one_side_alone_does_not_scale() {
    let mut host = Host::open_with(stamped(), peer_options(), 60_000);
    host.receive(&In::new(ACK).window(500));
    let stats = host.conn().stats(Instant::ZERO);
    assert_eq!((stats.send_window, stats.receive_scale), (500, None));
    host.receive(&In::new(ACK).data(b"x"));
    assert!(host.take_one().header.window > 60_000);
}

// T54, T114: whatever the peer sends and the application reads, the edge told never moves left.
#[test]
fn the_edge_told_never_moves_left() {
    let mut host = Host::open_with(stamped(), stamped_options(1), 60_000);
    let mut rng = rng_from_seed(3);
    let mut edge = 0;
    let mut at = 0;
    for _ in 0..3000 {
        let room = host.conn().stats(Instant::ZERO).receive_window;
        let len = weir_core::rng::between(&mut rng, 100, 1460).min(room);
        if len > 0 {
            host.receive(
                &In::new(ACK)
                    .seq(at + 1)
                    .data(&pattern(at..at + len))
                    .stamps(1, 0),
            );
            at += len;
        }
        if room < 3000 || weir_core::rng::chance(&mut rng, 1, 4) {
            let most = weir_core::rng::between(&mut rng, 1, 5000) as usize;
            let _ = with!(host, |c, cx| c.read(cx, most));
            host.flush();
        }
        for ack in host.take() {
            let told = ack.ack + (u64::from(ack.header.window) << 7);
            assert!(told >= edge, "{told} after {edge}");
            edge = told;
        }
        host.pass(ms(50));
    }
}

// T102: blocks that cannot be are ignored one by one.
#[test]
fn blocks_that_cannot_be_are_ignored() {
    let mut host = Host::open(plain());
    host.write(&pattern(0..10_000));
    let end = host.take_one().end();
    let mut ack = In::new(ACK).ack(1);
    let mut sack = SackBlocks::NONE;
    let wire = |offset: u64| OURS.wrapping_add(offset as u32);
    sack.push(wire(5000), wire(4000));
    sack.push(wire(9001), wire(end + 1));
    sack.push(wire(3_000_000), wire(3_001_000));
    sack.push(wire(2001), wire(2001));
    ack.options.sack = sack;
    for _ in 0..10 {
        host.receive(&ack);
    }
    let stats = host.conn().stats(Instant::ZERO);
    assert_eq!(
        (stats.unacknowledged, host.state()),
        (10_000, State::Established)
    );
    host.take();
    host.receive(&In::new(ACK).ack(end));
    assert_eq!(host.conn().stats(Instant::ZERO).unacknowledged, 0);
}
