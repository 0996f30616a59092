//! `-v` and `-vv`: a connection's events as lines of `tracing`, for people.

mod tcpip;

use std::fmt;

use tracing::{debug, enabled, trace};
use weir_core::time::Instant;
use weir_core::trace::{
    Direction, DroppedEvent, Event, Field, FrameEvent, Level, LostEvent, Metrics, PacketEvent,
    PathEvent, Sink, TimerChange, TimerEvent,
};

/// The target of the lines about events; those about frames have [`FRAMES`].
pub const EVENTS: &str = "weir::event";
/// The target of the lines about frames.
pub const FRAMES: &str = "weir::frame";

/// Writes one connection's events to `tracing`: frames at level TRACE, all else at DEBUG.
#[derive(Debug)]
pub(super) struct LogSink {
    /// What the lines call the connection.
    name: String,
}

impl LogSink {
    /// A sink whose lines begin with `name`.
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    /// Whether anybody would see a line of this level.
    pub(super) fn is_heard(level: Level) -> bool {
        match level {
            Level::Event => enabled!(target: EVENTS, tracing::Level::DEBUG),
            Level::Frame => enabled!(target: FRAMES, tracing::Level::TRACE),
        }
    }
}

impl Sink for LogSink {
    fn event(&mut self, _: Instant, event: &Event<'_>) {
        let name = &self.name;
        match event.level() {
            Level::Frame => trace!(target: FRAMES, "{name} {}", EventLine(event)),
            Level::Event => debug!(target: EVENTS, "{name} {}", EventLine(event)),
        }
    }

    fn wants(&self, level: Level) -> bool {
        Self::is_heard(level)
    }
}

/// A frame as `-vv` shows it.
struct FrameLine<'a>(&'a FrameEvent);

impl fmt::Display for FrameLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let arrow = arrow(frame.direction);
        write!(f, "{arrow} stream {} {}", frame.stream, frame.kind)?;
        if !frame.flags.is_empty() {
            write!(f, " {}", frame.flags)?;
        }
        write!(f, " length {}", frame.length)?;
        if let Some(window) = frame.send_window {
            write!(f, " send-window {window}")?;
        }
        if let Some(window) = frame.recv_window {
            write!(f, " receive-window {window}")?;
        }
        Ok(())
    }
}

fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "->",
        Direction::Received => "<-",
    }
}

/// How many frames of a packet a line lists: more is no line that anybody reads.
const FRAMES_SHOWN: usize = 32;

/// A packet as `-vv` shows it.
struct PacketLine<'a>(&'a PacketEvent<'a>);

impl fmt::Display for PacketLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packet = self.0;
        write!(f, "{} {} packet", arrow(packet.direction), packet.kind)?;
        if let Some(number) = packet.number {
            write!(f, " {number}")?;
        }
        write!(f, " ({} B", packet.length)?;
        if packet.path != 0 {
            write!(f, ", path {}", packet.path)?;
        }
        if let Some(ecn) = packet.ecn {
            write!(f, ", {ecn}")?;
        }
        if packet.is_mtu_probe {
            f.write_str(", probe of its size")?;
        }
        f.write_str(")")?;
        let (mut count, mut result) = (0_usize, Ok(()));
        packet.frames.each(&mut |frame| {
            count = count.saturating_add(1);
            if result.is_ok() && count <= FRAMES_SHOWN {
                let between = if count == 1 { ":" } else { ";" };
                result = write!(f, "{between} {}", frame.words);
            }
        });
        result?;
        match count.checked_sub(FRAMES_SHOWN) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

/// Any event.
struct EventLine<'a>(&'a Event<'a>);

