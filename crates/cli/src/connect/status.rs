//! `weir connect --status`: what the running tunnels do, and what holds each stream back.

use crate::out::{Failure, Outcome, Table, json_line, say, show};
use crate::units;
use std::time::Duration;
use weir::Target;
use weir::tunnel::{self, DeviceStatus, PathStatus, Status, StreamStatus, TunnelState};

/// Shows all tunnels of this user, or those to one peer.
pub(super) async fn run(peer: Option<&Target>, json: bool) -> Outcome {
    let mut tunnels = tunnel::running()
        .await
        .map_err(|error| Failure::failed(format!("running tunnels cannot be asked: {error}")))?;
    if let Some(peer) = peer {
        let wanted = peer.to_string();
        tunnels.retain(|tunnel| tunnel.peer == wanted);
    }
    if tunnels.is_empty() {
        let what = match peer {
            Some(peer) => format!("no tunnel of this user to {peer} runs on this machine"),
            None => "no tunnel of this user runs on this machine".to_owned(),
        };
        if json {
            return Ok(());
        }
        say(what);
        return Ok(());
    }
    for tunnel in &tunnels {
        if json {
            json_line(tunnel);
        } else {
            show(in_words(tunnel));
        }
    }
    Ok(())
}

fn in_words(tunnel: &Status) -> String {
    let mut lines = vec![headline(tunnel)];
    if let Some(connection) = &tunnel.connection {
        let rtt = connection.rtt_ms.map_or_else(
            || "not measured yet".to_owned(),
            |ms| units::time(Duration::from_secs_f64(ms.max(0.0) / 1e3)),
        );
        lines.push(format!(
            "  via {} to {}, round trip {rtt}, sent {}, received {}, holds {} of {}",
            connection.via,
            connection.remote,
            units::bytes(connection.sent),
            units::bytes(connection.received),
            units::bytes(connection.memory_used),
            units::bytes(connection.memory_limit),
        ));
        if let Some(why) = &connection.why {
            lines.push(format!("  {why}"));
        }
        lines.extend(connection.path.as_ref().map(path));
        if connection.unknown_datagrams > 0 {
            let unknown = connection.unknown_datagrams;
            lines.push(format!(
                "  {unknown} datagrams belonged to no flow and were dropped"
            ));
        }
    }
    for forward in &tunnel.forwards {
        let bind = forward.bind.as_deref().unwrap_or("(not listening)");
        let to = forward
            .to
            .as_deref()
            .map(|to| format!(" -> {to}"))
            .unwrap_or_default();
        let transport = forward.transport.prefix();
        lines.push(format!("  {} {transport}{bind}{to}", forward.kind.option()));
    }
    if !tunnel.streams.is_empty() {
        lines.push(streams(tunnel));
    }
    if tunnel.omitted > 0 {
        lines.push(format!("  and {} more streams", tunnel.omitted));
    }
    for device in &tunnel.devices {
        lines.push(device_in_words(device));
    }
    lines.join("\n")
}

/// What the network does, where the way manages it itself.
fn path(path: &PathStatus) -> String {
    let mut line = format!(
        "  path: {} of a window of {} on their way ({}, {}), datagrams of {} B, {} of {} lost",
        units::bytes(path.in_flight),
        units::bytes(path.congestion_window),
        path.congestion,
        path.congestion_state.replace('_', " "),
        path.datagram_size,
        path.packets_lost,
        path.datagrams_sent,
    );
    if path.migrations > 0 {
        line.push_str(&format!(", moved {} times", path.migrations));
    }
    line
}

fn headline(tunnel: &Status) -> String {
    let state = match tunnel.state {
        TunnelState::Connected => "connected",
        TunnelState::Connecting => "dialling",
        TunnelState::Draining => "finishing what runs",
        _ => "running",
    };
    let up = units::time(Duration::from_secs_f64(tunnel.uptime_secs.max(0.0)));
    let mut line = format!("{} (process {}): {state}, up {up}", tunnel.peer, tunnel.pid);
    if tunnel.reconnects > 0 {
        line.push_str(&format!(", dialled again {} times", tunnel.reconnects));
    }
    if let Some(reason) = &tunnel.last_end {
        line.push_str(&format!("\n  the last connection ended: {reason}"));
    }
    line
}

/// The near end of an interface: what its stack holds, and each connection of the machine's with it.
fn device_in_words(device: &DeviceStatus) -> String {
    let mut line = format!(
        "  {}: {} connections, {} ask the peer, {} ended lately, holds {}",
        device.name,
        device.tcp.len(),
        device.asking,
        device.time_wait,
        units::bytes(device.memory),
    );
    for (count, what) in [
        (device.retransmissions, "segments sent again"),
        (device.discarded, "packets found no room"),
        (device.datagrams_dropped, "datagrams came too fast"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if device.tcp.is_empty() {
        return line;
    }
    let mut table = Table::new(&[
        "  of the machine",
        "to",
        "state",
        "round trip",
        "on its way, of",
        "to send",
        "to carry",
        "stands still by",
    ]);
    for tcp in &device.tcp {
        let rtt = tcp.rtt_ms.map_or_else(
            || "-".to_owned(),
            |ms| units::time(Duration::from_secs_f64(ms.max(0.0) / 1e3)),
        );
        let most = tcp.congestion_window.min(tcp.send_window);
        table.row([
            format!("  {}", tcp.from),
            tcp.to.clone(),
            tcp.state.clone(),
            rtt,
            format!("{}, {}", units::bytes(tcp.in_flight), units::bytes(most)),
            units::bytes(tcp.unsent),
            units::bytes(tcp.unread),
            tcp.stands_still().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if device.omitted > 0 {
        return format!("{line}\n{table}\n  and {} more", device.omitted);
    }
    format!("{line}\n{table}")
}

/// Bytes, and of a UDP flow the datagrams that they came in.
fn amount(bytes: u64, datagrams: Option<u64>) -> String {
    match datagrams {
        Some(datagrams) => format!("{} in {datagrams}", units::bytes(bytes)),
        None => units::bytes(bytes),
    }
}

/// What a stream waits for; of a UDP flow, which waits for nothing, also what it lost by that.
fn held_by(stream: &StreamStatus) -> String {
    let held = stream.held_by();
    match stream.datagrams {
        Some(counts) if counts.dropped > 0 => format!("{held}; {} dropped", counts.dropped),
        _ => held,
    }
}

fn streams(tunnel: &Status) -> String {
    let mut table = Table::new(&[
        "  stream",
        "from",
        "to",
        "age",
        "sent",
        "received",
        "held back by",
    ]);
    for stream in &tunnel.streams {
        let number = stream
            .stream
            .map_or_else(|| "-".to_owned(), |number| number.to_string());
        table.row([
            format!("  {number}"),
            stream.from.clone(),
            format!("{}{}", stream.transport.prefix(), stream.to),
            units::time(Duration::from_secs_f64(stream.age_secs.max(0.0))),
            amount(stream.sent, stream.datagrams.map(|counts| counts.sent)),
            amount(
                stream.received,
                stream.datagrams.map(|counts| counts.received),
            ),
            held_by(stream),
        ]);
    }
    table.to_string()
}
