//! Events as every protocol reports them. Where the IETF's QUIC events have a name and fields for the
//! thing, these are used for every family.

use weir_core::close::{CloseReason, Initiator};
use weir_core::time::Instant;
use weir_core::trace::{
    Direction, DroppedEvent, Event, FrameEvent, KeyEvent, LostEvent, Metrics, PacketEvent,
    PathChange, PathEvent, TimerChange, TimerEvent,
};

use super::json::{
    close, comma, field, fields, list, maybe, maybe_text, millis, object, open, open_on, put,
    string, text,
};

/// How many frames of one packet are listed: a datagram full of one-byte frames must not become
/// twenty times its size on the disk.
pub(super) const MAX_FRAMES: usize = 256;

/// Writes an event with the names of its family.
pub(super) fn write(out: &mut String, now: Instant, family: &'static str, event: &Event<'_>) {
    match event {
        Event::Frame(frame) => write_frame(out, now, frame),
        Event::Packet(packet) => write_packet(out, now, packet),
        Event::PacketDropped(dropped) => write_dropped(out, now, family, dropped),
        Event::PacketLost(lost) => write_lost(out, now, family, lost),
        Event::Metrics(metrics) => write_metrics(out, now, family, metrics),
        Event::Timer(timer) => write_timer(out, now, family, timer),
        Event::Key(key) => write_key(out, now, family, key),
        Event::Path(path) => write_path(out, now, family, path),
        Event::Settings {
            name,
            by,
            fields: all,
        } => {
            open(out, now, family, name);
            maybe_text(out, "initiator", by.map(side));
            fields(out, all);
            close(out);
        }
        Event::CongestionState { path, old, new } => {
            write_change(
                out,
                now,
                (family, "congestion_state_updated", *path),
                *old,
                new,
            );
        }
        Event::EcnState { path, old, new } => {
            write_change(out, now, (family, "ecn_state_updated", *path), *old, new);
        }
        Event::MtuUpdated { path, old, new } => {
            open_on(out, now, family, "mtu_updated", *path);
            maybe(out, "old", *old);
            field(out, "new", new);
            close(out);
        }
        Event::Closed(reason) => {
            open(out, now, family, "session_closed");
            write_reason(out, reason);
            close(out);
        }
        _ => write_stream_or_session(out, now, family, event),
    }
}

fn write_stream_or_session(
    out: &mut String,
    now: Instant,
    family: &'static str,
    event: &Event<'_>,
) {
    match event {
        Event::Session { role, state } => {
            open(out, now, family, "session_state_updated");
            text(out, "role", role);
            text(out, "new", state);
        }
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
        other => return write_own(out, now, super::own_namespace(family), other),
    }
    close(out);
}

