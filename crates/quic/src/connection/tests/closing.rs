//! How connections end.

use weir_core::close::{Initiator, Layer};
use weir_core::time::Duration;

use super::judge::crypto;
use super::packets::{kinds, watch};
use super::pair::{End, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::connection::Event;
use crate::crypto::Level;
use crate::error::code;
use crate::limits::MIN_DATAGRAM;
use crate::wire::Dir;
use crate::wire::frame::encode;
use crate::wire::header::{FixedBit, Packet, PacketType};

/// The client has Handshake keys, and has sent nothing under them.
pub(super) fn handshake_keys(pair: &mut Pair) {
    pair.filter = Some(Box::new(|flying| {
        if flying.to == End::Server {
            return true;
        }
        let first = Packet::parse(&flying.data, 8, FixedBit::Any).unwrap();
        flying.data.truncate(first.packet_len);
        first.kind == PacketType::Initial
    }));
    pair.run_until(|pair| pair.client.has_keys(Level::Handshake));
    pair.filter = None;
    pair.flying.clear();
}

#[test]
fn before_confirmation_every_readable_packet_says_so() {
    // Q120: a server that does not know which keys the client has, tells it in all.
    let mut pair = Pair::new(120);
    pair.run_until(|pair| pair.server.is_some());
    pair.flying.clear();
    let seen = watch(&mut pair);
    let now = pair.now;
    pair.server().close(now, 7, "secret words");
    pair.run_idle();
    let first = seen.lock().unwrap()[0].clone();
    let wanted = [
        PacketType::Initial,
        PacketType::Handshake,
        PacketType::OneRtt,
    ];
    assert_eq!(kinds(&first.data), wanted);
    let reason = pair.client.close_reason().unwrap();
    assert_eq!(
        (reason.by, reason.layer),
        (Initiator::Peer, Layer::Transport)
    );
    assert_eq!(
        (reason.code, &*reason.reason),
        (code::APPLICATION_ERROR, "")
    );
}

#[test]
fn a_client_that_gives_up_in_the_handshake_says_so_in_both() {
    // Q120
    let mut pair = Pair::new(121);
    handshake_keys(&mut pair);
    let seen = watch(&mut pair);
    let now = pair.now;
    pair.client.close(now, 7, "secret words");
    pair.run_idle();
    let first = seen.lock().unwrap()[0].clone();
    assert_eq!(
        kinds(&first.data),
        [PacketType::Initial, PacketType::Handshake]
    );
    assert!(first.data.len() >= MIN_DATAGRAM);
    assert_eq!(pair.close_code(End::Server), Some(code::APPLICATION_ERROR));
}

#[test]
fn after_confirmation_in_one_packet_word_for_word() {
    // Q120, Q126, Q128: one datagram, whatever is queued.
    let mut pair = Pair::connected(122);
    let key = pair.open(End::Client);
    let now = pair.now;
    let _ = pair.client.write_slice(now, key, &[0; 200_000]);
    let seen = watch(&mut pair);
    pair.client.close(now, 9, "bye");
    pair.run_idle();
    let mut seen = seen.lock().unwrap();
    seen.retain(|flying| flying.to == End::Server);
    // Once, and again when a packet of the server's crosses it; none has room for stream data.
    assert!(seen.len() <= 2 && seen.iter().all(|flying| flying.data.len() < 100));
    assert_eq!(kinds(&seen[0].data), [PacketType::OneRtt]);
    drop(seen);
    assert_eq!(pair.server().close_reason().unwrap().reason, "bye");
}

#[test]
fn a_full_window_does_not_hold_the_close_back() {
    // Q128
    let mut pair = Pair::connected(123);
    let key = pair.open(End::Client);
    pair.filter = Some(Box::new(|_| false));
    let now = pair.now;
    let _ = pair.client.write_slice(now, key, &[0; 1_000_000]);
    pair.run_for(Duration::from_millis(1));
    let stats = pair.client.stats();
    assert!(
        stats.congestion_window - stats.in_flight < 1500,
        "{stats:?}"
    );
    let seen = watch(&mut pair);
    let now = pair.now;
    pair.client.close(now, 9, "");
    pair.run_idle();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().any(|flying| flying.to == End::Server));
    drop(seen);
    assert_eq!(pair.close_code(End::Server), Some(9));
}

