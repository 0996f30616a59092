//! qlog: a file for each connection, in JSON text sequences (RFC 7464) under the IETF's main schema
//! (draft-ietf-quic-qlog-main-schema), with the `yamux:` events of `docs/qlog-yamux.md`.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use weir_core::close::CloseReason;
use weir_core::time::Instant;
use weir_core::trace::{Direction, Event, FrameEvent, Level, Sink};

use super::clock;
use super::spool::{EVENTS_CAP, Spool, SpoolFile};

/// The name under which the events of `docs/qlog-yamux.md` are listed in a file's head.
const YAMUX_SCHEMA: &str = "urn:weir:qlog:events:yamux";

/// What the head of a file says about its connection.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    /// Who writes: "client" dialled, "server" was dialled.
    pub(super) vantage_point: &'static str,
    /// In words: from where to where, via what.
    pub(super) title: &'a str,
    /// Groups the files of one process.
    pub(super) group: &'a str,
    /// The event family of the connection's engine.
    pub(super) family: &'static str,
}

/// Writes one connection's events.
#[derive(Debug)]
pub(super) struct QlogSink {
    file: SpoolFile,
    family: &'static str,
    /// Events that found the buffer full since the last one that did not.
    dropped: u64,
    /// Where records are put together, to be appended in one piece.
    scratch: String,
}

impl QlogSink {
    /// A sink that writes to `path`, the head first.
    pub(super) fn new(spool: &Spool, path: &Path, head: &Head<'_>, now: SystemTime) -> Self {
        let file = spool.file(path, EVENTS_CAP);
        let mut scratch = String::with_capacity(512);
        record(&mut scratch, |out| out.push_str(&head.to_json(now)));
        file.append(|buffer| buffer.extend_from_slice(scratch.as_bytes()));
        Self {
            file,
            family: head.family,
            dropped: 0,
            scratch,
        }
    }
}

impl Sink for QlogSink {
    fn event(&mut self, now: Instant, event: &Event<'_>) {
        let Self {
            file,
            family,
            dropped,
            scratch,
        } = self;
        scratch.clear();
        if *dropped > 0 {
            record(scratch, |out| {
                open(out, now, family, "events_dropped");
                field(out, "count", *dropped);
                close(out);
            });
        }
        record(scratch, |out| write_event(out, now, family, event));
        let taken = file.append(|buffer| buffer.extend_from_slice(scratch.as_bytes()));
        *dropped = if taken { 0 } else { dropped.saturating_add(1) };
    }

    fn wants(&self, _: Level) -> bool {
        true
    }
}

