//! T128 to T131: classic ECN.

use super::*;

const ECE: Flags = Flags::ECE;
const CWR: Flags = Flags::CWR;

fn marking() -> TcpConfig {
    TcpConfig {
        ecn: true,
        ..plain()
    }
}

/// A connection with ECN agreed.
fn agreed() -> Host {
    let mut host = Host::connecting(marking(), None);
    host.flush();
    host.take();
    let mut answer = In::new(SYN | ACK | ECE).seq(0).ack(1);
    answer.options = peer_options();
    host.receive(&answer);
    host.take();
    assert!(host.conn().stats(Instant::ZERO).ecn);
    host
}

// T128
#[test]
fn ecn_is_asked_for_and_answered() {
    let mut host = Host::connecting(marking(), None);
    host.flush();
    assert_eq!(host.take_one().flags(), SYN | ECE | CWR);
    for (flags, on) in [
        (SYN | ACK | ECE, true),
        (SYN | ACK, false),
        (SYN | ACK | ECE | CWR, false),
    ] {
        let mut host = Host::connecting(marking(), None);
        host.flush();
        let mut answer = In::new(flags).seq(0).ack(1);
        answer.options = peer_options();
        host.receive(&answer);
        assert_eq!(host.conn().stats(Instant::ZERO).ecn, on);
    }
    let mut host = Host::accepting(marking(), peer_options(), SYN | ECE | CWR);
    assert_eq!(host.take_one().flags(), SYN | ACK | ECE);
    let mut host = Host::accepting(marking(), peer_options(), SYN);
    assert_eq!(host.take_one().flags(), SYN | ACK);
    let mut host = Host::accepting(plain(), peer_options(), SYN | ECE | CWR);
    assert_eq!(host.take_one().flags(), SYN | ACK);
}

// T128: the repeated SYN asks for nothing.
#[test]
fn a_lost_syn_goes_again_without_ecn() {
    let mut host = Host::connecting(marking(), None);
    host.flush();
    host.take();
    host.pass(ms(1000));
    assert_eq!(host.take_one().flags(), SYN);
    let mut answer = In::new(SYN | ACK | ECE).seq(0).ack(1);
    answer.options = peer_options();
    host.receive(&answer);
    assert!(!host.conn().stats(Instant::ZERO).ecn);
}

// T128: the peer gave it up between its SYNs.
#[test]
fn a_repeated_syn_without_ecn_turns_it_off() {
    let mut host = Host::accepting(marking(), peer_options(), SYN | ECE | CWR);
    host.take();
    host.receive(&In::new(SYN).seq(0));
    assert_eq!(host.take_one().flags(), SYN | ACK);
}

// T129
#[test]
fn new_data_alone_is_ect() {
    let mut host = agreed();
    host.write(&pattern(0..1000));
    assert_eq!(host.take_one().ecn, Ecn::Ect0);
    host.receive(&In::new(ACK).data(b"x"));
    assert_eq!(host.take_one().ecn, Ecn::NotEct);
    // Sent again, be it by probe or time-out.
    host.pass(ms(3000));
    let again = host.take();
    assert!(!again.is_empty() && again.iter().all(|out| out.ecn == Ecn::NotEct));
    let mut host = Host::open(plain());
    host.write(&pattern(0..1000));
    assert_eq!(host.take_one().ecn, Ecn::NotEct);
}

// T130
#[test]
fn a_mark_is_echoed_until_the_peer_says_cwr() {
    let mut host = agreed();
    host.receive(&In::new(ACK).seq(1).data(b"a").marked(Ecn::Ect0));
    assert_eq!(host.take_one().flags(), ACK);
    host.receive(&In::new(ACK).seq(2).data(b"b").marked(Ecn::Ce));
    assert_eq!(host.take_one().flags(), ACK | ECE);
    host.receive(&In::new(ACK).seq(3).data(b"c").marked(Ecn::Ect0));
    assert_eq!(host.take_one().flags(), ACK | ECE);
    host.write(b"answer");
    assert_eq!(host.take_one().flags(), ACK | ECE | PSH);
    host.receive(
        &In::new(ACK | CWR)
            .seq(4)
            .ack(7)
            .data(b"d")
            .marked(Ecn::Ect0),
    );
    host.pass(ms(100));
    assert_eq!(host.take_one().flags(), ACK);
    // Marked and reduced at once: it goes on.
    host.receive(&In::new(ACK | CWR).seq(5).ack(7).data(b"e").marked(Ecn::Ce));
    assert_eq!(host.take_one().flags(), ACK | ECE);
}

// T131
#[test]
fn an_echo_reduces_the_window_once_and_is_answered_by_cwr() {
    let mut host = agreed();
    let window = |host: &mut Host| host.conn().stats(Instant::ZERO).congestion_window;
    host.write(&pattern(0..50_000));
    let sent = host.take().last().unwrap().end();
    let before = window(&mut host);
    host.pass(ms(20));
    host.take();
    host.receive(&In::new(ACK | ECE).ack(1001));
    let reduced = window(&mut host);
    assert!(reduced < before);
    for ack in (2001..sent).step_by(1000) {
        host.receive(&In::new(ACK | ECE).ack(ack));
    }
    // One round trip, one reduction.
    assert!(window(&mut host) >= reduced);
    let out = host.take();
    let new: Vec<&Out> = out.iter().filter(|out| !out.data.is_empty()).collect();
    assert!(new[0].flags().contains(CWR));
    assert!(new[1..].iter().all(|out| !out.flags().contains(CWR)));
}
