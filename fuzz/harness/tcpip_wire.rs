//! Every parser of the TCP/IP stack: what is read lies inside and is written so that it reads the same.
//! The first byte says which parser.

use std::net::IpAddr;

use weir_tcpip::wire::ipv6::Extension;
use weir_tcpip::wire::{
    arp, checksum, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, protocol, seq, tcp, udp, vnet,
};

/// Reads `data` behind its first byte.
pub fn run(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else {
        return;
    };
    match which % 10 {
        0 => link(bytes),
        1 => internet_v4(bytes),
        2 => internet_v6(bytes),
        3 => control_v4(bytes),
        4 => control_v6(bytes),
        5 => datagram(bytes),
        6 => segment(bytes),
        7 => options(bytes),
        8 => device(bytes),
        _ => sums(bytes),
    }
}

fn link(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok((header, payload)) = ethernet::parse(bytes) {
        header.write(&mut out);
        out.extend_from_slice(payload);
        assert_eq!(out, bytes);
    }
    if let Ok(packet) = arp::parse(bytes) {
        out.clear();
        packet.write(&mut out);
        assert_eq!(out, bytes[..arp::LEN]);
    }
}

/// `bytes` as an IPv4 packet whose header checksum is right.
fn internet_v4(bytes: &[u8]) {
    let _ = ipv4::parse(bytes);
    let mut bytes = bytes.to_vec();
    let Some(first) = bytes.first().copied() else {
        return;
    };
    let len = (usize::from(first & 15) * 4).min(bytes.len());
    if len < ipv4::HEADER_LEN {
        return;
    }
    bytes[10..12].fill(0);
    checksum::patch(&mut bytes[..len], 0, 10, checksum::Sum::new());
    let Ok(parsed) = ipv4::parse(&bytes) else {
        return;
    };
    assert_eq!(
        len + parsed.payload.len(),
        usize::from(parsed.header.total_len)
    );
    assert!(ipv4::options(parsed.options).count() <= 20);
    assert_eq!(ipv4::parse_lenient(&bytes).unwrap().header, parsed.header);
    let mut out = Vec::new();
    parsed.header.write(parsed.payload.len(), &mut out);
    out.extend_from_slice(parsed.payload);
    let again = ipv4::parse(&out).unwrap();
    assert_eq!(again.payload, parsed.payload);
    let total_len = again.header.total_len;
    assert_eq!(
        again.header,
        ipv4::Header {
            total_len,
            ..parsed.header
        }
    );
}

fn internet_v6(bytes: &[u8]) {
    let Ok((header, payload)) = ipv6::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    header.write(payload.len(), &mut out);
    out.extend_from_slice(payload);
    assert_eq!(ipv6::parse(&out), Ok((header, payload)));
    assert!(ipv6::extensions(header.next_header, payload).count() < 12);
    match ipv6::upper(header.next_header, payload) {
        Ok(Extension::Upper(upper)) => {
            assert_eq!(upper.offset + upper.payload.len(), 40 + payload.len());
            assert_eq!(bytes[upper.named_at], upper.protocol);
        }
        Ok(Extension::Fragment(fragment)) => {
            assert_eq!(bytes[fragment.named_at], fragment.next_header);
            let end = usize::from(fragment.fragment_offset) + fragment.payload.len();
            assert_eq!(fragment.fragment_offset & 7, 0);
            assert!(fragment.check().is_err() || end <= 65_535);
            let _ = ipv6::extensions_of(&fragment).judge();
            out.clear();
            let (next, more) = (fragment.next_header, fragment.more_fragments);
            ipv6::write_fragment(next, fragment.fragment_offset, more, fragment.id, &mut out);
            out.extend_from_slice(fragment.payload);
            let Ok(Extension::Fragment(again)) = ipv6::upper(protocol::FRAGMENT, &out) else {
                panic!("a fragment that was written is none");
            };
            assert_eq!((again.id, again.more_fragments), (fragment.id, more));
            assert_eq!(again.payload, fragment.payload);
        }
        Ok(other) => panic!("{other:?} is not where a walk ends"),
        Err(ipv6::Rejected::ParameterProblem { code, pointer, .. }) => {
            assert!(code <= 2 && (pointer as usize) < bytes.len());
        }
        Err(ipv6::Rejected::Silently) => {}
    }
}

/// `bytes` as an ICMP message whose checksum is right.
fn control_v4(bytes: &[u8]) {
    let _ = icmpv4::parse(bytes);
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 4 {
        bytes[2..4].fill(0);
        checksum::patch(&mut bytes, 0, 2, checksum::Sum::new());
    }
    if let Ok(message) = icmpv4::parse(&bytes) {
        assert_eq!(message.is_error(), icmpv4::is_error_type(bytes[0]));
        let mut out = Vec::new();
        message.write(&mut out);
        assert_eq!(icmpv4::parse(&out), Ok(message));
    }
}

