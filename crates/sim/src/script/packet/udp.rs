//! UDP datagrams between bytes and words (RFC 768).

use super::bytes::{Reader, checksum, length, low16, put_u16};
use super::flow::{Flow, From, pattern};
use super::words::Words;

/// Writes the datagram that `words` describe.
pub(crate) fn encode(
    words: &Words,
    flow: &Flow,
    from: From,
    pseudo: impl Fn(usize) -> Vec<u8>,
) -> Result<Vec<u8>, String> {
    let field = |name, default| words.number(name).map(|value| value.unwrap_or(default));
    let (from_port, to_port) = flow.ports(from);
    let len = field("len", 0)?;
    let mut bytes = Vec::new();
    bytes.extend(low16(field("from-port", from_port.into())?).to_be_bytes());
    bytes.extend(low16(field("to-port", to_port.into())?).to_be_bytes());
    bytes.extend(low16(field("length", 8 + len)?).to_be_bytes());
    bytes.extend([0, 0]);
    let first = field("first", 0)?;
    bytes.extend((first..first + len).map(|at| pattern(from, at)));
    let sum = match (
        words.get("checksum"),
        checksum(&[&pseudo(bytes.len()), &bytes]),
    ) {
        (Some("none"), _) => 0,
        (Some("bad"), sum) => !sum,
        // What is zero is sent as all ones: zero says that there is none.
        (_, 0) => 0xffff,
        (_, sum) => sum,
    };
    put_u16(&mut bytes, 6, sum);
    Ok(bytes)
}

/// Reads a datagram whose checksum, if it has one, was found right or not.
pub(crate) fn words(bytes: &[u8], pseudo: &[u8]) -> Result<Words, String> {
    let mut words = ports(bytes).ok_or("a UDP header cut short")?;
    let mut reader = Reader(bytes.get(4..).unwrap_or_default());
    let (len, sum) = reader
        .u16()
        .zip(reader.u16())
        .ok_or("a UDP header cut short")?;
    if usize::from(len) != bytes.len() {
        return Err(format!("UDP length {len} in {} bytes", bytes.len()));
    }
    if sum != 0 && checksum(&[pseudo, bytes]) != 0 {
        return Err("a wrong UDP checksum".to_owned());
    }
    words.push("len", length(reader.0.len()));
    words.push("checksum", if sum == 0 { "none" } else { "good" });
    Ok(words)
}

/// The ports alone: what a quote has at the least.
pub(crate) fn ports(bytes: &[u8]) -> Option<Words> {
    let mut reader = Reader(bytes);
    let mut words = Words {
        kind: "udp".to_owned(),
        ..Words::default()
    };
    words.push("from-port", reader.u16()?);
    words.push("to-port", reader.u16()?);
    Some(words)
}
