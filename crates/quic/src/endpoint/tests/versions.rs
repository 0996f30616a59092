//! Version Negotiation (RFC 9000 section 6, RFC 8999 section 6), and what is too small or too short.

use super::*;
use crate::wire::header::{LongInvariant, versions};

/// A first packet of a version that nobody speaks.
fn unknown(version: u32, dcid: &[u8], scid: &[u8], size: usize) -> Vec<u8> {
    let mut out = vec![0x80];
    out.extend_from_slice(&version.to_be_bytes());
    for id in [dcid, scid] {
        out.push(id.len() as u8);
        out.extend_from_slice(id);
    }
    out.resize(size, 0x55);
    out
}

fn listed(answer: &[u8]) -> Vec<Version> {
    let head = LongInvariant::parse(answer).unwrap();
    assert_eq!(head.version, Version::NEGOTIATION);
    versions(head.rest).unwrap().collect()
}

// Q16, Q1: IDs of any length come back swapped.
#[test]
fn an_unknown_version_is_answered_with_what_is_spoken() {
    let mut bench = Bench::server();
    for (dcid_len, scid_len) in [(8, 8), (0, 0), (20, 0), (255, 255)] {
        let (dcid, scid) = (vec![1; dcid_len], vec![2; scid_len]);
        let answer = bench.reply(addr(1), &unknown(0x0dea_dbee, &dcid, &scid, 1200));
        let head = LongInvariant::parse(&answer).unwrap();
        assert_eq!((head.dcid, head.scid), (&scid[..], &dcid[..]));
        assert_eq!(answer[0] & 0x40, 0x40);
        let versions = listed(&answer);
        assert!(versions.contains(&Version::V1) && versions.contains(&Version::V2));
        assert!(!versions.contains(&Version(0x0dea_dbee)));
    }
    assert_eq!(bench.stats().version_negotiations, 4);
    bench.assert_empty();
}

// Q16: what is not configured is not spoken.
#[test]
fn a_server_of_one_version_lists_that_one() {
    let mut settings = config(8);
    let mut server = server_config();
    server.versions = vec![Version::V2];
    settings.server = Some(Arc::new(server));
    settings.grease = false;
    let mut bench = Bench::new(settings);
    let answer = bench.reply(addr(1), &Initial::new().bytes());
    assert_eq!(listed(&answer), [Version::V2]);
    let initial = Initial {
        version: Version::V2,
        ..Initial::new()
    };
    let incoming = bench.incoming(addr(1), &initial.bytes());
    assert_eq!(incoming.version(), Version::V2);
}

// Q18
#[test]
fn a_reserved_version_is_in_the_list_but_not_the_one_that_was_asked_for() {
    let mut bench = Bench::server();
    let mut places = std::collections::HashSet::new();
    for n in 0..50 {
        let asked = 0x1a2a_3a4a;
        let answer = bench.reply(addr(n), &unknown(asked, b"12345678", b"abc", 1200));
        let versions = listed(&answer);
        let reserved = |version: &Version| version.is_reserved();
        assert_eq!(
            versions.iter().filter(|version| reserved(version)).count(),
            1
        );
        places.insert(versions.iter().position(reserved));
        assert!(!versions.contains(&Version(asked)));
    }
    assert_eq!(places.len(), 3, "first, second and last place");
}

// Q17
#[test]
fn version_negotiation_is_never_an_answer_to_itself_or_to_small_datagrams() {
    let mut bench = Bench::server();
    bench.nothing(addr(1), &unknown(0, b"12345678", b"abc", 1200));
    bench.nothing(addr(1), &unknown(0x0dea_dbee, b"12345678", b"abc", 1199));
    assert_eq!(bench.stats().version_negotiations, 0);
    assert_eq!(bench.stats().dropped, 2);
}

