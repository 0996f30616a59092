//! Packets between bytes and words: a reading of the wire that shares nothing with the engines.

pub(crate) mod bytes;
pub(crate) mod flow;
pub(crate) mod icmp;
pub(crate) mod ip;
pub(crate) mod link;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod words;

use bytes::{checksum, put_u16};
use flow::{Flow, From};
use link::{Ends, Frame};
use words::{Fields, Words};

/// Writes a packet in words as a frame.
pub(crate) fn encode(
    words: &Words,
    from: From,
    ends: &Ends,
    flow: &Flow,
) -> Result<Vec<u8>, String> {
    if words.kind.starts_with("arp ") {
        let packet = link::encode_arp(words, from, ends)?;
        return link::wrap(words, from, ends, None, packet);
    }
    let addresses = ip::addresses(words, from, ends)?;
    let packet = encode_ip(words, from, ends, flow)?;
    link::wrap(words, from, ends, Some(addresses.1), packet)
}

fn encode_ip(words: &Words, from: From, ends: &Ends, flow: &Flow) -> Result<Vec<u8>, String> {
    let addresses = ip::addresses(words, from, ends)?;
    let v4 = addresses.0.is_ipv4();
    let pseudo = |protocol| move |len| ip::pseudo(addresses, protocol, len);
    let (protocol, upper) = match words.kind.as_str() {
        "tcp" => (ip::TCP, tcp::encode(words, flow, from, pseudo(ip::TCP))?),
        "udp" => (ip::UDP, udp::encode(words, flow, from, pseudo(ip::UDP))?),
        "raw" => {
            let len = words.number("len")?.unwrap_or(0);
            (253, (0..len).map(|at| flow::pattern(from, at)).collect())
        }
        kind if kind.starts_with("icmp ") || kind.starts_with("ndp ") => {
            let quoted = match &words.about {
                Some(about) => encode_ip(about, from.other(), ends, flow)?,
                None => Vec::new(),
            };
            let mut bytes = icmp::encode(words, from, ends, v4, &quoted)?;
            let protocol = if v4 { ip::ICMP } else { ip::ICMPV6 };
            let pseudo = if v4 {
                Vec::new()
            } else {
                pseudo(protocol)(bytes.len())
            };
            let sum = checksum(&[&pseudo, &bytes]);
            let sum = if words.get("checksum") == Some("bad") {
                !sum
            } else {
                sum
            };
            put_u16(&mut bytes, 2, sum);
            (protocol, bytes)
        }
        kind => return Err(format!("what is {kind:?}?")),
    };
    ip::encode(words, addresses, protocol, &upper)
}

/// What a frame is, as far as it can be told without knowing the connection.
pub(crate) enum Seen<'a> {
    /// A TCP segment; its fields outside are given.
    Tcp(Fields, tcp::Header<'a>),
    /// Anything else.
    Other(Words),
}

/// Reads a frame that the host sent.
pub(crate) fn decode<'a>(frame: &'a [u8], ends: &Ends) -> Result<Seen<'a>, String> {
    let mut outer = Fields::new();
    let packet = match link::unwrap(frame, ends.medium, &mut outer)? {
        Frame::Arp(mut words) => {
            words.outer = outer;
            return Ok(Seen::Other(words));
        }
        Frame::Ip(packet) => packet,
    };
    let parsed = ip::parse(packet, false, &mut outer)?;
    if parsed.protocol == ip::TCP && !parsed.is_fragment {
        let pseudo = ip::pseudo(parsed.addresses, ip::TCP, parsed.upper.len());
        if checksum(&[&pseudo, parsed.upper]) != 0 {
            return Err("a wrong TCP checksum".to_owned());
        }
        return tcp::parse(parsed.upper).map(|header| Seen::Tcp(outer, header));
    }
    let mut words = decode_upper(&parsed, ends)?;
    words.outer = outer;
    Ok(Seen::Other(words))
}

fn decode_upper(parsed: &ip::Parsed<'_>, ends: &Ends) -> Result<Words, String> {
    let pseudo = ip::pseudo(parsed.addresses, parsed.protocol, parsed.upper.len());
    let v4 = parsed.addresses.0.is_ipv4();
    match parsed.protocol {
        _ if parsed.is_fragment => Ok(plain("fragment", parsed)),
        ip::UDP => udp::words(parsed.upper, &pseudo),
        ip::ICMP | ip::ICMPV6 => {
            let pseudo = if v4 { Vec::new() } else { pseudo };
            if checksum(&[&pseudo, parsed.upper]) != 0 {
                return Err("a wrong ICMP checksum".to_owned());
            }
            let (mut words, quoted) = icmp::words(parsed.upper, v4)?;
            if let Some(quoted) = quoted {
                words.about = Some(Box::new(decode_quoted(quoted, ends)?));
            }
            Ok(words)
        }
        _ => Ok(plain("raw", parsed)),
    }
}

fn plain(kind: &str, parsed: &ip::Parsed<'_>) -> Words {
    let mut words = Words {
        kind: kind.to_owned(),
        ..Words::default()
    };
    words.push("protocol", parsed.protocol);
    words.push("len", parsed.upper.len());
    words
}

/// Reads the beginning of a packet of the peer's that an error quotes.
fn decode_quoted(packet: &[u8], _ends: &Ends) -> Result<Words, String> {
    let mut outer = Fields::new();
    let parsed = ip::parse(packet, true, &mut outer)?;
    let mut words = match parsed.protocol {
        _ if parsed.is_fragment => plain("fragment", &parsed),
        ip::UDP => udp::ports(parsed.upper).ok_or("a quote without ports")?,
        ip::TCP => {
            let quoted = tcp::ports_and_seq(parsed.upper).ok_or("a quote without ports")?;
            let mut words = plain("segment", &parsed);
            words.push("from-port", quoted.0);
            words.push("to-port", quoted.1);
            words.push("seq", quoted.2);
            words
        }
        _ => plain("raw", &parsed),
    };
    words.outer = outer;
    Ok(words)
}
