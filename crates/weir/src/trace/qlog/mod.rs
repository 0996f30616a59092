//! qlog: a file for each connection, in JSON text sequences (RFC 7464) under the IETF's main schema
//! (draft-ietf-quic-qlog-main-schema), with the `quic:` events of draft-ietf-quic-qlog-quic-events
//! (`docs/qlog-quic.md`), the `yamux:` events of `docs/qlog-yamux.md`, or the `tcp:` and `ip:` events of
//! `docs/qlog-tcp.md`.
//!
//! `events.rs` writes what every protocol reports, `quic.rs` what the IETF's schema says in another
//! way, `tcpip.rs` what a stack of many connections reports.

mod events;
mod json;
mod quic;
#[cfg(test)]
pub(super) mod schema_tests;
mod tcpip;

use std::path::Path;
use std::time::SystemTime;

use weir_core::time::Instant;
use weir_core::trace::{Event, Level, Sink};

use super::clock;
use super::spool::{EVENTS_CAP, Spool, SpoolFile};
use json::{close, comma, field, open, record, string};

/// The schemas that a family's events are from, as a file's head lists them.
fn schemas(family: &str) -> &'static [&'static str] {
    match family {
        // Drafts are told apart by their number ("Draft Event Schema Identification").
        quic::FAMILY => &[quic::SCHEMA, "urn:weir:qlog:events:weir"],
        tcpip::FAMILY => &["urn:weir:qlog:events:tcp", "urn:weir:qlog:events:ip"],
        _ => &["urn:weir:qlog:events:yamux"],
    }
}

/// The namespace of what no other schema has.
fn own_namespace(family: &'static str) -> &'static str {
    match family {
        quic::FAMILY => "weir",
        other => other,
    }
}

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
    /// When the first event was: all times are counted from there.
    origin: Option<Instant>,
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
            origin: None,
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
            origin,
            dropped,
            scratch,
        } = self;
        let family = *family;
        let origin = *origin.get_or_insert(now);
        let now = Instant::ZERO + now.saturating_duration_since(origin);
        scratch.clear();
        if *dropped > 0 {
            record(scratch, |out| {
                open(out, now, own_namespace(family), "events_dropped");
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
        for schema in schemas(self.family) {
            comma(&mut out);
            string(&mut out, schema);
        }
        out.push_str("]}}");
        out
    }
}

/// Writes an event in the vocabulary of its family.
fn write_event(out: &mut String, now: Instant, family: &'static str, event: &Event<'_>) {
    match family {
        tcpip::FAMILY => tcpip::write(out, now, event),
        quic::FAMILY if quic::write(out, now, event) => {}
        _ => events::write(out, now, family, event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use weir_core::close::{CloseReason, Initiator};
    use weir_core::trace::{Direction, FlagList, FrameEvent};

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
