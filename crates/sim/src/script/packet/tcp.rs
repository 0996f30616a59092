//! TCP segments between bytes and words (RFC 9293 section 3.1).

use super::bytes::{Reader, checksum, length, low8, low16, low32, put_u16};
use super::flow::{Flow, From, pattern};
use super::words::{Words, hex, number};

/// The flags by name, lowest bit first.
const FLAGS: [(&str, u16); 9] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
    ("ECE", 0x40),
    ("CWR", 0x80),
    ("AE", 0x100),
];
pub(crate) const SYN: u16 = 0x02;
pub(crate) const RST: u16 = 0x04;
const PSH: u16 = 0x08;
pub(crate) const ACK: u16 = 0x10;

/// Flags that are set, and those that are set or not.
struct Flags {
    set: u16,
    open: u16,
}

/// Reads `SYN,ACK`, `none`, and what a line may wait for: `-PSH` is not set, `~ACK` may be.
fn flags_wanted(text: &str) -> Option<Flags> {
    let mut flags = Flags { set: 0, open: PSH };
    if text == "none" {
        return Some(flags);
    }
    for name in text.split(',') {
        let bare = name.trim_start_matches(['-', '~']);
        let (_, bit) = FLAGS.iter().find(|(flag, _)| *flag == bare)?;
        flags.open &= !bit;
        match name.chars().next() {
            Some('-') => {}
            Some('~') => flags.open |= bit,
            _ => flags.set |= bit,
        }
    }
    Some(flags)
}

/// The flags that a word names, if it is a list of flags.
pub(crate) fn flags(text: &str) -> Option<u16> {
    flags_wanted(text).map(|flags| flags.set)
}

/// Whether flags that were seen are those that are waited for. PSH counts only where it is named.
pub(crate) fn flags_fit(want: &str, got: &str) -> bool {
    let (Some(want), Some(got)) = (flags_wanted(want), flags(got)) else {
        return false;
    };
    got & !want.open == want.set & !want.open
}

fn flag_names(flags: u16) -> String {
    // SYN,ACK and PSH,ACK is what people write.
    let order = ["SYN", "FIN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
    let named = |name: &&&str| {
        FLAGS
            .iter()
            .any(|(flag, bit)| flag == *name && flags & bit != 0)
    };
    let names: Vec<&str> = order.iter().filter(named).copied().collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(","),
    }
}

/// A segment's header, as it is on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u16,
    pub(crate) reserved: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<Opt<'a>>,
    pub(crate) payload: &'a [u8],
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opt<'a> {
    Eol,
    Nop,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    Sack(Vec<(u32, u32)>),
    Timestamps(u32, u32),
    FastOpen(&'a [u8]),
    Other(u8, &'a [u8]),
}

/// The first eight bytes: all that an ICMP error must quote.
pub(crate) fn ports_and_seq(bytes: &[u8]) -> Option<(u16, u16, u32)> {
    let mut reader = Reader(bytes);
    Some((reader.u16()?, reader.u16()?, reader.u32()?))
}

/// Reads a segment.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header<'_>, String> {
    let whole = parse_fixed(bytes).ok_or("a TCP header cut short")?;
    let (mut header, offset) = whole;
    let options = bytes
        .get(20..offset)
        .ok_or("TCP data offset out of bounds")?;
    header.options = parse_options(options)?;
    header.payload = bytes.get(offset..).unwrap_or_default();
    Ok(header)
}

fn parse_fixed(bytes: &[u8]) -> Option<(Header<'_>, usize)> {
    let mut reader = Reader(bytes);
    let (from_port, to_port) = (reader.u16()?, reader.u16()?);
    let (seq, ack, bits) = (reader.u32()?, reader.u32()?, reader.u16()?);
    let (window, _checksum, urgent) = (reader.u16()?, reader.u16()?, reader.u16()?);
    let header = Header {
        from_port,
        to_port,
        seq,
        ack,
        flags: bits & 0x1ff,
        reserved: u8::try_from(bits >> 9 & 0x7).unwrap_or(0),
        window,
        urgent,
        options: Vec::new(),
        payload: &[],
    };
    Some((header, usize::from(bits >> 12) * 4))
}

fn parse_options(bytes: &[u8]) -> Result<Vec<Opt<'_>>, String> {
    let (mut reader, mut options) = (Reader(bytes), Vec::new());
    while let Some(kind) = reader.u8() {
        match kind {
            0 => {
                options.push(Opt::Eol);
                match reader.0.iter().all(|&byte| byte == 0) {
                    true => break,
                    false => return Err("something behind the end of the options".to_owned()),
                }
            }
            1 => options.push(Opt::Nop),
            _ => {
                let len = usize::from(reader.u8().unwrap_or(0));
                let body = len.checked_sub(2).and_then(|len| reader.take(len));
                let body = body.ok_or_else(|| format!("option {kind} of length {len}"))?;
                let option = parse_option(kind, body);
                options.push(option.ok_or_else(|| format!("option {kind} of length {len}"))?);
            }
        }
    }
    Ok(options)
}