// Q17: a source that asks and asks is answered at a rate; others are not touched by that.
#[test]
fn version_negotiation_is_rate_limited_by_source() {
    let mut bench = Bench::server();
    let question = unknown(0x0dea_dbee, b"12345678", b"abc", 1200);
    let ask = |bench: &mut Bench, from| {
        let handled =
            (0..1000).filter(|_| matches!(bench.receive(addr(from), &question), Handled::Reply(_)));
        handled.count()
    };
    let limit = crate::limits::RATE_VERSION_NEGOTIATION.per_source as usize;
    assert_eq!(ask(&mut bench, 1), limit);
    assert_eq!(ask(&mut bench, 2), limit);
    assert_eq!(bench.stats().rate_limited, 2000 - 2 * limit as u64);
    bench.now = Instant::from_millis(2_000);
    assert_eq!(ask(&mut bench, 1), limit);
}

// RFC 9000 6.1: a client answers nothing of the kind.
#[test]
fn an_endpoint_without_a_server_negotiates_nothing() {
    let mut settings = config(8);
    settings.server = None;
    let mut bench = Bench::new(settings);
    bench.nothing(addr(1), &unknown(0x0dea_dbee, b"12345678", b"abc", 1200));
    bench.nothing(addr(1), &Initial::new().bytes());
    bench.assert_empty();
}

// Q59
#[test]
fn initials_in_datagrams_below_1200_bytes_are_dropped() {
    let mut bench = Bench::server();
    let mut initial = Initial::new();
    initial.size = 1199;
    bench.nothing(addr(1), &initial.bytes());
    bench.assert_empty();
    initial.size = 1200;
    let incoming = bench.incoming(addr(1), &initial.bytes());
    assert_eq!(incoming.original_dcid(), initial.dcid);
}

// Q62
#[test]
fn a_first_destination_connection_id_has_8_bytes() {
    let mut bench = Bench::server();
    let mut initial = Initial::new();
    for len in 0..8 {
        initial.dcid = cid(&b"1234567"[..len]);
        bench.nothing(addr(1), &initial.bytes());
        // A token that is none of ours does not change that.
        initial.token = b"whatever".to_vec();
        bench.nothing(addr(1), &initial.bytes());
        initial.token.clear();
    }
    bench.assert_empty();
    initial.dcid = cid(b"12345678");
    let _incoming = bench.incoming(addr(1), &initial.bytes());
}

// Q30, Q171: a damaged Initial leaves nothing behind and is not answered.
#[test]
fn initials_that_are_not_authentic_cost_no_state() {
    let mut bench = Bench::server();
    let bytes = Initial::new().bytes();
    for at in [6, 30, 60, 1199] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        bench.nothing(addr(1), &damaged);
    }
    assert_eq!(bench.stats().dropped, 4);
    bench.assert_empty();
}

// Q14, C1: nothing that is cut off is anything.
#[test]
fn every_truncation_of_an_initial_is_dropped() {
    let mut bench = Bench::server();
    let bytes = Initial::new().bytes();
    for cut in 0..bytes.len() {
        bench.nothing(addr(1), &bytes[..cut]);
    }
    bench.assert_empty();
}

// RFC 9000 5.2.2: Handshake and Retry packets that belong to nothing.
#[test]
fn other_long_headers_that_belong_to_nothing_are_dropped() {
    let mut bench = Bench::server();
    for first in [0xe3, 0xf3] {
        let mut bytes = Initial::new().bytes();
        bytes[0] = first;
        bench.nothing(addr(1), &bytes);
    }
    bench.assert_empty();
}

// Q2, RFC 9287 section 3.1: only a client that was told so in an earlier connection, which gave it a
// token, may clear the bit.
#[test]
fn a_first_packet_without_the_fixed_bit_has_a_token() {
    let mut bench = Bench::server();
    let mut initial = Initial::new();
    initial.fixed_bit = false;
    bench.nothing(addr(1), &initial.bytes());
    assert_eq!(bench.stats().dropped, 1);
    initial.token = b"another endpoint of the fleet may have given it".to_vec();
    let incoming = bench.incoming(addr(1), &initial.bytes());
    assert!(!incoming.is_validated());
}