#[test]
fn closing_answers_ever_more_rarely_and_ends() {
    // Q121
    let mut pair = Pair::connected(124);
    let now = pair.now;
    let noise: Vec<_> = (0..64)
        .map(|_| pair.forge(End::Client, Level::OneRtt, &[1]))
        .collect();
    pair.server().close(now, 1, "");
    let mut answers = 0;
    for datagram in noise {
        pair.deliver(datagram);
        let mut out = crate::transmit::TransmitBuf::default();
        if pair.server().poll_transmit(now, &mut out).is_some() {
            answers += 1;
        }
    }
    // With the first packet, then the 3rd, 7th, 15th, 31st and 63rd.
    assert_eq!(answers, 6);
    let pto = Duration::from_millis(20 + 25 + 40);
    pair.run_for(pto.saturating_mul(3));
    assert!(pair.server().is_drained());
}

#[test]
fn draining_says_nothing() {
    // Q122
    let mut pair = Pair::connected(125);
    let noise = pair.forge(End::Client, Level::OneRtt, &[1]);
    let frames = super::judge::bytes(|out| encode::application_close(out, 3, b"over"));
    pair.inject(End::Client, Level::OneRtt, &frames);
    let sent = pair.sent.len();
    pair.deliver(noise);
    pair.server().ping();
    let now = pair.now;
    let mut out = crate::transmit::TransmitBuf::default();
    assert!(pair.server().poll_transmit(now, &mut out).is_none());
    assert!(!pair.server().wants_transmit());
    assert_eq!(pair.sent.len(), sent);
    pair.client.close(now, 0, "");
    pair.run_for(Duration::from_secs(2));
    assert!(pair.server().is_drained());
}

#[test]
fn both_close_at_once_and_each_keeps_its_own_reason() {
    // Q122, RFC 9000 10.2.2: closing turns into draining, and ends when it would have ended.
    let mut pair = Pair::connected(126);
    let now = pair.now;
    pair.client.close(now, 1, "mine");
    pair.server().close(now, 2, "yours");
    let until = pair.client.poll_timeout().unwrap();
    pair.run_idle();
    assert_eq!(pair.client.poll_timeout(), Some(until));
    for (end, code) in [(End::Client, 1), (End::Server, 2)] {
        let reason = pair.end(end).close_reason().unwrap();
        assert_eq!((reason.by, reason.code), (Initiator::Local, code));
    }
    let closed = |events: &[Event]| {
        let closed = events
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)));
        closed.count()
    };
    assert_eq!(
        (closed(&pair.client_events), closed(&pair.server_events)),
        (1, 1)
    );
    assert!(!pair.client.wants_transmit());
}

#[test]
fn a_closed_connection_reads_nothing_but_a_close() {
    // Q121: frames that would be faults, or news, are neither.
    let mut pair = Pair::connected(127);
    let now = pair.now;
    pair.server().close(now, 5, "");
    let events = pair.server_events.len();
    let mut frames = crypto(0, b"junk");
    frames.extend([0x1e, 0x2f]);
    pair.inject(End::Client, Level::OneRtt, &frames);
    let reason = pair.server().close_reason().unwrap();
    assert_eq!((reason.by, reason.code), (Initiator::Local, 5));
    pair.run_for(Duration::from_secs(2));
    // Streams wake those who wait.
    let news = pair.server_events[events..].iter();
    let news: Vec<_> = news
        .filter(|event| !matches!(event, Event::Acceptable(_) | Event::DatagramReceived))
        .collect();
    assert!(
        matches!(news[..], [Event::Closed(_), Event::Drained]),
        "{news:?}"
    );
}

#[test]
fn words_are_bounded_and_need_not_be_text() {
    // Q127
    let mut pair = Pair::connected(128);
    let words = [0xff; 1100];
    let frames = super::judge::bytes(|out| encode::connection_close(out, 1, 0, &words));
    pair.inject(End::Client, Level::OneRtt, &frames);
    let reason = pair.server().close_reason().unwrap();
    let most = weir_core::limits::MAX_REASON_BYTES;
    assert!(!reason.reason.is_empty() && reason.reason.len() <= most);
    let mut pair = Pair::connected(129);
    let now = pair.now;
    pair.client.close(now, 1, &"x".repeat(50_000));
    let seen = watch(&mut pair);
    pair.run_idle();
    assert!(seen.lock().unwrap()[0].data.len() <= MIN_DATAGRAM);
    assert!(pair.server().close_reason().unwrap().reason.len() <= most);
}

