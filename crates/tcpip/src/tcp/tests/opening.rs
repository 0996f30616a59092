//! T12 to T30: how connections open.

use super::*;
use crate::tcp::error::CloseCause;
use crate::tcp::interface::Agreed;

// T12, T26, T27, T67
#[test]
fn an_active_open_is_syn_synack_ack() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    let syn = host.take_one();
    assert_eq!((syn.flags(), syn.seq, syn.header.ack), (SYN, 0, 0));
    assert_eq!(syn.header.options.mss, Some(1460));
    assert!(syn.header.options.sack_permitted);
    let mut answer = In::new(SYN | ACK).seq(0).ack(1);
    answer.options = peer_options();
    host.receive(&answer);
    let ack = host.take_one();
    assert_eq!((ack.flags(), ack.seq, ack.ack), (ACK, 1, 1));
    assert_eq!(host.state(), State::Established);
    assert!(host.news.connected && host.counters.curr_estab == 1);
}

// T12, T26
#[test]
fn a_passive_open_answers_and_waits_for_the_ack() {
    let mut host = Host::accepting(plain(), peer_options(), SYN);
    let answer = host.take_one();
    assert_eq!((answer.flags(), answer.seq, answer.ack), (SYN | ACK, 0, 1));
    assert_eq!(answer.header.options.mss, Some(1460));
    assert!(!host.news.connected);
    host.receive(&In::new(ACK));
    assert_eq!(host.state(), State::Established);
    assert!(host.news.connected && host.take().is_empty());
}

// T13
#[test]
fn a_simultaneous_open_ends_established() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    host.take();
    let mut syn = In::new(SYN).seq(0);
    syn.options = peer_options();
    host.receive(&syn);
    assert_eq!(host.state(), State::SynReceived);
    let answer = host.take_one();
    assert_eq!((answer.flags(), answer.seq, answer.ack), (SYN | ACK, 0, 1));
    host.receive(&In::new(SYN | ACK).seq(0).ack(1));
    assert_eq!(host.state(), State::Established);
    assert_eq!(host.take_one().flags(), ACK);
}

// T18
#[test]
fn an_ack_of_what_was_not_sent_gets_a_rst_in_syn_sent() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    host.take();
    for wrong in [0, 2] {
        host.receive(&In::new(SYN | ACK).seq(0).ack(wrong));
        let reset = host.take_one();
        assert_eq!((reset.flags(), reset.seq), (RST, wrong));
        assert_eq!(host.state(), State::SynSent);
        host.receive(&In::new(RST | ACK).seq(0).ack(wrong));
        assert!(host.take().is_empty());
    }
}

// T19
#[test]
fn a_rst_refuses_only_with_an_acceptable_ack() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    host.take();
    host.receive(&In::new(RST).seq(0));
    assert_eq!(host.state(), State::SynSent);
    host.receive(&In::new(RST | ACK).seq(0).ack(1));
    assert_eq!(host.state(), State::Closed);
    assert_eq!(host.conn().close_cause(), Some(CloseCause::Refused));
    assert!(host.news.closed && host.take().is_empty() && host.conn().is_finished());
}

// T20
#[test]
fn a_bad_ack_gets_a_rst_in_syn_received_and_a_rst_ends_it() {
    let mut host = Host::accepting(plain(), peer_options(), SYN);
    host.take();
    for wrong in [0, 2, 500_000] {
        host.receive(&In::new(ACK).ack(wrong));
        let reset = host.take_one();
        assert_eq!(reset.flags(), RST);
        assert_eq!(reset.header.seq, OURS.wrapping_add(wrong as u32));
        assert_eq!(host.state(), State::SynReceived);
    }
    host.receive(&In::new(RST).seq(1));
    assert_eq!(host.state(), State::Closed);
    assert!(host.take().is_empty() && host.counters.embryonic_rsts == 1);
}

// T21
#[test]
fn a_repeated_syn_is_answered_again() {
    let mut host = Host::accepting(plain(), peer_options(), SYN);
    let first = host.take_one();
    let mut syn = In::new(SYN).seq(0);
    syn.options = peer_options();
    host.receive(&syn);
    let again = host.take_one();
    assert_eq!(again.flags(), SYN | ACK);
    assert_eq!(again.header, first.header);
}

// T22: without Fast Open, data on a SYN is left unacknowledged, and comes again.
#[test]
fn data_on_a_syn_is_not_lost() {
    let mut host = Host::new();
    let mut syn = In::new(SYN).seq(0).data(b"early");
    syn.options = peer_options();
    host.accept(plain(), &syn, FastOpenReply::default());
    assert_eq!(host.take_one().ack, 1);
    host.receive(&In::new(ACK).data(b"early"));
    assert_eq!(host.read(), b"early");
}

