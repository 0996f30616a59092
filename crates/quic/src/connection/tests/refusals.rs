//! Rules on frames: who breaks one is told which.

use super::closing::handshake_keys;
use super::judge::{bytes, crypto, id, refused, refused_in, stream, taken};
use super::pair::{End, Pair};
use crate::crypto::Level;
use crate::error::code;
use crate::wire::frame::{NewConnectionId, encode};
use crate::wire::varint;
use crate::wire::{ConnectionId, Dir, Side};

/// A frame of varints.
fn raw(values: &[u64]) -> Vec<u8> {
    bytes(|out| values.iter().for_each(|value| varint::encode(*value, out)))
}

const MAX: u64 = (1 << 62) - 1;

#[test]
fn a_packet_without_frames() {
    // Q11
    refused(End::Client, b"", code::PROTOCOL_VIOLATION);
}

#[test]
fn an_unknown_frame() {
    // Q12
    refused(End::Client, &raw(&[0x2f]), code::FRAME_ENCODING_ERROR);
    refused(End::Server, &raw(&[0x1f37]), code::FRAME_ENCODING_ERROR);
}

#[test]
fn a_frame_type_longer_than_it_need_be() {
    // Q10
    refused(End::Client, &[0x40, 0x01], code::PROTOCOL_VIOLATION);
}

#[test]
fn a_frame_where_its_packet_ends() {
    // Q14
    refused(End::Client, &[0x10], code::FRAME_ENCODING_ERROR);
    refused(End::Client, &raw(&[6, 0, 100]), code::FRAME_ENCODING_ERROR);
    refused(
        End::Client,
        &raw(&[0x0a, 0, MAX]),
        code::FRAME_ENCODING_ERROR,
    );
}

#[test]
fn frames_in_packets_that_do_not_allow_them() {
    // Q13
    for (level, frames) in [
        (Level::Initial, raw(&[0x1e])),
        (Level::Initial, raw(&[0x10, 5])),
        (
            Level::Initial,
            stream(id(Side::Client, Dir::Bi, 0), 0, b"x", false),
        ),
        (Level::Handshake, raw(&[0x1d, 0, 0])),
        (
            Level::Handshake,
            bytes(|out| encode::path_challenge(out, [1; 8])),
        ),
    ] {
        let mut pair = Pair::new(52);
        handshake_keys(&mut pair);
        refused_in(
            &mut pair,
            End::Server,
            level,
            &frames,
            code::PROTOCOL_VIOLATION,
        );
    }
}

#[test]
fn crypto_in_early_data() {
    // Q47
    let mut pair = super::negotiation::resumed(60);
    let datagram = {
        let frames = crypto(0, b"abc");
        let now = pair.now;
        pair.step();
        let data = pair.client.forge(now, Level::ZeroRtt, &frames);
        pair.flight(End::Client, data)
    };
    pair.run_until(|pair| pair.server.is_some());
    pair.deliver(datagram);
    assert_eq!(pair.close_code(End::Server), Some(code::PROTOCOL_VIOLATION));
}

#[test]
fn frames_that_early_data_may_not_carry() {
    // Q54
    for frames in [
        raw(&[2, 0, 0, 0, 0]),
        raw(&[0x1e]),
        raw(&[7, 1, 0]),
        bytes(|out| encode::path_response(out, [0; 8])),
        raw(&[0x19, 0]),
    ] {
        let mut pair = super::negotiation::resumed(61);
        pair.step();
        let datagram = pair.forge(End::Client, Level::ZeroRtt, &frames);
        pair.run_until(|pair| pair.server.is_some());
        pair.deliver(datagram);
        let found = pair.close_code(End::Server);
        assert_eq!(found, Some(code::PROTOCOL_VIOLATION), "{frames:02x?}");
    }
}

#[test]
fn handshake_done_from_a_client() {
    // Q57
    refused(End::Client, &raw(&[0x1e]), code::PROTOCOL_VIOLATION);
}

