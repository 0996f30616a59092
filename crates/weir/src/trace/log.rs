//! `-v` and `-vv`: a connection's events as lines of `tracing`, for people.

use std::fmt;

use tracing::{debug, enabled, trace};
use weir_core::time::Instant;
use weir_core::trace::{Direction, Event, FrameEvent, Level, Sink};

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
        match event {
            Event::Frame(frame) => trace!(target: FRAMES, "{name} {}", FrameLine(frame)),
            event => debug!(target: EVENTS, "{name} {}", EventLine(event)),
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
        let arrow = match frame.direction {
            Direction::Sent => "->",
            Direction::Received => "<-",
        };
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

/// Any other event as `-v` shows it.
struct EventLine<'a>(&'a Event<'a>);

impl fmt::Display for EventLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Session { role, state } => write!(f, "session ({role}) is {state}"),
            Event::Frame(frame) => FrameLine(frame).fmt(f),
            Event::StreamState {
                stream,
                old,
                new,
                trigger,
                ..
            } => {
                write!(f, "stream {stream} {old} -> {new} ({trigger})")
            }
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
            } => {
                write!(
                    f,
                    "round trip {latest:.1?} (smoothed {smoothed:.1?}, least {min:.1?})"
                )
            }
            Event::Held { stream, by } => write!(f, "stream {stream} is held back by: {by}"),
            Event::Discarded { stream, bytes, why } => {
                write!(f, "stream {stream}: {bytes} bytes thrown away ({why})")
            }
            Event::RateLimited { what, count } => {
                write!(f, "the peer does it too often: {what} ({count} so far)")
            }
            Event::Closed(reason) => write!(f, "closed: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_core::trace::FlagList;

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
