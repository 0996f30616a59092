//! The 12-byte frame header.

use super::Flags;

/// Bytes of every frame header.
pub const HEADER_LEN: usize = 12;

/// The only version of the protocol.
const VERSION: u8 = 0;

/// What a frame is. The discriminants are the wire values.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FrameType {
    /// Carries `length` bytes of a stream.
    Data = 0,
    /// Adds `length` bytes to what may be sent on a stream.
    WindowUpdate = 1,
    /// Asks for, or gives back, the opaque value in `length`.
    Ping = 2,
    /// Ends the session with the code in `length`.
    GoAway = 3,
}

impl FrameType {
    /// The name used in traces and messages.
    pub const fn name(self) -> &'static str {
        match self {
            FrameType::Data => "Data",
            FrameType::WindowUpdate => "WindowUpdate",
            FrameType::Ping => "Ping",
            FrameType::GoAway => "GoAway",
        }
    }
}

/// A valid header: version 0, a known type, and a stream id that fits the type.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameType,
    /// Its flags; unknown bits are kept and mean nothing.
    pub flags: Flags,
    /// The stream, or 0 for the session (exactly for Ping and GoAway).
    pub stream_id: u32,
    /// Bytes that follow (Data), credit in bytes (WindowUpdate), value (Ping) or code (GoAway).
    pub length: u32,
}

/// Why twelve bytes are no header. Each ends the session with GoAway 1.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// The version is not 0 (Y2).
    #[error("version {0}, only 0 is known")]
    Version(u8),
    /// The type is none of the four (Y3).
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
    /// A Data or WindowUpdate frame for stream 0 (Y7).
    #[error("{0} frame on stream 0, which stands for the session")]
    StreamZero(&'static str),
    /// A Ping or GoAway frame that names a stream (Y8: refused, a stated choice).
    #[error("{0} frame on stream {1}, it belongs to the session (stream 0)")]
    StreamOnSession(&'static str, u32),
}

impl Header {
    /// The bytes of this header (Y1: version, type, flags, stream id, length, big endian).
    #[inline]
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [f0, f1] = self.flags.bits().to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [
            VERSION,
            self.kind as u8,
            f0,
            f1,
            s0,
            s1,
            s2,
            s3,
            l0,
            l1,
            l2,
            l3,
        ]
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`HeaderError`] names the field that is wrong.
    #[inline]
    pub const fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header, HeaderError> {
        let &[version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let kind = match kind {
            0 => FrameType::Data,
            1 => FrameType::WindowUpdate,
            2 => FrameType::Ping,
            3 => FrameType::GoAway,
            other => return Err(HeaderError::Type(other)),
        };
        let stream_id = u32::from_be_bytes([s0, s1, s2, s3]);
        match (kind, stream_id) {
            (FrameType::Data | FrameType::WindowUpdate, 0) => {
                return Err(HeaderError::StreamZero(kind.name()));
            }
            (FrameType::Ping | FrameType::GoAway, id) if id != 0 => {
                return Err(HeaderError::StreamOnSession(kind.name(), id));
            }
            _ => {}
        }
        Ok(Header {
            kind,
            flags: Flags::from_bits(u16::from_be_bytes([f0, f1])),
            stream_id,
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_bytes() {
        // Y1
        let header = Header {
            kind: FrameType::WindowUpdate,
            flags: Flags::SYN.with(Flags::FIN),
            stream_id: 0x0102_0304,
            length: 0xa0b0_c0d0,
        };
        let bytes = [0, 1, 0, 5, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn every_type_survives_the_round_trip() {
        // Y1, Y5
        for (kind, stream_id) in [
            (FrameType::Data, 7),
            (FrameType::WindowUpdate, u32::MAX),
            (FrameType::Ping, 0),
            (FrameType::GoAway, 0),
        ] {
            for bits in [0, 1, 2, 4, 8, 15, 0xfff0, 0xffff] {
                let header = Header {
                    kind,
                    flags: Flags::from_bits(bits),
                    stream_id,
                    length: 65_536,
                };
                assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn refuses_what_the_specification_rules_out() {
        // Y2, Y3, Y7, Y8
        let base = [0u8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        for version in 1..=255 {
            let mut bytes = base;
            bytes[0] = version;
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(version)));
        }
        for kind in 4..=255 {
            let mut bytes = base;
            bytes[1] = kind;
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Type(kind)));
        }
        for kind in 0..=1 {
            let mut bytes = base;
            bytes[1] = kind;
            bytes[7] = 0;
            assert!(matches!(
                Header::decode(&bytes),
                Err(HeaderError::StreamZero(_))
            ));
        }
        for kind in 2..=3 {
            let mut bytes = base;
            bytes[1] = kind;
            assert!(matches!(
                Header::decode(&bytes),
                Err(HeaderError::StreamOnSession(_, 1))
            ));
        }
    }
}
