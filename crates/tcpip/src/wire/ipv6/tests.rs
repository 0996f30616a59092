//! RFC 8200: the header, the walk over extension headers, options by their action bits, fragments.

use super::*;
use crate::limits::{MAX_EXTENSION_HEADERS, MAX_EXTENSION_OPTIONS};
use crate::wire::protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING, TCP, UDP};
use proptest::prelude::*;

fn header(next_header: u8, payload_len: u16) -> Header {
    Header {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        next_header,
        hop_limit: 64,
        traffic_class: 0xb9,
        flow_label: 0xabcde,
        payload_len,
    }
}

fn problem(
    code: u8,
    pointer: u32,
    even_to_multicast: bool,
) -> Result<Extension<'static>, Rejected> {
    Err(Rejected::ParameterProblem {
        code,
        pointer,
        even_to_multicast,
    })
}

/// A header of 8 bytes: next header, options.
fn options_header(next: u8, options: [u8; 6]) -> Vec<u8> {
    let mut out = vec![next, 0];
    out.extend_from_slice(&options);
    out
}

#[test]
fn the_header_stands_as_rfc_8200_has_it() {
    let mut out = Vec::new();
    header(TCP, 0).write(2, &mut out);
    assert_eq!(out[..8], [0x6b, 0x9a, 0xbc, 0xde, 0, 2, TCP, 64]);
    out.extend_from_slice(&[1, 2, 0xee]);
    assert_eq!(parse(&out), Ok((header(TCP, 2), &[1, 2][..])));
    assert_eq!(parse(&out[..41]), Err(Malformed::Truncated(NAME)));
    out[0] = 0x4b;
    assert_eq!(parse(&out), Err(Malformed::field(NAME, "Version")));
}

#[test]
fn a_packet_without_extension_headers_is_its_upper_layer() {
    let Ok(Extension::Upper(found)) = upper(TCP, b"segment") else {
        panic!("no upper layer");
    };
    assert_eq!((found.protocol, found.offset, found.named_at), (TCP, 40, 6));
    assert_eq!(found.payload, b"segment");
}

#[test]
fn every_header_is_passed_in_turn() {
    // T139, RFC 8200 4.1
    let mut bytes = options_header(DESTINATION_OPTIONS, [1, 4, 0, 0, 0, 0]);
    bytes.extend_from_slice(&options_header(ROUTING, [5, 2, 0, 0, 1, 0]));
    bytes.extend_from_slice(&[UDP, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(b"data");
    let Ok(Extension::Upper(found)) = upper(HOP_BY_HOP, &bytes) else {
        panic!("no upper layer");
    };
    assert_eq!(
        (found.protocol, found.offset, found.named_at),
        (UDP, 64, 56)
    );
    assert_eq!(found.payload, b"data");
}

#[test]
fn hop_by_hop_options_stand_first_or_not_at_all() {
    // T139, RFC 8200 4: anywhere else the number is an unrecognised next header.
    let mut bytes = options_header(HOP_BY_HOP, [1, 4, 0, 0, 0, 0]);
    bytes.extend_from_slice(&options_header(UDP, [1, 4, 0, 0, 0, 0]));
    assert_eq!(upper(DESTINATION_OPTIONS, &bytes), problem(1, 40, false));
    assert_eq!(upper(HOP_BY_HOP, &bytes), problem(1, 40, false));
}

#[test]
fn unknown_options_are_treated_by_their_action_bits() {
    // T139, RFC 8200 4.2; the option stands 4 bytes into the header, behind a PadN.
    for next in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        let judge = |kind| {
            upper(next, &options_header(UDP, [1, 0, kind, 0, 0, 0]))
                .map(|found| matches!(found, Extension::Upper(_)))
        };
        assert_eq!(judge(0b0011_1110), Ok(true));
        assert_eq!(judge(0b0111_1110), Err(Rejected::Silently));
        assert_eq!(judge(0b1011_1110), problem(2, 44, true).map(|_| false));
        assert_eq!(judge(0b1111_1110), problem(2, 44, false).map(|_| false));
    }
}

#[test]
fn a_routing_header_with_segments_left_is_answered_at_its_type() {
    // T139, RFC 8200 4.4, RFC 5095 3
    for kind in [0, 2, 4, 253] {
        assert_eq!(
            upper(ROUTING, &[UDP, 0, kind, 1, 0, 0, 0, 0]),
            problem(0, 42, false)
        );
        let last = [UDP, 0, kind, 0, 0, 0, 0, 0];
        let passed = upper(ROUTING, &last);
        assert!(matches!(passed, Ok(Extension::Upper(found)) if found.protocol == UDP));
    }
}

#[test]
fn headers_and_options_that_run_past_the_end_are_dropped() {
    assert_eq!(
        upper(HOP_BY_HOP, &[UDP, 1, 1, 4, 0, 0, 0, 0]),
        Err(Rejected::Silently)
    );
    assert_eq!(upper(ROUTING, &[UDP, 0, 0]), Err(Rejected::Silently));
    assert_eq!(
        upper(FRAGMENT, &[UDP, 0, 0, 0, 0, 0, 0]),
        Err(Rejected::Silently)
    );
    for options in [
        [1, 5, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [5, 2, 0, 0, 30, 255],
    ] {
        let bytes = options_header(UDP, options);
        assert_eq!(upper(DESTINATION_OPTIONS, &bytes), Err(Rejected::Silently));
    }
}

#[test]
fn chains_are_bounded() {
    // RFC 8504 5.3: both limits.
    let chain = |headers: usize| {
        let mut bytes = options_header(DESTINATION_OPTIONS, [1, 4, 0, 0, 0, 0]).repeat(headers - 1);
        bytes.extend_from_slice(&options_header(UDP, [1, 4, 0, 0, 0, 0]));
        upper(DESTINATION_OPTIONS, &bytes).map(|_| ())
    };
    assert_eq!(chain(MAX_EXTENSION_HEADERS), Ok(()));
    assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), Err(Rejected::Silently));
    let options = |count: usize| {
        let mut bytes = vec![UDP, 15];
        bytes.extend_from_slice(&[30, 0].repeat(count));
        bytes.resize(128, 0);
        upper(DESTINATION_OPTIONS, &bytes).map(|_| ())
    };
    assert_eq!(options(MAX_EXTENSION_OPTIONS), Ok(()));
    assert_eq!(options(MAX_EXTENSION_OPTIONS + 1), Err(Rejected::Silently));
}

