//! Keys of Initial packets (RFC 9001 section 5.2, RFC 9369 section 3.3): no secret, anyone who
//! sees the client's first connection ID has them.

use rustls::CipherSuite;
use rustls::quic::{Keys, Suite};

use crate::wire::{ConnectionId, Side, Version};

/// The version as rustls names it; `None` for those that are not spoken here.
pub(crate) fn tls_version(version: Version) -> Option<rustls::quic::Version> {
    match version {
        Version::V1 => Some(rustls::quic::Version::V1),
        Version::V2 => Some(rustls::quic::Version::V2),
        _ => None,
    }
}

/// TLS_AES_128_GCM_SHA256, which Initial packets have whatever TLS agrees on, and even when the
/// configuration does not offer it.
pub(super) fn suite() -> Option<Suite> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    debug_assert_eq!(suite.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    suite.tls13()?.quic_suite()
}

/// The keys of `side` when the client's first Destination Connection ID (after a Retry: the one
/// that the server chose) is `dcid`. `None` for a version that is not spoken here.
pub(crate) fn keys(side: Side, version: Version, dcid: &ConnectionId) -> Option<Keys> {
    let side = match side {
        Side::Client => rustls::Side::Client,
        Side::Server => rustls::Side::Server,
    };
    Some(suite()?.keys(dcid, side, tls_version(version)?))
}
