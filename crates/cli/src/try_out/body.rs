//! The bytes that are sent through the tunnel and checked behind it.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{self, Poll};

/// Bytes of a body that are handed over at once.
const PIECE: usize = 256 * 1024;

/// So many bytes that repeat nowhere, so that a piece in the wrong place is found; another `seed`
/// gives others.
pub(super) fn object(seed: u64, length: usize) -> Bytes {
    // Vigna's splitmix64: every 64-bit value once before any comes again.
    let mut state = seed;
    let mut data = BytesMut::with_capacity(length + 8);
    while data.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        data.put_u64(word ^ (word >> 31));
    }
    data.truncate(length);
    data.freeze()
}

/// SHA-256 of what came in pieces, in hexadecimal.
pub(super) fn sha256(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        context.update(piece.as_ref());
    }
    let mut text = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A body of known length that is sent from where it lies.
#[derive(Debug)]
pub(super) struct Whole(pub(super) Bytes);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let count = self.0.len().min(PIECE);
        let piece = self.0.split_to(count);
        Poll::Ready(if piece.is_empty() {
            None
        } else {
            Some(Ok(Frame::data(piece)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha_256_of_abc_in_two_pieces() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            sha256(["a", "bc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn objects_differ_by_seed_and_keep_their_length() {
        assert_eq!(object(1, 1001).len(), 1001);
        assert_eq!(object(1, 1001), object(1, 2000).slice(..1001));
        assert_ne!(object(1, 1001), object(2, 1001));
    }
}
