//! The `tcp:` and `ip:` events of `docs/qlog-tcp.md`: one file for a stack, whose connections are told
//! apart by the main schema's `group_id`.

use weir_core::time::Instant;
use weir_core::trace::{
    AddressEvent, Direction, Event, Flow, LostEvent, NeighborEvent, SegmentEvent, SegmentOptions,
};

use super::events;
use super::json::{
    close, comma, field, key, list, maybe, maybe_text, object, open, put, string, text,
};

/// The family of a stack's file, and the namespace of what a connection does.
pub(super) const FAMILY: &str = "tcp";
/// The namespace of what is below connections.
const IP: &str = "ip";

/// Writes an event of a stack.
pub(super) fn write(out: &mut String, now: Instant, event: &Event<'_>) {
    match event {
        Event::In { flow, event } => {
            let begun = out.len();
            write_tcp(out, now, event);
            group(out, begun, flow);
        }
        Event::Neighbor(neighbor) => write_neighbor(out, now, neighbor),
        Event::Address(address) => write_address(out, now, address),
        Event::PathMtu { to, old, new } => {
            open(out, now, IP, "path_mtu_updated");
            text(out, "remote", &to.to_string());
            field(out, "old", old);
            field(out, "new", new);
            close(out);
        }
        Event::Segment(_) => write_tcp(out, now, event),
        other => events::write(out, now, IP, other),
    }
}

fn write_tcp(out: &mut String, now: Instant, event: &Event<'_>) {
    match event {
        Event::Segment(segment) => write_segment(out, now, segment),
        Event::StreamState {
            old, new, trigger, ..
        } => {
            open(out, now, FAMILY, "connection_state_updated");
            text(out, "old", old);
            text(out, "new", new);
            text(out, "trigger", trigger);
            close(out);
        }
        Event::Held { by, .. } => {
            open(out, now, FAMILY, "connection_held");
            text(out, "by", by.as_str());
            close(out);
        }
        Event::WindowTuned { old, new, rtt, .. } => {
            open(out, now, FAMILY, "receive_window_tuned");
            field(out, "old", old);
            field(out, "new", new);
            maybe(out, "rtt", rtt.map(super::json::millis));
            close(out);
        }
        Event::Discarded { bytes, why, .. } => {
            open(out, now, FAMILY, "data_discarded");
            field(out, "length", bytes);
            text(out, "trigger", why);
            close(out);
        }
        Event::PacketLost(lost) => write_lost(out, now, lost),
        Event::Closed(reason) => {
            open(out, now, FAMILY, "connection_closed");
            events::write_reason(out, reason);
            close(out);
        }
        other => events::write(out, now, FAMILY, other),
    }
}

