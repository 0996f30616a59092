//! RFC 9293 3.1 and 3.2, RFC 2018, RFC 7323, RFC 7413: header and options, there and back.

use super::*;
use proptest::prelude::*;

fn segment(offset_and_flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x30, 0x39, 0, 80, 0, 0, 0x10, 0, 0, 0, 0x20, 0];
    out.extend_from_slice(&offset_and_flags.to_be_bytes());
    out.extend_from_slice(&[0x80, 0, 0xab, 0xcd, 0, 0]);
    out.extend_from_slice(options);
    out.extend_from_slice(payload);
    out
}

/// `options` padded to a word in a header with `flags`, parsed.
fn options(flags: Flags, options: &[u8]) -> Options {
    let mut padded = options.to_vec();
    padded.resize(options.len().div_ceil(4) * 4, 0);
    let words = (5 + padded.len() / 4) as u16;
    let bytes = segment(words << 12 | flags.bits(), &padded, &[]);
    Segment::parse(&bytes).unwrap().options
}

fn syn_options() -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps {
            value: 0x0102_0304,
            echo: 0,
        }),
        ..Options::default()
    }
}

#[test]
fn the_fields_stand_as_rfc_9293_has_them() {
    let bytes = segment(0x5018, &[], b"data");
    let parsed = Segment::parse(&bytes).unwrap();
    assert_eq!((parsed.src_port, parsed.dst_port), (12_345, 80));
    assert_eq!((parsed.seq, parsed.ack), (0x1000, 0x2000));
    assert_eq!(parsed.flags, Flags::PSH | Flags::ACK);
    assert_eq!((parsed.window, parsed.urgent), (0x8000, 0));
    assert_eq!(parsed.options, Options::default());
    assert_eq!((parsed.payload, parsed.sequence_len()), (&b"data"[..], 4));
}

#[test]
fn syn_and_fin_take_up_a_sequence_number_each() {
    // RFC 9293 3.4: SEG.LEN counts SYN and FIN.
    for (flags, len) in [(0x5002, 5), (0x5001, 5), (0x5003, 6), (0x5010, 4)] {
        let bytes = segment(flags, &[], b"data");
        assert_eq!(Segment::parse(&bytes).unwrap().sequence_len(), len);
    }
}

#[test]
fn a_data_offset_that_cannot_be_is_refused() {
    // T2
    for words in 0..5_u16 {
        let bytes = segment(words << 12 | 0x010, &[], &[0; 60]);
        assert_eq!(
            Segment::parse(&bytes),
            Err(Malformed::field(NAME, "Data Offset"))
        );
    }
    for words in 6..16_u16 {
        let bytes = segment(words << 12 | 0x010, &[], &[]);
        assert_eq!(Segment::parse(&bytes), Err(Malformed::Truncated(NAME)));
        let bytes = segment(
            words << 12 | 0x010,
            &[],
            &vec![1; usize::from(words - 5) * 4],
        );
        assert_eq!(Segment::parse(&bytes).unwrap().payload, [0_u8; 0]);
    }
    assert_eq!(Segment::parse(&[0x50; 19]), Err(Malformed::Truncated(NAME)));
}

#[test]
fn reserved_bits_are_ignored_and_sent_as_zero() {
    // T3
    let bytes = segment(0x5e10, &[], &[]);
    assert_eq!(Segment::parse(&bytes).unwrap().flags, Flags::ACK);
    let mut out = Vec::new();
    let flags = Flags::from_bits(0xffff);
    Header {
        flags,
        ..Header::default()
    }
    .write(&mut out);
    assert_eq!(out[12..14], [0x51, 0xff]);
}

#[test]
fn the_list_ends_at_kind_0_and_unknown_kinds_are_skipped() {
    // T4: kind 1 has no length; 254 (RFC 3692) and 19 (MD5) are skipped by theirs.
    let read = options(
        Flags::SYN,
        &[1, 254, 4, 9, 9, 19, 3, 2, 1, 2, 4, 5, 180, 0, 3, 3, 7],
    );
    assert_eq!((read.mss, read.window_scale), (Some(1460), None));
}

#[test]
fn a_length_that_cannot_be_ends_the_list() {
    // T5: what stood before counts, what follows does not, and the segment is taken.
    let lengths: [&[u8]; 5] = [
        &[254, 0],
        &[254, 1],
        &[254, 7, 3, 3, 7],
        &[8, 10, 1],
        &[254],
    ];
    for bad in lengths {
        let mut bytes = vec![2, 4, 5, 180];
        bytes.extend_from_slice(bad);
        // The bad option is pushed against the end of the header by leading no-operations.
        let lead = (4 - bytes.len() % 4) % 4;
        let mut aligned = vec![1; lead];
        aligned.append(&mut bytes);
        let read = options(Flags::SYN, &aligned);
        assert_eq!(
            read,
            Options {
                mss: Some(1460),
                ..Options::default()
            },
            "{bad:?}"
        );
    }
}

