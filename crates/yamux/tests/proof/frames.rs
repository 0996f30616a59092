//! Frames read and written by hand, from the specification's text alone. Nothing here comes from
//! the engine, so a mistake there is not repeated here.

/// Type 0: payload of a stream.
pub const DATA: u8 = 0;
/// Type 1: credit for a stream.
pub const UPDATE: u8 = 1;
/// Type 2: ping.
pub const PING: u8 = 2;
/// Type 3: go away.
pub const GO_AWAY: u8 = 3;

/// Starts a stream, or asks with a ping.
pub const SYN: u16 = 1;
/// Accepts a stream, or answers a ping.
pub const ACK: u16 = 2;
/// Ends the sender's half.
pub const FIN: u16 = 4;
/// Ends the stream both ways.
pub const RST: u16 = 8;

/// The window that both sides assume for a new stream.
pub const FIRST_WINDOW: u64 = 256 * 1024;

/// A frame as it stands on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub version: u8,
    pub kind: u8,
    pub flags: u16,
    pub id: u32,
    /// The length field, whatever it means for the type.
    pub length: u32,
    /// What followed a Data header.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DATA => "Data",
            UPDATE => "Update",
            PING => "Ping",
            GO_AWAY => "GoAway",
            _ => "type?",
        };
        write!(f, "{kind}[{}]", self.kind)?;
        for (bit, name) in [(SYN, "SYN"), (ACK, "ACK"), (FIN, "FIN"), (RST, "RST")] {
            if self.flags & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        if self.flags & !15 != 0 {
            write!(f, " flags {:#06x}", self.flags)?;
        }
        write!(f, " id {} length {}", self.id, self.length)
    }
}

impl Frame {
    pub fn new(kind: u8, flags: u16, id: u32, length: u32) -> Frame {
        Frame {
            version: 0,
            kind,
            flags,
            id,
            length,
            payload: Vec::new(),
        }
    }

    pub fn data(flags: u16, id: u32, payload: &[u8]) -> Frame {
        let length = u32::try_from(payload.len()).unwrap();
        Frame {
            payload: payload.to_vec(),
            ..Frame::new(DATA, flags, id, length)
        }
    }

    pub fn update(flags: u16, id: u32, delta: u32) -> Frame {
        Frame::new(UPDATE, flags, id, delta)
    }

    pub fn ping(flags: u16, value: u32) -> Frame {
        Frame::new(PING, flags, 0, value)
    }

    pub fn go_away(code: u32) -> Frame {
        Frame::new(GO_AWAY, 0, 0, code)
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.version, self.kind];
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }
}

/// Takes bytes in any cut and gives whole frames.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. A version or type that does not exist is given out as it is, without
    /// payload; only the caller knows whether that was meant.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut frame = self.peek_header()?;
        let mut size = 12;
        if frame.kind == DATA {
            size += frame.length as usize;
            frame.payload = self.bytes[self.at..].get(12..size)?.to_vec();
        }
        self.at += size;
        Some(frame)
    }

    /// The header of the next frame, without its payload.
    pub fn peek_header(&self) -> Option<Frame> {
        let header = self.bytes[self.at..].get(..12)?;
        Some(Frame {
            version: header[0],
            kind: header[1],
            flags: u16::from_be_bytes(header[2..4].try_into().unwrap()),
            id: u32::from_be_bytes(header[4..8].try_into().unwrap()),
            length: u32::from_be_bytes(header[8..12].try_into().unwrap()),
            payload: Vec::new(),
        })
    }

    /// Bytes of a frame that is not whole.
    pub fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }
}

#[test]
fn the_hand_written_reading_agrees_with_the_text() {
    // Y1, Y4
    let frame = Frame::data(SYN | FIN, 7, b"abc");
    let bytes = [0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 3, b'a', b'b', b'c'];
    assert_eq!(frame.bytes(), bytes);
    let mut reader = Reader::default();
    for byte in bytes {
        assert!(reader.next_frame().is_none());
        reader.push(&[byte]);
    }
    assert_eq!(reader.next_frame(), Some(frame));
    assert_eq!(reader.rest(), 0);
}
