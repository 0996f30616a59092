//! Records against the CDDL of draft-ietf-quic-qlog-quic-events: names, types, what must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::Value as Json;

/// The draft's definitions, one a line: `name: field=type field?=type ..`, where `?` marks what may be
/// missing. A type is `u64`, `f`, `bool`, `text`, `hex`, words joined by `|`, another definition's name,
/// or `[type]`.
const SCHEMA: &str = "
quic:connection_started: local=Endpoint remote=Endpoint
quic:connection_closed: initiator?=local|remote connection_error?=text application_error?=unknown error_code?=u64 internal_code?=u64 reason?=text trigger?=idle_timeout|application|error|version_mismatch|stateless_reset|aborted|unspecified
quic:connection_state_updated: old?=text new=text
quic:tuple_assigned: tuple_id=text tuple_remote?=Endpoint tuple_local?=Endpoint
quic:mtu_updated: old?=u64 new=u64 done?=bool
quic:version_information: server_versions?=[hex] client_versions?=[hex] chosen_version?=hex
quic:alpn_information: server_alpns?=[Alpn] client_alpns?=[Alpn] chosen_alpn?=Alpn
quic:parameters_set: initiator?=local|remote resumption_allowed?=bool early_data_enabled?=bool tls_cipher?=text original_destination_connection_id?=hex initial_source_connection_id?=hex retry_source_connection_id?=hex stateless_reset_token?=hex disable_active_migration?=bool max_idle_timeout?=u64 max_udp_payload_size?=u64 ack_delay_exponent?=u64 max_ack_delay?=u64 active_connection_id_limit?=u64 initial_max_data?=u64 initial_max_stream_data_bidi_local?=u64 initial_max_stream_data_bidi_remote?=u64 initial_max_stream_data_uni?=u64 initial_max_streams_bidi?=u64 initial_max_streams_uni?=u64 preferred_address?=Preferred max_datagram_frame_size?=u64 grease_quic_bit?=bool min_ack_delay?=f
quic:recovery_parameters_set: reordering_threshold?=u64 time_threshold?=f timer_granularity=u64 initial_rtt?=f max_datagram_size?=u64 initial_congestion_window?=u64 minimum_congestion_window?=u64 persistent_congestion_threshold?=u64
quic:packet_sent: header=Header frames?=[Frame] raw?=Raw is_mtu_probe_packet?=bool trigger?=retransmit_reordered|retransmit_timeout|pto_probe|retransmit_crypto|cc_bandwidth_probe ecn?=text frames_omitted?=u64
quic:packet_received: header=Header frames?=[Frame] raw?=Raw trigger?=keys_available ecn?=text frames_omitted?=u64
quic:packet_dropped: header?=DroppedHeader raw?=Raw details?=Details trigger?=internal_error|rejected|unsupported|invalid|duplicate|connection_unknown|decryption_failure|key_unavailable|general
quic:packet_lost: header?=Header is_mtu_probe_packet?=bool trigger?=reordering_threshold|time_threshold|pto_expired
quic:stream_state_updated: stream_id=u64 stream_type?=unidirectional|bidirectional old?=StreamState new=StreamState stream_side=sending|receiving trigger?=local|remote
quic:stream_data_blocked_updated: old?=blocked|unblocked new=blocked|unblocked stream_id=u64 reason?=text
quic:migration_state_updated: old?=text new=probing_started|probing_abandoned|probing_successful|migration_started|migration_abandoned|migration_complete tuple_id?=text tuple_remote?=Endpoint tuple_local?=Endpoint
quic:timer_updated: timer_type?=text timer_id?=u64 packet_number_space?=initial|handshake|application_data event_type=set|expired|cancelled delta?=f
quic:key_updated: key_type=KeyType key_phase?=u64 trigger?=tls|remote_update|local_update
quic:key_discarded: key_type=KeyType key_phase?=u64 trigger?=tls|remote_update|local_update
quic:recovery_metrics_updated: min_rtt?=f smoothed_rtt?=f latest_rtt?=f rtt_variance?=f pto_count?=u64 congestion_window?=u64 bytes_in_flight?=u64 ssthresh?=u64 packets_in_flight?=u64 pacing_rate?=u64
quic:congestion_state_updated: old?=text new=text trigger?=text
quic:ecn_state_updated: old?=testing|unknown|failed|capable new=testing|unknown|failed|capable
weir:receive_window_tuned: stream_id=u64 old=u64 new=u64 rtt?=f
weir:data_discarded: stream_id=u64 length=u64 trigger=text
weir:rate_limited: what=text count=u64
weir:events_dropped: count=u64
Endpoint: ip_v4?=text port_v4?=u64 ip_v6?=text port_v6?=u64 connection_ids?=[hex]
Alpn: byte_value?=hex string_value?=text
Preferred: ip_v4?=text port_v4?=u64 ip_v6?=text port_v6?=u64 connection_id=hex stateless_reset_token=hex
Raw: length?=u64 payload_length?=u64 data?=hex
Details: reason=text count=u64
DroppedHeader: packet_type=PacketType
Header: packet_type=PacketType packet_number?=u64 packet_number_length?=u64 spin_bit?=bool key_phase?=u64 key_phase_bit?=bool token?=Token length?=u64 version?=hex scil?=u64 dcil?=u64 scid?=hex dcid?=hex
Token: type?=retry|resumption raw?=Raw
PacketType: =initial|handshake|0RTT|1RTT|retry|version_negotiation|stateless_reset|unknown
KeyType: =server_initial_secret|client_initial_secret|server_handshake_secret|client_handshake_secret|server_0rtt_secret|client_0rtt_secret|server_1rtt_secret|client_1rtt_secret
StreamState: =idle|open|closed|half_closed_local|half_closed_remote|ready|send|data_sent|reset_sent|reset_received|receive|size_known|data_read|reset_read|data_received|destroyed
Frame.padding: raw?=Raw
Frame.ping: raw?=Raw
Frame.ack: ack_delay?=f acked_ranges?=[Range] ect1?=u64 ect0?=u64 ce?=u64 raw?=Raw acked_ranges_omitted?=u64
Frame.reset_stream: stream_id=u64 error=unknown error_code?=u64 final_size=u64
Frame.stop_sending: stream_id=u64 error=unknown error_code?=u64
Frame.crypto: offset=u64 raw=Raw
Frame.new_token: token=Token raw?=Raw
Frame.stream: stream_id=u64 offset?=u64 fin?=bool raw?=Raw
Frame.max_data: maximum=u64
Frame.max_stream_data: stream_id=u64 maximum=u64
Frame.max_streams: stream_type=unidirectional|bidirectional maximum=u64
Frame.data_blocked: limit=u64
Frame.stream_data_blocked: stream_id=u64 limit=u64
Frame.streams_blocked: stream_type=unidirectional|bidirectional limit=u64
Frame.new_connection_id: sequence_number=u64 retire_prior_to=u64 connection_id_length?=u64 connection_id=hex stateless_reset_token?=hex
Frame.retire_connection_id: sequence_number=u64
Frame.path_challenge: data?=hex
Frame.path_response: data?=hex
Frame.connection_close: error_space?=transport|application error?=text error_code?=u64 reason?=text reason_bytes?=hex trigger_frame_type?=u64
Frame.handshake_done: raw?=Raw
Frame.unknown: frame_type_bytes=u64 raw?=Raw
Frame.datagram: raw?=Raw
Frame.ack_frequency: sequence_number=u64 ack_eliciting_threshold=u64 requested_max_ack_delay=f reordering_threshold=u64
Frame.immediate_ack: raw?=Raw
";