fn keeping_alive(keep_alive: Option<Duration>) -> Pair {
    let config = TransportConfig {
        keep_alive,
        idle_timeout: Duration::from_secs(10),
        ..TransportConfig::default()
    };
    let server = server_config(TransportConfig::default());
    let mut pair = Pair::with(130, client_config(config), server);
    pair.establish();
    pair
}

#[test]
fn a_sign_of_life_keeps_the_connection() {
    // Q119
    let mut pair = keeping_alive(Some(Duration::from_secs(4)));
    pair.run_for(Duration::from_secs(60));
    assert!(pair.client.is_confirmed() && pair.server().is_confirmed());
}

#[test]
fn signs_of_life_into_the_void_are_rare_and_end() {
    // Q119, C11: an unanswered one does not make the next one due at once.
    let mut pair = keeping_alive(Some(Duration::from_secs(4)));
    pair.run_for(Duration::from_secs(1));
    pair.filter = Some(Box::new(|_| false));
    let sent = pair.sent.len();
    pair.run_for(Duration::from_secs(20));
    let sent = pair.sent[sent..].iter();
    let sent = sent.filter(|(end, _)| *end == End::Client).count();
    assert!(sent < 30, "{sent} datagrams");
    assert!(pair.client.is_drained());
}

#[test]
fn the_smaller_idle_timeout_counts_on_both_sides() {
    // Q118
    let mut pair = keeping_alive(None);
    pair.run_for(Duration::from_millis(9_500));
    assert!(pair.client.is_confirmed() && pair.server().is_confirmed());
    pair.run_for(Duration::from_millis(1_000));
    assert!(pair.client.is_drained() && pair.server().is_drained());
    assert_eq!(pair.server().close_reason().unwrap().by, Initiator::Timer);
}

#[test]
fn an_idle_timeout_is_at_least_three_probe_timeouts() {
    // Q118
    let config = TransportConfig {
        idle_timeout: Duration::from_millis(50),
        ..TransportConfig::default()
    };
    let client = client_config(config);
    let mut pair = Pair::with(131, client, server_config(TransportConfig::default()));
    pair.latency = Duration::from_millis(200);
    pair.establish();
    let at = pair.now;
    pair.run_until(|pair| pair.client.is_drained());
    assert!(pair.now.saturating_duration_since(at) > Duration::from_millis(1_000));
}

#[test]
fn a_stateless_reset_ends_it_in_silence() {
    // Q124
    for end in [End::Client, End::Server] {
        let mut pair = Pair::connected(132);
        let now = pair.now;
        pair.end(end).handle_stateless_reset(now);
        let sent = pair.sent.len();
        pair.end(end).ping();
        pair.run_for(Duration::from_millis(1));
        assert!(pair.end(end).close_reason().unwrap().by == Initiator::Peer);
        let from = pair.sent[sent..].iter().filter(|(from, _)| *from == end);
        assert_eq!(from.count(), 0);
    }
}

#[test]
fn a_client_asks_a_server_that_falls_silent_in_the_middle_of_a_stream() {
    // Q110, RFC 9000 10.1.2: behind a NAT that forgot it, only the client's word opens the way again.
    let mut pair = Pair::connected(140);
    let now = pair.now;
    let key = pair.client.open(now, Dir::Bi).unwrap();
    pair.client.write_slice(now, key, b"go").unwrap();
    pair.run_for(Duration::from_millis(50));
    let now = pair.now;
    let there = pair.server().accept(now, Dir::Bi).unwrap();
    pair.server().write_slice(now, there, b"some").unwrap();
    pair.run_for(Duration::from_millis(50));
    // All is acknowledged, and the stream goes on: one question, once.
    let sent = pair.sent.len();
    pair.run_for(Duration::from_secs(20));
    let asked = |pair: &Pair, from: usize| {
        let sent = pair.sent[from..].iter();
        sent.filter(|(end, _)| *end == End::Client).count()
    };
    assert_eq!(asked(&pair, sent), 1);
    // The stream has ended: nobody is asked.
    let now = pair.now;
    pair.server().finish(now, there);
    pair.client.finish(now, key);
    pair.run_for(Duration::from_millis(50));
    let sent = pair.sent.len();
    pair.run_for(Duration::from_secs(20));
    assert_eq!(asked(&pair, sent), 0);
}
