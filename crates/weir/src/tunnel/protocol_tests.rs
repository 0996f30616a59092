use super::*;
use proptest::prelude::*;

use std::net::IpAddr;

use crate::tunnel::destination::tests::any_destination;
use crate::tunnel::fields::cut;

fn any_text() -> impl Strategy<Value = String> {
    "[ -~äß漢🦀]{0,300}".prop_map(|text| cut(&text, MAX_TEXT).to_owned())
}

fn any_socket() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((ip, port))),
        // Addresses of the ::ffff:0:0/96 block come back as IPv4, so they are left out here.
        (any::<[u8; 15]>(), any::<u16>()).prop_map(|(tail, port)| {
            let mut ip = [0x20; 16];
            ip[1..].copy_from_slice(&tail);
            SocketAddr::from((ip, port))
        }),
    ]
}

fn any_hello() -> impl Strategy<Value = Hello> {
    (any::<u32>(), any_text()).prop_map(|(features, agent)| Hello { features, agent })
}

fn any_flow() -> impl Strategy<Value = u64> {
    (any::<u64>(), 2u32..64).prop_map(|(number, shift)| number >> shift)
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any_hello().prop_map(Request::Control),
        any_destination().prop_map(Request::Connect),
        (any::<u32>(), any_socket()).prop_map(|(id, bind)| Request::Listen { id, bind }),
        (any::<u32>(), any_socket()).prop_map(|(id, from)| Request::Accepted { id, from }),
        (any_flow(), any_destination()).prop_map(|(flow, to)| Request::Datagrams { flow, to }),
        (any::<u32>(), any_socket()).prop_map(|(id, bind)| Request::ListenDatagrams { id, bind }),
        (any::<u32>(), any_flow(), any_socket())
            .prop_map(|(id, flow, from)| Request::DatagramsFrom { id, flow, from }),
        proptest::collection::vec(any::<u8>(), 0..=MAX_QUERY)
            .prop_map(|query| Request::Resolve { query }),
    ]
}

fn any_notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        (any::<u32>(), any_text()).prop_map(|(millis, reason)| Notice::Draining {
            grace: Duration::from_millis(u64::from(millis)),
            reason
        }),
        any_text().prop_map(|reason| Notice::Closing { reason }),
        (3u8..).prop_map(Notice::Unknown),
    ]
}

/// Feeds `wire` in the pieces that `cuts` says; the unit and what was left of the input.
fn read_cut(wire: &[u8], cuts: &[usize]) -> Result<Option<(Unit, Vec<u8>)>, ProtocolError> {
    let mut reader = UnitReader::default();
    let mut rest = Bytes::copy_from_slice(wire);
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let step = cuts.next().unwrap_or(1).clamp(1, rest.len());
        let mut piece = rest.split_to(step);
        if let Some(unit) = reader.push(&mut piece)? {
            assert!(!reader.is_partial());
            return Ok(Some((unit, [piece, rest].concat())));
        }
        assert!(piece.is_empty(), "an unfinished unit takes all");
        assert!(reader.body.len() <= MAX_BODY && reader.body.capacity() <= 2 * MAX_BODY);
    }
    Ok(None)
}