#[test]
fn known_kinds_of_another_length_are_skipped() {
    // T5: their contents mean nothing, what follows them does.
    let wrong: [&[u8]; 6] = [
        &[2, 3, 5],
        &[3, 4, 7, 7],
        &[4, 3, 1],
        &[8, 9, 0, 0, 0, 1, 0, 0, 0],
        &[5, 9, 0, 0, 0, 1, 0, 0, 0],
        &[34, 5, 1, 2, 3],
    ];
    for bytes in wrong {
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(&[254, 2, 2, 4, 5, 180]);
        let read = options(Flags::SYN, &bytes);
        assert_eq!(
            read,
            Options {
                mss: Some(1460),
                ..Options::default()
            },
            "{bytes:?}"
        );
    }
}

#[test]
fn options_are_understood_at_any_alignment() {
    // T6
    for lead in 0..4 {
        let mut bytes = vec![1; lead];
        bytes.extend_from_slice(&[8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 2, 4, 5, 180, 4, 2, 3, 3, 7]);
        assert_eq!(
            options(Flags::SYN, &bytes),
            syn_options(),
            "{lead} in front"
        );
    }
    let mut sack = SackBlocks::NONE;
    sack.push(1, 2);
    sack.push(3, 0xffff_ffff);
    for lead in 0..4 {
        let mut bytes = vec![1; lead];
        bytes.extend_from_slice(&[
            5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 255, 255, 255, 255,
        ]);
        assert_eq!(
            options(Flags::ACK, &bytes),
            Options {
                sack,
                ..Options::default()
            }
        );
    }
}

#[test]
fn options_of_a_syn_mean_nothing_elsewhere() {
    // T96, T113: MSS, window scale, SACK-permitted and Fast Open count on SYN only.
    let read = options(
        Flags::ACK,
        &[2, 4, 5, 180, 4, 2, 3, 3, 7, 34, 6, 1, 2, 3, 4],
    );
    assert_eq!(read, Options::default());
}

#[test]
fn a_window_shift_over_14_means_14() {
    // T113, RFC 7323 2.3
    for (shift, meant) in [(0, 0), (14, 14), (15, 14), (255, 14)] {
        assert_eq!(
            options(Flags::SYN, &[3, 3, shift]).window_scale,
            Some(meant)
        );
    }
}

#[test]
fn the_options_of_a_syn_stand_in_the_usual_order() {
    // T7, RFC 7323 A
    let mut out = Vec::new();
    syn_options().write(&mut out);
    assert_eq!(
        out,
        [
            2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7
        ]
    );
    out.clear();
    Options {
        timestamps: None,
        ..syn_options()
    }
    .write(&mut out);
    assert_eq!(out, [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7]);
    out.clear();
    let fast_open = FastOpen::new(&[9; 8]);
    Options {
        timestamps: None,
        fast_open,
        ..syn_options()
    }
    .write(&mut out);
    assert_eq!(out[12..], [34, 10, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1]);
}

#[test]
fn the_options_of_other_segments_are_aligned() {
    // T7, RFC 7323 A, RFC 2018 3
    let mut sack = SackBlocks::NONE;
    sack.push(5, 6);
    let timestamps = Some(Timestamps { value: 1, echo: 2 });
    let mut out = Vec::new();
    Options {
        timestamps,
        sack,
        ..Options::default()
    }
    .write(&mut out);
    assert_eq!(
        out,
        [
            1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 5, 0, 0, 0, 6
        ]
    );
}

#[test]
fn as_many_sack_blocks_as_fit() {
    // T97: four alone, three beside timestamps; RFC 2018 3.
    let mut sack = SackBlocks::NONE;
    for block in 0..4 {
        assert!(sack.push(block * 10, block * 10 + 5));
    }
    assert!(!sack.push(90, 95));
    let written = |timestamps| {
        let own = Options {
            timestamps,
            sack,
            ..Options::default()
        };
        let mut out = Vec::new();
        own.write(&mut out);
        assert_eq!((out.len(), own.len()), (own.len(), out.len()));
        assert!(own.sack_room() >= Options::parse(&out, false).sack.len());
        Options::parse(&out, false).sack
    };
    assert_eq!(written(None), sack);
    let with_timestamps = written(Some(Timestamps::default()));
    assert_eq!(with_timestamps.as_slice(), &sack.as_slice()[..3]);
}

#[test]
fn fast_open_cookies_have_a_length_that_may_be() {
    // RFC 7413 4.1.1: 4 to 16 bytes, even; empty is the request.
    for len in 0..40 {
        let right = len == 0 || (4..=16).contains(&len) && len % 2 == 0;
        assert_eq!(FastOpen::new(&vec![1; len]).is_some(), right, "{len} bytes");
    }
    let read = options(Flags::SYN, &[34, 2]);
    assert!(read.fast_open.unwrap().is_request());
    let read = options(Flags::SYN, &[34, 6, 1, 2, 3, 4]);
    assert_eq!(read.fast_open.unwrap().cookie(), [1, 2, 3, 4]);
}

