//! Every frame in every packet type in every state: data, nothing, or the error code that RFC 9000
//! names; never a panic, and nothing else (class C2).

use super::closing::handshake_keys;
use super::judge::{bytes, crypto, id, other, stream};
use super::negotiation::resumed;
use super::pair::{End, Pair};
use crate::crypto::Level;
use crate::error::code;
use crate::wire::frame::{AckFrequency, NewConnectionId, encode, permitted};
use crate::wire::header::PacketType;
use crate::wire::{ConnectionId, Dir, Side, varint};

/// A frame, and what may follow where it is permitted, besides that nothing does.
struct Sample {
    kind: u64,
    bytes: Vec<u8>,
    codes: &'static [u64],
}

const STATE: &[u64] = &[code::STREAM_STATE_ERROR];
const VIOLATION: &[u64] = &[code::PROTOCOL_VIOLATION];
const CLOSED: &[u64] = &[77];

impl Sample {
    /// Whether this code may follow; handshake bytes may be wrong in many ways.
    fn allows(&self, code: u64) -> bool {
        let is_alert = (code::CRYPTO_ERROR..code::CRYPTO_ERROR + 0x100).contains(&code);
        self.codes.contains(&code) || self.kind == 6 && is_alert
    }
}

fn sample(bytes: Vec<u8>, codes: &'static [u64]) -> Sample {
    let kind = varint::Reader::new(&bytes).varint().unwrap();
    Sample { kind, bytes, codes }
}

fn numbers(values: &[u64]) -> Vec<u8> {
    bytes(|out| values.iter().for_each(|value| varint::encode(*value, out)))
}

/// One of each kind, legal for somebody.
fn samples(from: End) -> Vec<Sample> {
    let (own, peer) = match from {
        End::Client => (Side::Client, Side::Server),
        End::Server => (Side::Server, Side::Client),
    };
    let bidi = id(own, Dir::Bi, 0);
    let new_id = NewConnectionId {
        sequence: 40,
        retire_prior_to: 0,
        id: ConnectionId::new(&[9; 8]).unwrap(),
        reset_token: [8; 16],
    };
    let frequency = AckFrequency {
        sequence: 50,
        ack_eliciting_threshold: 3,
        requested_max_ack_delay: 20_000,
        reordering_threshold: 2,
    };
    vec![
        sample(vec![0; 9], &[]),
        sample(vec![1], &[]),
        sample(numbers(&[2, 0, 0, 0, 0]), VIOLATION),
        sample(numbers(&[3, 0, 0, 0, 0, 1, 0, 0]), VIOLATION),
        sample(bytes(|out| encode::reset_stream(out, bidi, 5, 0)), STATE),
        sample(bytes(|out| encode::stop_sending(out, bidi, 5)), STATE),
        sample(crypto(0, &[2, 0, 0, 1, 7]), &[]),
        sample(numbers(&[7, 1, 1]), VIOLATION),
        sample(stream(bidi, 0, b"data", false), STATE),
        sample(stream(id(own, Dir::Uni, 2), 3, b"end", true), STATE),
        sample(stream(id(peer, Dir::Bi, 2), 0, b"x", true), STATE),
        sample(numbers(&[0x10, 1 << 40]), &[]),
        sample(
            bytes(|out| encode::max_stream_data(out, bidi, 1 << 40)),
            STATE,
        ),
        sample(numbers(&[0x12, 5000]), &[]),
        sample(numbers(&[0x13, 5000]), &[]),
        sample(numbers(&[0x14, 5]), &[]),
        sample(
            bytes(|out| encode::stream_data_blocked(out, bidi, 5)),
            STATE,
        ),
        sample(numbers(&[0x16, 5]), &[]),
        sample(numbers(&[0x17, 5]), &[]),
        sample(
            bytes(|out| encode::new_connection_id(out, &new_id)),
            &[code::CONNECTION_ID_LIMIT_ERROR],
        ),
        sample(numbers(&[0x19, 0]), VIOLATION),
        sample(bytes(|out| encode::path_challenge(out, [3; 8])), &[]),
        sample(bytes(|out| encode::path_response(out, [3; 8])), &[]),
        sample(
            bytes(|out| encode::connection_close(out, 77, 0, b"x")),
            CLOSED,
        ),
        sample(
            bytes(|out| encode::application_close(out, 77, b"x")),
            CLOSED,
        ),
        sample(vec![0x1e], VIOLATION),
        sample(bytes(encode::immediate_ack), &[]),
        sample(bytes(|out| encode::ack_frequency(out, &frequency)), &[]),
        sample(bytes(|out| encode::datagram(out, b"dgram", true)), &[]),
        sample(bytes(|out| encode::datagram(out, b"dgram", false)), &[]),
        sample(vec![0x2f], &[]),
        sample(numbers(&[0x4242, 1]), &[]),
    ]
}

