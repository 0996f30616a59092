//! T39 to T48: which segments are taken, and what blind attackers get.

use super::*;
use crate::tcp::error::CloseCause;

/// A connection with a window of 5,000 bytes from offset 1, exactly.
fn narrow() -> Host {
    let mut config = plain();
    config.receive_window = weir_core::window::WindowConfig::new(5334, 5334);
    let mut host = Host::open(config);
    let edge = host.conn().stats(Instant::ZERO).receive_window;
    assert_eq!(edge, 5001);
    host.take();
    host
}

fn is_answered(host: &mut Host, segment: In) -> bool {
    let before = host.conn().stats(Instant::ZERO);
    host.receive(&segment);
    let out = host.take();
    if let [ack] = &out[..] {
        assert_eq!(
            (ack.flags(), ack.seq, ack.ack),
            (ACK, 1, 1 + before.bytes_received)
        );
    }
    let after = host.conn().stats(Instant::ZERO);
    let same =
        before.bytes_received + before.out_of_order == after.bytes_received + after.out_of_order;
    assert!(out.len() <= 1 && same);
    out.len() == 1
}

// T39, T40: at an open window.
#[test]
fn segments_outside_the_window_get_an_ack() {
    let mut host = narrow();
    // No data: RCV.NXT <= SEG.SEQ <= RCV.NXT + RCV.WND.
    assert!(!is_answered(&mut host, In::new(ACK).seq(1)));
    assert!(!is_answered(&mut host, In::new(ACK).seq(5001)));
    assert!(is_answered(&mut host, In::new(ACK).seq(0)));
    assert!(is_answered(&mut host, In::new(ACK).seq(5003)));
    // Data: its first or last byte in the window.
    assert!(is_answered(&mut host, In::new(ACK).seq(5002).data(b"x")));
    assert!(is_answered(&mut host, In::new(ACK).seq(0).data(b"x")));
    host.receive(&In::new(ACK).seq(0).data(b"xy"));
    assert_eq!(host.read(), b"y");
}

// T39, T58: at a closed window.
#[test]
fn at_a_closed_window_only_the_next_number_is_taken() {
    let mut host = narrow();
    host.receive(&In::new(ACK).data(&pattern(0..5001)));
    let full = host.take_one();
    assert_eq!((full.ack, full.header.window), (5002, 0));
    host.receive(&In::new(ACK).seq(5002).data(b"x"));
    let probe = host.take_one();
    assert_eq!((probe.ack, probe.header.window), (5002, 0));
    host.receive(&In::new(ACK).seq(5003));
    assert_eq!(host.take_one().ack, 5002);
    // Its acknowledgement is taken all the same.
    host.write(b"abc");
    host.take();
    host.receive(&In::new(ACK).seq(5002).ack(4).data(b"x"));
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 3);
    host.take();
    host.receive(&In::new(RST).seq(5002));
    assert_eq!(host.state(), State::Closed);
}

// T41
#[test]
fn a_rst_counts_at_the_exact_number_only() {
    let mut host = narrow();
    for outside in [0, 5003, 1 << 31] {
        host.receive(&In::new(RST).seq(outside));
        assert!(host.take().is_empty());
    }
    for inside in [2, 5001] {
        host.receive(&In::new(RST).seq(inside));
        let challenge = host.take_one();
        assert_eq!(
            (challenge.flags(), challenge.seq, challenge.ack),
            (ACK, 1, 1)
        );
        assert_eq!(host.state(), State::Established);
    }
    host.receive(&In::new(RST).seq(1));
    assert_eq!(host.conn().close_cause(), Some(CloseCause::Reset));
    assert!(host.take().is_empty() && host.counters.estab_resets == 1);
}

// T42
#[test]
fn a_syn_gets_a_challenge_ack_whatever_its_number() {
    for seq in [0, 1, 100, 70_000, 1 << 30] {
        let mut host = narrow();
        for flags in [SYN, SYN | ACK] {
            host.receive(&In::new(flags).seq(seq));
            let challenge = host.take_one();
            assert_eq!(
                (challenge.flags(), challenge.seq, challenge.ack),
                (ACK, 1, 1)
            );
        }
        assert_eq!(host.state(), State::Established);
        assert_eq!(host.counters.tcp_syn_challenge, 2);
    }
}

// T43, T45
#[test]
fn acks_far_below_or_above_what_was_sent_get_a_challenge_ack() {
    let mut host = Host::open_with(plain(), peer_options(), 2000);
    for _ in 0..10 {
        let end = host.conn().stats(Instant::ZERO).bytes_acked + 1001;
        host.write(&pattern(0..1000));
        host.receive(&In::new(ACK).ack(end).window(2000));
    }
    host.take();
    // SND.UNA is 10,001, MAX.SND.WND 2,000.
    for (ack, good) in [(10_001, true), (8001, true), (8000, false), (10_002, false)] {
        host.receive(&In::new(ACK).ack(ack).data(b"x").seq(1).window(2000));
        let taken = host.read().len();
        assert_eq!(taken, usize::from(good && ack == 10_001), "{ack}");
        if !good {
            let challenge = host.take();
            assert_eq!((challenge[0].flags(), challenge[0].seq), (ACK, 10_001));
        }
        host.take();
    }
}

// T44: so many in a second, counted for this connection alone.
#[test]
fn challenge_acks_are_limited_by_time() {
    let mut host = narrow();
    let mut other = narrow();
    for _ in 0..100 {
        host.receive(&In::new(SYN).seq(7));
    }
    assert_eq!(host.take().len(), 10);
    assert_eq!(host.counters.tcp_ack_skipped_challenge, 90);
    other.receive(&In::new(SYN).seq(7));
    assert_eq!(other.take().len(), 1);
    host.pass(ms(1000));
    host.receive(&In::new(SYN).seq(7));
    assert_eq!(host.take().len(), 1);
}

// T46
#[test]
fn the_data_of_an_old_ack_is_taken() {
    let mut host = Host::open(plain());
    host.write(b"abcdef");
    host.receive(&In::new(ACK).ack(7));
    host.receive(&In::new(ACK).ack(3).data(b"late"));
    assert_eq!(host.read(), b"late");
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 6);
}

// T47
#[test]
fn the_part_inside_the_window_is_used() {
    let mut host = narrow();
    host.receive(&In::new(ACK).data(&pattern(0..3)));
    host.receive(&In::new(ACK).seq(2).data(&pattern(1..5200)));
    assert_eq!(host.read(), pattern(0..5001));
    let out = host.take();
    assert_eq!(out[0].ack, 4);
    assert_eq!(out[1].ack, 5002);
}

// T48
#[test]
fn without_the_ack_flag_nothing_is_taken() {
    let mut host = narrow();
    host.receive(&In::new(PSH).data(b"x"));
    assert!(host.take().is_empty() && host.read().is_empty());
}

// T16: nothing that is sent answers a RST with a RST.
#[test]
fn a_rst_is_never_answered_by_a_rst() {
    for flags in [RST, RST | ACK, RST | SYN | ACK] {
        for seq in [0, 1, 2, 60_000, 1 << 31] {
            let mut host = narrow();
            host.receive(&In::new(flags).seq(seq).ack(77));
            let answers = host.take();
            assert!(answers.iter().all(|out| !out.flags().contains(RST)));
        }
    }
}