/// What has a place in no other schema.
fn write_own(out: &mut String, now: Instant, namespace: &'static str, event: &Event<'_>) {
    match event {
        Event::WindowTuned {
            stream,
            old,
            new,
            rtt,
        } => {
            open(out, now, namespace, "receive_window_tuned");
            field(out, "stream_id", stream);
            field(out, "old", old);
            field(out, "new", new);
            maybe(out, "rtt", rtt.map(millis));
        }
        Event::Discarded { stream, bytes, why } => {
            open(out, now, namespace, "data_discarded");
            field(out, "stream_id", stream);
            field(out, "length", bytes);
            text(out, "trigger", why);
        }
        Event::RateLimited { what, count } => {
            open(out, now, namespace, "rate_limited");
            text(out, "what", what);
            field(out, "count", count);
        }
        // The others have been written.
        _ => open(out, now, namespace, "unnamed"),
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
    comma(out);
    out.push_str(r#""flags":"#);
    list(out, frame.flags.names().iter(), |out, flag| {
        string(out, flag)
    });
    field(out, "length", frame.length);
    maybe(out, "send_window", frame.send_window);
    maybe(out, "receive_window", frame.recv_window);
    close(out);
}

fn write_packet(out: &mut String, now: Instant, packet: &PacketEvent<'_>) {
    let name = match packet.direction {
        Direction::Sent => "packet_sent",
        Direction::Received => "packet_received",
    };
    open_on(out, now, packet.family, name, packet.path);
    object(out, "header", |out| {
        text(out, "packet_type", packet.kind);
        maybe(out, "packet_number", packet.number);
        fields(out, packet.header);
    });
    comma(out);
    out.push_str(r#""frames":["#);
    let mut count = 0_usize;
    packet.frames.each(&mut |frame| {
        count = count.saturating_add(1);
        if count > MAX_FRAMES {
            return;
        }
        comma(out);
        out.push('{');
        text(out, "frame_type", frame.kind);
        fields(out, frame.fields);
        out.push('}');
    });
    out.push(']');
    if count > MAX_FRAMES {
        field(out, "frames_omitted", count.saturating_sub(MAX_FRAMES));
    }
    object(out, "raw", |out| field(out, "length", packet.length));
    if packet.is_mtu_probe {
        field(out, "is_mtu_probe_packet", true);
    }
    maybe_text(out, "ecn", packet.ecn);
    maybe_text(out, "trigger", packet.trigger);
    close(out);
}

fn write_dropped(out: &mut String, now: Instant, family: &str, dropped: &DroppedEvent) {
    open(out, now, family, "packet_dropped");
    if let Some(kind) = dropped.kind {
        object(out, "header", |out| text(out, "packet_type", kind));
    }
    if let Some(length) = dropped.length {
        object(out, "raw", |out| field(out, "length", length));
    }
    object(out, "details", |out| {
        text(out, "reason", dropped.why);
        field(out, "count", dropped.count);
    });
    text(out, "trigger", dropped.trigger);
    close(out);
}

fn write_lost(out: &mut String, now: Instant, family: &str, lost: &LostEvent) {
    open_on(out, now, family, "packet_lost", lost.path);
    object(out, "header", |out| {
        text(out, "packet_type", lost.kind);
        field(out, "packet_number", lost.number);
    });
    if lost.is_mtu_probe {
        field(out, "is_mtu_probe_packet", true);
    }
    maybe_text(out, "trigger", lost.trigger);
    close(out);
}

fn write_metrics(out: &mut String, now: Instant, family: &str, metrics: &Metrics) {
    open_on(out, now, family, "recovery_metrics_updated", metrics.path);
    maybe(out, "min_rtt", metrics.min_rtt.map(millis));
    maybe(out, "smoothed_rtt", metrics.smoothed_rtt.map(millis));
    maybe(out, "latest_rtt", metrics.latest_rtt.map(millis));
    maybe(out, "rtt_variance", metrics.rtt_variance.map(millis));
    maybe(out, "pto_count", metrics.pto_count);
    maybe(out, "congestion_window", metrics.congestion_window);
    maybe(out, "bytes_in_flight", metrics.bytes_in_flight);
    maybe(out, "ssthresh", metrics.ssthresh);
    maybe(out, "pacing_rate", metrics.pacing_rate);
    let timeout = metrics.retransmission_timeout.map(millis);
    maybe(out, "retransmission_timeout", timeout);
    let window = metrics.reordering_window.map(millis);
    maybe(out, "reordering_window", window);
    maybe(out, "send_window", metrics.send_window);
    close(out);
}

/// A state and the one before it; `what` is family, name and path.
fn write_change(
    out: &mut String,
    now: Instant,
    what: (&str, &str, u64),
    old: Option<&str>,
    new: &str,
) {
    let (family, name, path) = what;
    open_on(out, now, family, name, path);
    maybe_text(out, "old", old);
    text(out, "new", new);
    close(out);
}

fn write_timer(out: &mut String, now: Instant, family: &str, timer: &TimerEvent) {
    open(out, now, family, "timer_updated");
    text(out, "timer_type", timer.kind);
    maybe_text(out, "packet_number_space", timer.space);
    let (change, delta) = match timer.change {
        TimerChange::Set(delta) => ("set", Some(delta)),
        TimerChange::Expired => ("expired", None),
        TimerChange::Cancelled => ("cancelled", None),
    };
    text(out, "event_type", change);
    maybe(out, "delta", delta.map(millis));
    close(out);
}

fn write_key(out: &mut String, now: Instant, family: &str, key: &KeyEvent) {
    let name = match key.discarded {
        true => "key_discarded",
        false => "key_updated",
    };
    open(out, now, family, name);
    text(out, "key_type", key.kind);
    maybe(out, "key_phase", key.phase);
    text(out, "trigger", key.trigger);
    close(out);
}

fn write_path(out: &mut String, now: Instant, family: &str, event: &PathEvent) {
    match event.change {
        PathChange::Started => {
            open(out, now, family, "connection_started");
            object(out, "local", |out| local_end(out, event));
            object(out, "remote", |out| remote_end(out, event));
        }
        PathChange::Assigned | PathChange::Abandoned => {
            open(out, now, family, "tuple_assigned");
            text(out, "tuple_id", &tuple(event.path));
            if event.change == PathChange::Assigned {
                object(out, "tuple_remote", |out| remote_end(out, event));
                object(out, "tuple_local", |out| local_end(out, event));
            }
        }
        change => {
            open(out, now, family, "migration_state_updated");
            text(out, "new", change.as_str());
            text(out, "tuple_id", &tuple(event.path));
            object(out, "tuple_remote", |out| remote_end(out, event));
            object(out, "tuple_local", |out| local_end(out, event));
        }
    }
    close(out);
}

/// A path's tuple ID: the first path is the default one.
fn tuple(path: u64) -> String {
    match path {
        0 => String::new(),
        path => path.to_string(),
    }
}

fn local_end(out: &mut String, event: &PathEvent) {
    if let Some(ip) = event.local {
        address(out, ip, None);
    }
}

fn remote_end(out: &mut String, event: &PathEvent) {
    if let Some(remote) = event.remote {
        address(out, remote.ip(), Some(remote.port()));
    }
}

fn address(out: &mut String, ip: std::net::IpAddr, port: Option<u16>) {
    let version = if ip.is_ipv4() { "v4" } else { "v6" };
    comma(out);
    put(out, format_args!(r#""ip_{version}":"{ip}""#));
    if let Some(port) = port {
        put(out, format_args!(r#","port_{version}":{port}"#));
    }
}

pub(super) fn write_reason(out: &mut String, reason: &CloseReason) {
    text(out, "initiator", reason.by.as_str());
    text(out, "layer", reason.layer.as_str());
    field(out, "code", reason.code);
    if let Some(frame) = &reason.frame {
        text(out, "frame_type", &frame.to_string());
    }
    text(out, "reason", &reason.reason);
}

/// Whose doing it is, in qlog's words.
pub(super) fn side(by: Initiator) -> &'static str {
    match by {
        Initiator::Peer => "remote",
        _ => "local",
    }
}