#[test]
fn new_token_from_a_client_or_empty() {
    // Q67
    refused(End::Client, &raw(&[7, 1, 1]), code::PROTOCOL_VIOLATION);
    refused(End::Server, &raw(&[7, 0]), code::FRAME_ENCODING_ERROR);
}

#[test]
fn tls_messages_that_have_no_place() {
    // Q46: KeyUpdate, EndOfEarlyData.
    const UNEXPECTED: u64 = code::CRYPTO_ERROR + 10;
    let mut pair = Pair::connected(57);
    let frames = crypto(pair.server().crypto_sent(), &[24, 0, 0, 1, 0]);
    refused_in(&mut pair, End::Server, Level::OneRtt, &frames, UNEXPECTED);
    refused(End::Client, &crypto(0, &[24, 0, 0, 1, 0]), UNEXPECTED);
    refused(End::Client, &crypto(0, &[5, 0, 0, 0]), UNEXPECTED);
}

#[test]
fn handshake_bytes_far_ahead() {
    // Q42, Q95: MAX_CRYPTO_BUFFER is what is kept ahead of a gap; 4096 bytes always are.
    let mut pair = Pair::connected(58);
    let sent = pair.server().crypto_sent();
    pair.inject(End::Server, Level::OneRtt, &crypto(sent + 4095, b"x"));
    assert_eq!(pair.close_code(End::Client), None);
    let frames = crypto(sent + crate::limits::MAX_CRYPTO_BUFFER, b"x");
    let wrong = code::CRYPTO_BUFFER_EXCEEDED;
    refused_in(&mut pair, End::Server, Level::OneRtt, &frames, wrong);
}

#[test]
fn stream_frames_on_streams_of_the_wrong_kind() {
    // Q79
    let own = id(Side::Server, Dir::Uni, 0);
    let theirs = id(Side::Client, Dir::Uni, 0);
    let wrong = |frames: &[u8]| refused(End::Client, frames, code::STREAM_STATE_ERROR);
    wrong(&stream(own, 0, b"x", false));
    wrong(&bytes(|out| encode::reset_stream(out, own, 0, 0)));
    wrong(&bytes(|out| encode::stream_data_blocked(out, own, 0)));
    wrong(&bytes(|out| encode::stop_sending(out, theirs, 0)));
    wrong(&bytes(|out| encode::max_stream_data(out, theirs, 0)));
}

#[test]
fn stream_frames_for_streams_that_we_never_opened() {
    // Q80
    let own = id(Side::Server, Dir::Bi, 3);
    let wrong = |frames: &[u8]| refused(End::Client, frames, code::STREAM_STATE_ERROR);
    wrong(&stream(own, 0, b"x", false));
    wrong(&bytes(|out| encode::reset_stream(out, own, 0, 0)));
    wrong(&bytes(|out| encode::stop_sending(out, own, 0)));
    wrong(&bytes(|out| encode::max_stream_data(out, own, 9)));
}

#[test]
fn a_final_size_that_changes_or_is_passed() {
    // Q81
    let key = id(Side::Client, Dir::Bi, 0);
    let end = stream(key, 0, b"four", true);
    let wrong = |second: Vec<u8>| {
        let mut frames = end.clone();
        frames.extend(second);
        refused(End::Client, &frames, code::FINAL_SIZE_ERROR);
    };
    wrong(stream(key, 4, b"x", false));
    wrong(stream(key, 0, b"thr", true));
    wrong(bytes(|out| encode::reset_stream(out, key, 0, 5)));
}

#[test]
fn a_stream_over_the_limit() {
    // Q82
    let limit = crate::config::TransportConfig::default().max_bidi_streams;
    let over = id(Side::Client, Dir::Bi, limit);
    refused(
        End::Client,
        &stream(over, 0, b"", false),
        code::STREAM_LIMIT_ERROR,
    );
    taken(
        End::Client,
        &stream(id(Side::Client, Dir::Bi, 9), 0, b"", true),
    );
}

