//! Packets and datagrams that are thrown away, and why.

use weir_core::time::Instant;

use super::Connection;
use crate::wire::header::PacketType;

/// Why something that arrived is thrown away.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// It came from an address that the peer may not use.
    Address,
    /// The peer may not move to where it came from.
    Move,
    /// Its header cannot be read.
    Header,
    /// It is addressed otherwise than the first packet of its datagram (RFC 9000 12.2).
    OtherDestination,
    /// It comes from another source connection ID than those before (RFC 9000 7.2).
    OtherSource,
    /// An Initial in a datagram of less than 1,200 bytes (RFC 9000 14.1).
    SmallInitial,
    /// An Initial of a server that has a token (RFC 9000 17.2.2).
    ServerToken,
    /// An Initial whose fixed bit is 0 although its sender cannot know that it may be (RFC 9287 3.1).
    FixedBit,
    /// A Retry or Version Negotiation packet that answers no packet of this connection.
    NotOurs,
    /// One that comes too late, is not the server's, or says nothing.
    Answer,
    /// It is of a version that is not spoken in this connection.
    OtherVersion,
    /// It was received before.
    Duplicate,
    /// There are no keys for it, and none will come.
    NoKeys,
    /// Its keys are not there yet, and there is no room to keep it.
    NoRoom,
    /// It has no room for a sample and a tag (RFC 9001 5.4.2).
    TooShort,
    /// It is not authentic.
    Forged,
}

impl Drop {
    /// The class of the reason, in qlog's word.
    pub(super) const fn trigger(self) -> &'static str {
        match self {
            Drop::Address | Drop::Move | Drop::SmallInitial | Drop::NoRoom => "rejected",
            Drop::Header
            | Drop::OtherDestination
            | Drop::OtherSource
            | Drop::ServerToken
            | Drop::FixedBit
            | Drop::Answer
            | Drop::TooShort => "invalid",
            Drop::NotOurs => "connection_unknown",
            Drop::OtherVersion => "unsupported",
            Drop::Duplicate => "duplicate",
            Drop::NoKeys => "key_unavailable",
            Drop::Forged => "decryption_failure",
        }
    }

    /// The reason in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Drop::Address => "an address that the peer may not use",
            Drop::Move => "the peer may not move",
            Drop::Header => "header that cannot be read",
            Drop::OtherDestination => "another connection ID in the same datagram",
            Drop::OtherSource => "another source connection ID than before",
            Drop::SmallInitial => "an Initial in a small datagram",
            Drop::ServerToken => "an Initial of a server with a token",
            Drop::FixedBit => "an Initial without the fixed bit",
            Drop::NotOurs => "answer to somebody else's packet",
            Drop::Answer => "an answer that is not the server's, or comes too late",
            Drop::OtherVersion => "another version",
            Drop::Duplicate => "duplicate",
            Drop::NoKeys => "no keys",
            Drop::NoRoom => "no room to keep it until its keys come",
            Drop::TooShort => "too short",
            Drop::Forged => "authentication failed",
        }
    }
}

impl Connection {
    /// Throws away a packet of `size` bytes, or a datagram or the rest of one: then no `kind` is known.
    pub(super) fn drop_packet(
        &mut self,
        now: Instant,
        why: Drop,
        kind: Option<PacketType>,
        size: usize,
    ) {
        self.stats.packets_dropped = self.stats.packets_dropped.saturating_add(1);
        self.trace_dropped(now, why, kind, size);
    }
}
