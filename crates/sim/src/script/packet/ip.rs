//! IP packets between bytes and words (RFC 791, RFC 8200).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{Reader, checksum, length, low8, low16, low32, put_u16};
use super::flow::From;
use super::link::Ends;
use super::words::{Fields, Words, hex, number};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const ECN: [&str; 4] = ["not-ect", "ect1", "ect0", "ce"];

/// The addresses of a packet in words, or the usual ones.
pub(crate) fn addresses(
    words: &Words,
    from: From,
    ends: &Ends,
) -> Result<(IpAddr, IpAddr), String> {
    let (source, destination) = ends.addresses(from);
    let address = |name, usual| match words.outer(name) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no address")),
        None => Ok(usual),
    };
    Ok((address("src", source)?, address("dst", destination)?))
}

/// The pseudo-header of the upper layers' checksums (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub(crate) fn pseudo((source, destination): (IpAddr, IpAddr), protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    let len = low32(length(len));
    bytes.extend(len.to_be_bytes());
    bytes.extend(u32::from(protocol).to_be_bytes());
    bytes
}

/// Writes the packet around an upper layer's bytes.
pub(crate) fn encode(
    words: &Words,
    addresses: (IpAddr, IpAddr),
    protocol: u8,
    upper: &[u8],
) -> Result<Vec<u8>, String> {
    let ecn = words.outer("ecn").unwrap_or("not-ect");
    let ecn = ECN
        .iter()
        .position(|name| *name == ecn)
        .ok_or("what ECN is that?")?;
    let class = words.outer_number("tos")?.unwrap_or(0) | length(ecn);
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            encode_v4(words, (source, destination), protocol, class, upper)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            encode_v6(words, (source, destination), protocol, class, upper)
        }
        _ => Err("addresses of two versions".to_owned()),
    }
}

/// The piece of the upper layer that a fragment has: offset, bytes, whether more follow.
type Piece<'a> = (i64, &'a [u8], bool);

fn piece<'a>(words: &Words, upper: &'a [u8]) -> Result<Option<Piece<'a>>, String> {
    let Some(range) = words.outer("frag") else {
        return Ok(None);
    };
    let (low, high) = match range.split_once(':') {
        Some((low, high)) => (number(low)?, number(high)?),
        None if range == "all" => (0, length(upper.len())),
        None => return Err("frag is from:to, or all".to_owned()),
    };
    let index = |at| usize::try_from(at).unwrap_or(usize::MAX);
    let piece = upper
        .get(index(low)..index(high))
        .ok_or_else(|| format!("the packet has {} bytes", upper.len()))?;
    let more = words
        .outer_number("more")?
        .map_or(high < length(upper.len()), |more| more != 0);
    let offset = words.outer_number("offset")?.unwrap_or(low);
    Ok(Some((offset, piece, more)))
}

fn encode_v4(
    words: &Words,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    class: i64,
    upper: &[u8],
) -> Result<Vec<u8>, String> {
    let field = |name, default| {
        words
            .outer_number(name)
            .map(|value| value.unwrap_or(default))
    };
    let (offset, piece, more) = piece(words, upper)?.unwrap_or((0, upper, false));
    let mut options = hex(words.outer("options").unwrap_or_default())?;
    options.resize(options.len().next_multiple_of(4), 0);
    let header = 20 + options.len();
    let df = i64::from(words.outer("frag").is_none());
    let bits = field("df", df)? << 14 | i64::from(more) << 13 | (offset / 8);
    let mut bytes = vec![
        low8(field("version", 4)? << 4 | field("ihl", length(header / 4))?),
        low8(class),
    ];
    bytes.extend(low16(field("total", length(header + piece.len()))?).to_be_bytes());
    bytes.extend(low16(field("id", 0)?).to_be_bytes());
    bytes.extend(low16(bits).to_be_bytes());
    bytes.push(low8(field("ttl", 64)?));
    bytes.push(low8(field("protocol", protocol.into())?));
    bytes.extend([0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(options);
    let sum = checksum(&[&bytes]);
    let sum = if words.outer("header-checksum") == Some("bad") {
        !sum
    } else {
        sum
    };
    put_u16(&mut bytes, 10, sum);
    bytes.extend(piece);
    Ok(bytes)
}

fn encode_v6(
    words: &Words,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    protocol: u8,
    class: i64,
    upper: &[u8],
) -> Result<Vec<u8>, String> {
    let field = |name, default| {
        words
            .outer_number(name)
            .map(|value| value.unwrap_or(default))
    };
    let protocol = low8(field("protocol", protocol.into())?);
    let fragment = piece(words, upper)?;
    let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
    for (name, value) in &words.outer {
        let kind = match name.as_str() {
            "hbh" => HOP_BY_HOP,
            "dst-opts" => DESTINATION,
            "routing" => ROUTING,
            _ => continue,
        };
        // What follows next header and length; padded to a multiple of eight with them.
        let mut body = hex(value)?;
        let padded = (body.len() + 2).next_multiple_of(8) - 2;
        if kind != ROUTING && padded - body.len() > 1 {
            let pad = padded - body.len() - 2;
            body.extend([1, low8(length(pad))]);
        }
        body.resize(padded, 0);
        body.insert(0, low8(length((padded + 2) / 8 - 1)));
        headers.push((kind, body));
    }
    let mut payload = upper;
    if let Some((offset, piece, more)) = fragment {
        let mut body = vec![0];
        body.extend(low16((offset / 8 * 8) | i64::from(more)).to_be_bytes());
        body.extend(low32(field("id", 0)?).to_be_bytes());
        headers.push((FRAGMENT, body));
        payload = piece;
    }
    let kinds = headers.iter().map(|(kind, _)| *kind).chain([protocol]);
    let mut next = kinds.collect::<Vec<u8>>().into_iter();
    let first = next.next().unwrap_or(protocol);
    let mut rest = Vec::new();
    for (_, body) in &headers {
        rest.push(next.next().unwrap_or(protocol));
        rest.extend(body);
    }
    rest.extend(payload);
    let start = field("version", 6)? << 28 | class << 20 | field("label", 0)?;
    let mut bytes = low32(start).to_be_bytes().to_vec();
    bytes.extend(low16(field("total", length(rest.len()))?).to_be_bytes());
    bytes.extend([first, low8(field("ttl", 64)?)]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(rest);
    Ok(bytes)
}

/// A packet that was read.
pub(crate) struct Parsed<'a> {
    pub(crate) addresses: (IpAddr, IpAddr),
    pub(crate) protocol: u8,
    /// A fragment, which is not looked into.
    pub(crate) is_fragment: bool,
    pub(crate) upper: &'a [u8],
}

/// Reads a packet and notes its fields. A packet that is `quoted` may be cut short.
pub(crate) fn parse<'a>(
    packet: &'a [u8],
    quoted: bool,
    outer: &mut Fields,
) -> Result<Parsed<'a>, String> {
    let parsed = match packet.first().map(|byte| byte >> 4) {
        Some(4) => parse_v4(packet, quoted, outer),
        Some(6) => parse_v6(packet, quoted, outer),
        other => return Err(format!("IP version {other:?}")),
    };
    parsed.ok_or("an IP header that is cut short, too long or has a wrong checksum".to_owned())
}