#[test]
fn stream_counts_beyond_all_numbers() {
    // Q83
    let over = (1 << 60) + 1;
    for kind in [0x12, 0x13, 0x16, 0x17] {
        refused(End::Client, &raw(&[kind, over]), code::FRAME_ENCODING_ERROR);
    }
}

#[test]
fn more_data_than_allowed() {
    // Q90: on one stream, by the largest offset.
    let window = crate::config::TransportConfig::default().stream_window;
    let key = id(Side::Client, Dir::Bi, 0);
    refused(
        End::Client,
        &stream(key, window, b"x", false),
        code::FLOW_CONTROL_ERROR,
    );
    let reset = bytes(|out| encode::reset_stream(out, key, 0, window + 1));
    refused(End::Client, &reset, code::FLOW_CONTROL_ERROR);
}

#[test]
fn more_data_than_the_connection_allows() {
    // Q90: over streams, final sizes of resets too.
    let config = crate::config::TransportConfig::default();
    let streams = config.connection_window / config.stream_window;
    let frames = bytes(|out| {
        for index in 0..=streams {
            let key = id(Side::Client, Dir::Bi, index);
            encode::reset_stream(out, key, 0, config.stream_window);
        }
    });
    refused(End::Client, &frames, code::FLOW_CONTROL_ERROR);
}

#[test]
fn offsets_beyond_all_numbers() {
    // Q94
    let key = id(Side::Client, Dir::Bi, 0);
    refused(
        End::Client,
        &stream(key, MAX, b"x", false),
        code::FRAME_ENCODING_ERROR,
    );
}

fn new_id(sequence: u64, retire_prior_to: u64) -> Vec<u8> {
    let frame = NewConnectionId {
        sequence,
        retire_prior_to,
        id: ConnectionId::new(&sequence.to_be_bytes()).unwrap(),
        reset_token: [sequence as u8; 16],
    };
    bytes(|out| encode::new_connection_id(out, &frame))
}

#[test]
fn a_connection_id_that_cannot_be() {
    // Q96
    refused(End::Client, &new_id(20, 21), code::FRAME_ENCODING_ERROR);
    let mut long = raw(&[0x18, 20, 0]);
    long.push(21);
    long.extend([7; 21 + 16]);
    refused(End::Client, &long, code::FRAME_ENCODING_ERROR);
    let mut empty = raw(&[0x18, 20, 0]);
    empty.push(0);
    empty.extend([7; 16]);
    refused(End::Client, &empty, code::FRAME_ENCODING_ERROR);
}

#[test]
fn a_connection_id_told_otherwise_than_before() {
    // Q98
    let mut again = new_id(1, 0);
    *again.last_mut().unwrap() ^= 1;
    refused(End::Client, &again, code::PROTOCOL_VIOLATION);
    let mut frames = new_id(20, 20);
    let mut twice = new_id(21, 20);
    // The same connection ID under another number.
    let at = twice.len() - 17;
    twice[at] = 20;
    frames.extend(twice);
    refused(End::Client, &frames, code::PROTOCOL_VIOLATION);
}

#[test]
fn more_connection_ids_than_announced() {
    // Q97
    let frames: Vec<u8> = (20..40).flat_map(|n| new_id(n, 0)).collect();
    refused(End::Client, &frames, code::CONNECTION_ID_LIMIT_ERROR);
}

#[test]
fn retiring_without_end() {
    // Q99: each frame retires all before it, and no acknowledgement ever comes.
    let frames: Vec<u8> = (20..60).flat_map(|n| new_id(n, n)).collect();
    let mut pair = Pair::connected(53);
    pair.inject(End::Client, Level::OneRtt, &frames);
    assert_eq!(
        pair.close_code(End::Server),
        Some(code::CONNECTION_ID_LIMIT_ERROR)
    );
}

#[test]
fn retiring_what_was_never_issued() {
    // Q100
    refused(End::Client, &raw(&[0x19, 99]), code::PROTOCOL_VIOLATION);
}

