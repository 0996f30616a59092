//! ICMP and neighbour discovery between bytes and words (RFC 792, RFC 4443, RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use super::bytes::{Reader, length, low8, low16, low32};
use super::flow::{From, pattern};
use super::link::{Ends, mac, show};
use super::words::{Words, number};

/// Name, type in ICMP, type in ICMPv6; 255 where there is none.
const KINDS: [(&str, u8, u8); 12] = [
    ("icmp echo", 8, 128),
    ("icmp echo-reply", 0, 129),
    ("icmp unreachable", 3, 1),
    ("icmp too-big", 255, 2),
    ("icmp source-quench", 4, 255),
    ("icmp redirect", 5, 255),
    ("icmp time-exceeded", 11, 3),
    ("icmp parameter-problem", 12, 4),
    ("ndp router-solicit", 255, 133),
    ("ndp router-advertise", 255, 134),
    ("ndp solicit", 255, 135),
    ("ndp advertise", 255, 136),
];

/// What an error has between its checksum and the packet that it quotes: one 32-bit word.
fn word_of(words: &Words, v4: bool) -> Result<u32, String> {
    let field = |name| words.number(name).map(|value| value.unwrap_or(0));
    Ok(match words.kind.as_str() {
        "icmp echo" | "icmp echo-reply" => {
            u32::from(low16(field("id")?)) << 16 | u32::from(low16(field("seq")?))
        }
        "icmp parameter-problem" if v4 => u32::from(low8(field("pointer")?)) << 24,
        "icmp parameter-problem" => low32(field("pointer")?),
        "icmp redirect" => match words.get("gateway").map(str::parse) {
            Some(Ok(std::net::Ipv4Addr::BROADCAST)) | None => 0,
            Some(Ok(gateway)) => gateway.to_bits(),
            Some(Err(_)) => return Err("a gateway is an IPv4 address".to_owned()),
        },
        "icmp unreachable" if v4 => u32::from(low16(field("mtu")?)),
        _ => low32(field("mtu")?),
    })
}

/// Writes the message without its checksum. `quoted` is the packet that it is about.
pub(crate) fn encode(
    words: &Words,
    from: From,
    ends: &Ends,
    v4: bool,
    quoted: &[u8],
) -> Result<Vec<u8>, String> {
    let kind = KINDS.iter().find(|(name, ..)| *name == words.kind);
    let kind = match (kind, words.number("type")?) {
        (_, Some(kind)) => low8(kind),
        (Some(&(_, kind, _)), None) if v4 => kind,
        (Some(&(.., kind)), None) => kind,
        (None, None) => return Err(format!("what is {:?}?", words.kind)),
    };
    let field = |name| words.number(name).map(|value| value.unwrap_or(0));
    let mut bytes = vec![kind, low8(field("code")?), 0, 0];
    if words.kind.starts_with("ndp") {
        encode_ndp(words, from, ends, &mut bytes)?;
        return Ok(bytes);
    }
    bytes.extend(word_of(words, v4)?.to_be_bytes());
    let usual = if v4 { 28 } else { quoted.len() };
    let quote = words
        .number("quote")?
        .map_or(usual, |len| usize::try_from(len).unwrap_or(0));
    bytes.extend(quoted.get(..quote).unwrap_or(quoted));
    bytes.extend((0..field("len")?).map(|at| pattern(from, at)));
    Ok(bytes)
}

/// An address of a field; the usual one otherwise.
fn address(words: &Words, name: &str, usual: IpAddr) -> Result<Ipv6Addr, String> {
    match (words.get(name).map(str::parse), usual) {
        (Some(Ok(address)), _) | (None, IpAddr::V6(address)) => Ok(address),
        _ => Err(format!("{name} is no IPv6 address")),
    }
}

fn encode_ndp(words: &Words, from: From, ends: &Ends, bytes: &mut Vec<u8>) -> Result<(), String> {
    let field = |name| words.number(name).map(|value| value.unwrap_or(0));
    let (ours, theirs) = ends.addresses(from);
    match words.kind.as_str() {
        "ndp solicit" => {
            bytes.extend([0; 4]);
            bytes.extend(address(words, "target", theirs)?.octets());
        }
        "ndp advertise" => {
            let bits =
                field("router")? << 31 | field("solicited")? << 30 | field("override")? << 29;
            bytes.extend(low32(bits).to_be_bytes());
            bytes.extend(address(words, "target", ours)?.octets());
        }
        "ndp router-advertise" => {
            let limit = words.number("hop-limit")?.unwrap_or(64);
            let flags = field("managed")? << 7 | field("other")? << 6;
            bytes.extend([low8(limit), low8(flags)]);
            bytes.extend(low16(field("lifetime")?).to_be_bytes());
            bytes.extend(low32(field("reachable")?).to_be_bytes());
            bytes.extend(low32(field("retrans")?).to_be_bytes());
        }
        _ => bytes.extend([0; 4]),
    }
    encode_ndp_options(words, bytes)
}

