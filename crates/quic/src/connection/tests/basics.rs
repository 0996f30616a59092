//! The main line: a handshake, streams both ways, an end.

use super::pair::{End, Pair};
use crate::connection::Event;
use crate::recovery::{EcnPhase, PathLookup};
use crate::transmit::TransmitBuf;
use weir_core::close::{Initiator, Layer};
use weir_core::time::Duration;

#[test]
fn a_handshake_takes_one_round_trip() {
    // RFC 9001 section 4.1
    let mut pair = Pair::new(1);
    let begin = pair.now;
    pair.run_until(|pair| !pair.client.is_handshaking());
    assert_eq!(pair.now, begin + 2 * pair.latency);
    pair.establish();
    assert!(pair.client_events.contains(&Event::Connected));
    assert!(pair.client_events.contains(&Event::Confirmed));
    assert!(pair.server_events.contains(&Event::Connected));
}

#[test]
fn bytes_arrive_whole_in_both_directions() {
    // Q76
    let mut pair = Pair::connected(2);
    let request: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let answer: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 3) as u8).collect();
    let key = pair.open(End::Client);
    pair.send_all(End::Client, key, &request);
    let inbound = pair.accept_stream(End::Server);
    assert_eq!(pair.read_all(End::Server, inbound), request);
    let sent = answer.clone();
    let mut at = 0;
    let mut got = Vec::new();
    while got.len() < answer.len() {
        let now = pair.now;
        if at < sent.len()
            && let Ok(n) = pair.server().write_slice(now, inbound, &sent[at..])
        {
            at += n;
        }
        while let Ok(Some(chunk)) = pair.client.read(now, key, usize::MAX) {
            got.extend_from_slice(&chunk);
        }
        assert!(pair.step());
    }
    assert!(got == answer);
}

#[test]
fn the_reason_reaches_the_other_application_word_for_word() {
    // Q126
    let mut pair = Pair::connected(3);
    let now = pair.now;
    pair.client.close(now, 42, "had enough");
    pair.run_idle();
    let reason = pair.server().close_reason().unwrap().clone();
    assert_eq!(
        (reason.by, reason.layer),
        (Initiator::Peer, Layer::Application)
    );
    assert_eq!((reason.code, &*reason.reason), (42, "had enough"));
    pair.run_for(Duration::from_secs(5));
    assert!(pair.client.is_drained() && pair.server().is_drained());
    assert_eq!(pair.client_events.last(), Some(&Event::Drained));
}

#[test]
fn silence_ends_the_connection_without_a_word() {
    // Q118
    let mut pair = Pair::connected(4);
    pair.run_for(Duration::from_millis(500));
    let sent = pair.sent.len();
    pair.run_for(Duration::from_secs(31));
    assert!(pair.client.is_drained() && pair.server().is_drained());
    assert_eq!(pair.client.close_reason().unwrap().by, Initiator::Timer);
    assert_eq!(pair.sent.len(), sent);
}

#[test]
fn a_quiet_connection_gives_memory_back_once() {
    // Q88
    let mut pair = Pair::connected(5);
    let key = pair.open(End::Client);
    pair.send_all(End::Client, key, &[1; 500_000]);
    let inbound = pair.accept_stream(End::Server);
    pair.read_all(End::Server, inbound);
    pair.run_idle();
    pair.run_for(Duration::from_millis(40));
    let busy = pair.client.recovery.memory();
    pair.run_for(Duration::from_secs(2));
    assert!(pair.client.recovery.memory() < busy);
    let (_, timer) = pair.client.poll_timeout().unwrap();
    assert_eq!(timer, crate::connection::Timer::Idle);
}

#[test]
fn a_batch_in_which_the_test_of_marks_ends_is_marked_as_a_whole() {
    // RFC 9000 section 13.4.2: what was recorded as marked has to leave so, or the peer's counts look
    // as if the path took the marks away.
    let mut pair = Pair::connected(12);
    let key = pair.open(End::Client);
    pair.send_all(End::Client, key, &[7; 100_000]);
    let inbound = pair.accept_stream(End::Server);
    assert_eq!(pair.read_all(End::Server, inbound).len(), 100_000);
    let path = pair.client.paths.active();
    let phase = pair.client.paths.get(path).unwrap().recovery.ecn.phase();
    assert_eq!(phase, EcnPhase::Capable);
}

#[test]
fn pacing_holds_nothing_back_when_nothing_waits() {
    // RFC 9002 7.7, 7.8: an empty bucket is the limit only of who has more to send.
    let mut held = 0;
    for less in 0..16 {
        let mut pair = Pair::connected(13);
        let key = pair.open(End::Client);
        pair.send_all(End::Client, key, &[1; 500_000]);
        let inbound = pair.accept_stream(End::Server);
        pair.read_all(End::Server, inbound);
        pair.run_for(Duration::from_millis(200));
        let (now, key) = (pair.now, pair.open(End::Client));
        let path = pair.client.paths.active();
        let recovery = pair.client.paths.recovery(path).unwrap();
        // About what the bucket holds, headers included.
        let size = recovery.pacing_budget(now) as usize - less * 400;
        pair.send_all(End::Client, key, &vec![1; size]);
        let mut out = TransmitBuf::default();
        while pair.client.poll_transmit(now, &mut out).is_some() {
            out.clear();
        }
        let is_paced = pair.client.clock.pacing.is_some();
        assert!(pair.client.wants_transmit() || !is_paced, "{less}");
        held += u32::from(is_paced);
    }
    assert!(held > 0, "pacing was seen");
}