impl Head<'_> {
    fn to_json(&self, now: SystemTime) -> String {
        let mut out = String::from(
            r#"{"file_schema":"urn:ietf:params:qlog:file:sequential","serialization_format":"application/qlog+json-seq","title":"#,
        );
        string(&mut out, self.title);
        out.push_str(r#","trace":{"common_fields":{"group_id":"#);
        string(&mut out, self.group);
        out.push_str(
            r#","time_format":"relative_to_epoch","reference_time":{"clock_type":"monotonic","epoch":"unknown","wall_clock_time":"#,
        );
        string(&mut out, &clock::rfc3339(now));
        out.push_str(r#"}},"vantage_point":{"name":"weir","type":"#);
        string(&mut out, self.vantage_point);
        out.push_str(r#"},"event_schemas":["#);
        string(&mut out, YAMUX_SCHEMA);
        out.push_str("]}}");
        out
    }
}

/// One record of a JSON text sequence: separator, text, newline (RFC 7464 2.2).
fn record(out: &mut String, write: impl FnOnce(&mut String)) {
    out.push('\u{1e}');
    write(out);
    out.push('\n');
}

fn write_event(out: &mut String, now: Instant, family: &'static str, event: &Event<'_>) {
    match event {
        Event::Session { role, state } => {
            open(out, now, family, "session_state_updated");
            text(out, "role", role);
            text(out, "new", state);
        }
        Event::Frame(frame) => return write_frame(out, now, frame),
        Event::StreamState {
            family,
            stream,
            old,
            new,
            trigger,
        } => {
            open(out, now, family, "stream_state_updated");
            field(out, "stream_id", stream);
            text(out, "old", old);
            text(out, "new", new);
            text(out, "trigger", trigger);
        }
        Event::WindowTuned {
            stream,
            old,
            new,
            rtt,
        } => {
            open(out, now, family, "receive_window_tuned");
            field(out, "stream_id", stream);
            field(out, "old", old);
            field(out, "new", new);
            if let Some(rtt) = rtt {
                field(out, "rtt", millis(*rtt));
            }
        }
        Event::Rtt {
            latest,
            smoothed,
            min,
        } => {
            open(out, now, family, "rtt_updated");
            field(out, "latest_rtt", millis(*latest));
            field(out, "smoothed_rtt", millis(*smoothed));
            field(out, "min_rtt", millis(*min));
        }
        Event::Held { stream, by } => {
            open(out, now, family, "stream_held");
            field(out, "stream_id", stream);
            text(out, "by", by.as_str());
        }
        Event::Discarded { stream, bytes, why } => {
            open(out, now, family, "data_discarded");
            field(out, "stream_id", stream);
            field(out, "length", bytes);
            text(out, "trigger", why);
        }
        Event::RateLimited { what, count } => {
            open(out, now, family, "rate_limited");
            text(out, "what", what);
            field(out, "count", count);
        }
        Event::Closed(reason) => {
            open(out, now, family, "session_closed");
            write_reason(out, reason);
        }
    }
    close(out);
}

fn write_frame(out: &mut String, now: Instant, frame: &FrameEvent) {
    let name = match frame.direction {
        Direction::Sent => "frame_sent",
        Direction::Received => "frame_received",
    };
    open(out, now, frame.family, name);
    field(out, "stream_id", frame.stream);
    text(out, "frame_type", frame.kind);
    out.push_str(r#","flags":["#);
    for (at, flag) in frame.flags.names().iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, flag);
    }
    out.push(']');
    field(out, "length", frame.length);
    if let Some(window) = frame.send_window {
        field(out, "send_window", window);
    }
    if let Some(window) = frame.recv_window {
        field(out, "receive_window", window);
    }
    close(out);
}

fn write_reason(out: &mut String, reason: &CloseReason) {
    text(out, "initiator", reason.by.as_str());
    text(out, "layer", reason.layer.as_str());
    field(out, "code", reason.code);
    if let Some(frame) = &reason.frame {
        text(out, "frame_type", &frame.to_string());
    }
    text(out, "reason", &reason.reason);
}

/// Begins an event up to the inside of its data; [`close`] ends it.
fn open(out: &mut String, now: Instant, family: &str, name: &str) {
    // Milliseconds with nanoseconds behind the point, without going through a float.
    let nanos = now.as_nanos();
    let (whole, rest) = (nanos / 1_000_000, nanos % 1_000_000);
    put(
        out,
        format_args!(r#"{{"time":{whole}.{rest:06},"name":"{family}:{name}","data":{{"#),
    );
}

fn close(out: &mut String) {
    out.push_str("}}");
}

/// A field whose value needs no quotes.
fn field(out: &mut String, name: &str, value: impl fmt::Display) {
    comma(out);
    put(out, format_args!(r#""{name}":{value}"#));
}

/// A field whose value is text.
fn text(out: &mut String, name: &str, value: &str) {
    comma(out);
    put(out, format_args!(r#""{name}":"#));
    string(out, value);
}

fn comma(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

/// A JSON string (RFC 8259 7): quotes, backslashes and control characters are escaped.
fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(text);
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use weir_core::close::Initiator;
    use weir_core::trace::FlagList;

    fn line(event: &Event<'_>) -> String {
        let mut out = String::new();
        write_event(&mut out, Instant::from_nanos(1_234_567), "yamux", event);
        out
    }

    #[test]
    fn a_frame_tells_stream_type_flags_length_and_both_windows() {
        let frame = FrameEvent {
            direction: Direction::Sent,
            family: "yamux",
            stream: 3,
            kind: "Data",
            flags: FlagList::new(&["SYN", "FIN"]),
            length: 1024,
            send_window: Some(261_120),
            recv_window: Some(262_144),
        };
        assert_eq!(
            line(&Event::Frame(frame)),
            r#"{"time":1.234567,"name":"yamux:frame_sent","data":{"stream_id":3,"frame_type":"Data","flags":["SYN","FIN"],"length":1024,"send_window":261120,"receive_window":262144}}"#
        );
    }

    #[test]
    fn a_peers_words_cannot_leave_their_string() {
        let reason = CloseReason::application(Initiator::Peer, 7, "a \"quote\"\\\n\u{1e}\u{7}");
        assert_eq!(
            line(&Event::Closed(&reason)),
            r#"{"time":1.234567,"name":"yamux:session_closed","data":{"initiator":"peer","layer":"application","code":7,"reason":"a \"quote\"\\\n\u001e\u0007"}}"#
        );
    }

    #[test]
    fn the_head_names_the_schemas() {
        let head = Head {
            vantage_point: "client",
            title: "a to b",
            group: "77",
            family: "yamux",
        };
        let json = head.to_json(UNIX_EPOCH);
        assert!(json.starts_with(r#"{"file_schema":"urn:ietf:params:qlog:file:sequential""#));
        assert!(json.contains(r#""vantage_point":{"name":"weir","type":"client"}"#));
        assert!(json.contains(r#""event_schemas":["urn:weir:qlog:events:yamux"]"#));
    }

    #[test]
    fn records_are_framed_by_rfc_7464_and_drops_are_told() {
        let path = std::env::temp_dir().join(format!("weir-qlog-{}.sqlog", std::process::id()));
        let spool = Spool::start().unwrap();
        let head = Head {
            vantage_point: "server",
            title: "t",
            group: "g",
            family: "yamux",
        };
        let mut sink = QlogSink::new(&spool, &path, &head, UNIX_EPOCH);
        sink.dropped = 3;
        sink.event(
            Instant::ZERO,
            &Event::Session {
                role: "server",
                state: "open",
            },
        );
        drop(sink);
        spool.finish();
        let written = std::fs::read_to_string(&path).unwrap();
        let records: Vec<&str> = written.split('\u{1e}').skip(1).collect();
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.ends_with("}\n")));
        assert!(records[1].contains(r#""name":"yamux:events_dropped","data":{"count":3}"#));
        assert!(records[2].contains(r#""data":{"role":"server","new":"open"}"#));
        std::fs::remove_file(&path).unwrap();
    }
}