/// Makes a pair from a seed.
type Make = fn(u64) -> Pair;

/// The states of a connection, as pairs that are in them.
fn states() -> Vec<(&'static str, Make)> {
    vec![
        ("first flight", |seed| {
            let mut pair = Pair::new(seed);
            pair.run_until(|pair| pair.server.is_some());
            pair.flying.clear();
            pair
        }),
        ("handshake keys", |seed| {
            let mut pair = Pair::new(seed);
            handshake_keys(&mut pair);
            pair
        }),
        ("complete at the client", |seed| {
            let mut pair = Pair::new(seed);
            pair.run_until(|pair| !pair.client.is_handshaking());
            pair.flying.clear();
            pair
        }),
        ("confirmed", Pair::connected),
        ("closing", |seed| {
            let mut pair = Pair::connected(seed);
            let now = pair.now;
            pair.client.close(now, 1, "");
            pair.server().close(now, 2, "");
            pair
        }),
        ("draining", |seed| {
            let mut pair = Pair::connected(seed);
            let now = pair.now;
            pair.client.handle_stateless_reset(now);
            pair.server().handle_stateless_reset(now);
            pair
        }),
    ]
}

const LEVELS: [(Level, PacketType); 3] = [
    (Level::Initial, PacketType::Initial),
    (Level::Handshake, PacketType::Handshake),
    (Level::OneRtt, PacketType::OneRtt),
];

/// Whether a packet of the level is opened now.
fn reads(pair: &mut Pair, to: End, level: Level) -> bool {
    let connection = pair.end(to);
    let is_early = level == Level::OneRtt && connection.is_handshaking();
    connection.is_open() && connection.has_keys(level) && !is_early
}

fn judge(what: &str, pair: &mut Pair, from: End, level: Level, kind: PacketType, sample: &Sample) {
    let to = other(from);
    let before = pair.end(to).close_reason().cloned();
    let is_read = reads(pair, to, level);
    let was_open = pair.end(to).is_open();
    pair.inject(from, level, &sample.bytes);
    let found = pair.close_code(to);
    let what = format!("{what}: {:#x} in {kind:?} from {from:?}", sample.kind);
    if !was_open {
        let code = before.map(|reason| reason.code);
        assert_eq!(found, code, "{what}: over is over");
    } else if !is_read {
        assert_eq!(found, None, "{what}: not to be read");
    } else if !crate::wire::frame::is_known(sample.kind) {
        assert_eq!(found, Some(code::FRAME_ENCODING_ERROR), "{what}");
    } else if !permitted(sample.kind, kind) {
        assert_eq!(found, Some(code::PROTOCOL_VIOLATION), "{what}");
    } else if let Some(code) = found {
        assert!(sample.allows(code), "{what}: {code:#x}");
    }
    // What it leads to can be sent, and time goes on.
    for _ in 0..6 {
        pair.step();
    }
}

fn walk(from: End) {
    for (what, make) in states() {
        for sample in samples(from) {
            for (level, kind) in LEVELS {
                let mut pair = make(70);
                if pair.end(from).can_seal(level) {
                    judge(what, &mut pair, from, level, kind, &sample);
                }
            }
        }
    }
}

#[test]
fn every_frame_of_a_client_in_every_state() {
    // Q13, Q57, Q79: C2
    walk(End::Client);
}

#[test]
fn every_frame_of_a_server_in_every_state() {
    // Q13, Q79: C2
    walk(End::Server);
}

#[test]
fn every_frame_in_early_data() {
    // Q54: C2
    for sample in samples(End::Client) {
        let mut pair = resumed(71);
        pair.run_until(|pair| pair.server.is_some());
        pair.flying.clear();
        if !pair.client.can_seal(Level::ZeroRtt) || pair.server().is_confirmed() {
            continue;
        }
        pair.inject(End::Client, Level::ZeroRtt, &sample.bytes);
        let found = pair.close_code(End::Server);
        let what = format!("{:#x} in 0-RTT", sample.kind);
        if !crate::wire::frame::is_known(sample.kind) {
            assert_eq!(found, Some(code::FRAME_ENCODING_ERROR), "{what}");
        } else if !permitted(sample.kind, PacketType::ZeroRtt) {
            assert_eq!(found, Some(code::PROTOCOL_VIOLATION), "{what}");
        } else if let Some(code) = found {
            assert!(sample.allows(code), "{what}: {code:#x}");
        }
    }
}