proptest! {
    #[test]
    fn requests_round_trip_in_any_cut(
        request in any_request(),
        payload in any::<Vec<u8>>(),
        cuts in proptest::collection::vec(1usize..40, 1..10),
    ) {
        let mut wire = Vec::new();
        request.write(&mut wire);
        prop_assert!(wire.len() <= UNIT_HEADER + MAX_BODY);
        for end in 0..wire.len() {
            prop_assert_eq!(read_cut(&wire[..end], &cuts), Ok(None));
        }
        wire.extend_from_slice(&payload);
        let (unit, rest) = read_cut(&wire, &cuts).unwrap().unwrap();
        prop_assert_eq!(Request::read(&unit), Ok(request));
        prop_assert_eq!(rest, payload, "payload behind a request is not touched");
    }

    #[test]
    fn answers_round_trip(
        hello in any_hello(), bound in any_socket(), status in 1u8..16, reason in any_text(),
        to in any_destination(),
    ) {
        let refusal = Refusal { status: Status::from_code(status), reason };
        for (request, answer) in [
            (Request::Control(Hello::default()), Ok(Granted::Hello(hello.clone()))),
            (Request::Listen { id: 1, bind: bound }, Ok(Granted::Listening(bound))),
            (Request::ListenDatagrams { id: 1, bind: bound }, Ok(Granted::Listening(bound))),
            (Request::Datagrams { flow: 4, to: to.clone() }, Ok(Granted::Datagrams(bound))),
            (Request::DatagramsFrom { id: 1, flow: 5, from: bound }, Ok(Granted::Datagrams(bound))),
            (Request::Connect(to.clone()), Ok(Granted::Open)),
            (Request::Resolve { query: vec![1; 12] }, Ok(Granted::Open)),
            (Request::Connect(to.clone()), Err(refusal.clone())),
        ] {
            let mut wire = Vec::new();
            write_answer(&answer, &mut wire);
            let (unit, rest) = read_cut(&wire, &[3]).unwrap().unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read_answer(&request, &unit), Ok(answer));
        }
    }

    #[test]
    fn notices_round_trip(notice in any_notice()) {
        let mut wire = Vec::new();
        notice.write(&mut wire);
        let (unit, _) = read_cut(&wire, &[1, 7]).unwrap().unwrap();
        prop_assert_eq!(Notice::read(&unit), Ok(notice));
    }

    /// C1, C4: whatever arrives, nothing panics and nothing beyond one unit is held.
    #[test]
    fn hostile_bytes_neither_panic_nor_grow(
        mut wire in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in 0u8..10,
        honest_version in any::<bool>(),
        cuts in proptest::collection::vec(1usize..700, 1..5),
    ) {
        if honest_version && wire.len() > 4 {
            wire[0] = VERSION;
            wire[1] = kind;
            wire[2] &= 1;
        }
        if let Ok(Some((unit, _))) = read_cut(&wire, &cuts) {
            prop_assert!(unit.body.len() <= MAX_BODY);
            let _ = Notice::read(&unit);
            let ask = Request::read(&unit);
            let listen = Request::Listen { id: 0, bind: SocketAddr::from(([0; 4], 0)) };
            for request in ask.into_iter().chain([listen, Request::Control(Hello::default())]) {
                if let Ok(Err(refusal)) = read_answer(&request, &unit) {
                    prop_assert!(refusal.reason.len() <= MAX_TEXT);
                    prop_assert!(!refusal.reason.chars().any(char::is_control));
                }
            }
        }
    }

    #[test]
    fn texts_are_cut_between_characters(text in "\\PC{0,400}") {
        let refusal = Refusal::new(Status::Failed, &text);
        prop_assert!(refusal.reason.len() <= MAX_TEXT);
        let mut wire = Vec::new();
        write_answer(&Err(refusal.clone()), &mut wire);
        let (unit, _) = read_cut(&wire, &[64]).unwrap().unwrap();
        prop_assert_eq!(read_refusal(&unit), Some(refusal));
    }
}

#[test]
fn a_foreign_protocol_is_known_by_its_first_byte() {
    let mut reader = UnitReader::default();
    let verdict = reader.push(&mut Bytes::from_static(b"G"));
    assert_eq!(verdict, Err(ProtocolError::Version(b'G')));
    assert_eq!(ProtocolError::Version(b'G').status(), Status::BadVersion);
}

#[test]
fn an_announced_length_is_checked_before_the_body_is_waited_for() {
    let mut reader = UnitReader::default();
    let verdict = reader.push(&mut Bytes::from_static(&[VERSION, CONNECT, 2, 1]));
    assert_eq!(verdict, Err(ProtocolError::TooLong(513)));
}

#[test]
fn fields_after_the_known_ones_are_ignored() {
    let mut wire = Vec::new();
    let to = Destination::new(IpAddr::from([127, 0, 0, 1]), 80).unwrap();
    Request::Connect(to.clone()).write(&mut wire);
    let mut unit = Unit {
        kind: CONNECT,
        body: wire[UNIT_HEADER..].to_vec(),
    };
    unit.body.extend_from_slice(b"from a later version");
    assert_eq!(Request::read(&unit), Ok(Request::Connect(to)));
}

#[test]
fn what_is_malformed_has_a_status() {
    for (kind, body, status) in [
        (CONNECT, &b""[..], Status::Malformed),
        (CONNECT, &[1, 127, 0, 0, 1, 0, 0], Status::Malformed), // port 0
        (CONNECT, &[3, 2, b'a', b'\n', 0, 80], Status::Malformed),
        (CONNECT, &[2, 127, 0, 0, 1, 0, 80], Status::Malformed),
        (LISTEN, &[0, 0, 0, 1, 3, 1, b'a', 0, 80], Status::Malformed), // a name is no bind address
        (CONTROL, &[0, 0, 0, 0, 9, b'x'], Status::Malformed),
        (DATAGRAMS, b"", Status::Malformed), // as it was reserved once
        (DATAGRAMS, &[0x40], Status::Malformed),
        (DATAGRAMS, &[0, 1, 127, 0, 0, 1, 0, 0], Status::Malformed), // port 0
        (LISTEN_DATAGRAMS, &[0, 0, 0, 1], Status::Malformed),
        (DATAGRAMS_FROM, &[0, 0, 0, 1, 0xc0, 0], Status::Malformed),
        (0, b"", Status::Unsupported),
        (99, b"", Status::Unsupported),
    ] {
        let error = Request::read(&Unit {
            kind,
            body: body.to_vec(),
        })
        .unwrap_err();
        assert_eq!(error.status(), status, "{kind} {body:?}");
    }
}

#[test]
fn a_refusal_is_never_read_as_a_grant() {
    let mut wire = Vec::new();
    write_answer(&Err(Refusal::new(Status::Ok, "confused")), &mut wire);
    assert_eq!(wire.get(1), Some(&Status::Failed.code()));
}