/// Puts the flow into the event that was written from `begun` on, in front of its data.
fn group(out: &mut String, begun: usize, flow: &Flow) {
    const DATA: &str = r#","data":{"#;
    let place = out.get(begun..).and_then(|event| event.find(DATA));
    if let Some(place) = place {
        let member = format!(r#","group_id":"{flow}""#);
        out.insert_str(begun.saturating_add(place), &member);
    }
}

fn write_segment(out: &mut String, now: Instant, segment: &SegmentEvent<'_>) {
    let name = match segment.direction {
        Direction::Sent => "segment_sent",
        Direction::Received => "segment_received",
    };
    open(out, now, FAMILY, name);
    key(out, "flags");
    list(out, segment.flags.names().iter(), |out, flag| {
        string(out, flag)
    });
    field(out, "seq", segment.seq);
    maybe(out, "ack", segment.ack);
    field(out, "window", segment.window);
    field(out, "length", segment.length);
    if segment.segments > 1 {
        field(out, "segments", segment.segments);
    }
    if segment.options != SegmentOptions::default() {
        object(out, "options", |out| write_options(out, &segment.options));
    }
    maybe_text(out, "ecn", segment.ecn);
    text(out, "state", segment.state);
    maybe_text(out, "trigger", segment.trigger);
    close(out);
}

fn write_options(out: &mut String, options: &SegmentOptions<'_>) {
    maybe(out, "mss", options.mss);
    maybe(out, "window_scale", options.window_scale);
    if options.sack_permitted {
        field(out, "sack_permitted", true);
    }
    if let Some((value, echo)) = options.timestamps {
        object(out, "timestamps", |out| {
            field(out, "value", value);
            field(out, "echo", echo);
        });
    }
    if !options.sack.is_empty() {
        comma(out);
        out.push_str(r#""sack":"#);
        list(out, options.sack.iter(), |out, (left, right)| {
            put(out, format_args!("[{left},{right}]"));
        });
    }
    maybe(out, "fast_open_cookie_length", options.fast_open);
}

fn write_lost(out: &mut String, now: Instant, lost: &LostEvent) {
    open(out, now, FAMILY, "segment_lost");
    field(out, "seq", lost.number);
    field(out, "length", lost.length);
    maybe_text(out, "trigger", lost.trigger);
    close(out);
}

fn write_neighbor(out: &mut String, now: Instant, event: &NeighborEvent) {
    open(out, now, IP, "neighbor_updated");
    field(out, "interface", event.interface);
    text(out, "address", &event.address.to_string());
    if let Some([a, b, c, d, e, f]) = event.hardware {
        key(out, "hardware");
        put(
            out,
            format_args!(r#""{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}""#),
        );
    }
    maybe_text(out, "old", event.old);
    text(out, "new", event.new);
    close(out);
}

fn write_address(out: &mut String, now: Instant, event: &AddressEvent) {
    open(out, now, IP, "address_updated");
    field(out, "interface", event.interface);
    text(out, "address", &event.address.to_string());
    field(out, "prefix_length", event.prefix_len);
    text(out, "new", event.state);
    close(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weir_core::close::{CloseReason, Initiator};
    use weir_core::trace::{DroppedEvent, FlagList, HeldBy, Metrics};

    fn line(event: &Event<'_>) -> String {
        let mut out = String::new();
        super::super::write_event(&mut out, Instant::from_nanos(1_500_000), FAMILY, event);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&out);
        assert!(parsed.is_ok(), "{out}");
        out
    }

    fn inside(event: &Event<'_>) -> String {
        let flow = Flow {
            local: ([192, 0, 2, 1], 80).into(),
            remote: ("2001:db8::2".parse::<std::net::IpAddr>().unwrap(), 4000).into(),
        };
        line(&Event::In { flow, event })
    }

    #[test]
    fn a_segment_tells_its_header_in_offsets() {
        let segment = SegmentEvent {
            direction: Direction::Received,
            flags: FlagList::new(&["ACK"]),
            seq: 1,
            ack: Some(1001),
            window: 65_536,
            length: 2896,
            segments: 2,
            options: SegmentOptions {
                timestamps: Some((7, 8)),
                sack: &[(2000, 2100)],
                ..SegmentOptions::default()
            },
            ecn: Some("CE"),
            state: "ESTABLISHED",
            trigger: None,
        };
        assert_eq!(
            inside(&Event::Segment(segment)),
            r#"{"time":1.500000,"name":"tcp:segment_received","group_id":"192.0.2.1:80-[2001:db8::2]:4000","data":{"flags":["ACK"],"seq":1,"ack":1001,"window":65536,"length":2896,"segments":2,"options":{"timestamps":{"value":7,"echo":8},"sack":[[2000,2100]]},"ecn":"CE","state":"ESTABLISHED"}}"#
        );
        let syn = SegmentEvent {
            direction: Direction::Sent,
            flags: FlagList::new(&["SYN"]),
            ack: None,
            length: 0,
            segments: 1,
            options: SegmentOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                fast_open: Some(0),
                ..SegmentOptions::default()
            },
            ecn: None,
            state: "SYN-SENT",
            trigger: Some("syn"),
            ..segment
        };
        assert!(inside(&Event::Segment(syn)).ends_with(
            r#""options":{"mss":1460,"window_scale":7,"sack_permitted":true,"fast_open_cookie_length":0},"state":"SYN-SENT","trigger":"syn"}}"#
        ));
    }

    /// Each has its name, and belongs to the connection rather than to a stream.
    fn named(cases: &[(Event<'_>, &str)]) {
        for (event, name) in cases {
            let line = inside(event);
            assert!(
                line.contains(&format!(r#""name":"{name}","group_id":"#)),
                "{line}"
            );
            assert!(!line.contains("stream_id"), "{line}");
        }
    }

    #[test]
    fn a_connections_events_have_the_tcp_names() {
        let state = Event::StreamState {
            family: "tcp",
            stream: 0,
            old: "ESTABLISHED",
            new: "CLOSE-WAIT",
            trigger: "FIN received",
        };
        let reason = CloseReason::application(Initiator::Peer, 0, "reset");
        let cases = [
            (state, "tcp:connection_state_updated"),
            (
                Event::Held {
                    stream: 0,
                    by: HeldBy::Congestion,
                },
                "tcp:connection_held",
            ),
            (
                Event::WindowTuned {
                    stream: 0,
                    old: 1,
                    new: 2,
                    rtt: None,
                },
                "tcp:receive_window_tuned",
            ),
            (
                Event::Discarded {
                    stream: 0,
                    bytes: 2,
                    why: "closed",
                },
                "tcp:data_discarded",
            ),
            (
                Event::PacketLost(LostEvent {
                    kind: "segment",
                    number: 1449,
                    length: 1448,
                    path: 0,
                    trigger: Some("rack"),
                    is_mtu_probe: false,
                }),
                "tcp:segment_lost",
            ),
            (Event::Closed(&reason), "tcp:connection_closed"),
            (
                Event::Metrics(Metrics {
                    reordering_window: Some(Duration::from_millis(2)),
                    ..Metrics::default()
                }),
                "tcp:recovery_metrics_updated",
            ),
            (
                Event::MtuUpdated {
                    path: 0,
                    old: None,
                    new: 1400,
                },
                "tcp:mtu_updated",
            ),
        ];
        named(&cases);
    }

    #[test]
    fn what_is_below_connections_has_the_ip_names() {
        let dropped = Event::PacketDropped(DroppedEvent {
            kind: Some("TCP"),
            length: Some(40),
            trigger: "checksum",
            why: "wrong checksum",
            count: 3,
        });
        assert!(line(&dropped).contains(r#""name":"ip:packet_dropped","data":"#));
        let neighbor = NeighborEvent {
            interface: 1,
            address: [192, 0, 2, 9].into(),
            hardware: Some([2, 0, 0, 0, 0, 1]),
            old: None,
            new: "incomplete",
        };
        assert!(line(&Event::Neighbor(neighbor)).ends_with(
            r#""data":{"interface":1,"address":"192.0.2.9","hardware":"02:00:00:00:00:01","new":"incomplete"}}"#
        ));
        let address = AddressEvent {
            interface: 0,
            address: "fe80::1".parse().unwrap(),
            prefix_len: 64,
            state: "preferred",
        };
        assert!(line(&Event::Address(address)).contains(r#""name":"ip:address_updated""#));
        let mtu = Event::PathMtu {
            to: [192, 0, 2, 9].into(),
            old: 1500,
            new: 1400,
        };
        assert!(line(&mtu).ends_with(r#""data":{"remote":"192.0.2.9","old":1500,"new":1400}}"#));
    }
}