fn control_v6(bytes: &[u8]) {
    let (src, dst) = ([2; 16].into(), [3; 16].into());
    let _ = icmpv6::parse(src, dst, bytes);
    let _ = ndp::parse(bytes);
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 4 {
        bytes[2..4].fill(0);
        let pseudo = checksum::pseudo_v6(src, dst, protocol::ICMPV6, bytes.len() as u32);
        checksum::patch(&mut bytes, 0, 2, pseudo);
    }
    if let Ok(message) = icmpv6::parse(src, dst, &bytes) {
        if let icmpv6::Message::Ndp(ndp::Message::RouterAdvertisement(advertisement)) = &message {
            assert!(advertisement.options().count() <= bytes.len() / 8);
        }
        let mut out = Vec::new();
        message.write(src, dst, &mut out);
        assert_eq!(icmpv6::parse(src, dst, &out), Ok(message));
    }
}

fn datagram(bytes: &[u8]) {
    let Ok((header, data)) = udp::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    header.write(&mut out);
    out.extend_from_slice(data);
    assert_eq!(out, bytes[..usize::from(header.len)]);
    let (src, dst) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let _ = udp::is_valid(&header, src, dst, bytes);
    out[6..8].fill(0);
    let sum = checksum::transport(src, dst, protocol::UDP, &out);
    out[6..8].copy_from_slice(&udp::checksum_field(sum).to_be_bytes());
    let (header, _) = udp::parse(&out).unwrap();
    assert!(udp::is_valid(&header, src, dst, &out));
}

fn segment(bytes: &[u8]) {
    let Ok(read) = tcp::Segment::parse(bytes) else {
        return;
    };
    assert!(read.payload.len() + tcp::HEADER_LEN <= bytes.len());
    assert!(
        read.options
            .window_scale
            .is_none_or(|shift| shift <= tcp::MAX_WINDOW_SHIFT)
    );
    let header = tcp::Header {
        src_port: read.src_port,
        dst_port: read.dst_port,
        seq: read.seq,
        ack: read.ack,
        flags: read.flags,
        window: read.window,
        urgent: read.urgent,
        options: read.options,
    };
    let mut out = Vec::new();
    header.write(&mut out);
    assert_eq!(out.len(), header.len());
    assert!(out.len() <= tcp::MAX_HEADER_LEN);
    out.extend_from_slice(read.payload);
    let again = tcp::Segment::parse(&out).unwrap();
    // SACK blocks may have to give way to what stands in front of them.
    let mut options = read.options;
    options.sack = again.options.sack;
    assert!(
        read.options
            .sack
            .as_slice()
            .starts_with(again.options.sack.as_slice())
    );
    assert_eq!(again, tcp::Segment { options, ..read });
    let near = u64::from(read.ack) << 8;
    if let Some(offset) = seq::widen(read.seq, read.ack, near) {
        assert_eq!(seq::wire(read.seq, offset), read.ack);
        assert!(offset.abs_diff(near) <= 1 << 31);
    }
}

fn options(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(40)];
    let (plain, syn) = (
        tcp::Options::parse(bytes, false),
        tcp::Options::parse(bytes, true),
    );
    assert_eq!((plain.timestamps, plain.sack), (syn.timestamps, syn.sack));
    assert!(plain.mss.is_none() && plain.window_scale.is_none() && !plain.sack_permitted);
    assert!(plain.fast_open.is_none());
    for options in [plain, syn] {
        let mut out = Vec::new();
        options.write(&mut out);
        assert_eq!(out.len(), options.len());
        assert!(out.len() <= 40 && out.len() % 4 == 0);
        let again = tcp::Options::parse(&out, true);
        assert_eq!(
            (again.mss, again.timestamps),
            (options.mss, options.timestamps)
        );
        assert_eq!(again.fast_open, options.fast_open);
    }
}

fn device(bytes: &[u8]) {
    for len in [vnet::LEN, vnet::LEN_MERGEABLE] {
        let Ok((offload, frame)) = vnet::parse(bytes, len) else {
            continue;
        };
        let again = match len {
            vnet::LEN => [&vnet::header::<{ vnet::LEN }>(&offload)[..], frame].concat(),
            _ => [
                &vnet::header::<{ vnet::LEN_MERGEABLE }>(&offload)[..],
                frame,
            ]
            .concat(),
        };
        assert_eq!(vnet::parse(&again, len), Ok((offload, frame)));
    }
}

fn sums(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut sum = checksum::sum(first);
    sum.add_bytes(second);
    assert_eq!(sum.fold(), checksum::sum(bytes).fold());
    if let [a, b, c, d, ..] = *bytes {
        let (old, new) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let mut changed = bytes.to_vec();
        changed[..2].copy_from_slice(&[c, d]);
        let updated = checksum::update(checksum::sum(bytes).finish(), old, new);
        // Both forms of zero stand for the same when nothing but zeros is summed.
        let full = checksum::sum(&changed).finish();
        assert!(updated == full || (updated | full == 0xffff && updated & full == 0));
    }
    let ends: (IpAddr, IpAddr) = ([1, 2, 3, 4].into(), [5, 6, 7, 8].into());
    let _ = checksum::is_valid_transport(ends.0, ends.1, protocol::TCP, bytes);
}