#[test]
fn retiring_what_the_packet_is_addressed_to() {
    // Q100, RFC 9000 19.16
    refused(End::Client, &raw(&[0x19, 0]), code::PROTOCOL_VIOLATION);
    refused(End::Server, &raw(&[0x19, 0]), code::PROTOCOL_VIOLATION);
}

#[test]
fn the_frame_at_fault_is_told_by_the_type_it_came_with() {
    // Q126, RFC 9000 19.19: the low bits of STREAM and DATAGRAM are part of the type.
    let window = crate::config::TransportConfig::default().stream_window;
    let key = id(Side::Client, Dir::Bi, 0).0;
    let none = id(Side::Server, Dir::Bi, 9).0;
    for (frames, kind) in [
        (raw(&[0x0e, key, window, 1, 0]), 0x0e),
        (raw(&[1, 0x0d, key, window + 1]), 0x0d),
        (raw(&[0, 0, 0x0b, none, 0]), 0x0b),
        (raw(&[0x08, none]), 0x08),
        (raw(&[0x11, none, 1]), 0x11),
        (raw(&[0x03, 1 << 40, 0, 0, 0, 0, 0, 0]), 0x03),
        (raw(&[0x13, MAX]), 0x13),
        (raw(&[0x2f]), 0x2f),
        (raw(&[0x19, 99]), 0x19),
    ] {
        let mut pair = Pair::connected(62);
        let datagram = pair.forge(End::Client, Level::OneRtt, &frames);
        pair.deliver(datagram);
        assert_eq!(pair.server().frame_at_fault(), Some(kind));
    }
}

#[test]
fn an_acknowledgement_below_zero() {
    // Q133
    refused(
        End::Client,
        &raw(&[2, 5, 0, 0, 6]),
        code::FRAME_ENCODING_ERROR,
    );
}

#[test]
fn an_acknowledgement_of_what_was_never_sent() {
    // Q134
    refused(
        End::Client,
        &raw(&[2, 100_000, 0, 0, 0]),
        code::PROTOCOL_VIOLATION,
    );
    let mut pair = Pair::new(54);
    handshake_keys(&mut pair);
    let frames = raw(&[2, 77, 0, 0, 0]);
    refused_in(
        &mut pair,
        End::Server,
        Level::Initial,
        &frames,
        code::PROTOCOL_VIOLATION,
    );
}

#[test]
fn an_answer_to_no_challenge_is_ignored() {
    // Q115
    taken(
        End::Client,
        &bytes(|out| encode::path_response(out, [9; 8])),
    );
}

#[test]
fn a_datagram_that_nobody_asked_for() {
    // Q158
    use super::pair::{client_config, server_config};
    use crate::config::TransportConfig;
    let silent = TransportConfig {
        max_datagram_frame: 0,
        ..TransportConfig::default()
    };
    let client = client_config(TransportConfig::default());
    let mut pair = Pair::with(55, client, server_config(silent));
    pair.establish();
    assert_eq!(pair.client.max_datagram_size(), None);
    let frames = bytes(|out| encode::datagram(out, b"hello", true));
    let wrong = code::PROTOCOL_VIOLATION;
    refused_in(&mut pair, End::Client, Level::OneRtt, &frames, wrong);
}

#[test]
fn smaller_limits_are_ignored() {
    // Q84
    let frames = bytes(|out| {
        encode::max_data(out, 0);
        encode::max_streams(out, Dir::Bi, 0);
        encode::max_streams(out, Dir::Uni, 0);
    });
    taken(End::Server, &frames);
}

#[test]
fn reserved_bits() {
    // Q4
    let mut pair = Pair::connected(56);
    let now = pair.now;
    let data = pair
        .client
        .forge_bits(now, Level::OneRtt, 0x18, &[1])
        .unwrap();
    let datagram = pair.flight(End::Client, data);
    pair.deliver(datagram);
    assert_eq!(pair.close_code(End::Server), Some(code::PROTOCOL_VIOLATION));
}