fn parse_option(kind: u8, body: &[u8]) -> Option<Opt<'_>> {
    let mut reader = Reader(body);
    let option = match kind {
        2 => Opt::Mss(reader.u16()?),
        3 => Opt::WindowScale(reader.u8()?),
        4 => Opt::SackPermitted,
        5 => {
            let mut blocks = Vec::new();
            while !reader.is_empty() {
                blocks.push((reader.u32()?, reader.u32()?));
            }
            Opt::Sack(blocks)
        }
        8 => Opt::Timestamps(reader.u32()?, reader.u32()?),
        34 => Opt::FastOpen(reader.take(body.len())?),
        _ => Opt::Other(kind, reader.take(body.len())?),
    };
    reader.is_empty().then_some(option)
}

impl Header<'_> {
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The timestamp, if there is one.
    pub(crate) fn timestamp(&self) -> Option<u32> {
        self.options.iter().find_map(|option| match option {
            Opt::Timestamps(value, _) => Some(*value),
            _ => None,
        })
    }

    /// The window shift, if there is one.
    pub(crate) fn shift(&self) -> Option<u8> {
        self.options.iter().find_map(|option| match option {
            Opt::WindowScale(shift) => Some(*shift),
            _ => None,
        })
    }

    /// In words, with numbers relative to those of `flow`.
    pub(crate) fn words(&self, flow: &Flow, from: From) -> Words {
        let mut words = Words {
            kind: "tcp".to_owned(),
            ..Words::default()
        };
        words.push("flags", flag_names(self.flags));
        words.push("seq", flow.relative(from, self.seq));
        words.push("len", self.payload.len());
        if self.has(ACK) {
            words.push("ack", flow.relative(from.other(), self.ack));
        }
        words.push("win", self.window);
        if self.urgent != 0 {
            words.push("urg", self.urgent);
        }
        if self.reserved != 0 {
            words.push("reserved", self.reserved);
        }
        if !self.is_pattern(flow, from) {
            words.push("junk", 1);
        }
        words.options = Some(
            self.options
                .iter()
                .map(|o| option_words(o, flow, from))
                .collect(),
        );
        words
    }

    /// Whether the payload is what stands in the stream at this place.
    fn is_pattern(&self, flow: &Flow, from: From) -> bool {
        let first = first_byte(self.flags, flow.relative(from, self.seq));
        let mut bytes = self.payload.iter().zip(first..);
        bytes.all(|(&byte, offset)| offset < 0 || byte == pattern(from, offset))
    }
}

/// The stream's offset of a segment's first byte.
fn first_byte(flags: u16, relative: i64) -> i64 {
    relative - 1 + i64::from(flags & SYN != 0)
}

