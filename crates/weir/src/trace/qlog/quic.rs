//! What draft-ietf-quic-qlog-quic-events says in its own way.

use std::borrow::Cow;

use weir_core::close::{CloseReason, Initiator, Layer};
use weir_core::time::Instant;
use weir_core::trace::{Event, HeldBy};

use super::events::side;
use super::json::{close, field, millis, open, text};

/// The namespace.
pub(super) const FAMILY: &str = "quic";
/// The schema of the draft that these names are from.
pub(super) const SCHEMA: &str = "urn:ietf:params:qlog:events:quic-13";

/// Writes the event, unless it is one that is written in the same way for all protocols.
pub(super) fn write(out: &mut String, now: Instant, event: &Event<'_>) -> bool {
    match event {
        Event::Session { state, .. } => {
            open(out, now, FAMILY, "connection_state_updated");
            text(out, "new", connection_state(state));
        }
        Event::StreamState {
            stream,
            old,
            new,
            trigger,
            ..
        } => {
            open(out, now, FAMILY, "stream_state_updated");
            field(out, "stream_id", stream);
            // RFC 9000 section 2.1: the second bit tells how many ways data goes.
            let is_one_way = stream & 2 != 0;
            let kind = if is_one_way {
                "unidirectional"
            } else {
                "bidirectional"
            };
            text(out, "stream_type", kind);
            text(out, "old", old);
            text(out, "new", new);
            let is_sending = matches!(*old, "ready" | "send" | "data_sent" | "reset_sent");
            let side = if is_sending { "sending" } else { "receiving" };
            text(out, "stream_side", side);
            let is_local = matches!(*trigger, "data sent" | "end sent" | "reset" | "read");
            text(out, "trigger", if is_local { "local" } else { "remote" });
        }
        Event::Rtt {
            latest,
            smoothed,
            min,
        } => {
            open(out, now, FAMILY, "recovery_metrics_updated");
            field(out, "min_rtt", millis(*min));
            field(out, "smoothed_rtt", millis(*smoothed));
            field(out, "latest_rtt", millis(*latest));
        }
        Event::Held { stream, by } => {
            open(out, now, FAMILY, "stream_data_blocked_updated");
            let (new, reason) = blocked(*by);
            text(out, "new", new);
            field(out, "stream_id", stream);
            super::json::maybe_text(out, "reason", reason);
        }
        Event::Closed(reason) => {
            open(out, now, FAMILY, "connection_closed");
            write_closed(out, reason);
        }
        _ => return false,
    }
    close(out);
    true
}

/// The engine's states by their names in the draft ("connection_state_updated").
fn connection_state(state: &'static str) -> &'static str {
    match state {
        "handshaking" => "attempted",
        "established" => "handshake_complete",
        "confirmed" => "handshake_confirmed",
        "drained" => "closed",
        other => other,
    }
}

fn blocked(by: HeldBy) -> (&'static str, Option<&'static str>) {
    let reason = match by {
        HeldBy::Nothing => return ("unblocked", None),
        HeldBy::PeerWindow => "stream_flow_control",
        HeldBy::ConnectionWindow => "connection_flow_control",
        HeldBy::Congestion => "congestion_control",
        HeldBy::Pacing => "pacing",
        HeldBy::Application => "application",
        HeldBy::SessionBudget | HeldBy::Carrier => "scheduling",
        HeldBy::PeerReading => "stream_flow_control",
    };
    ("blocked", Some(reason))
}

fn write_closed(out: &mut String, reason: &CloseReason) {
    text(out, "initiator", side(reason.by));
    match reason.layer {
        Layer::Application => {
            text(out, "application_error", "unknown");
            field(out, "error_code", reason.code);
        }
        Layer::Carrier => field(out, "internal_code", reason.code),
        Layer::Transport | Layer::Security => {
            let code = match reason.layer {
                Layer::Security if reason.code < 0x100 => 0x100 | reason.code,
                _ => reason.code,
            };
            let name = transport_error(code);
            text(out, "connection_error", &name);
            if name == "unknown" {
                field(out, "error_code", code);
            }
        }
    }
    text(out, "reason", &reason.reason);
    text(out, "trigger", trigger(reason));
}

fn trigger(reason: &CloseReason) -> &'static str {
    match (reason.by, reason.layer) {
        (Initiator::Timer, _) => "idle_timeout",
        (_, Layer::Application) => "application",
        (Initiator::Carrier, _) => "aborted",
        (Initiator::Peer, Layer::Transport) if reason.reason.contains("stateless reset") => {
            "stateless_reset"
        }
        (_, Layer::Transport) if reason.code == VERSION_NEGOTIATION_ERROR => "version_mismatch",
        (_, Layer::Transport) if reason.code == 0 => "unspecified",
        _ => "error",
    }
}

/// RFC 9368 section 10.2.
const VERSION_NEGOTIATION_ERROR: u64 = 0x11;

/// The draft's names for the codes of RFC 9000 section 20.1, in their order.
const ERRORS: [&str; 17] = [
    "no_error",
    "internal_error",
    "connection_refused",
    "flow_control_error",
    "stream_limit_error",
    "stream_state_error",
    "final_size_error",
    "frame_encoding_error",
    "transport_parameter_error",
    "connection_id_limit_error",
    "protocol_violation",
    "invalid_token",
    "application_error",
    "crypto_buffer_exceeded",
    "key_update_error",
    "aead_limit_reached",
    "no_viable_path",
];

fn transport_error(code: u64) -> Cow<'static, str> {
    if (0x100..=0x1ff).contains(&code) {
        return Cow::Owned(format!("crypto_error_{code:#05x}"));
    }
    let known = usize::try_from(code).ok().and_then(|code| ERRORS.get(code));
    Cow::Borrowed(known.copied().unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_draft() {
        assert_eq!(transport_error(0xa), "protocol_violation");
        assert_eq!(transport_error(0x10), "no_viable_path");
        assert_eq!(transport_error(0x128), "crypto_error_0x128");
        assert_eq!(transport_error(0x11), "unknown");
        assert_eq!(transport_error(u64::MAX), "unknown");
    }
}
