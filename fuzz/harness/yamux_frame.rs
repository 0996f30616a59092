//! Headers: whatever decodes encodes to the same bytes, and only what the specification rules out
//! does not decode.

use weir_yamux::wire::{FrameType, HEADER_LEN, Header, HeaderError};

/// Reads `data` as one header after the other.
pub fn run(data: &[u8]) {
    for chunk in data.chunks(HEADER_LEN) {
        let mut bytes = [0; HEADER_LEN];
        for (to, from) in bytes.iter_mut().zip(chunk) {
            *to = *from;
        }
        one(&bytes);
    }
}

fn one(bytes: &[u8; HEADER_LEN]) {
    let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = *bytes;
    let id = u32::from_be_bytes([s0, s1, s2, s3]);
    match Header::decode(bytes) {
        Ok(header) => {
            assert_eq!(header.encode(), *bytes);
            assert_eq!(version, 0);
            assert_eq!(header.kind as u8, kind);
            assert_eq!(header.flags.bits(), u16::from_be_bytes([f0, f1]));
            assert_eq!(header.stream_id, id);
            assert_eq!(header.length, u32::from_be_bytes([l0, l1, l2, l3]));
            let of_stream = matches!(header.kind, FrameType::Data | FrameType::WindowUpdate);
            assert_eq!(of_stream, id != 0);
            assert!(format!("{header:?} {}", header.flags).len() < 200);
        }
        Err(error) => {
            assert!(error.to_string().len() < 200);
            match error {
                HeaderError::Version(found) => assert!(found == version && version != 0),
                HeaderError::Type(found) => assert!(found == kind && kind > 3),
                HeaderError::StreamZero(_) => assert!(kind < 2 && id == 0),
                HeaderError::StreamOnSession(_, found) => {
                    assert!((2..4).contains(&kind) && found == id && id != 0);
                }
            }
        }
    }
}