fn definition(name: &str) -> &'static str {
    let found = SCHEMA
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("the schema has no {name}"))
}

fn check_object(json: &Json, name: &str, extra: &[&str]) {
    let object = json.as_object().unwrap_or_else(|| panic!("{name}: {json}"));
    let mut known: Vec<&str> = extra.to_vec();
    for part in definition(name).split(' ') {
        let (field, kind) = part.split_once('=').unwrap();
        let (field, optional) = match field.strip_suffix('?') {
            Some(field) => (field, true),
            None => (field, false),
        };
        known.push(field);
        match object.get(field) {
            Some(value) => check(value, kind, &format!("{name}.{field}")),
            None => assert!(optional, "{name} has no {field}: {json}"),
        }
    }
    for field in object.keys() {
        assert!(
            known.contains(&field.as_str()),
            "{name} has {field}: {json}"
        );
    }
}

fn check(value: &Json, kind: &str, place: &str) {
    let right = match kind {
        "u64" => value.is_u64(),
        "f" => value.is_number(),
        "bool" => value.is_boolean(),
        "text" => value.is_string(),
        "hex" => value.as_str().is_some_and(|text| {
            text.len() % 2 == 0 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        }),
        "Range" => {
            let range = value.as_array().unwrap();
            let numbers: Vec<u64> = range.iter().map(|n| n.as_u64().unwrap()).collect();
            matches!(numbers[..], [_]) || matches!(numbers[..], [low, high] if low < high)
        }
        "Frame" => {
            let frame = value["frame_type"].as_str().unwrap();
            check_object(value, &format!("Frame.{frame}"), &["frame_type"]);
            true
        }
        kind => match kind.strip_prefix('[') {
            Some(inner) => {
                let inner = inner.strip_suffix(']').unwrap();
                let items = value.as_array().unwrap();
                items.iter().for_each(|item| check(item, inner, place));
                true
            }
            None if kind.starts_with(char::is_uppercase) => {
                match definition(kind).strip_prefix('=') {
                    Some(words) => words.split('|').any(|word| value == word),
                    None => {
                        check_object(value, kind, &[]);
                        true
                    }
                }
            }
            None => kind.split('|').any(|word| value == word),
        },
    };
    assert!(right, "{place} is not {kind}: {value}");
}

