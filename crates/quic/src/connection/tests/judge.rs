//! One end breaks a rule: what the other says to it.

use weir_core::close::Initiator;

use super::pair::{End, Pair};
use crate::crypto::Level;
use crate::wire::frame::encode;
use crate::wire::{Dir, Side, StreamId};

/// The other end.
pub(super) fn other(end: End) -> End {
    match end {
        End::Client => End::Server,
        End::Server => End::Client,
    }
}

/// Frames made by a function.
pub(super) fn bytes(make: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    make(&mut out);
    out
}

/// A STREAM frame.
pub(super) fn stream(id: StreamId, offset: u64, data: &[u8], fin: bool) -> Vec<u8> {
    bytes(|out| {
        encode::stream_header(out, id, offset, fin, Some(data.len()));
        out.extend_from_slice(data);
    })
}

/// A CRYPTO frame.
pub(super) fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    bytes(|out| {
        encode::crypto_header(out, offset, data.len());
        out.extend_from_slice(data);
    })
}

/// The `index`th stream of a side and kind.
pub(super) fn id(side: Side, dir: Dir, index: u64) -> StreamId {
    StreamId::new(side, dir, index)
}

/// `from` sends these frames over an established connection: the other end closes with `code`, and
/// `from` is told so.
pub(super) fn refused(from: End, frames: &[u8], code: u64) {
    let mut pair = Pair::connected(50);
    refused_in(&mut pair, from, Level::OneRtt, frames, code);
}

/// The same on a pair that was made ready.
pub(super) fn refused_in(pair: &mut Pair, from: End, level: Level, frames: &[u8], code: u64) {
    pair.inject(from, level, frames);
    let reason = pair.end(other(from)).close_reason().cloned();
    let reason = reason.unwrap_or_else(|| panic!("{frames:02x?} was taken"));
    assert_eq!(
        (reason.by, reason.code),
        (Initiator::Local, code),
        "{reason}"
    );
    pair.run_idle();
    let told = pair.end(from).close_reason().cloned();
    let told = told.expect("the sender is told");
    assert_eq!((told.by, told.code), (Initiator::Peer, code), "{told}");
    assert_eq!(told.reason, reason.reason);
}

/// `from` sends these frames over an established connection, which goes on.
pub(super) fn taken(from: End, frames: &[u8]) -> Pair {
    let mut pair = Pair::connected(51);
    pair.inject(from, Level::OneRtt, frames);
    assert_open(&mut pair);
    pair
}

/// Both ends are open and can talk.
pub(super) fn assert_open(pair: &mut Pair) {
    pair.run_idle();
    for end in [End::Client, End::Server] {
        let reason = pair.end(end).close_reason().cloned();
        assert!(reason.is_none(), "{end:?}: {reason:?}");
    }
    let key = pair.open(End::Client);
    pair.send_all(End::Client, key, b"still here");
    let inbound = loop {
        let inbound = pair.accept_stream(End::Server);
        let id = pair.client.stream_id(key);
        if pair.server().stream_id(inbound) == id {
            break inbound;
        }
    };
    assert_eq!(pair.read_all(End::Server, inbound), b"still here");
}
