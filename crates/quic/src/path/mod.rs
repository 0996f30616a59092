//! The ways to the peer (RFC 9000 sections 8, 9 and 14).

/// A path of one connection. Numbers are never used twice.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathId(pub(crate) u32);
