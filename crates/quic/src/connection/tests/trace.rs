//! What is traced of a connection: the order of events and what packets are said to carry.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_core::time::{Duration, Instant};
use weir_core::trace::{Direction, Event, Level, PathChange, Sink, TimerChange, Tracer};

use super::pair::{End, Pair};
use crate::connection::Connection;
use crate::crypto::Level as Keys;
use crate::wire::header::{self, LongInvariant};
use crate::wire::{ConnectionId, Dir, Version};

/// What a sink heard, each event as a line.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn sink(&self, level: Level) -> Box<dyn Sink> {
        Box::new(Recorder(self.clone(), level))
    }

    fn listen(connection: &mut Connection, level: Level) -> Heard {
        let heard = Heard::default();
        connection.set_tracer(Tracer::new(heard.sink(level)));
        heard
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Where the first line with this text is.
    #[track_caller]
    fn at(&self, text: &str) -> usize {
        let lines = self.lines();
        let found = lines.iter().position(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no {text} in\n{}", lines.join("\n")))
    }

    fn count(&self, text: &str) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    }
}

struct Recorder(Heard, Level);

impl Sink for Recorder {
    fn event(&mut self, _: Instant, event: &Event<'_>) {
        self.0.0.lock().unwrap().push(line(event));
    }

    fn wants(&self, level: Level) -> bool {
        level <= self.1
    }
}

fn line(event: &Event<'_>) -> String {
    let Event::Packet(packet) = event else {
        return format!("{event:?}");
    };
    let arrow = match packet.direction {
        Direction::Sent => "->",
        Direction::Received => "<-",
    };
    let number = packet.number.map(|number| number.to_string());
    let mut line = format!("{arrow} {} {}:", packet.kind, number.unwrap_or_default());
    packet.frames.each(&mut |frame| {
        line.push_str(&format!(" {};", frame.words));
        for field in frame.fields {
            line.push_str(&format!(" [{} {field}]", frame.kind));
        }
    });
    line
}

fn transfer(pair: &mut Pair) {
    let now = pair.now;
    let key = pair.client.open(now, Dir::Bi).unwrap();
    let mut data = Bytes::from_static(b"hello 0");
    assert_eq!(pair.client.write(now, key, &mut data).unwrap(), 7);
    pair.client.finish(now, key);
    pair.run_for(Duration::from_millis(200));
}

// Q177: what happens in a handshake and on a stream is told, in the order in which it happens.
#[test]
fn a_handshake_and_a_stream_are_told_in_order() {
    let mut pair = Pair::new(1);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    pair.establish();
    transfer(&mut pair);
    pair.client.close(pair.now, 7, "done");
    pair.run_for(Duration::from_secs(2));
    let order = [
        "Started",
        "handshaking",
        "version_information",
        "parameters_set\", by: Some(Local)",
        "client_initial_secret",
        "-> initial 0: CRYPTO off 0 len",
        "<- initial 0:",
        "established",
        "alpn_information",
        "client_handshake_secret",
        "-> handshake 0:",
        "HANDSHAKE_DONE",
        "confirmed",
        "STREAM 0 off 0 len 7 FIN; [stream stream_id 0] [stream offset 0] [stream fin true]",
        "data_received",
        "Closed(",
        "CONNECTION_CLOSE",
        "closing",
        "drained",
    ];
    let lines = heard.lines();
    let mut rest = lines.iter();
    for text in order {
        assert!(
            rest.any(|line| line.contains(text)),
            "{text} is not told in its place:\n{}",
            lines.join("\n")
        );
    }
    assert_eq!(heard.count("parameters_set\", by: Some(Peer)"), 1);
    assert_eq!(heard.count("Closed("), 1);
    assert!(
        heard.count("discarded: true") >= 4,
        "initial and handshake keys go"
    );
}

// Q177: both ends tell the same packets.
#[test]
fn what_one_end_sends_the_other_receives() {
    let mut pair = Pair::connected(2);
    let client = Heard::listen(&mut pair.client, Level::Frame);
    let server = Heard::listen(pair.server(), Level::Frame);
    transfer(&mut pair);
    let packets = |heard: &Heard, arrow: &str| -> Vec<String> {
        let lines = heard.lines();
        let packets = lines.iter().filter_map(|line| line.strip_prefix(arrow));
        packets.map(str::to_owned).collect()
    };
    assert!(!packets(&client, "-> ").is_empty());
    assert_eq!(packets(&client, "-> "), packets(&server, "<- "));
    assert_eq!(packets(&server, "-> "), packets(&client, "<- "));
    // An ACK's delay is told in microseconds, whatever the unit on the wire.
    let lines = client.lines();
    let ack = lines.iter().find(|line| line.contains("ACK ")).unwrap();
    assert!(
        ack.contains(" us") && ack.contains("[ack ack_delay "),
        "{ack}"
    );
}

