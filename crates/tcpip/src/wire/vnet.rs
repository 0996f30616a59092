//! `virtio_net_hdr` (virtio 1.2, 5.1.6.1): what stands in front of each frame of a TUN or TAP device
//! opened with `IFF_VNET_HDR`.
//!
//! Fields are little-endian, as virtio 1 has them; a device on a big-endian machine is told so with
//! `TUNSETVNETLE`.

use super::Malformed;
use crate::device::{Checksum, Offload, SegmentKind, Segments};

/// Bytes of the header without `num_buffers`.
pub const LEN: usize = 10;
/// Bytes of the header with `num_buffers`, which is 0 when written and ignored when read.
pub const LEN_MERGEABLE: usize = 12;

const NAME: &str = "virtio_net_hdr";

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A flag on the TCP types: the first segment bears CWR. Segments are cut so anyway.
const GSO_ECN: u8 = 0x80;

/// The header for a frame: 10 bytes, or 12 where `LEN` is [`LEN_MERGEABLE`].
#[inline]
#[must_use]
pub fn header<const LEN: usize>(offload: &Offload) -> [u8; LEN] {
    let mut fields = [0_u8; LEN_MERGEABLE];
    match offload.checksum {
        Checksum::Complete => {}
        Checksum::Verified => fields[0] = DATA_VALID,
        Checksum::Partial { start, offset } => {
            fields[0] = NEEDS_CSUM;
            [fields[6], fields[7]] = start.to_le_bytes();
            [fields[8], fields[9]] = offset.to_le_bytes();
        }
    }
    if let Some(segments) = &offload.segments {
        fields[1] = match segments.kind {
            SegmentKind::Tcp4 => GSO_TCPV4,
            SegmentKind::Tcp6 => GSO_TCPV6,
            SegmentKind::Udp => GSO_UDP_L4,
        };
        [fields[2], fields[3]] = segments.header_len.to_le_bytes();
        [fields[4], fields[5]] = segments.size.to_le_bytes();
    }
    let mut out = [0; LEN];
    for (to, from) in out.iter_mut().zip(fields) {
        *to = from;
    }
    out
}

/// Reads the header of `len` bytes ([`LEN`] or [`LEN_MERGEABLE`]) in front of a frame, and gives the
/// frame. What it says is checked against the frame: places lie inside, sizes are possible, and
/// [`Segments::header_len`] is computed from the transport header, as `hdr_len` is a hint that the
/// kernel fills with whatever its first buffer holds.
///
/// # Errors
///
/// [`Malformed`]; such a frame is dropped.
pub fn parse(bytes: &[u8], len: usize) -> Result<(Offload, &[u8]), Malformed> {
    let (header, frame) = bytes
        .split_at_checked(len)
        .ok_or(Malformed::Truncated(NAME))?;
    let h: &[u8; LEN] = header.first_chunk().ok_or(Malformed::Truncated(NAME))?;
    let (start, offset) = (
        u16::from_le_bytes([h[6], h[7]]),
        u16::from_le_bytes([h[8], h[9]]),
    );
    let checksum = if h[0] & NEEDS_CSUM != 0 {
        let field = usize::from(start).saturating_add(usize::from(offset));
        if field.saturating_add(2) > frame.len() {
            return Err(Malformed::field(NAME, "csum_offset"));
        }
        Checksum::Partial { start, offset }
    } else if h[0] & DATA_VALID != 0 {
        Checksum::Verified
    } else {
        Checksum::Complete
    };
    let kind = match h[1] & !GSO_ECN {
        GSO_NONE => {
            return Ok((
                Offload {
                    checksum,
                    segments: None,
                },
                frame,
            ));
        }
        GSO_TCPV4 => SegmentKind::Tcp4,
        GSO_TCPV6 => SegmentKind::Tcp6,
        GSO_UDP_L4 => SegmentKind::Udp,
        _ => return Err(Malformed::field(NAME, "gso_type")),
    };
    let size = u16::from_le_bytes([h[4], h[5]]);
    if size == 0 {
        return Err(Malformed::field(NAME, "gso_size"));
    }
    let hint = u16::from_le_bytes([h[2], h[3]]);
    let header_len = header_len(kind, checksum, hint, frame)?;
    let segments = Some(Segments {
        kind,
        size,
        header_len,
    });
    Ok((Offload { checksum, segments }, frame))
}

