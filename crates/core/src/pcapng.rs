//! Captures that Wireshark reads: an encoder of pcapng into memory.
//!
//! Every function appends whole blocks to a `Vec<u8>`; who writes them where is the caller's
//! affair. The format is draft-ietf-opsawg-pcapng, little-endian here. What did not travel in
//! packets (a byte stream over a socket, a simulated link) is dressed in them by [`mod@packet`].

pub mod packet;

/// Frames are raw IPv4 or IPv6 packets (LINKTYPE_RAW).
pub const LINKTYPE_RAW: u16 = 101;

/// Frames are Ethernet (LINKTYPE_ETHERNET).
pub const LINKTYPE_ETHERNET: u16 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// "TLSK": the secrets are lines of an NSS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_HARDWARE_OR_NAME: u16 = 2;
const OPTION_PACKET_FLAGS: u16 = 2;
const OPTION_APPLICATION: u16 = 4;
const OPTION_RESOLUTION: u16 = 9;

/// Which way a packet went, seen from the interface.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    Inbound,
    /// It went out.
    Outbound,
}

/// One packet to record.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// The number of its interface, in the order they were described, from 0.
    pub interface: u32,
    /// Nanoseconds since 1970-01-01 UTC (or since a simulation began).
    pub at_nanos: u64,
    /// What was captured.
    pub data: &'a [u8],
    /// How long it was on the wire, in bytes; more than `data` when it was cut.
    pub original_len: u32,
    /// Which way it went, when known.
    pub direction: Option<Direction>,
    /// A remark shown with it. Empty: none.
    pub comment: &'a str,
}

/// Begins a capture: the section header, with the application's name.
pub fn section_header(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        // The section's length is not known: -1.
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        option(out, OPTION_APPLICATION, application.as_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Describes the next interface: what its frames are, and a name. Times are in nanoseconds.
pub fn interface(out: &mut Vec<u8>, linktype: u16, name: &str) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&linktype.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        // No limit on the captured length.
        out.extend_from_slice(&0u32.to_le_bytes());
        option(out, OPTION_HARDWARE_OR_NAME, name.as_bytes());
        option(out, OPTION_RESOLUTION, &[9]);
        option(out, OPTION_END, &[]);
    });
}

/// Records a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&packet.interface.to_le_bytes());
        out.extend_from_slice(&((packet.at_nanos >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(packet.at_nanos as u32).to_le_bytes());
        let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&captured.to_le_bytes());
        out.extend_from_slice(&packet.original_len.max(captured).to_le_bytes());
        out.extend_from_slice(packet.data);
        pad(out, packet.data.len());
        if let Some(direction) = packet.direction {
            let flags: u32 = match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            };
            option(out, OPTION_PACKET_FLAGS, &flags.to_le_bytes());
        }
        option(out, OPTION_COMMENT, packet.comment.as_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Puts TLS secrets into the capture (lines of `SSLKEYLOGFILE`), so that it can be read without
/// another file. They serve the packets after them.
pub fn tls_key_log(out: &mut Vec<u8>, lines: &[u8]) {
    block(out, DECRYPTION_SECRETS, |out| {
        out.extend_from_slice(&TLS_KEY_LOG.to_le_bytes());
        let length = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(lines);
        pad(out, lines.len());
    });
}

/// A block: type, length, body, length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start + 4) as u32;
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&length.to_le_bytes());
}

/// An option: code, length, value, padding. An empty value is left out, except for the end.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    if value.is_empty() && code != OPTION_END {
        return;
    }
    // 65,535 bytes at most, by the length field.
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Fills up to a multiple of four bytes.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len.next_multiple_of(4) - len, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a capture into (type, body), checking the framing.
    fn blocks(mut capture: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |at: &[u8]| u32::from_le_bytes(at[..4].try_into().unwrap());
        let mut found = Vec::new();
        while !capture.is_empty() {
            let length = word(&capture[4..]) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(&capture[length - 4..]) as usize, length);
            found.push((word(capture), &capture[8..length - 4]));
            capture = &capture[length..];
        }
        found
    }

    // draft-ietf-opsawg-pcapng section 3.1: each block is framed by its length on both sides.
    #[test]
    fn a_capture_is_a_row_of_framed_blocks() {
        let mut capture = Vec::new();
        section_header(&mut capture, "weir");
        interface(&mut capture, LINKTYPE_RAW, "link0");
        tls_key_log(&mut capture, b"CLIENT_RANDOM 00 11\n");
        packet(
            &mut capture,
            &Packet {
                interface: 0,
                at_nanos: 0x1_0000_0002,
                data: b"hello",
                original_len: 9,
                direction: Some(Direction::Outbound),
                comment: "lost",
            },
        );
        let blocks = blocks(&capture);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 10, 6]);
        assert_eq!(blocks[0].1[..4], 0x1a2b_3c4du32.to_le_bytes());
        let enhanced = blocks[3].1;
        let words: Vec<u32> = enhanced[..20]
            .chunks(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [0, 1, 2, 5, 9]);
        assert_eq!(&enhanced[20..28], b"hello\0\0\0");
        assert_eq!(enhanced[28..36], [2, 0, 4, 0, 2, 0, 0, 0]);
        assert_eq!(&enhanced[36..44], b"\x01\0\x04\0lost");
        assert_eq!(enhanced[44..], [0; 4]);
    }
}