#[test]
fn reasons_cannot_move_the_cursor() {
    let refusal = Refusal::new(Status::Failed, "a\x1b[2Jb\r\nc\u{202e}d");
    assert_eq!(refusal.reason, "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d");
}

#[test]
fn status_numbers_are_distinct_and_dense() {
    for (at, (status, code, words)) in Status::all().enumerate() {
        assert_eq!(usize::from(code), at);
        assert_eq!(Status::from_code(code), status);
        assert_eq!((status.code(), status.as_str()), (code, words));
    }
    assert_eq!(Status::from_code(200), Status::Failed);
}

/// What `write` appends to nothing.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut wire = Vec::new();
    write(&mut wire);
    wire
}

/// The examples of docs/tunnel-protocol.md, by their names there.
fn documented() -> Vec<(&'static str, Vec<u8>)> {
    let (asked, said) = (documented_requests(), documented_answers());
    let asked = asked.map(|(name, request)| (name, written(|out| request.write(out))));
    asked.into_iter().chain(said).collect()
}

fn weir() -> Hello {
    Hello {
        features: 0,
        agent: "weir/0.1".to_owned(),
    }
}

fn documented_requests() -> [(&'static str, Request); 11] {
    let connect = |to: &str| Request::Connect(to.parse().unwrap());
    let datagrams = |flow, to: &str| {
        let to = to.parse().unwrap();
        Request::Datagrams { flow, to }
    };
    let bind = "127.0.0.1:2222".parse().unwrap();
    let from = "192.0.2.9:50000".parse().unwrap();
    let query = b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    [
        ("control, agent `weir/0.1`", Request::Control(weir())),
        ("connect to 127.0.0.1:80", connect("127.0.0.1:80")),
        ("connect to [2001:db8::1]:443", connect("[2001:db8::1]:443")),
        ("connect to example.org:22", connect("example.org:22")),
        (
            "listen 7 at 127.0.0.1:2222",
            Request::Listen { id: 7, bind },
        ),
        (
            "accepted 7 from 192.0.2.9:50000",
            Request::Accepted { id: 7, from },
        ),
        (
            "datagrams, flow 4, to 10.0.0.1:53",
            datagrams(4, "10.0.0.1:53"),
        ),
        (
            "datagrams, flow 300, to example.org:53",
            datagrams(300, "example.org:53"),
        ),
        (
            "listen 7 for datagrams at 127.0.0.1:2222",
            Request::ListenDatagrams { id: 7, bind },
        ),
        (
            "datagrams of listen 7, flow 1, from 192.0.2.9:50000",
            Request::DatagramsFrom {
                id: 7,
                flow: 1,
                from,
            },
        ),
        ("resolve a question of 12 bytes", Request::Resolve { query }),
    ]
}

fn documented_answers() -> [(&'static str, Vec<u8>); 8] {
    let answer = |answer: Answer| written(|out| write_answer(&answer, out));
    let notice = |notice: Notice| written(|out| notice.write(out));
    let refusal = |status, reason| answer(Err(Refusal::new(status, reason)));
    let bind = "127.0.0.1:2222".parse().unwrap();
    let draining = Notice::Draining {
        grace: Duration::from_secs(10),
        reason: "stop".to_owned(),
    };
    let closing = Notice::Closing {
        reason: "bye".to_owned(),
    };
    [
        ("granted", answer(Ok(Granted::Open))),
        (
            "granted, agent `weir/0.1`",
            answer(Ok(Granted::Hello(weir()))),
        ),
        (
            "granted, listening at 127.0.0.1:2222",
            answer(Ok(Granted::Listening(bind))),
        ),
        (
            "granted, datagrams come from 10.0.0.1:53",
            answer(Ok(Granted::Datagrams("10.0.0.1:53".parse().unwrap()))),
        ),
        (
            "refused: connection refused",
            refusal(Status::Refused, "connection refused"),
        ),
        ("not allowed, no reason", refusal(Status::NotAllowed, "")),
        ("draining, 10 s, `stop`", notice(draining)),
        ("closing, `bye`", notice(closing)),
    ]
}

#[test]
fn the_examples_of_the_specification_are_what_the_code_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tunnel-protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, examples) = text.split_once("\n## Examples\n").unwrap();
    let mut rows = Vec::new();
    for line in examples.lines() {
        // A row is `| what | `hex` |`, and `what` may hold code of its own.
        let Some((what, hex)) = line
            .strip_prefix("| ")
            .and_then(|row| row.rsplit_once(" | `"))
        else {
            continue;
        };
        let hex = hex.trim_end_matches("` |").split(' ');
        let bytes: Vec<u8> = hex
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        rows.push((what, bytes));
    }
    assert_eq!(rows, documented());
}

#[test]
fn the_specification_lists_every_status() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tunnel-protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (status, code, _) in Status::all() {
        let socks =
            super::super::socks_wire::reply(super::super::socks_wire::Dialect::Socks5, status)[1];
        let row = text.lines().find(|line| {
            line.starts_with(&format!("| {code} | ")) && line.ends_with(&format!(" | {socks} |"))
        });
        assert!(row.is_some(), "status {code} with SOCKS5 reply {socks}");
    }
}
