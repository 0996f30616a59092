//! Each named cap of the engine, walked up to and passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "test code"
)]

pub mod memory;
pub mod time;
pub mod wire;

use crate::proof::Peer;
use crate::proof::frames::{ACK, FIRST_WINDOW, Frame, SYN};
use weir_yamux::{Key, TransmitBuf};

/// The window that a stream starts with.
pub fn window() -> usize {
    usize::try_from(FIRST_WINDOW).unwrap()
}

/// A stream that the peer opened and the application took.
pub fn inbound(peer: &mut Peer, id: u32) -> Key {
    peer.send(&[Frame::update(SYN, id, 0)]);
    let key = peer.accept().expect("a stream");
    peer.recv();
    key
}

/// A stream of the session's that the peer acknowledged with so much more credit.
pub fn outbound(peer: &mut Peer, credit: u32) -> Key {
    let key = peer.open();
    let id = peer.id(key);
    peer.recv();
    peer.send(&[Frame::update(ACK, id, credit)]);
    peer.events();
    key
}

/// What one flush gives, not written.
pub fn batch(peer: &mut Peer) -> TransmitBuf {
    let mut batch = TransmitBuf::new();
    peer.session.poll_transmit(peer.now, &mut batch);
    batch
}
