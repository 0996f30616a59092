//! The lines of a TCP/IP stack, whose connections report to one sink.

use std::fmt::{self, Display as _};

use weir_core::trace::{
    AddressEvent, Event, Field, Flow, NeighborEvent, PacketEvent, SegmentEvent,
};

use super::{EventLine, arrow, fmt_fields};

/// An event of one connection: its ends in front, and no stream number behind, for it has none.
pub(super) fn fmt_in(f: &mut fmt::Formatter<'_>, flow: &Flow, event: &Event<'_>) -> fmt::Result {
    write!(f, "{flow} ")?;
    match event {
        Event::StreamState {
            old, new, trigger, ..
        } => write!(f, "{old} -> {new} ({trigger})"),
        Event::WindowTuned { old, new, .. } => write!(f, "receive window {old} -> {new}"),
        Event::Held { by, .. } => write!(f, "is held back by: {by}"),
        Event::Discarded { bytes, why, .. } => write!(f, "{bytes} bytes thrown away ({why})"),
        // Events nest one level deep; a second one would only repeat the ends.
        other => EventLine(other).fmt(f),
    }
}

/// `-> TCP SYN,ACK seq 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 7> SYN-RECEIVED`
pub(super) fn fmt_segment(f: &mut fmt::Formatter<'_>, segment: &SegmentEvent<'_>) -> fmt::Result {
    write!(f, "{} {segment}", arrow(segment.direction))
}

/// A packet of the internet layer: `<- ICMP (84 B): type echo_request, from 192.0.2.1`.
pub(super) fn fmt_ip_packet(f: &mut fmt::Formatter<'_>, packet: &PacketEvent<'_>) -> fmt::Result {
    let (arrow, kind, length) = (arrow(packet.direction), packet.kind, packet.length);
    write!(f, "{arrow} {kind} ({length} B)")?;
    fmt_fields(f, packet.header)
}

pub(super) fn fmt_neighbor(f: &mut fmt::Formatter<'_>, event: &NeighborEvent) -> fmt::Result {
    write!(f, "neighbour {}", event.address)?;
    if let Some([a, b, c, d, e, g]) = event.hardware {
        write!(f, " at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
    }
    f.write_str(": ")?;
    super::fmt_step(f, event.old, event.new)
}

pub(super) fn fmt_address(f: &mut fmt::Formatter<'_>, event: &AddressEvent) -> fmt::Result {
    let (address, prefix, state) = (event.address, event.prefix_len, event.state);
    write!(f, "address {address}/{prefix} is {state}")
}

/// True when the packet's header fields say what it is, rather than its frames.
pub(super) fn is_ip(packet: &PacketEvent<'_>) -> bool {
    packet.family == "ip" && !<[Field<'_>]>::is_empty(packet.header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::trace::{
        Direction, DroppedEvent, FlagList, HeldBy, Metrics, SegmentOptions, Value,
    };

    fn line(event: &Event<'_>) -> String {
        EventLine(event).to_string()
    }

    fn flow() -> Flow {
        Flow {
            local: ([192, 0, 2, 1], 80).into(),
            remote: ([192, 0, 2, 2], 4000).into(),
        }
    }

    #[test]
    fn a_segment_is_a_line() {
        let segment = SegmentEvent {
            direction: Direction::Sent,
            flags: FlagList::new(&["SYN", "ACK"]),
            seq: 0,
            ack: Some(1),
            window: 65_535,
            length: 0,
            segments: 1,
            options: SegmentOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some((1, 0)),
                ..SegmentOptions::default()
            },
            ecn: None,
            state: "SYN-RECEIVED",
            trigger: None,
        };
        let event = Event::Segment(segment);
        let words = "-> TCP SYN,ACK seq 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 7> SYN-RECEIVED";
        assert_eq!(line(&event), words);
        let flow = flow();
        let inside = Event::In {
            flow,
            event: &event,
        };
        assert_eq!(
            line(&inside),
            format!("192.0.2.1:80-192.0.2.2:4000 {words}")
        );
    }

    #[test]
    fn events_of_a_connection_have_its_ends_in_front() {
        let state = Event::StreamState {
            family: "tcp",
            stream: 0,
            old: "SYN-SENT",
            new: "ESTABLISHED",
            trigger: "SYN,ACK received",
        };
        let held = Event::Held {
            stream: 0,
            by: HeldBy::PeerWindow,
        };
        let metrics = Event::Metrics(Metrics {
            reordering_window: Some(std::time::Duration::from_millis(5)),
            send_window: Some(9000),
            ..Metrics::default()
        });
        let cases = [
            (&state, "SYN-SENT -> ESTABLISHED (SYN,ACK received)"),
            (&held, "is held back by: peer's window"),
            (&metrics, "peer's window 9000, reordering window 5.0ms"),
        ];
        for (event, words) in cases {
            let flow = flow();
            let inside = Event::In { flow, event };
            assert_eq!(
                line(&inside),
                format!("192.0.2.1:80-192.0.2.2:4000 {words}")
            );
        }
    }

    #[test]
    fn the_internet_layer_speaks_too() {
        let neighbor = Event::Neighbor(NeighborEvent {
            interface: 0,
            address: [192, 0, 2, 9].into(),
            hardware: Some([2, 0, 0, 0, 0, 1]),
            old: Some("incomplete"),
            new: "reachable",
        });
        assert_eq!(
            line(&neighbor),
            "neighbour 192.0.2.9 at 02:00:00:00:00:01: incomplete -> reachable"
        );
        let address = Event::Address(AddressEvent {
            interface: 0,
            address: "fe80::1".parse().unwrap(),
            prefix_len: 64,
            state: "tentative",
        });
        assert_eq!(line(&address), "address fe80::1/64 is tentative");
        let mtu = Event::PathMtu {
            to: [192, 0, 2, 9].into(),
            old: 1500,
            new: 1400,
        };
        assert_eq!(line(&mtu), "packets to 192.0.2.9: 1500 -> 1400 B");
        let dropped = Event::PacketDropped(DroppedEvent {
            kind: Some("IPv4"),
            length: Some(60),
            trigger: "checksum",
            why: "wrong header checksum",
            count: 2,
        });
        assert_eq!(
            line(&dropped),
            "<- IPv4 packet thrown away (60 B): wrong header checksum; 2 so far"
        );
        let header = [Field::new("type", Value::Str("echo_request"))];
        let packet = Event::Packet(PacketEvent {
            direction: Direction::Received,
            family: "ip",
            kind: "ICMP",
            number: None,
            length: 84,
            path: 0,
            ecn: None,
            trigger: None,
            is_mtu_probe: false,
            header: &header,
            frames: &Vec::new(),
        });
        assert_eq!(line(&packet), "<- ICMP (84 B): type echo_request");
    }
}
