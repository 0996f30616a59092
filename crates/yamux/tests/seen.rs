//! What is seen: why a stream stands still, and the events of a trace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod common;
use common::*;
use std::sync::{Arc, Mutex};
use weir_core::trace::{Event as Trace, HeldBy, Level, Sink, Tracer};

/// Keeps every event as a line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Sink for Lines {
    fn event(&mut self, _now: Instant, event: &Trace<'_>) {
        let line = match event {
            Trace::Frame(frame) => format!(
                "{} {} {} [{}] {} window {}/{}",
                frame.direction.as_str(),
                frame.kind,
                frame.stream,
                frame.flags,
                frame.length,
                frame
                    .send_window
                    .map_or("-".to_owned(), |window| window.to_string()),
                frame
                    .recv_window
                    .map_or("-".to_owned(), |window| window.to_string()),
            ),
            Trace::StreamState {
                stream,
                old,
                new,
                trigger,
                ..
            } => {
                format!("stream {stream}: {old} -> {new} ({trigger})")
            }
            Trace::Session { role, state } => format!("session {role} {state}"),
            Trace::Held { stream, by } => format!("stream {stream} held by {by}"),
            Trace::WindowTuned {
                stream, old, new, ..
            } => {
                format!("stream {stream} window {old} -> {new}")
            }
            Trace::Discarded { stream, bytes, why } => format!("{stream} lost {bytes}: {why}"),
            Trace::Closed(reason) => format!("closed: {reason}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }

    fn wants(&self, _level: Level) -> bool {
        true
    }
}

fn traced(role: Role) -> (Node, Lines) {
    let mut node = Node::new(role, Config::default());
    let lines = Lines::default();
    node.session
        .set_tracer(T0, Tracer::new(Box::new(lines.clone())));
    (node, lines)
}

#[test]
fn a_stream_can_say_why_it_stands_still() {
    let mut node = Node::client();
    let key = node.open(T0, 1)[0];
    let holds = |node: &Node| (node.held(key).send, node.held(key).recv);
    assert_eq!(
        holds(&node),
        (HeldBy::Application, HeldBy::Nothing),
        "nothing is written"
    );
    node.write(T0, key, pattern(300_000));
    assert_eq!(
        holds(&node).0,
        HeldBy::Nothing,
        "on its way at the next flush"
    );
    node.session.handle_carrier(T0, CarrierState::Blocked);
    assert_eq!(holds(&node).0, HeldBy::Carrier);
    node.session.handle_carrier(T0, CarrierState::Ready);
    node.flush(T0);
    assert_eq!(holds(&node).0, HeldBy::PeerWindow);
    node.feed(T0, data(ACK, 1, b"answer"));
    assert_eq!(
        holds(&node),
        (HeldBy::PeerWindow, HeldBy::Application),
        "it is not read"
    );
    node.feed(T0, raw(UPDATE, NONE, 1, 1 << 20));
    assert_eq!(holds(&node).0, HeldBy::Nothing);
    node.flush(T0);
    node.read(T0, key).1.unwrap_err();
    assert_eq!(holds(&node), (HeldBy::Application, HeldBy::Nothing));
    node.session.finish(T0, key);
    node.flush(T0);
    assert_eq!(holds(&node).0, HeldBy::Nothing, "done");
}

#[test]
fn memory_that_holds_a_stream_is_named() {
    // All that the session may hold is unread data.
    let config = Config {
        session_budget: 1 << 20,
        ..Config::default()
    };
    let mut node = Node::new(Role::Client, config);
    let keys = node.open(T0, 6);
    let key = keys[5];
    for id in [1, 3, 5, 7, 9] {
        let stats = node.session.stats();
        let left = usize::try_from(stats.memory_limit - stats.memory_used).unwrap();
        node.feed(T0, data(ACK, id, &pattern(left.min(256 * KIB))));
    }
    assert_eq!(node.memory(), 1 << 20);
    assert_eq!(
        node.session.write(T0, key, &mut pattern(1)),
        Err(WriteError::Blocked)
    );
    assert_eq!(node.held(key).send, HeldBy::SessionBudget);
    assert_eq!(
        node.held(key).recv,
        HeldBy::SessionBudget,
        "no window can grow"
    );
}

#[test]
fn every_frame_is_traced_with_both_windows() {
    let (mut node, lines) = traced(Role::Server);
    assert_eq!(lines.take(), ["session server open"]);
    node.feed(T0, data(SYN, 1, b"hello"));
    node.feed(T0, raw(PING, SYN, 0, 7));
    let key = node.session.accept(T0).unwrap();
    node.read(T0, key).1.unwrap_err();
    node.write(T0, key, &b"hi"[..]);
    node.session.finish(T0, key);
    node.flush(T0);
    node.feed(T0, raw(UPDATE, FIN, 1, 100));
    assert_eq!(
        lines.take(),
        [
            "received Data 1 [SYN] 5 window 262144/262139",
            "stream 1: Init -> SYNReceived (SYN received)",
            "received Ping 0 [SYN] 7 window -/-",
            "sent Ping 0 [ACK] 7 window -/-",
            "sent Data 1 [ACK] 2 window 262142/262139",
            "stream 1: SYNReceived -> Established (ACK sent)",
            "sent Data 1 [FIN] 0 window 262142/262139",
            "stream 1: Established -> LocalClose (FIN sent)",
            "received WindowUpdate 1 [FIN] 100 window 262242/262139",
            "stream 1: LocalClose -> Closed (FIN received)",
        ]
    );
}

#[test]
fn holds_resets_losses_and_the_end_are_traced() {
    let (mut node, lines) = traced(Role::Client);
    let key = node.open(T0, 1)[0];
    lines.take();
    node.write(T0, key, pattern(300_000));
    node.flush(T0);
    let sent = lines.take();
    assert_eq!(sent.last().unwrap(), "stream 1 held by peer's window");
    node.feed(T0, raw(UPDATE, ACK, 1, 1_000_000));
    let granted = lines.take();
    assert!(
        granted.contains(&"stream 1 held by nothing".to_owned()),
        "{granted:?}"
    );
    assert!(granted.contains(&"stream 1: SYNSent -> Established (ACK received)".to_owned()));
    node.feed(T0, data(NONE, 1, b"unread"));
    node.feed(T0, raw(UPDATE, RST, 1, 0));
    let reset = lines.take();
    assert!(reset.contains(&"stream 1: Established -> Reset (RST received)".to_owned()));
    assert!(
        reset.contains(&"1 lost 6: the peer reset the stream".to_owned()),
        "{reset:?}"
    );
    node.feed(T0, raw(UPDATE, SYN, 1, 0));
    let closed = lines.take();
    let words = "closed: ended by this side with transport error 0x1 in a SYN frame: \
                 SYN on stream 1, an id of the wrong parity";
    assert!(closed.contains(&words.to_owned()), "{closed:?}");
    assert!(closed.contains(&"session client closed".to_owned()));
}

#[test]
fn stats_count_what_went_over_the_wire() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.stream();
    pair.client.write(T0, ours, pattern(1_000));
    pair.pump();
    assert_eq!(pair.server.read(T0, theirs).0.len(), 1_000);
    let (client, server) = (pair.client.session.stats(), pair.server.session.stats());
    assert_eq!(
        (client.frames_sent, client.bytes_sent),
        (2, 12 + 12 + 1_000)
    );
    assert_eq!(
        (server.frames_received, server.bytes_received),
        (2, 12 + 12 + 1_000)
    );
    assert_eq!((server.frames_sent, client.frames_received), (1, 1));
    assert_eq!((client.streams_opened, server.streams_accepted), (1, 1));
    let stream = pair.client.session.stream_stats(ours).unwrap();
    assert_eq!(
        (stream.id, stream.sent, stream.received, stream.inbound),
        (1, 1_000, 0, false)
    );
    assert_eq!(
        (stream.state, stream.send_window),
        (State::Established, 261_144)
    );
    let stream = pair.server.session.stream_stats(theirs).unwrap();
    assert_eq!(
        (stream.id, stream.sent, stream.received, stream.inbound),
        (1, 0, 1_000, true)
    );
    assert_eq!(
        (stream.recv_window, stream.recv_window_size),
        (261_144, 262_144)
    );
}
