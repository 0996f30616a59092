//! Datagrams on a stream: a length of two bytes, then as many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::limits::{LENGTH, MAX_PAYLOAD};

/// A length that no UDP datagram has. The stream is of no use after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram of {0} bytes was announced, UDP carries at most {MAX_PAYLOAD}")]
pub(crate) struct TooLong(usize);

/// Appends a datagram; false where it is too long, and nothing was appended.
pub(crate) fn append(out: &mut BytesMut, payload: &[u8]) -> bool {
    match u16::try_from(payload.len()) {
        Ok(length) if payload.len() <= MAX_PAYLOAD => {
            out.put_u16(length);
            out.put_slice(payload);
            true
        }
        _ => false,
    }
}

/// The length of the first datagram in `frames`, its own two bytes not counted.
pub(crate) fn first_length(frames: &[u8]) -> Option<usize> {
    let (length, _) = frames.split_first_chunk::<LENGTH>()?;
    Some(usize::from(u16::from_be_bytes(*length)))
}

/// The payloads of whole frames, one after the other.
#[derive(Debug)]
pub(crate) struct Frames(pub(crate) Bytes);

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = first_length(&self.0)?;
        if self.0.len() < length.saturating_add(LENGTH) {
            return None;
        }
        self.0.advance(LENGTH);
        Some(self.0.split_to(length))
    }
}

/// Reads datagrams from a stream's bytes cut anywhere. It holds one datagram at most.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// The beginning of a datagram with its length, while it is not whole.
    partial: BytesMut,
}

impl FrameReader {
    /// Takes the next datagram off the front of `input`; `None` means that more is needed and `input` is used up.
    /// A datagram that lies whole in `input` is not copied.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, TooLong> {
        if self.partial.is_empty() {
            match checked(input)? {
                Some(length) if input.len() >= length.saturating_add(LENGTH) => {
                    input.advance(LENGTH);
                    return Ok(Some(input.split_to(length)));
                }
                _ => {}
            }
        }
        self.fill(input, LENGTH);
        let Some(length) = checked(&self.partial)? else {
            return Ok(None);
        };
        let whole = length.saturating_add(LENGTH);
        self.fill(input, whole);
        if self.partial.len() < whole {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.partial).freeze();
        frame.advance(LENGTH);
        Ok(Some(frame))
    }

    /// Moves bytes over until `want` are there or `input` is used up.
    fn fill(&mut self, input: &mut Bytes, want: usize) {
        let missing = want.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input.split_to(missing));
    }
}

/// The first length, once it is there.
fn checked(bytes: &[u8]) -> Result<Option<usize>, TooLong> {
    match first_length(bytes) {
        Some(length) if length > MAX_PAYLOAD => Err(TooLong(length)),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(payloads: &[Vec<u8>]) -> BytesMut {
        let mut wire = BytesMut::new();
        for payload in payloads {
            assert!(append(&mut wire, payload));
        }
        wire
    }

    /// What a reader makes of `wire` in pieces, and whether it holds a beginning at the end.
    fn read(wire: &[u8], cuts: &[usize]) -> Result<(Vec<Bytes>, bool), TooLong> {
        let mut reader = FrameReader::default();
        let mut all = Vec::new();
        let mut rest = Bytes::copy_from_slice(wire);
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let step = cuts.next().unwrap_or(1).clamp(1, rest.len());
            let mut piece = rest.split_to(step);
            while let Some(datagram) = reader.next(&mut piece)? {
                all.push(datagram);
            }
            assert!(piece.is_empty(), "all is taken when more is needed");
            assert!(reader.partial.len() < MAX_PAYLOAD + LENGTH);
        }
        Ok((all, !reader.partial.is_empty()))
    }

    proptest! {
        #[test]
        fn datagrams_round_trip_in_any_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in proptest::collection::vec(1usize..60, 1..10),
        ) {
            let wire = written(&payloads);
            let whole: Vec<_> = Frames(wire.clone().freeze()).collect();
            prop_assert_eq!(&whole, &payloads);
            let (read, partial) = read(&wire, &cuts).unwrap();
            prop_assert_eq!(&read, &payloads);
            prop_assert!(!partial);
        }

        /// C1, C4: no bytes panic, and never more than one datagram is held.
        #[test]
        fn hostile_bytes(wire in proptest::collection::vec(any::<u8>(), 0..2000), cuts in proptest::collection::vec(1usize..700, 1..5)) {
            let _ = read(&wire, &cuts);
            let _ = Frames(Bytes::from(wire)).count();
        }
    }

    #[test]
    fn a_datagram_that_is_cut_short_is_none() {
        for (wire, partial) in [(&[][..], false), (&[0], true), (&[0, 2, 7], true)] {
            assert_eq!(read(wire, &[9]).unwrap(), (Vec::new(), partial), "{wire:?}");
        }
    }

    #[test]
    fn an_empty_datagram_is_one() {
        let (datagrams, _) = read(&[0, 0, 0, 1, 9, 0, 0], &[1]).unwrap();
        assert_eq!(datagrams, [&b""[..], &[9], b""]);
    }

    /// RFC 768: the length field counts 8 bytes of header.
    #[test]
    fn the_longest_is_taken_and_one_more_is_not() {
        let mut wire = BytesMut::new();
        assert!(append(&mut wire, &vec![1; MAX_PAYLOAD]));
        assert!(!append(&mut wire, &vec![1; MAX_PAYLOAD + 1]));
        let (datagrams, _) = read(&wire, &[10_000]).unwrap();
        assert_eq!(datagrams[0].len(), MAX_PAYLOAD);
        // Told at the second byte, whatever follows.
        assert_eq!(read(&[0xff, 0xf8], &[1]), Err(TooLong(65_528)));
    }
}
