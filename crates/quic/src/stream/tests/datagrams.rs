//! DATAGRAM frames (RFC 9221).

use super::*;
use crate::error::code;
use crate::stream::SendDatagramError;
use crate::stream::datagrams::{DatagramConfig, DatagramEvent, Datagrams, Written};
use crate::wire::frame;

fn datagrams() -> Datagrams {
    let config = DatagramConfig {
        max_frame_size: 1000,
        receive_buffer: 4000,
        send_buffer: 4000,
        report: true,
    };
    let mut datagrams = Datagrams::new(config);
    datagrams.set_peer_max_frame_size(800);
    datagrams
}

fn write(datagrams: &mut Datagrams, max: usize, omit: bool) -> (Written, Packet) {
    let (mut bytes, mut log) = (Vec::new(), Vec::new());
    let written = datagrams.write_frame(&mut bytes, max, PACKET, omit, &mut log);
    assert!(bytes.len() <= max);
    (written, Packet { bytes, log })
}

// Q158, RFC 9221 3
#[test]
fn a_datagram_is_sent_only_to_who_takes_it_and_within_its_size() {
    let mut datagrams = Datagrams::new(DatagramConfig::default());
    assert_eq!(datagrams.max_size(PACKET), None);
    let unsupported = Err(SendDatagramError::Unsupported);
    assert_eq!(
        datagrams.send(Bytes::from_static(b"x"), PACKET),
        unsupported
    );
    datagrams.set_peer_max_frame_size(800);
    assert_eq!(datagrams.max_size(PACKET), Some(799));
    assert_eq!(datagrams.max_size(500), Some(499));
    let too_large = Err(SendDatagramError::TooLarge { max: 799 });
    assert_eq!(datagrams.send(vec![1; 800].into(), PACKET), too_large);
    assert_eq!(datagrams.send(vec![1; 799].into(), PACKET), Ok(0));
    // With a length it would be larger than the peer takes.
    assert_eq!(write(&mut datagrams, PACKET, false).0, Written::Nothing);
    let (written, packet) = write(&mut datagrams, PACKET, true);
    assert_eq!((written, packet.bytes.len()), (Written::LastFrame, 800));
}

// Q158
#[test]
fn a_datagram_that_was_not_announced_is_an_error() {
    let config = DatagramConfig {
        max_frame_size: 0,
        ..DatagramConfig::default()
    };
    let error = Datagrams::new(config).on_received(b"", 1).unwrap_err();
    assert_eq!(
        (error.code, error.frame),
        (code::PROTOCOL_VIOLATION, frame::DATAGRAM)
    );
    let mut datagrams = datagrams();
    assert_eq!(datagrams.on_received(&[1; 997], 1000), Ok(()));
    let error = datagrams.on_received(&[1; 998], 1001).unwrap_err();
    assert_eq!(error.code, code::PROTOCOL_VIOLATION);
}

// Q159, RFC 9221 5: never sent again; the application is told.
#[test]
fn a_lost_datagram_is_told_and_not_sent_again() {
    let mut datagrams = datagrams();
    for text in [&b"one"[..], b"two"] {
        datagrams.send(Bytes::from_static(text), PACKET).unwrap();
    }
    let (written, one) = write(&mut datagrams, PACKET, true);
    let (_, two) = write(&mut datagrams, PACKET, true);
    assert_eq!(written, Written::Frame);
    let first = Frame::Datagram {
        data: b"one",
        frame_size: 5,
    };
    assert_eq!(one.frames(), [first]);
    assert!(one.frames()[0].is_ack_eliciting());
    datagrams.on_lost(&one.log[0]);
    datagrams.on_acked(&two.log[0]);
    assert!(!datagrams.wants_transmit());
    let events = [DatagramEvent::Lost(0), DatagramEvent::Acknowledged(1)];
    assert_eq!([(); 2].map(|()| datagrams.poll_event().unwrap()), events);
    let stats = datagrams.stats();
    assert_eq!((stats.sent, stats.lost, stats.acknowledged), (2, 1, 1));
}

// Q160: the oldest unsent give way.
#[test]
fn the_send_queue_is_bounded_and_drops_the_oldest() {
    let mut datagrams = datagrams();
    for number in 0..100 {
        datagrams.send(vec![number; 500].into(), PACKET).unwrap();
    }
    // Each counts 564 bytes, so seven fit into 4000.
    assert_eq!(datagrams.stats().dropped_unsent, 93);
    let (_, packet) = write(&mut datagrams, PACKET, true);
    let oldest = Frame::Datagram {
        data: &[93; 500],
        frame_size: 503,
    };
    assert_eq!(packet.frames(), [oldest]);
    assert_eq!(packet.log, [SentFrame::Datagram { number: 93 }]);
    assert_eq!(datagrams.poll_event(), None);
    while datagrams.wants_transmit() {
        write(&mut datagrams, PACKET, true);
    }
    assert_eq!(datagrams.poll_event(), Some(DatagramEvent::Unblocked));
}

// Q160, threats C4: the oldest unread give way; empty datagrams count too.
#[test]
fn the_receive_queue_is_bounded_and_drops_the_oldest() {
    let mut datagrams = datagrams();
    for number in 0..100 {
        datagrams.on_received(&[number; 900], 903).unwrap();
    }
    assert_eq!(datagrams.poll_event(), Some(DatagramEvent::Received));
    assert_eq!(datagrams.poll_event(), None);
    let kept: Vec<u8> = std::iter::from_fn(|| datagrams.recv())
        .map(|bytes| bytes[0])
        .collect();
    assert_eq!(kept, [96, 97, 98, 99]);
    assert_eq!(datagrams.stats().dropped_unread, 96);
    for _ in 0..10_000 {
        datagrams.on_received(b"", 1).unwrap();
    }
    assert_eq!(datagrams.poll_event(), Some(DatagramEvent::Received));
    assert_eq!(std::iter::from_fn(|| datagrams.recv()).count(), 4000 / 64);
}

#[test]
fn a_datagram_that_does_not_fit_waits_or_goes_to_the_end() {
    let mut datagrams = datagrams();
    datagrams.send(vec![1; 300].into(), PACKET).unwrap();
    assert_eq!(write(&mut datagrams, 300, true).0, Written::Nothing);
    assert_eq!(write(&mut datagrams, 302, false).0, Written::Nothing);
    assert_eq!(write(&mut datagrams, 301, true).0, Written::LastFrame);
    datagrams.send(vec![1; 300].into(), PACKET).unwrap();
    assert_eq!(write(&mut datagrams, 303, false).0, Written::Frame);
}

#[test]
fn a_datagram_that_no_packet_can_carry_any_more_is_dropped() {
    let mut datagrams = datagrams();
    datagrams.send(vec![1; 700].into(), PACKET).unwrap();
    datagrams.send(vec![2; 100].into(), PACKET).unwrap();
    let (mut bytes, mut log) = (Vec::new(), Vec::new());
    let written = datagrams.write_frame(&mut bytes, 500, 500, true, &mut log);
    assert_eq!(
        (written, log),
        (Written::Frame, vec![SentFrame::Datagram { number: 1 }])
    );
    assert_eq!(datagrams.stats().dropped_unsent, 1);
}