/// Checks one record of a file behind its head, and gives it back.
pub(in crate::trace) fn check_record(record: &str) -> Json {
    let json: Json = serde_json::from_str(record).unwrap_or_else(|e| panic!("{e}: {record}"));
    assert!(json["time"].is_number(), "{record}");
    let name = json["name"].as_str().unwrap();
    check_object(&json["data"], name, &[]);
    for field in json.as_object().unwrap().keys() {
        let known = ["time", "name", "data", "tuple"];
        assert!(known.contains(&field.as_str()), "{record}");
    }
    json
}

mod records {
    use std::time::Duration;

    use weir_core::close::{CloseReason, Initiator, Layer};
    use weir_core::time::Instant;
    use weir_core::trace::{
        Direction, DroppedEvent, Event, Field, FrameInfo, HeldBy, KeyEvent, LostEvent, Metrics,
        PacketEvent, PathChange, PathEvent, TimerChange, TimerEvent, Value,
    };

    use super::super::{events::MAX_FRAMES, write_event};
    use super::{Json, check_record};

    fn check(event: &Event<'_>) -> Json {
        let mut out = String::new();
        write_event(&mut out, Instant::from_millis(5), "quic", event);
        check_record(&out)
    }

    const HEADER: &[Field<'static>] = &[Field::new("key_phase", Value::U64(1))];

    fn packet<'a>(frames: &'a Vec<FrameInfo<'a>>) -> PacketEvent<'a> {
        PacketEvent {
            direction: Direction::Sent,
            family: "quic",
            kind: "1RTT",
            number: Some(u64::MAX),
            length: 1200,
            path: 3,
            ecn: Some("CE"),
            trigger: Some("pto_probe"),
            is_mtu_probe: true,
            header: HEADER,
            frames,
        }
    }

    const PING: FrameInfo<'static> = FrameInfo {
        kind: "ping",
        words: &"PING",
        fields: &[],
    };