/// A fragment behind the fixed header.
fn fragment(fragment_offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_fragment(UDP, fragment_offset, more, 0xdead_beef, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn parsed(bytes: &[u8]) -> Fragment<'_> {
    let Ok(Extension::Fragment(fragment)) = upper(FRAGMENT, bytes) else {
        panic!("no fragment");
    };
    fragment
}

#[test]
fn a_fragment_says_where_it_lies() {
    let bytes = fragment(1448, true, &[7; 16]);
    let fragment = parsed(&bytes);
    assert_eq!(
        (fragment.fragment_offset, fragment.more_fragments),
        (1448, true)
    );
    assert_eq!((fragment.next_header, fragment.id), (UDP, 0xdead_beef));
    assert_eq!((fragment.offset, fragment.named_at), (40, 40));
    assert_eq!(fragment.payload, [7; 16]);
    assert!(!fragment.is_atomic());
    assert_eq!(fragment.check(), Ok(()));
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    // T140, RFC 6946 4; its headers are walked like any other's.
    let mut bytes = Vec::new();
    write_fragment(DESTINATION_OPTIONS, 0, false, 9, &mut bytes);
    bytes.extend_from_slice(&options_header(UDP, [1, 4, 0, 0, 0, 0]));
    bytes.extend_from_slice(b"data");
    let fragment = parsed(&bytes);
    assert!(fragment.is_atomic());
    let Ok(Extension::Upper(found)) = extensions_of(&fragment).judge() else {
        panic!("no upper layer");
    };
    assert_eq!(
        (found.protocol, found.offset, found.named_at),
        (UDP, 56, 48)
    );
    assert_eq!(found.payload, b"data");
}

#[test]
fn fragments_of_impossible_length_are_answered() {
    // T140, RFC 8200 4.5: not a multiple of 8 (pointer to Payload Length), and beyond 65,535
    // (pointer to Fragment Offset).
    assert_eq!(
        parsed(&fragment(0, true, &[0; 15])).check(),
        problem(0, 4, false).map(|_| ())
    );
    assert_eq!(parsed(&fragment(0, false, &[0; 15])).check(), Ok(()));
    let late = fragment(65_528, false, &[0; 8]);
    assert_eq!(parsed(&late).check(), problem(0, 42, false).map(|_| ()));
    assert_eq!(parsed(&fragment(65_528, false, &[0; 7])).check(), Ok(()));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        src: u128, dst: u128, next_header: u8, hop_limit: u8, traffic_class: u8,
        flow_label in 0_u32..1 << 20, payload in proptest::collection::vec(any::<u8>(), 0..64)
    ) {
        let header = Header {
            src: src.into(),
            dst: dst.into(),
            next_header,
            hop_limit,
            traffic_class,
            flow_label,
            payload_len: payload.len() as u16,
        };
        let mut packet = Vec::new();
        header.write(payload.len(), &mut packet);
        packet.extend_from_slice(&payload);
        prop_assert_eq!(parse(&packet), Ok((header, payload.as_slice())));
    }

    #[test]
    fn hostile_chains_end(
        first in prop::sample::select(vec![HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS]),
        mut bytes in proptest::collection::vec(prop::sample::select(vec![0_u8, 1, 5, 43, 44, 60, 0x3e, 0xfe]), 0..200)
    ) {
        // Lengths mostly small, so that chains grow long.
        for at in (1..bytes.len()).step_by(8) {
            bytes[at] &= 1;
        }
        prop_assert!(extensions(first, &bytes).count() <= MAX_EXTENSION_HEADERS + 1);
        if let Ok(Extension::Upper(found)) = upper(first, &bytes) {
            prop_assert_eq!(found.offset - HEADER_LEN + found.payload.len(), bytes.len());
        }
    }
}