impl fmt::Display for EventLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Session { role, state } => write!(f, "session ({role}) is {state}"),
            Event::Frame(frame) => FrameLine(frame).fmt(f),
            Event::Packet(packet) if tcpip::is_ip(packet) => tcpip::fmt_ip_packet(f, packet),
            Event::Packet(packet) => PacketLine(packet).fmt(f),
            Event::PacketDropped(dropped) => fmt_dropped(f, dropped),
            Event::PacketLost(lost) => fmt_lost(f, lost),
            Event::Metrics(metrics) => fmt_metrics(f, metrics),
            Event::Timer(timer) => fmt_timer(f, timer),
            Event::Path(path) => fmt_path(f, path),
            Event::CongestionState { path, old, new } => {
                fmt_change(f, *path, "congestion", *old, new)
            }
            Event::EcnState { path, old, new } => fmt_change(f, *path, "ECN", *old, new),
            Event::MtuUpdated { path, old, new } => match old {
                Some(old) => write!(f, "{}datagram size {old} -> {new}", Place(*path)),
                None => write!(f, "{}datagram size {new}", Place(*path)),
            },
            Event::Key(key) => {
                let word = if key.discarded { "forgotten" } else { "in use" };
                let name = key.kind.trim_end_matches("_secret").replace('_', " ");
                write!(f, "keys: {name} {word}")?;
                match key.phase {
                    Some(phase) => write!(f, ", phase {phase} ({})", key.trigger),
                    None => Ok(()),
                }
            }
            Event::Settings { name, by, fields } => {
                f.write_str(&name.replace('_', " "))?;
                if let Some(by) = by {
                    write!(f, " ({})", by.as_str())?;
                }
                fmt_fields(f, fields)
            }
            Event::Closed(reason) => write!(f, "closed: {reason}"),
            Event::In { flow, event } => tcpip::fmt_in(f, flow, event),
            Event::Segment(segment) => tcpip::fmt_segment(f, segment),
            Event::Neighbor(neighbor) => tcpip::fmt_neighbor(f, neighbor),
            Event::Address(address) => tcpip::fmt_address(f, address),
            Event::PathMtu { to, old, new } => write!(f, "packets to {to}: {old} -> {new} B"),
            other => fmt_stream_event(f, other),
        }
    }
}

fn fmt_stream_event(f: &mut fmt::Formatter<'_>, event: &Event<'_>) -> fmt::Result {
    match event {
        Event::StreamState {
            stream,
            old,
            new,
            trigger,
            ..
        } => write!(f, "stream {stream} {old} -> {new} ({trigger})"),
        Event::WindowTuned {
            stream,
            old,
            new,
            rtt,
        } => {
            write!(f, "stream {stream} receive window {old} -> {new}")?;
            match rtt {
                Some(rtt) => write!(f, " (round trip {rtt:.1?})"),
                None => Ok(()),
            }
        }
        Event::Rtt {
            latest,
            smoothed,
            min,
        } => write!(
            f,
            "round trip {latest:.1?} (smoothed {smoothed:.1?}, least {min:.1?})"
        ),
        Event::Held { stream, by } => write!(f, "stream {stream} is held back by: {by}"),
        Event::Discarded { stream, bytes, why } => {
            write!(f, "stream {stream}: {bytes} bytes thrown away ({why})")
        }
        Event::RateLimited { what, count } => {
            write!(f, "the peer does it too often: {what} ({count} so far)")
        }
        // All others have their own words.
        _ => Ok(()),
    }
}

/// The path, where it is not the first.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            path => write!(f, "path {path}: "),
        }
    }
}

fn fmt_change(
    f: &mut fmt::Formatter<'_>,
    path: u64,
    what: &str,
    old: Option<&str>,
    new: &str,
) -> fmt::Result {
    write!(f, "{}{what} ", Place(path))?;
    fmt_step(f, old, new)
}

fn fmt_step(f: &mut fmt::Formatter<'_>, old: Option<&str>, new: &str) -> fmt::Result {
    match old {
        Some(old) => write!(f, "{old} -> {new}"),
        None => f.write_str(new),
    }
}

fn fmt_dropped(f: &mut fmt::Formatter<'_>, dropped: &DroppedEvent) -> fmt::Result {
    f.write_str("<- ")?;
    if let Some(kind) = dropped.kind {
        write!(f, "{kind} ")?;
    }
    f.write_str("packet thrown away")?;
    if let Some(length) = dropped.length {
        write!(f, " ({length} B)")?;
    }
    write!(f, ": {}; {} so far", dropped.why, dropped.count)
}