    // Q177
    #[test]
    fn a_packet_has_header_frames_and_size() {
        let raw = [Field::new("length", Value::U64(7))];
        let stream = FrameInfo {
            kind: "stream",
            words: &"",
            fields: &[
                Field::new("stream_id", Value::U64(4)),
                Field::new("offset", Value::U64(0)),
                Field::new("fin", Value::Bool(true)),
                Field::new("raw", Value::Object(&raw)),
            ],
        };
        let ack = FrameInfo {
            kind: "ack",
            words: &"",
            fields: &[
                Field::new("ack_delay", Value::Time(Duration::from_micros(41))),
                Field::new("acked_ranges", Value::Ranges(&[(7, 9), (1, 1)])),
            ],
        };
        let json = check(&Event::Packet(packet(&vec![ack, stream, PING])));
        assert_eq!(json["name"], "quic:packet_sent");
        assert_eq!(json["tuple"], "3");
        let data = &json["data"];
        assert_eq!(data["header"]["packet_type"], "1RTT");
        assert_eq!(data["header"]["packet_number"], u64::MAX);
        assert_eq!(data["raw"]["length"], 1200);
        let expected = serde_json::json!([
            {"frame_type": "ack", "ack_delay": 0.041, "acked_ranges": [[7, 9], [1]]},
            {"frame_type": "stream", "stream_id": 4, "offset": 0, "fin": true, "raw": {"length": 7}},
            {"frame_type": "ping"},
        ]);
        assert_eq!(data["frames"], expected);
    }

    // C10: a datagram of one-byte frames does not become twenty times its size on the disk.
    #[test]
    fn a_packet_of_a_thousand_frames_is_cut_short() {
        let frames = vec![PING; 1400];
        let json = check(&Event::Packet(packet(&frames)));
        assert_eq!(json["data"]["frames"].as_array().unwrap().len(), MAX_FRAMES);
        assert_eq!(json["data"]["frames_omitted"], 1400 - MAX_FRAMES);
    }

    // C10: a peer's words and numbers stay inside their strings, whatever they are.
    #[test]
    fn hostile_close_reasons_stay_inside_their_record() {
        let words = "\u{1e}\"},{\u{0}\u{2028}\\u0000\n".repeat(100);
        let layers = [
            Layer::Carrier,
            Layer::Security,
            Layer::Transport,
            Layer::Application,
        ];
        let initiators = [
            Initiator::Local,
            Initiator::Peer,
            Initiator::Carrier,
            Initiator::Timer,
        ];
        for layer in layers {
            for by in initiators {
                for code in [0, 0x0a, 0x11, 0x128, u64::MAX] {
                    let reason = CloseReason::new(by, layer, code, words.clone());
                    let json = check(&Event::Closed(&reason));
                    assert!(words.starts_with(json["data"]["reason"].as_str().unwrap()));
                }
            }
        }
    }

    // Q177: why it ended is told with the draft's names.
    #[test]
    fn a_close_has_the_drafts_names() {
        let reason = CloseReason::transport(Initiator::Peer, 0x0a, "no");
        let data = check(&Event::Closed(&reason))["data"].clone();
        assert_eq!(data["initiator"], "remote");
        assert_eq!(data["connection_error"], "protocol_violation");
        assert_eq!(data["trigger"], "error");
        let reason = CloseReason::application(Initiator::Local, 77, "done");
        let data = check(&Event::Closed(&reason))["data"].clone();
        assert_eq!(data["application_error"], "unknown");
        assert_eq!(data["error_code"], 77);
        assert_eq!(data["trigger"], "application");
        let data = check(&Event::Closed(&CloseReason::timed_out("silence")))["data"].clone();
        assert_eq!(data["trigger"], "idle_timeout");
    }