/// Where the payload begins: behind the transport header where the frame tells its place.
fn header_len(
    kind: SegmentKind,
    checksum: Checksum,
    hint: u16,
    frame: &[u8],
) -> Result<u16, Malformed> {
    let wrong = Malformed::field(NAME, "hdr_len");
    let len = match checksum {
        Checksum::Partial { start, .. } => {
            let transport = frame.get(usize::from(start)..).ok_or(wrong)?;
            let own = match kind {
                SegmentKind::Udp => 8,
                SegmentKind::Tcp4 | SegmentKind::Tcp6 => {
                    let words = transport.get(12).ok_or(wrong)? >> 4;
                    if words < 5 {
                        return Err(wrong);
                    }
                    u16::from(words) << 2
                }
            };
            start.checked_add(own).ok_or(wrong)?
        }
        Checksum::Complete | Checksum::Verified => hint,
    };
    if usize::from(len) > frame.len() {
        return Err(wrong);
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with a TCP header of 32 bytes at 20.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 100];
        frame[20 + 12] = 0x80;
        frame
    }

    fn super_segment(kind: SegmentKind, header_len: u16) -> Offload {
        Offload {
            checksum: Checksum::Partial {
                start: 20,
                offset: 16,
            },
            segments: Some(Segments {
                kind,
                size: 1448,
                header_len,
            }),
        }
    }

    fn with<const N: usize>(header: [u8; N], frame: &[u8]) -> Vec<u8> {
        [&header[..], frame].concat()
    }

    #[test]
    fn a_super_segment_stands_as_virtio_has_it() {
        let bytes = header::<LEN>(&super_segment(SegmentKind::Tcp4, 52));
        assert_eq!(bytes, [1, 1, 52, 0, 0xa8, 5, 20, 0, 16, 0]);
        let bytes = header::<LEN_MERGEABLE>(&Offload::default());
        assert_eq!(bytes, [0; 12]);
        assert_eq!(header::<LEN>(&super_segment(SegmentKind::Tcp6, 72))[1], 4);
        assert_eq!(header::<LEN>(&super_segment(SegmentKind::Udp, 28))[1], 5);
    }

    #[test]
    fn what_is_written_is_read() {
        let frame = frame();
        let offloads = [
            Offload::default(),
            Offload {
                checksum: Checksum::Verified,
                segments: None,
            },
            Offload {
                checksum: Checksum::Partial {
                    start: 20,
                    offset: 16,
                },
                segments: None,
            },
            super_segment(SegmentKind::Tcp4, 52),
            super_segment(SegmentKind::Tcp6, 52),
            super_segment(SegmentKind::Udp, 28),
        ];
        for offload in offloads {
            let bytes = with(header::<LEN>(&offload), &frame);
            assert_eq!(parse(&bytes, LEN), Ok((offload, frame.as_slice())));
            let bytes = with(header::<LEN_MERGEABLE>(&offload), &frame);
            assert_eq!(
                parse(&bytes, LEN_MERGEABLE),
                Ok((offload, frame.as_slice()))
            );
        }
    }

    #[test]
    fn the_header_length_is_read_off_the_frame() {
        // The kernel's hdr_len is a hint; the ECN flag changes nothing.
        let frame = frame();
        let bytes = with([1, 0x81, 200, 0, 0xa8, 5, 20, 0, 16, 0], &frame);
        let (offload, _) = parse(&bytes, LEN).unwrap();
        assert_eq!(offload, super_segment(SegmentKind::Tcp4, 52));
    }

    #[test]
    fn places_outside_the_frame_and_impossible_sizes_are_refused() {
        let frame = frame();
        let refused =
            |header: [u8; LEN]| parse(&with(header, &frame), LEN).map(|_| ()).unwrap_err();
        let field = |field| Malformed::field(NAME, field);
        assert_eq!(
            refused([1, 0, 0, 0, 0, 0, 83, 0, 16, 0]),
            field("csum_offset")
        );
        assert_eq!(
            refused([1, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
            field("csum_offset")
        );
        assert_eq!(refused([1, 3, 0, 0, 1, 0, 20, 0, 16, 0]), field("gso_type"));
        assert_eq!(refused([1, 1, 0, 0, 0, 0, 20, 0, 16, 0]), field("gso_size"));
        assert_eq!(refused([1, 1, 0, 0, 1, 0, 21, 0, 16, 0]), field("hdr_len"));
        assert_eq!(refused([0, 1, 101, 0, 1, 0, 0, 0, 0, 0]), field("hdr_len"));
        assert_eq!(parse(&[0; 9], LEN).unwrap_err(), Malformed::Truncated(NAME));
        assert_eq!(parse(&[0; 5], 4).unwrap_err(), Malformed::Truncated(NAME));
    }

    proptest! {
        #[test]
        fn hostile_headers_are_read_or_refused(header: [u8; LEN], frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = with(header, &frame);
            if let Ok((offload, read)) = parse(&bytes, LEN) {
                prop_assert_eq!(read, frame.as_slice());
                if let Checksum::Partial { start, offset } = offload.checksum {
                    prop_assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
                }
                if let Some(segments) = offload.segments {
                    prop_assert!(segments.size > 0 && usize::from(segments.header_len) <= frame.len());
                }
            }
        }
    }
}