// T23
#[test]
fn a_syn_is_repeated_with_backoff_for_three_minutes() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    let begin = host.now;
    let mut times = Vec::new();
    while host.state() == State::SynSent {
        host.take();
        let (wait, _) = host.next_timer().unwrap();
        host.pass(wait);
        times.push(host.now.saturating_duration_since(begin).as_secs());
    }
    assert_eq!(times[..5], [1, 3, 7, 15, 31]);
    assert_eq!(times.last(), Some(&180));
    assert_eq!(host.conn().close_cause(), Some(CloseCause::ConnectTimedOut));
    assert!(host.take().is_empty());
}

// T23: the limit can be set.
#[test]
fn the_attempt_ends_at_the_configured_limit() {
    let config = TcpConfig {
        syn_timeout: ms(2500),
        ..plain()
    };
    let mut host = Host::connecting(config, None);
    host.flush();
    host.pass(ms(2499));
    assert_eq!(host.state(), State::SynSent);
    assert_eq!(host.take().len(), 2);
    host.pass(ms(1));
    assert_eq!(host.state(), State::Closed);
}

// T24
#[test]
fn a_lost_synack_is_repeated_by_its_own_timer() {
    let mut host = Host::accepting(plain(), peer_options(), SYN);
    host.take();
    host.pass(ms(1000));
    assert_eq!(host.take_one().flags(), SYN | ACK);
    host.pass(ms(2000));
    assert_eq!(host.take_one().flags(), SYN | ACK);
    host.receive(&In::new(ACK));
    assert_eq!(host.state(), State::Established);
    host.pass(ms(10_000));
    assert!(host.take().is_empty());
}

// T26
#[test]
fn a_peer_that_names_no_mss_gets_the_default() {
    let mut host = Host::open_with(plain(), Options::default(), 60_000);
    host.write(&pattern(0..2000));
    assert_eq!(host.take()[0].size, 536);
    assert_eq!(host.conn().stats(Instant::ZERO).mss, 536);
}

// T28
#[test]
fn segments_fit_the_peers_mss_and_the_path_with_their_options() {
    let mut options = peer_options();
    options.mss = Some(1460);
    options.timestamps = Some(Timestamps { value: 1, echo: 0 });
    let config = TcpConfig {
        timestamps: true,
        ..plain()
    };
    let mut host = Host::open_with(config.clone(), options, 60_000);
    host.write(&pattern(0..5000));
    assert_eq!(host.take()[0].size, 1460 - 12);
    options.mss = Some(600);
    let mut host = Host::open_with(config, options, 60_000);
    host.write(&pattern(0..5000));
    assert_eq!(host.take()[0].size, 600 - 12);
}

// T29
#[test]
fn a_tiny_mss_is_raised_to_the_floor() {
    let options = Options {
        mss: Some(1),
        ..Options::default()
    };
    let mut host = Host::open_with(plain(), options, 60_000);
    host.write(&pattern(0..1000));
    assert_eq!(host.take()[0].size, 48);
}

// T36: the ACK to a cookie opens the connection with what the cookie remembers.
#[test]
fn a_cookie_opens_with_its_options() {
    let mut host = Host::new();
    let agreed = Agreed {
        mss: 800,
        window_scale: Some(3),
        sack: true,
        timestamps: false,
        ecn: false,
    };
    let config = Arc::new(TcpConfig::default());
    let ack = In::new(ACK).data(b"GET").window(100);
    let received = ack.received();
    let connection = Connection::from_cookie(
        &mut host.cx(),
        making(tuple(), config, numbers(OURS)),
        THEIRS,
        &agreed,
        &received,
    );
    host.connection = Some(*connection);
    host.receive(&ack);
    assert_eq!(host.state(), State::Established);
    assert!(host.news.connected);
    assert_eq!(host.read(), b"GET");
    let stats = host.conn().stats(Instant::ZERO);
    assert_eq!(
        (stats.mss, stats.send_window, stats.send_scale),
        (800, 800, Some(3))
    );
    assert!(stats.sack && !stats.timestamps);
    host.take();
    host.write(b"answer");
    let out = host.take_one();
    assert_eq!((out.seq, &out.data[..]), (1, &b"answer"[..]));
}

// T36: the round trip of a cookie is known by its timestamp.
#[test]
fn the_timestamp_of_a_cookie_measures_its_round_trip() {
    let mut host = Host::new();
    let agreed = Agreed {
        mss: 800,
        window_scale: None,
        sack: true,
        timestamps: true,
        ecn: false,
    };
    let sent = numbers(OURS).timestamp(host.now);
    host.now += ms(70);
    let ack = In::new(ACK).stamps(9, sent);
    let (received, config) = (ack.received(), Arc::new(TcpConfig::default()));
    let connection = Connection::from_cookie(
        &mut host.cx(),
        making(tuple(), config, numbers(OURS)),
        THEIRS,
        &agreed,
        &received,
    );
    host.connection = Some(*connection);
    host.receive(&ack);
    let rtt = host.conn().stats(Instant::ZERO).rtt;
    assert!(
        rtt.is_some_and(|rtt| rtt >= ms(69) && rtt <= ms(71)),
        "{rtt:?}"
    );
}