    // Q177
    #[test]
    fn recovery_says_only_what_changed() {
        let metrics = Metrics {
            path: 0,
            min_rtt: Some(Duration::from_micros(1500)),
            congestion_window: Some(12_000),
            ..Metrics::default()
        };
        let json = check(&Event::Metrics(metrics));
        let expected = serde_json::json!({"min_rtt": 1.5, "congestion_window": 12000});
        assert_eq!(json["data"], expected);
        assert_eq!(json.get("tuple"), None);
        let lost = LostEvent {
            kind: "initial",
            number: 3,
            length: 1200,
            path: 0,
            trigger: Some("time_threshold"),
            is_mtu_probe: true,
        };
        assert_eq!(check(&Event::PacketLost(lost))["name"], "quic:packet_lost");
        for change in [
            TimerChange::Set(Duration::from_millis(300)),
            TimerChange::Expired,
            TimerChange::Cancelled,
        ] {
            check(&Event::Timer(TimerEvent {
                kind: "pto",
                space: Some("application_data"),
                change,
            }));
        }
        let (old, new) = (Some("slow_start"), "recovery");
        check(&Event::CongestionState { path: 1, old, new });
        let (old, new) = (None, "testing");
        check(&Event::EcnState { path: 1, old, new });
    }

    // Q177
    #[test]
    fn connectivity_and_keys_are_told_by_the_schema() {
        for state in [
            "handshaking",
            "established",
            "confirmed",
            "closing",
            "draining",
            "drained",
        ] {
            let role = "client";
            check(&Event::Session { role, state });
        }
        let changes = [
            PathChange::Started,
            PathChange::Assigned,
            PathChange::Abandoned,
            PathChange::ProbingStarted,
            PathChange::ProbingSuccessful,
            PathChange::ProbingAbandoned,
            PathChange::MigrationStarted,
            PathChange::MigrationAbandoned,
            PathChange::MigrationComplete,
        ];
        for change in changes {
            check(&Event::Path(PathEvent {
                path: 1,
                change,
                local: None,
                remote: Some("[2001:db8::1]:443".parse().unwrap()),
            }));
        }
        for discarded in [true, false] {
            check(&Event::Key(KeyEvent {
                kind: "client_1rtt_secret",
                discarded,
                phase: Some(2),
                trigger: "remote_update",
            }));
        }
        check(&Event::PacketDropped(DroppedEvent {
            kind: Some("handshake"),
            length: Some(40),
            trigger: "decryption_failure",
            why: "authentication failed",
            count: 1,
        }));
        let (path, old, new) = (0, Some(1200), 1452);
        check(&Event::MtuUpdated { path, old, new });
    }

    // Q177
    #[test]
    fn streams_are_told_by_the_schema() {
        let state = |stream, old, new, trigger| Event::StreamState {
            family: "quic",
            stream,
            old,
            new,
            trigger,
        };
        let json = check(&state(4, "send", "data_sent", "end sent"));
        let expected = serde_json::json!({
            "stream_id": 4, "stream_type": "bidirectional", "old": "send", "new": "data_sent",
            "stream_side": "sending", "trigger": "local",
        });
        assert_eq!(json["data"], expected);
        let json = check(&state(3, "size_known", "data_received", "all received"));
        assert_eq!(json["data"]["stream_side"], "receiving");
        assert_eq!(json["data"]["stream_type"], "unidirectional");
        assert_eq!(json["data"]["trigger"], "remote");
        for by in [
            HeldBy::PeerWindow,
            HeldBy::ConnectionWindow,
            HeldBy::SessionBudget,
            HeldBy::Congestion,
            HeldBy::Pacing,
            HeldBy::Carrier,
            HeldBy::Application,
            HeldBy::PeerReading,
            HeldBy::Nothing,
        ] {
            check(&Event::Held { stream: 4, by });
        }
        check(&Event::WindowTuned {
            stream: 4,
            old: 1,
            new: 2,
            rtt: Some(Duration::from_millis(1)),
        });
        check(&Event::Discarded {
            stream: 4,
            bytes: 9,
            why: "closed",
        });
    }
}