#[test]
fn a_sink_of_events_hears_of_no_packets() {
    let mut pair = Pair::new(3);
    let heard = Heard::listen(&mut pair.client, Level::Event);
    pair.establish();
    transfer(&mut pair);
    heard.at("established");
    for what in ["-> ", "<- ", "Metrics", "Timer(", "CongestionState"] {
        assert_eq!(heard.count(what), 0, "{what}");
    }
}

#[test]
fn metrics_are_told_when_they_change_and_only_then() {
    let mut pair = Pair::connected(4);
    pair.run_for(Duration::from_millis(500));
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    heard.at("congestion_window: Some(");
    let before = heard.count("Metrics");
    assert_eq!(before, 1);
    // Calls that change nothing tell nothing.
    let now = pair.now;
    pair.client.handle_timeout(now);
    assert_eq!(heard.count("Metrics"), before);
    transfer(&mut pair);
    assert!(heard.count("Metrics") > before);
}

// Q177: losses and the timer that finds them.
#[test]
fn lost_packets_and_timers_are_told() {
    let mut pair = Pair::connected(5);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    let mut left = 2;
    pair.filter = Some(Box::new(move |flying| {
        let drop = flying.to == End::Server && left > 0;
        left -= i32::from(drop);
        !drop
    }));
    transfer(&mut pair);
    pair.run_for(Duration::from_secs(3));
    let expired = heard.at(&format!("{:?}", TimerChange::Expired));
    assert!(heard.at("Set(") < expired);
    assert!(heard.at("PacketLost(LostEvent { kind: \"1RTT\"") > expired);
}

// C10: what strangers send is counted and told, without its bytes.
#[test]
fn forged_packets_are_told_by_the_reason() {
    let mut pair = Pair::connected(6);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    let mut forged = pair.server().forge_for_trace(&[1]);
    *forged.last_mut().unwrap() ^= 1;
    let now = pair.now;
    let path = crate::transmit::PathAddr {
        local: None,
        remote: pair.server_addr,
    };
    pair.client.handle_datagram(now, path, None, &mut forged);
    heard.at("trigger: \"decryption_failure\"");
}

// Q177: what is thrown away is told with its type, its size and the class of the reason.
#[test]
fn dropped_packets_are_told_with_type_and_size() {
    let mut pair = Pair::connected(10);
    let heard = Heard::listen(pair.server(), Level::Frame);
    let datagram = pair.forge(End::Client, Keys::OneRtt, &[1]);
    let size = datagram.data.len();
    pair.deliver(datagram.clone());
    pair.deliver(datagram.clone());
    heard.at(&format!(
        "PacketDropped(DroppedEvent {{ kind: Some(\"1RTT\"), length: Some({size}), \
         trigger: \"duplicate\", why: \"duplicate\", count: 1 }}"
    ));
    let mut damaged = datagram;
    damaged.data = vec![0xc0, 0, 0, 0, 1, 99];
    pair.deliver(damaged);
    heard.at("kind: None, length: Some(6), trigger: \"invalid\"");
}

/// A Retry of the server for the client's first packet, whose source is another connection ID.
fn retry(pair: &mut Pair) -> Vec<u8> {
    let now = pair.now;
    let mut out = crate::transmit::TransmitBuf::default();
    pair.client.poll_transmit(now, &mut out).unwrap();
    let first = LongInvariant::parse(out.as_slice()).unwrap();
    let [dcid, scid] = [first.dcid, first.scid].map(|id| ConnectionId::new(id).unwrap());
    let from = ConnectionId::new(&[9; 8]).unwrap();
    let mut data = Vec::new();
    header::write_retry(&mut data, Version::V1, &scid, &from, b"token", 0);
    let tag = crate::crypto::retry::integrity_tag(Version::V1, &dcid, &data).unwrap();
    data.extend(tag);
    data
}

// Q177: Retry and Version Negotiation are packets, too; those that are ignored are thrown away.
#[test]
fn answers_without_protection_are_told() {
    let mut pair = Pair::new(11);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    let data = retry(&mut pair);
    for _ in 0..2 {
        let datagram = pair.flight(End::Server, data.clone());
        pair.deliver(datagram);
    }
    assert_eq!(heard.count("<- retry :"), 1);
    let size = data.len();
    heard.at(&format!(
        "kind: Some(\"retry\"), length: Some({size}), trigger: \"invalid\""
    ));

    let mut pair = Pair::new(12);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    let now = pair.now;
    pair.client.hear_versions(now, &[Version(0x0a0a_0a0a)]);
    assert!(heard.at("<- version_negotiation :") < heard.at("server_versions"));
    assert!(heard.at("server_versions") < heard.at("Closed("));
}