fn cookie() -> FastOpen {
    FastOpen::new(b"cookie!!").unwrap()
}

fn fast() -> TcpConfig {
    TcpConfig {
        fast_open: true,
        ..plain()
    }
}

// T38, RFC 7413 4.1.1
#[test]
fn a_fast_open_cookie_is_asked_for_and_kept() {
    let mut host = Host::connecting(fast(), Some(FastOpen::REQUEST));
    host.write(b"not with this one");
    let syn = host.take_one();
    assert_eq!(syn.header.options.fast_open, Some(FastOpen::REQUEST));
    assert!(syn.data.is_empty());
    let mut answer = In::new(SYN | ACK).seq(0).ack(1);
    answer.options = peer_options();
    answer.options.fast_open = Some(cookie());
    host.receive(&answer);
    assert_eq!(host.conn().take_fast_open_cookie(), Some(cookie()));
    assert_eq!(host.take_one().data, b"not with this one");
}

// T38
#[test]
fn data_goes_with_a_syn_that_has_a_cookie() {
    let mut host = Host::connecting(fast(), Some(cookie()));
    host.write(b"hello");
    let syn = host.take_one();
    assert_eq!((syn.flags(), &syn.data[..]), (SYN, &b"hello"[..]));
    assert_eq!(syn.header.options.fast_open, Some(cookie()));
    let mut answer = In::new(SYN | ACK).seq(0).ack(6);
    answer.options = peer_options();
    host.receive(&answer);
    let ack = host.take_one();
    assert_eq!((ack.flags(), ack.seq, ack.data.len()), (ACK, 6, 0));
    assert_eq!(host.counters.tcp_fast_open_active, 1);
    assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 5);
}

// T38: fallback when the data is not acknowledged.
#[test]
fn data_of_a_syn_that_was_not_taken_goes_again_at_once() {
    let mut host = Host::connecting(fast(), Some(cookie()));
    host.write(b"hello");
    host.take();
    let mut answer = In::new(SYN | ACK).seq(0).ack(1);
    answer.options = peer_options();
    host.receive(&answer);
    let again = host.take_one();
    assert_eq!((again.seq, &again.data[..]), (1, &b"hello"[..]));
    assert_eq!(host.counters.tcp_fast_open_active_fail, 1);
}

// T38: the SYN alone is repeated, without cookie and data.
#[test]
fn a_lost_fast_open_syn_is_repeated_plain() {
    let mut host = Host::connecting(fast(), Some(cookie()));
    host.write(b"hello");
    host.take();
    host.pass(ms(1000));
    let again = host.take_one();
    assert_eq!((again.flags(), again.data.len()), (SYN, 0));
    assert_eq!(again.header.options.fast_open, None);
}

// T38, RFC 7413 4.2.2
#[test]
fn a_server_takes_data_with_a_good_cookie_and_may_answer_at_once() {
    let mut host = Host::new();
    let mut syn = In::new(SYN).seq(0).data(b"hello");
    syn.options = peer_options();
    let reply = FastOpenReply {
        take_data: true,
        cookie: None,
    };
    host.accept(fast(), &syn, reply);
    assert!(host.news.connected && host.news.readable);
    let answer = host.take_one();
    assert_eq!((answer.flags(), answer.ack), (SYN | ACK, 6));
    assert_eq!(host.read(), b"hello");
    host.write(b"world");
    let data = host.take_one();
    assert_eq!(
        (data.flags(), data.seq, &data.data[..]),
        (ACK | PSH, 1, &b"world"[..])
    );
    assert_eq!(host.state(), State::SynReceived);
    host.receive(&In::new(ACK).seq(6).ack(6));
    assert_eq!(host.state(), State::Established);
    assert_eq!(host.conn().stats(Instant::ZERO).unacknowledged, 0);
}

// T38, T116: a server that answers and finishes before the handshake is over.
#[test]
fn a_fast_server_may_finish_in_syn_received() {
    let mut host = Host::new();
    let mut syn = In::new(SYN).seq(0).data(b"hello");
    syn.options = peer_options();
    let reply = FastOpenReply {
        take_data: true,
        cookie: None,
    };
    host.accept(fast(), &syn, reply);
    host.read();
    host.write(b"world");
    host.close();
    host.take();
    host.receive(&In::new(ACK).seq(6).ack(7));
    assert_eq!(host.state(), State::FinWait2);
    host.receive(&In::new(FIN | ACK).seq(6).ack(7));
    assert_eq!(host.state(), State::TimeWait);
}