#[test]
fn the_urgent_pointer_is_read_and_written_as_it_is() {
    // T11: not sent unless asked for.
    let mut bytes = segment(0x5030, &[], b"urgent");
    bytes[18..20].copy_from_slice(&[0, 6]);
    let parsed = Segment::parse(&bytes).unwrap();
    assert!(parsed.flags.contains(Flags::URG));
    assert_eq!(parsed.urgent, 6);
    assert_eq!(Header::default().urgent, 0);
    assert!(!Header::default().flags.contains(Flags::URG));
}

fn any_options(syn: bool) -> impl Strategy<Value = Options> {
    let timestamps = proptest::option::of((any::<u32>(), any::<u32>()));
    let cookie = proptest::option::of(prop::sample::select(vec![0_usize, 4, 6, 8, 10, 16]));
    let blocks = proptest::collection::vec(any::<(u32, u32)>(), 0..5);
    let any_syn = (
        any::<Option<u16>>(),
        proptest::option::of(0_u8..15),
        any::<bool>(),
        cookie,
    );
    (any_syn, timestamps, blocks).prop_map(
        move |((mss, shift, permitted, cookie), stamps, blocks)| {
            let mut options = Options {
                timestamps: stamps.map(|(value, echo)| Timestamps { value, echo }),
                ..Options::default()
            };
            if syn {
                options.mss = mss;
                options.window_scale = shift;
                options.sack_permitted = permitted;
                options.fast_open = cookie.and_then(|len| FastOpen::new(&vec![7; len]));
            } else {
                for (left, right) in blocks {
                    if options.sack.len() < options.sack_room() {
                        options.sack.push(left, right);
                    }
                }
            }
            options
        },
    )
}

fn any_header() -> impl Strategy<Value = Header> {
    let fields = any::<(u16, u16, u32, u32, u16, u16, u16)>();
    (fields, any::<bool>()).prop_flat_map(|(fields, syn)| {
        any_options(syn).prop_map(move |options| {
            let (src_port, dst_port, seq, ack, bits, window, urgent) = fields;
            let flags = Flags::from_bits(bits).without(Flags::SYN);
            let flags = if syn { flags | Flags::SYN } else { flags };
            Header {
                src_port,
                dst_port,
                seq,
                ack,
                flags,
                window,
                urgent,
                options,
            }
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in any_header(), payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        prop_assert_eq!(bytes.len(), header.len());
        prop_assert!(bytes.len() % 4 == 0 && bytes.len() <= MAX_HEADER_LEN);
        prop_assert_eq!(&bytes[16..18], &[0, 0]);
        bytes.extend_from_slice(&payload);
        let read = Segment::parse(&bytes).unwrap();
        let again = Header {
            src_port: read.src_port,
            dst_port: read.dst_port,
            seq: read.seq,
            ack: read.ack,
            flags: read.flags,
            window: read.window,
            urgent: read.urgent,
            options: read.options,
        };
        prop_assert_eq!(again, header);
        prop_assert_eq!(read.payload, payload.as_slice());
    }

    #[test]
    fn what_is_plain_is_read_as_any_segment_is(
        flags in prop::sample::select(vec![0x10_u16, 0x18, 0x810, 0x11, 0x30, 0x50, 0x12, 0x00]),
        words in prop::sample::select(vec![4_u16, 5, 6, 8, 8, 9, 15]),
        stamped in prop::sample::select(vec![true, true, false]),
        mut rest in proptest::collection::vec(any::<u8>(), 0..60)
    ) {
        if stamped && rest.len() >= 4 {
            rest[..4].copy_from_slice(&[1, 1, 8, 10]);
        }
        let bytes = segment(words << 12 | flags, &rest, &[]);
        let any = Segment::parse(&bytes).ok();
        let plain = Plain::parse(&bytes);
        if let Some(plain) = plain {
            prop_assert_eq!(any.and_then(|any| Plain::of(&any)), Some(plain));
        } else if let Some(any) = any {
            let is_usual = matches!(words, 5) || (words == 8 && stamped);
            prop_assert!(any.flags.without(Flags::PSH) != Flags::ACK || !is_usual);
        }
    }

    #[test]
    fn hostile_options_are_read_within_their_header(
        kinds in proptest::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 8, 10, 18, 34, 254]), 0..41),
        syn: bool
    ) {
        // T5: no crash, no loop.
        let read = Options::parse(&kinds, syn);
        prop_assert!(read.sack.len() <= 4 && read.len() <= 40);
        prop_assert!(read.window_scale.is_none_or(|shift| shift <= MAX_WINDOW_SHIFT));
        let mut out = Vec::new();
        read.write(&mut out);
        prop_assert_eq!(out.len(), read.len());
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads(value: u32, echo: u32) {
        let mut bytes = Vec::new();
        Options { timestamps: Some(Timestamps { value, echo }), ..Options::default() }.write(&mut bytes);
        let short = Options::parse(&bytes, false);
        // An end of list behind it takes the long way.
        bytes.extend_from_slice(&[0, 0, 0, 0]);
        prop_assert_eq!(short, Options::parse(&bytes, false));
        prop_assert_eq!(short.timestamps, Some(Timestamps { value, echo }));
    }
}
