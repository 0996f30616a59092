//! Frames: Ethernet II and ARP (RFC 826) between bytes and words.

use std::net::{IpAddr, Ipv4Addr};

use super::bytes::{Reader, low16};
use super::flow::From;
use super::words::{Fields, Words, number};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Ip,
    Ethernet,
}

/// Who talks to whom, and over what.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) medium: Medium,
    pub(crate) host: IpAddr,
    pub(crate) peer: IpAddr,
    pub(crate) host_mac: Mac,
    pub(crate) peer_mac: Mac,
}

impl Ends {
    /// Source and destination of what `from` sends.
    pub(crate) fn addresses(&self, from: From) -> (IpAddr, IpAddr) {
        match from {
            From::Peer => (self.peer, self.host),
            From::Host => (self.host, self.peer),
        }
    }

    fn macs(&self, from: From) -> (Mac, Mac) {
        match from {
            From::Peer => (self.peer_mac, self.host_mac),
            From::Host => (self.host_mac, self.peer_mac),
        }
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.host.is_ipv4()
    }
}

/// What was in a frame.
pub(crate) enum Frame<'a> {
    Ip(&'a [u8]),
    Arp(Words),
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Puts an Ethernet header in front of a packet, where the medium has one.
pub(crate) fn wrap(
    words: &Words,
    from: From,
    ends: &Ends,
    destination: Option<IpAddr>,
    packet: Vec<u8>,
) -> Result<Vec<u8>, String> {
    if ends.medium == Medium::Ip {
        return Ok(packet);
    }
    let (source, usual) = ends.macs(from);
    let usual = destination.map_or(usual, |to| group_mac(to).unwrap_or(usual));
    let address = |name, usual| words.outer(name).map_or(Ok(usual), mac);
    let mut frame = address("dst-mac", usual)?.to_vec();
    frame.extend(address("src-mac", source)?);
    let kind = match destination {
        None => ARP,
        Some(IpAddr::V4(_)) => IPV4,
        Some(IpAddr::V6(_)) => IPV6,
    };
    let kind = words.outer_number("ethertype")?.map_or(kind, low16);
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    Ok(frame)
}

/// The address that a group's packets go to (RFC 1112 section 6.4, RFC 2464 section 7).
fn group_mac(to: IpAddr) -> Option<Mac> {
    match to {
        IpAddr::V4(to) if to.is_broadcast() => Some([0xff; 6]),
        IpAddr::V4(to) if to.is_multicast() => {
            let [_, b, c, d] = to.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(to) if to.is_multicast() => {
            let [.., a, b, c, d] = to.octets();
            Some([0x33, 0x33, a, b, c, d])
        }
        _ => None,
    }
}

/// Takes the Ethernet header off, where the medium has one, and notes what it said.
pub(crate) fn unwrap<'a>(
    frame: &'a [u8],
    medium: Medium,
    outer: &mut Fields,
) -> Result<Frame<'a>, String> {
    if medium == Medium::Ip {
        return Ok(Frame::Ip(frame));
    }
    let mut reader = Reader(frame);
    let mut address = || {
        reader
            .take(6)
            .map(show)
            .ok_or("an Ethernet header cut short")
    };
    outer.push(("dst-mac".to_owned(), address()?));
    outer.push(("src-mac".to_owned(), address()?));
    match reader.u16() {
        Some(IPV4 | IPV6) => Ok(Frame::Ip(reader.0)),
        Some(ARP) => arp_words(reader)
            .map(Frame::Arp)
            .ok_or_else(|| "a strange ARP packet".to_owned()),
        other => Err(format!("ethertype {other:04x?}")),
    }
}

/// An Ethernet address as text.
pub(crate) fn show(mac: &[u8]) -> String {
    let parts: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

/// An Ethernet address from text; `broadcast` is one.
pub(crate) fn mac(text: &str) -> Result<Mac, String> {
    if text == "broadcast" {
        return Ok([0xff; 6]);
    }
    let parts: Vec<u8> = text
        .split(':')
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    parts
        .try_into()
        .map_err(|_| format!("{text:?} is no Ethernet address"))
}

/// An ARP packet in words: `arp request sender 192.0.2.9 target 192.0.2.1`.
pub(crate) fn encode_arp(words: &Words, from: From, ends: &Ends) -> Result<Vec<u8>, String> {
    let (source, destination) = ends.macs(from);
    let (sender, target) = ends.addresses(from);
    let operation = match words.kind.as_str() {
        "arp request" => 1,
        "arp reply" => 2,
        other => return Err(format!("what is {other:?}?")),
    };
    let operation = words.get("operation").map_or(Ok(operation), number)?;
    let target_mac = if operation == 1 { [0; 6] } else { destination };
    let hardware = |name, usual| words.get(name).map_or(Ok(usual), mac);
    let protocol = |name, usual| match words.get(name) {
        Some(text) => text
            .parse::<Ipv4Addr>()
            .map_err(|_| format!("{text:?} is no IPv4 address")),
        None => match usual {
            IpAddr::V4(usual) => Ok(usual),
            IpAddr::V6(_) => Err("ARP is for IPv4".to_owned()),
        },
    };
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(low16(operation).to_be_bytes());
    bytes.extend(hardware("sender-mac", source)?);
    bytes.extend(protocol("sender", sender)?.octets());
    bytes.extend(hardware("target-mac", target_mac)?);
    bytes.extend(protocol("target", target)?.octets());
    Ok(bytes)
}

fn arp_words(mut reader: Reader<'_>) -> Option<Words> {
    if reader.take(6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let kind = match reader.u16()? {
        1 => "arp request",
        2 => "arp reply",
        _ => return None,
    };
    let mut words = Words {
        kind: kind.to_owned(),
        ..Words::default()
    };
    for who in ["sender", "target"] {
        let (mac, address) = (reader.take(6)?, reader.u32()?);
        words.push(&format!("{who}-mac"), show(mac));
        words.push(who, Ipv4Addr::from_bits(address));
    }
    Some(words)
}