fn option_words(option: &Opt<'_>, flow: &Flow, from: From) -> String {
    let shown = |from: From, value: u32| match from {
        From::Peer => value,
        From::Host => value.wrapping_sub(flow.timestamp_base.unwrap_or(0)),
    };
    match option {
        Opt::Eol => "eol".to_owned(),
        Opt::Nop => "nop".to_owned(),
        Opt::Mss(mss) => format!("mss {mss}"),
        Opt::WindowScale(shift) => format!("ws {shift}"),
        Opt::SackPermitted => "sackOK".to_owned(),
        Opt::Sack(blocks) => {
            let seq = |wire| flow.relative(from.other(), wire);
            let blocks = blocks
                .iter()
                .map(|(low, high)| format!(" {}:{}", seq(*low), seq(*high)));
            format!("sack{}", blocks.collect::<String>())
        }
        // An echo of nothing is 0, whatever the base.
        Opt::Timestamps(value, 0) => format!("ts {} 0", shown(from, *value)),
        Opt::Timestamps(value, echo) => {
            format!("ts {} {}", shown(from, *value), shown(from.other(), *echo))
        }
        Opt::FastOpen(cookie) => format!("fo {}", hexadecimal(cookie)).trim_end().to_owned(),
        Opt::Other(kind, body) => format!("kind {kind} {}", hexadecimal(body))
            .trim_end()
            .to_owned(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the segment that `words` describe; `pseudo` is the pseudo-header.
pub(crate) fn encode(
    words: &Words,
    flow: &Flow,
    from: From,
    pseudo: impl Fn(usize) -> Vec<u8>,
) -> Result<Vec<u8>, String> {
    let field = |name, default| words.number(name).map(|value| value.unwrap_or(default));
    let flags = words.get("flags").and_then(flags).ok_or("no flags")?;
    let options = encode_options(words, flow, from)?;
    let (from_port, to_port) = flow.ports(from);
    let seq = field("seq", 0)?;
    let header = 20 + options.len();
    let offset = field("offset", length(header / 4))?;
    let bits = low16(offset) << 12 | low16(field("reserved", 0)?) << 9 | flags;
    let mut bytes = Vec::new();
    bytes.extend(low16(field("from-port", from_port.into())?).to_be_bytes());
    bytes.extend(low16(field("to-port", to_port.into())?).to_be_bytes());
    bytes.extend(flow.wire(from, seq).to_be_bytes());
    let ack = match words.number("ack")? {
        Some(ack) => flow.wire(from.other(), ack),
        None => 0,
    };
    bytes.extend(ack.to_be_bytes());
    bytes.extend(bits.to_be_bytes());
    bytes.extend(low16(field("win", 65_535)?).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(low16(field("urg", 0)?).to_be_bytes());
    bytes.extend(options);
    let first = first_byte(flags, seq);
    let junk = low8(field("junk", 0)?);
    bytes.extend((first..first + field("len", 0)?).map(|at| pattern(from, at) ^ junk));
    let sum = checksum(&[&pseudo(bytes.len()), &bytes]);
    let sum = if words.get("checksum") == Some("bad") {
        !sum
    } else {
        sum
    };
    put_u16(&mut bytes, 16, sum);
    Ok(bytes)
}

fn encode_options(words: &Words, flow: &Flow, from: From) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for option in words.options.iter().flatten() {
        encode_option(option, flow, from, &mut bytes)?;
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    match bytes.len() {
        0..=40 => Ok(bytes),
        len => Err(format!("{len} bytes of options")),
    }
}

fn encode_option(text: &str, flow: &Flow, from: From, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut tokens = text.split_whitespace();
    let name = tokens.next().unwrap_or_default();
    let values: Vec<&str> = tokens.collect();
    let value = |at: usize| match values.get(at) {
        Some(value) => number(value),
        None => Err(format!("{text:?} lacks a value")),
    };
    let stamp = |from: From, value: i64| match from {
        From::Peer => low32(value),
        From::Host => low32(value).wrapping_add(flow.timestamp_base.unwrap_or(0)),
    };
    match name {
        "eol" => bytes.push(0),
        "nop" => bytes.push(1),
        "mss" => {
            bytes.extend([2, 4]);
            bytes.extend(low16(value(0)?).to_be_bytes());
        }
        "ws" => bytes.extend([3, 3, low8(value(0)?)]),
        "sackOK" => bytes.extend([4, 2]),
        "sack" => {
            bytes.extend([5, low8(length(2 + 8 * values.len()))]);
            for block in &values {
                let (low, high) = block.split_once(':').ok_or("a block is low:high")?;
                for edge in [low, high] {
                    bytes.extend(flow.wire(from.other(), number(edge)?).to_be_bytes());
                }
            }
        }
        "ts" => {
            bytes.extend([8, 10]);
            bytes.extend(stamp(from, value(0)?).to_be_bytes());
            let is_syn_echo = values.get(1) == Some(&"none");
            let echo = if is_syn_echo {
                0
            } else {
                stamp(from.other(), value(1)?)
            };
            bytes.extend(echo.to_be_bytes());
        }
        "fo" => {
            let cookie = hex(values.first().unwrap_or(&""))?;
            bytes.extend([34, low8(length(2 + cookie.len()))]);
            bytes.extend(cookie);
        }
        "kind" => {
            let body = hex(values.get(1).unwrap_or(&""))?;
            bytes.extend([low8(value(0)?), low8(length(2 + body.len()))]);
            bytes.extend(body);
        }
        "hex" => bytes.extend(hex(values.first().unwrap_or(&""))?),
        _ => return Err(format!("what option is {text:?}?")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &str) -> String {
        let mut flow = Flow::new("a", 40_000, Some(80), 0xffff_fff0);
        flow.host_isn = Some(77);
        flow.timestamp_base = Some(1_000);
        let words = Words::parse(text).unwrap();
        let bytes = encode(&words, &flow, From::Peer, |_| Vec::new()).unwrap();
        assert_eq!(checksum(&[&bytes]), 0);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.from_port, header.to_port), (40_000, 80));
        header.words(&flow, From::Peer).to_string()
    }

    #[test]
    fn words_become_bytes_and_come_back() {
        for text in [
            "SYN seq 0 len 0 win 65535 <mss 1460,sackOK,ts 100 0,nop,ws 7>",
            "PSH,ACK seq 1 len 100 ack 5 win 1000 <nop,nop,ts 101 7,kind 253 0102,eol>",
            "ACK seq 1 len 0 ack 5 win 0 <nop,nop,sack 10:20 30:40>",
            "RST seq -5 len 0 win 0 <>",
            "SYN,ECE,CWR,AE seq 0 len 3 win 1 <fo 0102030405060708,eol>",
        ] {
            assert_eq!(there_and_back(text), text);
        }
        assert!(there_and_back("ACK seq 1 len 4 junk 1").contains("junk 1"));
        assert!(there_and_back("ACK seq 0xfffffff8 ack 1").contains("seq -8 "));
    }

    #[test]
    fn malformed_segments_are_told() {
        assert!(parse(&[0; 19]).is_err());
        let mut bytes = [0; 24];
        bytes[12] = 0x40;
        assert!(parse(&bytes).is_err());
        bytes[12] = 0x60;
        for options in [[2, 1, 0, 0], [2, 5, 0, 0], [9, 0, 0, 0], [0, 0, 7, 0]] {
            bytes[20..].copy_from_slice(&options);
            assert!(parse(&bytes).is_err(), "{options:?}");
        }
    }
}