fn fmt_lost(f: &mut fmt::Formatter<'_>, lost: &LostEvent) -> fmt::Result {
    let (place, kind, number, length) = (Place(lost.path), lost.kind, lost.number, lost.length);
    write!(f, "{place}{kind} packet {number} ({length} B) is lost")?;
    if lost.is_mtu_probe {
        f.write_str(", a probe of its size")?;
    }
    match lost.trigger {
        Some(trigger) => write!(f, " ({})", trigger.replace('_', " ")),
        None => Ok(()),
    }
}

fn fmt_metrics(f: &mut fmt::Formatter<'_>, metrics: &Metrics) -> fmt::Result {
    let mut between = "";
    let mut say = |f: &mut fmt::Formatter<'_>, words: fmt::Arguments<'_>| {
        f.write_str(std::mem::replace(&mut between, ", "))?;
        f.write_fmt(words)
    };
    write!(f, "{}", Place(metrics.path))?;
    if let Some(latest) = metrics.latest_rtt {
        say(f, format_args!("round trip {latest:.1?}"))?;
    }
    if let Some(smoothed) = metrics.smoothed_rtt {
        say(f, format_args!("smoothed {smoothed:.1?}"))?;
    }
    if let Some(min) = metrics.min_rtt {
        say(f, format_args!("least {min:.1?}"))?;
    }
    if let Some(variance) = metrics.rtt_variance {
        say(f, format_args!("varies by {variance:.1?}"))?;
    }
    if let Some(count) = metrics.pto_count {
        say(f, format_args!("{count} probe time-outs"))?;
    }
    if let Some(window) = metrics.congestion_window {
        say(f, format_args!("congestion window {window}"))?;
    }
    if let Some(bytes) = metrics.bytes_in_flight {
        say(f, format_args!("in flight {bytes}"))?;
    }
    if let Some(bytes) = metrics.ssthresh {
        say(f, format_args!("slow start ends at {bytes}"))?;
    }
    if let Some(rate) = metrics.pacing_rate {
        let megabits = rate as f64 / 1e6;
        say(f, format_args!("pace {megabits:.1} Mbit/s"))?;
    }
    if let Some(window) = metrics.send_window {
        say(f, format_args!("peer's window {window}"))?;
    }
    if let Some(timeout) = metrics.retransmission_timeout {
        say(f, format_args!("retransmission after {timeout:.1?}"))?;
    }
    if let Some(window) = metrics.reordering_window {
        say(f, format_args!("reordering window {window:.1?}"))?;
    }
    Ok(())
}

fn fmt_timer(f: &mut fmt::Formatter<'_>, timer: &TimerEvent) -> fmt::Result {
    write!(f, "timer {}", timer.kind)?;
    if let Some(space) = timer.space {
        write!(f, " ({space})")?;
    }
    match timer.change {
        TimerChange::Set(delta) => write!(f, " in {delta:.1?}"),
        TimerChange::Expired => f.write_str(" is due"),
        TimerChange::Cancelled => f.write_str(" is off"),
    }
}

fn fmt_path(f: &mut fmt::Formatter<'_>, event: &PathEvent) -> fmt::Result {
    let change = event.change.as_str().replace('_', " ");
    write!(f, "path {} {change}", event.path)?;
    if let Some(local) = event.local {
        write!(f, ", from {local}")?;
    }
    match event.remote {
        Some(remote) => write!(f, ", to {remote}"),
        None => Ok(()),
    }
}