fn note(outer: &mut Fields, name: &str, value: impl ToString) {
    outer.push((name.to_owned(), value.to_string()));
}

fn note_class(outer: &mut Fields, class: u8) {
    let ecn = ECN.get(usize::from(class & 3)).copied().unwrap_or_default();
    note(outer, "ecn", ecn);
    note(outer, "tos", class & !3);
}

fn note_fragment(outer: &mut Fields, offset: u16, more: bool, len: usize) {
    let from = usize::from(offset) * 8;
    note(outer, "frag", format!("{from}:{}", from + len));
    note(outer, "more", u8::from(more));
}

fn parse_v4<'a>(packet: &'a [u8], quoted: bool, outer: &mut Fields) -> Option<Parsed<'a>> {
    let mut reader = Reader(packet);
    let header = usize::from(reader.u8()? & 0xf) * 4;
    let (class, total) = (reader.u8()?, usize::from(reader.u16()?));
    let (id, bits, ttl, protocol) = (reader.u16()?, reader.u16()?, reader.u8()?, reader.u8()?);
    let _checksum = reader.u16()?;
    let source = Ipv4Addr::from_bits(reader.u32()?);
    let destination = Ipv4Addr::from_bits(reader.u32()?);
    let whole = header >= 20 && total == packet.len() && checksum(&[packet.get(..header)?]) == 0;
    if !whole && !quoted {
        return None;
    }
    let upper = packet.get(header..)?;
    note(outer, "src", source);
    note(outer, "dst", destination);
    note(outer, "ttl", ttl);
    note_class(outer, class);
    note(outer, "id", id);
    note(outer, "df", bits >> 14 & 1);
    let (offset, more) = (bits & 0x1fff, bits & 0x2000 != 0);
    let is_fragment = more || offset > 0;
    if is_fragment {
        note_fragment(outer, offset, more, upper.len());
    }
    Some(Parsed {
        addresses: (source.into(), destination.into()),
        protocol,
        is_fragment: is_fragment && !(quoted && offset == 0),
        upper,
    })
}

fn parse_v6<'a>(packet: &'a [u8], quoted: bool, outer: &mut Fields) -> Option<Parsed<'a>> {
    let mut reader = Reader(packet);
    let start = reader.u32()?;
    let (len, mut protocol, ttl) = (usize::from(reader.u16()?), reader.u8()?, reader.u8()?);
    let mut address = || reader.ipv6();
    let (source, destination) = (address()?, address()?);
    if len != reader.0.len() && !quoted {
        return None;
    }
    note(outer, "src", source);
    note(outer, "dst", destination);
    note(outer, "ttl", ttl);
    note_class(outer, u8::try_from(start >> 20 & 0xff).ok()?);
    note(outer, "label", start & 0xf_ffff);
    let mut is_fragment = false;
    loop {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                protocol = reader.u8()?;
                let len = usize::from(reader.u8()?);
                reader.take(len * 8 + 6)?;
            }
            FRAGMENT => {
                protocol = reader.u8()?;
                reader.u8()?;
                let (bits, id) = (reader.u16()?, reader.u32()?);
                note(outer, "id", id);
                note_fragment(outer, bits >> 3, bits & 1 != 0, reader.0.len());
                is_fragment = bits & !6 != 0;
                if bits >> 3 > 0 {
                    break;
                }
            }
            _ => break,
        }
    }
    Some(Parsed {
        addresses: (source.into(), destination.into()),
        protocol,
        is_fragment: is_fragment && !quoted,
        upper: reader.0,
    })
}