fn encode_ndp_options(words: &Words, bytes: &mut Vec<u8>) -> Result<(), String> {
    for (name, value) in &words.fields {
        match name.as_str() {
            "source-link" | "target-link" => {
                bytes.extend([if name == "source-link" { 1 } else { 2 }, 1]);
                bytes.extend(mac(value)?);
            }
            "option-mtu" => {
                bytes.extend([5, 1, 0, 0]);
                bytes.extend(low32(number(value)?).to_be_bytes());
            }
            // 2001:db8:1::/64,valid,preferred,flags
            "prefix" => {
                let parts: Vec<&str> = value.split([',', '/']).collect();
                let part = |at: usize| parts.get(at).map_or(Ok(0), |part| number(part));
                let prefix = parts.first().and_then(|text| text.parse::<Ipv6Addr>().ok());
                let prefix = prefix.ok_or_else(|| format!("{value:?} is no prefix"))?;
                let flags = if parts.len() > 4 { part(4)? } else { 0xc0 };
                bytes.extend([3, 4, low8(part(1)?), low8(flags)]);
                bytes.extend(low32(part(2)?).to_be_bytes());
                bytes.extend(low32(part(3)?).to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(prefix.octets());
            }
            "option-hex" => bytes.extend(super::words::hex(value)?),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a message whose checksum was found right. What it quotes, if it is an error, comes back.
pub(crate) fn words(bytes: &[u8], v4: bool) -> Result<(Words, Option<&[u8]>), String> {
    words_of(bytes, v4).ok_or_else(|| "an ICMP message cut short".to_owned())
}

fn words_of(bytes: &[u8], v4: bool) -> Option<(Words, Option<&[u8]>)> {
    let mut reader = Reader(bytes);
    let (kind, code) = (reader.u8()?, reader.u8()?);
    let _checksum = reader.u16()?;
    let name = KINDS
        .iter()
        .find(|(_, four, six)| kind == if v4 { *four } else { *six });
    let mut words = Words {
        kind: name.map_or("icmp other", |(name, ..)| name).to_owned(),
        ..Words::default()
    };
    if name.is_none() {
        words.push("type", kind);
    }
    words.push("code", code);
    if words.kind.starts_with("ndp") {
        ndp_words(&mut words, reader)?;
        return Some((words, None));
    }
    let word = reader.u32()?;
    match words.kind.as_str() {
        "icmp echo" | "icmp echo-reply" => {
            words.push("id", word >> 16);
            words.push("seq", word & 0xffff);
            words.push("len", length(reader.0.len()));
            // What comes back is what was sent.
            let answered = if words.kind.ends_with("reply") {
                From::Peer
            } else {
                From::Host
            };
            if reader
                .0
                .iter()
                .zip(0..)
                .any(|(&byte, at)| byte != pattern(answered, at))
            {
                words.push("junk", 1);
            }
            return Some((words, None));
        }
        "icmp parameter-problem" if v4 => words.push("pointer", word >> 24),
        "icmp parameter-problem" => words.push("pointer", word),
        "icmp other" => return Some((words, None)),
        _ => words.push("mtu", if v4 { word & 0xffff } else { word }),
    }
    words.push("quote", reader.0.len());
    Some((words, Some(reader.0)))
}

fn ndp_words(words: &mut Words, mut reader: Reader<'_>) -> Option<()> {
    let word = reader.u32()?;
    if matches!(words.kind.as_str(), "ndp solicit" | "ndp advertise") {
        let target = reader.ipv6()?;
        words.push("target", target);
    }
    if words.kind == "ndp advertise" {
        for (name, bit) in [("router", 31), ("solicited", 30), ("override", 29)] {
            words.push(name, word >> bit & 1);
        }
    }
    while !reader.is_empty() && words.kind != "ndp router-advertise" {
        let (kind, len) = (reader.u8()?, usize::from(reader.u8()?));
        let body = reader.take((len * 8).checked_sub(2)?)?;
        match kind {
            1 => words.push("source-link", show(body)),
            2 => words.push("target-link", show(body)),
            _ => words.push("option", kind),
        }
    }
    Some(())
}