fn fmt_fields(f: &mut fmt::Formatter<'_>, fields: &[Field<'_>]) -> fmt::Result {
    for (at, field) in fields.iter().enumerate() {
        write!(f, "{}{field}", if at == 0 { ": " } else { ", " })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_core::trace::{FlagList, FrameInfo, Frames};

    #[test]
    fn a_frame_line_has_the_fields_words() {
        let frame = FrameEvent {
            direction: Direction::Received,
            family: "yamux",
            stream: 5,
            kind: "WindowUpdate",
            flags: FlagList::new(&["SYN", "ACK"]),
            length: 0,
            send_window: Some(262_144),
            recv_window: Some(100),
        };
        assert_eq!(
            FrameLine(&frame).to_string(),
            "<- stream 5 WindowUpdate SYN|ACK length 0 send-window 262144 receive-window 100"
        );
        let ping = FrameEvent {
            direction: Direction::Sent,
            stream: 0,
            kind: "Ping",
            flags: FlagList::EMPTY,
            length: 7,
            send_window: None,
            recv_window: None,
            family: "yamux",
        };
        assert_eq!(FrameLine(&ping).to_string(), "-> stream 0 Ping length 7");
    }

    fn packet<'a>(frames: &'a dyn Frames) -> PacketEvent<'a> {
        PacketEvent {
            direction: Direction::Received,
            family: "quic",
            kind: "1RTT",
            number: Some(5),
            length: 37,
            path: 0,
            ecn: None,
            trigger: None,
            is_mtu_probe: false,
            header: &[],
            frames,
        }
    }

    fn frame(words: &(dyn fmt::Display + Sync)) -> FrameInfo<'_> {
        FrameInfo {
            kind: "x",
            words,
            fields: &[],
        }
    }

    #[test]
    fn a_packet_is_one_line_with_its_frames() {
        let frames = vec![
            frame(&"ACK 1-5 delay 41 us"),
            frame(&"STREAM 0 off 0 len 7 FIN"),
        ];
        assert_eq!(
            PacketLine(&packet(&frames)).to_string(),
            "<- 1RTT packet 5 (37 B): ACK 1-5 delay 41 us; STREAM 0 off 0 len 7 FIN"
        );
        let mut other = packet(&frames);
        other.direction = Direction::Sent;
        (other.path, other.ecn, other.is_mtu_probe) = (2, Some("ECT(0)"), true);
        assert!(
            PacketLine(&other)
                .to_string()
                .starts_with("-> 1RTT packet 5 (37 B, path 2, ECT(0), probe of its size): ACK")
        );
    }

    // C10: a datagram full of one-byte frames stays a line.
    #[test]
    fn a_packet_of_a_thousand_frames_is_a_short_line() {
        let frames = vec![frame(&"PING"); 1400];
        let line = PacketLine(&packet(&frames)).to_string();
        assert!(line.len() < 300, "{line}");
        assert!(line.ends_with("PING; and 1368 more"), "{line}");
    }

    #[test]
    fn what_moves_with_packets_is_said_in_words() {
        let metrics = Metrics {
            latest_rtt: Some(Duration::from_millis(3)),
            congestion_window: Some(12_000),
            pacing_rate: Some(12_500_000),
            ..Metrics::default()
        };
        let timer = |change| {
            Event::Timer(TimerEvent {
                kind: "pto",
                space: Some("initial"),
                change,
            })
        };
        let lost = LostEvent {
            kind: "1RTT",
            number: 7,
            length: 1200,
            path: 1,
            trigger: Some("time_threshold"),
            is_mtu_probe: false,
        };
        let cases = [
            (
                Event::Metrics(metrics),
                "round trip 3.0ms, congestion window 12000, pace 12.5 Mbit/s",
            ),
            (
                timer(TimerChange::Set(Duration::from_millis(300))),
                "timer pto (initial) in 300.0ms",
            ),
            (timer(TimerChange::Cancelled), "timer pto (initial) is off"),
            (
                Event::PacketLost(lost),
                "path 1: 1RTT packet 7 (1200 B) is lost (time threshold)",
            ),
            (
                Event::CongestionState {
                    path: 0,
                    old: Some("slow_start"),
                    new: "recovery",
                },
                "congestion slow_start -> recovery",
            ),
        ];
        for (event, words) in cases {
            assert_eq!(EventLine(&event).to_string(), words);
            assert_eq!(event.level(), Level::Frame);
        }
    }

    #[test]
    fn events_are_said_in_words() {
        let state = Event::StreamState {
            family: "yamux",
            stream: 1,
            old: "SYNSent",
            new: "Established",
            trigger: "ACK received",
        };
        assert_eq!(
            EventLine(&state).to_string(),
            "stream 1 SYNSent -> Established (ACK received)"
        );
        let rtt = Event::Rtt {
            latest: Duration::from_micros(512),
            smoothed: Duration::from_millis(1),
            min: Duration::from_micros(500),
        };
        assert_eq!(
            EventLine(&rtt).to_string(),
            "round trip 512.0µs (smoothed 1.0ms, least 500.0µs)"
        );
    }
}