// Q177: the timers of the draft, each when it is set, was due, or is over.
#[test]
fn every_timer_is_told() {
    let mut pair = Pair::new(13);
    let heard = Heard::listen(&mut pair.client, Level::Frame);
    pair.establish();
    let timer = |kind: &str, change: &str| {
        let start = format!("Timer(TimerEvent {{ kind: \"{kind}\"");
        let lines = heard.lines();
        let change = format!("change: {change}");
        let told = lines.iter();
        told.filter(|line| line.starts_with(&start) && line.contains(&change))
            .count()
    };
    assert_eq!(timer("handshake_timeout", "Set"), 1);
    assert_eq!(timer("handshake_timeout", "Cancelled"), 1);
    pair.run_for(Duration::from_millis(300));
    let (sets, due) = (timer("ack", "Set"), timer("ack", "Expired"));
    pair.server().ping();
    pair.run_for(Duration::from_millis(300));
    assert_eq!(
        (timer("ack", "Set"), timer("ack", "Expired")),
        (sets + 1, due + 1),
        "one PING is acknowledged when the delay is over"
    );
    assert!(timer("idle_timeout", "Set") >= 1);
    assert_eq!(timer("idle_timeout", "Expired"), 0);
    pair.filter = Some(Box::new(|_| false));
    pair.client.ping();
    pair.run_for(Duration::from_secs(40));
    assert!(timer("pto", "Expired") > 1);
    assert_eq!(timer("idle_timeout", "Expired"), 1);
}

// C10: frames that cannot be read, and reasons that are no text, do no harm to a sink.
#[test]
fn hostile_frames_are_shown_as_far_as_they_can_be_read() {
    let hostile: [&[u8]; 6] = [
        // An unknown frame type.
        &[0x01, 0x40, 0x99, 1, 2, 3],
        // An ACK below zero.
        &[0x02, 0x05, 0x00, 0x00, 0x09],
        // STREAM cut off.
        &[0x0e, 0x00],
        // CONNECTION_CLOSE with a reason that is not text.
        &[0x1d, 0x07, 0x04, 0xff, 0x1b, 0x00, 0x0a],
        // The largest numbers there are.
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // CONNECTION_CLOSE with a code and a frame type that have no names.
        &[0x1c, 0x7f, 0xff, 0x7f, 0xff, 0x00],
    ];
    for frames in hostile {
        let mut pair = Pair::connected(7);
        let heard = Heard::listen(&mut pair.client, Level::Frame);
        let mut data = pair.server().forge_for_trace(frames);
        let now = pair.now;
        let path = crate::transmit::PathAddr {
            local: None,
            remote: pair.server_addr,
        };
        pair.client.handle_datagram(now, path, None, &mut data);
        assert_eq!(heard.count("<- 1RTT"), 1, "{frames:?}");
        let at = heard.at("<- 1RTT");
        let line = &heard.lines()[at];
        assert!(!line.contains(['\n', '\u{1b}', '\0']), "{line:?}");
    }
}

#[test]
fn a_move_is_told_with_its_paths() {
    let mut pair = Pair::connected(8);
    let heard = Heard::listen(pair.server(), Level::Event);
    pair.client_addr = "10.0.0.9:2222".parse().unwrap();
    transfer(&mut pair);
    let assigned = heard.at(&format!("change: {:?}", PathChange::ProbingStarted));
    assert!(heard.at("10.0.0.9:2222") <= assigned);
    heard.at(&format!("change: {:?}", PathChange::MigrationStarted));
    heard.at(&format!("change: {:?}", PathChange::MigrationComplete));
}

#[test]
fn key_updates_are_told_with_who_began_them() {
    let mut pair = Pair::connected(9);
    transfer(&mut pair);
    pair.run_for(Duration::from_secs(1));
    let client = Heard::listen(&mut pair.client, Level::Event);
    let server = Heard::listen(pair.server(), Level::Event);
    let now = pair.now;
    assert!(pair.client.initiate_key_update(now));
    pair.run_for(Duration::from_millis(200));
    client.at("phase: Some(1), trigger: \"local_update\"");
    server.at("phase: Some(1), trigger: \"remote_update\"");
    assert_eq!(client.count("trigger: \"remote_update\""), 0);
}

impl Connection {
    fn forge_for_trace(&mut self, frames: &[u8]) -> Vec<u8> {
        let now = self.clock.received;
        self.forge(now, Keys::OneRtt, frames)
    }
}
