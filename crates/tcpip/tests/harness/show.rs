//! State and news as words.

use weir_core::time::Duration;
use weir_tcpip::{Event, StackStats, TcpStats, Timer};

pub(super) fn timer(timer: Timer) -> &'static str {
    match timer {
        Timer::Internet => "internet",
        Timer::Connection => "connection",
    }
}

pub(super) fn event(event: &Event) -> String {
    match event {
        Event::TcpConnected(_) => "connected".to_owned(),
        Event::TcpReadable(_) => "readable".to_owned(),
        Event::TcpUrgent(_) => "urgent".to_owned(),
        Event::TcpWritable(_) => "writable".to_owned(),
        Event::TcpClosed(_, cause) => format!("closed {cause:?}"),
        Event::TcpAcceptable(_) => "acceptable".to_owned(),
        Event::TcpIncoming { .. } => "incoming".to_owned(),
        Event::TcpIncomingGone(_) => "incoming-gone".to_owned(),
        Event::UdpReadable(_) => "udp-readable".to_owned(),
        Event::UdpWritable(_) => "udp-writable".to_owned(),
        Event::UdpError(_) => "udp-error".to_owned(),
        Event::Address { state, .. } => format!("address {state:?}"),
    }
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// A field of a connection's statistics; times in milliseconds.
pub(super) fn tcp(stats: &TcpStats, field: &str) -> Result<String, String> {
    Ok(match field {
        "sack" => stats.sack.to_string(),
        "timestamps" => stats.timestamps.to_string(),
        "ecn" => stats.ecn.to_string(),
        "fast-open" => stats.fast_open.to_string(),
        "congestion" => stats.congestion.to_string(),
        "congestion-state" => stats.congestion_state.to_string(),
        "send-scale" => optional(stats.send_scale),
        "receive-scale" => optional(stats.receive_scale),
        "mss" => stats.mss.to_string(),
        "path-mtu" => stats.path_mtu.to_string(),
        "rto" => millis(stats.rto),
        "backoff" => stats.backoff.to_string(),
        "rtt" => optional(stats.rtt.map(millis)),
        "rttvar" => optional(stats.rtt_variance.map(millis)),
        "min-rtt" => optional(stats.min_rtt.map(millis)),
        "cwnd" => stats.congestion_window.to_string(),
        "ssthresh" => optional(stats.ssthresh),
        "in-flight" => stats.in_flight.to_string(),
        "send-window" => stats.send_window.to_string(),
        "receive-window" => stats.receive_window.to_string(),
        "receive-window-size" => stats.receive_window_size.to_string(),
        "send-buffer" => stats.send_buffer.to_string(),
        "unacknowledged" => stats.unacknowledged.to_string(),
        "unsent" => stats.unsent.to_string(),
        "unread" => stats.unread.to_string(),
        "out-of-order" => stats.out_of_order.to_string(),
        "bytes-acked" => stats.bytes_acked.to_string(),
        "bytes-received" => stats.bytes_received.to_string(),
        "retransmissions" => stats.retransmissions.to_string(),
        "lost" => stats.lost.to_string(),
        "reordering-window" => millis(stats.reordering_window),
        _ => return Err(format!("a connection has no {field:?}")),
    })
}

/// A field of the stack's statistics.
pub(super) fn stack(stats: &StackStats, field: &str) -> Result<String, String> {
    Ok(match field {
        "connections" => stats.connections.to_string(),
        "half-open" => stats.half_open.to_string(),
        "orphans" => stats.orphans.to_string(),
        "time-waits" => stats.time_waits.to_string(),
        "memory" => stats.memory.to_string(),
        _ => return Err(format!("a stack has no {field:?}")),
    })
}
